/* An embedded PostgreSQL 18 in your own program: no server, no files; opened in milliseconds, forked, rewound, and the
 * same bytes on every machine.
 *
 *     struct sorex_postgres *postgres;
 *     struct sorex_database *db;
 *     struct sorex_result *result;
 *     struct sorex_error err;
 *     if (sorex_postgres_load(NULL, &postgres, &err) != SOREX_OK ||
 *         sorex_database_open(postgres, NULL, &db, &err) != SOREX_OK ||
 *         sorex_database_exec(db, "create table units (name text, hp int)", NULL, &err) != SOREX_OK)
 *         fail(err.text);
 *     struct sorex_value values[] = {{.kind = SOREX_VALUE_TEXT, .data = "orc", .len = 3},
 *                                    {.kind = SOREX_VALUE_INTEGER, .integer = 7}};
 *     if (sorex_database_query(db, "insert into units values ($1, $2) returning *", values, 2, &result, &err) !=
 * SOREX_OK) fail(err.text); for (size_t i = 0; i < sorex_result_rows(result); i++) { const struct sorex_value *row =
 * sorex_result_row(result, i); printf("%s has %" PRId64 "\n", row[0].data, row[1].integer);
 *     }
 *     sorex_result_free(result);
 *     sorex_database_close(db);
 *     sorex_postgres_free(postgres);
 *
 * A database is one session on data of its own: it is a function of its options and of the statements that it was
 * given. Its clock is virtual, its random numbers come from a seed; it ends with sorex_database_close, unless it was
 * exported or a snapshot of it was kept.
 *
 * Threads: what was loaded, and snapshots, may be shared by any number of threads. A database, its statements and its
 * results belong to one thread at a time; they may be handed to another one between calls. To use several cores open or
 * fork a database for each thread. */
#ifndef SOREX_DATABASE_H
#define SOREX_DATABASE_H

#include <stddef.h>
#include <stdint.h>

#include "sorex/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sorex_postgres;  /* PostgreSQL's code, and the empty database that others begin as; loaded once */
struct sorex_database;  /* a session on data of its own */
struct sorex_statement; /* a prepared statement of a database */
struct sorex_result;    /* what statements gave */
struct sorex_snapshot;  /* a state of a database */

#define SOREX_HASH_BYTES 32

/* ---- loading ---- */

/* Zero everywhere is the default. All is borrowed for the call. */
struct sorex_postgres_options {
    const char *dir;       /* where pglite.wasm and cluster.image lie; NULL: where sorex was installed */
    const char *cache_dir; /* where compiled code is kept for the next process; NULL: nowhere, which costs 4 s */
    int metered;           /* not 0: databases may have statement_fuel; statements take 35 to 40 % longer */
};

/* Ownership: *out_postgres is the caller's, to be given to sorex_postgres_free; unchanged on failure.
 * Errors:    SOREX_GONE  the files are not there; SOREX_IO; SOREX_CORRUPT, SOREX_MISMATCH  they are not those of this
 *            version of sorex; SOREX_NOMEM, SOREX_FATAL.
 * Thread:    any. */
SOREX_API enum sorex_status sorex_postgres_load(const struct sorex_postgres_options *options,
                                                struct sorex_postgres **out_postgres, struct sorex_error *err);

/* NULL is ignored. Every database and snapshot of it must be gone before. Thread: any. */
SOREX_API void sorex_postgres_free(struct sorex_postgres *postgres);

/* ---- databases ---- */

/* Zero everywhere is the default. */
struct sorex_database_options {
    uint64_t time_us;          /* where the clock begins, microseconds since 1970; 0: where the image's stands */
    uint64_t seed;             /* of random numbers; 0: the image's */
    uint64_t memory_bytes_max; /* PostgreSQL's memory; 0: 2 GiB, the most there can be. Beyond it: SQLSTATE 53200 */
    uint64_t file_bytes_max;   /* of tables, indexes, everything; 0: 8 GiB. Beyond it: SQLSTATE 53100 */
    uint64_t statement_fuel;   /* units for one call; 0: no limit. Of metered PostgreSQL only. Beyond it: SOREX_LIMIT */
};

/* A new database: role and database "postgres", schema "public", superuser. options: NULL for the defaults.
 *
 * Ownership: *out_database is the caller's, to be given to sorex_database_close; unchanged on failure.
 * Errors:    SOREX_INVALID  statement_fuel without metering; SOREX_LIMIT  memory_bytes_max is too small; SOREX_NOMEM.
 * Thread:    any. */
SOREX_API enum sorex_status sorex_database_open(struct sorex_postgres *postgres,
                                                const struct sorex_database_options *options,
                                                struct sorex_database **out_database, struct sorex_error *err);

/* A database as it was exported, session and open transaction included. Options, ownership and thread as above.
 *
 * image      image_len bytes, borrowed for the call. An image holds code and memory that PostgreSQL trusts: one from
 *            elsewhere deserves as much trust as a program, or a hash that is known from somewhere else.
 * hash       SOREX_HASH_BYTES that the image must have; NULL: any that fits its content.
 * Errors:    also SOREX_CORRUPT; SOREX_MISMATCH  of another PostgreSQL, or with another hash. */
SOREX_API enum sorex_status sorex_database_import(struct sorex_postgres *postgres,
                                                  const struct sorex_database_options *options, const void *image,
                                                  size_t image_len, const uint8_t *hash,
                                                  struct sorex_database **out_database, struct sorex_error *err);

/* The same from a file. Errors: also SOREX_IO. */
SOREX_API enum sorex_status sorex_database_import_file(struct sorex_postgres *postgres,
                                                       const struct sorex_database_options *options, const char *path,
                                                       const uint8_t *hash, struct sorex_database **out_database,
                                                       struct sorex_error *err);

/* NULL is ignored. Its statements must be freed before; its results may live on. */
SOREX_API void sorex_database_close(struct sorex_database *database);

/* The virtual clock: from now on it is that time, which grows by a microsecond for each look at it. */
SOREX_API void sorex_database_time_set(struct sorex_database *database, uint64_t time_us);

/* ---- statements ---- */

enum sorex_value_kind {
    SOREX_VALUE_NULL,
    SOREX_VALUE_INTEGER, /* smallint, integer, bigint, oid, boolean (0 and 1) */
    SOREX_VALUE_DOUBLE,  /* real, double precision */
    SOREX_VALUE_TEXT,    /* every other type, in the words that PostgreSQL has for it: UTF-8 */
    SOREX_VALUE_BYTES    /* bytea */
};

/* A value of a row, or a parameter. As a parameter, text is read by the input function of the parameter's type ("1.5"
 * is a numeric, "[1,2]" a jsonb), and bytes are the binary format of a type that is not bytea. */
struct sorex_value {
    enum sorex_value_kind kind;
    int64_t integer;
    double real;
    const char *data; /* of TEXT and BYTES: len bytes. In a row a NUL follows them, which len does not count */
    size_t len;
};

/* Errors of all functions that execute:
 *   SOREX_INVALID  the statement failed: the text begins with the SQLSTATE, sorex_database_error has all that
 *                  PostgreSQL said of it. The session goes on; in an open transaction as PostgreSQL does, until
 *                  ROLLBACK. Also: wrong parameters, which PostgreSQL did not see;
 *   SOREX_GUEST    PostgreSQL ended (FATAL, PANIC) or trapped; the text has the SQLSTATE where there is one;
 *   SOREX_LIMIT    the stack, the fuel or the room for a result is used up: SQLSTATE 54000;
 *   SOREX_NOMEM, SOREX_CORRUPT.
 * After the last three lines the database is back in its last good state, session and all: the one that it was opened
 * with, restored to, or of which a snapshot or a fork was made, whichever was last; what was prepared later must be
 * prepared again. Only when that fails too is it broken (sorex_database_broken): then every call but
 * sorex_database_restore and sorex_database_close fails. On failure outputs are unchanged. */

/* One or several statements, separated by semicolons; together they are one transaction, unless they say otherwise.
 *
 * out_result may be NULL: then rows are dropped. Else it has a result for each statement, sorex_result_next leads
 *            through them; the caller's, to be given to sorex_result_free.
 * Errors:    as above; COPY FROM STDIN is for sorex_database_copy_in: 57014. */
SOREX_API enum sorex_status sorex_database_exec(struct sorex_database *database, const char *sql,
                                                struct sorex_result **out_result, struct sorex_error *err);

/* One statement with parameters $1, $2, ... */
SOREX_API enum sorex_status sorex_database_query(struct sorex_database *database, const char *sql,
                                                 const struct sorex_value *parameters, size_t parameters_count,
                                                 struct sorex_result **out_result, struct sorex_error *err);

/* The same in two steps: parsed and planned once, executed often, all in binary format.
 *
 * A statement belongs to the session as PREPARE's do: after sorex_database_restore to a state from before it, executing
 * it fails with 26000, and a fork has statements of its own.
 * Ownership: *out_statement is the caller's, to be given to sorex_statement_free before the database is closed. */
SOREX_API enum sorex_status sorex_database_prepare(struct sorex_database *database, const char *sql,
                                                   struct sorex_statement **out_statement, struct sorex_error *err);
SOREX_API enum sorex_status sorex_statement_execute(struct sorex_statement *statement,
                                                    const struct sorex_value *parameters, size_t parameters_count,
                                                    struct sorex_result **out_result, struct sorex_error *err);
/* How many parameters it has, and the type (pg_type.oid) of the one at index, which begins with 0. */
SOREX_API size_t sorex_statement_parameters(const struct sorex_statement *statement);
SOREX_API uint32_t sorex_statement_parameter_type(const struct sorex_statement *statement, size_t index);
SOREX_API void sorex_statement_free(struct sorex_statement *statement); /* NULL is ignored */

/* Executes "COPY ... FROM STDIN" with all of its data: len bytes in the format that the statement names.
 * out_rows: how many; may be NULL. */
SOREX_API enum sorex_status sorex_database_copy_in(struct sorex_database *database, const char *sql, const void *data,
                                                   size_t len, uint64_t *out_rows, struct sorex_error *err);

/* Executes "COPY ... TO STDOUT".
 * Ownership: *out_data (*out_len bytes) is the caller's, to be given to free(); NULL when it is empty. */
SOREX_API enum sorex_status sorex_database_copy_out(struct sorex_database *database, const char *sql, void **out_data,
                                                    size_t *out_len, struct sorex_error *err);

/* What PostgreSQL said of the statement that failed last; "" when it said nothing of the kind, or nothing failed yet.
 * Valid until the next call. */
enum sorex_database_field {
    SOREX_FIELD_SQLSTATE = 'C',
    SOREX_FIELD_MESSAGE = 'M',
    SOREX_FIELD_DETAIL = 'D',
    SOREX_FIELD_HINT = 'H',
    SOREX_FIELD_POSITION = 'P', /* in the statement, in characters from 1 */
    SOREX_FIELD_CONTEXT = 'W',
    SOREX_FIELD_SCHEMA = 's',
    SOREX_FIELD_TABLE = 't',
    SOREX_FIELD_COLUMN = 'c',
    SOREX_FIELD_CONSTRAINT = 'n'
};
SOREX_API const char *sorex_database_error(const struct sorex_database *database, enum sorex_database_field field);

/* 'I' outside of a transaction, 'T' in one, 'E' in one that failed: after the last statement. */
SOREX_API char sorex_database_transaction(const struct sorex_database *database);
/* Not 0 when only sorex_database_restore or sorex_database_close is left. */
SOREX_API int sorex_database_broken(const struct sorex_database *database);

/* ---- results ---- */

/* With all that follow it and all that they gave out. NULL is ignored. */
SOREX_API void sorex_result_free(struct sorex_result *result);
/* Of the next statement; NULL behind the last. The first one's. */
SOREX_API struct sorex_result *sorex_result_next(const struct sorex_result *result);

SOREX_API size_t sorex_result_columns(const struct sorex_result *result); /* 0: a statement without rows */
SOREX_API const char *sorex_result_column_name(const struct sorex_result *result, size_t column);
SOREX_API uint32_t sorex_result_column_type(const struct sorex_result *result, size_t column); /* pg_type.oid */
SOREX_API size_t sorex_result_rows(const struct sorex_result *result);
/* The values of a row, as many as there are columns. Valid until sorex_result_free. */
SOREX_API const struct sorex_value *sorex_result_row(const struct sorex_result *result, size_t row);
/* What the statement did, as psql prints it ("INSERT 0 3", "CREATE TABLE"), and how many rows that were. */
SOREX_API const char *sorex_result_tag(const struct sorex_result *result);
SOREX_API uint64_t sorex_result_affected(const struct sorex_result *result);

/* ---- states ---- */

/* Keeps the whole state, also inside of a transaction and with prepared statements; costs what was written since the
 * last one. *out_snapshot is the caller's, to be given to sorex_snapshot_free; it outlives the database.
 * Errors: SOREX_INVALID  the database is broken; SOREX_NOMEM, SOREX_IO. */
SOREX_API enum sorex_status sorex_database_snapshot(struct sorex_database *database,
                                                    struct sorex_snapshot **out_snapshot, struct sorex_error *err);
/* NULL is ignored. Thread: any. */
SOREX_API void sorex_snapshot_free(struct sorex_snapshot *snapshot);

/* Back to a state of this database or of one that it was forked from, also when it is broken.
 * Errors: SOREX_NOMEM, SOREX_IO: it is broken. */
SOREX_API enum sorex_status sorex_database_restore(struct sorex_database *database,
                                                   const struct sorex_snapshot *snapshot, struct sorex_error *err);

/* Another database that begins in a state of this one, or of one that it was forked from, with this one's limits; they
 * share memory until one of them writes. A fork costs 2 ms.
 *
 * snapshot   NULL: as the database is now.
 * Ownership: *out_database is the caller's, to be given to sorex_database_close; it may outlive the one it came from.
 * Errors:    SOREX_INVALID  it is broken, and there is no snapshot; SOREX_LIMIT; SOREX_NOMEM, SOREX_IO.
 * Thread:    with a snapshot any, while the database is open. */
SOREX_API enum sorex_status sorex_database_fork(struct sorex_database *database, const struct sorex_snapshot *snapshot,
                                                struct sorex_database **out_database, struct sorex_error *err);

/* The state as bytes (docs/formats/database-image.md): equal databases have equal hashes, whatever machine they are on.
 *
 * out_hash   SOREX_HASH_BYTES, or NULL.
 * Ownership: *out_image (*out_len bytes) is the caller's, to be given to free().
 * Errors:    SOREX_INVALID  the database is broken; SOREX_NOMEM, SOREX_IO. */
SOREX_API enum sorex_status sorex_database_export(struct sorex_database *database, void **out_image, size_t *out_len,
                                                  uint8_t *out_hash, struct sorex_error *err);
/* The same into a file, which is replaced whole or not at all. */
SOREX_API enum sorex_status sorex_database_export_file(struct sorex_database *database, const char *path,
                                                       uint8_t *out_hash, struct sorex_error *err);

/* SHA-256 over the rows of all tables outside of the system's schemas: equal for equal contents, however they came to
 * be and in whatever order. Changes nothing. out_digest: SOREX_HASH_BYTES. Errors: SOREX_INVALID  in a failed
 * transaction, or broken; SOREX_NOMEM, SOREX_IO. */
SOREX_API enum sorex_status sorex_database_digest(struct sorex_database *database, uint8_t *out_digest,
                                                  struct sorex_error *err);

#ifdef __cplusplus
}
#endif
#endif
