#include "sink/postgres_session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"

#define CONNECT_TIMEOUT_MS 10000
#define POLL_MS 100

enum sorex_status postgres_session_init(struct postgres_session *session, const char *url, struct sorex_error *err)
{
    *session = (struct postgres_session){.socket = -1};
    char *reason = NULL;
    PQconninfoOption *parsed = PQconninfoParse(url, &reason);
    if (parsed == NULL) {
        size_t len = reason == NULL ? 0 : strcspn(reason, "\n");
        (void)sorex_error_set(err, SOREX_INVALID, "url: %.*s", (int)len, reason == NULL ? "" : reason);
        PQfreemem(reason);
        return SOREX_INVALID;
    }
    PQconninfoFree(parsed);
    session->url = strdup(url);
    if (session->url == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    CHECK(pthread_mutex_init(&session->interrupt_lock, NULL) == 0);
    return SOREX_OK;
}

void postgres_session_deinit(struct postgres_session *session)
{
    if (session->url == NULL)
        return;
    postgres_session_close(session);
    (void)pthread_mutex_destroy(&session->interrupt_lock);
    free(session->url);
    session->url = NULL;
}

static void socket_set(struct postgres_session *session, int socket)
{
    (void)pthread_mutex_lock(&session->interrupt_lock);
    session->socket = socket;
    (void)pthread_mutex_unlock(&session->interrupt_lock);
}

static bool interrupted(struct postgres_session *session)
{
    (void)pthread_mutex_lock(&session->interrupt_lock);
    bool is = session->interrupted;
    (void)pthread_mutex_unlock(&session->interrupt_lock);
    return is;
}

void postgres_session_close(struct postgres_session *session)
{
    socket_set(session, -1);
    PQfinish(session->connection);
    session->connection = NULL;
    session->working = false;
}

void postgres_session_interrupt(struct postgres_session *session)
{
    (void)pthread_mutex_lock(&session->interrupt_lock);
    session->interrupted = true;
    if (session->socket >= 0)
        (void)shutdown(session->socket, SHUT_RDWR);
    (void)pthread_mutex_unlock(&session->interrupt_lock);
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

static enum sorex_status connection_failure(struct postgres_session *session, struct sorex_error *err)
{
    char text[SOREX_ERROR_TEXT_MAX];
    message_copy(text, session->connection == NULL ? "out of memory" : PQerrorMessage(session->connection));
    bool password = session->connection != NULL && PQconnectionNeedsPassword(session->connection) == 1;
    postgres_session_close(session);
    session->sqlstate[0] = '\0';
    if (password)
        return sorex_error_set(err, SOREX_INVALID, "PostgreSQL wants a password, and url has none");
    if (interrupted(session))
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

static enum sorex_status connect_failure(struct postgres_session *session, struct sorex_error *err)
{
    const char *message = PQerrorMessage(session->connection);
    const char *code = code_find(message);
    if (code == NULL || PQconnectionNeedsPassword(session->connection) == 1 || interrupted(session))
        return connection_failure(session, err);
    char text[SOREX_ERROR_TEXT_MAX];
    (void)snprintf(text, sizeof text, "%.*s%.*s", (int)(code - message), message, (int)strcspn(code + 7, "\n"),
                   code + 7);
    message_copy(text, text);
    (void)snprintf(session->sqlstate, sizeof session->sqlstate, "%.5s", code);
    postgres_session_close(session);
    return sorex_error_set(err, refused(session->sqlstate) ? SOREX_INVALID : SOREX_AGAIN,
                           "PostgreSQL: %s (SQLSTATE %s)", text, session->sqlstate);
}

static enum sorex_status result_failure(struct postgres_session *session, PGresult *result, struct sorex_error *err)
{
    const char *state = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (PQstatus(session->connection) == CONNECTION_BAD || state == NULL) {
        PQclear(result);
        return connection_failure(session, err);
    }
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    (void)snprintf(session->sqlstate, sizeof session->sqlstate, "%s", state);
    char text[SOREX_ERROR_TEXT_MAX];
    message_copy(text, primary == NULL ? "" : primary);
    char more[SOREX_ERROR_TEXT_MAX];
    message_copy(more, detail == NULL ? "" : detail);
    enum sorex_status status = transient(state) ? SOREX_AGAIN : SOREX_IO;
    (void)sorex_error_set(err, status, "PostgreSQL: %s%s%s (SQLSTATE %s)", text, more[0] == '\0' ? "" : ": ", more,
                          state);
    PQclear(result);
    if (status == SOREX_AGAIN)
        postgres_session_close(session);
    return status;
}

/* ---- connecting ---- */

static enum sorex_status connect_start(struct postgres_session *session, struct sorex_error *err)
{
    /* Later words win, so url may say otherwise, except about the encoding. */
    const char *words[] = {
        "fallback_application_name", "keepalives_idle", "tcp_user_timeout", "dbname", "client_encoding", NULL};
    const char *values[] = {"sorex", "30", "60000", session->url, "UTF8", NULL};
    session->connection = PQconnectStartParams(words, values, 1);
    if (session->connection == NULL || PQstatus(session->connection) == CONNECTION_BAD)
        return connection_failure(session, err);
    (void)PQsetErrorVerbosity(session->connection, PQERRORS_VERBOSE);
    return SOREX_OK;
}

/* PQconnectdb, but an interrupt ends it. */
static enum sorex_status connect_finish(struct postgres_session *session, struct sorex_error *err)
{
    uint64_t deadline = clock_ms() + CONNECT_TIMEOUT_MS;
    PostgresPollingStatusType wants = PGRES_POLLING_WRITING;
    while (wants != PGRES_POLLING_OK) {
        if (wants == PGRES_POLLING_FAILED || interrupted(session))
            return connect_failure(session, err);
        if (clock_ms() > deadline) {
            postgres_session_close(session);
            return sorex_error_set(err, SOREX_AGAIN, "PostgreSQL: no answer within %d s", CONNECT_TIMEOUT_MS / 1000);
        }
        struct pollfd wait = {.fd = PQsocket(session->connection),
                              .events = wants == PGRES_POLLING_READING ? POLLIN : POLLOUT};
        int ready = poll(&wait, 1, POLL_MS);
        if (ready < 0 && errno != EINTR)
            return connection_failure(session, err);
        if (ready > 0)
            wants = PQconnectPoll(session->connection);
    }
    (void)PQsetErrorVerbosity(session->connection, PQERRORS_DEFAULT);
    socket_set(session, PQsocket(session->connection));
    if (interrupted(session))
        return connection_failure(session, err);
    return SOREX_OK;
}

static void notice_drop(void *user_data, const PGresult *result)
{
    (void)user_data;
    (void)result;
}

/* Times without a zone mean UTC. A commit that the server reports but loses in a crash would leave the target behind an
 * outbox that was trimmed meanwhile, so it must be durable. The joins are with keys of one batch: always by index.
 * Arrays of keys are planned by their length: many keys take a bitmap scan; a plain one would clean the index's page at
 * each of them (plan_cache_mode came with PostgreSQL 12; 11 may change its mind after five). */
static enum sorex_status settings_set(struct postgres_session *session, struct sorex_error *err)
{
    return postgres_exec(
        session,
        "SET timezone = 'UTC'; SET lock_timeout = '10s'; SET enable_hashjoin = off; "
        "SET enable_mergejoin = off; SET standard_conforming_strings = on; SET client_min_messages = error; "
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'; "
        "SELECT set_config(name, 'force_custom_plan', false) FROM pg_catalog.pg_settings "
        "WHERE name = 'plan_cache_mode'",
        err);
}

enum sorex_status postgres_session_open(struct postgres_session *session, struct sorex_error *err)
{
    if (interrupted(session)) {
        postgres_session_close(session);
        return sorex_error_set(err, SOREX_AGAIN, "interrupted");
    }
    if (session->connection != NULL)
        return SOREX_OK;
    TRY(connect_start(session, err));
    TRY(connect_finish(session, err));
    (void)PQsetNoticeReceiver(session->connection, notice_drop, NULL);
    session->opened++;
    enum sorex_status status = settings_set(session, err);
    if (status != SOREX_OK)
        postgres_session_close(session);
    return status;
}

/* ---- statements ---- */

static enum sorex_status closed(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_AGAIN, "PostgreSQL: connection lost");
}

static enum sorex_status result_check(struct postgres_session *session, PGresult *result, PGresult **out_result,
                                      struct sorex_error *err)
{
    ExecStatusType kind = PQresultStatus(result);
    if (kind != PGRES_COMMAND_OK && kind != PGRES_TUPLES_OK)
        return result_failure(session, result, err);
    if (out_result != NULL)
        *out_result = result;
    else
        PQclear(result);
    return SOREX_OK;
}

enum sorex_status postgres_exec(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    if (session->connection == NULL)
        return closed(err);
    return result_check(session, PQexec(session->connection, sql), NULL, err);
}

enum sorex_status postgres_query(struct postgres_session *session, const char *sql, int count,
                                 const char *const *params, PGresult **out_result, struct sorex_error *err)
{
    if (session->connection == NULL)
        return closed(err);
    PGresult *result = PQexecParams(session->connection, sql, count, NULL, params, NULL, NULL, 0);
    return result_check(session, result, out_result, err);
}

/* All that the server answers, after which the connection takes statements again. */
static enum sorex_status answers_take(struct postgres_session *session, struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    PGresult *result;
    while (session->connection != NULL && (result = PQgetResult(session->connection)) != NULL) {
        if (status == SOREX_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
            status = result_failure(session, result, err);
        else
            PQclear(result);
    }
    return status;
}

enum sorex_status postgres_wait(struct postgres_session *session, struct sorex_error *err)
{
    if (session->connection == NULL)
        return closed(err);
    if (!session->working)
        return SOREX_OK;
    session->working = false;
    return answers_take(session, err);
}

enum sorex_status postgres_prepare(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    TRY(postgres_wait(session, err));
    if (PQsendPrepare(session->connection, "", sql, 1, NULL) != 1)
        return connection_failure(session, err);
    session->working = true;
    return SOREX_OK;
}

enum sorex_status postgres_send(struct postgres_session *session, struct bytes param, struct sorex_error *err)
{
    CHECK(param.len <= INT32_MAX);
    TRY(postgres_wait(session, err));
    const char *values[] = {(const char *)param.data};
    const int lengths[] = {(int)param.len};
    const int formats[] = {1};
    if (PQsendQueryPrepared(session->connection, "", 1, values, lengths, formats, 0) != 1)
        return connection_failure(session, err);
    session->working = true;
    return SOREX_OK;
}

void postgres_rollback(struct postgres_session *session)
{
    if (session->connection == NULL || PQtransactionStatus(session->connection) == PQTRANS_IDLE)
        return;
    struct sorex_error ignored;
    (void)postgres_wait(session, &ignored);
    if (session->connection != NULL && postgres_exec(session, "ROLLBACK", &ignored) != SOREX_OK)
        postgres_session_close(session);
}

enum sorex_status postgres_copy_begin(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    if (session->connection == NULL)
        return closed(err);
    PGresult *result = PQexec(session->connection, sql);
    if (PQresultStatus(result) != PGRES_COPY_IN)
        return result_failure(session, result, err);
    PQclear(result);
    return SOREX_OK;
}

enum sorex_status postgres_copy_put(struct postgres_session *session, struct bytes rows, struct sorex_error *err)
{
    CHECK(rows.len <= INT32_MAX);
    if (PQputCopyData(session->connection, (const char *)rows.data, (int)rows.len) == 1)
        return SOREX_OK;
    return connection_failure(session, err);
}

enum sorex_status postgres_copy_end(struct postgres_session *session, struct sorex_error *err)
{
    if (PQputCopyEnd(session->connection, NULL) != 1)
        return connection_failure(session, err);
    return answers_take(session, err);
}

void postgres_copy_abandon(struct postgres_session *session)
{
    struct sorex_error ignored;
    if (session->connection == NULL)
        return;
    if (PQputCopyEnd(session->connection, "abandoned") != 1)
        postgres_session_close(session);
    else
        (void)answers_take(session, &ignored);
}

enum sorex_status postgres_identifier(struct postgres_session *session, struct bytes name, char **out,
                                      struct sorex_error *err)
{
    if (name.len == 0)
        return sorex_error_set(err, SOREX_INVALID, "an empty name");
    if (name.len > POSTGRES_NAME_BYTES_MAX)
        return sorex_error_set(err, SOREX_INVALID, "the name \"%.*s\" is longer than PostgreSQL's %d bytes",
                               BYTES_FMT(name), POSTGRES_NAME_BYTES_MAX);
    if (memchr(name.data, 0, name.len) != NULL)
        return sorex_error_set(err, SOREX_INVALID, "the name \"%.*s\" has the character U+0000 in it", BYTES_FMT(name));
    if (session->connection == NULL)
        return closed(err);
    char *quoted = PQescapeIdentifier(session->connection, (const char *)name.data, name.len);
    if (quoted == NULL)
        return sorex_error_set(err, SOREX_INVALID, "the name \"%.*s\" is not UTF-8", BYTES_FMT(name));
    *out = strdup(quoted);
    PQfreemem(quoted);
    return *out != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory");
}
