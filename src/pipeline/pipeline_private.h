/* Shared by pipeline.c (lifecycle), run.c (the loop) and status.c. */
#ifndef SOREX_PIPELINE_PIPELINE_PRIVATE_H
#define SOREX_PIPELINE_PIPELINE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "chain/chain.h"
#include "pipeline/deriver.h"
#include "pipeline/pipeline.h"
#include "pipeline/progress.h"

struct pipeline_sink {
    struct sink *sink;
    struct sink_runner *runner; /* set and cleared under the pipeline's lock */
};

/* A rollback that another thread asked for and waits for. Lives on that thread's stack. */
struct pipeline_request {
    uint32_t height;
    bool done;
    enum sorex_status status;
    uint64_t undone;
    struct sorex_error err;
};

/* Who may use the store's writer: anybody under the lock, the loop, nobody any more. */
enum pipeline_phase { PIPELINE_ALONE, PIPELINE_RUNNING, PIPELINE_ENDING };

struct pipeline {
    const struct pipeline_settings *settings;
    struct store *store;
    struct program indexer;
    struct program transforms[PIPELINE_TRANSFORMS_MAX];
    struct filters filters;              /* step.filters says whether there are any */
    struct step step;
    struct deriver *deriver;             /* NULL: no reducer */
    struct source *source;
    struct chain *chain;                 /* run's own; replaced under lock (pipeline_stop wakes it) */
    struct pipeline_sink sinks[PIPELINE_SINKS_MAX];
    size_t sink_count;
    bool network_kept;                   /* the store knows the source's network */
    char trouble[CHAIN_WAITING_BYTES];   /* of the source, as last logged; "" when there is none */
    struct progress progress;
    struct pipeline_summary summary;

    _Atomic bool stopping;
    pthread_mutex_t lock;                /* guards everything below, and `chain` against replacement */
    pthread_cond_t changed;
    enum pipeline_phase phase;
    struct pipeline_request *request;
    const char *state;                   /* "starting", "indexing", "waiting", "undoing", "draining", "stopped", "failed" */
    char waiting_for[SOREX_ERROR_TEXT_MAX];
    uint32_t source_tip;
    struct pipeline_summary shown;       /* the loop's, as of the last turn */
    double rate;
};

/* Sets state and reason. Thread: any. */
void pipeline_state(struct pipeline *pipeline, const char *state, const char *waiting_for);
/* Programs whose changes the sinks must not invert, as bits. */
uint64_t pipeline_guest_inverse(const struct pipeline *pipeline);
/* Undoes down to height on the calling thread, which must be the one that owns the store's writer. */
enum sorex_status pipeline_undo_to(struct pipeline *pipeline, uint32_t height, uint64_t *out_undone, struct sorex_error *err);

#endif
