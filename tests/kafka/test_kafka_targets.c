/* Streams with Kafka at one end only, exactly once by positions in the target: Kafka -> file, Kafka -> PostgreSQL, a
 * file -> Kafka; each killed again and again. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#include "base/file.h"
#include "integration/postgres.h"
#include "integration/process.h"
#include "kafka/stream.h"

#define EVENTS 6000

static struct stream_world world;
static struct sorex_error err;

static void topic_make(const char *topic, int partitions)
{
    reader_topic_make(kafka_broker_address(world.broker), topic, partitions, NULL);
}

static void path_of(const char *name, char out[PATH_MAX])
{
    assert_true(snprintf(out, PATH_MAX, "%.4000s/%.60s", world.directory, name) < PATH_MAX);
}

/* ---- to a file ---- */

struct lines {
    const char *path;
    size_t least;
};

static size_t lines_count(const char *path)
{
    struct buf text = {0};
    size_t count = 0;
    if (file_read(path, (size_t)64 << 20, &text, NULL) == SOREX_OK)
        for (size_t i = 0; i < text.len; i++)
            count += text.data[i] == '\n';
    buf_deinit(&text);
    return count;
}

static bool lines_there(void *user_data)
{
    const struct lines *lines = user_data;
    return lines_count(lines->path) >= lines->least;
}

static void lines_check(const char *path, size_t count)
{
    struct buf text = {0};
    int last[STREAM_KEYS];
    bool *seen = calloc(count, sizeof *seen);
    size_t lines = 0;
    assert_non_null(seen);
    memset(last, -1, sizeof last);
    if (file_read(path, (size_t)64 << 20, &text, &err) != SOREX_OK || buf_append_u8(&text, 0, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    for (char *line = strtok((char *)text.data, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++) {
        int id = stream_id(line);
        assert_in_range(id, 0, count - 1);
        assert_false(seen[id]);
        seen[id] = true;
        assert_true(id > last[id % STREAM_KEYS]);
        last[id % STREAM_KEYS] = id;
    }
    assert_int_equal(lines, count);
    free(seen);
    buf_deinit(&text);
}

/* What others see of the group: the last message of each partition is behind its committed offset. */
static void lag_check(const char *group, const char *topic)
{
    char text[256];
    struct reader_log log;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", kafka_broker_address(world.broker), text, sizeof text);
    rd_kafka_conf_set(conf, "group.id", group, text, sizeof text);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    reader_read(kafka_broker_address(world.broker), topic, &log);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    for (int32_t i = 0; i < log.partitions; i++)
        (void)rd_kafka_topic_partition_list_add(list, topic, i);
    assert_int_equal(rd_kafka_committed(rk, list, 30000), 0);
    for (size_t i = 0; i < log.count; i++)
        assert_true(log.messages[i].offset < list->elems[log.messages[i].partition].offset);
    rd_kafka_topic_partition_list_destroy(list);
    reader_free(&log);
    rd_kafka_destroy(rk);
}

static void from_kafka_to_a_file(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char sink[PATH_MAX + 64];
    path_of("out.jsonl", path);
    (void)snprintf(sink, sizeof sink, "{\"type\":\"file\",\"path\":\"%s\"}", path);
    topic_make("tofile", 4);
    stream_configure(&world, 0, "tofile", stream_source(&world, "tofile", ",\"instance\":\"one\""), sink,
                     ",\"batch_events\":100");
    stream_write(&world, "tofile", 0, EVENTS);
    for (size_t kills = 0; kills < 4; kills++) {
        stream_start(&world, 0);
        struct lines lines = {path, lines_count(path) + 100 * (kills + 1)};
        assert_true(wait_for(lines_there, &lines, STREAM_DEADLINE_MS));
        stream_kill(&world, 0);
    }
    stream_start(&world, 0);
    stream_write(&world, "tofile", EVENTS, EVENTS + 100);
    assert_true(wait_for(lines_there, &(struct lines){path, EVENTS + 100}, STREAM_DEADLINE_MS));
    stream_stop(&world, 0);
    lines_check(path, EVENTS + 100);
    lag_check("tofile", "tofile");
}

/* ---- to PostgreSQL ---- */

static struct postgres_server *server;

static int64_t ask(const char *query)
{
    PGconn *connection = PQconnectdb(postgres_server_url(server));
    PGresult *result = PQexec(connection, query);
    int64_t value =
        PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 ? atoll(PQgetvalue(result, 0, 0)) : -1;
    PQclear(result);
    PQfinish(connection);
    return value;
}

static bool rows_there(void *user_data) { return ask("select count(*) from sorex_log") >= *(int64_t *)user_data; }

static void from_kafka_to_postgres_by_two_processes(void **state)
{
    (void)state;
    char sink[PATH_MAX];
    enum sorex_status status = postgres_server_new(NULL, &server, &err);
    if (status == SOREX_GONE) {
        (void)printf("skipped: %s\n", err.text);
        skip();
    }
    if (status != SOREX_OK)
        fail_msg("%s", err.text);
    (void)snprintf(sink, sizeof sink,
                   "{\"type\":\"postgres\",\"url\":\"%s\",\"mode\":\"log\",\"log_table\":\"sorex_log\"}",
                   postgres_server_url(server));
    topic_make("topg", 4);
    stream_write(&world, "topg", 0, EVENTS);
    for (size_t i = 0; i < 2; i++) {
        stream_configure(&world, i, "topg", stream_source(&world, "topg", ""), sink, ",\"batch_events\":50");
        stream_start(&world, i);
    }
    for (size_t kills = 0; kills < 5; kills++) {
        int64_t least = ask("select count(*) from sorex_log") + 1 + 100 * (int64_t)kills;
        least = least > EVENTS ? EVENTS : least;
        assert_true(wait_for(rows_there, &least, STREAM_DEADLINE_MS));
        stream_kill(&world, kills % 2);
        stream_start(&world, kills % 2);
    }
    stream_write(&world, "topg", EVENTS, EVENTS + 100);
    int64_t least = EVENTS + 100;
    assert_true(wait_for(rows_there, &least, STREAM_DEADLINE_MS));
    stream_stop_all(&world);
    assert_int_equal(ask("select count(*) from sorex_log"), least);
    assert_int_equal(ask("select count(distinct \"key\") from sorex_log"), least);
    postgres_server_free(server);
}

/* ---- from a file ---- */

/* Every event once, in the file's order within each partition. */
static void order_check(const char *topic, size_t count)
{
    struct reader_log log;
    bool *seen = calloc(count, sizeof *seen);
    assert_non_null(seen);
    reader_read(kafka_broker_address(world.broker), topic, &log);
    for (size_t i = 0; i < log.count; i++) {
        int id = stream_id(log.messages[i].value);
        assert_in_range(id, 0, count - 1);
        assert_false(seen[id]);
        seen[id] = true;
        if (i > 0 && log.messages[i].partition == log.messages[i - 1].partition)
            assert_true(id > stream_id(log.messages[i - 1].value));
    }
    assert_int_equal(log.count, count);
    reader_free(&log);
    free(seen);
}

static void from_a_file_to_kafka(void **state)
{
    (void)state;
    char path[PATH_MAX];
    char source[PATH_MAX + 64];
    size_t out = 0;
    path_of("in.jsonl", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int id = 0; id < EVENTS; id++) {
        char text[STREAM_EVENT_SIZE];
        stream_event(id, text);
        assert_true(fprintf(file, "%s\n", text) > 0);
    }
    assert_int_equal(fclose(file), 0);
    (void)snprintf(source, sizeof source, "{\"type\":\"lines\",\"path\":\"%s\"}", path);
    topic_make("fromfile", 3);
    stream_configure(&world, 0, "fromfile", source, stream_sink(&world, "fromfile", ""), ",\"batch_events\":20");
    for (size_t kills = 0; kills < 4 && out < EVENTS; kills++) {
        stream_start(&world, 0);
        out = stream_wait_more(&world, "fromfile", out);
        stream_kill(&world, 0);
    }
    stream_start(&world, 0);
    assert_int_equal(stream_wait_end(&world, 0), 0);
    order_check("fromfile", EVENTS);
    stream_start(&world, 0); /* there is nothing left to do */
    assert_int_equal(stream_wait_end(&world, 0), 0);
    order_check("fromfile", EVENTS);
}

/* ---- */

static int processes_stop(void **state)
{
    (void)state;
    stream_stop_all(&world);
    return 0;
}

int main(void)
{
    stream_world_make(&world);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(from_kafka_to_a_file, processes_stop),
        cmocka_unit_test_teardown(from_kafka_to_postgres_by_two_processes, processes_stop),
        cmocka_unit_test_teardown(from_a_file_to_kafka, processes_stop),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    stream_world_end(&world);
    return failed;
}
