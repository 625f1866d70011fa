/* A stream pipeline: events from a source through filters into a sink, exactly once where the sink holds positions.
 *
 *     source -> batch -> filters (pool) -> outlet -> sink: rows, dead letters and positions in one transaction
 *        ^                                            |
 *        '------------- seek: where the sink stands --'
 *
 * There is no store: what was done is what the target says. Guide: docs/streams.md. */
#ifndef SOREX_PIPELINE_FLOW_H
#define SOREX_PIPELINE_FLOW_H

#include "json/writer.h"
#include "pipeline/flow_batch.h"
#include "pipeline/settings.h"

struct flow;

struct flow_summary {
    struct flow_counts counts; /* of what was delivered */
    uint64_t batches;
    uint64_t run_ns;
};

struct flow_options {
    bool until_end;                       /* the run ends at what the source has when it begins */
    uint32_t retry_base_ms, retry_max_ms; /* 0 = 100 and 30,000 */
};

/* Loads the filters, opens source and sink; takes the data directory for itself.
 *
 * settings   of a stream (settings->event_source_type is set); borrowed.
 * Errors:    SOREX_BUSY, SOREX_INVALID, SOREX_GUEST, SOREX_IO ..., each naming what it is about. */
enum sorex_status flow_new(const struct pipeline_settings *settings, const struct flow_options *options, struct flow **out, struct sorex_error *err);
void flow_free(struct flow *flow); /* NULL is fine */

/* Runs until the source ends or flow_stop.
 * Errors: of the event that failed with on_error: halt, of source or sink when waiting does not help; SOREX_STOPPED. What was
 *         delivered before is. *out is set in any case. */
enum sorex_status flow_run(struct flow *flow, struct flow_summary *out, struct sorex_error *err);
/* Asks the loop to end after the batch in hand. Thread: any. */
void flow_stop(struct flow *flow);

/* Writes one object: state, what it waits for, events, partitions, sink, filters. Thread: any. */
enum sorex_status flow_status(struct flow *flow, struct json_writer *w, struct sorex_error *err);

#endif
