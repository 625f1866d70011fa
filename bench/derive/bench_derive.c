/* Target 11: messages of the demo game through its reducer. The log is a game that goes on (long_game.py): illegal
 * messages are part of it. With SOREX_BENCH_MESSAGES=100000 also a log of that many: what a message costs at its end,
 * and the memory that it takes. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "bench/folder.h"
#include "bench/harness.h"
#include "derive/derived.h"

#define MESSAGES 1000
#define MORE 4000 /* of which each call of `one_more` takes one */

struct world {
    struct buf wasm, text;
    size_t *ends; /* of lines */
    size_t count; /* of the log that is derived */
    char dir[FOLDER_PATH_SIZE], log[PATH_MAX], data[PATH_MAX], fresh[PATH_MAX];
    struct derived *derived; /* of data, which has MESSAGES at first */
};

static void must(enum sorex_status status, const struct sorex_error *err)
{
    if (status == SOREX_OK)
        return;
    (void)fprintf(stderr, "bench derive: %s\n", err->text);
    exit(1);
}

static void log_make(struct world *world, size_t messages)
{
    struct sorex_error err = {0};
    char command[2 * PATH_MAX];
    (void)snprintf(command, sizeof command, "python3 '%s/bench/derive/long_game.py' 1 %zu", getenv("SOREX_SOURCE_DIR"),
                   messages);
    FILE *game = popen(command, "r");
    world->ends = calloc(messages, sizeof *world->ends);
    CHECK(game != NULL && world->ends != NULL);
    for (char line[4096]; fgets(line, sizeof line, game) != NULL;) {
        must(buf_append_str(&world->text, line, &err), &err);
        CHECK(world->count < messages);
        world->ends[world->count++] = world->text.len;
    }
    CHECK(pclose(game) == 0 && world->count == messages);
}

static void log_write(const struct world *world, size_t count)
{
    struct sorex_error err = {0};
    must(file_replace(world->log, bytes_of(world->text.data, world->ends[count - 1]), &err), &err);
}

static struct derived *open_at(const struct world *world, const char *dir)
{
    struct sorex_error err = {0};
    struct derived *derived = NULL;
    struct derived_options options = {.dir = dir, .wasm = buf_view(&world->wasm)};
    must(derived_open(&options, &derived, &err), &err);
    return derived;
}

static void run_log(struct derived *derived, const char *path)
{
    struct sorex_error err = {0};
    struct messages *messages = NULL;
    struct derived_progress progress;
    must(messages_open(path, NULL, &messages, &err), &err);
    struct derived_run_options options = {.log = messages};
    must(derived_run(derived, &options, &progress, &err), &err);
    messages_close(messages);
}

/* A directory from nothing: log read, 1,000 messages derived, state and messages durable. */
static double full(void *user_data)
{
    struct world *world = user_data;
    folder_remove(world->fresh);
    struct derived *derived = open_at(world, world->fresh);
    log_write(world, MESSAGES);
    uint64_t began = clock_ns();
    run_log(derived, world->log);
    double s = (double)(clock_ns() - began) / 1e9;
    derived_close(derived);
    return s;
}

/* The log has one message more: read and compared from the beginning, the message derived, all durable. */
static double one_more(void *user_data)
{
    struct world *world = user_data;
    log_write(world, ++world->count);
    uint64_t began = clock_ns();
    run_log(world->derived, world->log);
    return (double)(clock_ns() - began) / 1e9;
}

static void tenth(struct world *world, struct derived *derived, size_t count, struct bench_samples *out)
{
    log_write(world, count);
    uint64_t began = clock_ns();
    run_log(derived, world->log);
    out->values[out->count++] = (double)(clock_ns() - began) / 1e3 / (double)(world->count / 10);
}

/* A log in ten steps: the last one against the first. One run: it takes a minute. */
static void long_log(struct bench *bench, struct world *world)
{
    static char what[96];
    struct bench_samples first = {0}, last = {0}, between = {0}, peak = {.count = 1};
    struct rusage usage;
    folder_remove(world->fresh);
    struct derived *derived = open_at(world, world->fresh);
    for (size_t i = 1; i <= 10; i++)
        tenth(world, derived, world->count * i / 10, i == 1 ? &first : i == 10 ? &last : &between);
    (void)snprintf(what, sizeof what, "a message, the last tenth of %zu of the game", world->count);
    bench_add(bench, &(struct bench_row){.what = what, .unit = "us", .rival_name = "the first tenth"}, &last, &first);
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    peak.values[0] = (double)usage.ru_maxrss / 1024;
    bench_add(bench, &(struct bench_row){.what = "resident memory after it, at most", .unit = "MiB"}, &peak,
              &(struct bench_samples){0});
    derived_close(derived);
}

int main(void)
{
    static struct world world;
    struct bench bench;
    struct sorex_error err = {0};
    char path[PATH_MAX];
    const char *messages = getenv("SOREX_BENCH_MESSAGES");
    folder_make(world.dir);
    (void)snprintf(world.log, sizeof world.log, "%s/log.jsonl", world.dir);
    (void)snprintf(world.data, sizeof world.data, "%s/data", world.dir);
    (void)snprintf(world.fresh, sizeof world.fresh, "%s/fresh", world.dir);
    (void)snprintf(path, sizeof path, "%s/dnd_c.wasm", getenv("SOREX_GUESTS"));
    must(file_read(path, (size_t)1 << 24, &world.wasm, &err), &err);
    log_make(&world, MESSAGES + MORE);
    world.count = MESSAGES;
    log_write(&world, MESSAGES);
    world.derived = open_at(&world, world.data);
    run_log(world.derived, world.log);
    bench_start(&bench, "derive");
    bench_measure(&bench,
                  &(struct bench_row){.target = 11,
                                      .what = "1,000 messages of the game, log to durable state",
                                      .unit = "s",
                                      .subject = full,
                                      .goal = 0.25,
                                      .goal_absolute = true},
                  &world);
    bench_measure(&bench,
                  &(struct bench_row){.target = 11,
                                      .what = "one more message on a log of 1,000",
                                      .unit = "s",
                                      .subject = one_more,
                                      .rival = full,
                                      .rival_name = "deriving all of it",
                                      .goal = 0.01},
                  &world);
    derived_close(world.derived);
    if (messages != NULL) {
        free(world.ends);
        buf_reset(&world.text);
        world.count = 0;
        log_make(&world, strtoul(messages, NULL, 10));
        long_log(&bench, &world);
    }
    free(world.ends);
    folder_remove(world.dir);
    return bench_finish(&bench);
}
