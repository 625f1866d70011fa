/* Does a cost grow with the length of history? A million small entries, full history: 2 new keys, 2 random rewrites, 1
 * of 16 hot keys and a change each. Prints time and disk for every tenth of them; the row compares the last tenth with
 * the second (the first has nothing to read from disk). Then: undo of 1,000 entries, and opening the store up to the
 * first entry after that, beside a store that is almost empty.
 *
 * SOREX_BENCH_ENTRIES: how many entries instead. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "bench/harness.h"
#include "store/store.h"

#define ENTRIES 1000000u
#define BLOCKS 10u
#define HOT_KEYS 16u
#define UNDONE 1000u
#define KEY_BYTES 32u
#define VALUE_BYTES 36u

static void failed(const char *what, const char *text)
{
    fprintf(stderr, "bench_growth: %s: %s\n", what, text);
    exit(1);
}

#define OK(call)                       \
    do {                               \
        if ((call) != SOREX_OK)        \
            failed(#call, error.text); \
    } while (0)

static struct sorex_error error;

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct store *store_start(const char *dir)
{
    struct store *store = NULL;
    struct store_options options = {.dir = dir, .create = true, .history = STORE_HISTORY_FULL};
    struct store_program program;
    uint8_t hash[HASH_BYTES] = {0};
    OK(store_open(&options, &store, &error));
    OK(store_program(store, "bench", hash, hash, false, &program, &error));
    return store;
}

static void pair_write(struct store *store, uint64_t number, uint32_t height)
{
    struct store_space space = {0, STORE_KEYS};
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    struct bytes before;
    bool found = false;
    for (uint64_t i = 0; i < 4; i++) {
        u64le_put(key + 8 * i, mix(number * 4 + i));
        u64le_put(value + 8 * i, mix(number * 8 + i + height * 977ull));
    }
    u32le_put(value + 32, height);
    OK(store_get(store, space, bytes_of(key, sizeof key), &before, &found, &error));
    OK(store_put(store, space, bytes_of(key, sizeof key), bytes_of(value, sizeof value), &error));
}

static void entry_run(struct store *store, uint32_t height, bool durable)
{
    static const char change[] = "{\"op\":\"set\",\"n\":1}";
    struct entry entry = {.height = height, .time_ms = height};
    u32le_put(entry.hash, height + 1);
    u32le_put(entry.parent, height);
    OK(store_begin(store, &entry, &error));
    uint64_t fresh = HOT_KEYS + 2 * (uint64_t)height;
    for (uint64_t i = 0; i < 2; i++) {
        pair_write(store, fresh + i, height);
        pair_write(store, mix(fresh + i) % fresh, height);
    }
    pair_write(store, height % HOT_KEYS, height);
    OK(store_emit(store, 0, bytes_str(change), bytes_str(change), &error));
    OK(store_commit(store, durable, &error));
}

/* Time from a closed store to its next entry on disk. */
static double start_ms(const char *dir)
{
    struct store_heights heights;
    uint64_t start = clock_ns();
    struct store *store = store_start(dir);
    store_heights(store, &heights);
    entry_run(store, heights.tip == SOREX_HEIGHT_NONE ? 0 : heights.tip + 1, true);
    double ms = (double)(clock_ns() - start) / 1e6;
    store_close(store);
    return ms;
}

static void grow(struct store *store, uint32_t entries, struct bench_samples *early, struct bench_samples *late)
{
    uint32_t block = entries / BLOCKS;
    printf("%12s %12s %14s %14s\n", "entries", "entries/s", "CPU us/entry", "B/entry");
    for (uint32_t b = 0; b < BLOCKS; b++) {
        uint64_t start = clock_ns(), cpu = cpu_ns();
        for (uint32_t i = 0; i < block; i++)
            entry_run(store, b * block + i, false);
        OK(store_flush(store, &error));
        struct store_figures figures;
        store_figures(store, &figures);
        double us = (double)(cpu_ns() - cpu) / 1000.0 / block;
        printf("%12u %12.0f %14.2f %14.1f\n", (b + 1) * block, block / ((double)(clock_ns() - start) / 1e9), us,
               (double)figures.disk_bytes / ((b + 1) * (double)block));
        (void)fflush(stdout);
        if (b == 1)
            early->values[early->count++] = us;
        if (b == BLOCKS - 1)
            late->values[late->count++] = us;
    }
}

static void remove_tree(const char *dir)
{
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", "--", dir, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

int main(void)
{
    static struct bench bench;
    struct bench_samples early = {0}, late = {0}, undo = {0}, large = {0}, small = {0};
    const char *text = getenv("SOREX_BENCH_ENTRIES");
    uint32_t entries = text != NULL ? (uint32_t)strtoul(text, NULL, 10) : ENTRIES;
    if (entries < 10 * UNDONE)
        failed("SOREX_BENCH_ENTRIES", "must be at least 10000");
    char base[] = "/var/tmp/sorex-bench-XXXXXX", dir[64], other[64];
    if (mkdtemp(base) == NULL)
        failed(base, "no folder could be made");
    snprintf(dir, sizeof dir, "%s/store", base);
    snprintf(other, sizeof other, "%s/small", base);
    bench_start(&bench, "growth");
    struct store *store = store_start(dir);
    grow(store, entries, &early, &late);
    uint64_t start = cpu_ns();
    OK(store_undo_to(store, entries - 1 - UNDONE, NULL, NULL, &error));
    undo.values[undo.count++] = (double)(cpu_ns() - start) / 1000.0 / UNDONE;
    store_close(store);
    (void)start_ms(other);
    for (uint32_t i = 0; i < 5; i++) {
        large.values[large.count++] = start_ms(dir);
        small.values[small.count++] = start_ms(other);
    }
    remove_tree(base);
    bench_add(&bench,
              &(struct bench_row){.target = 4,
                                  .what = "CPU of a small entry, last tenth of a million",
                                  .unit = "us",
                                  .rival_name = "second tenth",
                                  .goal = 1.25},
              &late, &early);
    bench_add(&bench,
              &(struct bench_row){.target = 5,
                                  .what = "CPU of undoing an entry, 1,000 at once",
                                  .unit = "us",
                                  .rival_name = "the same entries forward",
                                  .goal = 0.5},
              &undo, &late);
    bench_add(&bench,
              &(struct bench_row){.target = 15,
                                  .what = "open a store of a million entries, next entry on disk",
                                  .unit = "ms",
                                  .rival_name = "a store of a few entries"},
              &large, &small);
    return bench_finish(&bench);
}
