/* Servers and backends that die, locks, second writers: afterwards the rows are the model's, nothing twice and nothing
 * missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/outbox.h"
#include "sink/postgres_target.h"
#include "sink/runner.h"
#include "sink/target.h"

#define PATIENCE_MS 60000

#define MUST(call)                                      \
    do {                                                \
        if ((call) != SOREX_OK)                         \
            fail_msg("%s: %s", #call, sink_error.text); \
    } while (0)

/* Asks until the query gives the answer; fails after PATIENCE_MS. */
static void wait_for(const char *sql, const char *wanted)
{
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    while (strcmp(target_query(sql), wanted) != 0) {
        if (clock_ms() > deadline)
            fail_msg("%s never became %s", sql, wanted);
        (void)poll(NULL, 0, 5);
    }
}

static struct sink_runner *runner_start(struct sink *sink, struct outbox *outbox, uint32_t batch)
{
    struct sink_runner_options options = {
        .name = "out", .batch_changes_max = batch, .breaker = {.retry_base_ms = 5, .retry_max_ms = 50}};
    struct sink_runner *runner = NULL;
    MUST(sink_runner_start(sink, outbox->store, &options, &runner, &sink_error));
    return runner;
}

static void drain(struct sink_runner *runner)
{
    bool drained;
    sink_runner_drain(runner, PATIENCE_MS, &drained);
    struct sink_status status;
    sink_runner_status(runner, &status);
    if (!drained)
        fail_msg("not drained: %s %s", sink_state_name(status.state), status.why);
}

static void status_wait(struct sink_runner *runner, enum sink_state state)
{
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    struct sink_status status;
    for (sink_runner_status(runner, &status); status.state != state; sink_runner_status(runner, &status)) {
        if (clock_ms() > deadline)
            fail_msg("%s (%s), never %s", sink_state_name(status.state), status.why, sink_state_name(state));
        (void)poll(NULL, 0, 5);
    }
}

static void expect_model(const struct outbox *outbox)
{
    char wanted[OUTBOX_KEYS * 48] = "";
    size_t len = 0;
    for (size_t k = 0; k < OUTBOX_KEYS; k++)
        if (outbox_row(outbox, k)[0] != '\0')
            len += (size_t)snprintf(wanted + len, sizeof wanted - len, "%sk%zu|%s", len == 0 ? "" : "\n", k,
                                    outbox_row(outbox, k));
    target_expect("SELECT key, v FROM t ORDER BY substr(key, 2)::int", wanted);
}

/* The log table has every change once, in order. */
static void expect_whole_log(const struct outbox *outbox)
{
    struct buf record_bytes = {0};
    uint64_t changes = 0;
    for (uint64_t s = 1; s <= outbox_head(outbox); s++) {
        struct outbox_record record;
        if (store_outbox_read(outbox->store, s, &record_bytes, &record, &sink_error) == SOREX_GONE)
            fail_msg("sequence %u is gone", (unsigned)s);
        changes += record.kind == OUTBOX_APPLY ? record.change_count : 0;
    }
    buf_deinit(&record_bytes);
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "%u", (unsigned)changes);
    target_expect("SELECT count(*) FROM sorex_changes WHERE NOT undo", wanted);
}

static void entries(struct outbox *outbox, int count)
{
    for (int i = 0; i < count; i++) {
        if (outbox->height > 3 && outbox_random(outbox, 6) == 0)
            outbox_random_undo(outbox);
        else
            outbox_random_entry(outbox, 1 + (size_t)outbox_random(outbox, 9));
    }
}

static void the_server_is_restarted(void **state)
{
    (void)state;
    target_needed();
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    entries(&outbox, 10);
    struct sink_runner *runner = runner_start(sink, &outbox, 3);
    drain(runner);
    for (int round = 0; round < 3; round++) {
        entries(&outbox, 40);
        if (round == 1)
            postgres_server_kill(target.server);
        else
            postgres_server_stop(target.server);
        entries(&outbox, 5);
        status_wait(runner, SINK_RETRYING);
        MUST(postgres_server_start(target.server, &sink_error));
        target_reconnect();
        drain(runner);
        expect_model(&outbox);
    }
    sink_runner_stop(runner);
    sink_postgres.close(sink);
    outbox_close(&outbox);
}

static struct postgres *postgres_of(struct sink *sink) { return (struct postgres *)sink; }

/* Kills the sink's backend: SIGKILL, after which the server resets itself, or pg_terminate_backend. Its pid; 0 when
 * there is none now. */
static pid_t backend_kill(bool hard)
{
    static const char who[] =
        "FROM pg_stat_activity WHERE application_name = 'sorex' AND pid <> pg_backend_pid() LIMIT 1";
    char sql[256];
    (void)snprintf(sql, sizeof sql, "SELECT pid%s %s", hard ? "" : ", pg_terminate_backend(pid)", who);
    const char *answer = target_query(sql);
    pid_t pid = (pid_t)strtol(answer, NULL, 10);
    if (!hard || pid == 0)
        return pid;
    assert_int_equal(kill(pid, SIGKILL), 0);
    /* The whole server drops its connections and recovers, the test's own connection among them. */
    struct sorex_error err;
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    while (postgres_exec(target.admin, "SELECT 1", &err) == SOREX_OK && clock_ms() < deadline)
        (void)poll(NULL, 0, 5);
    postgres_session_close(target.admin);
    while (postgres_session_open(target.admin, &err) != SOREX_OK && clock_ms() < deadline)
        (void)poll(NULL, 0, 5);
    target_reconnect();
    return pid;
}

static void backends_are_killed(int mode)
{
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sink = target_sink(mode, true, NULL);
    entries(&outbox, 400);
    struct sink_runner *runner = runner_start(sink, &outbox, 1);
    int met = 0; /* connections: on a busy machine it takes longer to connect, and to die, than to be killed */
    pid_t last = 0;
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    for (int i = 0; (i < 40 || met <= 10) && clock_ms() < deadline; i++) {
        pid_t killed = backend_kill(i % 10 == 9);
        met += killed != 0 && killed != last;
        last = killed != 0 ? killed : last;
        (void)poll(NULL, 0, (int)outbox_random(&outbox, 20));
        if (i < 40)
            entries(&outbox, 5);
    }
    drain(runner);
    if (mode == POSTGRES_LOG)
        expect_whole_log(&outbox);
    else
        expect_model(&outbox);
    sink_runner_stop(runner);
    assert_true(met > 10);
    sink_postgres.close(sink);
    outbox_close(&outbox);
}

static void backends_are_killed_under_tables(void **state)
{
    (void)state;
    target_needed();
    backends_are_killed(POSTGRES_TABLES);
}

static void backends_are_killed_under_the_log(void **state)
{
    (void)state;
    target_needed();
    backends_are_killed(POSTGRES_LOG);
}

struct single {
    struct sink *sink;
    enum sorex_status status;
};

static void *second_batch(void *user_data)
{
    struct single *single = user_data;
    single->status = target_change(single->sink, 2, "create", "t", "b", NULL, "{\"v\":\"2\"}");
    return NULL;
}

/* Runs the second batch until it waits for the test's advisory lock: in COPY or in COMMIT, as the trigger says. */
static pthread_t second_batch_start(struct single *single, const char *trigger)
{
    target_exec("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN PERFORM pg_advisory_xact_lock(99); RETURN NEW; END'");
    target_exec(trigger);
    target_exec("SELECT pg_advisory_lock(99)");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, second_batch, single), 0);
    wait_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 99 AND NOT granted", "1");
    return thread;
}

static const char in_copy[] = "CREATE TRIGGER wait BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION wait()";
static const char in_commit[] =
    "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
    "EXECUTE FUNCTION wait()";

static struct sink *first_batch(void)
{
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 0);
    MUST(target_change(sink, 1, "create", "t", "a", NULL, "{\"v\":\"1\"}"));
    return sink;
}

/* The backend dies while it waits: nothing of the batch is there, and the cursor says so. */
static void killed_while(const char *trigger)
{
    struct single single = {.sink = first_batch()};
    pthread_t thread = second_batch_start(&single, trigger);
    backend_kill(false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(single.status, SOREX_AGAIN);
    target_exec("SELECT pg_advisory_unlock(99)");
    assert_int_equal(target_cursor(single.sink), 1);
    target_expect("SELECT key FROM t ORDER BY key", "a");
    MUST(target_change(single.sink, 2, "create", "t", "b", NULL, "{\"v\":\"2\"}"));
    target_expect("SELECT key FROM t ORDER BY key", "a\nb");
    sink_postgres.close(single.sink);
}

static void the_backend_dies_in_copy(void **state)
{
    (void)state;
    target_needed();
    killed_while(in_copy);
}

static void the_backend_dies_in_commit(void **state)
{
    (void)state;
    target_needed();
    killed_while(in_commit);
}

/* The connection breaks while the server commits, and the commit happens: the cursor says so, and nothing is applied
 * twice. */
static void the_answer_to_commit_is_lost(void **state)
{
    (void)state;
    target_needed();
    struct single single = {.sink = first_batch()};
    pthread_t thread = second_batch_start(&single, in_commit);
    struct postgres_libpq *session = (struct postgres_libpq *)postgres_of(single.sink)->session;
    (void)pthread_mutex_lock(&session->interrupt_lock);
    assert_int_equal(shutdown(session->socket, SHUT_RDWR), 0);
    (void)pthread_mutex_unlock(&session->interrupt_lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(single.status, SOREX_AGAIN);
    target_exec("SELECT pg_advisory_unlock(99)");
    wait_for("SELECT count(*) FROM t", "2");
    assert_int_equal(target_cursor(single.sink), 2);
    sink_postgres.close(single.sink);
}

static void an_interrupt_ends_a_wait(void **state)
{
    (void)state;
    target_needed();
    struct single single = {.sink = first_batch()};
    pthread_t thread = second_batch_start(&single, in_copy);
    sink_postgres.interrupt(single.sink);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(single.status, SOREX_AGAIN);
    struct sink_cursor cursor;
    assert_int_equal(sink_postgres.cursor(single.sink, &cursor, &sink_error), SOREX_AGAIN);
    target_exec("SELECT pg_advisory_unlock(99)");
    sink_postgres.close(single.sink);
}

static void a_locked_cursor_is_waited_for(void **state)
{
    (void)state;
    target_needed();
    struct single single = {.sink = first_batch()};
    target_exec("BEGIN; SELECT * FROM sorex_cursor FOR UPDATE");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, second_batch, &single), 0);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'sorex'",
             "1");
    target_exec("COMMIT");
    assert_int_equal(pthread_join(thread, NULL), 0);
    MUST(single.status);
    target_expect("SELECT key FROM t ORDER BY key", "a\nb");
    sink_postgres.close(single.sink);
}

static void a_second_writer_does_not_repeat_the_firsts_batch(void **state)
{
    (void)state;
    target_needed();
    struct sink *first = first_batch();
    struct sink *second = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(second), 1);
    MUST(target_change(first, 2, "create", "t", "b", NULL, "{\"v\":\"2\"}"));
    assert_int_equal(target_change(second, 2, "create", "t", "b", NULL, "{\"v\":\"x\"}"), SOREX_AGAIN);
    assert_non_null(strstr(sink_error.text, "somebody else moved the cursor"));
    target_expect("SELECT key, v FROM t ORDER BY key", "a|1\nb|2");
    assert_int_equal(target_cursor(second), 2);
    MUST(target_change(second, 3, "create", "t", "c", NULL, "{\"v\":\"3\"}"));
    assert_int_equal(target_change(first, 3, "create", "t", "c", NULL, "{\"v\":\"y\"}"), SOREX_AGAIN);
    target_expect("SELECT key, v FROM t ORDER BY key", "a|1\nb|2\nc|3");
    sink_postgres.close(first);
    sink_postgres.close(second);
}

static void two_runners_race_over_one_log(void **state)
{
    (void)state;
    target_needed();
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sinks[2] = {target_sink(POSTGRES_LOG, true, NULL), target_sink(POSTGRES_LOG, true, NULL)};
    struct sink_runner *runners[2] = {runner_start(sinks[0], &outbox, 2), runner_start(sinks[1], &outbox, 3)};
    entries(&outbox, 200);
    drain(runners[0]);
    drain(runners[1]);
    expect_whole_log(&outbox);
    for (size_t i = 0; i < 2; i++) {
        sink_runner_stop(runners[i]);
        sink_postgres.close(sinks[i]);
    }
    outbox_close(&outbox);
}

/* ---- refused connections ---- */

static enum sorex_status connect_as(const char *who)
{
    char url[320];
    (void)snprintf(url, sizeof url, "%s %s", postgres_server_url(target.server), who);
    struct postgres_session *session;
    MUST(postgres_libpq_new(url, &session, &sink_error));
    sink_error = (struct sorex_error){0};
    enum sorex_status status = postgres_session_open(session, &sink_error);
    postgres_session_free(session);
    return status;
}

/* Nobody mends these by waiting: the sink stops and says why. */
static void a_refused_connection_is_no_passing_trouble(void **state)
{
    (void)state;
    target_needed();
    assert_int_equal(connect_as("dbname=nowhere"), SOREX_INVALID);
    assert_non_null(strstr(sink_error.text, "\"nowhere\" does not exist (SQLSTATE 3D000)"));
    assert_int_equal(connect_as("user=nobody_here"), SOREX_INVALID);
    assert_non_null(strstr(sink_error.text, "SQLSTATE 28000"));
    target_exec("CREATE ROLE careful LOGIN PASSWORD 'right'; CREATE ROLE barred LOGIN NOINHERIT");
    target_exec(
        "DO $$ BEGIN EXECUTE format('COPY (VALUES (''local all careful scram-sha-256''), (''local all all trust''), "
        "(''host all all 127.0.0.1/32 trust'')) TO %L', current_setting('hba_file')); END $$");
    target_exec("SELECT pg_reload_conf()");
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    while (connect_as("user=careful password=wrong") == SOREX_OK && clock_ms() < deadline)
        (void)poll(NULL, 0, 5);
    assert_int_equal(connect_as("user=careful password=wrong"), SOREX_INVALID);
    assert_non_null(strstr(sink_error.text, "password authentication failed for user \"careful\" (SQLSTATE 28P01)"));
    assert_int_equal(connect_as("user=careful password=right"), SOREX_OK);
    /* One that is full passes. */
    target_exec("ALTER ROLE barred CONNECTION LIMIT 0");
    assert_int_equal(connect_as("user=barred"), SOREX_AGAIN);
    assert_non_null(strstr(sink_error.text, "SQLSTATE 53300"));
    target_exec("DROP ROLE careful, barred");
}

int main(void)
{
    log_level_set(LOG_OFF);
#define TARGETED(name) cmocka_unit_test_setup(name, target_fresh)
    const struct CMUnitTest tests[] = {
        TARGETED(the_server_is_restarted),
        TARGETED(backends_are_killed_under_tables),
        TARGETED(backends_are_killed_under_the_log),
        TARGETED(the_backend_dies_in_copy),
        TARGETED(the_backend_dies_in_commit),
        TARGETED(the_answer_to_commit_is_lost),
        TARGETED(an_interrupt_ends_a_wait),
        TARGETED(a_locked_cursor_is_waited_for),
        TARGETED(a_second_writer_does_not_repeat_the_firsts_batch),
        TARGETED(two_runners_race_over_one_log),
        TARGETED(a_refused_connection_is_no_passing_trouble),
    };
    return cmocka_run_group_tests(tests, target_start, target_stop);
}
