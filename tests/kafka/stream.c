#include "kafka/stream.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "integration/process.h"
#include "kafka/producer.h"

static struct sorex_error err;

#define MUST(call)                               \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

/* ---- the world ---- */

void stream_world_make(struct stream_world *world)
{
    static const char *const settings[] = {"group.min.session.timeout.ms=500", NULL};
    *world = (struct stream_world){0};
    log_level_set(LOG_OFF);
    enum sorex_status status = kafka_broker_new(settings, &world->broker, &err);
    if (status != SOREX_OK) {
        (void)printf("%s: %s\n", status == SOREX_GONE ? "skipped" : "no broker", err.text);
        exit(status == SOREX_GONE ? 77 : 1);
    }
    (void)snprintf(world->program, sizeof world->program, "%s", getenv("SOREX_BIN"));
    (void)snprintf(world->guests, sizeof world->guests, "%s", getenv("SOREX_GUESTS"));
    /* Of the tests' own: the program would say that they are no settings. */
    (void)unsetenv("SOREX_BIN");
    (void)unsetenv("SOREX_GUESTS");
    (void)unsetenv("SOREX_SOURCE_DIR");
    MUST(scratch_make(world->directory, &err));
}

void stream_world_end(struct stream_world *world)
{
    stream_stop_all(world);
    kafka_broker_free(world->broker);
    scratch_remove(world->directory);
}

/* ---- what goes in ---- */

void stream_event(int id, char out[STREAM_EVENT_SIZE])
{
    (void)snprintf(
        out, STREAM_EVENT_SIZE,
        "{\"before\":null,\"after\":{\"id\":%d,\"name\":\"n%d\"},\"op\":\"insert\",\"source\":{\"source_name\":"
        "\"test\","
        "\"offset\":\"%d\",\"timestamp\":1700000000000},\"ts\":1700000000001,\"schema\":null,\"table\":\"things\","
        "\"primary_key\":[\"id\"],\"snapshot\":null,\"transaction\":null,\"envelope_version\":1,"
        "\"before_is_key_only\":false}",
        id, id, id);
}

static struct kafka_producer *writer_new(const struct stream_world *world)
{
    struct kafka_producer_options options = {
        .client = {.name = "writer", .brokers = kafka_broker_address(world->broker)},
        .transactional_id = "writer",
        .transaction_timeout_ms = 60000,
        .compression = "none"};
    struct kafka_producer *producer = NULL;
    MUST(kafka_producer_new(&options, &producer, &err));
    MUST(kafka_producer_init(producer, &err));
    MUST(kafka_producer_begin(producer, &err));
    return producer;
}

static void write_one(struct kafka_producer *producer, const char *topic, const char *key, const char *text,
                      const struct header *headers, size_t header_count)
{
    struct kafka_message message = {.topic = topic,
                                    .partition = KAFKA_PARTITION_ANY,
                                    .key = key == NULL ? bytes_of(NULL, 0) : bytes_str(key),
                                    .value = text == NULL ? bytes_of(NULL, 0) : bytes_str(text),
                                    .headers = headers,
                                    .header_count = header_count,
                                    .tag = KAFKA_TAG_NONE};
    MUST(kafka_producer_send(producer, &message, &err));
}

void stream_write(const struct stream_world *world, const char *topic, int from, int to)
{
    struct kafka_producer *producer = writer_new(world);
    for (int id = from; id < to; id++) {
        char key[16];
        char text[STREAM_EVENT_SIZE];
        (void)snprintf(key, sizeof key, "k%d", id % STREAM_KEYS);
        stream_event(id, text);
        write_one(producer, topic, key, text, NULL, 0);
    }
    MUST(kafka_producer_commit(producer, &err));
    kafka_producer_free(producer);
}

void stream_write_headers(const struct stream_world *world, const char *topic, const char *key, const char *text,
                          const struct header *headers, size_t header_count)
{
    struct kafka_producer *producer = writer_new(world);
    write_one(producer, topic, key, text, headers, header_count);
    MUST(kafka_producer_commit(producer, &err));
    kafka_producer_free(producer);
}

void stream_write_text(const struct stream_world *world, const char *topic, const char *key, const char *text)
{
    stream_write_headers(world, topic, key, text, NULL, 0);
}

/* ---- processes ---- */

const char *stream_source(const struct stream_world *world, const char *topic, const char *more)
{
    static char texts[2][2048];
    static unsigned turn;
    char *text = texts[turn++ % 2];
    (void)snprintf(
        text, sizeof texts[0],
        "{\"type\":\"kafka\",\"brokers\":\"%s\",\"topics\":[\"%s\"],\"properties\":{\"session.timeout.ms\":2000,"
        "\"heartbeat.interval.ms\":200}%s}",
        kafka_broker_address(world->broker), topic, more);
    return text;
}

const char *stream_sink(const struct stream_world *world, const char *topic, const char *more)
{
    static char texts[2][2048];
    static unsigned turn;
    char *text = texts[turn++ % 2];
    (void)snprintf(
        text, sizeof texts[0],
        "{\"type\":\"kafka\",\"brokers\":\"%s\",\"topic\":\"%s\",\"partitions\":3,\"transaction_timeout\":\"3s\"%s}",
        kafka_broker_address(world->broker), topic, more);
    return text;
}

void stream_configure(struct stream_world *world, size_t i, const char *name, const char *source, const char *sink,
                      const char *more)
{
    char text[8192];
    struct stream_process *process = &world->processes[i];
    assert_int_equal(process->pid, 0);
    unsigned run = world->runs++;
    assert_true(snprintf(process->file, sizeof process->file, "%s/%u.yaml", world->directory, run) < PATH_MAX);
    assert_true(snprintf(process->log, sizeof process->log, "%s/%u.log", world->directory, run) < PATH_MAX);
    assert_true(snprintf(text, sizeof text, "{\"name\":\"%s\",\"data\":\"data%u\",\"source\":%s,\"sink\":%s%s}\n", name,
                         run, source, sink, more) < (int)sizeof text);
    MUST(file_replace(process->file, bytes_str(text), &err));
}

static void run(struct stream_world *world, size_t i, bool to_tip)
{
    struct stream_process *process = &world->processes[i];
    char verb[] = "run";
    char until[] = "--until";
    char tip[] = "tip";
    char *arguments[] = {world->program, verb, process->file, to_tip ? until : NULL, tip, NULL};
    assert_int_equal(process->pid, 0);
    MUST(process_start(arguments, process->log, &process->pid, &err));
}

void stream_start(struct stream_world *world, size_t i) { run(world, i, false); }

void stream_run_to_tip(struct stream_world *world, size_t i) { run(world, i, true); }

void stream_kill(struct stream_world *world, size_t i) { process_end(&world->processes[i].pid, SIGKILL, 10000); }

void stream_stop(struct stream_world *world, size_t i) { process_end(&world->processes[i].pid, SIGTERM, 30000); }

void stream_stop_all(struct stream_world *world)
{
    for (size_t i = 0; i < STREAM_PROCESSES_MAX; i++)
        if (world->processes[i].pid != 0)
            (void)kill(world->processes[i].pid, SIGCONT);
    for (size_t i = 0; i < STREAM_PROCESSES_MAX; i++)
        stream_stop(world, i);
}

struct ending {
    pid_t pid;
    int status;
};

static bool ended(void *user_data)
{
    struct ending *ending = user_data;
    return waitpid(ending->pid, &ending->status, WNOHANG) == ending->pid;
}

int stream_wait_end(struct stream_world *world, size_t i)
{
    struct ending ending = {.pid = world->processes[i].pid};
    if (!wait_for(ended, &ending, STREAM_DEADLINE_MS))
        fail_msg("process %zu does not end", i);
    world->processes[i].pid = 0;
    return WIFEXITED(ending.status) ? WEXITSTATUS(ending.status) : -1;
}

bool stream_logged(const struct stream_world *world, size_t i, const char *text)
{
    struct buf log = {0};
    if (file_read(world->processes[i].log, (size_t)64 << 20, &log, NULL) != SOREX_OK)
        return false;
    bool found = log.len > 0 && memmem(log.data, log.len, text, strlen(text)) != NULL;
    buf_deinit(&log);
    return found;
}

/* What the processes said last: without it a failure says little. */
static void logs_show(const struct stream_world *world)
{
    for (size_t i = 0; i < STREAM_PROCESSES_MAX; i++) {
        struct buf log = {0};
        if (world->processes[i].log[0] != '\0' &&
            file_read(world->processes[i].log, (size_t)64 << 20, &log, NULL) == SOREX_OK) {
            size_t shown = log.len > 3000 ? 3000 : log.len;
            (void)printf("process %zu:\n%.*s", i, (int)shown, (const char *)log.data + (log.len - shown));
        }
        buf_deinit(&log);
    }
}

struct search {
    const struct stream_world *world;
    size_t i;
    const char *text;
};

static bool found(void *user_data)
{
    const struct search *search = user_data;
    return stream_logged(search->world, search->i, search->text);
}

void stream_wait_logged(const struct stream_world *world, size_t i, const char *text)
{
    if (!wait_for(found, &(struct search){world, i, text}, STREAM_DEADLINE_MS)) {
        logs_show(world);
        fail_msg("process %zu never says \"%s\"", i, text);
    }
}

/* ---- what comes out ---- */

int stream_id(const char *text)
{
    const char *at = text == NULL ? NULL : strstr(text, "\"id\":");
    return at == NULL ? -1 : atoi(at + 5);
}

struct reading {
    const struct stream_world *world;
    const char *topic;
    size_t least, count;
};

static bool enough(void *user_data)
{
    struct reading *reading = user_data;
    struct reader_log log;
    reader_read(kafka_broker_address(reading->world->broker), reading->topic, &log);
    reading->count = log.count;
    reader_free(&log);
    return reading->count >= reading->least;
}

void stream_wait_count(const struct stream_world *world, const char *topic, size_t count)
{
    struct reading reading = {world, topic, count, 0};
    if (!wait_for(enough, &reading, STREAM_DEADLINE_MS))
        logs_show(world);
    if (reading.count < count)
        fail_msg("%s: %zu messages of %zu", topic, reading.count, count);
    if (reading.count > count) {
        logs_show(world);
        stream_check(world, topic, count);
    }
}

size_t stream_wait_more(const struct stream_world *world, const char *topic, size_t count)
{
    struct reading reading = {world, topic, count + 1, 0};
    if (!wait_for(enough, &reading, STREAM_DEADLINE_MS))
        logs_show(world);
    if (reading.count <= count)
        fail_msg("%s: no more than %zu messages", topic, count);
    return reading.count;
}

void stream_check(const struct stream_world *world, const char *topic, size_t count)
{
    int last[STREAM_KEYS];
    int32_t partition[STREAM_KEYS];
    struct reader_log log;
    reader_read(kafka_broker_address(world->broker), topic, &log);
    bool *seen = calloc(count, sizeof *seen);
    assert_non_null(seen);
    for (size_t k = 0; k < STREAM_KEYS; k++)
        last[k] = -1;
    for (size_t i = 0; i < log.count; i++) {
        int id = stream_id(log.messages[i].value);
        assert_in_range(id, 0, count - 1);
        if (seen[id])
            fail_msg("%s: event %d is there twice", topic, id);
        seen[id] = true;
        size_t k = (size_t)id % STREAM_KEYS;
        assert_non_null(log.messages[i].key);
        assert_int_equal(atoi(log.messages[i].key + 1), k);
        if (last[k] >= 0)
            assert_int_equal(log.messages[i].partition, partition[k]);
        if (id <= last[k])
            fail_msg("%s: event %d comes behind event %d", topic, id, last[k]);
        last[k] = id;
        partition[k] = log.messages[i].partition;
    }
    assert_int_equal(log.count, count);
    free(seen);
    reader_free(&log);
}
