#include "guests/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/sha256.h"
#include "change/change.h"

static void must(enum sorex_status status, const struct sorex_error *err)
{
    if (status != SOREX_OK)
        fail_msg("%s: %s", sorex_status_name(status), err->text);
}

static void read_guest(const char *name, struct buf *out)
{
    struct sorex_error err = {0};
    char path[4096];
    const char *dir = getenv("SOREX_GUESTS");
    assert_non_null(dir);
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    must(file_read(path, (size_t)1 << 30, out, &err), &err);
}

void world_init(struct world *world)
{
    struct buf wasm = {0};
    struct sorex_error err = {0};
    *world = (struct world){0};
    read_guest("utxo.wasm", &wasm);
    must(indexer_new(buf_view(&wasm), &(struct indexer_options){.name = "utxo"}, &world->utxo, &err), &err);
    buf_reset(&wasm);
    read_guest("balances.wasm", &wasm);
    must(transform_new(buf_view(&wasm), &(struct transform_options){.name = "balances"}, &world->balances, &err), &err);
    buf_deinit(&wasm);
    must(json_parser_new(&world->parser, &err), &err);
    memory_state_init(&world->state, NULL);
    memory_state_init(&world->rows, NULL);
    arena_init(&world->arena, 0);
}

void world_deinit(struct world *world)
{
    indexer_free(world->utxo);
    transform_free(world->balances);
    json_parser_free(world->parser);
    memory_state_deinit(&world->state);
    memory_state_deinit(&world->rows);
    arena_deinit(&world->arena);
    buf_deinit(&world->last_changes);
}

static enum sorex_status take_change(void *user_data, struct bytes json, struct sorex_error *err)
{
    struct world *world = user_data;
    struct change change;
    struct bytes row;
    bool found;
    arena_reset(&world->arena);
    must(change_parse(world->parser, json, &world->arena, &change, err), err);
    must(change_validate(&change, world->height, world->hash, true, err), err);
    assert_true(bytes_is(change.table, "balances"));
    assert_true(bytes_is(change.source, "balances"));
    must(memory_state_get(&world->rows, change.key, &row, &found, err), err);
    found = found && row.len > 0;
    assert_int_equal(found, change.operation != CHANGE_CREATE);
    if (found)
        assert_true(bytes_equal(row, change.before));
    if (change.operation == CHANGE_DELETE)
        change.after = bytes_of(NULL, 0);
    must(memory_state_put(&world->rows, change.key, change.after, err), err);
    world->changes++;
    must(buf_append(&world->last_changes, json, err), err);
    must(buf_append_u8(&world->last_changes, '\n', err), err);
    return SOREX_OK;
}

static enum sorex_status take_view(void *user_data, struct bytes name, struct bytes input, struct buf *out,
                                   bool *out_failed, struct sorex_error *err)
{
    struct world *world = user_data;
    struct state_reader reader = memory_state_reader(&world->state);
    struct guest_cost cost;
    *out_failed = false;
    return indexer_view(world->utxo, name, world->height, input, &reader, out, &cost, NULL, err);
}

static void transform_block(struct world *world, struct bytes block)
{
    struct entry entry = {
        .height = world->height, .time_ms = (uint64_t)u32le_get(block.data + 68) * 1000, .payload = block};
    struct memory_state own;
    struct transform_result result;
    struct sorex_error err = {0};
    memcpy(entry.hash, world->hash, HASH_BYTES);
    memcpy(entry.parent, block.data + 4, HASH_BYTES);
    memory_state_init(&own, NULL);
    buf_reset(&world->last_changes);
    struct transform_host host = {.state = memory_state_reader(&own),
                                  .writes = memory_state_writer(&own),
                                  .pages = memory_state_reader(&own),
                                  .page_writes = memory_state_writer(&own),
                                  .view = take_view,
                                  .change = take_change,
                                  .user_data = world};
    must(transform_run(world->balances, &entry, &host, &result, &err), &err);
    memory_state_deinit(&own);
}

enum sorex_status world_try(struct world *world, struct bytes block)
{
    struct state_reader reader = memory_state_reader(&world->state);
    struct state_writer writer = memory_state_writer(&world->state);
    struct indexer_result result;
    enum sorex_status status = indexer_run(world->utxo, world->height, block, &reader, &writer, &result, &world->err);
    if (status != SOREX_OK)
        return status;
    sha256_double(bytes_of(block.data, 80), world->hash);
    transform_block(world, block);
    world->height++;
    return SOREX_OK;
}

void world_add(struct world *world, struct bytes block) { must(world_try(world, block), &world->err); }

void world_view(struct world *world, const char *name, struct bytes input, struct buf *out)
{
    struct state_reader reader = memory_state_reader(&world->state);
    struct guest_cost cost;
    struct sorex_error err = {0};
    must(indexer_view(world->utxo, bytes_str(name), world->height - 1, input, &reader, out, &cost, NULL, &err), &err);
}

uint64_t world_balance(struct world *world, struct bytes script)
{
    struct buf out = {0};
    world_view(world, "balance", script, &out);
    assert_int_equal(out.len, 8);
    uint64_t balance = u64le_get(out.data);
    buf_deinit(&out);
    return balance;
}

struct world_totals world_totals(struct world *world)
{
    struct buf out = {0};
    world_view(world, "supply", bytes_of(NULL, 0), &out);
    assert_int_equal(out.len, 24);
    struct world_totals totals = {u64le_get(out.data), u64le_get(out.data + 8), u64le_get(out.data + 16)};
    buf_deinit(&out);
    return totals;
}

static enum sorex_status sum_pair(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct world_sums *sums = user_data;
    (void)err;
    assert_true(key.len > 0);
    if (value.len == 0)
        return SOREX_OK;
    if (key.data[0] == 'u') {
        assert_int_equal(key.len, 37);
        sums->outputs++;
        sums->output_value += u64le_get(value.data);
    } else if (key.data[0] == 'b') {
        assert_int_equal(value.len, 8);
        assert_true(u64le_get(value.data) > 0);
        sums->balances++;
        sums->balance_value += u64le_get(value.data);
    }
    return SOREX_OK;
}

struct world_sums world_sums(struct world *world)
{
    struct world_sums sums = {0};
    struct sorex_error err = {0};
    must(memory_state_scan(&world->state, sum_pair, &sums, &err), &err);
    return sums;
}

struct row_sum {
    struct world_sums sums;
    struct json_parser *parser;
};

static enum sorex_status sum_row(void *user_data, struct bytes key, struct bytes row, struct sorex_error *err)
{
    struct row_sum *sum = user_data;
    struct json_doc doc;
    uint64_t balance;
    (void)key;
    if (row.len == 0)
        return SOREX_OK;
    must(json_parse(sum->parser, row, &doc, err), err);
    assert_true(json_u64(json_member(&doc, &doc.nodes[0], "balance"), &balance));
    sum->sums.balances++;
    sum->sums.balance_value += balance;
    return SOREX_OK;
}

struct world_sums world_rows(struct world *world)
{
    struct row_sum sum = {.parser = world->parser};
    struct sorex_error err = {0};
    must(memory_state_scan(&world->rows, sum_row, &sum, &err), &err);
    return sum.sums;
}
