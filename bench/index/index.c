/* Indexing: goals 2 (a read), 3 (the early chain), 4 (pairs and heavy blocks), 13 (memory), 14 (undo bookkeeping), 15
 * (start). */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/file.h"
#include "bench/harness.h"
#include "bench/index/floor.h"
#include "bench/index/lab.h"
#include "bench/run_process.h"

#define GETS 200000
#define PAIRS 1000
#define PAIR_BLOCKS 200
#define DISK_BLOCKS 1000 /* enough that logs in the making do not count for much */
#define HOT_KEYS 100000
#define EARLY_BLOCKS 14132
#define HEAVY_HEIGHT 767430

static struct bytes command(uint8_t out[12], uint32_t mode, uint32_t count, uint32_t seed)
{
    u32le_put(out, mode);
    u32le_put(out + 4, count);
    u32le_put(out + 8, seed);
    return bytes_of(out, 12);
}

static double elapsed_us(uint64_t since_ns) { return (double)(clock_ns() - since_ns) / 1e3; }

/* ---- goal 2 ---- */

/* ns a get (__get_len and __get of one key): a block with GETS of them less a block with none. */
static double hot_get(void *user_data)
{
    struct lab *lab = user_data;
    uint8_t text[12];
    uint64_t start = clock_ns();
    lab_add(lab, command(text, 2, 0, 0));
    double none = elapsed_us(start);
    start = clock_ns();
    lab_add(lab, command(text, 2, GETS, 0));
    return (elapsed_us(start) - none) * 1e3 / GETS;
}

static void measure_get(struct bench *bench, struct indexer *indexer)
{
    struct lab lab;
    uint8_t text[12];
    lab_open(&lab, indexer, 0);
    lab_add(&lab, command(text, 0, PAIRS, 0));
    bench_measure(bench,
                  &(struct bench_row){.target = 2,
                                      .what = "get of a hot 32-byte key, guest to store and back",
                                      .unit = "ns",
                                      .subject = hot_get,
                                      .rival_value = 7.7,
                                      .rival_name = "empty host call, Wasmtime C API",
                                      .goal = 250,
                                      .goal_absolute = true},
                  &lab);
    lab_flush(&lab);
    bench_measure(
        bench, &(struct bench_row){.what = "the same once the key is on disk", .unit = "ns", .subject = hot_get}, &lab);
    lab_close(&lab);
}

/* ---- goal 4, pairs ---- */

struct pairs {
    struct indexer *indexer;
    uint32_t mode, blocks;
    double disk; /* bytes a pair, of the last round */
};

/* us a pair: blocks of PAIRS pairs on a store of its own, until everything is durable. */
static double pairs_us(void *user_data)
{
    struct pairs *pairs = user_data;
    struct lab lab;
    uint8_t text[12];
    lab_open(&lab, pairs->indexer, 0);
    if (pairs->mode == 1)
        lab_add(&lab, command(text, 0, HOT_KEYS, 0));
    lab_flush(&lab);
    uint64_t start = clock_ns();
    for (uint32_t i = 0; i < pairs->blocks; i++)
        lab_add(&lab, command(text, pairs->mode, PAIRS, i + 1));
    lab_flush(&lab);
    double count = (double)PAIRS * pairs->blocks, us = elapsed_us(start) / count;
    store_close(lab.store);
    pairs->disk = (double)folder_bytes(lab.dir) / count;
    folder_remove(lab.dir);
    return us;
}

static double disk_of(void *user_data)
{
    struct pairs *pairs = user_data;
    pairs->blocks = DISK_BLOCKS;
    (void)pairs_us(pairs);
    pairs->blocks = PAIR_BLOCKS;
    return pairs->disk;
}

static void measure_pairs(struct bench *bench, struct indexer *indexer)
{
    struct pairs pairs = {.indexer = indexer, .blocks = PAIR_BLOCKS};
    bench_measure(bench,
                  &(struct bench_row){.target = 4,
                                      .what = "a pair, blocks of 1,000 new keys, durable",
                                      .unit = "us",
                                      .subject = pairs_us,
                                      .rival_value = 8.4,
                                      .rival_name = "metashrew's runtime, measured elsewhere",
                                      .goal = 1.5,
                                      .goal_absolute = true},
                  &pairs);
    bench_measure(bench,
                  &(struct bench_row){.target = 4,
                                      .what = "disk, a pair of 32 + 32 bytes, full history",
                                      .unit = "B",
                                      .subject = disk_of,
                                      .rival_value = 140,
                                      .rival_name = "metashrew, 130 to 150 B, measured elsewhere",
                                      .goal = 0.6,
                                      .rounds = 1},
                  &pairs);
    pairs.mode = 1;
    bench_measure(bench,
                  &(struct bench_row){.target = 4,
                                      .what = "a pair, blocks of 1,000 read-modify-writes",
                                      .unit = "us",
                                      .subject = pairs_us,
                                      .rival_value = 17.5,
                                      .rival_name = "metashrew's runtime, measured elsewhere",
                                      .goal = 2.5,
                                      .goal_absolute = true},
                  &pairs);
}

/* ---- goal 4, heavy blocks ---- */

#define HEAVY_RESIDENT ((uint64_t)64 << 20)

struct heavy {
    struct indexer *indexer;
    struct floor *floor;
    struct buf block;
    uint32_t height;
    bool durable; /* the write to disk is waited for */
};

static double heavy_sorex(void *user_data)
{
    struct heavy *heavy = user_data;
    struct lab lab;
    lab_open(&lab, heavy->indexer, heavy->height);
    uint64_t start = clock_ns();
    lab_add(&lab, buf_view(&heavy->block));
    if (heavy->durable)
        lab_flush(&lab);
    double us = elapsed_us(start);
    lab_close(&lab);
    return us / 1e3;
}

static double heavy_floor(void *user_data)
{
    struct heavy *heavy = user_data;
    floor_reset(heavy->floor);
    uint64_t start = clock_ns();
    floor_run(heavy->floor, heavy->height, buf_view(&heavy->block));
    return elapsed_us(start) / 1e3;
}

static void measure_heavy(struct bench *bench, const char *file, uint32_t height, const char *what,
                          const char *what_durable)
{
    struct heavy heavy = {.height = height};
    struct buf wasm = {0};
    lab_read("SOREX_GUESTS", "utxo.wasm", &wasm);
    lab_read("SOREX_SOURCE_DIR", file, &heavy.block);
    heavy.indexer = lab_indexer("utxo.wasm", HEAVY_RESIDENT);
    heavy.floor = floor_new(buf_view(&wasm), HEAVY_RESIDENT);
    bench_measure(bench,
                  &(struct bench_row){.target = 4,
                                      .what = what,
                                      .unit = "ms",
                                      .subject = heavy_sorex,
                                      .rival = heavy_floor,
                                      .rival_name = "the same guest in a bare loop, hash map for state",
                                      .goal = 1.25},
                  &heavy);
    heavy.durable = true;
    bench_measure(bench,
                  &(struct bench_row){.what = what_durable,
                                      .unit = "ms",
                                      .subject = heavy_sorex,
                                      .rival = heavy_floor,
                                      .rival_name = "the same guest in a bare loop, hash map for state"},
                  &heavy);
    floor_free(heavy.floor);
    indexer_free(heavy.indexer);
    buf_deinit(&heavy.block);
    buf_deinit(&wasm);
}

/* ---- goal 14 ---- */

struct bookkeeping {
    struct indexer *indexer;
    struct buf before, block; /* the first entry of a store cannot be undone and keeps nothing for it */
    uint32_t height;
};

static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* CPU, of all threads: what is done behind the next entry costs, too. */
static double bookkeeping_ms(const struct bookkeeping *books, uint32_t history)
{
    struct lab lab;
    lab_open_history(&lab, books->indexer, books->height - 1, history);
    lab_add(&lab, buf_view(&books->before));
    lab_flush(&lab);
    double start = cpu_ms();
    lab_add(&lab, buf_view(&books->block));
    lab_flush(&lab);
    double ms = cpu_ms() - start;
    lab_close(&lab);
    return ms;
}

static double bookkeeping_on(void *user_data) { return bookkeeping_ms(user_data, STORE_HISTORY_FULL); }
static double bookkeeping_off(void *user_data) { return bookkeeping_ms(user_data, 0); }

static void measure_bookkeeping(struct bench *bench, uint32_t height, const char *file, const char *before,
                                const char *what)
{
    struct bookkeeping books = {.height = height, .indexer = lab_indexer("utxo.wasm", HEAVY_RESIDENT)};
    lab_read("SOREX_SOURCE_DIR", before, &books.before);
    lab_read("SOREX_SOURCE_DIR", file, &books.block);
    bench_measure(bench,
                  &(struct bench_row){.target = 14,
                                      .what = what,
                                      .unit = "ms",
                                      .subject = bookkeeping_on,
                                      .rival = bookkeeping_off,
                                      .rival_name = "nothing kept for undo (history: 0)",
                                      .goal = 1.15},
                  &books);
    indexer_free(books.indexer);
    buf_deinit(&books.before);
    buf_deinit(&books.block);
}

#define PROFILE_PARTS 6

/* What a heavy block's time goes into, durable, in ms. */
static void measure_profile(struct bench *bench)
{
    static const char *const names[PROFILE_PARTS] = {"of block 767430: the guest, and its contract",
                                                     "of block 767430: reads of the store",
                                                     "of block 767430: staging writes",
                                                     "of block 767430: beginning the entry",
                                                     "of block 767430: commit (commitment, undo, into the group)",
                                                     "of block 767430: write to disk and sync"};
    struct bench_samples parts[PROFILE_PARTS] = {0}, none = {0};
    struct heavy heavy = {.height = 767430};
    lab_read("SOREX_SOURCE_DIR", "tests/data/blocks/767430.bin", &heavy.block);
    heavy.indexer = lab_indexer("utxo.wasm", HEAVY_RESIDENT);
    for (unsigned i = 0; i < bench->rounds; i++) {
        struct lab lab;
        struct lab_profile p = {0};
        lab_open(&lab, heavy.indexer, heavy.height);
        lab.profile = &p;
        lab_add(&lab, buf_view(&heavy.block));
        lab_flush(&lab);
        lab_close(&lab);
        uint64_t ns[PROFILE_PARTS] = {
            p.run_ns - p.get_ns - p.put_ns, p.get_ns, p.put_ns, p.begin_ns, p.commit_ns, p.flush_ns};
        for (size_t part = 0; part < PROFILE_PARTS; part++)
            parts[part].values[parts[part].count++] = (double)ns[part] / 1e6;
    }
    for (size_t part = 0; part < PROFILE_PARTS; part++)
        bench_add(bench, &(struct bench_row){.what = names[part], .unit = "ms"}, &parts[part], &none);
    indexer_free(heavy.indexer);
    buf_deinit(&heavy.block);
}

/* ---- goals 3 and 13 ---- */

enum run_kind { RUN_INDEX, RUN_CHANGES, RUN_HEAVY };

static void write_pipeline(const char *dir, const char *file, enum run_kind kind)
{
    struct sorex_error err = {0};
    struct buf text = {0};
    const char *source = getenv("SOREX_SOURCE_DIR"), *guests = getenv("SOREX_GUESTS");
    if (source == NULL || guests == NULL)
        bench_die("SOREX_SOURCE_DIR or SOREX_GUESTS is not set: run the benchmarks with `make bench`");
    enum sorex_status status =
        buf_printf(&text, &err, "name: bench\ndata: %s/data\nindexer: {name: utxo, wasm: %s/utxo.wasm}\n", dir, guests);
    if (status == SOREX_OK && kind == RUN_HEAVY)
        status = buf_printf(&text, &err,
                            "start_height: %d\nsource: {type: blocks, files: [%s/tests/data/blocks/%d.bin@%d]}\n",
                            HEAVY_HEIGHT, source, HEAVY_HEIGHT, HEAVY_HEIGHT);
    else if (status == SOREX_OK)
        status = buf_printf(&text, &err, "source: {type: blockfiles, path: %s/examples/blocks}\n", source);
    if (status == SOREX_OK && kind == RUN_CHANGES)
        status = buf_printf(&text, &err,
                            "transforms: [{name: balances, wasm: %s/balances.wasm}]\n"
                            "sinks: [{name: changes, type: file, path: %s/changes.jsonl}]\n",
                            guests, dir);
    if (status == SOREX_OK)
        status = file_replace(file, buf_view(&text), &err);
    if (status != SOREX_OK)
        bench_die("%s: %s", file, err.text);
    buf_deinit(&text);
}

static struct run_cost run_kind(enum run_kind kind)
{
    char dir[FOLDER_PATH_SIZE], file[FOLDER_PATH_SIZE + 32];
    folder_make(dir);
    (void)snprintf(file, sizeof file, "%s/pipeline.yaml", dir);
    write_pipeline(dir, file, kind);
    struct run_cost cost = run_pipeline(file, kind == RUN_HEAVY ? HEAVY_HEIGHT : EARLY_BLOCKS - 1);
    folder_remove(dir);
    return cost;
}

/* ---- goal 15 ---- */

/* The whole program, one more block on a store that has all the others, and on one that has a single block. */
static void measure_start(struct bench *bench)
{
    struct bench_samples large = {0}, small = {0};
    char dir[FOLDER_PATH_SIZE], file[FOLDER_PATH_SIZE + 32];
    for (int is_small = 0; is_small < 2; is_small++) {
        struct bench_samples *samples = is_small != 0 ? &small : &large;
        unsigned height = is_small != 0 ? 0 : EARLY_BLOCKS - 2 - bench->rounds;
        folder_make(dir);
        (void)snprintf(file, sizeof file, "%s/pipeline.yaml", dir);
        write_pipeline(dir, file, RUN_INDEX);
        (void)run_pipeline(file, height);
        for (unsigned i = 0; i < bench->rounds; i++)
            samples->values[samples->count++] = run_pipeline(file, ++height).seconds * 1e3;
        folder_remove(dir);
    }
    bench_add(
        bench,
        &(struct bench_row){.target = 15,
                            .what = "`sorex run` on a store of 14,000 blocks: start, one more block on disk, exit",
                            .unit = "ms",
                            .rival_name = "on a store of a few blocks",
                            .goal = 100,
                            .goal_absolute = true},
        &large, &small);
}

static void measure_early(struct bench *bench)
{
    struct bench_samples speed = {0}, memory = {0}, changes = {0}, heavy = {0}, none = {0};
    for (unsigned i = 0; i < bench->rounds; i++) {
        struct run_cost plain = run_kind(RUN_INDEX), whole = run_kind(RUN_CHANGES), one = run_kind(RUN_HEAVY);
        speed.values[speed.count++] = EARLY_BLOCKS / plain.seconds;
        memory.values[memory.count++] = plain.resident_mib;
        changes.values[changes.count++] = EARLY_BLOCKS / whole.seconds;
        heavy.values[heavy.count++] = one.resident_mib;
    }
    bench_add(bench,
              &(struct bench_row){.target = 3,
                                  .what = "14,132 early blocks from files, UTXO indexer, whole process",
                                  .unit = "blocks/s",
                                  .more_is_better = true,
                                  .rival_value = 3.7,
                                  .rival_name = "metashrew as shipped, measured elsewhere",
                                  .goal = 1000},
              &speed, &none);
    bench_add(bench,
              &(struct bench_row){
                  .what = "the same with balance changes into a file", .unit = "blocks/s", .more_is_better = true},
              &changes, &none);
    bench_add(bench,
              &(struct bench_row){.target = 13,
                                  .what = "resident memory of that run, at its highest",
                                  .unit = "MiB",
                                  .rival_value = 88,
                                  .rival_name = "metashrew, 28 to 88 MB, measured elsewhere",
                                  .goal = 1},
              &memory, &none);
    bench_add(bench,
              &(struct bench_row){.target = 13,
                                  .what = "resident memory of a run of block 767430, at its highest",
                                  .unit = "MiB",
                                  .rival_value = 390,
                                  .rival_name = "metashrew with heavier guests, 390 to 455 MB, measured elsewhere",
                                  .goal = 1},
              &heavy, &none);
}

int main(void)
{
    static struct bench bench;
    bench_start(&bench, "index");
    measure_early(&bench); /* first: a child's peak of resident memory begins with that of its parent */
    measure_start(&bench);
    struct indexer *indexer = lab_indexer("bench_pairs.wasm", 0);
    measure_get(&bench, indexer);
    measure_pairs(&bench, indexer);
    indexer_free(indexer);
    measure_heavy(&bench, "tests/data/blocks/767430.bin", 767430, "block 767430 (1.6 MB), UTXO indexer, committed",
                  "block 767430, written to disk and synced");
    measure_heavy(&bench, "tests/data/blocks/840243.bin", 840243, "block 840243 (1.4 MB), UTXO indexer, committed",
                  "block 840243, written to disk and synced");
    measure_bookkeeping(&bench, 767430, "tests/data/blocks/767430.bin", "tests/data/blocks/840243.bin",
                        "block 767430 as a second entry, on disk, with what undo needs: CPU");
    measure_bookkeeping(&bench, 840243, "tests/data/blocks/840243.bin", "tests/data/blocks/767430.bin",
                        "block 840243 as a second entry, on disk, with what undo needs: CPU");
    measure_profile(&bench);
    return bench_finish(&bench);
}
