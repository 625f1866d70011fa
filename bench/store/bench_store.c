/* What the store costs per pair, beside a plain RocksDB loop in the same run: entries of 1,000 new keys, entries of
 * 1,000 read-modify-writes, undo. Pairs are 32-byte random keys and 36-byte values.
 *
 * The rival writes the same pairs, one unsorted RocksDB batch per entry (synced), with default options and a 10-bit
 * filter: no undo, no history, no commitment. For read-modify-write it gets every key first. */
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/sha256.h"
#include "bench/harness.h"
#include "store/store.h"

#define ENTRIES 500u
#define ENTRIES_SMALL 5u /* of a store with a hundredth of the keys */
#define PAIRS 1000u
#define AT_TIP 10u /* entries that are each on disk before the next one */
#define KEY_BYTES 32u
#define VALUE_BYTES 36u

static void failed(const char *what, const char *text)
{
    fprintf(stderr, "bench_store: %s: %s\n", what, text);
    exit(1);
}

#define OK(call)                         \
    do {                                 \
        struct sorex_error *err_ = &err; \
        if ((call) != SOREX_OK)          \
            failed(#call, err_->text);   \
    } while (0)

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void pair_make(uint64_t number, uint8_t key[KEY_BYTES], uint8_t value[VALUE_BYTES], uint64_t salt)
{
    for (uint64_t i = 0; i < 4; i++)
        u64le_put(key + 8 * i, mix(number * 4 + i));
    for (uint64_t i = 0; i < 4; i++)
        u64le_put(value + 8 * i, mix(number * 8 + i + salt * 977));
    u32le_put(value + 32, (uint32_t)salt);
}

static struct entry entry_at(uint32_t height)
{
    struct entry entry = {.height = height, .time_ms = height};
    u32le_put(entry.hash, height + 1);
    u32le_put(entry.parent, height);
    return entry;
}

/* The number of the pair that entry `height` writes at place i: new ones in the first half, old ones again in the
 * second. */
static uint64_t pair_number(uint32_t height, uint32_t entries, uint32_t i)
{
    uint64_t n = (uint64_t)height * PAIRS + i;
    return height < entries ? n : mix(n) % ((uint64_t)entries * PAIRS);
}

struct result {
    double new_us, modify_us, tip_us, undo1_us, undo100_us, bytes_pair;
};

static struct store *store_begin_bench(const char *dir, uint32_t history)
{
    struct sorex_error err;
    struct store *store = NULL;
    struct store_options options = {.dir = dir, .create = true, .history = history};
    struct store_program program;
    uint8_t hash[HASH_BYTES] = {0};
    OK(store_open(&options, &store, &err));
    OK(store_program(store, "bench", hash, hash, false, &program, &err));
    return store;
}

static void store_entry_run(struct store *store, uint32_t height, uint32_t entries)
{
    struct sorex_error err;
    struct store_space space = {0, STORE_KEYS};
    struct entry entry = entry_at(height);
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    OK(store_begin(store, &entry, &err));
    for (uint32_t i = 0; i < PAIRS; i++) {
        struct bytes before;
        bool found = false;
        pair_make(pair_number(height, entries, i), key, value, height);
        if (height >= entries)
            OK(store_get(store, space, bytes_of(key, sizeof key), &before, &found, &err));
        OK(store_put(store, space, bytes_of(key, sizeof key), bytes_of(value, sizeof value), &err));
    }
    OK(store_commit(store, false, &err));
}

static double us_per_pair(uint64_t ns, uint64_t entries) { return (double)ns / 1000.0 / (double)(entries * PAIRS); }

/* The same entries with history: 0, so that nothing is kept for undo and old heights. */
static double bare_round(const char *dir, uint32_t entries)
{
    struct sorex_error err;
    struct store *store = store_begin_bench(dir, 0);
    for (uint32_t h = 0; h < entries; h++)
        store_entry_run(store, h, entries);
    OK(store_flush(store, &err));
    uint64_t start = clock_ns();
    for (uint32_t h = entries; h < 2 * entries; h++)
        store_entry_run(store, h, entries);
    OK(store_flush(store, &err));
    double us = us_per_pair(clock_ns() - start, entries);
    store_close(store);
    return us;
}

static struct result store_round(const char *dir, uint32_t entries)
{
    struct sorex_error err;
    struct result result = {0};
    struct store *store = store_begin_bench(dir, STORE_HISTORY_FULL);
    uint64_t start = clock_ns();
    for (uint32_t h = 0; h < entries; h++)
        store_entry_run(store, h, entries);
    OK(store_flush(store, &err));
    result.new_us = us_per_pair(clock_ns() - start, entries);
    start = clock_ns();
    for (uint32_t h = entries; h < 2 * entries; h++)
        store_entry_run(store, h, entries);
    OK(store_flush(store, &err));
    result.modify_us = us_per_pair(clock_ns() - start, entries);
    uint32_t depth = entries < 100 ? entries : 100;
    start = clock_ns();
    for (uint32_t i = 0; i < AT_TIP; i++) {
        store_entry_run(store, 2 * entries + i, entries);
        OK(store_flush(store, &err));
    }
    result.tip_us = us_per_pair(clock_ns() - start, AT_TIP);
    start = clock_ns();
    for (uint32_t i = 0; i < AT_TIP; i++)
        OK(store_undo(store, NULL, &err));
    result.undo1_us = us_per_pair(clock_ns() - start, AT_TIP);
    start = clock_ns();
    OK(store_undo_to(store, 2 * entries - 1 - depth, NULL, NULL, &err));
    result.undo100_us = us_per_pair(clock_ns() - start, depth);
    store_close(store);

    struct store_figures figures;
    store = store_begin_bench(dir, STORE_HISTORY_FULL);
    store_figures(store, &figures);
    result.bytes_pair = (double)figures.disk_bytes / (2.0 * entries * PAIRS);
    store_close(store);
    return result;
}

/* ---- the rival ---- */

static rocksdb_t *plain_open(const char *dir)
{
    char *text = NULL;
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_t *db = rocksdb_open(options, dir, &text);
    if (text != NULL)
        failed("open", text);
    rocksdb_block_based_options_destroy(table);
    rocksdb_options_destroy(options);
    return db;
}

static void plain_entry(rocksdb_t *db, const rocksdb_readoptions_t *read, const rocksdb_writeoptions_t *write,
                        uint32_t height, uint32_t entries)
{
    char *text = NULL;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    for (uint32_t i = 0; i < PAIRS; i++) {
        pair_make(pair_number(height, entries, i), key, value, height);
        if (height >= entries) {
            rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(db, read, (const char *)key, sizeof key, &text);
            if (slice != NULL)
                rocksdb_pinnableslice_destroy(slice);
        }
        rocksdb_writebatch_put(batch, (const char *)key, sizeof key, (const char *)value, sizeof value);
    }
    rocksdb_write(db, write, batch, &text);
    if (text != NULL)
        failed("write", text);
    rocksdb_writebatch_destroy(batch);
}

static struct result plain_round(const char *dir, uint32_t entries)
{
    struct result result = {0};
    rocksdb_t *db = plain_open(dir);
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    rocksdb_writeoptions_t *write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(write, 1);
    uint64_t start = clock_ns();
    for (uint32_t h = 0; h < entries; h++)
        plain_entry(db, read, write, h, entries);
    result.new_us = us_per_pair(clock_ns() - start, entries);
    start = clock_ns();
    for (uint32_t h = entries; h < 2 * entries; h++)
        plain_entry(db, read, write, h, entries);
    result.modify_us = us_per_pair(clock_ns() - start, entries);
    rocksdb_writeoptions_destroy(write);
    rocksdb_readoptions_destroy(read);
    rocksdb_close(db);
    return result;
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
    struct bench_samples fresh = {0}, plain_fresh = {0}, modify = {0}, plain_modify = {0}, tip = {0}, undo1 = {0},
                         undo100 = {0}, forward = {0}, disk = {0}, bare = {0}, little = {0}, none = {0};
    char base[] = "/var/tmp/sorex-bench-XXXXXX", dir[64]; /* not /tmp, which may be memory */
    if (mkdtemp(base) == NULL)
        failed(base, "no folder could be made");
    snprintf(dir, sizeof dir, "%s/store", base);
    bench_start(&bench, "store");
    for (uint32_t r = 0; r < bench.rounds; r++) {
        struct result ours = store_round(dir, ENTRIES);
        remove_tree(dir);
        little.values[little.count++] = store_round(dir, ENTRIES_SMALL).undo1_us;
        remove_tree(dir);
        bare.values[bare.count++] = bare_round(dir, ENTRIES);
        remove_tree(dir);
        struct result plain = plain_round(dir, ENTRIES);
        remove_tree(dir);
        fresh.values[fresh.count++] = ours.new_us;
        plain_fresh.values[plain_fresh.count++] = plain.new_us;
        modify.values[modify.count++] = ours.modify_us;
        plain_modify.values[plain_modify.count++] = plain.modify_us;
        tip.values[tip.count++] = ours.tip_us;
        undo1.values[undo1.count++] = ours.undo1_us;
        undo100.values[undo100.count++] = ours.undo100_us;
        forward.values[forward.count++] = ours.modify_us;
        disk.values[disk.count++] = ours.bytes_pair;
    }
    remove_tree(base);
    const char *rival = "RocksDB alone, a batch an entry: no undo, history, commitment";
    bench_add(&bench,
              &(struct bench_row){.what = "a pair, entries of 1,000 new keys", .unit = "us", .rival_name = rival},
              &fresh, &plain_fresh);
    bench_add(
        &bench,
        &(struct bench_row){.what = "a pair, entries of 1,000 read-modify-writes", .unit = "us", .rival_name = rival},
        &modify, &plain_modify);
    bench_add(&bench,
              &(struct bench_row){.what = "a pair, read-modify-write, the store alone",
                                  .unit = "us",
                                  .rival_name = "nothing kept for undo (history: 0)"},
              &modify, &bare);
    bench_add(&bench,
              &(struct bench_row){.target = 5,
                                  .what = "a pair undone, entry by entry",
                                  .unit = "us",
                                  .rival_name = "forward, each entry on disk before the next",
                                  .goal = 0.5},
              &undo1, &tip);
    bench_add(&bench,
              &(struct bench_row){.target = 5,
                                  .what = "a pair undone, 100 entries at once",
                                  .unit = "us",
                                  .rival_name = "forward, in groups",
                                  .goal = 0.5},
              &undo100, &forward);
    bench_add(&bench,
              &(struct bench_row){.target = 5,
                                  .what = "a pair undone, entry by entry, in a store of 500,000 keys",
                                  .unit = "us",
                                  .rival_name = "in one of 5,000"},
              &undo1, &little);
    bench_add(&bench, &(struct bench_row){.what = "disk, a write of 32 + 36 bytes, full history", .unit = "B"}, &disk,
              &none);
    return bench_finish(&bench);
}
