/* What a pipeline has besides its loop while it runs: a thread for each sink, and one for the reducer.
 *
 * Thread: the loop's. */
#ifndef SOREX_PIPELINE_RUNNERS_H
#define SOREX_PIPELINE_RUNNERS_H

#include "pipeline/pipeline_private.h"

/* Errors name the sink or the reducer: as sink_runner_start, deriver_start. What was started is left to runners_stop. */
enum sorex_status runners_start(struct pipeline *pipeline, struct sorex_error *err);
/* After what they have in hand. */
void runners_stop(struct pipeline *pipeline);
/* What is durable may be more now, or another chain: they look. */
void runners_tip(struct pipeline *pipeline);
/* SOREX_OK, or SOREX_IO and the first sink that failed for good. */
enum sorex_status runners_failure(struct pipeline *pipeline, struct sorex_error *err);
/* Waits until every sink and the reducer have everything that is durable (and final), and shows how far they are.
 * Errors: SOREX_STOPPED the pipeline was told to stop meanwhile; why one of them failed. */
enum sorex_status runners_drain(struct pipeline *pipeline, struct sorex_error *err);

#endif
