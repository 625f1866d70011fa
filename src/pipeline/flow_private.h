/* Shared by flow.c (the loop), flow_open.c (beginning and end) and flow_status.c. */
#ifndef SOREX_PIPELINE_FLOW_PRIVATE_H
#define SOREX_PIPELINE_FLOW_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "pipeline/flow.h"
#include "pipeline/fold.h"
#include "pipeline/outlet.h"
#include "sink/breaker.h"
#include "sink/sidecar.h"
#include "store/lockfile.h"

struct flow {
    const struct pipeline_settings *settings;
    struct lockfile lockfile;
    bool locked;
    struct fold *fold; /* of a reducer; then there are no stages, pool, sink, outlet and batches */
    struct stages *stages;
    struct stages_worker **workers;
    size_t worker_count;
    struct pool *pool;
    struct event_source *source;
    struct sink *sink;
    struct outlet *outlet;
    struct event_limits limits; /* of a batch */
    struct flow_batch *batches[2]; /* one is delivered while the other is made */
    size_t current;
    bool delivering; /* the other one is on its way, or its outcome was not looked at yet */
    bool misplaced;  /* the source must be placed anew before the next batch */
    struct flow_place *places; /* of the source's partitions, in its order */
    size_t place_count;
    struct sidecar saved; /* positions, for a sink that can hold none */
    char *saved_path;
    uint64_t retry_base_ms, retry_max_ms; /* of the source */
    uint32_t attempts;    /* of the source, that failed in a row */
    uint64_t jitter;
    bool sink_trouble;    /* the last SOREX_AGAIN was the sink's */
    char warned[SOREX_ERROR_TEXT_MAX];
    uint64_t reported_ms, reported_in;
    uint64_t began_ns;

    _Atomic bool stopping;
    pthread_mutex_t lock; /* everything below, and places for writing */
    pthread_cond_t changed;
    struct breaker breaker; /* of the sink */
    const char *state; /* "starting", "running", "idle", "waiting", "stopped", "failed" */
    char waiting_for[SOREX_ERROR_TEXT_MAX];
    struct flow_summary summary;
    struct deriver_status derived; /* of the reducer: its figures */
    double rate; /* events a second, over the last report */
    uint64_t rate_ms, rate_in;
};

#endif
