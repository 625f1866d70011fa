/* An embedded PostgreSQL: opened in milliseconds, used by SQL, saved, forked, rewound.
 *
 * A program is PostgreSQL loaded once, with the image from which databases begin; databases are sessions of their own
 * on data of their own. A database is the same function of its options and statements on every machine: the clock is
 * virtual, random numbers come from the seed.
 *
 * Thread: a program and snapshots by any; a database by one at a time. */
#ifndef SOREX_PG_DATABASE_H
#define SOREX_PG_DATABASE_H

#include "base/sha256.h"
#include "pg/instance.h"
#include "pg/result.h"
#include "pg/value.h"

struct database_program;
struct database;

struct database_program_options {
    const char *dir;       /* pglite.wasm and cluster.image */
    const char *cache_dir; /* of compiled code; NULL: it is compiled at every open (4 s) */
    bool metered;          /* databases may have statement_fuel; costs 35 to 40 % */
};
/* Errors: SOREX_IO, SOREX_CORRUPT, SOREX_MISMATCH, SOREX_NOMEM. */
enum sorex_status database_program_open(const struct database_program_options *options, struct database_program **out,
                                        struct sorex_error *err);
/* No database or snapshot may be left. NULL is fine. */
void database_program_close(struct database_program *program);
struct postgres *database_program_postgres(const struct database_program *program);

/* -- open and close ---------------------------------------------------------------------------------------------- */

struct database_options {
    uint64_t time_us;          /* where the clock begins, since 1970; 0: where the image's stands */
    uint64_t seed;             /* 0: the image's */
    uint64_t memory_bytes_max; /* of PostgreSQL's memory; 0 = 2 GiB. Beyond it statements fail with 53200 */
    uint64_t file_bytes_max;   /* of all files; 0 = 8 GiB. Beyond it statements fail with 53100 */
    uint64_t statement_fuel;   /* units for each call of a function below; 0: no limit. Metered programs only */
};

/* A new database: role and database "postgres", schema "public". options may be NULL. */
enum sorex_status database_open(struct database_program *program, const struct database_options *options,
                                struct database **out, struct sorex_error *err);
/* From an image that database_export made, session and open transaction included.
 * Errors: SOREX_CORRUPT; SOREX_MISMATCH of another PostgreSQL. */
enum sorex_status database_open_image(struct database_program *program, const struct database_options *options,
                                      struct bytes image, struct database **out, struct sorex_error *err);
/* As the snapshot says, with options of its own, as database_open. */
enum sorex_status database_open_snapshot(const struct snapshot *snapshot, const struct database_options *options,
                                         struct database **out, struct sorex_error *err);
void database_close(struct database *database); /* NULL is fine */

/* -- statements -------------------------------------------------------------------------------------------------- */

/* All of these fill results, which results_init made, and return
 *   SOREX_OK       also when a statement failed, which results->error says: the session goes on;
 *   SOREX_GUEST    the backend is gone (FATAL, PANIC, trap); the text has the SQLSTATE where there is one;
 *   SOREX_LIMIT    stack overflow, out of fuel, or results larger than allowed: SQLSTATE 54000;
 *   SOREX_NOMEM, SOREX_CORRUPT;
 *   SOREX_INVALID  what was given is wrong; nothing was done.
 * After an error but the last the database is back in its last good state, session and all: the one that it was opened,
 * saved or restored with last, whichever was later. The clock and the random numbers are back too. Only when that
 * fails, which the text says, is it broken: restore or close it. */

/* One or several statements; values come as text. COPY FROM STDIN is for database_copy_in, and fails with 57014 here.
 */
enum sorex_status database_exec(struct database *database, const char *sql, struct results *results,
                                struct sorex_error *err);
/* One statement with parameters $1, ...; values come in binary format: value_read reads them. */
enum sorex_status database_query(struct database *database, const char *sql, const struct value *parameters,
                                 size_t parameters_count, struct results *results, struct sorex_error *err);
/* The same in two steps. name: of the session's prepared statements, as PREPARE has them; "" is replaced by the next
 * one of that name. The parameters' types are in results->parameters. */
enum sorex_status database_prepare(struct database *database, const char *name, const char *sql,
                                   struct results *results, struct sorex_error *err);
/* types: those of the parameters, as results->parameters said them. */
enum sorex_status database_execute(struct database *database, const char *name, const uint32_t *types,
                                   const struct value *parameters, size_t parameters_count, struct results *results,
                                   struct sorex_error *err);
/* With the values in a format of the caller's choice: as text where types are not known to value.h. */
enum sorex_status database_execute_as(struct database *database, const char *name, const uint32_t *types,
                                      const struct value *parameters, size_t parameters_count,
                                      enum protocol_format format, struct results *results, struct sorex_error *err);
/* A "COPY ... FROM STDIN" statement and all of its data. */
enum sorex_status database_copy_in(struct database *database, const char *sql, struct bytes data,
                                   struct results *results, struct sorex_error *err);
/* Messages of PostgreSQL's protocol as they are; for servers. As instance_exchange; errors as above. */
enum sorex_status database_exchange(struct database *database, struct bytes messages, struct buf *out,
                                    struct sorex_error *err);
/* No call but restore and close will do. */
bool database_broken(const struct database *database);
/* The backend below, for conversations with a client (instance_converse) and states. */
struct instance *database_instance(struct database *database);

/* The virtual clock: time of day from now on, which only grows by microseconds when it is looked at. */
void database_time_set(struct database *database, uint64_t time_us);

/* -- for those who run others' statements ------------------------------------------------------------------------ */

/* Random numbers from now on, other than those of random(), which setseed() seeds. */
void database_seed_set(struct database *database, uint64_t seed);
/* Of each call from now on; 0: no limit. Errors: SOREX_INVALID the program is not metered. */
enum sorex_status database_fuel_set(struct database *database, uint64_t fuel, struct sorex_error *err);
bool database_metered(const struct database *database);
/* As instance_role_set. */
enum sorex_status database_role_set(struct database *database, uint32_t role, bool confined, struct sorex_error *err);
/* A number that changes with every call that may change the state, and that no other database of this process has:
 * who finds the number that he left finds the state that he left. What is done to database_instance does not count. */
uint64_t database_mark(const struct database *database);

/* -- states ------------------------------------------------------------------------------------------------------ */

/* The whole state, also in an open transaction; it is the one that errors go back to. Ownership: *out by snapshot_drop.
 */
enum sorex_status database_save(struct database *database, struct snapshot **out, struct sorex_error *err);
/* Back to it, also when the database is broken. */
enum sorex_status database_restore(struct database *database, const struct snapshot *snapshot, struct sorex_error *err);
/* Another database that begins there; limits are those of the one that was saved. */
enum sorex_status database_fork(const struct database *database, const struct snapshot *snapshot, struct database **out,
                                struct sorex_error *err);
/* Appends an image: everything, compressed, with its hash. */
enum sorex_status database_export(struct database *database, struct buf *out, struct sorex_error *err);

/* SHA-256 over the rows of all tables outside of the system's schemas, in an order of their own: equal for equal
 * contents, however they came to be. Changes nothing. docs/formats/database-image.md has the bytes.
 * Errors: SOREX_INVALID in a failed transaction. */
enum sorex_status database_digest(struct database *database, uint8_t out[SHA256_BYTES], struct sorex_error *err);

#endif
