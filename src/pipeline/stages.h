/* Filters one behind the other: each event goes through all of them, in order, until one drops it. Contract: docs/abi/filter.md.
 *
 * The modules are loaded once; every thread that works has stages of instances of its own. */
#ifndef SOREX_PIPELINE_STAGES_H
#define SOREX_PIPELINE_STAGES_H

#include "change/envelope.h"
#include "guest/filter.h"

/* One filter, as the user asked for it. */
struct stage_settings {
    const char *name;          /* for messages and metrics */
    const char *wasm;          /* path of the module */
    const char *config;        /* JSON text for init, or NULL */
    uint64_t memory_bytes_max; /* 0 = 16 MiB */
    uint64_t timeout_ms;       /* 0 = 50 */
    bool fresh;                /* a fresh instance for every event */
};

struct stages;

/* settings   count of them, borrowed for the call. cache_dir: for compiled modules; NULL = none.
 * Errors:    as file_read and filter_new, with the module's path in front. */
enum sorex_status stages_new(const struct stage_settings *settings, size_t count, const char *cache_dir, struct stages **out,
                             struct sorex_error *err);
/* No worker of it may be open. NULL is fine. */
void stages_free(struct stages *stages);
size_t stages_count(const struct stages *stages);
struct filter *stages_filter(const struct stages *stages, size_t index);

struct stages_worker;

/* Opens an instance of every filter. Errors: as filter_instance_open. Thread: the worker belongs to one thread at a time. */
enum sorex_status stages_worker_open(struct stages *stages, const struct envelope *from, const struct envelope *to,
                                     struct stages_worker **out, struct sorex_error *err);
/* Shuts the instances down. NULL is fine. */
void stages_worker_close(struct stages_worker *worker);

enum stages_outcome {
    STAGES_DELIVERED, /* an event was appended; a tombstone, as it came */
    STAGES_FILTERED,  /* nothing was */
};

/* Reads one event in the envelope `from`, gives it to the filters, appends what comes out in the envelope `to`.
 *
 * text       borrowed for the call.
 * Errors:    SOREX_INVALID  the text is no event, or what came out does not fit the envelope;
 *            SOREX_GUEST    a filter failed; the error begins with its name. out is unchanged and the next event is welcome.
 *            Others are the host's: stop. */
enum sorex_status stages_run(struct stages_worker *worker, struct bytes text, struct buf *out, enum stages_outcome *out_outcome,
                             struct sorex_error *err);

#endif
