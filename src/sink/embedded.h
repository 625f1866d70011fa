/* The embedded database of a sink: kept in the pipeline's store, forked for whoever asks.
 *
 * A running sink writes it (type `database`, sink/sink.h); others open what is durable in the store, beside the running
 * process too. The state at a height is a fork of the newest with the inverse changes applied down to it. */
#ifndef SOREX_SINK_EMBEDDED_H
#define SOREX_SINK_EMBEDDED_H

#include "pg/database.h"
#include "store/store.h"

struct embedded;

/* Opens the database of a sink as it is durable in a store.
 *
 * store      borrowed; read-only will do. program: borrowed. sink: its name in the pipeline file; NULL: the only one.
 * Ownership: *out by embedded_close.
 * Errors:    SOREX_GONE no such database (the text names those that are there); as saved_open. */
enum sorex_status embedded_open(struct store *store, struct database_program *program, const char *sink,
                                struct embedded **out, struct sorex_error *err);
void embedded_close(struct embedded *embedded); /* NULL is fine */
/* Removes the database of a sink that will not come back. Errors: SOREX_GONE there is none. */
enum sorex_status embedded_drop(struct store *store, const char *sink, struct sorex_error *err);

/* A database of the caller's own, on the state at a height.
 *
 * height     SOREX_HEIGHT_NONE: the newest. *out_height (may be NULL): of the entry that it is the state after;
 *            SOREX_HEIGHT_NONE when nothing was applied yet.
 * Ownership: *out by database_close.
 * Errors:    SOREX_GONE above the newest, or below what the outbox leads back to, which it names; SOREX_INVALID a
 *            program makes its inverses itself, so that earlier heights are not known; as database_fork.
 * Thread:    any, several at once. */
enum sorex_status embedded_fork(struct embedded *embedded, uint32_t height, struct database **out, uint32_t *out_height,
                                struct sorex_error *err);

#endif
