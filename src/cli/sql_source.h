/* Where the database comes from that `sorex sql` runs on: a pipeline's sink, an image, nothing. What it gives out are
 * forks: nothing that is done to them gets back.
 *
 * Thread: one at a time. */
#ifndef SOREX_CLI_SQL_SOURCE_H
#define SOREX_CLI_SQL_SOURCE_H

#include "cli/arguments.h"
#include "pg/database.h"

struct sql_source;

/* By what the arguments name: --image, --scratch, --data or the pipeline file.
 *
 * arguments  borrowed until sql_source_close.
 * Ownership: *out by sql_source_close, when the databases that it gave are closed.
 * Errors:    SOREX_INVALID none or several are named; SOREX_GONE there is no such database; as database_program_open,
 *            store_open, kept_database_open. */
enum sorex_status sql_source_open(struct arguments *arguments, struct sql_source **out, struct sorex_error *err);
void sql_source_close(struct sql_source *source); /* NULL is fine */

/* A database of the caller's own, by database_close, in the state after the entry at a height.
 *
 * height     SOREX_HEIGHT_NONE: the newest. *out_height: the height that it is; SOREX_HEIGHT_NONE: it has none.
 * Errors:    SOREX_INVALID it has no heights; as embedded_fork. */
enum sorex_status sql_source_fork(struct sql_source *source, uint32_t height, struct database **out,
                                  uint32_t *out_height, struct sorex_error *err);

/* The source with what has become durable since it was opened; NULL: it is as it was. Ownership: *out by
 * sql_source_close. Errors: as sql_source_open. */
enum sorex_status sql_source_renew(const struct sql_source *source, struct sql_source **out, struct sorex_error *err);

struct receipt_file;
/* The receipt of a pipeline's reducer, as chained_prove. Errors: SOREX_INVALID it is another database. */
enum sorex_status sql_source_prove(struct sql_source *source, const char *query, struct receipt_file *out,
                                   struct sorex_error *err);

/* What prompts call it. */
const char *sql_source_name(const struct sql_source *source);
/* Whether somebody may think that what is written to a fork gets somewhere: not with --scratch. */
bool sql_source_is_copy(const struct sql_source *source);

#endif
