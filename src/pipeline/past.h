/* What a chain's reducer derived, again, from the source's blocks; the pipeline may run meanwhile, here or elsewhere:
 * it is not disturbed. */
#ifndef SOREX_PIPELINE_PAST_H
#define SOREX_PIPELINE_PAST_H

#include "derive/chained.h"
#include "derive/verify.h"
#include "pipeline/settings.h"

/* The database as it was at a height, with the help of snapshots. Opens the source anew. of: the reducer's, in the store.
 * Ownership: *out by database_close, before of's program goes. Errors: as chained_at; SOREX_GONE: also a block that the
 * source has no more; SOREX_AGAIN: it does not answer. Thread: any. */
enum sorex_status past_open(const struct pipeline_settings *settings, struct store *store, struct chained *of,
                            uint32_t height, struct database **out, struct sorex_error *err);

/* Whether a receipt of the reducer is right, from the first block on; what the pipeline has kept counts for nothing,
 * and need not be there. cache: folder for compiled code, NULL: none. Errors: as verify_chain_receipt; SOREX_INVALID it is
 * no pipeline of a chain with a reducer; SOREX_AGAIN the source does not answer, or has not that many blocks now. */
enum sorex_status past_verify(const struct pipeline_settings *settings, const char *cache,
                              const struct receipt_file *file, verify_progress_fn *progress, void *user_data,
                              struct sorex_error *err);

#endif
