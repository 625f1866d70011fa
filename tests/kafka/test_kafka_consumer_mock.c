/* Errors that brokers seldom give, from librdkafka's mock cluster: each passes, or is named, and nothing is lost or
 * given twice. */
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
#include "integration/process.h"
#include "kafka/consumer.h"
#include "kafka/producer.h"

#define DEADLINE_MS 60000
#define MESSAGES 200

/* Kinds of requests. Source: Kafka protocol guide, "Api Keys". */
enum {
    FETCH = 1,
    OFFSET_FETCH = 9,
    FIND_COORDINATOR = 10,
    JOIN_GROUP = 11,
    HEARTBEAT = 12,
    SYNC_GROUP = 14,
    TXN_OFFSET_COMMIT = 28
};

static struct sorex_error err;

#define MUST(call)                               \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

struct world {
    rd_kafka_t *rk; /* owns the cluster */
    rd_kafka_mock_cluster_t *cluster;
    struct kafka_consumer *consumer;
    struct kafka_poll poll;
    enum sorex_status status; /* of the last poll that failed */
    int64_t next;             /* what must come next */
    int changes;
};

static const struct kafka_property quick[] = {{"session.timeout.ms", "3000"}, {"heartbeat.interval.ms", "100"}};

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
    assert_int_equal(rd_kafka_mock_topic_create(world->cluster, "events", 1, 3), 0);
    *state = world;
    return 0;
}

static int world_end(void **state)
{
    struct world *world = *state;
    kafka_consumer_free(world->consumer);
    rd_kafka_mock_cluster_destroy(world->cluster);
    rd_kafka_destroy(world->rk);
    free(world);
    return 0;
}

static struct kafka_options client_of(const struct world *world, const char *name)
{
    return (struct kafka_options){.name = name,
                                  .brokers = rd_kafka_mock_cluster_bootstraps(world->cluster),
                                  .properties = quick,
                                  .property_count = 2};
}

static void fill(const struct world *world)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];
    char value[] = "x";
    rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(world->cluster), text, sizeof text);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    for (int i = 0; i < MESSAGES; i++)
        assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC("events"), RD_KAFKA_V_PARTITION(0),
                                           RD_KAFKA_V_VALUE(value, 1), RD_KAFKA_V_END),
                         0);
    assert_int_equal(rd_kafka_flush(rk, DEADLINE_MS), 0);
    rd_kafka_destroy(rk);
}

static void join(struct world *world)
{
    static const char *const topic = "events";
    struct kafka_consumer_options options = {
        .client = client_of(world, "mock"), .topics = &topic, .topic_count = 1, .group = "mock"};
    MUST(kafka_consumer_new(&options, &world->consumer, &err));
}

static const struct kafka_poll_limits limits = {.records = 7, .bytes = 1 << 20, .wait_ms = 20};

/* A target that never loses anything: reading goes on where it stopped, whatever happens. */
static bool all_taken(void *user_data)
{
    struct world *world = user_data;
    enum sorex_status status = kafka_consumer_poll(world->consumer, &limits, &world->poll, &err);
    if (status != SOREX_OK) {
        world->status = status;
        return status != SOREX_AGAIN;
    }
    world->changes += world->poll.changed;
    if (world->poll.changed && world->poll.partition_count == 1)
        kafka_consumer_place(world->consumer, 0, world->next);
    for (size_t i = 0; i < world->poll.count; i++)
        assert_int_equal(world->poll.records[i].offset, world->next++);
    return world->next == MESSAGES;
}

static void take_all(struct world *world)
{
    assert_true(wait_for(all_taken, world, DEADLINE_MS));
    if (world->next != MESSAGES)
        fail_msg("stopped: %s", err.text);
}

static void fetches_that_fail_are_repeated(void **state)
{
    struct world *world = *state;
    fill(world);
    rd_kafka_mock_push_request_errors(world->cluster, FETCH, 5, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
                                      RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE, RD_KAFKA_RESP_ERR__TRANSPORT);
    join(world);
    take_all(world);
}

static void a_coordinator_that_moves_is_found_again(void **state)
{
    struct world *world = *state;
    fill(world);
    rd_kafka_mock_push_request_errors(world->cluster, FIND_COORDINATOR, 2, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                                      RD_KAFKA_RESP_ERR__TRANSPORT);
    rd_kafka_mock_push_request_errors(world->cluster, JOIN_GROUP, 2, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                                      RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
    rd_kafka_mock_push_request_errors(world->cluster, SYNC_GROUP, 1, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS);
    join(world);
    take_all(world);
}

static bool taken_over(void *user_data)
{
    struct world *world = user_data;
    (void)all_taken(world);
    return world->changes >= 3; /* given, taken away, given */
}

static void who_is_thrown_out_comes_back(void **state)
{
    static const rd_kafka_resp_err_t codes[] = {RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
                                                RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
                                                RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS};
    struct world *world = *state;
    fill(world);
    join(world);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        world->changes = i == 0 ? 0 : 1;
        rd_kafka_mock_push_request_errors(world->cluster, HEARTBEAT, 1, codes[i]);
        assert_true(wait_for(taken_over, world, DEADLINE_MS));
    }
    take_all(world);
}

static void committed_offsets_are_asked_for_again(void **state)
{
    struct world *world = *state;
    int64_t committed = 0;
    join(world);
    world->next = MESSAGES; /* placed at the end */
    while (world->poll.partition_count == 0)
        (void)all_taken(world);
    rd_kafka_mock_push_request_errors(world->cluster, OFFSET_FETCH, 3, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                                      RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_NOT_COORDINATOR);
    MUST(kafka_consumer_committed(world->consumer, 0, &committed, &err));
    assert_int_equal(committed, KAFKA_NO_OFFSET);
}

static bool refused(void *user_data)
{
    struct world *world = user_data;
    return kafka_consumer_poll(world->consumer, &limits, &world->poll, &err) == SOREX_INVALID;
}

static void a_group_that_is_not_allowed_is_named(void **state)
{
    struct world *world = *state;
    rd_kafka_mock_push_request_errors(world->cluster, FIND_COORDINATOR, 1,
                                      RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    join(world);
    assert_true(wait_for(refused, world, DEADLINE_MS));
    assert_non_null(strstr(err.text, "group mock"));
}

static void offsets_of_an_old_generation_are_not_the_end(void **state)
{
    static const struct {
        rd_kafka_resp_err_t code;
        const char *status;
    } cases[] = {{RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, "again"},
                 {RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, "again"},
                 {RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, "busy"},
                 {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, "invalid"}};
    struct world *world = *state;
    fill(world);
    join(world);
    take_all(world);
    struct kafka_offset offset = {.topic = "events", .partition = 0, .offset = MESSAGES};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kafka_producer *producer = NULL;
        struct kafka_producer_options options = {
            .client = {.name = "mock", .brokers = client_of(world, "mock").brokers},
            .transactional_id = "mock",
            .transaction_timeout_ms = 10000,
            .compression = "none"};
        MUST(kafka_producer_new(&options, &producer, &err));
        MUST(kafka_producer_init(producer, &err));
        MUST(kafka_producer_begin(producer, &err));
        rd_kafka_mock_push_request_errors(world->cluster, TXN_OFFSET_COMMIT, 1, cases[i].code);
        enum sorex_status status = kafka_producer_offsets(producer, &offset, 1, world->consumer, &err);
        if (status == SOREX_OK)
            status = kafka_producer_commit(producer, &err);
        assert_string_equal(sorex_status_name(status), cases[i].status);
        kafka_producer_free(producer);
    }
}

/* librdkafka counts a connection without an address, such as the coordinator's while it changes, as none: then nobody
 * says that all are down. */
static bool untold;
typedef void error_fn(rd_kafka_t *rk, int code, const char *reason, void *opaque);
static error_fn *told;

static void tell(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    if (!untold || code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        told(rk, code, reason, opaque);
}

void __real_rd_kafka_conf_set_error_cb(rd_kafka_conf_t *conf, error_fn *callback);
void __wrap_rd_kafka_conf_set_error_cb(rd_kafka_conf_t *conf, error_fn *callback);

void __wrap_rd_kafka_conf_set_error_cb(rd_kafka_conf_t *conf, error_fn *callback)
{
    told = callback;
    __real_rd_kafka_conf_set_error_cb(conf, tell);
}

static bool misses_the_brokers(void *user_data)
{
    struct world *world = user_data;
    return kafka_consumer_poll(world->consumer, &limits, &world->poll, &err) == SOREX_AGAIN;
}

static bool hears_again(void *user_data) { return !misses_the_brokers(user_data); }

static void brokers_that_are_gone_are_missed_though_nobody_says_so(void **state)
{
    struct world *world = *state;
    fill(world);
    join(world);
    take_all(world);
    untold = true;
    for (int32_t id = 1; id <= 3; id++)
        rd_kafka_mock_broker_set_down(world->cluster, id);
    bool missed = wait_for(misses_the_brokers, world, DEADLINE_MS);
    for (int32_t id = 1; id <= 3; id++)
        rd_kafka_mock_broker_set_up(world->cluster, id);
    assert_true(missed);
    assert_true(wait_for(hears_again, world, DEADLINE_MS));
    untold = false;
}

int main(void)
{
    log_level_set(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fetches_that_fail_are_repeated, world_make, world_end),
        cmocka_unit_test_setup_teardown(a_coordinator_that_moves_is_found_again, world_make, world_end),
        cmocka_unit_test_setup_teardown(who_is_thrown_out_comes_back, world_make, world_end),
        cmocka_unit_test_setup_teardown(committed_offsets_are_asked_for_again, world_make, world_end),
        cmocka_unit_test_setup_teardown(a_group_that_is_not_allowed_is_named, world_make, world_end),
        cmocka_unit_test_setup_teardown(offsets_of_an_old_generation_are_not_the_end, world_make, world_end),
        cmocka_unit_test_setup_teardown(brokers_that_are_gone_are_missed_though_nobody_says_so, world_make, world_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
