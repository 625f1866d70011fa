/* Filters one behind the other: each event goes through all of them, in order, until one drops it. Contract: docs/abi/filter.md.
 *
 * The modules are loaded once; every thread that works has stages of instances of its own. */
#ifndef SOREX_PIPELINE_STAGES_H
#define SOREX_PIPELINE_STAGES_H

#include "change/envelope.h"
#include "guest/filter.h"
#include "json/writer.h"
#include "pipeline/on_error.h"

/* One filter, as the user asked for it. */
struct stage_settings {
    const char *name;          /* for messages and metrics */
    const char *wasm;          /* path of the module */
    struct bytes config;       /* JSON text for init; data NULL: none */
    uint64_t memory_bytes_max; /* 0 = 16 MiB */
    uint64_t timeout_ms;       /* 0 = 50 */
    bool fresh;                /* a fresh instance for every event */
    enum on_error on_error;
};

struct stages_options {
    const struct stage_settings *stages; /* borrowed for the call */
    size_t count;
    const char *cache_dir;               /* for compiled modules; NULL = none */
    const struct envelope *from, *to;    /* of what goes in and comes out */
    enum on_error on_bad_event;          /* it cannot be read, or what came out does not fit the envelope (then PASS leaves it out:
                                          * as it came it would not be filtered) */
    bool rows;                           /* a `read` comes out as an insert: for targets that hold rows */
};

struct stages;

/* Errors: as file_read and filter_new, with the module's path in front; SOREX_INVALID more instances than can be. */
enum sorex_status stages_new(const struct stages_options *options, struct stages **out, struct sorex_error *err);
/* No worker of it may be open. NULL is fine. */
void stages_free(struct stages *stages);
size_t stages_count(const struct stages *stages);

/* Writes the array of the filters with what they counted. Thread: any. */
void stages_status(struct stages *stages, struct json_writer *w);

struct stages_worker;

/* Opens an instance of every filter. Errors: as filter_instance_open. Thread: the worker belongs to one thread at a time. */
enum sorex_status stages_worker_open(struct stages *stages, struct stages_worker **out, struct sorex_error *err);
/* Shuts the instances down. NULL is fine. */
void stages_worker_close(struct stages_worker *worker);
/* The worker's, for work between two runs. */
struct json_parser *stages_worker_parser(struct stages_worker *worker);

enum stages_outcome {
    STAGES_DELIVERED, /* an event was appended; a tombstone, and what is no event but passes, as it came */
    STAGES_FILTERED,  /* nothing was */
    STAGES_LEFT_OUT   /* nothing was: it failed */
};

struct stages_result {
    enum stages_outcome outcome;
    const char *why;           /* what failed on the way, though it goes on; NULL: nothing. Until the worker's next run */
    const struct event *event; /* what was appended; NULL: a tombstone, or no event. Until the worker's next run */
};

/* Reads one event, gives it to the filters, appends what comes out.
 *
 * text       borrowed for the call.
 * Errors:    SOREX_INVALID  the text is no event, or what came out does not fit the envelope;
 *            SOREX_GUEST    a filter failed; the error begins with its name;
 *            both with ON_ERROR_HALT only. out is unchanged and the next event is welcome.
 *            Others are the host's: stop. */
enum sorex_status stages_run(struct stages_worker *worker, struct bytes text, struct buf *out, struct stages_result *out_result,
                             struct sorex_error *err);

#endif
