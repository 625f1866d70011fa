/* The transactional producer against a real broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "integration/kafka.h"
#include "integration/process.h"
#include "kafka/producer.h"
#include "kafka/reader.h"

static struct kafka_broker *broker;
static struct sorex_error err;

#define MUST(call)                               \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

static const struct kafka_property quick[] = {{"topic.metadata.propagation.max.ms", "1000"}};

static struct kafka_producer *producer_make(const char *id, uint32_t timeout_ms)
{
    struct kafka_producer_options options = {
        .client = {.name = id, .brokers = kafka_broker_address(broker), .properties = quick, .property_count = 1},
        .transactional_id = id,
        .transaction_timeout_ms = timeout_ms,
        .compression = "none"};
    struct kafka_producer *producer = NULL;
    MUST(kafka_producer_new(&options, &producer, &err));
    return producer;
}

static struct kafka_message message_of(const char *topic, const char *key, const char *value, uint32_t tag)
{
    return (struct kafka_message){.topic = topic,
                                  .partition = KAFKA_PARTITION_ANY,
                                  .key = key == NULL ? bytes_of(NULL, 0) : bytes_str(key),
                                  .value = value == NULL ? bytes_of(NULL, 0) : bytes_str(value),
                                  .tag = tag};
}

static void send(struct kafka_producer *producer, const char *topic, const char *key, const char *value)
{
    struct kafka_message message = message_of(topic, key, value, 0);
    MUST(kafka_producer_send(producer, &message, &err));
}

static void committed_is_seen_and_aborted_is_not(void **state)
{
    (void)state;
    const char *address = kafka_broker_address(broker);
    reader_topic_make(address, "seen", 4, NULL);
    struct kafka_producer *producer = producer_make("seen", 10000);
    MUST(kafka_producer_init(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    send(producer, "seen", "a", "1");
    MUST(kafka_producer_commit(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    send(producer, "seen", "a", "lost");
    MUST(kafka_producer_abort(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    struct header headers[] = {{"height", bytes_str("7")}, {"undo", bytes_str("true")}};
    struct kafka_message message = message_of("seen", "a", "2", 0);
    message.headers = headers;
    message.header_count = 2;
    MUST(kafka_producer_send(producer, &message, &err));
    send(producer, "seen", "a", NULL);
    message = message_of("seen", NULL, "no key", 0);
    message.route = bytes_str("a");
    MUST(kafka_producer_send(producer, &message, &err));
    MUST(kafka_producer_commit(producer, &err));
    MUST(kafka_producer_begin(producer, &err)); /* dropped with the producer */
    send(producer, "seen", "a", "open");
    kafka_producer_free(producer);

    struct reader_log log;
    reader_read(address, "seen", &log);
    assert_int_equal(log.count, 4);
    assert_string_equal(log.messages[0].value, "1");
    assert_string_equal(log.messages[0].headers, "");
    assert_string_equal(log.messages[1].value, "2");
    assert_string_equal(log.messages[1].headers, "height=7;undo=true;");
    assert_null(log.messages[2].value);
    assert_string_equal(log.messages[2].key, "a");
    assert_string_equal(log.messages[3].value, "no key");
    assert_null(log.messages[3].key);
    for (size_t i = 1; i < log.count; i++)
        assert_int_equal(log.messages[i].partition, log.messages[0].partition);
    reader_free(&log);
}

/* The hash of Java's clients: of these keys to 16 partitions, computed with org.apache.kafka.common.utils.Utils. */
static void keys_decide_partitions_as_in_java(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int32_t hash;
    } known[] = {{"21", -973932308},
                 {"foobar", -790332482},
                 {"a-little-bit-long-string", -985981536},
                 {"a-little-bit-longer-string", -1486304829},
                 {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
                 {"abc", 479470107}};
    const char *address = kafka_broker_address(broker);
    reader_topic_make(address, "hashed", 16, NULL);
    struct kafka_producer *producer = producer_make("hashed", 10000);
    MUST(kafka_producer_init(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        send(producer, "hashed", known[i].key, "x");
    MUST(kafka_producer_commit(producer, &err));
    kafka_producer_free(producer);
    struct reader_log log;
    reader_read(address, "hashed", &log);
    assert_int_equal(log.count, sizeof known / sizeof known[0]);
    for (size_t i = 0; i < log.count; i++)
        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++)
            if (strcmp(known[k].key, log.messages[i].key) == 0)
                assert_int_equal(log.messages[i].partition, (known[k].hash & 0x7fffffff) % 16);
    reader_free(&log);
}

static void a_second_producer_fences_the_first(void **state)
{
    (void)state;
    reader_topic_make(kafka_broker_address(broker), "fenced", 1, NULL);
    struct kafka_producer *first = producer_make("fenced", 60000);
    MUST(kafka_producer_init(first, &err));
    MUST(kafka_producer_begin(first, &err));
    send(first, "fenced", "a", "first");
    struct kafka_producer *second = producer_make("fenced", 60000);
    MUST(kafka_producer_init(second, &err));
    MUST(kafka_producer_begin(second, &err));
    send(second, "fenced", "a", "second");
    enum sorex_status status = kafka_producer_commit(first, &err);
    assert_string_equal(sorex_status_name(status), "busy");
    assert_non_null(strstr(err.text, "another producer with the same transactional id has taken over"));
    MUST(kafka_producer_commit(second, &err));
    kafka_producer_free(first);
    kafka_producer_free(second);
    struct reader_log log;
    reader_read(kafka_broker_address(broker), "fenced", &log);
    assert_int_equal(log.count, 1);
    assert_string_equal(log.messages[0].value, "second");
    reader_free(&log);
}

struct overdue {
    struct kafka_producer *producer;
    enum sorex_status status;
};

static bool fails(void *user_data)
{
    struct overdue *overdue = user_data;
    struct kafka_message message = message_of("overdue", "a", "x", 0);
    overdue->status = kafka_producer_send(overdue->producer, &message, &err);
    return overdue->status != SOREX_OK;
}

static void a_transaction_that_took_too_long_may_be_tried_again(void **state)
{
    (void)state;
    reader_topic_make(kafka_broker_address(broker), "overdue", 1, NULL);
    struct overdue overdue = {.producer = producer_make("overdue", 1000)};
    MUST(kafka_producer_init(overdue.producer, &err));
    MUST(kafka_producer_begin(overdue.producer, &err));
    assert_true(wait_for(fails, &overdue, 30000));
    assert_string_equal(sorex_status_name(overdue.status), "again");
    kafka_producer_free(overdue.producer);
    struct kafka_producer *next = producer_make("overdue", 10000);
    MUST(kafka_producer_init(next, &err));
    MUST(kafka_producer_begin(next, &err));
    send(next, "overdue", "a", "in time");
    MUST(kafka_producer_commit(next, &err));
    kafka_producer_free(next);
    struct reader_log log;
    reader_read(kafka_broker_address(broker), "overdue", &log);
    assert_int_equal(log.count, 1);
    reader_free(&log);
}

static void a_message_that_is_too_large_is_named(void **state)
{
    (void)state;
    static char large[2000001];
    (void)memset(large, 'x', sizeof large - 1);
    reader_topic_make(kafka_broker_address(broker), "large", 1, (const char *const[]){"max.message.bytes=20000", NULL});
    struct kafka_producer *producer = producer_make("large", 10000);
    MUST(kafka_producer_init(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    assert_int_equal(kafka_producer_failed(producer), KAFKA_TAG_NONE);
    struct kafka_message message = message_of("large", "a", large, 41);
    assert_int_equal(kafka_producer_send(producer, &message, &err), SOREX_LIMIT); /* the client's own limit */
    assert_int_equal(kafka_producer_failed(producer), 41);
    MUST(kafka_producer_abort(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    assert_int_equal(kafka_producer_failed(producer), KAFKA_TAG_NONE);
    send(producer, "large", "a", "small");
    large[30000] = '\0';
    message = message_of("large", "a", large, 42);
    MUST(kafka_producer_send(producer, &message, &err));
    enum sorex_status status = kafka_producer_commit(producer, &err);
    assert_string_equal(sorex_status_name(status), "limit");
    assert_int_equal(kafka_producer_failed(producer), 42);
    assert_non_null(strstr(err.text, "large"));
    MUST(kafka_producer_abort(producer, &err));
    kafka_producer_free(producer);
}

static void a_topic_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct kafka_producer *producer = producer_make("nowhere", 20000);
    MUST(kafka_producer_init(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    struct kafka_message message = message_of("nowhere", "a", "x", 1);
    enum sorex_status status = kafka_producer_send(producer, &message, &err);
    if (status == SOREX_OK)
        status = kafka_producer_commit(producer, &err);
    assert_string_equal(sorex_status_name(status), "gone");
    assert_non_null(strstr(err.text, "nowhere"));
    kafka_producer_free(producer);
}

static void a_broker_killed_in_mid_transaction_comes_back(void **state)
{
    (void)state;
    reader_topic_make(kafka_broker_address(broker), "killed", 1, NULL);
    struct kafka_producer *producer = producer_make("killed", 60000);
    MUST(kafka_producer_init(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    send(producer, "killed", "a", "before");
    MUST(kafka_producer_commit(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    send(producer, "killed", "a", "in between");
    kafka_broker_kill(broker);
    MUST(kafka_broker_start(broker, &err));
    enum sorex_status status = kafka_producer_commit(producer, &err);
    bool committed = status == SOREX_OK;
    if (!committed)
        assert_string_equal(sorex_status_name(status), "again");
    kafka_producer_free(producer);
    producer = producer_make("killed", 60000);
    MUST(kafka_producer_init(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    send(producer, "killed", "a", "after");
    MUST(kafka_producer_commit(producer, &err));
    kafka_producer_free(producer);
    struct reader_log log;
    reader_read(kafka_broker_address(broker), "killed", &log);
    if (committed)
        assert_int_equal(log.count, 3);
    assert_string_equal(log.messages[0].value, "before");
    assert_string_equal(log.messages[log.count - 1].value, "after");
    reader_free(&log);
}

/* A broker that hangs: neither commit nor interruption may wait for it. */
static void a_commit_that_gets_no_answer_can_be_interrupted(void **state)
{
    (void)state;
    reader_topic_make(kafka_broker_address(broker), "hanging", 1, NULL);
    struct kafka_producer *producer = producer_make("hanging", 60000);
    MUST(kafka_producer_init(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    send(producer, "hanging", "a", "x");
    kafka_broker_pause(broker);
    kafka_producer_interrupt(producer);
    enum sorex_status status = kafka_producer_commit(producer, &err);
    assert_string_equal(sorex_status_name(status), "again");
    assert_non_null(strstr(err.text, "interrupted"));
    kafka_producer_free(producer);
    kafka_broker_resume(broker);
}

/* One producer's try to begin, with properties of its own. */
static enum sorex_status try_init(const char *address, const struct kafka_property *properties, size_t count,
                                  const char *topic)
{
    struct kafka_producer_options options = {
        .client = {.name = "try", .brokers = address, .properties = properties, .property_count = count},
        .transactional_id = "try",
        .transaction_timeout_ms = 10000,
        .compression = "none"};
    struct kafka_producer *producer;
    MUST(kafka_producer_new(&options, &producer, &err));
    enum sorex_status status = kafka_producer_init(producer, &err);
    if (status == SOREX_OK && topic != NULL) {
        struct kafka_message message = message_of(topic, "a", "x", 0);
        MUST(kafka_producer_begin(producer, &err));
        status = kafka_producer_send(producer, &message, &err);
        if (status == SOREX_OK)
            status = kafka_producer_commit(producer, &err);
    }
    kafka_producer_free(producer);
    return status;
}

static void expect_text(const char *part)
{
    if (strstr(err.text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

static void credentials_are_passed_on_and_checked(void **state)
{
    (void)state;
    const char *address = kafka_broker_sasl_address(broker);
    struct kafka_property properties[] = {{"security.protocol", "sasl_plaintext"},
                                          {"sasl.mechanisms", "PLAIN"},
                                          {"sasl.username", "sorex"},
                                          {"sasl.password", "sesame"}};
    MUST(try_init(address, properties, 4, NULL));
    properties[3].value = "open sesame";
    assert_string_equal(sorex_status_name(try_init(address, properties, 4, NULL)), "invalid");
    expect_text(address);
    expect_text("uthentication");
    assert_null(strstr(err.text, "open sesame"));
}

static void rights_that_are_missing_are_named(void **state)
{
    (void)state;
    static const struct kafka_property properties[] = {{"security.protocol", "sasl_plaintext"},
                                                       {"sasl.mechanisms", "PLAIN"},
                                                       {"sasl.username", "sorex"},
                                                       {"sasl.password", "sesame"}};
    const char *address = kafka_broker_address(broker);
    reader_topic_make(address, "allowed", 1, NULL);
    reader_topic_make(address, "denied", 1, NULL);
    MUST(try_init(kafka_broker_sasl_address(broker), properties, 4, "allowed"));
    reader_deny(address, "User:sorex", "denied");
    assert_string_equal(sorex_status_name(try_init(kafka_broker_sasl_address(broker), properties, 4, "denied")),
                        "invalid");
    expect_text("denied");
    expect_text("TOPIC_AUTHORIZATION_FAILED");
}

static void certificates_are_checked(void **state)
{
    (void)state;
    const char *address = kafka_broker_tls_address(broker);
    if (address == NULL) {
        (void)printf("skipped: no openssl to make a certificate\n");
        skip();
    }
    struct kafka_property properties[] = {{"security.protocol", "ssl"},
                                          {"ssl.ca.location", kafka_broker_certificate(broker)}};
    MUST(try_init(address, properties, 2, NULL));
    assert_string_equal(sorex_status_name(try_init(address, properties, 1, NULL)),
                        "invalid"); /* the system's authorities */
    expect_text(address);
    expect_text("certificate");
}

static void brokers_that_are_not_there_are_named(void **state)
{
    (void)state;
    char address[32];
    (void)snprintf(address, sizeof address, "127.0.0.1:%d", port_free());
    assert_string_equal(sorex_status_name(try_init(address, NULL, 0, NULL)), "again");
    expect_text(address);
    expect_text("Connection refused");
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
        cmocka_unit_test(committed_is_seen_and_aborted_is_not),
        cmocka_unit_test(keys_decide_partitions_as_in_java),
        cmocka_unit_test(a_second_producer_fences_the_first),
        cmocka_unit_test(a_transaction_that_took_too_long_may_be_tried_again),
        cmocka_unit_test(a_message_that_is_too_large_is_named),
        cmocka_unit_test(a_topic_that_is_not_there_is_named),
        cmocka_unit_test(credentials_are_passed_on_and_checked),
        cmocka_unit_test(rights_that_are_missing_are_named),
        cmocka_unit_test(certificates_are_checked),
        cmocka_unit_test(brokers_that_are_not_there_are_named),
        cmocka_unit_test(a_broker_killed_in_mid_transaction_comes_back),
        cmocka_unit_test(a_commit_that_gets_no_answer_can_be_interrupted),
    };
    return cmocka_run_group_tests(tests, broker_start, broker_stop);
}
