/* libFuzzer: a whole indexer made of random import calls (guest_module.h), run on a block, asked through its view, run
 * and asked again: the same outcome, text, writes and results, whatever ran before. By bit 3 of the first byte once
 * more with fuel: the same, unless the stack ended it, whose depth is the machine code's. A state that cannot be read
 * is never an absent key. */
#include <stdio.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/limits.h"
#include "base/log.h"
#include "fuzz/guest_module.h"
#include "guest/indexer.h"

#define FUEL ((uint64_t)1 << 40)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the host ---- */

static bool state_failed;

/* Of keys by their length: every other one is there, with a value as long as it is; every eleventh cannot be read. */
static enum sorex_status state_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                   struct sorex_error *err)
{
    (void)user_data;
    CHECK(!state_failed);
    state_failed = key.len % 11 == 10;
    if (state_failed)
        return sorex_error_set(err, SOREX_IO, "the state cannot be read");
    *out_found = key.len % 2 == 0;
    *out_value = *out_found ? key : (struct bytes){0};
    return SOREX_OK;
}

struct writes {
    struct buf bytes;
    uint64_t count;
};

static enum sorex_status writes_put(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct writes *writes = user_data;
    CHECK(key.len <= SOREX_KEY_BYTES_MAX);
    writes->count++;
    TRY(buf_append_u32le(&writes->bytes, (uint32_t)key.len, err));
    TRY(buf_append(&writes->bytes, key, err));
    TRY(buf_append_u32le(&writes->bytes, (uint32_t)value.len, err));
    return buf_append(&writes->bytes, value, err);
}

/* ---- one call, and what must hold for it ---- */

struct outcome {
    enum sorex_status status;
    struct sorex_error err;
    struct writes writes; /* of a run */
    struct buf result;    /* of a view */
    bool deterministic;
};

static void outcome_free(struct outcome *outcome)
{
    buf_deinit(&outcome->writes.bytes);
    buf_deinit(&outcome->result);
}

static void outcome_check(const struct outcome *o)
{
    CHECK(o->status == SOREX_OK || (o->err.status == o->status && o->err.text[0] != '\0'));
    CHECK(state_failed ? o->status == SOREX_IO
                       : o->status == SOREX_OK || o->status == SOREX_GUEST || o->status == SOREX_LIMIT);
    CHECK(o->status == SOREX_OK || (o->writes.count == 0 && o->result.len == 0));
}

static void outcome_equal(const struct outcome *a, const struct outcome *b)
{
    CHECK(a->status == b->status && strcmp(a->err.text, b->err.text) == 0 && a->deterministic == b->deterministic);
    CHECK(bytes_equal(buf_view(&a->writes.bytes), buf_view(&b->writes.bytes)));
    CHECK(bytes_equal(buf_view(&a->result), buf_view(&b->result)));
}

static struct outcome run(struct indexer *indexer)
{
    struct outcome o = {0};
    struct state_reader reader = {.get = state_get};
    struct state_writer writer = {.put = writes_put, .user_data = &o.writes};
    struct indexer_result result = {0};
    state_failed = false;
    o.status = indexer_run(indexer, 5, bytes_str("block"), &reader, &writer, &result, &o.err);
    outcome_check(&o);
    if (o.status == SOREX_OK)
        CHECK(result.flushes > 0 && result.pairs == o.writes.count);
    return o;
}

static struct outcome view(struct indexer *indexer)
{
    struct outcome o = {0};
    struct state_reader reader = {.get = state_get};
    struct guest_cost cost;
    state_failed = false;
    o.status = indexer_view(indexer, bytes_str(GUEST_MODULE_VIEW), 5, bytes_str("input"), &reader, &o.result, &cost,
                            &o.deterministic, &o.err);
    outcome_check(&o);
    return o;
}

/* ---- one module ---- */

static struct indexer *indexer_make(struct bytes wasm, bool metered)
{
    struct indexer_options options = {
        .name = "fuzz", .limits = {.memory_bytes_max = 4 << 20, .stack_bytes_max = 65536, .fuel = metered ? FUEL : 0}};
    struct indexer *indexer = NULL;
    struct sorex_error err = {0};
    if (indexer_new(wasm, &options, &indexer, &err) != SOREX_OK)
        (void)fprintf(stderr, "%s\n", err.text);
    CHECK(indexer != NULL); /* the module is valid */
    return indexer;
}

/* Engines live as long as a program of theirs: making one for each input would take most of the time. */
static void engines_keep(void)
{
    static struct indexer *kept[2];
    static const uint8_t input[GUEST_MODULE_HEAD];
    struct buf wasm = {0};
    if (kept[0] != NULL)
        return;
    log_level_set(LOG_ERROR);
    guest_module_make(bytes_of(input, sizeof input), &wasm);
    for (int metered = 0; metered < 2; metered++)
        kept[metered] = indexer_make(buf_view(&wasm), metered == 1);
    buf_deinit(&wasm);
}

static void module_run(struct bytes wasm, bool metered, struct outcome *out_run, struct outcome *out_view)
{
    struct indexer *indexer = indexer_make(wasm, metered);
    *out_run = run(indexer);
    *out_view = view(indexer);
    struct outcome run_again = run(indexer), view_again = view(indexer);
    outcome_equal(out_run, &run_again);
    outcome_equal(out_view, &view_again);
    outcome_free(&run_again);
    outcome_free(&view_again);
    indexer_free(indexer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < GUEST_MODULE_HEAD)
        return 0;
    engines_keep();
    struct buf wasm = {0};
    struct outcome outcomes[2][2] = {0};
    int programs = (data[0] & 8) != 0 ? 2 : 1;
    guest_module_make(bytes_of(data, size), &wasm);
    for (int metered = 0; metered < programs; metered++)
        module_run(buf_view(&wasm), metered == 1, &outcomes[metered][0], &outcomes[metered][1]);
    for (int i = 0; i < 2; i++) {
        if (programs == 2 && outcomes[0][i].status != SOREX_LIMIT)
            outcome_equal(&outcomes[0][i], &outcomes[1][i]);
        outcome_free(&outcomes[0][i]);
        outcome_free(&outcomes[1][i]);
    }
    buf_deinit(&wasm);
    return 0;
}
