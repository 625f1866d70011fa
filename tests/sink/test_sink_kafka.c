/* Changes in a real Kafka broker: what is written, and that restarts, rivals and dying brokers neither lose nor repeat.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <limits.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/log.h"
#include "config/node.h"
#include "integration/kafka.h"
#include "integration/process.h"
#include "kafka/producer.h"
#include "kafka/reader.h"
#include "sink/file.h"
#include "sink/kafka.h"
#include "sink/outbox.h"
#include "sink/runner.h"

#define PATIENCE_MS 60000

static struct kafka_broker *broker;
static struct sorex_error err;

#define MUST(call)                               \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

/* ---- a sink, as the pipeline file makes it ---- */

struct opened {
    struct config_node *node;
    struct kafka_settings settings;
    struct sink *sink;
};

static enum sorex_status try_open(struct opened *opened, const char *pipeline, const char *yaml)
{
    char text[2048];
    *opened = (struct opened){0};
    (void)snprintf(text, sizeof text, "brokers: %s\n%s", kafka_broker_address(broker), yaml);
    MUST(config_parse(bytes_str(text), "p.yaml", &opened->node, &err));
    enum sorex_status status = options_read(sink_kafka.options, opened->node, "", ".", &opened->settings, &err);
    struct sink_context context = {.name = "out", .pipeline = pipeline, .base_dir = "."};
    if (status == SOREX_OK)
        status = sink_kafka.open(&opened->settings, &context, &opened->sink, &err);
    return status;
}

static void opened_close(struct opened *opened)
{
    if (opened->sink != NULL)
        sink_kafka.close(opened->sink);
    options_free(sink_kafka.options, &opened->settings);
    config_free(opened->node);
}

static struct opened opened_of(const char *pipeline, const char *yaml)
{
    struct opened opened;
    MUST(try_open(&opened, pipeline, yaml));
    return opened;
}

static struct sink_runner *runner_start(struct sink *sink, struct outbox *outbox, uint32_t batch)
{
    struct sink_runner_options options = {
        .name = "out", .batch_changes_max = batch, .breaker = {.retry_base_ms = 5, .retry_max_ms = 50}};
    struct sink_runner *runner = NULL;
    MUST(sink_runner_start(sink, outbox->store, &options, &runner, &err));
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

struct awaited {
    struct sink_runner *runner;
    enum sink_state state;
    struct sink_status status;
};

static bool state_is(void *user_data)
{
    struct awaited *awaited = user_data;
    sink_runner_status(awaited->runner, &awaited->status);
    return awaited->status.state == awaited->state;
}

static const char *state_wait(struct sink_runner *runner, enum sink_state state)
{
    static struct awaited awaited;
    awaited = (struct awaited){.runner = runner, .state = state};
    if (!wait_for(state_is, &awaited, PATIENCE_MS))
        fail_msg("%s (%s), never %s", sink_state_name(awaited.status.state), awaited.status.why,
                 sink_state_name(state));
    return awaited.status.why;
}

/* ---- the model: what the file sink makes of the same outbox ---- */

static char *file_of(struct outbox *outbox, size_t *out_len)
{
    char directory[PATH_MAX];
    char path[PATH_MAX + 16];
    MUST(scratch_make(directory, &err));
    (void)snprintf(path, sizeof path, "%s/changes", directory);
    struct file_settings settings = {.path = path, .append = true};
    struct sink_context context = {.name = "file", .pipeline = "model", .base_dir = "."};
    struct sink *sink = NULL;
    MUST(sink_file.open(&settings, &context, &sink, &err));
    struct sink_runner_options options = {.name = "file"};
    struct sink_runner *runner = NULL;
    MUST(sink_runner_start(sink, outbox->store, &options, &runner, &err));
    drain(runner);
    sink_runner_stop(runner);
    sink_file.close(sink);
    MUST(store_cursor_forget(outbox->store, "file", &err));
    struct buf text = {0};
    MUST(file_read(path, (size_t)1 << 30, &text, &err));
    MUST(buf_append_u8(&text, 0, &err));
    scratch_remove(directory);
    *out_len = text.len - 1;
    return (char *)buf_steal(&text, &(size_t){0});
}

/* The topic holds the lines of the file, each once and in order. */
static void expect_file(struct outbox *outbox, const char *topic)
{
    size_t len;
    char *file = file_of(outbox, &len);
    struct reader_log log;
    reader_read(kafka_broker_address(broker), topic, &log);
    const char *at = file;
    for (size_t i = 0; i < log.count; i++) {
        size_t line = strcspn(at, "\n");
        if (*at == '\0' || strlen(log.messages[i].value) != line || strncmp(at, log.messages[i].value, line) != 0)
            fail_msg("message %zu of %s is %s, the file has %.*s", i, topic, log.messages[i].value, (int)line, at);
        at += line + 1;
    }
    if (*at != '\0')
        fail_msg("%s has %zu messages only, then the file has %.200s", topic, log.count, at);
    reader_free(&log);
    free(file);
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

/* ---- tests ---- */

static void changes_and_inverses_arrive_with_their_headers(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    outbox_single(&outbox, "create", "t", "a", NULL, "{\"n\":1}");
    outbox_single(&outbox, "update", "t", "a", "{\"n\":1}", "{\"n\":2}");
    outbox_undo(&outbox);
    outbox_single(&outbox, "create", "u", "b", NULL, "{\"n\":3}");
    struct opened opened = opened_of("arrive", "topic: '{pipeline}.{table}'\npartitions: 5\n");
    struct sink_runner *runner = runner_start(opened.sink, &outbox, 0);
    drain(runner);
    sink_runner_stop(runner);
    opened_close(&opened);
    struct reader_log log;
    reader_read(kafka_broker_address(broker), "arrive.t", &log);
    assert_int_equal(log.partitions, 5);
    assert_int_equal(log.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(log.messages[i].key, "a");
        assert_int_equal(log.messages[i].partition, 584102524 % 5); /* murmur2 of "a" */
    }
    assert_string_equal(
        log.messages[1].value,
        "{\"header\":{\"source\":\"test\",\"block_height\":2},\"payload\":{\"operation\":\"update\",\"table\":\"t\","
        "\"key\":\"a\",\"before\":{\"n\":1},\"after\":{\"n\":2}}}");
    assert_string_equal(
        log.messages[2].value,
        "{\"header\":{\"source\":\"test\",\"block_height\":2},\"payload\":{\"operation\":\"update\",\"table\":\"t\","
        "\"key\":\"a\",\"before\":{\"n\":2},\"after\":{\"n\":1}}}");
    char wanted[256];
    char hash[HASH_HEX_SIZE];
    struct outbox_record record;
    struct buf bytes = {0};
    MUST(store_outbox_read(outbox.store, 2, &bytes, &record, &err));
    hash_display(record.hash, hash);
    buf_deinit(&bytes);
    (void)snprintf(wanted, sizeof wanted, "height=2;hash=%s;sequence=2;", hash);
    assert_string_equal(log.messages[1].headers, wanted);
    (void)snprintf(wanted, sizeof wanted, "height=2;hash=%s;sequence=3;undo=true;", hash);
    assert_string_equal(log.messages[2].headers, wanted);
    reader_free(&log);
    reader_read(kafka_broker_address(broker), "arrive.u", &log);
    assert_int_equal(log.count, 1);
    reader_free(&log);
    outbox_close(&outbox);
}

static void without_key_and_headers(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    outbox_single(&outbox, "create", "t", "a", NULL, "{\"n\":1}");
    outbox_single(&outbox, "delete", "t", "a", "{\"n\":1}", NULL);
    outbox_single(&outbox, "create", "t", "b", NULL, "{\"n\":1}");
    outbox_single(&outbox, "delete", "t", "b", "{\"n\":1}", NULL);
    struct opened opened = opened_of("bare", "topic: bare\npartitions: 64\nkey: none\nheaders: false\n"
                                             "compression: lz4\n");
    struct sink_runner *runner = runner_start(opened.sink, &outbox, 0);
    drain(runner);
    sink_runner_stop(runner);
    opened_close(&opened);
    outbox_close(&outbox);
    struct reader_log log;
    reader_read(kafka_broker_address(broker), "bare", &log);
    assert_int_equal(log.count, 4);
    assert_int_equal(log.messages[0].partition, log.messages[1].partition); /* a row stays in its partition */
    assert_int_equal(log.messages[2].partition, log.messages[3].partition);
    assert_int_not_equal(log.messages[0].partition, log.messages[3].partition);
    for (size_t i = 0; i < log.count; i++) {
        assert_null(log.messages[i].key);
        assert_string_equal(log.messages[i].headers, "");
        assert_non_null(strstr(log.messages[i].value, i % 2 == 0 ? "\"create\"" : "\"delete\""));
    }
    reader_free(&log);
}

/* What a compacted topic forgets by: behind deletes, and behind the inverses that are some. */
static void tombstones_follow_deletes(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    outbox_single(&outbox, "create", "t", "a", NULL, "{\"n\":1}");
    outbox_single(&outbox, "delete", "t", "a", "{\"n\":1}", NULL);
    outbox_single(&outbox, "create", "t", "b", NULL, "{\"n\":1}");
    outbox_undo(&outbox);
    struct opened opened = opened_of("tombs", "topic: tombs\ntombstones: true\n");
    struct sink_runner *runner = runner_start(opened.sink, &outbox, 0);
    drain(runner);
    sink_runner_stop(runner);
    opened_close(&opened);
    outbox_close(&outbox);
    static const struct {
        const char *key, *text; /* NULL: none */
    } wanted[] = {{"a", "\"create\""}, {"a", "\"delete\""}, {"a", NULL},
                  {"b", "\"create\""}, {"b", "\"delete\""}, {"b", NULL}};
    struct reader_log log;
    reader_read(kafka_broker_address(broker), "tombs", &log);
    assert_int_equal(log.count, sizeof wanted / sizeof *wanted);
    for (size_t i = 0; i < log.count; i++) {
        assert_string_equal(log.messages[i].key, wanted[i].key);
        assert_int_equal(log.messages[i].value == NULL, wanted[i].text == NULL);
        if (wanted[i].text != NULL)
            assert_non_null(strstr(log.messages[i].value, wanted[i].text));
    }
    assert_string_equal(log.messages[4].headers, log.messages[5].headers);
    reader_free(&log);
}

/* A guest's names may have any bytes. */
static void a_table_may_have_a_nul_in_its_name(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    for (int i = 0; i < 3; i++) {
        const char *const changes[] = {
            "{\"header\":{\"block_height\":1},\"payload\":{\"operation\":\"create\",\"table\":"
            "\"t\\u0000u\",\"key\":\"a\\u0000b\",\"after\":{\"n\":1}}}"};
        outbox_entry(&outbox, changes, 1);
    }
    struct opened opened = opened_of("nul", "topic: nul\n");
    struct sink_runner *runner = runner_start(opened.sink, &outbox, 1);
    drain(runner);
    sink_runner_stop(runner);
    opened_close(&opened);
    expect_file(&outbox, "nul");
    outbox_close(&outbox);
}

static void a_restart_goes_on_behind_what_was_committed(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    for (int round = 0; round < 4; round++) {
        entries(&outbox, 12);
        struct opened opened = opened_of("restart", "topic: restart\n");
        struct sink_runner *runner = runner_start(opened.sink, &outbox, 3);
        drain(runner);
        sink_runner_stop(runner);
        struct sink_cursor cursor = {0};
        MUST(sink_kafka.cursor(opened.sink, &cursor, &err));
        assert_int_equal(cursor.sequence, outbox_head(&outbox));
        opened_close(&opened);
    }
    expect_file(&outbox, "restart");
    outbox_close(&outbox);
}

static void a_second_process_stops_the_first(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    entries(&outbox, 5);
    struct opened first = opened_of("rival", "topic: rival\n");
    struct sink_runner *runner = runner_start(first.sink, &outbox, 3);
    drain(runner);
    struct opened second = opened_of("rival", "topic: rival\n");
    struct sink_cursor cursor = {0};
    MUST(sink_kafka.cursor(second.sink, &cursor, &err));
    assert_int_equal(cursor.sequence, outbox_head(&outbox));
    entries(&outbox, 5);
    const char *why = state_wait(runner, SINK_FAILED);
    assert_non_null(strstr(why, "another producer with the same transactional id has taken over"));
    sink_runner_stop(runner);
    opened_close(&first);
    runner = runner_start(second.sink, &outbox, 3);
    drain(runner);
    sink_runner_stop(runner);
    opened_close(&second);
    expect_file(&outbox, "rival");
    outbox_close(&outbox);
}

static void brokers_die_and_come_back(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    entries(&outbox, 5);
    struct opened opened = opened_of("dying", "topic: dying\n");
    struct sink_runner *runner = runner_start(opened.sink, &outbox, 3);
    drain(runner);
    for (int round = 0; round < 3; round++) {
        entries(&outbox, 60);
        kafka_broker_kill(broker); /* while it delivers */
        entries(&outbox, 10);
        MUST(kafka_broker_start(broker, &err));
        drain(runner);
    }
    sink_runner_stop(runner);
    opened_close(&opened);
    expect_file(&outbox, "dying");
    outbox_close(&outbox);
}

/* A pause of the whole cluster that is longer than the transaction's timeout. */
static void a_pause_longer_than_the_transaction_timeout(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    entries(&outbox, 5);
    struct opened opened = opened_of("pause", "topic: pause\ntransaction_timeout: 1s\n");
    struct sink_runner *runner = runner_start(opened.sink, &outbox, 3);
    drain(runner);
    kafka_broker_pause(broker);
    entries(&outbox, 20);
    (void)state_wait(runner, SINK_RETRYING);
    kafka_broker_resume(broker);
    drain(runner);
    sink_runner_stop(runner);
    opened_close(&opened);
    expect_file(&outbox, "pause");
    outbox_close(&outbox);
}

static void the_row_that_is_too_large_is_named(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    char image[60000];
    reader_topic_make(kafka_broker_address(broker), "narrow", 1,
                      (const char *const[]){"max.message.bytes=40000", NULL});
    (void)snprintf(image, sizeof image, "{\"v\":\"%0*d\"}", 50000, 0);
    outbox_single(&outbox, "create", "t", "small", NULL, "{\"n\":1}");
    outbox_single(&outbox, "create", "t", "large", NULL, image);
    outbox_single(&outbox, "create", "t", "behind", NULL, "{\"n\":1}");
    struct opened opened = opened_of("narrow", "topic: narrow\n");
    struct sink_runner *runner = runner_start(opened.sink, &outbox, 0);
    const char *why = state_wait(runner, SINK_FAILED);
    assert_non_null(strstr(why, "program balances, table \"t\", key \"large\", height 2"));
    assert_non_null(strstr(why, "topic narrow"));
    sink_runner_stop(runner);
    opened_close(&opened);
    outbox_close(&outbox);
    struct reader_log log;
    reader_read(kafka_broker_address(broker), "narrow", &log);
    assert_int_equal(log.count, 0);
    reader_free(&log);
}

static void expect_failure(const char *pipeline, const char *yaml, struct outbox *outbox, const char *text)
{
    struct opened opened = opened_of(pipeline, yaml);
    struct sink_runner *runner = runner_start(opened.sink, outbox, 0);
    const char *why = state_wait(runner, SINK_FAILED);
    if (strstr(why, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why, text);
    sink_runner_stop(runner);
    opened_close(&opened);
}

static void missing_topics_are_named(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    outbox_single(&outbox, "create", "not a topic", "a", NULL, "{\"n\":1}");
    expect_failure("missing", "create_topics: false\nprogress_topic: nowhere\n", &outbox,
                   "there is no progress topic nowhere");
    expect_failure("missing", "topic: missing\nprogress_topic: p\ncreate_topics: true\nreplication: 3\n", &outbox,
                   "make topic p: ");
    reader_topic_make(kafka_broker_address(broker), "forgetful", 1, NULL);
    expect_failure("missing", "topic: missing\nprogress_topic: forgetful\n", &outbox, "has cleanup.policy=delete");
    expect_failure("missing", "", &outbox, "topic \"{table}\" with table \"not a topic\" is no name of a topic");
    expect_failure("missing", "topic: missing\ncreate_topics: false\n", &outbox, "there is no topic missing");
    outbox_close(&outbox);
}

static bool neighbour_is_there(void *user_data)
{
    (void)user_data;
    return reader_end(kafka_broker_address(broker), "shared", 0) > 0;
}

/* The cursor lies behind the open transaction of somebody else, where read_committed readers do not see it yet. */
static void the_cursor_behind_an_open_transaction_is_waited_for(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    entries(&outbox, 5);
    reader_topic_make(kafka_broker_address(broker), "shared", 1, (const char *const[]){"cleanup.policy=compact", NULL});
    struct kafka_producer_options options = {.client = {.name = "neighbour", .brokers = kafka_broker_address(broker)},
                                             .transactional_id = "neighbour",
                                             .transaction_timeout_ms = 3000,
                                             .compression = "none"};
    struct kafka_producer *neighbour;
    MUST(kafka_producer_new(&options, &neighbour, &err));
    MUST(kafka_producer_init(neighbour, &err));
    MUST(kafka_producer_begin(neighbour, &err));
    struct kafka_message message = {.topic = "shared",
                                    .partition = 0,
                                    .key = bytes_str("neighbour/out"),
                                    .value = bytes_str("{}"),
                                    .tag = KAFKA_TAG_NONE};
    MUST(kafka_producer_send(neighbour, &message, &err));
    assert_true(wait_for(neighbour_is_there, NULL, PATIENCE_MS));
    for (int round = 0; round < 2; round++) {
        struct opened opened = opened_of("behind", "topic: behind\nprogress_topic: shared\n");
        struct sink_runner *runner = runner_start(opened.sink, &outbox, 3);
        drain(runner);
        sink_runner_stop(runner);
        opened_close(&opened);
    }
    kafka_producer_free(neighbour);
    expect_file(&outbox, "behind");
    outbox_close(&outbox);
}

/* Far more progress of others than one look at the end of the topic shows. */
static void the_cursor_is_found_far_back(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    entries(&outbox, 5);
    struct opened opened = opened_of("far", "topic: far\nprogress_topic: busy\n");
    struct sink_runner *runner = runner_start(opened.sink, &outbox, 0);
    drain(runner);
    sink_runner_stop(runner);
    opened_close(&opened);
    struct kafka_producer_options options = {.client = {.name = "busy", .brokers = kafka_broker_address(broker)},
                                             .transactional_id = "busy",
                                             .transaction_timeout_ms = 10000,
                                             .compression = "none"};
    struct kafka_producer *busy;
    MUST(kafka_producer_new(&options, &busy, &err));
    MUST(kafka_producer_init(busy, &err));
    MUST(kafka_producer_begin(busy, &err));
    for (int i = 0; i < 20000; i++) {
        struct kafka_message message = {.topic = "busy",
                                        .partition = 0,
                                        .key = bytes_str("busy/out"),
                                        .value = bytes_str("{}"),
                                        .tag = KAFKA_TAG_NONE};
        MUST(kafka_producer_send(busy, &message, &err));
    }
    MUST(kafka_producer_commit(busy, &err));
    kafka_producer_free(busy);
    opened = opened_of("far", "topic: far\nprogress_topic: busy\n");
    struct sink_cursor cursor = {0};
    MUST(sink_kafka.cursor(opened.sink, &cursor, &err));
    assert_int_equal(cursor.sequence, outbox_head(&outbox));
    opened_close(&opened);
    outbox_close(&outbox);
}

static void a_cursor_that_is_none_stops_the_sink(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    entries(&outbox, 2);
    reader_topic_make(kafka_broker_address(broker), "spoilt", 1, (const char *const[]){"cleanup.policy=compact", NULL});
    struct kafka_producer_options options = {.client = {.name = "spoil", .brokers = kafka_broker_address(broker)},
                                             .transactional_id = "spoil",
                                             .transaction_timeout_ms = 10000,
                                             .compression = "none"};
    static const struct {
        const char *value, *text;
    } cases[] = {
        {"{}", "is no progress"},
        {"nonsense", "is no progress"},
        {"{\"format\":9}", "has format 9"},
        {"{\"format\":1,\"pipeline\":\"other\",\"sink\":\"out\",\"store\":\"00000000000000000000000000000000\","
         "\"sequence\":1,"
         "\"entry\":\"0000000000000000000000000000000000000000000000000000000000000000\"}",
         "of pipeline \"other\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kafka_producer *producer;
        MUST(kafka_producer_new(&options, &producer, &err));
        MUST(kafka_producer_init(producer, &err));
        MUST(kafka_producer_begin(producer, &err));
        struct kafka_message message = {.topic = "spoilt",
                                        .partition = 0,
                                        .key = bytes_str("spoilt/out"),
                                        .value = bytes_str(cases[i].value),
                                        .tag = KAFKA_TAG_NONE};
        MUST(kafka_producer_send(producer, &message, &err));
        MUST(kafka_producer_commit(producer, &err));
        kafka_producer_free(producer);
        expect_failure("spoilt", "topic: spoilt-data\nprogress_topic: spoilt\n", &outbox, cases[i].text);
    }
    outbox_close(&outbox);
}

static void settings_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *text;
    } cases[] = {
        {"properties: {no.such.thing: 1}\n", "p.yaml:2: librdkafka has no property no.such.thing"},
        {"properties: {socket.timeout.ms: soon}\n", "socket.timeout.ms"},
        {"properties: {transactional.id: x}\n", "the option transactional_id sets it"},
        {"properties: {acks: 1}\n", "exactly once needs all"},
        {"properties: [a]\n", "properties: expected a mapping"},
        {"properties: {sasl.username: {a: b}}\n", "properties.sasl.username: expected text"},
        {"topic: 'a b'\n", "names of topics have letters"},
        {"topic: '{tabel}'\n", "{table} and {pipeline} are filled in"},
        {"compression: rar\n", "compression"},
        {"partitions: 0\n", "partitions"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct opened opened;
        assert_int_equal(try_open(&opened, "checked", cases[i].yaml), SOREX_INVALID);
        if (strstr(err.text, cases[i].text) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].text);
        opened_close(&opened);
    }
    struct opened opened =
        opened_of("checked", "properties:\n  security.protocol: sasl_ssl\n  sasl.mechanisms: SCRAM-SHA-512\n"
                             "  sasl.username: u\n  sasl.password: p\n");
    opened_close(&opened);
}

static int broker_start(void **state)
{
    (void)state;
    enum sorex_status status = kafka_broker_new(NULL, &broker, &err);
    if (status != SOREX_OK)
        (void)printf("%s: %s\n", status == SOREX_GONE ? "skipped" : "no broker", err.text);
    if (status == SOREX_GONE)
        exit(77);
    return status == SOREX_OK ? 0 : -1;
}

static int broker_stop(void **state)
{
    (void)state;
    kafka_broker_free(broker);
    return 0;
}

int main(void)
{
    log_level_set(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_and_inverses_arrive_with_their_headers),
        cmocka_unit_test(without_key_and_headers),
        cmocka_unit_test(tombstones_follow_deletes),
        cmocka_unit_test(a_table_may_have_a_nul_in_its_name),
        cmocka_unit_test(a_restart_goes_on_behind_what_was_committed),
        cmocka_unit_test(a_second_process_stops_the_first),
        cmocka_unit_test(brokers_die_and_come_back),
        cmocka_unit_test(a_pause_longer_than_the_transaction_timeout),
        cmocka_unit_test(the_row_that_is_too_large_is_named),
        cmocka_unit_test(missing_topics_are_named),
        cmocka_unit_test(the_cursor_behind_an_open_transaction_is_waited_for),
        cmocka_unit_test(the_cursor_is_found_far_back),
        cmocka_unit_test(a_cursor_that_is_none_stops_the_sink),
        cmocka_unit_test(settings_are_checked),
    };
    return cmocka_run_group_tests(tests, broker_start, broker_stop);
}
