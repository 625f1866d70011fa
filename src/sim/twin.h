/* A sink's twin in memory: the rows that a target would have, and its cursor. It takes no change on trust: a create
 * meets no row, the `before` of the others is the row. Only a program that is named as trusted may say what it likes. */
#ifndef SOREX_SIM_TWIN_H
#define SOREX_SIM_TWIN_H

#include "pipeline/memory_state.h"
#include "sink/sink.h"

struct twin {
    struct memory_state rows;  /* program, table and key, each behind its length -> image */
    struct sink_cursor cursor; /* sequence 0: none yet */
    uint64_t changes;          /* applied */
    const char *trusted;       /* a program's name, borrowed, or NULL */
    struct json_parser *parsers[2];
    struct buf key;
};

/* Pair with twin_deinit, also after a failure. */
enum sorex_status twin_init(struct twin *twin, struct sorex_error *err);
void twin_deinit(struct twin *twin);

/* Errors: SOREX_MISMATCH: a change that is not true of the rows; text names it. The twin is of no use then. */
enum sorex_status twin_apply(struct twin *twin, const struct sink_batch *batch, struct sorex_error *err);
/* The row's image; data is NULL when there is none. Borrowed until the next call. */
enum sorex_status twin_row(struct twin *twin, const char *program, struct bytes table, struct bytes key,
                           struct bytes *out, struct sorex_error *err);
/* Rows there are. */
enum sorex_status twin_count(struct twin *twin, uint64_t *out, struct sorex_error *err);
/* SHA-256 over all rows, in order. */
enum sorex_status twin_hash(struct twin *twin, uint8_t out[HASH_BYTES], struct sorex_error *err);

#endif
