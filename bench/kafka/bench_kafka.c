/* Goal 9: messages a second into a real Kafka broker, from the outbox of a store through the runner, in transactions
 * with the cursor, against bare librdkafka with the same keys and values in memory. One partition on both sides; the
 * broker is one JVM beside them on the same machine. And how long a change takes from its entry being durable to its
 * message being readable. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "bench/folder.h"
#include "bench/harness.h"
#include "bench/kafka/rival.h"
#include "integration/kafka.h"
#include "json/writer.h"
#include "sink/kafka.h"
#include "sink/runner.h"

#define ENTRY_CHANGES 1000u
#define TIP_ENTRIES 20u
#define CHANGE_SIZE_MAX 1024u

static struct sorex_error err;

#define OK(call)                                  \
    do {                                          \
        if ((call) != SOREX_OK)                   \
            bench_die("%s: %s", #call, err.text); \
    } while (0)

/* ---- the outbox ---- */

struct log {
    char dir[FOLDER_PATH_SIZE];
    struct store *store;
    uint16_t program;
    uint32_t height;
    size_t size; /* of a change */
    size_t count;
    struct rival_message *messages; /* the same changes */
};

/* A create of `size` bytes. */
static void change_write(struct buf *out, uint64_t id, size_t size)
{
    char key[24];
    char text[CHANGE_SIZE_MAX + 1];
    (void)snprintf(key, sizeof key, "%012llu", (unsigned long long)id);
    (void)memset(text, 'x', sizeof text);
    for (size_t pad = 0, pass = 0; pass < 2; pass++) { /* the first time to see how much is missing */
        struct json_writer w;
        buf_reset(out);
        json_writer_init(&w, out, false, &err);
        json_object_begin(&w);
        json_name(&w, "header");
        json_object_begin(&w);
        json_name(&w, "source");
        json_string_z(&w, "bench");
        json_object_end(&w);
        json_name(&w, "payload");
        json_object_begin(&w);
        json_name(&w, "operation");
        json_string_z(&w, "create");
        json_name(&w, "table");
        json_string_z(&w, "subject");
        json_name(&w, "key");
        json_string_z(&w, key);
        json_name(&w, "after");
        json_object_begin(&w);
        json_name(&w, "id");
        json_uint(&w, id);
        json_name(&w, "text");
        json_string(&w, bytes_of(text, pad));
        json_object_end(&w);
        json_object_end(&w);
        json_object_end(&w);
        OK(json_writer_finish(&w));
        pad = out->len < size ? size - out->len : 0;
    }
}

static void entry_write(struct log *log, uint32_t changes, bool durable)
{
    struct buf text = {0};
    log->height++;
    struct entry entry = {.height = log->height, .time_ms = log->height};
    u32le_put(entry.hash, log->height);
    u32le_put(entry.parent, log->height - 1);
    OK(store_begin(log->store, &entry, &err));
    for (uint64_t i = 0; i < changes; i++) {
        change_write(&text, (uint64_t)(log->height - 1) * ENTRY_CHANGES + i, log->size);
        OK(store_emit(log->store, log->program, buf_view(&text), buf_view(&text), &err));
    }
    OK(store_commit(log->store, durable, &err));
    buf_deinit(&text);
}

static void messages_make(struct log *log)
{
    struct buf text = {0};
    log->messages = calloc(log->count, sizeof *log->messages);
    for (size_t i = 0; i < log->count && log->messages != NULL; i++) {
        change_write(&text, i, log->size);
        char *copy = malloc(text.len + 13);
        if (copy == NULL)
            bench_die("out of memory");
        (void)memcpy(copy, text.data, text.len);
        char key[24];
        (void)snprintf(key, sizeof key, "%012zu", i);
        (void)memcpy(copy + text.len, key, 13);
        log->messages[i] = (struct rival_message){bytes_of(copy + text.len, 12), bytes_of(copy, text.len)};
    }
    buf_deinit(&text);
}

static void log_make(struct log *log, size_t count, size_t size)
{
    *log = (struct log){.count = count, .size = size};
    folder_make(log->dir);
    struct store_options options = {
        .dir = log->dir, .create = true, .history = STORE_HISTORY_FULL, .fail_fast_sync = true};
    uint8_t identity[HASH_BYTES] = {1};
    struct store_program program;
    OK(store_open(&options, &log->store, &err));
    OK(store_program(log->store, "bench", identity, identity, false, &program, &err));
    OK(store_cursor_set(log->store, "keep", 0, identity, &err));
    log->program = program.id;
    while ((size_t)log->height * ENTRY_CHANGES < count)
        entry_write(log, ENTRY_CHANGES, false);
    OK(store_flush(log->store, &err));
    messages_make(log);
}

static void log_free(struct log *log)
{
    for (size_t i = 0; i < log->count; i++)
        free((void *)(uintptr_t)log->messages[i].value.data);
    free(log->messages);
    store_close(log->store);
    folder_remove(log->dir);
}

/* ---- measuring ---- */

struct world {
    struct kafka_broker *broker;
    struct log *log;
    bool headers;
    size_t transaction; /* of the rival; 0: none */
    unsigned runs;
    double slowest_ms; /* of the last tip_run */
};

static struct sink *sink_open(struct world *world, const char *name, char *topic)
{
    char progress[] = "bench-progress";
    char *brokers = strdup(kafka_broker_address(world->broker));
    struct kafka_settings settings = {.brokers = brokers,
                                      .topic = topic,
                                      .headers = world->headers,
                                      .create_topics = true,
                                      .partitions = 1,
                                      .transaction_timeout_ms = 60000,
                                      .progress_topic = progress};
    struct sink_context context = {.name = name, .pipeline = "bench", .base_dir = "."};
    struct sink *sink;
    OK(sink_kafka.open(&settings, &context, &sink, &err));
    free(brokers);
    return sink;
}

static struct sink_runner *runner_start(struct world *world, struct sink *sink, const char *name)
{
    struct sink_runner_options options = {.name = name};
    struct sink_runner *runner;
    OK(sink_runner_start(sink, world->log->store, &options, &runner, &err));
    return runner;
}

static void runner_drain(struct sink_runner *runner)
{
    bool drained;
    struct sink_status status;
    sink_runner_drain(runner, 300000, &drained);
    sink_runner_status(runner, &status);
    if (!drained)
        bench_die("the sink did not finish: %s %s", sink_state_name(status.state), status.why);
}

static double subject_run(void *user_data)
{
    struct world *world = user_data;
    char name[32];
    (void)snprintf(name, sizeof name, "run%u", world->runs++);
    rival_topic_make(kafka_broker_address(world->broker), name);
    uint64_t start = clock_ns();
    struct sink *sink = sink_open(world, name, name);
    struct sink_runner *runner = runner_start(world, sink, name);
    runner_drain(runner);
    uint64_t taken = clock_ns() - start;
    sink_runner_stop(runner);
    sink_kafka.close(sink);
    rival_topic_delete(kafka_broker_address(world->broker), name);
    return (double)world->log->count / ((double)taken * 1e-9);
}

static double rival_run(void *user_data)
{
    struct world *world = user_data;
    char name[32];
    (void)snprintf(name, sizeof name, "run%u", world->runs++);
    rival_topic_make(kafka_broker_address(world->broker), name);
    uint64_t start = clock_ns();
    rival_send(kafka_broker_address(world->broker), name, world->log->messages, world->log->count, world->transaction);
    uint64_t taken = clock_ns() - start;
    rival_topic_delete(kafka_broker_address(world->broker), name);
    return (double)world->log->count / ((double)taken * 1e-9);
}

static int order(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

/* Entries of one change each, the next one when the last one was read; sorted, in milliseconds. */
static void tip_run(struct world *world, double out_ms[TIP_ENTRIES])
{
    char name[32];
    struct log log;
    log_make(&log, 0, 200);
    struct world tip = *world;
    tip.log = &log;
    (void)snprintf(name, sizeof name, "tip%u", world->runs++);
    rival_topic_make(kafka_broker_address(world->broker), name);
    struct rival_reader *reader = rival_reader_new(kafka_broker_address(world->broker), name);
    struct sink *sink = sink_open(&tip, name, name);
    struct sink_runner *runner = runner_start(&tip, sink, name);
    for (unsigned i = 0; i < TIP_ENTRIES + 1; i++) { /* the first one finds the topic */
        entry_write(&log, 1, true);
        uint64_t start = clock_ns();
        rival_reader_next(reader);
        if (i > 0)
            out_ms[i - 1] = (double)(clock_ns() - start) * 1e-6;
    }
    sink_runner_stop(runner);
    sink_kafka.close(sink);
    rival_reader_free(reader);
    rival_topic_delete(kafka_broker_address(world->broker), name);
    log_free(&log);
    qsort(out_ms, TIP_ENTRIES, sizeof *out_ms, order);
}

static void tip_measure(struct bench *bench, struct world *world)
{
    struct bench_samples median = {0};
    struct bench_samples slowest = {0};
    for (unsigned i = 0; i < bench->rounds; i++) {
        double ms[TIP_ENTRIES];
        tip_run(world, ms);
        median.values[median.count++] = ms[TIP_ENTRIES / 2];
        slowest.values[slowest.count++] = ms[TIP_ENTRIES - 1];
    }
    bench_add(bench,
              &(struct bench_row){.target = 9,
                                  .what = "Kafka, at the tip: entry durable to message readable, median of 20",
                                  .unit = "ms",
                                  .goal = 50,
                                  .goal_absolute = true},
              &median, &(struct bench_samples){0});
    bench_add(bench, &(struct bench_row){.what = "the same, slowest of 20", .unit = "ms"}, &slowest,
              &(struct bench_samples){0});
}

static void size_measure(struct bench *bench, struct world *world, const char *what, const char *what_headers,
                         const char *what_small, const char *what_large)
{
    world->headers = false;
    world->transaction = 0;
    bench_measure(bench,
                  &(struct bench_row){.target = 9,
                                      .what = what,
                                      .unit = "messages/s",
                                      .more_is_better = true,
                                      .subject = subject_run,
                                      .rival = rival_run,
                                      .rival_name = "bare librdkafka, idempotent",
                                      .goal = 0.8},
                  world);
    world->headers = true;
    bench_measure(bench,
                  &(struct bench_row){.what = what_headers,
                                      .unit = "messages/s",
                                      .more_is_better = true,
                                      .subject = subject_run,
                                      .rival = rival_run,
                                      .rival_name = "bare librdkafka, idempotent, without headers"},
                  world);
    world->headers = false;
    world->transaction = 10000;
    bench_measure(bench,
                  &(struct bench_row){.what = what_large,
                                      .unit = "messages/s",
                                      .more_is_better = true,
                                      .subject = subject_run,
                                      .rival = rival_run,
                                      .rival_name = "bare librdkafka, transactions of 10,000"},
                  world);
    world->transaction = 1000;
    bench_measure(bench,
                  &(struct bench_row){.what = what_small,
                                      .unit = "messages/s",
                                      .more_is_better = true,
                                      .subject = subject_run,
                                      .rival = rival_run,
                                      .rival_name = "bare librdkafka, transactions of 1,000"},
                  world);
}

int main(void)
{
    static const char *const settings[] = {"log.segment.delete.delay.ms=1000", "log.retention.check.interval.ms=1000",
                                           NULL};
    struct world world = {0};
    struct bench bench;
    struct log small;
    struct log large;
    enum sorex_status status = kafka_broker_new(settings, &world.broker, &err);
    if (status == SOREX_GONE) {
        printf("bench_kafka: skipped: %s\n", err.text);
        return 0;
    }
    OK(status);
    log_level_set(LOG_WARN);
    bench_start(&bench, "kafka");
    log_make(&small, 1000000, 200);
    world.log = &small;
    size_measure(&bench, &world, "Kafka sink far behind, 1,000,000 changes of 200 B", "the same with headers",
                 "against transactions of 1,000, 200 B", "against transactions of 10,000, 200 B");
    log_free(&small);
    log_make(&large, 300000, 1000);
    world.log = &large;
    size_measure(&bench, &world, "Kafka sink far behind, 300,000 changes of 1 kB", "the same with headers",
                 "against transactions of 1,000, 1 kB", "against transactions of 10,000, 1 kB");
    log_free(&large);
    world.headers = true;
    tip_measure(&bench, &world);
    int code = bench_finish(&bench);
    kafka_broker_free(world.broker);
    return code;
}
