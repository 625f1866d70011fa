/* The event source "kafka" as a stream uses it, on librdkafka's mock cluster. What groups and brokers do is tested in
 * tests/kafka. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/log.h"
#include "config/node.h"
#include "integration/process.h"
#include "source/events.h"

#define DEADLINE_MS 60000

static struct sorex_error err;
static rd_kafka_t *rk; /* owns the cluster */
static rd_kafka_mock_cluster_t *cluster;

#define MUST(call)                               \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

/* ---- the cluster ---- */

static int cluster_make(void **state)
{
    (void)state;
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "log_level", "0", text, sizeof text);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_non_null(rk);
    cluster = rd_kafka_mock_cluster_new(rk, 1);
    return rd_kafka_mock_topic_create(cluster, "events", 2, 1) == 0 ? 0 : -1;
}

static int cluster_end(void **state)
{
    (void)state;
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(rk);
    return 0;
}

static void fill(int32_t partition, int from, int to)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster), text, sizeof text);
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    for (int i = from; i < to; i++) {
        char value[16];
        char key[] = "k";
        int len = snprintf(value, sizeof value, "%d", i);
        assert_int_equal(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("events"), RD_KAFKA_V_PARTITION(partition),
                                           RD_KAFKA_V_VALUE(value, (size_t)len), RD_KAFKA_V_KEY(key, 1),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                         0);
    }
    assert_int_equal(rd_kafka_flush(producer, DEADLINE_MS), 0);
    rd_kafka_destroy(producer);
}

/* ---- the source ---- */

struct reader {
    struct event_source *source;
    void *settings;
    struct config_node *yaml;
    struct event_batch batch;
    size_t count; /* records so far */
    struct event_record last;
    char partition[EVENT_PARTITION_SIZE]; /* of the last one */
};

static const struct event_source_type *type(void)
{
    const struct event_source_type *found = event_source_type_find("kafka");
    assert_non_null(found);
    return found;
}

/* more: further lines of YAML. */
static enum sorex_status reader_open(struct reader *reader, const char *more)
{
    char text[1024];
    struct event_source_context context = {.pipeline = "pipe"};
    *reader = (struct reader){.settings = calloc(1, type()->settings_size)};
    assert_non_null(reader->settings);
    (void)snprintf(text, sizeof text, "brokers: \"%s\"\n%s", rd_kafka_mock_cluster_bootstraps(cluster), more);
    MUST(config_parse(bytes_str(text), "test.yaml", &reader->yaml, &err));
    enum sorex_status status = options_read(type()->options, reader->yaml, "source", "", reader->settings, &err);
    return status == SOREX_OK ? type()->open(reader->settings, &context, &reader->source, &err) : status;
}

static void reader_close(struct reader *reader)
{
    if (reader->source != NULL)
        type()->close(reader->source);
    options_free(type()->options, reader->settings);
    free(reader->settings);
    config_free(reader->yaml);
}

static const struct event_limits limits = {.records = 100, .bytes = 1 << 20, .wait_ms = 20};

static bool assigned(void *user_data)
{
    struct reader *reader = user_data;
    MUST(type()->poll(reader->source, &limits, &reader->batch, &err));
    return reader->batch.partition_count > 0;
}

static void reader_join(struct reader *reader, const char *more)
{
    MUST(reader_open(reader, more));
    assert_true(wait_for(assigned, reader, DEADLINE_MS));
    assert_true(reader->batch.assigned);
    assert_int_equal(reader->batch.partition_count, 2);
    assert_string_equal(reader->batch.partitions[0].name, "events/0");
    assert_string_equal(reader->batch.partitions[1].name, "events/1");
    assert_false(reader->batch.partitions[0].placed);
}

struct wish {
    struct reader *reader;
    size_t count;
};

static bool has(void *user_data)
{
    const struct wish *wish = user_data;
    struct reader *reader = wish->reader;
    MUST(type()->poll(reader->source, &limits, &reader->batch, &err));
    reader->count += reader->batch.count;
    if (reader->batch.count > 0) {
        reader->last = reader->batch.records[reader->batch.count - 1];
        (void)snprintf(reader->partition, sizeof reader->partition, "%s",
                       reader->batch.partitions[reader->last.partition].name);
    }
    return reader->count >= wish->count;
}

static void reader_take(struct reader *reader, size_t count)
{
    assert_true(wait_for(has, &(struct wish){reader, count}, DEADLINE_MS));
    assert_int_equal(reader->count, count);
}

/* ---- cases ---- */

#define QUICK "properties: {heartbeat.interval.ms: 100}\n"

static void records_have_their_place_and_it_is_found_again(void **state)
{
    (void)state;
    struct reader reader;
    fill(1, 0, 10);
    reader_join(&reader, "topics: [events]\n" QUICK);
    MUST(type()->seek(reader.source, "events/0", NULL, &err));
    MUST(type()->seek(reader.source, "events/1", NULL, &err));
    reader_take(&reader, 10);
    assert_string_equal(reader.partition, "events/1");
    assert_int_equal(reader.last.number, 9);
    assert_int_equal(reader.last.next.offset, 10);
    assert_true(reader.batch.partitions[1].placed);
    struct position position = reader.last.next;
    position.offset = 4;
    MUST(type()->seek(reader.source, "events/1", &position, &err));
    reader_take(&reader, 16);
    position.check ^= 2; /* of somewhere else */
    assert_string_equal(sorex_status_name(type()->seek(reader.source, "events/1", &position, &err)), "mismatch");
    assert_non_null(strstr(err.text, "another Kafka cluster"));
    position = (struct position){.offset = UINT64_MAX};
    assert_string_equal(sorex_status_name(type()->seek(reader.source, "events/1", &position, &err)), "corrupt");
    type()->delivered(reader.source, "events/1", &reader.last.next);
    assert_non_null(type()->group(reader.source));
    type()->interrupt(reader.source);
    MUST(type()->poll(reader.source, &limits, &reader.batch, &err));
    assert_int_equal(reader.batch.count, 0);
    reader_close(&reader);

    reader_join(&reader, "topics: [events]\n" QUICK); /* the group, by the pipeline's name, is behind them all */
    MUST(type()->seek(reader.source, "events/0", NULL, &err));
    MUST(type()->seek(reader.source, "events/1", NULL, &err));
    fill(1, 10, 11);
    reader_take(&reader, 1);
    assert_int_equal(reader.last.number, 10);
    reader_close(&reader);
}

/* The end is where it was when it was first asked for: what comes while nobody runs is not skipped. */
static void latest_is_decided_once(void **state)
{
    (void)state;
    static const char yaml[] = "topics: [events]\ngroup: late\nfrom: latest\n" QUICK;
    struct reader reader;
    fill(0, 0, 5);
    for (int run = 0; run < 2; run++) {
        reader_join(&reader, yaml);
        MUST(type()->seek(reader.source, "events/0", NULL, &err));
        MUST(type()->seek(reader.source, "events/1", NULL, &err));
        if (run == 0)
            fill(0, 5, 8); /* nobody looks */
        else
            reader_take(&reader, 3);
        reader_close(&reader);
    }
    assert_int_equal(reader.last.number, 7);
}

static void settings_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *words;
    } cases[] = {
        {"topics: []\n", "topics: a list of names"},
        {"topics: {a: b}\n", "topics: a list of names"},
        {"topics: [[a]]\n", "a topic's name belongs here"},
        {"topics: [\"\"]\n", "a topic's name belongs here"},
        {"group: a\n", "topics"},
        {"topics: [a]\nproperties: [a]\n", "properties: a mapping"},
        {"topics: [a]\nproperties: {session.timeout.ms: [1]}\n", "session.timeout.ms: one value belongs here"},
        {"topics: [a]\nproperties: {no.such.thing: 1}\n",
         "test.yaml:3: properties: librdkafka has no property no.such.thing"},
        {"topics: [a]\nproperties: {isolation.level: read_uncommitted}\n", "isolation.level"},
        {"topics: [a]\nproperties: {partition.assignment.strategy: cooperative-sticky}\n", "use range or roundrobin"},
        {"topics: [a]\nfrom: yesterday\n", "from"},
        {"topics: [a]\ninstance: \"\"\n", "instance"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct reader reader;
        assert_string_equal(sorex_status_name(reader_open(&reader, cases[i].yaml)), "invalid");
        if (strstr(err.text, cases[i].words) == NULL)
            fail_msg("no \"%s\" in: %s", cases[i].words, err.text);
        reader_close(&reader);
    }
}

int main(void)
{
    log_level_set(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(settings_are_checked, cluster_make, cluster_end),
        cmocka_unit_test_setup_teardown(records_have_their_place_and_it_is_found_again, cluster_make, cluster_end),
        cmocka_unit_test_setup_teardown(latest_is_decided_once, cluster_make, cluster_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
