/* Members of a consumer group against a real broker: placing, rebalances, fencing, ends, retention, a broker that dies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>

#include "base/clock.h"
#include "base/log.h"
#include "integration/kafka.h"
#include "integration/process.h"
#include "kafka/consumer.h"
#include "kafka/producer.h"
#include "kafka/reader.h"

#define DEADLINE_MS 60000

static struct kafka_broker *broker;
static struct sorex_error err;

#define MUST(call)                               \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

#define IS(call, name, words)                                     \
    do {                                                          \
        enum sorex_status is_status_ = (call);                    \
        assert_string_equal(sorex_status_name(is_status_), name); \
        if (strstr(err.text, words) == NULL)                      \
            fail_msg("no \"%s\" in: %s", words, err.text);        \
    } while (0)

/* ---- what comes in ---- */

static struct kafka_producer *producer_make(const char *id)
{
    struct kafka_producer_options options = {.client = {.name = id, .brokers = kafka_broker_address(broker)},
                                             .transactional_id = id,
                                             .transaction_timeout_ms = 30000,
                                             .compression = "none"};
    struct kafka_producer *producer = NULL;
    MUST(kafka_producer_new(&options, &producer, &err));
    MUST(kafka_producer_init(producer, &err));
    return producer;
}

/* Messages "from".."to" - 1, in one transaction. */
static void fill(const char *topic, int32_t partition, int from, int to)
{
    struct kafka_producer *producer = producer_make("fill");
    MUST(kafka_producer_begin(producer, &err));
    for (int i = from; i < to; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        MUST(kafka_producer_send(producer,
                                 &(struct kafka_message){.topic = topic,
                                                         .partition = partition,
                                                         .key = bytes_str("k"),
                                                         .value = bytes_str(text),
                                                         .tag = KAFKA_TAG_NONE},
                                 &err));
    }
    MUST(kafka_producer_commit(producer, &err));
    kafka_producer_free(producer);
}

static void topic_make(const char *topic, int partitions)
{
    reader_topic_make(kafka_broker_address(broker), topic, partitions, NULL);
}

/* ---- members ---- */

#define TAKEN_MAX 4096

struct member {
    struct kafka_consumer *consumer;
    struct kafka_poll poll;
    int taken[TAKEN_MAX]; /* the messages' numbers */
    size_t count;
    bool at_committed; /* where partitions are placed, else at the beginning */
};

static const struct kafka_property quick[] = {{"session.timeout.ms", "2000"},
                                              {"heartbeat.interval.ms", "200"},
                                              {"topic.metadata.refresh.interval.ms", "500"},
                                              {"max.poll.interval.ms", "2000"}};

static struct kafka_consumer_options options_of(const char *const *topic, const char *group)
{
    return (struct kafka_consumer_options){
        .client = {.name = group, .brokers = kafka_broker_address(broker), .properties = quick, .property_count = 3},
        .topics = topic,
        .topic_count = 1,
        .group = group};
}

static struct kafka_consumer *consumer_make(const char *topic, const char *group)
{
    struct kafka_consumer *consumer = NULL;
    struct kafka_consumer_options options = options_of(&topic, group);
    MUST(kafka_consumer_new(&options, &consumer, &err));
    return consumer;
}

static void place_all(struct member *member)
{
    for (size_t i = 0; i < member->poll.partition_count; i++) {
        int64_t at = KAFKA_BEGINNING;
        if (member->at_committed)
            MUST(kafka_consumer_committed(member->consumer, i, &at, &err));
        kafka_consumer_place(member->consumer, i, at < 0 ? KAFKA_BEGINNING : at);
    }
}

static const struct kafka_poll_limits small = {.records = 100, .bytes = 1 << 20, .wait_ms = 50};

/* One poll; places what was given. */
static enum sorex_status step(struct member *member)
{
    enum sorex_status status = kafka_consumer_poll(member->consumer, &small, &member->poll, &err);
    if (status != SOREX_OK)
        return status;
    if (member->poll.changed)
        place_all(member);
    for (size_t i = 0; i < member->poll.count; i++) {
        assert_true(member->count < TAKEN_MAX);
        char text[16] = "";
        struct bytes value = member->poll.records[i].value;
        assert_true(value.len < sizeof text);
        memcpy(text, value.data, value.len);
        member->taken[member->count++] = atoi(text);
    }
    return SOREX_OK;
}

struct wish {
    struct member *member, *other; /* other may be NULL: is polled, too */
    size_t count, partitions;
};

static bool took(void *user_data)
{
    struct wish *wish = user_data;
    MUST(step(wish->member));
    if (wish->other != NULL)
        MUST(step(wish->other));
    return wish->member->count >= wish->count;
}

static void take(struct member *member, size_t count)
{
    if (!wait_for(took, &(struct wish){.member = member, .count = count}, DEADLINE_MS))
        fail_msg("%zu messages of %zu", member->count, count);
}

/* A topic that was just made may not be known to the broker yet: SOREX_AGAIN is to be asked again. */
static bool shares(void *user_data)
{
    struct wish *wish = user_data;
    enum sorex_status status = step(wish->member);
    if (status == SOREX_AGAIN)
        return false;
    MUST(status);
    if (wish->other != NULL)
        MUST(step(wish->other));
    return wish->member->poll.partition_count == wish->partitions &&
           (wish->other == NULL || wish->other->poll.partition_count == wish->partitions);
}

static void share(struct member *member, struct member *other, size_t partitions)
{
    struct wish wish = {.member = member, .other = other, .partitions = partitions};
    if (!wait_for(shares, &wish, DEADLINE_MS))
        fail_msg("%zu partitions instead of %zu", member->poll.partition_count, partitions);
}

static bool catches_up(void *user_data)
{
    struct member *member = user_data;
    MUST(step(member));
    return member->poll.caught_up;
}

/* ---- cases ---- */

static void reads_from_where_it_is_placed(void **state)
{
    (void)state;
    topic_make("placed", 1);
    fill("placed", 0, 0, 10); /* offsets 0..9, then the transaction's end at 10 */
    struct member member = {.consumer = consumer_make("placed", "placed")};
    share(&member, NULL, 1);
    assert_string_equal(member.poll.partitions[0].topic, "placed");
    take(&member, 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(member.taken[i], i);
    assert_true(wait_for(catches_up, &member, DEADLINE_MS));
    assert_int_equal(member.poll.partitions[0].end, 10); /* nothing is behind: the transaction's end is no message */
    kafka_consumer_place(member.consumer, 0, 4);
    take(&member, 16);
    for (int i = 10; i < 16; i++)
        assert_int_equal(member.taken[i], i - 6);
    member.count = 0;
    kafka_consumer_place(member.consumer, 0, 2); /* the last one counts */
    kafka_consumer_place(member.consumer, 0, 7);
    take(&member, 3);
    assert_int_equal(member.taken[0], 7);
    kafka_consumer_free(member.consumer);
}

static void nothing_is_read_before_it_is_placed(void **state)
{
    (void)state;
    topic_make("unplaced", 1);
    fill("unplaced", 0, 0, 3);
    struct kafka_consumer *consumer = consumer_make("unplaced", "unplaced");
    struct kafka_poll poll = {0};
    while (poll.partition_count == 0)
        MUST(kafka_consumer_poll(consumer, &small, &poll, &err));
    assert_true(poll.changed);
    assert_false(poll.partitions[0].placed);
    for (int i = 0; i < 10; i++) {
        MUST(kafka_consumer_poll(consumer, &small, &poll, &err));
        assert_int_equal(poll.count, 0);
        assert_false(poll.changed);
        assert_false(poll.caught_up);
    }
    kafka_consumer_free(consumer);
}

static void a_batch_keeps_its_limits(void **state)
{
    (void)state;
    topic_make("limits", 1);
    fill("limits", 0, 1000, 1020); /* 5 bytes each with the key */
    struct member member = {.consumer = consumer_make("limits", "limits")};
    share(&member, NULL, 1);
    struct kafka_poll poll = {0};
    struct kafka_poll_limits limits = {.records = 3, .bytes = 1000, .wait_ms = 50};
    kafka_consumer_place(member.consumer, 0, KAFKA_BEGINNING);
    int next = 1000;
    while (next < 1010) {
        MUST(kafka_consumer_poll(member.consumer, &limits, &poll, &err));
        assert_true(poll.count <= 3);
        for (size_t i = 0; i < poll.count; i++, next++) {
            assert_int_equal(poll.records[i].offset, next - 1000);
            assert_memory_equal(poll.records[i].key.data, "k", 1);
            assert_true(poll.records[i].time_ms > 0);
        }
    }
    limits = (struct kafka_poll_limits){.records = 100, .bytes = 1, .wait_ms = 50};
    while (next < 1020) {
        MUST(kafka_consumer_poll(member.consumer, &limits, &poll, &err));
        assert_true(poll.count <= 1); /* one at least, whatever its size */
        next += (int)poll.count;
    }
    kafka_consumer_free(member.consumer);
}

static void what_is_delivered_is_committed(void **state)
{
    (void)state;
    topic_make("delivered", 1);
    fill("delivered", 0, 0, 10);
    struct member first = {.consumer = consumer_make("delivered", "delivered"), .at_committed = true};
    share(&first, NULL, 1);
    int64_t committed;
    MUST(kafka_consumer_committed(first.consumer, 0, &committed, &err));
    assert_int_equal(committed, KAFKA_NO_OFFSET);
    take(&first, 10);
    kafka_consumer_delivered(first.consumer, 0, 3); /* sent at once */
    kafka_consumer_delivered(first.consumer, 0, 6); /* sent when it leaves */
    kafka_consumer_free(first.consumer);
    struct member second = {.consumer = consumer_make("delivered", "delivered"), .at_committed = true};
    take(&second, 4);
    assert_int_equal(second.taken[0], 6);
    MUST(kafka_consumer_commit(second.consumer, 0, 8, &err));
    MUST(kafka_consumer_committed(second.consumer, 0, &committed, &err));
    assert_int_equal(committed, 8);
    kafka_consumer_free(second.consumer);
}

static void a_second_member_takes_its_share(void **state)
{
    (void)state;
    topic_make("shared", 4);
    struct member first = {.consumer = consumer_make("shared", "shared")};
    share(&first, NULL, 4);
    struct member second = {.consumer = consumer_make("shared", "shared")};
    share(&first, &second, 2);
    for (int32_t i = 0; i < 4; i++)
        fill("shared", i, i * 10, i * 10 + 10);
    struct wish wish = {.member = &first, .other = &second, .count = 20};
    assert_true(wait_for(took, &wish, DEADLINE_MS));
    take(&second, 20);
    bool seen[40] = {0};
    for (size_t i = 0; i < 20; i++) {
        assert_false(seen[first.taken[i]]);
        seen[first.taken[i]] = true;
        assert_false(seen[second.taken[i]]);
        seen[second.taken[i]] = true;
    }
    kafka_consumer_free(second.consumer);
    share(&first, NULL, 4);
    kafka_consumer_free(first.consumer);
}

/* What a member read under one generation of its group must not be committed under another one, nor under none. */
static void offsets_of_a_member_thrown_out_are_refused(void **state)
{
    (void)state;
    topic_make("thrown", 2);
    topic_make("thrown_out", 1);
    fill("thrown", 0, 0, 10);
    const char *topic = "thrown";
    struct kafka_consumer_options options = options_of(&topic, "thrown");
    options.client.property_count = 4; /* who does not poll for two seconds leaves */
    struct member zombie = {0};
    MUST(kafka_consumer_new(&options, &zombie.consumer, &err));
    take(&zombie, 10);
    struct kafka_offset offset = {.topic = "thrown", .partition = 0, .offset = 10};
    struct kafka_producer *producer = producer_make("thrown/zombie");
    MUST(kafka_producer_begin(producer, &err));
    MUST(kafka_producer_send(
        producer,
        &(struct kafka_message){
            .topic = "thrown_out", .partition = 0, .value = bytes_str("of a zombie"), .tag = KAFKA_TAG_NONE},
        &err));
    struct member next = {.consumer = consumer_make("thrown", "thrown"), .at_committed = true};
    share(&next, NULL, 2); /* without the zombie's consent: it does not poll */
    take(&next, 10);       /* from the beginning: nothing was committed */
    assert_string_equal(sorex_status_name(kafka_producer_offsets(producer, &offset, 1, zombie.consumer, &err)),
                        "again");
    kafka_producer_free(producer);
    /* It notices, and joins again: until its partitions are placed nothing passes. */
    struct wish wish = {.member = &zombie, .other = &next, .partitions = 1};
    assert_true(wait_for(shares, &wish, DEADLINE_MS));
    offset.topic = "thrown";
    producer = producer_make("thrown/zombie");
    MUST(kafka_producer_begin(producer, &err));
    for (offset.partition = 0; offset.partition < 2; offset.partition++) {
        enum sorex_status status = kafka_producer_offsets(producer, &offset, 1, zombie.consumer, &err);
        bool mine = kafka_consumer_find(zombie.consumer, "thrown", offset.partition) >= 0;
        assert_string_equal(sorex_status_name(status), mine ? "ok" : "again");
    }
    MUST(kafka_producer_commit(producer, &err));
    kafka_producer_free(producer);
    kafka_consumer_free(zombie.consumer);
    kafka_consumer_free(next.consumer);
    struct reader_log log;
    reader_read(kafka_broker_address(broker), "thrown_out", &log);
    assert_int_equal(log.count, 0);
    reader_free(&log);
}

/* A batch that was read before a rebalance, given out by another thread behind it. */
static void partitions_that_are_not_placed_again_have_no_membership(void **state)
{
    (void)state;
    topic_make("replaced", 1);
    struct member member = {.consumer = consumer_make("replaced", "replaced")};
    struct kafka_offset offset = {.topic = "replaced", .partition = 0, .offset = 1};
    struct rd_kafka_consumer_group_metadata_s *membership = NULL;
    IS(kafka_consumer_membership(member.consumer, &offset, 1, &membership, &err), "again", "given to others");
    while (member.poll.partition_count == 0)
        MUST(kafka_consumer_poll(member.consumer, &small, &member.poll, &err));
    IS(kafka_consumer_membership(member.consumer, &offset, 1, &membership, &err), "again", "given to others");
    kafka_consumer_place(member.consumer, 0, 0);
    MUST(kafka_consumer_membership(member.consumer, &offset, 1, &membership, &err));
    rd_kafka_consumer_group_metadata_destroy(membership);
    kafka_consumer_free(member.consumer);
}

static void an_open_transaction_is_waited_for(void **state)
{
    (void)state;
    topic_make("unstable", 1);
    fill("unstable", 0, 0, 5);
    struct member member = {.consumer = consumer_make("unstable", "unstable")};
    take(&member, 5);
    struct kafka_producer *producer = producer_make("unstable");
    struct kafka_offset offset = {.topic = "unstable", .partition = 0, .offset = 5};
    MUST(kafka_producer_begin(producer, &err));
    MUST(kafka_producer_offsets(producer, &offset, 1, member.consumer, &err));
    int64_t committed;
    IS(kafka_consumer_committed(member.consumer, 0, &committed, &err), "again", "left a transaction open");
    MUST(kafka_producer_commit(producer, &err));
    MUST(kafka_consumer_committed(member.consumer, 0, &committed, &err));
    assert_int_equal(committed, 5);
    kafka_producer_free(producer);
    kafka_consumer_free(member.consumer);
}

static bool ends(void *user_data)
{
    struct member *member = user_data;
    MUST(step(member));
    return member->poll.ended;
}

static void until_end_gives_what_is_there_and_no_more(void **state)
{
    (void)state;
    topic_make("until", 3); /* the third one stays empty */
    fill("until", 0, 0, 10);
    fill("until", 1, 10, 15);
    const char *topic = "until";
    struct kafka_consumer_options options = options_of(&topic, "until");
    options.until_end = true;
    struct member member = {0};
    MUST(kafka_consumer_new(&options, &member.consumer, &err));
    take(&member, 1); /* the ends are known now */
    fill("until", 0, 100, 110);
    fill("until", 2, 110, 120);
    assert_true(wait_for(ends, &member, DEADLINE_MS));
    assert_int_equal(member.count, 15);
    for (size_t i = 0; i < member.count; i++)
        assert_true(member.taken[i] < 15);
    kafka_consumer_free(member.consumer);
}

/* Where readers of everything see the end of partition 0. */
static int64_t end_of(const char *topic)
{
    char text[256];
    int64_t low;
    int64_t high = -1;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", kafka_broker_address(broker), text, sizeof text);
    rd_kafka_conf_set(conf, "isolation.level", "read_uncommitted", text, sizeof text);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    assert_int_equal(rd_kafka_query_watermark_offsets(rk, topic, 0, &low, &high, DEADLINE_MS), 0);
    rd_kafka_destroy(rk);
    return high;
}

static bool sent(void *user_data)
{
    (void)user_data;
    return end_of("half") >= 11;
}

/* A commit comes to light a little later than its producer is told: what was sent before the start belongs to it. */
static void until_end_waits_for_transactions_that_are_open(void **state)
{
    (void)state;
    topic_make("half", 1);
    fill("half", 0, 0, 10);
    struct kafka_producer *producer = producer_make("half");
    struct kafka_message message = {.topic = "half", .partition = 0, .value = bytes_str("10"), .tag = KAFKA_TAG_NONE};
    MUST(kafka_producer_begin(producer, &err));
    MUST(kafka_producer_send(producer, &message, &err));
    assert_true(wait_for(sent, NULL, DEADLINE_MS));
    const char *topic = "half";
    struct kafka_consumer_options options = options_of(&topic, "half");
    options.until_end = true;
    struct member member = {0};
    MUST(kafka_consumer_new(&options, &member.consumer, &err));
    take(&member, 10);
    assert_true(wait_for(catches_up, &member, DEADLINE_MS));
    assert_false(member.poll.ended);
    MUST(kafka_producer_commit(producer, &err));
    kafka_producer_free(producer);
    assert_true(wait_for(ends, &member, DEADLINE_MS));
    assert_int_equal(member.count, 11);
    kafka_consumer_free(member.consumer);
}

struct failure {
    struct member member;
    enum sorex_status status;
};

static bool failed(void *user_data)
{
    struct failure *failure = user_data;
    failure->status = step(&failure->member);
    return failure->status != SOREX_OK;
}

static void messages_that_retention_took_are_not_skipped(void **state)
{
    (void)state;
    topic_make("retained", 1);
    fill("retained", 0, 0, 20);
    struct failure failure = {.member = {.consumer = consumer_make("retained", "retained")}};
    take(&failure.member, 20);
    reader_topic_trim(kafka_broker_address(broker), "retained", 8);
    kafka_consumer_place(failure.member.consumer, 0, 5);
    assert_true(wait_for(failed, &failure, DEADLINE_MS));
    IS(failure.status, "gone", "retained/0: messages 5 to 7 are not delivered");
    failure.member.count = 0;
    kafka_consumer_place(failure.member.consumer, 0, 8);
    take(&failure.member, 12);
    assert_int_equal(failure.member.taken[0], 8);
    kafka_consumer_place(failure.member.consumer, 0, 500);
    assert_true(wait_for(failed, &failure, DEADLINE_MS));
    IS(failure.status, "mismatch", "made anew");
    kafka_consumer_free(failure.member.consumer);
}

static void a_topic_that_is_missing_is_waited_for(void **state)
{
    (void)state;
    struct failure failure = {.member = {.consumer = consumer_make("missing", "missing")}};
    assert_true(wait_for(failed, &failure, DEADLINE_MS));
    IS(failure.status, "again", "there is no topic missing at");
    topic_make("missing", 1);
    fill("missing", 0, 0, 1);
    uint64_t deadline_ms = clock_ms() + DEADLINE_MS;
    while (failure.member.count == 0 && clock_ms() < deadline_ms)
        (void)step(&failure.member);
    assert_int_equal(failure.member.count, 1);
    kafka_consumer_free(failure.member.consumer);
}

static void topics_of_an_expression_are_found_when_they_come(void **state)
{
    (void)state;
    topic_make("found1", 1);
    topic_make("found", 1); /* none of them */
    struct member member = {.consumer = consumer_make("^found[0-9]$", "found")};
    share(&member, NULL, 1);
    topic_make("found2", 2);
    share(&member, NULL, 3);
    assert_string_equal(member.poll.partitions[0].topic, "found1");
    assert_string_equal(member.poll.partitions[2].topic, "found2");
    assert_int_equal(member.poll.partitions[2].number, 1);
    kafka_consumer_free(member.consumer);
}

static void a_broker_that_dies_is_reported_and_comes_back(void **state)
{
    (void)state;
    topic_make("dies", 1);
    fill("dies", 0, 0, 5);
    struct failure failure = {.member = {.consumer = consumer_make("dies", "dies")}};
    take(&failure.member, 5);
    kafka_broker_kill(broker);
    assert_true(wait_for(failed, &failure, DEADLINE_MS));
    IS(failure.status, "again", kafka_broker_address(broker));
    MUST(kafka_broker_start(broker, &err));
    fill("dies", 0, 5, 10);
    failure.member.at_committed = false;
    uint64_t deadline_ms = clock_ms() + DEADLINE_MS;
    while ((failure.member.count == 0 || failure.member.taken[failure.member.count - 1] != 9) &&
           clock_ms() < deadline_ms)
        (void)step(&failure.member);
    assert_int_equal(failure.member.taken[failure.member.count - 1], 9);
    kafka_consumer_free(failure.member.consumer);
}

/* With something left to commit that nobody takes. */
static void a_consumer_leaves_although_no_broker_answers(void **state)
{
    (void)state;
    topic_make("leaves", 1);
    fill("leaves", 0, 0, 5);
    struct member member = {.consumer = consumer_make("leaves", "leaves")};
    take(&member, 5);
    kafka_broker_pause(broker);
    kafka_consumer_delivered(member.consumer, 0, 3);
    kafka_consumer_delivered(member.consumer, 0, 5);
    kafka_consumer_free(member.consumer); /* or the test's time is over */
    kafka_broker_resume(broker);
}

static void an_interrupted_consumer_gives_nothing_soon(void **state)
{
    (void)state;
    topic_make("interrupted", 1);
    struct member member = {.consumer = consumer_make("interrupted", "interrupted")};
    share(&member, NULL, 1);
    kafka_consumer_interrupt(member.consumer);
    struct kafka_poll_limits long_wait = {.records = 10, .bytes = 1000, .wait_ms = 3600 * 1000};
    MUST(kafka_consumer_poll(member.consumer, &long_wait, &member.poll, &err));
    assert_int_equal(member.poll.count, 0);
    kafka_consumer_free(member.consumer);
}

static void settings_that_cannot_be_are_refused(void **state)
{
    (void)state;
    const char *topic = "refused";
    static const struct {
        struct kafka_property property;
        const char *words;
    } cases[] = {{{"partition.assignment.strategy", "cooperative-sticky"}, "use range or roundrobin"},
                 {{"auto.offset.reset", "latest"}, "the option from"},
                 {{"group.instance.id", "a"}, "the option instance"},
                 {{"enable.auto.commit", "true"}, "enable.auto.commit"},
                 {{"no.such.property", "1"}, "no.such.property"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kafka_consumer *consumer = NULL;
        struct kafka_consumer_options options = options_of(&topic, "refused");
        options.client.properties = &cases[i].property;
        options.client.property_count = 1;
        IS(kafka_consumer_new(&options, &consumer, &err), "invalid", cases[i].words);
    }
    struct kafka_consumer *consumer = NULL;
    struct kafka_consumer_options options = options_of(&topic, "");
    IS(kafka_consumer_new(&options, &consumer, &err), "invalid", "group");
    topic = "^[";
    options = options_of(&topic, "refused");
    IS(kafka_consumer_new(&options, &consumer, &err), "invalid", "regular expression");
}

/* ---- */

static int broker_start(void **state)
{
    (void)state;
    static const char *const settings[] = {"group.min.session.timeout.ms=500", NULL};
    enum sorex_status status = kafka_broker_new(settings, &broker, &err);
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
        cmocka_unit_test(settings_that_cannot_be_are_refused),
        cmocka_unit_test(reads_from_where_it_is_placed),
        cmocka_unit_test(nothing_is_read_before_it_is_placed),
        cmocka_unit_test(a_batch_keeps_its_limits),
        cmocka_unit_test(what_is_delivered_is_committed),
        cmocka_unit_test(a_second_member_takes_its_share),
        cmocka_unit_test(offsets_of_a_member_thrown_out_are_refused),
        cmocka_unit_test(partitions_that_are_not_placed_again_have_no_membership),
        cmocka_unit_test(an_open_transaction_is_waited_for),
        cmocka_unit_test(until_end_gives_what_is_there_and_no_more),
        cmocka_unit_test(until_end_waits_for_transactions_that_are_open),
        cmocka_unit_test(messages_that_retention_took_are_not_skipped),
        cmocka_unit_test(a_topic_that_is_missing_is_waited_for),
        cmocka_unit_test(an_interrupted_consumer_gives_nothing_soon),
        cmocka_unit_test(topics_of_an_expression_are_found_when_they_come),
        cmocka_unit_test(a_broker_that_dies_is_reported_and_comes_back),
        cmocka_unit_test(
            a_consumer_leaves_although_no_broker_answers), /* the last one: the broker is not itself afterwards */
    };
    return cmocka_run_group_tests(tests, broker_start, broker_stop);
}
