/* The database of a chain's reducer as it was at a height. Snapshots and the source's blocks lead there; the pipeline
 * may run meanwhile, here or elsewhere: it is not disturbed. */
#ifndef SOREX_PIPELINE_PAST_H
#define SOREX_PIPELINE_PAST_H

#include "derive/chained.h"
#include "pipeline/settings.h"

/* Opens the source anew. of: the reducer's, in the store. Ownership: *out by database_close, before of's program goes.
 * Errors: as chained_at; SOREX_GONE: also a block that the source has no more; SOREX_AGAIN: it does not answer.
 * Thread: any. */
enum sorex_status past_open(const struct pipeline_settings *settings, struct store *store, struct chained *of,
                            uint32_t height, struct database **out, struct sorex_error *err);

#endif
