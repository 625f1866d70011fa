/* A file of lines of which the first `length` bytes count; what lies behind them is a batch in the making, or the rest
 * of one that did not finish. Who keeps the length is not its business. Crash rules: docs/formats/sink-file.md. Thread:
 * one at a time. */
#ifndef SOREX_SINK_TAIL_H
#define SOREX_SINK_TAIL_H

#include "base/bytes.h"

struct tail {
    char *path;
    bool fsync;
    int fd;          /* -1 = not open */
    uint64_t length; /* bytes that count */
    uint64_t at;     /* where the next write goes */
    struct buf out;  /* lines that are not written yet */
};

/* Does not open the file. path: copied. Pair with tail_deinit, also after a failure. */
enum sorex_status tail_init(struct tail *tail, const char *path, bool fsync, struct sorex_error *err);
void tail_deinit(struct tail *tail);

/* Opens the file, makes it and its folder when they are not there, and locks it; nothing when it is open.
 * Errors: SOREX_AGAIN: another process has it, or no room; SOREX_INVALID: no regular file; SOREX_IO. */
enum sorex_status tail_open(struct tail *tail, struct sorex_error *err);
enum sorex_status tail_size(const struct tail *tail, uint64_t *out, struct sorex_error *err);
/* When nobody knows a length: all of the file counts, or none of it (append false: it is emptied).
 * Errors: SOREX_INVALID: the last line does not end; SOREX_IO. */
enum sorex_status tail_begin(struct tail *tail, bool append, struct sorex_error *err);
/* The first `length` bytes count: what lies behind them is cut off. Errors: SOREX_CORRUPT: the file is shorter;
 * SOREX_IO. */
enum sorex_status tail_restore(struct tail *tail, uint64_t length, struct sorex_error *err);

/* Call after each line that was appended to tail->out: writes when there is enough. Every write(2) ends at the end of a
 * line, so that a reader of the growing file rarely meets half of one. Errors: SOREX_AGAIN: no room; SOREX_IO. */
enum sorex_status tail_line(struct tail *tail, struct sorex_error *err);
/* Writes what is left, and syncs if anything was written. */
enum sorex_status tail_flush(struct tail *tail, struct sorex_error *err);
/* After a flush: what was written counts. */
void tail_keep(struct tail *tail);
/* Takes back what was written since, as well as it can: tail_restore does it in any case. */
void tail_drop(struct tail *tail);

/* The status of an errno: no room is a state that ends, the rest is not. */
enum sorex_status tail_failure(int code);

#endif
