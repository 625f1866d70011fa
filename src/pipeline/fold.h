/* The end of a stream whose messages a reducer folds into a database: where a sink would be. The database is in a store
 * in the data directory, and the position of the source is in its note, written with it: so each message counts once,
 * whatever happens. A database is that of one log: one partition, from its beginning on.
 *
 * Of a source whose records have times (Kafka), a record is a message: its value, its time, no author; a time that is
 * not known, or before that of the message before, is that one's, since logs are in the order of time. Of one without
 * (lines), a record is a line of a log as docs/formats/derivation.md has it.
 *
 * Thread: one at a time. */
#ifndef SOREX_PIPELINE_FOLD_H
#define SOREX_PIPELINE_FOLD_H

#include "pipeline/deriver.h"
#include "pipeline/settings.h"

struct fold;

/* Opens store and database, in settings->top.data. Errors: as store_open, chained_open, naming the reducer. */
enum sorex_status fold_new(const struct pipeline_settings *settings, struct fold **out, struct sorex_error *err);
void fold_free(struct fold *fold); /* NULL is fine */
/* Lets go of the database: the next fold_new begins anew. Errors: SOREX_GONE there is none; as store_open. */
enum sorex_status fold_drop(const struct pipeline_settings *settings, struct sorex_error *err);

/* Where the next message is. Errors: SOREX_MISMATCH the database is that of another partition. */
enum sorex_status fold_position(const struct fold *fold, const char *partition, struct position *out,
                                struct sorex_error *err);
/* The record becomes the next message. *out_back: it is not applied; the state is an older one, and the source is to go
 * on where that is: what comes is known, up to this record, whose error is then told.
 * Errors: SOREX_INVALID, SOREX_GUEST, SOREX_LIMIT "PARTITION, record N: ...": no message, or one that halts; everything
 *         before it is saved. SOREX_IO of saving: nothing more will be saved, free it. */
enum sorex_status fold_apply(struct fold *fold, const char *partition, const struct event_record *record,
                             bool *out_back, struct sorex_error *err);
enum sorex_status fold_save(struct fold *fold, struct sorex_error *err);

/* How far it is; state, undone and why are not set. */
void fold_figures(const struct fold *fold, struct deriver_status *out);

#endif
