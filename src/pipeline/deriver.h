/* One thread for the reducer of a pipeline: it follows what is durable of the chain, takes each block from the source
 * itself, and goes back to a snapshot when the chain is another one. It holds nobody up. */
#ifndef SOREX_PIPELINE_DERIVER_H
#define SOREX_PIPELINE_DERIVER_H

#include "base/sha256.h"
#include "derive/chained.h"
#include "pipeline/settings.h"
#include "sink/runner.h"

struct deriver;

struct deriver_options {
    const struct reducer_settings *settings; /* these are borrowed */
    struct store *store;
    struct source *source;
    const char *dir;       /* of the store */
    uint32_t first_height; /* of a new store */
};
/* Reads the module and opens the database. Errors name the reducer: as chained_open. */
enum sorex_status deriver_new(const struct deriver_options *options, struct deriver **out, struct sorex_error *err);
/* Stops first. NULL is fine. */
void deriver_free(struct deriver *deriver);

enum sorex_status deriver_start(struct deriver *deriver, struct sorex_error *err);
/* After the message in hand; what was derived is saved. Thread: any. */
void deriver_stop(struct deriver *deriver);
/* The chain may be another one: look. Thread: any. */
void deriver_look(struct deriver *deriver);
/* Blocks until everything durable (and final) now is derived and saved, it failed, or timeout_ms passed. */
void deriver_drain(struct deriver *deriver, uint32_t timeout_ms, bool *out_drained);

struct deriver_status {
    enum sink_state state;
    uint32_t height; /* of the newest block that was derived, or SOREX_HEIGHT_NONE */
    uint64_t messages, rejected;
    uint64_t undone; /* how often it went back, since the start; a deep fork may be more than one */
    uint8_t key[SHA256_BYTES], trace[SHA256_BYTES];
    char why[SOREX_ERROR_TEXT_MAX]; /* what it waits for, or why it failed; "" when fine */
};
/* How far a derived database is; the other members stay as they are. */
void deriver_figures(const struct chained *chained, struct deriver_status *out);
/* Thread: any. */
void deriver_status(struct deriver *deriver, struct deriver_status *out);
/* SOREX_OK, or why it failed: a message that halts, a source that has a block no more. Thread: any. */
enum sorex_status deriver_failure(struct deriver *deriver, struct sorex_error *err);

/* Borrowed, for chained_fork. */
struct chained *deriver_chained(struct deriver *deriver);

#endif
