/* The fold: engine, reducer and settings, with which messages become a database. Whatever way leads to a state -
 * caching, forking, interruption - equal keys mean equal databases, byte for byte.
 *
 * Thread: one at a time. */
#ifndef SOREX_DERIVE_DERIVATION_H
#define SOREX_DERIVE_DERIVATION_H

#include "derive/messages.h"
#include "derive/receipt.h"
#include "guest/reducer.h"

/* Dead rows and the write-ahead log stay small, and the pauses unnoticed. */
#define DERIVATION_MAINTENANCE_DEFAULT 4096u

struct derivation;

struct derivation_options {
    struct reducer_options reducer;
    uint64_t maintenance;  /* VACUUM and CHECKPOINT after every so many messages; 0: never */
    const char *cache_dir; /* of compiled code; NULL: beside PostgreSQL's files, or nowhere */
};

/* wasm: the reducer's module. Errors: as reducer_load, place_program_take. */
enum sorex_status derivation_new(struct bytes wasm, const struct derivation_options *options, struct derivation **out,
                                 struct sorex_error *err);
/* No database of it may be left. NULL is fine. */
void derivation_free(struct derivation *derivation);

struct database_program *derivation_program(const struct derivation *derivation);
struct bytes derivation_identity(const struct derivation *derivation);
struct bytes derivation_wasm(const struct derivation *derivation);

/* Of every database of it, for database_open and saved_open. */
const struct database_options *derivation_database_options(const struct derivation *derivation);
/* Makes of a new database the state before the first message. */
enum sorex_status derivation_begin(struct derivation *derivation, struct database *database, struct receipt *out,
                                   struct sorex_error *err);
/* A state that was kept: is it this derivation's? Checks roles and tables. */
enum sorex_status derivation_continue(struct derivation *derivation, struct database *database,
                                      struct sorex_error *err);
/* Applies the next message. Errors: those that stop a derivation, with the number of the message (from 1); the receipt
 * is as before, the database is to be restored. trace, user_data: as reducer_apply. out may be NULL. */
enum sorex_status derivation_step(struct derivation *derivation, struct database *database, struct receipt *receipt,
                                  const struct logged *logged, reducer_trace_fn *trace, void *user_data,
                                  struct reducer_result *out, struct sorex_error *err);

/* Applies messages of a log, which stands where the receipt does, until there are `count`.
 * Errors: as derivation_step, messages_next; SOREX_GONE the log ends before. */
enum sorex_status derivation_replay(struct derivation *derivation, struct database *database, struct receipt *receipt,
                                    struct messages *messages, uint64_t count, struct sorex_error *err);

/* What a receipt says of its end: the digest of the database and, query not NULL, what that gives. Errors: as
 * derivation_query. */
enum sorex_status derivation_prove(struct database *database, const char *query, struct receipt_file *out,
                                   struct sorex_error *err);

/* Appends what a query gives, as CSV with the names of its columns. Errors: SOREX_INVALID the statement failed, or is
 * not one query. */
enum sorex_status derivation_query(struct database *database, const char *sql, struct buf *out,
                                   struct sorex_error *err);

#endif
