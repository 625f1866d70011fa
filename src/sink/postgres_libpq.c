#include "sink/postgres_libpq.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"

#define CONNECT_TIMEOUT_MS 10000
#define POLL_MS 100

static struct postgres_libpq *libpq_of(struct postgres_session *session) { return (struct postgres_libpq *)session; }

static void socket_set(struct postgres_libpq *pq, int socket)
{
    (void)pthread_mutex_lock(&pq->interrupt_lock);
    pq->socket = socket;
    (void)pthread_mutex_unlock(&pq->interrupt_lock);
}

static bool interrupted(struct postgres_libpq *pq)
{
    (void)pthread_mutex_lock(&pq->interrupt_lock);
    bool is = pq->interrupted;
    (void)pthread_mutex_unlock(&pq->interrupt_lock);
    return is;
}

static void libpq_close(struct postgres_session *session)
{
    struct postgres_libpq *pq = libpq_of(session);
    socket_set(pq, -1);
    PQfinish(pq->connection);
    pq->connection = NULL;
    pq->working = false;
}

static void libpq_interrupt(struct postgres_session *session)
{
    struct postgres_libpq *pq = libpq_of(session);
    (void)pthread_mutex_lock(&pq->interrupt_lock);
    pq->interrupted = true;
    if (pq->socket >= 0)
        (void)shutdown(pq->socket, SHUT_RDWR);
    (void)pthread_mutex_unlock(&pq->interrupt_lock);
}

/* ---- failures ---- */

static bool transient(const char *sqlstate)
{
    static const char *const prefixes[] = {"08", "53", "57P", "40001", "40P01", "55P03", "25006"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(sqlstate, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

/* libpq ends its messages with a line break and may put several lines into one. */
static void message_copy(char out[SOREX_ERROR_TEXT_MAX], const char *message)
{
    size_t len = 0;
    for (; *message != '\0' && len < SOREX_ERROR_TEXT_MAX - 64; message++)
        out[len++] = *message == '\n' ? ' ' : *message;
    while (len > 0 && out[len - 1] == ' ')
        len--;
    out[len] = '\0';
}

static enum sorex_status connection_failure(struct postgres_libpq *pq, struct sorex_error *err)
{
    char text[SOREX_ERROR_TEXT_MAX];
    message_copy(text, pq->connection == NULL ? "out of memory" : PQerrorMessage(pq->connection));
    bool password = pq->connection != NULL && PQconnectionNeedsPassword(pq->connection) == 1;
    libpq_close(&pq->session);
    pq->session.sqlstate[0] = '\0';
    if (password)
        return sorex_error_set(err, SOREX_INVALID, "PostgreSQL wants a password, and url has none");
    if (interrupted(pq))
        return sorex_error_set(err, SOREX_AGAIN, "interrupted");
    return sorex_error_set(err, SOREX_AGAIN, "PostgreSQL: %s", text[0] == '\0' ? "connection lost" : text);
}

/* A connection that the server refuses leaves no result that has a SQLSTATE, but a verbose message has it behind the
 * severity, in every language: "FATAL:  28P01: password authentication failed". Of several hosts, that of the last one.
 */
static const char *code_find(const char *message)
{
    const char *found = NULL;
    for (const char *at = strstr(message, ":  "); at != NULL; at = strstr(at + 1, ":  "))
        if (strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && strncmp(at + 8, ": ", 2) == 0)
            found = at + 3;
    return found;
}

/* Neither time nor another attempt helps: authentication, database, the right to connect. */
static bool refused(const char *sqlstate)
{
    return strncmp(sqlstate, "28", 2) == 0 || strcmp(sqlstate, "3D000") == 0 || strcmp(sqlstate, "42501") == 0;
}

static enum sorex_status connect_failure(struct postgres_libpq *pq, struct sorex_error *err)
{
    const char *message = PQerrorMessage(pq->connection);
    const char *code = code_find(message);
    if (code == NULL || PQconnectionNeedsPassword(pq->connection) == 1 || interrupted(pq))
        return connection_failure(pq, err);
    char text[SOREX_ERROR_TEXT_MAX];
    (void)snprintf(text, sizeof text, "%.*s%.*s", (int)(code - message), message, (int)strcspn(code + 7, "\n"),
                   code + 7);
    message_copy(text, text);
    (void)snprintf(pq->session.sqlstate, sizeof pq->session.sqlstate, "%.5s", code);
    libpq_close(&pq->session);
    return sorex_error_set(err, refused(pq->session.sqlstate) ? SOREX_INVALID : SOREX_AGAIN,
                           "PostgreSQL: %s (SQLSTATE %s)", text, pq->session.sqlstate);
}

static enum sorex_status result_failure(struct postgres_libpq *pq, PGresult *result, struct sorex_error *err)
{
    const char *state = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (PQstatus(pq->connection) == CONNECTION_BAD || state == NULL) {
        PQclear(result);
        return connection_failure(pq, err);
    }
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    (void)snprintf(pq->session.sqlstate, sizeof pq->session.sqlstate, "%s", state);
    char text[SOREX_ERROR_TEXT_MAX];
    message_copy(text, primary == NULL ? "" : primary);
    char more[SOREX_ERROR_TEXT_MAX];
    message_copy(more, detail == NULL ? "" : detail);
    enum sorex_status status = transient(state) ? SOREX_AGAIN : SOREX_IO;
    (void)sorex_error_set(err, status, "PostgreSQL: %s%s%s (SQLSTATE %s)", text, more[0] == '\0' ? "" : ": ", more,
                          state);
    PQclear(result);
    if (status == SOREX_AGAIN)
        libpq_close(&pq->session);
    return status;
}

/* ---- connecting ---- */

static enum sorex_status connect_start(struct postgres_libpq *pq, struct sorex_error *err)
{
    /* Later words win, so url may say otherwise, except about the encoding. */
    const char *words[] = {
        "fallback_application_name", "keepalives_idle", "tcp_user_timeout", "dbname", "client_encoding", NULL};
    const char *values[] = {"sorex", "30", "60000", pq->url, "UTF8", NULL};
    pq->connection = PQconnectStartParams(words, values, 1);
    if (pq->connection == NULL || PQstatus(pq->connection) == CONNECTION_BAD)
        return connection_failure(pq, err);
    (void)PQsetErrorVerbosity(pq->connection, PQERRORS_VERBOSE);
    return SOREX_OK;
}

/* PQconnectdb, but an interrupt ends it. */
static enum sorex_status connect_finish(struct postgres_libpq *pq, struct sorex_error *err)
{
    uint64_t deadline = clock_ms() + CONNECT_TIMEOUT_MS;
    PostgresPollingStatusType wants = PGRES_POLLING_WRITING;
    while (wants != PGRES_POLLING_OK) {
        if (wants == PGRES_POLLING_FAILED || interrupted(pq))
            return connect_failure(pq, err);
        if (clock_ms() > deadline) {
            libpq_close(&pq->session);
            return sorex_error_set(err, SOREX_AGAIN, "PostgreSQL: no answer within %d s", CONNECT_TIMEOUT_MS / 1000);
        }
        struct pollfd wait = {.fd = PQsocket(pq->connection),
                              .events = wants == PGRES_POLLING_READING ? POLLIN : POLLOUT};
        int ready = poll(&wait, 1, POLL_MS);
        if (ready < 0 && errno != EINTR)
            return connection_failure(pq, err);
        if (ready > 0)
            wants = PQconnectPoll(pq->connection);
    }
    (void)PQsetErrorVerbosity(pq->connection, PQERRORS_DEFAULT);
    socket_set(pq, PQsocket(pq->connection));
    if (interrupted(pq))
        return connection_failure(pq, err);
    return SOREX_OK;
}

static void notice_drop(void *user_data, const PGresult *result)
{
    (void)user_data;
    (void)result;
}

static enum sorex_status libpq_exec(struct postgres_session *session, const char *sql, struct sorex_error *err);

static enum sorex_status libpq_open(struct postgres_session *session, struct sorex_error *err)
{
    struct postgres_libpq *pq = libpq_of(session);
    if (interrupted(pq)) {
        libpq_close(&pq->session);
        return sorex_error_set(err, SOREX_AGAIN, "interrupted");
    }
    if (pq->connection != NULL)
        return SOREX_OK;
    TRY(connect_start(pq, err));
    TRY(connect_finish(pq, err));
    (void)PQsetNoticeReceiver(pq->connection, notice_drop, NULL);
    pq->session.opened++;
    enum sorex_status status = libpq_exec(session, POSTGRES_SETTINGS_DURABLE POSTGRES_SETTINGS, err);
    if (status != SOREX_OK)
        libpq_close(&pq->session);
    return status;
}

/* ---- statements ---- */

static enum sorex_status closed(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_AGAIN, "PostgreSQL: connection lost");
}

static enum sorex_status rows_take(const PGresult *result, struct postgres_rows *out, struct sorex_error *err)
{
    int count = PQntuples(result);
    int columns = PQnfields(result);
    TRY(postgres_rows_make(out, (size_t)count, (size_t)columns, err));
    for (int i = 0; i < count * columns; i++) {
        int row = i / columns, column = i % columns;
        struct bytes value = bytes_of(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
        if (PQgetisnull(result, row, column) == 0)
            TRY(postgres_rows_put(out, (size_t)i, value, err));
    }
    return SOREX_OK;
}

static enum sorex_status result_check(struct postgres_libpq *pq, PGresult *result, struct postgres_rows *out,
                                      struct sorex_error *err)
{
    ExecStatusType kind = PQresultStatus(result);
    if (kind != PGRES_COMMAND_OK && kind != PGRES_TUPLES_OK)
        return result_failure(pq, result, err);
    enum sorex_status status = out == NULL ? SOREX_OK : rows_take(result, out, err);
    PQclear(result);
    return status;
}

static enum sorex_status libpq_exec(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    struct postgres_libpq *pq = libpq_of(session);
    if (pq->connection == NULL)
        return closed(err);
    return result_check(pq, PQexec(pq->connection, sql), NULL, err);
}

static enum sorex_status libpq_query(struct postgres_session *session, const char *sql, int count,
                                     const char *const *params, struct postgres_rows *out, struct sorex_error *err)
{
    struct postgres_libpq *pq = libpq_of(session);
    if (pq->connection == NULL)
        return closed(err);
    return result_check(pq, PQexecParams(pq->connection, sql, count, NULL, params, NULL, NULL, 0), out, err);
}

/* All that the server answers, after which the connection takes statements again. */
static enum sorex_status answers_take(struct postgres_libpq *pq, struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    PGresult *result;
    while (pq->connection != NULL && (result = PQgetResult(pq->connection)) != NULL) {
        if (status == SOREX_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
            status = result_failure(pq, result, err);
        else
            PQclear(result);
    }
    return status;
}

static enum sorex_status libpq_wait(struct postgres_session *session, struct sorex_error *err)
{
    struct postgres_libpq *pq = libpq_of(session);
    if (pq->connection == NULL)
        return closed(err);
    if (!pq->working)
        return SOREX_OK;
    pq->working = false;
    return answers_take(pq, err);
}

static enum sorex_status libpq_prepare(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    struct postgres_libpq *pq = libpq_of(session);
    TRY(libpq_wait(&pq->session, err));
    if (PQsendPrepare(pq->connection, "", sql, 1, NULL) != 1)
        return connection_failure(pq, err);
    pq->working = true;
    return SOREX_OK;
}

static enum sorex_status libpq_send(struct postgres_session *session, struct bytes param, struct sorex_error *err)
{
    struct postgres_libpq *pq = libpq_of(session);
    CHECK(param.len <= INT32_MAX);
    TRY(libpq_wait(&pq->session, err));
    const char *values[] = {(const char *)param.data};
    const int lengths[] = {(int)param.len};
    const int formats[] = {1};
    if (PQsendQueryPrepared(pq->connection, "", 1, values, lengths, formats, 0) != 1)
        return connection_failure(pq, err);
    pq->working = true;
    return SOREX_OK;
}

static void libpq_rollback(struct postgres_session *session)
{
    struct postgres_libpq *pq = libpq_of(session);
    if (pq->connection == NULL || PQtransactionStatus(pq->connection) == PQTRANS_IDLE)
        return;
    struct sorex_error ignored;
    (void)libpq_wait(&pq->session, &ignored);
    if (pq->connection != NULL && libpq_exec(&pq->session, "ROLLBACK", &ignored) != SOREX_OK)
        libpq_close(&pq->session);
}

static enum sorex_status libpq_copy_begin(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    struct postgres_libpq *pq = libpq_of(session);
    if (pq->connection == NULL)
        return closed(err);
    PGresult *result = PQexec(pq->connection, sql);
    if (PQresultStatus(result) != PGRES_COPY_IN)
        return result_failure(pq, result, err);
    PQclear(result);
    return SOREX_OK;
}

static enum sorex_status libpq_copy_put(struct postgres_session *session, struct bytes rows, struct sorex_error *err)
{
    struct postgres_libpq *pq = libpq_of(session);
    CHECK(rows.len <= INT32_MAX);
    if (PQputCopyData(pq->connection, (const char *)rows.data, (int)rows.len) == 1)
        return SOREX_OK;
    return connection_failure(pq, err);
}

static enum sorex_status libpq_copy_end(struct postgres_session *session, struct sorex_error *err)
{
    struct postgres_libpq *pq = libpq_of(session);
    if (PQputCopyEnd(pq->connection, NULL) != 1)
        return connection_failure(pq, err);
    return answers_take(pq, err);
}

static void libpq_copy_abandon(struct postgres_session *session)
{
    struct postgres_libpq *pq = libpq_of(session);
    struct sorex_error ignored;
    if (pq->connection == NULL)
        return;
    if (PQputCopyEnd(pq->connection, "abandoned") != 1)
        libpq_close(&pq->session);
    else
        (void)answers_take(pq, &ignored);
}

/* ---- */

static void libpq_free(struct postgres_session *session)
{
    struct postgres_libpq *pq = libpq_of(session);
    libpq_close(session);
    (void)pthread_mutex_destroy(&pq->interrupt_lock);
    free(pq->url);
    free(pq);
}

static const struct postgres_transport libpq = {
    .free = libpq_free,
    .open = libpq_open,
    .close = libpq_close,
    .interrupt = libpq_interrupt,
    .exec = libpq_exec,
    .query = libpq_query,
    .prepare = libpq_prepare,
    .send = libpq_send,
    .wait = libpq_wait,
    .rollback = libpq_rollback,
    .copy_begin = libpq_copy_begin,
    .copy_put = libpq_copy_put,
    .copy_end = libpq_copy_end,
    .copy_abandon = libpq_copy_abandon,
};

static enum sorex_status url_check(const char *url, struct sorex_error *err)
{
    char *reason = NULL;
    PQconninfoOption *parsed = PQconninfoParse(url, &reason);
    if (parsed == NULL) {
        size_t len = reason == NULL ? 0 : strcspn(reason, "\n");
        (void)sorex_error_set(err, SOREX_INVALID, "url: %.*s", (int)len, reason == NULL ? "" : reason);
        PQfreemem(reason);
        return SOREX_INVALID;
    }
    PQconninfoFree(parsed);
    return SOREX_OK;
}

enum sorex_status postgres_libpq_new(const char *url, struct postgres_session **out, struct sorex_error *err)
{
    TRY(url_check(url, err));
    struct postgres_libpq *pq = calloc(1, sizeof *pq);
    if (pq == NULL || (pq->url = strdup(url)) == NULL) {
        free(pq);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    pq->session.transport = &libpq;
    pq->socket = -1;
    CHECK(pthread_mutex_init(&pq->interrupt_lock, NULL) == 0);
    *out = &pq->session;
    return SOREX_OK;
}
