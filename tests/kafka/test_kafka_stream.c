/* Kafka -> Kafka by several `sorex run` processes of one group, exactly once: killed, stopped, fenced, joined by
 * others, with a broker that dies. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/clock.h"
#include "integration/process.h"
#include "kafka/stream.h"

static struct stream_world world;
static struct sorex_error err;

static void topic_make(const char *topic, int partitions)
{
    reader_topic_make(kafka_broker_address(world.broker), topic, partitions, NULL);
}

static void configure(size_t i, const char *name, const char *source_more, const char *sink_more, const char *more)
{
    char out[64];
    (void)snprintf(out, sizeof out, "%s-out", name);
    stream_configure(&world, i, name, stream_source(&world, name, source_more), stream_sink(&world, out, sink_more),
                     more);
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void one_process_passes_everything_on(void **state)
{
    (void)state;
    topic_make("one", 6);
    stream_write(&world, "one", 0, 500);
    configure(0, "one", "", "", "");
    stream_start(&world, 0);
    topic_make("one-out", 3);
    stream_wait_count(&world, "one-out", 500);
    stream_write(&world, "one", 500, 600);
    stream_wait_count(&world, "one-out", 600);
    stream_stop(&world, 0);
    stream_start(&world, 0); /* where it was */
    stream_write(&world, "one", 600, 700);
    stream_wait_count(&world, "one-out", 700);
    stream_stop(&world, 0);
    stream_check(&world, "one-out", 700);
}

/* Kills, terminations, absences, at moments that the seed decides, while events are written. Process 0 has a name in
 * its group, and with it a transactional id that it comes back under; the others are new to the group every time. */
static void killed_at_random_each_event_comes_out_once(void **state)
{
    (void)state;
    static const unsigned seed = 20261121;
    uint64_t random = seed;
    int id = 0;
    size_t out = 0;
    topic_make("chaos", 6);
    topic_make("chaos-out", 3);
    for (size_t i = 0; i < 3; i++) {
        configure(i, "chaos", i == 0 ? ",\"instance\":\"zero\"" : "", "", ",\"batch_events\":40");
        stream_start(&world, i);
    }
    for (int round = 0; round < 15; round++) {
        for (uint64_t chunks = 1 + next_random(&random) % 6; chunks > 0; chunks--, id += 50)
            stream_write(&world, "chaos", id, id + 50);
        if (next_random(&random) % 3 == 0)
            out = stream_wait_more(&world, "chaos-out", out);
        size_t victim = next_random(&random) % 3;
        for (size_t i = 0; i < 3; i++)
            if (world.processes[i].pid == 0)
                stream_start(&world, i);
        uint64_t how = next_random(&random) % 4;
        if (how == 0)
            stream_stop(&world, victim);
        else
            stream_kill(&world, victim);
        if (how != 1) /* else it is away for a round */
            stream_start(&world, victim);
    }
    stream_wait_count(&world, "chaos-out", (size_t)id);
    stream_stop_all(&world);
    stream_check(&world, "chaos-out", (size_t)id);
}

static void others_may_join_while_a_batch_is_under_way(void **state)
{
    (void)state;
    char filters[PATH_MAX + 128];
    (void)snprintf(
        filters, sizeof filters,
        ",\"batch_events\":500,\"filters\":[{\"wasm\":\"%s/filter_mask.wasm\",\"config\":{\"columns\":[\"name\"]}}]",
        world.guests);
    topic_make("joins", 6);
    topic_make("joins-out", 3);
    stream_write(&world, "joins", 0, 30000);
    size_t out = 0;
    for (size_t i = 0; i < 3; i++) {
        configure(i, "joins", "", "", filters);
        stream_start(&world, i);
        if (out < 30000)
            out = stream_wait_more(&world, "joins-out", out);
    }
    stream_wait_count(&world, "joins-out", 30000);
    stream_write(&world, "joins", 30000, 30300); /* all of them have some */
    stream_wait_count(&world, "joins-out", 30300);
    stream_stop_all(&world);
    stream_check(&world, "joins-out", 30300);
    struct reader_log log;
    reader_read(kafka_broker_address(world.broker), "joins-out", &log);
    for (size_t i = 0; i < log.count; i++)
        assert_non_null(strstr(log.messages[i].value, "\"name\":\"***\""));
    reader_free(&log);
}

static void a_broker_that_dies_in_mid_transaction_loses_and_doubles_nothing(void **state)
{
    (void)state;
    topic_make("dies", 6);
    topic_make("dies-out", 3);
    stream_write(&world, "dies", 0, 20000);
    for (size_t i = 0; i < 2; i++) {
        configure(i, "dies", "", "", ",\"batch_events\":200");
        stream_start(&world, i);
    }
    (void)stream_wait_more(&world, "dies-out", 0);
    for (int i = 0; i < 2; i++) {
        kafka_broker_kill(world.broker);
        if (kafka_broker_start(world.broker, &err) != SOREX_OK)
            fail_msg("%s", err.text);
        stream_write(&world, "dies", 20000 + i * 100, 20100 + i * 100);
    }
    stream_wait_count(&world, "dies-out", 20200);
    stream_stop_all(&world);
    stream_check(&world, "dies-out", 20200);
}

/* ---- frozen ---- */

struct watch {
    rd_kafka_t *committed, *uncommitted; /* what readers of these isolation levels see */
    const char *topic;
    size_t process;
};

static rd_kafka_t *watcher_new(const char *isolation)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", kafka_broker_address(world.broker), text, sizeof text);
    rd_kafka_conf_set(conf, "isolation.level", isolation, text, sizeof text);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    assert_non_null(rk);
    return rk;
}

static bool transaction_open(const struct watch *watch)
{
    int64_t low;
    int64_t clean = 0;
    int64_t dirty = 0;
    for (int32_t i = 0; i < 3; i++) {
        if (rd_kafka_query_watermark_offsets(watch->committed, watch->topic, i, &low, &clean, 5000) == 0 &&
            rd_kafka_query_watermark_offsets(watch->uncommitted, watch->topic, i, &low, &dirty, 5000) == 0 &&
            clean < dirty)
            return true;
    }
    return false;
}

/* Stops the process between the first message and the commit of a transaction. */
static bool frozen_in_mid_transaction(void *user_data)
{
    const struct watch *watch = user_data;
    if (!transaction_open(watch))
        return false;
    assert_int_equal(kill(world.processes[watch->process].pid, SIGSTOP), 0);
    if (transaction_open(watch))
        return true;
    assert_int_equal(kill(world.processes[watch->process].pid, SIGCONT), 0);
    return false;
}

static void freeze(size_t process, const char *topic)
{
    struct watch watch = {watcher_new("read_committed"), watcher_new("read_uncommitted"), topic, process};
    assert_true(wait_for(frozen_in_mid_transaction, &watch, STREAM_DEADLINE_MS));
    rd_kafka_destroy(watch.committed);
    rd_kafka_destroy(watch.uncommitted);
}

/* A process, or its network, that stands still longer than its transaction and its membership last; somebody else does
 * its work; then it goes on where it stood. Several times: where it is hit is chance. */
static void a_pause_longer_than_the_transaction_is_recovered_from(void **state)
{
    (void)state;
    int id = 0;
    topic_make("pause", 6);
    topic_make("pause-out", 3);
    for (size_t i = 0; i < 2; i++)
        configure(i, "pause", "", "", ",\"batch_events\":2000");
    for (int round = 0; round < 3; round++) {
        size_t frozen = (size_t)round % 2;
        stream_start(&world, frozen);
        stream_write(&world, "pause", id, id + 20000);
        freeze(frozen, "pause-out");
        stream_start(&world, 1 - frozen);
        id += 20000;
        stream_wait_count(&world, "pause-out", (size_t)id); /* all of it by the other one: the transaction timed out */
        assert_int_equal(kill(world.processes[frozen].pid, SIGCONT), 0);
        stream_stop(&world, 1 - frozen);
        stream_write(&world, "pause", id, id + 100);
        id += 100;
        stream_wait_count(&world, "pause-out", (size_t)id); /* all of it by the one that was frozen */
        stream_stop(&world, frozen);
        assert_true(stream_logged(&world, frozen, "trying again"));
    }
    stream_check(&world, "pause-out", (size_t)id);
}

struct feeding {
    int next;     /* id */
    size_t ended; /* the process that did */
};

/* Ten more events; whether one of the two ended of them. */
static bool one_ended(void *user_data)
{
    struct feeding *feeding = user_data;
    stream_write(&world, "same", feeding->next, feeding->next + 10);
    feeding->next += 10;
    for (feeding->ended = 0; feeding->ended < 2; feeding->ended++)
        if (stream_logged(&world, feeding->ended, "another producer with the same transactional id has taken over"))
            return true;
    return false;
}

/* The first one mostly; when it has to begin a transaction anew just then it takes over itself. */
static void of_two_processes_with_one_identity_one_ends(void **state)
{
    (void)state;
    topic_make("same", 6);
    topic_make("same-out", 3);
    for (size_t i = 0; i < 2; i++)
        configure(i, "same", "", ",\"transactional_id\":\"same\"", "");
    stream_start(&world, 0);
    stream_write(&world, "same", 0, 100);
    stream_wait_count(&world, "same-out", 100);
    stream_start(&world, 1);
    struct feeding feeding = {.next = 100};
    assert_true(wait_for(one_ended, &feeding, STREAM_DEADLINE_MS));
    assert_int_not_equal(stream_wait_end(&world, feeding.ended), 0);
    stream_wait_count(&world, "same-out", (size_t)feeding.next);
    stream_stop_all(&world);
    stream_check(&world, "same-out", (size_t)feeding.next);
}

static void a_second_process_with_the_same_instance_stops_the_first(void **state)
{
    (void)state;
    topic_make("twins", 6);
    topic_make("twins-out", 3);
    for (size_t i = 0; i < 2; i++)
        configure(i, "twins", ",\"instance\":\"twin\"", "", "");
    stream_start(&world, 0);
    stream_write(&world, "twins", 0, 100);
    stream_wait_count(&world, "twins-out", 100);
    stream_start(&world, 1);
    assert_int_not_equal(stream_wait_end(&world, 0), 0);
    stream_write(&world, "twins", 100, 200);
    stream_wait_count(&world, "twins-out", 200);
    stream_stop(&world, 1);
    stream_check(&world, "twins-out", 200);
}

static void an_event_that_the_topic_does_not_take_is_named(void **state)
{
    (void)state;
    topic_make("large", 1);
    reader_topic_make(kafka_broker_address(world.broker), "large-out", 3,
                      (const char *const[]){"max.message.bytes=2000", NULL});
    char event[STREAM_EVENT_SIZE];
    char text[4 * STREAM_EVENT_SIZE + 4096];
    char filler[4001];
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    stream_event(7, event);
    char *name = strstr(event, "n7");
    assert_true(snprintf(text, sizeof text, "%.*s%s%s", (int)(name - event), event, filler, name) < (int)sizeof text);
    stream_write_text(&world, "large", "k7", text);
    configure(0, "large", "", "", "");
    stream_start(&world, 0);
    assert_int_not_equal(stream_wait_end(&world, 0), 0);
    assert_true(stream_logged(&world, 0, "record 0, table \"things\""));
    assert_true(stream_logged(&world, 0, "large-out"));
}

static void until_tip_ends_at_what_is_there(void **state)
{
    (void)state;
    topic_make("tip", 6);
    topic_make("tip-out", 3);
    stream_write(&world, "tip", 0, 1000);
    configure(0, "tip", "", "", "");
    stream_run_to_tip(&world, 0);
    assert_int_equal(stream_wait_end(&world, 0), 0);
    stream_check(&world, "tip-out", 1000);
}

static void what_is_no_event_becomes_a_dead_letter(void **state)
{
    (void)state;
    topic_make("poison", 1);
    stream_write(&world, "poison", 0, 10);
    stream_write_text(&world, "poison", "k1", "no event at all");
    stream_write(&world, "poison", 10, 20);
    configure(0, "poison", ",\"on_error\":\"skip\"", ",\"dead_letters\":\"poison-dead\"", "");
    stream_start(&world, 0);
    topic_make("poison-out", 3);
    stream_wait_count(&world, "poison-out", 20);
    stream_stop(&world, 0);
    stream_check(&world, "poison-out", 20);
    struct reader_log log;
    reader_read(kafka_broker_address(world.broker), "poison-dead", &log);
    assert_int_equal(log.count, 1);
    assert_string_equal(log.messages[0].value, "no event at all");
    assert_string_equal(log.messages[0].key, "k1");
    assert_non_null(strstr(log.messages[0].headers, "error="));
    assert_non_null(strstr(log.messages[0].headers, "partition=poison/0;number=11;")); /* 10 is the transaction's end */
    reader_free(&log);
}

/* Those of one name stay in their order; what is null stays it; the next message has none. */
static void headers_go_on_with_their_event(void **state)
{
    (void)state;
    static const struct header headers[] = {{"trace", {(const uint8_t *)"first", 5}}, {"none", {NULL, 0}}, {"trace", {(const uint8_t *)"second", 6}}};
    static const char *const wishes[] = {"", ",\"headers\":false"};
    char text[STREAM_EVENT_SIZE];
    topic_make("headed", 1);
    for (int i = 0; i < 3; i++) {
        stream_event(i, text);
        stream_write_headers(&world, "headed", "k", text, headers, i == 1 ? 0 : 3);
    }
    for (size_t w = 0; w < 2; w++) {
        struct reader_log log;
        char name[16], out[32];
        (void)snprintf(name, sizeof name, "headed%zu", w);
        (void)snprintf(out, sizeof out, "%s-out", name);
        topic_make(out, 1);
        stream_configure(&world, 0, name, stream_source(&world, "headed", ""), stream_sink(&world, out, wishes[w]), "");
        stream_run_to_tip(&world, 0);
        assert_int_equal(stream_wait_end(&world, 0), 0);
        reader_read(kafka_broker_address(world.broker), out, &log);
        assert_int_equal(log.count, 3);
        for (int i = 0; i < 3; i++)
            assert_string_equal(log.messages[i].headers, w == 0 && i != 1 ? "trace=first;none=;trace=second;" : "");
        reader_free(&log);
    }
}

/* Debezium writes one behind each delete. */
static void a_tombstone_goes_where_there_is_a_topic_for_it(void **state)
{
    (void)state;
    static const char deleted[] =
        "{\"before\":{\"id\":5},\"after\":null,\"source\":{\"name\":\"test\",\"ts_ms\":1700000000000,"
        "\"table\":\"things\"},\"op\":\"d\",\"ts_ms\":1700000000001}";
    struct reader_log log;
    topic_make("tomb", 1);
    topic_make("tomb-out", 1);
    topic_make("tomb-things", 1);
    stream_write_text(&world, "tomb", "k5", deleted);
    stream_write_text(&world, "tomb", "k5", NULL);
    stream_write_text(&world, "tomb", "k5", deleted);
    configure(0, "tomb", ",\"envelope\":\"debezium\"", "", "");
    stream_run_to_tip(&world, 0);
    assert_int_equal(stream_wait_end(&world, 0), 0);
    reader_read(kafka_broker_address(world.broker), "tomb-out", &log);
    assert_int_equal(log.count, 3);
    assert_null(log.messages[1].value);
    assert_string_equal(log.messages[1].key, "k5");
    reader_free(&log);
    stream_configure(&world, 0, "tomb2", stream_source(&world, "tomb", ",\"envelope\":\"debezium\""),
                     stream_sink(&world, "tomb-{table}", ""), "");
    stream_run_to_tip(&world, 0);
    assert_int_equal(stream_wait_end(&world, 0), 0);
    reader_read(kafka_broker_address(world.broker), "tomb-things", &log);
    assert_int_equal(log.count, 2);
    reader_free(&log);
}

static void what_is_no_event_halts_in_front_of_it(void **state)
{
    (void)state;
    topic_make("halts", 1);
    topic_make("halts-out", 3);
    stream_write(&world, "halts", 0, 10);
    stream_write_text(&world, "halts", "k1", "no event at all");
    stream_write(&world, "halts", 10, 20);
    configure(0, "halts", "", "", "");
    for (int i = 0; i < 2; i++) { /* again and again at the same place */
        stream_start(&world, 0);
        assert_int_not_equal(stream_wait_end(&world, 0), 0);
        stream_wait_count(&world, "halts-out", 10);
    }
    assert_true(stream_logged(&world, 0, "halts/0, record 11"));
    stream_check(&world, "halts-out", 10);
}

static void another_cluster_is_refused(void **state)
{
    (void)state;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[2048];
    rd_kafka_conf_set(conf, "log_level", "0", text, sizeof text);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    rd_kafka_mock_cluster_t *other = rd_kafka_mock_cluster_new(rk, 1);
    (void)snprintf(text, sizeof text, "{\"type\":\"kafka\",\"brokers\":\"%s\",\"topic\":\"out\"}",
                   rd_kafka_mock_cluster_bootstraps(other));
    topic_make("two", 1);
    stream_write(&world, "two", 0, 10);
    stream_configure(&world, 0, "two", stream_source(&world, "two", ""), text, "");
    stream_start(&world, 0);
    assert_int_not_equal(stream_wait_end(&world, 0), 0);
    assert_true(stream_logged(&world, 0, "one transaction cannot span both"));
    rd_kafka_mock_cluster_destroy(other);
    rd_kafka_destroy(rk);
}

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
        cmocka_unit_test_teardown(one_process_passes_everything_on, processes_stop),
        cmocka_unit_test_teardown(others_may_join_while_a_batch_is_under_way, processes_stop),
        cmocka_unit_test_teardown(killed_at_random_each_event_comes_out_once, processes_stop),
        cmocka_unit_test_teardown(a_pause_longer_than_the_transaction_is_recovered_from, processes_stop),
        cmocka_unit_test_teardown(a_broker_that_dies_in_mid_transaction_loses_and_doubles_nothing, processes_stop),
        cmocka_unit_test_teardown(of_two_processes_with_one_identity_one_ends, processes_stop),
        cmocka_unit_test_teardown(a_second_process_with_the_same_instance_stops_the_first, processes_stop),
        cmocka_unit_test_teardown(an_event_that_the_topic_does_not_take_is_named, processes_stop),
        cmocka_unit_test_teardown(until_tip_ends_at_what_is_there, processes_stop),
        cmocka_unit_test_teardown(what_is_no_event_becomes_a_dead_letter, processes_stop),
        cmocka_unit_test_teardown(headers_go_on_with_their_event, processes_stop),
        cmocka_unit_test_teardown(a_tombstone_goes_where_there_is_a_topic_for_it, processes_stop),
        cmocka_unit_test_teardown(what_is_no_event_halts_in_front_of_it, processes_stop),
        cmocka_unit_test_teardown(another_cluster_is_refused, processes_stop),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    stream_world_end(&world);
    return failed;
}
