/* One batch of a stream pipeline: records in, changes and dead letters out. It is cut into slices that the pool's workers do beside
 * each other; together they give what one worker would give.
 *
 * What comes out owns its bytes: the records may go once the batch is done. */
#ifndef SOREX_PIPELINE_FLOW_BATCH_H
#define SOREX_PIPELINE_FLOW_BATCH_H

#include "pipeline/pool.h"
#include "pipeline/stages.h"
#include "sink/sink.h"
#include "source/events.h"

struct flow_counts {
    uint64_t in, out, filtered, failed; /* events; failed: also those that passed all the same */
    uint64_t bytes_in, bytes_out;
    uint64_t work_ns; /* of all workers together */
};

/* Where one partition stands: what was given to the sink lies before it. */
struct flow_place {
    char name[EVENT_PARTITION_SIZE];
    bool first; /* the target has no position of it */
    struct position at;
    uint64_t end; /* as event_partition.end */
};

struct flow_batch;

struct flow_batch_options {
    struct stages_worker *const *workers; /* one for each of the pool's; borrowed */
    struct pool *pool;                    /* flow_batch_work is its work; borrowed */
    size_t records_max;
    const char *program;                  /* what changes name as theirs; borrowed */
    const struct sink_type *sink;         /* what it looks at */
    bool dead_letters;                    /* keep the events that fail */
};

enum sorex_status flow_batch_new(const struct flow_batch_options *options, struct flow_batch **out, struct sorex_error *err);
void flow_batch_free(struct flow_batch *batch); /* NULL is fine */

/* A pool_work_fn: worker is a struct stages_worker. */
void flow_batch_work(void *worker, void *slice);

/* Runs the records through the filters.
 *
 * input      at most records_max records; borrowed for the call.
 * group      of the source, for the sink.
 * Errors:    SOREX_INVALID, SOREX_GUEST: "PARTITION, record N: ..." as ON_ERROR_HALT has it. The batch then holds what lies before
 *            that record, to be delivered. Others are the host's, and the batch is empty. */
enum sorex_status flow_batch_run(struct flow_batch *batch, const struct event_batch *input, void *group, struct sorex_error *err);
/* Gives the batch its positions, and moves the places of the input's partitions, in their order, behind them. */
void flow_batch_place(struct flow_batch *batch, const struct event_batch *input, struct flow_place *places);

/* For the sink; borrowed until the next run. Without positions: there is nothing to deliver. */
const struct sink_batch *flow_batch_result(const struct flow_batch *batch);
const struct flow_counts *flow_batch_counts(const struct flow_batch *batch);

#endif
