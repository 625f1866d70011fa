/* The part of a status report that comes from the store alone. */
#ifndef SOREX_PIPELINE_STATUS_H
#define SOREX_PIPELINE_STATUS_H

#include "json/writer.h"
#include "pipeline/deriver.h"
#include "store/store.h"

/* Writes the members heights, outbox and disk_bytes into an open object. source_tip: SOREX_HEIGHT_NONE when unknown. Thread: any. */
void status_store(struct store *store, uint32_t source_tip, struct json_writer *w);

/* Writes the member sinks from the cursors that the store keeps, when nothing runs. A target may be further. Thread: any. */
void status_cursors(struct store *store, struct json_writer *w);

/* Writes the member reducer, from what the store keeps, when nothing runs. stream: it has no height. */
void status_reducer_stopped(struct store *store, const char *name, bool stream, struct json_writer *w);

/* Writes the member reducer. state: a word, in place of the figures'. */
void status_reducer(const char *name, const char *state, const struct deriver_status *figures, struct json_writer *w);

#endif
