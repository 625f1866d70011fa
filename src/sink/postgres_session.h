/* One connection to PostgreSQL: statements, COPY, and the one place where a server's answer becomes a status.
 *
 * Statuses: SOREX_AGAIN when the connection is lost or the SQLSTATE says that the same statement may succeed later (08,
 * 53, 57P, 40001, 40P01, 55P03, 25006); then the connection is closed, which ends the transaction. SOREX_IO with the
 * server's message and SQLSTATE otherwise; the transaction is still open and failed. Thread: the sink's, except
 * postgres_session_interrupt. */
#ifndef SOREX_SINK_POSTGRES_SESSION_H
#define SOREX_SINK_POSTGRES_SESSION_H

#include <libpq-fe.h>
#include <pthread.h>

#include "base/bytes.h"

#define POSTGRES_NAME_BYTES_MAX 63 /* of an identifier: NAMEDATALEN - 1 */
#define POSTGRES_PARAMS_MAX 8

struct postgres_session {
    char *url;
    PGconn *connection;             /* NULL when closed */
    uint64_t opened;                /* how often it was connected */
    char sqlstate[6];               /* of the last failure; "" when it had none */
    bool working;                   /* the server has been sent something whose answer was not taken */
    pthread_mutex_t interrupt_lock; /* the two below */
    int socket;                     /* -1 when closed */
    bool interrupted;
};

/* url: a conninfo string or URI; copied. Errors: SOREX_INVALID when it does not parse. Does not connect. */
enum sorex_status postgres_session_init(struct postgres_session *session, const char *url, struct sorex_error *err);
void postgres_session_deinit(struct postgres_session *session);

/* Connects when there is no connection, and sets what the sink relies on. */
enum sorex_status postgres_session_open(struct postgres_session *session, struct sorex_error *err);
void postgres_session_close(struct postgres_session *session);
/* Breaks what blocks; everything after it is SOREX_AGAIN. Thread: any. */
void postgres_session_interrupt(struct postgres_session *session);

/* One or more statements without parameters and results. */
enum sorex_status postgres_exec(struct postgres_session *session, const char *sql, struct sorex_error *err);
/* One statement with text parameters (NULL: SQL NULL). *out_result may be NULL; else pair with PQclear. */
enum sorex_status postgres_query(struct postgres_session *session, const char *sql, int count,
                                 const char *const *params, PGresult **out_result, struct sorex_error *err);
/* One statement with one parameter in binary format, run again and again while the caller goes on: postgres_prepare
 * once, then postgres_send. Each waits for what was sent before it; postgres_wait for the last one. The server forgets
 * the statement with the next one of another kind. Errors: also those of what was sent before. */
enum sorex_status postgres_prepare(struct postgres_session *session, const char *sql, struct sorex_error *err);
enum sorex_status postgres_send(struct postgres_session *session, struct bytes param, struct sorex_error *err);
enum sorex_status postgres_wait(struct postgres_session *session, struct sorex_error *err);
/* ROLLBACK when there is a connection; closes it when even that fails. */
void postgres_rollback(struct postgres_session *session);

/* COPY ... FROM STDIN. After a failure of begin or put the COPY is over. */
enum sorex_status postgres_copy_begin(struct postgres_session *session, const char *sql, struct sorex_error *err);
enum sorex_status postgres_copy_put(struct postgres_session *session, struct bytes rows, struct sorex_error *err);
enum sorex_status postgres_copy_end(struct postgres_session *session, struct sorex_error *err);
/* Ends the COPY with a failure, which fails the transaction. */
void postgres_copy_abandon(struct postgres_session *session);

/* A quoted identifier, malloc'ed. Errors: SOREX_INVALID: empty, longer than 63 bytes, or with a NUL in it. */
enum sorex_status postgres_identifier(struct postgres_session *session, struct bytes name, char **out,
                                      struct sorex_error *err);

#endif
