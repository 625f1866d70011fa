/* Errors that brokers seldom give, from librdkafka's mock cluster: what passes is not seen, the rest has its status and
 * a text. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/log.h"
#include "integration/process.h"
#include "kafka/producer.h"

/* Kinds of requests. Source: Kafka protocol guide, "Api Keys". */
enum { PRODUCE = 0, FIND_COORDINATOR = 10, INIT_PRODUCER_ID = 22, ADD_PARTITIONS = 24, END_TRANSACTION = 26 };

static struct sorex_error err;

#define MUST(call)                               \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

struct world {
    rd_kafka_t *rk; /* owns the cluster */
    rd_kafka_mock_cluster_t *cluster;
};

static int world_make(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_non_null(world);
    rd_kafka_conf_set(conf, "log_level", "0", text, sizeof text);
    world->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_non_null(world->rk);
    world->cluster = rd_kafka_mock_cluster_new(world->rk, 3);
    assert_int_equal(rd_kafka_mock_topic_create(world->cluster, "out", 1, 3), 0);
    *state = world;
    return 0;
}

static int world_end(void **state)
{
    struct world *world = *state;
    rd_kafka_mock_cluster_destroy(world->cluster);
    rd_kafka_destroy(world->rk);
    free(world);
    return 0;
}

static struct kafka_producer *producer_make(const struct world *world)
{
    struct kafka_producer_options options = {
        .client = {.name = "mock", .brokers = rd_kafka_mock_cluster_bootstraps(world->cluster)},
        .transactional_id = "mock",
        .transaction_timeout_ms = 30000,
        .compression = "none"};
    struct kafka_producer *producer;
    MUST(kafka_producer_new(&options, &producer, &err));
    return producer;
}

/* begin, one message, commit */
static enum sorex_status transaction(struct kafka_producer *producer)
{
    struct kafka_message message = {.topic = "out",
                                    .partition = KAFKA_PARTITION_ANY,
                                    .key = bytes_str("key"),
                                    .value = bytes_str("value"),
                                    .tag = 7};
    enum sorex_status status = kafka_producer_begin(producer, &err);
    if (status == SOREX_OK)
        status = kafka_producer_send(producer, &message, &err);
    if (status == SOREX_OK)
        status = kafka_producer_commit(producer, &err);
    return status;
}

struct injection {
    int16_t request;
    rd_kafka_resp_err_t code;
    const char *status; /* of the transaction, or of init */
    const char *text;   /* part of the error's */
};

static const struct injection passing[] = {
    {INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, "ok", ""},
    {INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, "ok", ""},
    {INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, "ok", ""},
    {FIND_COORDINATOR, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, "ok", ""},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, "ok", ""},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, "ok", ""},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, "ok", ""},
    {PRODUCE, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, "ok", ""},
    {PRODUCE, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, "ok", ""},
    {PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, "ok", ""},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, "ok", ""},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, "ok", ""},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, "ok", ""},
};

static const struct injection failing[] = {
    {INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "invalid",
     "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"},
    {INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT, "invalid", "INVALID_TRANSACTION_TIMEOUT"},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "invalid", "TOPIC_AUTHORIZATION_FAILED"},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, "busy", "has taken over"},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, "again", "INVALID_PRODUCER_ID_MAPPING"},
    {PRODUCE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "invalid", "topic out"},
    {PRODUCE, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "limit", "topic out"},
    {PRODUCE, RD_KAFKA_RESP_ERR_INVALID_RECORD, "invalid", "topic out"},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, "busy", "has taken over"},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, "busy", "has taken over"},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, "again", "commit a transaction"},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "invalid",
     "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"},
};

/* Before init, when it concerns that; else after a transaction that went well. */
static void inject(struct world *world, const struct injection *injection)
{
    struct kafka_producer *producer = producer_make(world);
    bool early = injection->request == INIT_PRODUCER_ID || injection->request == FIND_COORDINATOR;
    char what[160];
    (void)snprintf(what, sizeof what, "request %d, %s", injection->request, rd_kafka_err2name(injection->code));
    if (early)
        rd_kafka_mock_push_request_errors(world->cluster, injection->request, 2, injection->code, injection->code);
    err.text[0] = '\0';
    enum sorex_status status = kafka_producer_init(producer, &err);
    if (status == SOREX_OK)
        status = transaction(producer);
    if (!early) {
        if (status != SOREX_OK)
            fail_msg("%s: not even without: %s", what, err.text);
        rd_kafka_mock_push_request_errors(world->cluster, injection->request, 1, injection->code);
        status = transaction(producer);
    }
    if (strcmp(sorex_status_name(status), injection->status) != 0)
        fail_msg("%s: %s (%s), not %s", what, sorex_status_name(status), err.text, injection->status);
    if (status != SOREX_OK && strstr(err.text, injection->text) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", what, err.text, injection->text);
    if (injection->request == PRODUCE && status != SOREX_OK)
        assert_int_equal(kafka_producer_failed(producer), 7);
    rd_kafka_mock_clear_request_errors(world->cluster, injection->request);
    kafka_producer_free(producer);
    /* Whatever it was: the next producer begins anew. */
    producer = producer_make(world);
    MUST(kafka_producer_init(producer, &err));
    MUST(transaction(producer));
    kafka_producer_free(producer);
}

static void what_passes_is_not_seen(void **state)
{
    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++)
        inject(*state, &passing[i]);
}

static void what_does_not_has_its_status(void **state)
{
    for (size_t i = 0; i < sizeof failing / sizeof failing[0]; i++)
        inject(*state, &failing[i]);
}

static void the_coordinator_moves(void **state)
{
    struct world *world = *state;
    struct kafka_producer *producer = producer_make(world);
    for (int32_t broker = 1; broker <= 3; broker++)
        assert_int_equal(rd_kafka_mock_coordinator_set(world->cluster, "transaction", "mock", broker), 0);
    MUST(kafka_producer_init(producer, &err));
    for (int32_t broker = 1; broker <= 3; broker++) {
        assert_int_equal(rd_kafka_mock_coordinator_set(world->cluster, "transaction", "mock", broker), 0);
        assert_int_equal(rd_kafka_mock_partition_set_leader(world->cluster, "out", 0, 1 + broker % 3), 0);
        MUST(transaction(producer));
    }
    kafka_producer_free(producer);
}

/* ---- an answer that comes while the producer is freed ---- */

/* The thread of a broker that is slow to take the second answer to messages: until the handle is torn down, which must
 * not begin before, or for HOLD_MS. */
#define HOLD_MS 300
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool wanted;
    int answers;
    bool holds, held, torn;
} slow = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static rd_kafka_resp_err_t answer_hold(rd_kafka_t *rk, int fd, const char *broker, int32_t broker_id, int16_t request,
                                       int16_t version, int32_t id, size_t size, int64_t took_us,
                                       rd_kafka_resp_err_t code, void *opaque)
{
    (void)rk, (void)fd, (void)broker, (void)broker_id, (void)version, (void)id, (void)size, (void)took_us, (void)code;
    (void)opaque;
    struct timespec end;
    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += HOLD_MS * 1000000L;
    end.tv_sec += end.tv_nsec / 1000000000L;
    end.tv_nsec %= 1000000000L;
    (void)pthread_mutex_lock(&slow.lock);
    if (slow.wanted && request == PRODUCE && ++slow.answers == 2) {
        slow.holds = slow.held = true;
        while (!slow.torn && pthread_cond_timedwait(&slow.changed, &slow.lock, &end) == 0)
            continue;
        slow.holds = false;
    }
    (void)pthread_mutex_unlock(&slow.lock);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t tear_note(rd_kafka_t *rk, void *opaque)
{
    (void)rk, (void)opaque;
    (void)pthread_mutex_lock(&slow.lock);
    slow.torn = slow.torn || slow.holds;
    (void)pthread_cond_broadcast(&slow.changed);
    (void)pthread_mutex_unlock(&slow.lock);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t watch(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *text, size_t size)
{
    (void)conf, (void)opaque, (void)text, (void)size;
    (void)rd_kafka_interceptor_add_on_response_received(rk, "slow", answer_hold, NULL);
    return rd_kafka_interceptor_add_on_destroy(rk, "slow", tear_note, NULL);
}

/* In place of the library's, for every handle of this program: see CMakeLists.txt. */
rd_kafka_t *__real_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *text, size_t size);
rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *text, size_t size);

rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *text, size_t size)
{
    (void)rd_kafka_conf_interceptor_add_on_new(conf, "slow", watch, NULL);
    return __real_rd_kafka_new(type, conf, text, size);
}

static void slow_want(bool wanted)
{
    (void)pthread_mutex_lock(&slow.lock);
    slow.wanted = wanted;
    (void)pthread_mutex_unlock(&slow.lock);
}

static bool refuses(void *user_data)
{
    struct kafka_message message = {.topic = "out", .partition = KAFKA_PARTITION_ANY, .key = bytes_str("key")};
    return kafka_producer_send(user_data, &message, &err) != SOREX_OK;
}

static bool holds(void *user_data)
{
    (void)user_data;
    (void)pthread_mutex_lock(&slow.lock);
    bool held = slow.held;
    (void)pthread_mutex_unlock(&slow.lock);
    return held;
}

/* Several messages are on their way, each in a request of its own, and every one is answered "fenced". librdkafka 2.0.2
 * freed the same text twice when it took the second answer after it had begun to tear the handle down. */
static void what_is_not_answered_is_given_up_before_the_end(void **state)
{
    struct world *world = *state;
    struct kafka_producer_options options = {
        .client = {.name = "slow",
                   .brokers = rd_kafka_mock_cluster_bootstraps(world->cluster),
                   .properties = (const struct kafka_property[]){{"linger.ms", "0"}, {"batch.num.messages", "1"}},
                   .property_count = 2},
        .transactional_id = "slow",
        .transaction_timeout_ms = 30000,
        .compression = "none"};
    rd_kafka_resp_err_t fenced[100];
    for (size_t i = 0; i < sizeof fenced / sizeof fenced[0]; i++)
        fenced[i] = RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
    struct kafka_producer *producer;
    MUST(kafka_producer_new(&options, &producer, &err));
    MUST(kafka_producer_init(producer, &err));
    for (int32_t broker = 1; broker <= 3; broker++) /* so that several are on their way at the same time */
        assert_int_equal(rd_kafka_mock_broker_set_rtt(world->cluster, broker, 100), 0);
    rd_kafka_mock_push_request_errors_array(world->cluster, PRODUCE, sizeof fenced / sizeof fenced[0], fenced);
    slow_want(true);
    MUST(kafka_producer_begin(producer, &err));
    assert_true(wait_for(refuses, producer, 30000));
    assert_non_null(strstr(err.text, "has taken over"));
    assert_true(wait_for(holds, NULL, 30000));
    kafka_producer_free(producer);
    slow_want(false);
    assert_false(slow.torn);
}

int main(void)
{
    log_level_set(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_passes_is_not_seen, world_make, world_end),
        cmocka_unit_test_setup_teardown(what_does_not_has_its_status, world_make, world_end),
        cmocka_unit_test_setup_teardown(the_coordinator_moves, world_make, world_end),
        cmocka_unit_test_setup_teardown(what_is_not_answered_is_given_up_before_the_end, world_make, world_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
