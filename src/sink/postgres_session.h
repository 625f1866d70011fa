/* A session with PostgreSQL, over one of two transports: libpq's connection to a server (postgres_libpq.h), or a
 * database in this process (postgres_embedded.h). Statements, COPY, and what becomes of an error.
 *
 * Statuses: SOREX_AGAIN when the connection is lost or the SQLSTATE says that the same statement may succeed later (08,
 * 53, 57P, 40001, 40P01, 55P03, 25006); then the session is closed, which ends the transaction. SOREX_IO with the
 * server's message and SQLSTATE otherwise; the transaction is still open and failed. An embedded database has no
 * connection, and what it has no room for now it never has: postgres_embedded.h. Thread: the sink's, except
 * postgres_session_interrupt. */
#ifndef SOREX_SINK_POSTGRES_SESSION_H
#define SOREX_SINK_POSTGRES_SESSION_H

#include "base/arena.h"

#define POSTGRES_NAME_BYTES_MAX 63 /* of an identifier: NAMEDATALEN - 1 */
#define POSTGRES_PARAMS_MAX 8

struct postgres_session;

/* What a query gave, as text. */
struct postgres_rows {
    struct arena arena;
    size_t count, columns;
    const char **values; /* row by row; NULL: SQL NULL */
};

struct postgres_transport {
    void (*free)(struct postgres_session *session);
    enum sorex_status (*open)(struct postgres_session *session, struct sorex_error *err);
    void (*close)(struct postgres_session *session);
    void (*interrupt)(struct postgres_session *session);
    void (*time_set)(struct postgres_session *session, uint64_t time_ms);
    enum sorex_status (*exec)(struct postgres_session *session, const char *sql, struct sorex_error *err);
    enum sorex_status (*query)(struct postgres_session *session, const char *sql, int count, const char *const *params,
                               struct postgres_rows *out, struct sorex_error *err);
    enum sorex_status (*prepare)(struct postgres_session *session, const char *sql, struct sorex_error *err);
    enum sorex_status (*send)(struct postgres_session *session, struct bytes param, struct sorex_error *err);
    enum sorex_status (*wait)(struct postgres_session *session, struct sorex_error *err);
    void (*rollback)(struct postgres_session *session);
    enum sorex_status (*copy_begin)(struct postgres_session *session, const char *sql, struct sorex_error *err);
    enum sorex_status (*copy_put)(struct postgres_session *session, struct bytes rows, struct sorex_error *err);
    enum sorex_status (*copy_end)(struct postgres_session *session, struct sorex_error *err);
    void (*copy_abandon)(struct postgres_session *session);
};

/* The first member of a transport's own. */
struct postgres_session {
    const struct postgres_transport *transport;
    uint64_t opened;  /* how often it was opened: what a session holds is gone in the next one */
    char sqlstate[6]; /* of the last failure; "" when it had none */
};

void postgres_session_free(struct postgres_session *session); /* NULL is fine */

/* Connects when there is no connection, and sets what the sink relies on. */
enum sorex_status postgres_session_open(struct postgres_session *session, struct sorex_error *err);
void postgres_session_close(struct postgres_session *session);
/* Breaks what blocks; everything after it is SOREX_AGAIN. Thread: any. */
void postgres_session_interrupt(struct postgres_session *session);
/* What time it is for the next transaction, where that is ours to say. */
void postgres_session_time_set(struct postgres_session *session, uint64_t time_ms);

/* One or more statements without parameters and results. */
enum sorex_status postgres_exec(struct postgres_session *session, const char *sql, struct sorex_error *err);
/* One statement with text parameters (NULL: SQL NULL). out may be NULL; else pair with postgres_rows_deinit, also after
 * a failure. */
enum sorex_status postgres_query(struct postgres_session *session, const char *sql, int count,
                                 const char *const *params, struct postgres_rows *out, struct sorex_error *err);
/* One statement with one parameter in binary format, run again and again while the caller goes on: postgres_prepare
 * once, then postgres_send. Each waits for what was sent before it; postgres_wait for the last one. The server forgets
 * the statement with the next one of another kind. Errors: also those of what was sent before. */
enum sorex_status postgres_prepare(struct postgres_session *session, const char *sql, struct sorex_error *err);
enum sorex_status postgres_send(struct postgres_session *session, struct bytes param, struct sorex_error *err);
enum sorex_status postgres_wait(struct postgres_session *session, struct sorex_error *err);
/* Takes back what is not committed; closes the session when even that fails. */
void postgres_rollback(struct postgres_session *session);

/* COPY ... FROM STDIN. After a failure of begin or put the COPY is over. */
enum sorex_status postgres_copy_begin(struct postgres_session *session, const char *sql, struct sorex_error *err);
enum sorex_status postgres_copy_put(struct postgres_session *session, struct bytes rows, struct sorex_error *err);
enum sorex_status postgres_copy_end(struct postgres_session *session, struct sorex_error *err);
/* Ends the COPY with a failure, which fails the transaction. */
void postgres_copy_abandon(struct postgres_session *session);

/* Borrowed from rows; "" where it is SQL NULL. */
static inline const char *postgres_value(const struct postgres_rows *rows, size_t row, size_t column)
{
    const char *value = rows->values[row * rows->columns + column];
    return value == NULL ? "" : value;
}
static inline bool postgres_null(const struct postgres_rows *rows, size_t row, size_t column)
{
    return rows->values[row * rows->columns + column] == NULL;
}
void postgres_rows_deinit(struct postgres_rows *rows);

/* A quoted identifier, malloc'ed. Errors: SOREX_INVALID: empty, longer than 63 bytes, with a NUL in it, no UTF-8. */
enum sorex_status postgres_identifier(struct bytes name, char **out, struct sorex_error *err);

/* ---- for the transports */

/* Room for that many values; out was zeroed. */
enum sorex_status postgres_rows_make(struct postgres_rows *out, size_t count, size_t columns, struct sorex_error *err);
/* A copy of the next value; values come in order. */
enum sorex_status postgres_rows_put(struct postgres_rows *out, size_t at, struct bytes value, struct sorex_error *err);
/* What the sink relies on. Times without a zone mean UTC. A commit that the server reports but loses in a crash would
 * leave the target behind an outbox that was trimmed meanwhile, so it must be durable. The joins are with keys of one
 * batch: always by index. Arrays of keys are planned by their length: many keys take a bitmap scan; a plain one would
 * clean the index's page at each of them (plan_cache_mode came with PostgreSQL 12; 11 may change its mind after five).
 */
#define POSTGRES_SETTINGS                                                                                 \
    "SET timezone = 'UTC'; SET lock_timeout = '10s'; SET enable_hashjoin = off; "                         \
    "SET enable_mergejoin = off; SET standard_conforming_strings = on; SET client_min_messages = error; " \
    "SELECT set_config(name, 'force_custom_plan', false) FROM pg_catalog.pg_settings "                    \
    "WHERE name = 'plan_cache_mode'"
/* Of a server: what is embedded becomes durable with the store. */
#define POSTGRES_SETTINGS_DURABLE                           \
    "SELECT set_config('synchronous_commit', 'on', false) " \
    "WHERE current_setting('synchronous_commit') = 'off'; "

#endif
