#include "bench/index/lab.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sha256.h"
#include "bench/harness.h"

static void must(enum sorex_status status, const char *what, const struct sorex_error *err)
{
    if (status != SOREX_OK)
        bench_die("%s: %s: %s", what, sorex_status_name(status), err->text);
}

void lab_read(const char *base_variable, const char *name, struct buf *out)
{
    struct sorex_error err = {0};
    char path[4096];
    const char *base = getenv(base_variable);
    if (base == NULL)
        bench_die("%s is not set: run the benchmarks with `make bench`", base_variable);
    (void)snprintf(path, sizeof path, "%s/%s", base, name);
    must(file_read(path, (size_t)1 << 30, out, &err), path, &err);
}

struct indexer *lab_indexer(const char *wasm_name, uint64_t resident_bytes)
{
    struct sorex_error err = {0};
    struct buf wasm = {0};
    struct indexer *indexer;
    struct indexer_options options = {.name = "bench", .limits = {.resident_bytes = resident_bytes}};
    lab_read("SOREX_GUESTS", wasm_name, &wasm);
    must(indexer_new(buf_view(&wasm), &options, &indexer, &err), wasm_name, &err);
    buf_deinit(&wasm);
    return indexer;
}

void lab_open(struct lab *lab, struct indexer *indexer, uint32_t first_height)
{
    lab_open_history(lab, indexer, first_height, STORE_HISTORY_FULL);
}

void lab_open_history(struct lab *lab, struct indexer *indexer, uint32_t first_height, uint32_t history)
{
    static const uint8_t identity[HASH_BYTES];
    struct sorex_error err = {0};
    struct store_program program;
    *lab = (struct lab){.indexer = indexer, .next.height = first_height};
    folder_make(lab->dir);
    struct store_options options = {.dir = lab->dir, .create = true, .history = history};
    must(store_open(&options, &lab->store, &err), lab->dir, &err);
    must(store_program(lab->store, "bench", identity, identity, false, &program, &err), "program", &err);
    lab->space = (struct store_space){.program = program.id, .kind = STORE_KEYS};
}

void lab_close(struct lab *lab)
{
    store_close(lab->store);
    folder_remove(lab->dir);
}

static uint64_t lab_clock(const struct lab *lab) { return lab->profile != NULL ? clock_ns() : 0; }

/* Adds the time since *start to *sum and starts anew. */
static void lab_lap(const struct lab *lab, uint64_t *start, uint64_t *sum)
{
    uint64_t now = clock_ns();
    if (lab->profile != NULL)
        *sum += now - *start;
    *start = now;
}

static enum sorex_status lab_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                 struct sorex_error *err)
{
    struct lab *lab = user_data;
    uint64_t start = lab_clock(lab);
    enum sorex_status status = store_get(lab->store, lab->space, key, out_value, out_found, err);
    if (lab->profile != NULL)
        lab->profile->get_ns += clock_ns() - start;
    return status;
}

static enum sorex_status lab_put(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct lab *lab = user_data;
    uint64_t start = lab_clock(lab);
    enum sorex_status status = store_put(lab->store, lab->space, key, value, err);
    if (lab->profile != NULL)
        lab->profile->put_ns += clock_ns() - start;
    return status;
}

static enum sorex_status lab_del(void *user_data, struct bytes key, struct sorex_error *err)
{
    struct lab *lab = user_data;
    return store_delete(lab->store, lab->space, key, err);
}

void lab_add(struct lab *lab, struct bytes block)
{
    struct sorex_error err = {0};
    struct state_reader reader = {.get = lab_get, .user_data = lab};
    struct state_writer writer = {.put = lab_put, .del = lab_del, .user_data = lab};
    struct indexer_result result;
    lab->next.payload = block;
    sha256_once(bytes_of(&lab->next.height, sizeof lab->next.height), lab->next.hash);
    struct lab_profile ignored = {0}, *profile = lab->profile != NULL ? lab->profile : &ignored;
    uint64_t start = clock_ns();
    must(store_begin(lab->store, &lab->next, &err), "begin", &err);
    lab_lap(lab, &start, &profile->begin_ns);
    must(indexer_run(lab->indexer, lab->next.height, block, &reader, &writer, &result, &err), "run", &err);
    lab_lap(lab, &start, &profile->run_ns);
    must(store_commit(lab->store, false, &err), "commit", &err);
    lab_lap(lab, &start, &profile->commit_ns);
    memcpy(lab->next.parent, lab->next.hash, HASH_BYTES);
    lab->next.height++;
}

void lab_flush(struct lab *lab)
{
    struct sorex_error err = {0};
    uint64_t start = clock_ns();
    must(store_flush(lab->store, &err), "flush", &err);
    if (lab->profile != NULL)
        lab->profile->flush_ns += clock_ns() - start;
}
