/* The thread that gives a stream's batches to its sink, so that the next batch is read and filtered meanwhile. At most one batch is
 * on its way: that bounds memory, and a slow sink holds back the source. */
#ifndef SOREX_PIPELINE_OUTLET_H
#define SOREX_PIPELINE_OUTLET_H

#include "sink/sink.h"

struct outlet;

/* sink: borrowed. Errors: SOREX_NOMEM; SOREX_FATAL: no thread. */
enum sorex_status outlet_new(struct sink *sink, struct outlet **out, struct sorex_error *err);
/* Waits for the batch in hand, up to a second; then the sink is interrupted. NULL is fine. */
void outlet_free(struct outlet *outlet);

/* Hands a batch over; it is borrowed until outlet_wait. Nothing may be on its way. */
void outlet_submit(struct outlet *outlet, const struct sink_batch *batch);
/* Whether outlet_wait would wait. */
bool outlet_busy(struct outlet *outlet);
/* What the sink said of the batch that was submitted last. Until then the sink belongs to the outlet's thread. */
enum sorex_status outlet_wait(struct outlet *outlet, struct sorex_error *err);

#endif
