/* PostgreSQL's port, asked by libpq and by raw bytes: sessions that see nothing of one another, heights, COPY,
 * pipelines, cancelling, limits, clients that leave, stall or talk nonsense, its end. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

#undef W_OK /* of access(2); wasi.h has another */

#include "base/clock.h"
#include "base/codec.h"
#include "serve/postgres.h"
#include "serve/states.h"

#define PATIENCE_S 60
#define ENDLESS "select count(*) from generate_series(1, 1000000000000)"

static struct states states;
static struct postgres_port *server;

static int group_setup(void **state)
{
    (void)state;
    states_open(&states, "postgres", "postgres-cache", NULL);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    states_close(&states);
    return 0;
}

static struct postgres_port_options options_default(void)
{
    return (struct postgres_port_options){.address = "0", .states = states_provider(&states)};
}

static void start(const struct postgres_port_options *options)
{
    struct sorex_error err = {0};
    if (postgres_port_start(options, &server, &err) != SOREX_OK)
        fail_msg("%s", err.text);
}

static int setup(void **state)
{
    (void)state;
    struct postgres_port_options options = options_default();
    start(&options);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    postgres_port_stop(server);
    server = NULL;
    return 0;
}

/* ---- clients ---- */

static PGconn *try_connect(const char *more)
{
    char text[512];
    (void)snprintf(text, sizeof text,
                   "host=127.0.0.1 port=%u user=me dbname=postgres sslmode=prefer connect_timeout=%d %s",
                   postgres_port_number(server), PATIENCE_S, more);
    return PQconnectdb(text);
}

static PGconn *client(const char *more)
{
    PGconn *connection = try_connect(more);
    if (PQstatus(connection) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(connection));
    return connection;
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%.400s\" does not have \"%s\"", text, part);
}

static void refused(const char *more, const char *text)
{
    PGconn *connection = try_connect(more);
    assert_int_equal(PQstatus(connection), CONNECTION_BAD);
    assert_has(PQerrorMessage(connection), text);
    PQfinish(connection);
}

/* The only value of a query's result, or its SQLSTATE. */
static void value_is(PGconn *connection, const char *sql, const char *wanted)
{
    PGresult *result = PQexec(connection, sql);
    const char *got = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1
                          ? PQgetvalue(result, 0, 0)
                          : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (PQresultStatus(result) == PGRES_COMMAND_OK)
        got = PQcmdStatus(result);
    if (got == NULL || strcmp(got, wanted) != 0)
        fail_msg("%s: %s, not %s: %s", sql, got == NULL ? "nothing" : got, wanted, PQresultErrorMessage(result));
    PQclear(result);
}

static struct postgres_port_status status_now(void)
{
    struct postgres_port_status status;
    postgres_port_status(server, &status);
    return status;
}

static void wait_a_little(uint64_t until_ms, const char *what)
{
    if (clock_ms() > until_ms)
        fail_msg("gave up waiting for %s", what);
    (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static void wait_sessions(uint32_t wanted)
{
    for (uint64_t until = clock_ms() + PATIENCE_S * 1000; status_now().connections != wanted;)
        wait_a_little(until, "sessions to end");
}

static void wait_busy(uint32_t wanted)
{
    for (uint64_t until = clock_ms() + PATIENCE_S * 1000; status_now().busy != wanted;)
        wait_a_little(until, "statements to begin");
}

/* ---- raw sockets ---- */

static int raw(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(postgres_port_number(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static void raw_send(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

#define RAW(fd, literal) raw_send(fd, literal, sizeof(literal) - 1)
#define STARTUP "\0\0\0\x20\0\3\0\0user\0u\0database\0states\0\0"

/* Reads up to the next message of that type; false: the connection ended. */
static bool raw_until(int fd, char type)
{
    uint8_t header[5], rest[65536];
    do {
        if (recv(fd, header, sizeof header, MSG_WAITALL) != (ssize_t)sizeof header)
            return false;
        size_t len = u32be_get(header + 1) - 4;
        assert_true(len <= sizeof rest);
        if (len > 0 && recv(fd, rest, len, MSG_WAITALL) != (ssize_t)len)
            return false;
    } while (header[0] != (uint8_t)type);
    return true;
}

static int raw_session(void)
{
    int fd = raw();
    RAW(fd, STARTUP);
    assert_true(raw_until(fd, 'Z'));
    return fd;
}

static void raw_query(int fd, const char *sql)
{
    uint8_t header[5] = {'Q'};
    u32be_put(header + 1, (uint32_t)strlen(sql) + 5);
    raw_send(fd, header, sizeof header);
    raw_send(fd, sql, strlen(sql) + 1);
}

/* ---- tests ---- */

static void sessions_are_alone(void **state)
{
    enum { MANY = 8 };
    PGconn *clients[MANY];
    char sql[64], wanted[16];
    (void)state;
    for (int i = 0; i < MANY; i++) {
        clients[i] = client("");
        (void)snprintf(sql, sizeof sql, "insert into heights values (%d, 'mine')", 100 + i);
        value_is(clients[i], sql, "INSERT 0 1");
        if (i % 2 == 0)
            value_is(clients[i], "begin", "BEGIN");
    }
    assert_int_equal(status_now().connections, MANY);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(wanted, sizeof wanted, "%d", 100 + i);
        value_is(clients[i], "select max(height) from heights", wanted);
        value_is(clients[i], "select count(*) from heights", "9");
        PQfinish(clients[i]);
    }
    wait_sessions(0);
    PGconn *later = client("");
    value_is(later, "select count(*) from heights", "8");
    PQfinish(later);
}

static void startups(void **state)
{
    (void)state;
    PGconn *c = client("dbname=states@3 application_name=tester options='-c DateStyle=SQL,DMY --work-mem=8MB'");
    value_is(c, "select max(height) from heights", "3");
    value_is(c, "select current_setting('application_name')", "tester");
    value_is(c, "select current_setting('work_mem')", "8MB");
    value_is(c, "select '2001-02-03'::date", "03/02/2001");
    assert_string_equal(PQparameterStatus(c, "DateStyle"), "SQL, DMY");
    assert_string_equal(PQparameterStatus(c, "application_name"), "tester");
    assert_true(PQserverVersion(c) >= 180000);
    value_is(c, "set application_name = 'another'", "SET");
    assert_string_equal(PQparameterStatus(c, "application_name"), "another");
    PGconn *other = client("options='-c sorex.height=0'");
    value_is(other, "select max(height) from heights", "0");
    assert_int_not_equal(PQbackendPID(c), PQbackendPID(other));
    PQfinish(c);
    PQfinish(other);
    refused("dbname=nothing", "database \"nothing\" does not exist");
    refused("dbname=states@99", "there is no height 99");
    refused("dbname=states@1 options='-c sorex.height=2'", "sorex.height");
    refused("options='-c DateStyle=yes'", "invalid value for parameter \"DateStyle\"");
    refused("options='-c no_such=1'", "unrecognized configuration parameter \"no_such\"");
    refused("options='-d 5'", "invalid command-line argument");
    refused("replication=database", "replication connections are not supported");
    wait_sessions(0);
}

static void errors_and_notices(void **state)
{
    (void)state;
    PGconn *c = client("options='-c client_min_messages=error'");
    value_is(c, "select 1/0", "22012");
    value_is(c, "begin", "BEGIN");
    value_is(c, "select nothing", "42703");
    assert_int_equal(PQtransactionStatus(c), PQTRANS_INERROR);
    value_is(c, "select 1", "25P02");
    value_is(c, "rollback", "ROLLBACK");
    value_is(c, "select 'on'", "on");
    value_is(c, "listen here", "LISTEN");
    value_is(c, "notify here, 'x'", "NOTIFY");
    PGnotify *notify = PQnotifies(c);
    assert_non_null(notify);
    assert_string_equal(notify->extra, "x");
    PQfreemem(notify);
    PQfinish(c);
}

/* In pieces that have nothing to do with rows or messages; the answer to the statement before it comes first. */
static void copies(void **state)
{
    enum { ROWS = 50000 };
    char line[32];
    (void)state;
    PGconn *c = client("");
    value_is(c, "create temp table t (a int, b text)", "CREATE TABLE");
    PGresult *result = PQexec(c, "copy t from stdin");
    assert_int_equal(PQresultStatus(result), PGRES_COPY_IN);
    PQclear(result);
    for (int i = 0; i < ROWS; i++) {
        int len = snprintf(line, sizeof line, "%d\trow %d\n", i, i);
        assert_int_equal(PQputCopyData(c, line, len / 2), 1);
        assert_int_equal(PQputCopyData(c, line + len / 2, len - len / 2), 1);
    }
    assert_int_equal(PQputCopyEnd(c, NULL), 1);
    result = PQgetResult(c);
    assert_string_equal(PQcmdStatus(result), "COPY 50000");
    PQclear(result);
    assert_null(PQgetResult(c));
    result = PQexec(c, "copy t from stdin");
    PQclear(result);
    assert_int_equal(PQputCopyData(c, "1\tx\n", 4), 1);
    assert_int_equal(PQputCopyEnd(c, "changed my mind"), 1);
    result = PQgetResult(c);
    assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), "57014");
    PQclear(result);
    assert_null(PQgetResult(c));
    result = PQexec(c, "copy (select * from t order by a) to stdout");
    assert_int_equal(PQresultStatus(result), PGRES_COPY_OUT);
    PQclear(result);
    for (int i = 0; i < ROWS; i++) {
        char *row;
        (void)snprintf(line, sizeof line, "%d\trow %d\n", i, i);
        assert_true(PQgetCopyData(c, &row, 0) > 0);
        assert_string_equal(row, line);
        PQfreemem(row);
    }
    char *none;
    assert_int_equal(PQgetCopyData(c, &none, 0), -1);
    result = PQgetResult(c);
    assert_string_equal(PQcmdStatus(result), "COPY 50000");
    PQclear(result);
    assert_null(PQgetResult(c));
    value_is(c, "select count(*) from t", "50000");
    PQfinish(c);
}

static void pipeline_next(PGconn *c, ExecStatusType status, const char *value)
{
    PGresult *result = PQgetResult(c);
    assert_non_null(result);
    if (PQresultStatus(result) != status)
        fail_msg("%s: %s", PQresStatus(PQresultStatus(result)), PQresultErrorMessage(result));
    if (value != NULL)
        assert_string_equal(PQgetvalue(result, 0, 0), value);
    PQclear(result);
    if (status != PGRES_PIPELINE_SYNC)
        assert_null(PQgetResult(c));
}

/* Many statements without waiting; an error passes over the rest up to the next Sync; Flush without Sync. */
static void pipelines(void **state)
{
    (void)state;
    PGconn *c = client("");
    const char *parameter = "7";
    assert_int_equal(PQenterPipelineMode(c), 1);
    assert_int_equal(PQsendQueryParams(c, "select $1::int + 1", 1, NULL, &parameter, NULL, NULL, 0), 1);
    assert_int_equal(PQsendFlushRequest(c), 1);
    assert_int_equal(PQflush(c), 0);
    pipeline_next(c, PGRES_TUPLES_OK, "8");
    for (int i = 0; i < 100; i++)
        assert_int_equal(PQsendQueryParams(c, "select 5", 0, NULL, NULL, NULL, NULL, 0), 1);
    assert_int_equal(PQsendQueryParams(c, "select 1/0", 0, NULL, NULL, NULL, NULL, 0), 1);
    assert_int_equal(PQsendQueryParams(c, "select 6", 0, NULL, NULL, NULL, NULL, 0), 1);
    assert_int_equal(PQpipelineSync(c), 1);
    assert_int_equal(PQsendPrepare(c, "p", "select $1::text", 0, NULL), 1);
    assert_int_equal(PQsendQueryPrepared(c, "p", 1, &parameter, NULL, NULL, 0), 1);
    assert_int_equal(PQpipelineSync(c), 1);
    for (int i = 0; i < 100; i++)
        pipeline_next(c, PGRES_TUPLES_OK, "5");
    pipeline_next(c, PGRES_FATAL_ERROR, NULL);
    pipeline_next(c, PGRES_PIPELINE_ABORTED, NULL);
    pipeline_next(c, PGRES_PIPELINE_SYNC, NULL);
    pipeline_next(c, PGRES_COMMAND_OK, NULL);
    pipeline_next(c, PGRES_TUPLES_OK, "7");
    pipeline_next(c, PGRES_PIPELINE_SYNC, NULL);
    assert_int_equal(PQexitPipelineMode(c), 1);
    value_is(c, "select 9", "9");
    PQfinish(c);
}

struct long_query {
    PGconn *connection;
    const char *sql;
    _Atomic bool done;
    char sqlstate[6];
};

/* The first error that it met: libpq makes one of its own of a connection that ends. */
static void *long_query_run(void *user_data)
{
    struct long_query *query = user_data;
    if (PQsendQuery(query->connection, query->sql) != 1)
        (void)snprintf(query->sqlstate, sizeof query->sqlstate, "sent");
    for (PGresult *result = PQgetResult(query->connection); result != NULL; result = PQgetResult(query->connection)) {
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        if (sqlstate != NULL && query->sqlstate[0] == '\0')
            (void)snprintf(query->sqlstate, sizeof query->sqlstate, "%s", sqlstate);
        PQclear(result);
    }
    atomic_store(&query->done, true);
    return NULL;
}

/* A request that comes before the statement does is nobody's: it is repeated. */
static void cancelled(PGconn *c, const char *sql)
{
    struct long_query query = {.connection = c, .sql = sql};
    char text[256];
    pthread_t thread;
    PGcancel *cancel = PQgetCancel(c);
    assert_int_equal(pthread_create(&thread, NULL, long_query_run, &query), 0);
    while (!atomic_load(&query.done)) {
        if (PQcancel(cancel, text, sizeof text) != 1)
            fail_msg("%s", text);
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    PQfreeCancel(cancel);
    assert_string_equal(query.sqlstate, "57014");
}

static void cancelling(void **state)
{
    (void)state;
    PGconn *c = client(""), *other = client("");
    cancelled(c, ENDLESS);
    cancelled(c, "select pg_sleep(100000)");
    value_is(c, "begin", "BEGIN");
    cancelled(c, "do $$ begin loop null; end loop; end $$");
    value_is(c, "rollback", "ROLLBACK");
    value_is(c, "select 1", "1");
    uint64_t before = status_now().cancelled;
    assert_true(before >= 3);
    int fd = raw(); /* without the secret nothing is cancelled */
    uint8_t request[16] = {0, 0, 0, 16, 4, 0xd2, 0x16, 0x2e};
    u32be_put(request + 8, (uint32_t)PQbackendPID(other));
    raw_send(fd, request, sizeof request);
    assert_int_equal(recv(fd, request, 1, 0), 0);
    (void)close(fd);
    assert_int_equal(status_now().cancelled, before);
    PQfinish(c);
    PQfinish(other);
}

static void statements_time_out(void **state)
{
    struct postgres_port_options options = options_default();
    (void)state;
    options.statement_timeout_ms = 50;
    start(&options);
    PGconn *c = client("");
    value_is(c, ENDLESS, "57014");
    value_is(c, "select 1", "1");
    PQfinish(c);
}

static void too_many(void **state)
{
    struct postgres_port_options options = options_default();
    (void)state;
    options.connections_max = 2;
    start(&options);
    PGconn *one = client(""), *two = client("");
    refused("", "sorry, too many clients already");
    cancelled(one, ENDLESS); /* there is room for that */
    PQfinish(one);
    wait_sessions(1);
    one = client("");
    PQfinish(one);
    PQfinish(two);
}

/* Killed in the middle of a query, of a COPY, of a message, of its own startup: the session ends, and the query too. */
static void clients_that_leave(void **state)
{
    (void)state;
    int querying = raw_session();
    raw_query(querying, ENDLESS);
    int copying = raw_session();
    raw_query(copying, "copy heights from stdin");
    assert_true(raw_until(copying, 'G'));
    RAW(copying, "d\0\0\0\x8"
                 "8\t");
    int speaking = raw_session();
    RAW(speaking, "Q\0\0\1\0select");
    int starting = raw();
    RAW(starting, "\0\0\0\x20\0\3");
    int reading = raw_session();
    raw_query(reading, "select repeat('x', 1000) from generate_series(1, 1000000)");
    assert_true(raw_until(reading, 'D'));
    assert_int_equal(status_now().connections, 4);
    (void)close(querying);
    (void)close(copying);
    (void)close(speaking);
    (void)close(starting);
    (void)close(reading);
    wait_sessions(0);
    PGconn *c = client("");
    value_is(c, "select count(*) from heights", "8");
    PQfinish(c);
}

/* They hold their own session, and nobody else's. */
static void clients_that_stall(void **state)
{
    (void)state;
    int reading = raw_session(), copying = raw_session(), silent = raw();
    raw_query(reading, "select repeat('x', 1000) from generate_series(1, 100000)");
    raw_query(copying, "copy heights from stdin");
    assert_true(raw_until(copying, 'G'));
    for (int i = 0; i < 20; i++) {
        PGconn *c = client("");
        value_is(c, "select 1", "1");
        PQfinish(c);
    }
    assert_true(raw_until(reading, 'Z')); /* nothing was lost */
    RAW(copying, "d\0\0\0\xc"
                 "90\tlate\n"
                 "c\0\0\0\4");
    assert_true(raw_until(copying, 'Z'));
    (void)close(reading);
    (void)close(copying);
    (void)close(silent);
}

static void silence_before_a_session(void **state)
{
    struct postgres_port_options options = options_default();
    char byte;
    (void)state;
    options.startup_timeout_ms = 50;
    start(&options);
    int silent = raw(), half = raw();
    RAW(half, "\0\0\0\x20\0");
    int session = raw_session();
    assert_int_equal(recv(silent, &byte, 1, 0), 0);
    assert_int_equal(recv(half, &byte, 1, 0), 0);
    raw_query(session, "select 1"); /* which may be silent for as long as it likes */
    assert_true(raw_until(session, 'Z'));
    (void)close(silent);
    (void)close(half);
    (void)close(session);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return *seed >> 33;
}

/* Well-formed for a while, then not. What happens is between the client and its fork. */
static void nonsense(void **state)
{
    static const char whole[] = "Q\0\0\0\xdselect 1\0"
                                "P\0\0\0\x12s\0select $1\0\0\0"
                                "B\0\0\0\x14\0s\0\0\0\0\1\0\0\0\2ab\0\0"
                                "D\0\0\0\6P\0"
                                "E\0\0\0\x9\0\0\0\0\0"
                                "H\0\0\0\4"
                                "S\0\0\0\4"
                                "Q\0\0\0\x1c"
                                "copy heights from stdin\0"
                                "d\0\0\0\x9"
                                "9\tx\n\n"
                                "c\0\0\0\4"
                                "C\0\0\0\7Ss\0"
                                "F\0\0\0\xe\0\0\0\1\0\0\0\0\0\0";
    const char *rounds_text = getenv("SOREX_TEST_ROUNDS");
    uint64_t rounds = rounds_text != NULL ? strtoull(rounds_text, NULL, 10) : 150;
    (void)state;
    for (uint64_t round = 1; round <= rounds; round++) {
        uint64_t seed = round;
        char bytes[sizeof whole];
        char answer[4096];
        memcpy(bytes, whole, sizeof whole);
        for (uint64_t changes = next_random(&seed) % 4; changes > 0; changes--)
            bytes[next_random(&seed) % (sizeof whole - 1)] = (char)next_random(&seed);
        size_t len = sizeof whole - 1, cut = next_random(&seed) % (2 * len);
        int fd = next_random(&seed) % 8 == 0 ? raw() : raw_session();
        (void)send(fd, bytes, cut < len ? cut : len, MSG_NOSIGNAL);
        (void)shutdown(fd, SHUT_WR);
        while (recv(fd, answer, sizeof answer, 0) > 0) {
        }
        (void)close(fd);
    }
    wait_sessions(0);
    PGconn *c = client("");
    value_is(c, "select count(*) from heights", "8");
    PQfinish(c);
}

/* The backend's own refusal ends the session, with its words. */
static void fatal_in_the_fork(void **state)
{
    (void)state;
    int fd = raw_session();
    RAW(fd, "?\0\0\0\4");
    assert_true(raw_until(fd, 'E'));
    assert_false(raw_until(fd, 'Z'));
    (void)close(fd);
    PGconn *c = client("");
    value_is(c, "select 1", "1");
    PQfinish(c);
}

/* A trap of the module, as of a stack that is full, is the session's end at most, not the process's. */
static void crash_in_the_fork(void **state)
{
    (void)state;
    int fd = raw_session();
    raw_query(fd, "select repeat('[', 1000000)::json");
    assert_true(raw_until(fd, 'E'));
    (void)close(fd);
    PGconn *c = client("");
    value_is(c, "select 1", "1");
    PQfinish(c);
}

static void on_a_path(void **state)
{
    char dir[] = "/tmp/sorex-serve-XXXXXX", path[64], more[128];
    struct sorex_error err = {0};
    struct postgres_port *second;
    struct postgres_port_options options = options_default();
    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/.s.PGSQL.5433", dir);
    (void)snprintf(more, sizeof more, "host=%s port=5433", dir);
    options.address = path;
    start(&options);
    assert_int_equal(postgres_port_start(&options, &second, &err), SOREX_IO); /* it is taken */
    PGconn *c = client(more);
    value_is(c, "select 1", "1");
    PQfinish(c);
    postgres_port_stop(server);
    assert_int_not_equal(access(path, F_OK), 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int left = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); /* of a server that was killed */
    assert_int_equal(bind(left, (const struct sockaddr *)&at, sizeof at), 0);
    (void)close(left);
    start(&options);
    c = client(more);
    PQfinish(c);
    postgres_port_stop(server);
    server = NULL;
    assert_int_equal(rmdir(dir), 0);
}

static void addresses(void **state)
{
    static const struct {
        const char *address;
        bool remote;
        enum sorex_status status;
        const char *text;
    } cases[] = {{"0.0.0.0:0", false, SOREX_INVALID, "nobody is asked for a password"},
                 {"[::]:0", false, SOREX_INVALID, "nobody is asked for a password"},
                 {"0.0.0.0:0", true, SOREX_OK, ""},
                 {"127.9.9.9:0", false, SOREX_OK, ""},
                 {"localhost", false, SOREX_INVALID, "is not HOST:PORT"},
                 {"/no/such/dir/x", false, SOREX_IO, "/no/such/dir/x"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct postgres_port_options options = options_default();
        struct postgres_port *one = NULL;
        struct sorex_error err = {0};
        options.address = cases[i].address;
        options.remote = cases[i].remote;
        assert_int_equal(postgres_port_start(&options, &one, &err), cases[i].status);
        assert_has(err.text, cases[i].text);
        postgres_port_stop(one);
    }
}

/* Whatever its clients are doing. */
static void ends_in_the_midst(void **state)
{
    struct postgres_port_options options = options_default();
    struct long_query query = {.sql = ENDLESS};
    pthread_t thread;
    char byte;
    (void)state;
    start(&options);
    PGconn *idle = client("");
    int copying = raw_session(), silent = raw(), stalled = raw_session();
    raw_query(copying, "copy heights from stdin");
    assert_true(raw_until(copying, 'G'));
    raw_query(stalled, "select repeat('x', 1000) from generate_series(1, 1000000)");
    assert_true(raw_until(stalled, 'D'));
    query.connection = client("");
    assert_int_equal(pthread_create(&thread, NULL, long_query_run, &query), 0);
    wait_busy(2); /* the stalled one waits in the middle of its answer */
    postgres_port_stop(server);
    server = NULL;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(query.sqlstate, "57P01");
    struct long_query late = {.connection = idle, .sql = "select 1"};
    (void)long_query_run(&late);
    assert_string_equal(late.sqlstate, "57P01");
    assert_true(raw_until(copying, 'E'));
    assert_false(raw_until(copying, 'Z'));
    assert_false(raw_until(stalled, 'Z'));
    assert_true(recv(silent, &byte, 1, 0) >= 0); /* E, or nothing */
    PQfinish(idle);
    PQfinish(query.connection);
    (void)close(copying);
    (void)close(silent);
    (void)close(stalled);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define OWN(name) cmocka_unit_test_teardown(name, teardown) /* starts a server of its own */
    const struct CMUnitTest tests[] = {
        TEST(sessions_are_alone),
        TEST(startups),
        TEST(errors_and_notices),
        TEST(copies),
        TEST(pipelines),
        TEST(cancelling),
        OWN(statements_time_out),
        OWN(too_many),
        TEST(clients_that_leave),
        TEST(clients_that_stall),
        OWN(silence_before_a_session),
        TEST(nonsense),
        TEST(fatal_in_the_fork),
        TEST(crash_in_the_fork),
        OWN(on_a_path),
        cmocka_unit_test(addresses),
        OWN(ends_in_the_midst),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
