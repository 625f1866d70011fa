/* The reducer's thread over a chain that is scripted: forks while it works, a source that fails, stalls, has a block no
 * more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "derive/receipt.h"
#include "pg/database.h"
#include "pg/place.h"
#include "pipeline/chain_blocks.h"
#include "pipeline/deriver.h"
#include "source/memory.h"
#include "store/scratch.h"

#define DRAIN_MS 60000u

static struct sorex_error err;
static struct database_program *program; /* held: it is loaded once */

#define MUST(call)                               \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

struct world {
    char dir[SCRATCH_PATH_MAX], wasm[512], name[8];
    struct reducer_settings settings;
    struct store *store;
    struct source *source;
    struct deriver *deriver;
};

static void world_open(struct world *w, struct source *source)
{
    struct store_options options = {.dir = w->dir, .create = true, .history = 60};
    w->source = source;
    MUST(store_open(&options, &w->store, &err));
    const struct deriver_options deriver = {
        .settings = &w->settings, .store = w->store, .source = source, .dir = w->dir};
    MUST(deriver_new(&deriver, &w->deriver, &err));
    MUST(deriver_start(w->deriver, &err));
}

static void world_new(struct world *w, struct source *source)
{
    const char *guests = getenv("SOREX_GUESTS");
    assert_non_null(guests);
    *w = (struct world){.name = "days"};
    scratch_make(w->dir);
    (void)snprintf(w->wasm, sizeof w->wasm, "%s/days.wasm", guests);
    MUST(options_read(derive_options, NULL, "", ".", &w->settings.derive, &err));
    w->settings.derive.snapshot_messages = 25;
    w->settings.name = w->name;
    w->settings.wasm = w->wasm;
    world_open(w, source);
}

static void world_close(struct world *w)
{
    deriver_free(w->deriver);
    store_close(w->store);
    w->deriver = NULL;
    w->store = NULL;
}

static void world_end(struct world *w)
{
    world_close(w);
    scratch_remove(w->dir);
}

/* What the pipeline's loop does: the store is made that of the source's chain. */
static void index_all(struct world *w)
{
    struct buf block = {0};
    struct store_heights heights;
    uint32_t tip;
    uint8_t hash[HASH_BYTES];
    MUST(w->source->type->tip(w->source, &tip, hash, &err));
    for (;;) {
        struct entry own, entry;
        store_heights(w->store, &heights);
        if (heights.tip == SOREX_HEIGHT_NONE)
            break;
        MUST(store_entry(w->store, heights.tip, &own, &err));
        if (heights.tip <= tip) {
            MUST(w->source->type->hash_at(w->source, heights.tip, hash, &err));
            if (memcmp(hash, own.hash, HASH_BYTES) == 0)
                break;
        }
        MUST(store_undo(w->store, &entry, &err));
    }
    for (uint32_t h = heights.tip == SOREX_HEIGHT_NONE ? 0 : heights.tip + 1; h <= tip; h++) {
        struct entry entry;
        buf_reset(&block);
        MUST(w->source->type->hash_at(w->source, h, hash, &err));
        MUST(w->source->type->fetch(w->source, h, hash, &block, &err));
        MUST(block_header_parse(buf_view(&block), &entry, &err));
        entry.height = h;
        MUST(store_begin(w->store, &entry, &err));
        MUST(store_commit(w->store, false, &err));
    }
    MUST(store_flush(w->store, &err));
    deriver_look(w->deriver);
    buf_deinit(&block);
}

struct outcome {
    struct deriver_status status;
    uint8_t digest[SHA256_BYTES];
};

static void drain(struct world *w, struct outcome *out)
{
    bool drained;
    struct database *database;
    deriver_drain(w->deriver, DRAIN_MS, &drained);
    deriver_status(w->deriver, &out->status);
    if (!drained)
        fail_msg("not drained: %s, %s", sink_state_name(out->status.state), out->status.why);
    MUST(chained_fork(deriver_chained(w->deriver), SOREX_HEIGHT_NONE, &database, NULL, &err));
    MUST(database_digest(database, out->digest, &err));
    database_close(database);
}

static void straight(struct source *source, struct outcome *out)
{
    struct world w;
    world_new(&w, source);
    index_all(&w);
    drain(&w, out);
    assert_int_equal(out->status.undone, 0);
    world_end(&w);
}

static void same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->status.height, b->status.height);
    assert_int_equal(a->status.messages, b->status.messages);
    assert_memory_equal(a->status.key, b->status.key, SHA256_BYTES);
    assert_memory_equal(a->status.trace, b->status.trace, SHA256_BYTES);
    assert_memory_equal(a->digest, b->digest, SHA256_BYTES);
}

static struct source *source_new(uint32_t count)
{
    struct source *source;
    MUST(memory_open(&source, &err));
    MUST(memory_extend(source, count, 0, &err));
    return source;
}

/* Each fork while the one before may still be derived. */
static void forks_while_it_derives(void **state)
{
    (void)state;
    static const uint32_t depths[] = {1, 3, 8, 50, 21, 2, 34};
    struct source *source = source_new(80);
    struct world w;
    struct outcome is, wanted;
    uint32_t tip = 79;
    world_new(&w, source);
    index_all(&w);
    drain(&w, &is);
    for (uint32_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        uint32_t back = depths[i] < tip ? tip - depths[i] : 0;
        MUST(memory_fork(source, back, i % 3 == 2 ? 1 : depths[i] + 1, i + 1, &err));
        tip = back + (i % 3 == 2 ? 1 : depths[i] + 1);
        index_all(&w);
        if (i == 3) { /* in the middle of it */
            world_close(&w);
            world_open(&w, source);
        }
    }
    drain(&w, &is);
    assert_int_equal(is.status.height, tip);
    straight(source, &wanted);
    same(&is, &wanted);
    world_end(&w);
    source->type->close(source);
}

/* Heights that the store has let go of come from the source. */
static void it_begins_below_what_the_store_retains(void **state)
{
    (void)state;
    struct source *source = source_new(140);
    struct world w;
    struct outcome is, wanted;
    struct store_heights heights;
    world_new(&w, source);
    deriver_stop(w.deriver);
    index_all(&w);
    store_heights(w.store, &heights);
    assert_true(heights.horizon > 50);
    MUST(deriver_start(w.deriver, &err));
    drain(&w, &is);
    assert_int_equal(is.status.height, 139);
    straight(source, &wanted);
    same(&is, &wanted);
    world_end(&w);
    source->type->close(source);
}

static void a_source_that_fails_is_asked_again(void **state)
{
    (void)state;
    struct source *source = source_new(30);
    struct world w;
    struct outcome is, wanted;
    world_new(&w, source);
    index_all(&w);
    drain(&w, &is);
    deriver_stop(w.deriver);
    MUST(memory_extend(source, 10, 0, &err));
    index_all(&w);
    memory_fail(source, MEMORY_FETCH, 3, 2, SOREX_AGAIN, "no connection");
    MUST(deriver_start(w.deriver, &err));
    drain(&w, &is);
    assert_int_equal(is.status.height, 39);
    straight(source, &wanted);
    same(&is, &wanted);
    world_end(&w);
    source->type->close(source);
}

/* Block files that nobody asked for their tip yet know no block. */
static void a_source_that_was_only_just_opened_says_gone_once(void **state)
{
    (void)state;
    struct source *source = source_new(12);
    struct world w;
    struct outcome is;
    world_new(&w, source);
    deriver_stop(w.deriver);
    index_all(&w);
    memory_fail(source, MEMORY_FETCH, 0, 1, SOREX_GONE, "no such block");
    MUST(deriver_start(w.deriver, &err));
    drain(&w, &is);
    assert_int_equal(deriver_failure(w.deriver, &err), SOREX_OK);
    assert_int_equal(is.status.height, 11);
    world_end(&w);
    source->type->close(source);
}

static void it_stops_while_the_source_stalls(void **state)
{
    (void)state;
    struct source *source = source_new(5);
    struct world w;
    world_new(&w, source);
    deriver_stop(w.deriver);
    index_all(&w);
    memory_stall(source, MEMORY_FETCH, true);
    MUST(deriver_start(w.deriver, &err));
    assert_true(memory_stalled(source, MEMORY_FETCH, 1, DRAIN_MS));
    world_end(&w);
    source->type->close(source);
}

static void a_block_that_is_there_no_more_is_named(void **state)
{
    (void)state;
    struct source *source = source_new(30);
    struct world w;
    struct deriver_status status;
    bool drained;
    world_new(&w, source);
    deriver_stop(w.deriver);
    index_all(&w);
    MUST(memory_spoil(source, 20, MEMORY_MISSING, &err));
    MUST(deriver_start(w.deriver, &err));
    deriver_drain(w.deriver, DRAIN_MS, &drained);
    assert_false(drained);
    assert_int_equal(deriver_failure(w.deriver, &err), SOREX_GONE);
    assert_non_null(strstr(err.text, "reducer days: height 20: the source has this block no more"));
    deriver_status(w.deriver, &status);
    assert_int_equal(status.state, SINK_FAILED);
    assert_int_equal(status.height, 19);
    world_end(&w);
    source->type->close(source);
}

static enum sorex_status blocks_on(void *user_data, const struct chained_place *place, bool *out,
                                   struct sorex_error *why)
{
    return chain_blocks_has(user_data, place, out, why);
}

static enum sorex_status blocks_entry(void *user_data, uint32_t height, struct entry *out, struct sorex_error *why)
{
    return chain_blocks_fetch(user_data, height, out, why);
}

static enum sorex_status past_of(struct world *w, uint32_t height, uint8_t digest[SHA256_BYTES])
{
    struct chain_blocks blocks = {.store = w->store, .source = w->source};
    const struct chained_chain chain = {blocks_on, blocks_entry, &blocks};
    struct buf wasm = {0};
    struct database *database = NULL;
    MUST(file_read(w->wasm, SOREX_MODULE_BYTES_MAX, &wasm, &err));
    const struct chained_options options = {
        .name = w->name, .dir = w->dir, .wasm = buf_view(&wasm), .settings = &w->settings.derive};
    struct chained *of = deriver_chained(w->deriver);
    enum sorex_status status = chained_at(&options, of, height, &chain, chained_program(of), &database, &err);
    if (status == SOREX_OK)
        MUST(database_digest(database, digest, &err));
    database_close(database);
    chain_blocks_deinit(&blocks);
    buf_deinit(&wasm);
    return status;
}

/* Snapshots of two branches are there; those of the one that was left are not taken. */
static void states_in_the_past(void **state)
{
    (void)state;
    static const uint32_t heights[] = {24, 60};
    struct source *source = source_new(70);
    struct world w;
    struct outcome is, wanted;
    uint8_t digest[SHA256_BYTES];
    world_new(&w, source);
    index_all(&w);
    drain(&w, &is);
    MUST(memory_fork(source, 40, 39, 1, &err));
    index_all(&w);
    drain(&w, &is);
    for (size_t i = 0; i < sizeof heights / sizeof *heights; i++) {
        struct source *part = source_new(heights[i] <= 40 ? heights[i] + 1 : 41);
        if (heights[i] > 40)
            MUST(memory_extend(part, heights[i] - 40, 1, &err));
        straight(part, &wanted);
        MUST(past_of(&w, heights[i], digest));
        assert_memory_equal(digest, wanted.digest, SHA256_BYTES);
        part->type->close(part);
    }
    assert_int_equal(past_of(&w, 80, digest), SOREX_GONE);
    assert_non_null(strstr(err.text, "has the heights 0 to 79"));
    MUST(memory_spoil(source, 52, MEMORY_MISSING, &err));
    MUST(past_of(&w, 51, digest));
    assert_int_equal(past_of(&w, 60, digest), SOREX_GONE);
    assert_non_null(strstr(err.text, "height 52: the source has this block no more"));
    w.settings.derive.fuel = 12345678;
    assert_int_equal(past_of(&w, 51, digest), SOREX_MISMATCH);
    world_end(&w);
    source->type->close(source);
}

static int set_up(void **state)
{
    (void)state;
    return place_program_take(NULL, true, &program, &err) == SOREX_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    place_program_give(program);
    return 0;
}

int main(void)
{
    log_level_set(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forks_while_it_derives),
        cmocka_unit_test(it_begins_below_what_the_store_retains),
        cmocka_unit_test(a_source_that_fails_is_asked_again),
        cmocka_unit_test(a_source_that_was_only_just_opened_says_gone_once),
        cmocka_unit_test(it_stops_while_the_source_stalls),
        cmocka_unit_test(states_in_the_past),
        cmocka_unit_test(a_block_that_is_there_no_more_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
