/* The text form of a state: lines `hex(key):hex(value)\n`, lower case, sorted as text (LC_ALL=C sort), which is not key order. */
#ifndef SOREX_PIPELINE_DUMP_H
#define SOREX_PIPELINE_DUMP_H

#include "base/bytes.h"
#include "base/sha256.h"

/* Gets each finished line, newline included. */
typedef enum sorex_status dump_line_fn(void *user_data, struct bytes line, struct sorex_error *err);

struct dump_pending;

struct dump {
    dump_line_fn *line;
    void *user_data;
    struct dump_pending *pending; /* keys that are prefixes of the ones now coming, longest first */
    struct buf text;
};

void dump_init(struct dump *dump, dump_line_fn *line, void *user_data);
void dump_deinit(struct dump *dump);
/* Takes pairs in key order (unsigned bytes, shorter first). Signature of store_pair_fn and memory_state_fn. */
enum sorex_status dump_pair(void *dump, struct bytes key, struct bytes value, struct sorex_error *err);
/* Emits what is pending. */
enum sorex_status dump_finish(struct dump *dump, struct sorex_error *err);

/* A dump_line_fn that hashes: user_data is a struct sha256. */
enum sorex_status dump_hash_line(void *hash, struct bytes line, struct sorex_error *err);

#endif
