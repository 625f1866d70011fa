/* Streams into a real PostgreSQL: rows, dead letters and positions in one transaction; two writers, cuts in COMMIT,
 * restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "sink/outbox.h"
#include "sink/postgres_target.h"
#include "sink/target.h"

#define PATIENCE_MS 60000
#define EVENTS_MAX 16

#define MUST(call)                                      \
    do {                                                \
        if ((call) != SOREX_OK)                         \
            fail_msg("%s: %s", #call, sink_error.text); \
    } while (0)

static void wait_for(const char *sql, const char *wanted)
{
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    while (strcmp(target_query(sql), wanted) != 0) {
        if (clock_ms() > deadline)
            fail_msg("%s never became %s", sql, wanted);
        (void)poll(NULL, 0, 5);
    }
}

static struct sink *stream_sink(void)
{
    struct target_options options = {.mode = POSTGRES_TABLES, .create = true, .stream = true, .dead_letters = "dead"};
    return target_sink_with(&options);
}

/* Number of the partition, 0 for none yet. */
static uint64_t place(struct sink *sink, const char *partition)
{
    struct position at = {0};
    enum sorex_status status = sink_postgres.position(sink, partition, NULL, &at, &sink_error);
    if (status != SOREX_OK && status != SOREX_GONE)
        fail_msg("%s", sink_error.text);
    assert_true(status == SOREX_OK || at.number == 0);
    return at.number;
}

static struct position position_of(uint64_t number) { return (struct position){number * 100, number, ~number}; }

/* One event of a stream; before and after may be NULL. */
struct made {
    const char *operation, *key, *before, *after;
};

/* Moves the partitions from number `from` to `to` with these events and `dead` dead letters. The parser is the
 * caller's: other threads have one of their own. */
struct batch_spec {
    const char *const *partitions;
    size_t partition_count;
    uint64_t from, to;
    const struct made *events;
    size_t event_count;
    const struct sink_dead *dead;
    size_t dead_count;
};

static enum sorex_status stream_apply(struct sink *sink, const struct batch_spec *spec, struct sorex_error *err)
{
    struct sink_change changes[EVENTS_MAX];
    struct sink_position positions[EVENTS_MAX];
    char *texts[EVENTS_MAX];
    struct arena arena;
    struct json_parser *parser = NULL;
    arena_init(&arena, 0);
    assert_true(spec->event_count <= EVENTS_MAX && spec->partition_count <= EVENTS_MAX);
    assert_int_equal(json_parser_new(&parser, err), SOREX_OK);
    memset(changes, 0, sizeof changes);
    for (size_t i = 0; i < spec->event_count; i++) {
        const struct made *event = &spec->events[i];
        texts[i] = outbox_change(event->operation, "t", event->key, event->before, event->after, 0);
        changes[i] = (struct sink_change){.sequence = spec->from + 1 + i, .height = UINT32_MAX, .program = "test"};
        assert_int_equal(change_parse_images(parser, bytes_str(texts[i]), &arena, &changes[i].change,
                                             &changes[i].before, &changes[i].after, err),
                         SOREX_OK);
    }
    for (size_t i = 0; i < spec->partition_count; i++)
        positions[i] = (struct sink_position){.partition = spec->partitions[i],
                                              .first = spec->from == 0,
                                              .from = position_of(spec->from),
                                              .to = position_of(spec->to)};
    struct sink_batch batch = {.changes = changes,
                               .count = spec->event_count,
                               .positions = positions,
                               .position_count = spec->partition_count,
                               .dead = spec->dead,
                               .dead_count = spec->dead_count};
    enum sorex_status status = sink_postgres.apply(sink, &batch, err);
    for (size_t i = 0; i < spec->event_count; i++)
        free(texts[i]);
    json_parser_free(parser);
    arena_deinit(&arena);
    return status;
}

/* One partition, one event. */
static enum sorex_status single_apply(struct sink *sink, const char *partition, uint64_t from, const char *key)
{
    const struct made event = {"create", key, NULL, "{\"v\":1}"};
    const char *const partitions[] = {partition};
    struct batch_spec spec = {.partitions = partitions,
                              .partition_count = 1,
                              .from = from,
                              .to = from + 1,
                              .events = &event,
                              .event_count = 1};
    return stream_apply(sink, &spec, &sink_error);
}

static void rows_dead_letters_and_positions(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = stream_sink();
    static const char *const partitions[] = {"t/1", "t/0", "odd \"name\\"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(place(sink, partitions[i]), 0);
    const struct made events[] = {{"create", "a", NULL, "{\"v\":1}"}, {"create", "b", NULL, "{\"v\":2}"}};
    const struct sink_dead dead[] = {{.partition = "t/0",
                                      .number = 7,
                                      .event = bytes_of("\xff\0x", 3),
                                      .key = bytes_str("k"),
                                      .error = "bad \xff\ttab"},
                                     {.partition = "t/1", .number = 8, .error = "a tombstone"}};
    struct batch_spec spec = {partitions, 3, 0, 9, events, 2, dead, 2};
    MUST(stream_apply(sink, &spec, &sink_error));
    target_expect("SELECT key, v FROM t ORDER BY key", "a|1\nb|2");
    target_expect(
        "SELECT pipeline, sink, partition, number, encode(key, 'escape'), encode(event, 'hex'), error FROM dead "
        "ORDER BY number",
        "test|out|t/0|7|k|ff0078|bad ?\ttab\ntest|out|t/1|8|-|-|a tombstone");
    target_expect(
        "SELECT partition, \"offset\", number, \"check\" FROM sorex_position ORDER BY partition COLLATE \"C\"",
        "odd \"name\\|900|9|fffffffffffffff6\nt/0|900|9|fffffffffffffff6\nt/1|900|9|fffffffffffffff6");
    sink_postgres.close(sink);
    sink = stream_sink();
    struct position at;
    MUST(sink_postgres.position(sink, "odd \"name\\", NULL, &at, &sink_error));
    struct position wanted = position_of(9);
    assert_true(position_equal(&at, &wanted));
    /* Only positions: everything was dropped by a filter. */
    struct batch_spec none = {.partitions = partitions, .partition_count = 1, .from = 9, .to = 12};
    MUST(stream_apply(sink, &none, &sink_error));
    assert_int_equal(place(sink, "t/1"), 12);
    assert_int_equal(place(sink, "t/0"), 9);
    sink_postgres.close(sink);
}

/* Streams repeat themselves: a row that is there is created (a snapshot), one that is not is deleted. */
static void operations_with_and_without_before(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = stream_sink();
    static const char *const partitions[] = {"p"};
    assert_int_equal(place(sink, "p"), 0);
    const struct made first[] = {{"create", "a", NULL, "{\"v\":1}"},
                                 {"create", "b", NULL, "{\"v\":1}"},
                                 {"update", "c", NULL, "{\"v\":1}"},
                                 {"create", "d", NULL, "{\"v\":1}"}};
    struct batch_spec spec = {
        .partitions = partitions, .partition_count = 1, .to = 1, .events = first, .event_count = 4};
    MUST(stream_apply(sink, &spec, &sink_error));
    const struct made second[] = {{"create", "a", NULL, "{\"v\":2}"},
                                  {"update", "b", NULL, "{\"v\":2}"},
                                  {"update", "c", "{\"v\":1}", "{\"v\":2}"},
                                  {"delete", "d", NULL, NULL},
                                  {"delete", "gone", "{\"v\":1}", NULL}};
    for (uint64_t round = 1; round < 6; round++) {
        spec = (struct batch_spec){partitions, 1, round, round + 1, second, 5, NULL, 0};
        MUST(stream_apply(sink, &spec, &sink_error));
    }
    target_expect("SELECT key, v FROM t ORDER BY key", "a|2\nb|2\nc|2");
    sink_postgres.close(sink);
}

static void keys_in_images_need_before(void **state)
{
    (void)state;
    target_needed();
    struct target_options options = {
        .mode = POSTGRES_TABLES, .create = true, .stream = true, .yaml = "t: {key: id, columns: {id: bigint}}"};
    struct sink *sink = target_sink_with(&options);
    static const char *const partitions[] = {"p"};
    assert_int_equal(place(sink, "p"), 0);
    const struct made good[] = {{"create", "1", NULL, "{\"id\":1,\"v\":1}"},
                                {"create", "2", NULL, "{\"id\":2,\"v\":1}"},
                                {"update", "2", NULL, "{\"id\":2,\"v\":2}"},
                                {"delete", "1", "{\"id\":1}", NULL}};
    struct batch_spec spec = {
        .partitions = partitions, .partition_count = 1, .to = 4, .events = good, .event_count = 4};
    MUST(stream_apply(sink, &spec, &sink_error));
    target_expect("SELECT id, v FROM t", "2|2");
    const struct made blind = {"delete", "2", NULL, NULL};
    spec = (struct batch_spec){partitions, 1, 4, 5, &blind, 1, NULL, 0};
    assert_int_equal(stream_apply(sink, &spec, &sink_error), SOREX_INVALID);
    assert_non_null(strstr(sink_error.text, "table \"t\", key \"2\", record 5: the delete has no before image"));
    target_expect("SELECT id, v FROM t", "2|2");
    assert_int_equal(place(sink, "p"), 4);
    sink_postgres.close(sink);
}

/* What the source did not send must not become NULL. */
static void a_row_that_is_not_whole_is_refused(void **state)
{
    (void)state;
    target_needed();
    static const struct {
        const char *text;
        enum sorex_status status;
    } cases[] = {{"{\"header\":{\"event\":{\"primary_key\":[\"id\"],\"unavailable_columns\":[\"bio\"]}},\"payload\":{"
                  "\"operation\":\"update\","
                  "\"table\":\"t\",\"key\":\"1\",\"after\":{\"id\":1}}}",
                  SOREX_INVALID},
                 {"{\"header\":{\"event\":{\"unavailable_columns\":[]}},\"payload\":{\"operation\":\"update\","
                  "\"table\":\"t\",\"key\":\"1\","
                  "\"after\":{\"id\":1}}}",
                  SOREX_OK},
                 {"{\"header\":{},\"payload\":{\"operation\":\"update\",\"table\":\"t\",\"key\":\"2\","
                  "\"after\":{\"unavailable_columns\":[1]}}}",
                  SOREX_OK},
                 {"{\"header\":{\"event\":{\"unavailable_columns\":[\"bio\"]}},\"payload\":{\"operation\":\"delete\","
                  "\"table\":\"t\","
                  "\"key\":\"1\",\"before\":{\"id\":1}}}",
                  SOREX_OK}};
    struct sink *sink = stream_sink();
    assert_int_equal(place(sink, "p"), 0);
    uint64_t number = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sink_change change = {.sequence = number + 1, .height = UINT32_MAX, .program = "test"};
        arena_reset(&target.arena);
        MUST(change_parse_images(target.parser, bytes_str(cases[i].text), &target.arena, &change.change, &change.before,
                                 &change.after, &sink_error));
        struct sink_position moved = {
            .partition = "p", .first = number == 0, .from = position_of(number), .to = position_of(number + 1)};
        struct sink_batch batch = {.changes = &change, .count = 1, .positions = &moved, .position_count = 1};
        assert_int_equal(sink_postgres.apply(sink, &batch, &sink_error), cases[i].status);
        if (cases[i].status != SOREX_OK)
            assert_non_null(
                strstr(sink_error.text, "table \"t\", key \"1\", record 1: the event has no value for column \"bio\""));
        number += cases[i].status == SOREX_OK;
    }
    target_expect("SELECT key FROM t", "2");
    sink_postgres.close(sink);
}

static void a_log_of_a_stream(void **state)
{
    (void)state;
    target_needed();
    struct target_options options = {.mode = POSTGRES_LOG, .create = true, .stream = true};
    struct sink *sink = target_sink_with(&options);
    assert_int_equal(place(sink, "p"), 0);
    assert_int_equal(place(sink, "q"), 0);
    MUST(single_apply(sink, "p", 0, "a"));
    MUST(single_apply(sink, "q", 0, "b")); /* the same number */
    MUST(single_apply(sink, "p", 1, "c"));
    target_expect("SELECT sequence, height, block_hash, time, operation, key, after FROM sorex_changes ORDER BY key",
                  "1|-|-|-|create|a|{\"v\": 1}\n1|-|-|-|create|b|{\"v\": 1}\n2|-|-|-|create|c|{\"v\": 1}");
    sink_postgres.close(sink);
}

/* A group of one process has all of a topic's partitions in one transaction. */
static void a_thousand_partitions(void **state)
{
    (void)state;
    target_needed();
    enum { COUNT = 1000 };
    static char names[COUNT][16];
    static struct sink_position positions[COUNT];
    struct sink *sink = stream_sink();
    for (size_t i = 0; i < COUNT; i++) {
        (void)snprintf(names[i], sizeof names[i], "topic/%zu", i);
        assert_int_equal(place(sink, names[i]), 0);
        positions[i] = (struct sink_position){.partition = names[i], .first = true, .to = position_of(i + 1)};
    }
    struct sink_batch batch = {.positions = positions, .position_count = COUNT};
    MUST(sink_postgres.apply(sink, &batch, &sink_error));
    target_expect("SELECT count(*), min(number), max(number), sum(\"offset\") FROM sorex_position",
                  "1000|1|1000|50050000");
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(place(sink, names[i]), i + 1);
        positions[i] =
            (struct sink_position){.partition = names[i], .from = position_of(i + 1), .to = position_of(i + 2)};
    }
    positions[COUNT / 2].from.check++; /* one that is wrong, and nothing moves */
    assert_int_equal(sink_postgres.apply(sink, &batch, &sink_error), SOREX_AGAIN);
    target_expect("SELECT max(number) FROM sorex_position", "1000");
    positions[COUNT / 2].from.check--;
    MUST(sink_postgres.apply(sink, &batch, &sink_error));
    target_expect("SELECT min(number), max(number) FROM sorex_position", "2|1001");
    sink_postgres.close(sink);
}

/* ---- two writers ---- */

static void a_moved_position_is_not_moved_again(void **state)
{
    (void)state;
    target_needed();
    struct sink *first = stream_sink();
    struct sink *second = stream_sink();
    assert_int_equal(place(first, "p"), 0);
    assert_int_equal(place(second, "p"), 0);
    MUST(single_apply(first, "p", 0, "a"));
    assert_int_equal(single_apply(second, "p", 0, "twice"), SOREX_AGAIN); /* both think that it is new */
    assert_non_null(strstr(sink_error.text, "somebody else moved a position"));
    assert_int_equal(place(second, "p"), 1);
    MUST(single_apply(second, "p", 1, "b"));
    assert_int_equal(single_apply(first, "p", 1, "twice"), SOREX_AGAIN);
    assert_int_equal(place(first, "p"), 2);
    /* The same place, but of something else. */
    target_exec("UPDATE sorex_position SET \"check\" = '0000000000000000'");
    assert_int_equal(single_apply(first, "p", 2, "twice"), SOREX_AGAIN);
    /* The row was taken away. */
    target_exec("DELETE FROM sorex_position");
    assert_int_equal(single_apply(first, "p", 2, "twice"), SOREX_AGAIN);
    target_expect("SELECT key FROM t ORDER BY key", "a\nb");
    sink_postgres.close(first);
    sink_postgres.close(second);
}

struct racer {
    struct sink *sink;
    const char *partition; /* of columns_race */
    uint64_t goal, again;
    const char *failed;
    struct sorex_error err;
};

/* Appends number after number to all partitions, until each is at the goal. */
static void *race(void *user_data)
{
    struct racer *racer = user_data;
    static const char *const partitions[] = {"p/0", "p/1", "p/2"};
    for (;;) {
        struct position at = {0};
        enum sorex_status status = sink_postgres.position(racer->sink, partitions[0], NULL, &at, &racer->err);
        if (status != SOREX_OK && status != SOREX_GONE)
            return racer->failed = racer->err.text, NULL;
        for (uint64_t n = at.number; status != SOREX_AGAIN; n++) {
            if (n >= racer->goal)
                return NULL;
            char key[24];
            (void)snprintf(key, sizeof key, "%06u", (unsigned)n);
            const struct made event = {"create", key, NULL, "{\"v\":1}"};
            struct batch_spec spec = {partitions, 3, n, n + 1, &event, 1, NULL, 0};
            status = stream_apply(racer->sink, &spec, &racer->err);
            if (status != SOREX_OK && status != SOREX_AGAIN)
                return racer->failed = racer->err.text, NULL;
            racer->again += status == SOREX_AGAIN;
        }
    }
}

static void two_writers_race(void **state)
{
    (void)state;
    target_needed();
    struct target_options options = {.mode = POSTGRES_LOG, .create = true, .stream = true};
    static const char *const partitions[] = {"p/0", "p/1", "p/2"};
    struct racer racers[2] = {{.goal = 300}, {.goal = 300}};
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        racers[i].sink = target_sink_with(&options);
        for (size_t p = 0; p < 3; p++)
            assert_int_equal(place(racers[i].sink, partitions[p]), 0);
    }
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        if (racers[i].failed != NULL)
            fail_msg("%s", racers[i].failed);
        sink_postgres.close(racers[i].sink);
    }
    target_expect("SELECT count(*), count(DISTINCT key), min(key), max(key) FROM sorex_changes",
                  "300|300|000000|000299");
    target_expect("SELECT DISTINCT number FROM sorex_position", "300");
}

/* Makes rows of its own partition whose values need new columns and wider types again and again. */
static void *columns_race(void *user_data)
{
    struct racer *racer = user_data;
    const char *partition = racer->partition;
    for (uint64_t n = 0; n < racer->goal;) {
        struct position at = {0};
        char key[24], image[64];
        (void)snprintf(key, sizeof key, "%s-%03u", partition, (unsigned)n);
        (void)snprintf(image, sizeof image, n % 10 == 9 ? "{\"c%u\":\"text\"}" : "{\"c%u\":%u}", (unsigned)n / 10,
                       (unsigned)n);
        const struct made event = {"create", key, NULL, image};
        struct batch_spec spec = {&partition, 1, n, n + 1, &event, 1, NULL, 0};
        enum sorex_status status = stream_apply(racer->sink, &spec, &racer->err);
        if (status == SOREX_AGAIN)
            status = sink_postgres.position(racer->sink, partition, NULL, &at, &racer->err);
        else
            at.number = n + 1;
        if (status != SOREX_OK && status != SOREX_AGAIN && status != SOREX_GONE)
            return racer->failed = racer->err.text, NULL;
        n = at.number;
    }
    return NULL;
}

/* Processes of one group share the tables: what one of them alters the other one finds altered. */
static void two_partitions_alter_the_same_table(void **state)
{
    (void)state;
    target_needed();
    struct racer racers[2] = {{.goal = 100, .partition = "p"}, {.goal = 100, .partition = "q"}};
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        racers[i].sink = stream_sink();
        assert_int_equal(place(racers[i].sink, racers[i].partition), 0);
    }
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, columns_race, &racers[i]), 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        if (racers[i].failed != NULL)
            fail_msg("%s: %s", racers[i].partition, racers[i].failed);
        sink_postgres.close(racers[i].sink);
    }
    target_expect("SELECT count(*) FROM t", "200");
    target_expect("SELECT c0, c9 FROM t WHERE key IN ('p-003', 'q-009', 'q-093', 'p-099') ORDER BY key",
                  "3|-\n-|\"text\"\n\"text\"|-\n-|93");
}

/* ---- trouble ---- */

struct single {
    struct sink *sink;
    uint64_t from;
    const char *partition, *key;
    enum sorex_status status;
};

static void *single_run(void *user_data)
{
    struct single *single = user_data;
    single->status = single_apply(single->sink, single->partition, single->from, single->key);
    return NULL;
}

/* Runs a batch until it waits for the test's advisory lock in COMMIT. */
static pthread_t commit_held(struct single *single)
{
    target_exec("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN PERFORM pg_advisory_xact_lock(99); RETURN NEW; END'");
    target_exec("CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
                "EXECUTE FUNCTION wait()");
    target_exec("SELECT pg_advisory_lock(99)");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, single_run, single), 0);
    wait_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 99 AND NOT granted", "1");
    return thread;
}

static struct sink *first_batch(void)
{
    struct sink *sink = stream_sink();
    assert_int_equal(place(sink, "p"), 0);
    MUST(single_apply(sink, "p", 0, "a"));
    return sink;
}

/* Other partitions go on while one is held in COMMIT, and nobody gets past it. */
static void partitions_do_not_wait_for_each_other(void **state)
{
    (void)state;
    target_needed();
    struct single single = {.sink = first_batch(), .from = 1, .partition = "p", .key = "b"};
    struct sink *other = stream_sink();
    assert_int_equal(place(other, "q"), 0);
    assert_int_equal(place(other, "p"), 1);
    pthread_t thread = commit_held(&single);
    static const char *const partitions[] = {"q"};
    struct batch_spec spec = {.partitions = partitions, .partition_count = 1, .to = 5};
    MUST(stream_apply(other, &spec, &sink_error));
    assert_int_equal(place(other, "q"), 5);
    assert_int_equal(place(other, "p"), 1); /* not committed yet: who goes on from here waits, and is then refused */
    struct single zombie = {.sink = other, .from = 1, .partition = "p", .key = "twice"};
    pthread_t second;
    assert_int_equal(pthread_create(&second, NULL, single_run, &zombie), 0);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'sorex'",
             "2");
    target_exec("SELECT pg_advisory_unlock(99)");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_join(second, NULL), 0);
    assert_int_equal(single.status, SOREX_OK);
    assert_int_equal(zombie.status, SOREX_AGAIN);
    target_expect("SELECT key FROM t ORDER BY key", "a\nb");
    sink_postgres.close(single.sink);
    sink_postgres.close(other);
}

static void the_answer_to_commit_is_lost(void **state)
{
    (void)state;
    target_needed();
    struct single single = {.sink = first_batch(), .from = 1, .partition = "p", .key = "b"};
    pthread_t thread = commit_held(&single);
    struct postgres_libpq *session = (struct postgres_libpq *)((struct postgres *)single.sink)->session;
    (void)pthread_mutex_lock(&session->interrupt_lock);
    assert_int_equal(shutdown(session->socket, SHUT_RDWR), 0);
    (void)pthread_mutex_unlock(&session->interrupt_lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(single.status, SOREX_AGAIN);
    assert_int_equal(place(single.sink, "p"), 1); /* the server is still at it: what comes next waits for it */
    pthread_t second;
    assert_int_equal(pthread_create(&second, NULL, single_run, &single), 0);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'sorex'",
             "2");
    target_exec("SELECT pg_advisory_unlock(99)");
    assert_int_equal(pthread_join(second, NULL), 0);
    assert_int_equal(single.status, SOREX_AGAIN);
    assert_int_equal(place(single.sink, "p"), 2);
    target_expect("SELECT key FROM t ORDER BY key", "a\nb");
    sink_postgres.close(single.sink);
}

static void the_backend_dies_in_commit(void **state)
{
    (void)state;
    target_needed();
    struct single single = {.sink = first_batch(), .from = 1, .partition = "p", .key = "b"};
    pthread_t thread = commit_held(&single);
    target_exec(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 99 AND NOT granted");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(single.status, SOREX_AGAIN);
    target_exec("SELECT pg_advisory_unlock(99)");
    assert_int_equal(place(single.sink, "p"), 1);
    target_expect("SELECT key FROM t ORDER BY key", "a");
    MUST(single_apply(single.sink, "p", 1, "b"));
    target_expect("SELECT key FROM t ORDER BY key", "a\nb");
    sink_postgres.close(single.sink);
}

static void the_server_is_restarted(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = first_batch();
    postgres_server_stop(target.server);
    assert_int_equal(single_apply(sink, "p", 1, "b"), SOREX_AGAIN);
    struct position at;
    assert_int_equal(sink_postgres.position(sink, "p", NULL, &at, &sink_error), SOREX_AGAIN);
    MUST(postgres_server_start(target.server, &sink_error));
    target_reconnect();
    assert_int_equal(place(sink, "p"), 1);
    MUST(single_apply(sink, "p", 1, "b"));
    target_expect("SELECT key FROM t ORDER BY key", "a\nb");
    sink_postgres.close(sink);
}

/* A row that the table cannot hold: nothing of the batch is there, dead letters included, and the row is named. */
static void a_bad_row_takes_back_all(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = stream_sink();
    static const char *const partitions[] = {"p"};
    assert_int_equal(place(sink, "p"), 0);
    const struct made events[] = {{"create", "a", NULL, "{\"v\":1}"}, {"create", "b", NULL, "{\"v\":\"\\u0000\"}"}};
    const struct sink_dead dead = {.partition = "p", .number = 1, .event = bytes_str("x"), .error = "no event"};
    struct batch_spec spec = {partitions, 1, 0, 3, events, 2, &dead, 1};
    assert_int_equal(stream_apply(sink, &spec, &sink_error), SOREX_IO);
    assert_non_null(strstr(sink_error.text, "table \"t\", key \"b\", record 2"));
    assert_int_equal(place(sink, "p"), 0);
    target_expect("SELECT to_regclass('t'), to_regclass('dead')", "-|-");
    const struct made own = {"create", "a", NULL, "{\"v\":1}"};
    spec = (struct batch_spec){partitions, 1, 0, 1, &own, 1, &dead, 1};
    MUST(stream_apply(sink, &spec, &sink_error));
    target_expect("SELECT count(*) FROM dead", "1");
    sink_postgres.close(sink);
}

static void chains_and_streams_refuse_each_other(void **state)
{
    (void)state;
    target_needed();
    struct sink_cursor cursor;
    struct position at;
    struct sink *stream = stream_sink();
    struct sink *chain = target_sink(POSTGRES_TABLES, true, NULL);
    /* Nothing is applied yet: the one that comes first may have it. */
    assert_int_equal(place(stream, "p"), 0);
    assert_int_equal(target_cursor(chain), 0);
    MUST(target_change(chain, 1, "create", "c", "a", NULL, "{\"v\":\"1\"}"));
    assert_int_equal(sink_postgres.position(stream, "p", NULL, &at, &sink_error), SOREX_MISMATCH);
    assert_int_equal(sink_postgres.position(stream, "q", NULL, &at, &sink_error), SOREX_MISMATCH);
    assert_non_null(strstr(sink_error.text, "so it followed a chain"));
    target_exec("DELETE FROM sorex_cursor");
    MUST(single_apply(stream, "p", 0, "a"));
    assert_int_equal(sink_postgres.cursor(chain, &cursor, &sink_error), SOREX_MISMATCH);
    assert_non_null(strstr(sink_error.text, "so it followed a stream"));
    sink_postgres.close(stream);
    sink_postgres.close(chain);
}

int main(void)
{
#define TARGETED(name) cmocka_unit_test_setup(name, target_fresh)
    const struct CMUnitTest tests[] = {
        TARGETED(rows_dead_letters_and_positions),
        TARGETED(operations_with_and_without_before),
        TARGETED(keys_in_images_need_before),
        TARGETED(a_row_that_is_not_whole_is_refused),
        TARGETED(a_log_of_a_stream),
        TARGETED(a_thousand_partitions),
        TARGETED(a_moved_position_is_not_moved_again),
        TARGETED(two_writers_race),
        TARGETED(two_partitions_alter_the_same_table),
        TARGETED(partitions_do_not_wait_for_each_other),
        TARGETED(the_answer_to_commit_is_lost),
        TARGETED(the_backend_dies_in_commit),
        TARGETED(the_server_is_restarted),
        TARGETED(a_bad_row_takes_back_all),
        TARGETED(chains_and_streams_refuse_each_other),
    };
    return cmocka_run_group_tests(tests, target_start, target_stop);
}
