/* Whether a target's cursor belongs to this outbox. */
#ifndef SOREX_SINK_CURSOR_H
#define SOREX_SINK_CURSOR_H

#include "sink/sink.h"
#include "store/store.h"

/* Same store, a sequence that the outbox can go on from, and the same entry there as far as that is still known.
 *
 * sink    its name, for the cursor that the store keeps.
 * Errors: SOREX_MISMATCH with the choices spelled out; SOREX_CORRUPT, SOREX_IO. */
enum sorex_status cursor_check(struct store *store, const char *sink, const struct sink_cursor *cursor,
                               struct sorex_error *err);

#endif
