/* utxo and balances over Bitcoin's first 14,132 blocks and over two recent ones, against what is known of them from
 * elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/codec.h"
#include "base/file.h"
#include "guests/world.h"

#define COIN UINT64_C(100000000)

static void read_source_file(const char *name, struct buf *out)
{
    struct sorex_error err = {0};
    char path[4096];
    const char *dir = getenv("SOREX_SOURCE_DIR");
    assert_non_null(dir);
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(file_read(path, (size_t)1 << 30, out, &err), SOREX_OK);
}

/* The key of block 9's coinbase, which made the first payments of all: in block 170 it gave 10 of its 50 coins to Hal
 * Finney, then 10, 1, 1 and 10 more in blocks 181, 182, 183 and 248. */
static const char first_payer[] =
    "410411db93e1dcdb8a016b49840f8c53bc1eb68a382e97b1482ecad7b148a6909a5cb2e0eaddfb84ccf9744464f8"
    "2e160bfa9b8b64f9d4c03f999b8643f656b412a3ac";

static void check_first_payer(struct world *world, uint32_t height, struct bytes script)
{
    static const struct {
        uint32_t height;
        uint64_t coins;
    } steps[] = {{8, 0}, {9, 50}, {169, 50}, {170, 40}, {181, 30}, {182, 29}, {183, 28}, {248, 18}, {14131, 18}};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (steps[i].height == height)
            assert_int_equal(world_balance(world, script), steps[i].coins * COIN);
}

static void every_coin_of_the_first_14132_blocks_is_there(void **state)
{
    (void)state;
    struct world world;
    struct buf file = {0}, script = {0};
    uint32_t magic, len;
    struct bytes raw;
    world_init(&world);
    assert_int_equal(hex_decode(bytes_str(first_payer), &script, NULL), SOREX_OK);
    read_source_file("examples/blocks/blk00000.dat", &file);
    struct reader r = reader_of(buf_view(&file));
    while (reader_left(&r) > 0) {
        assert_true(reader_u32le(&r, &magic) && reader_u32le(&r, &len) && reader_take(&r, len, &raw));
        world_add(&world, raw);
        check_first_payer(&world, world.height - 1, buf_view(&script));
    }
    assert_int_equal(world.height, 14132);

    /* 50 coins a block, all of them claimed, all fees collected, none of it destroyed; the first block's cannot be
     * spent. */
    struct world_totals totals = world_totals(&world);
    assert_int_equal(totals.supply, 14131 * 50 * COIN);
    assert_int_equal(totals.unknown, 0);
    struct world_sums sums = world_sums(&world), rows = world_rows(&world);
    assert_int_equal(sums.output_value, totals.supply);
    assert_int_equal(sums.outputs, totals.unspent);
    assert_int_equal(sums.balance_value, totals.supply);
    assert_int_equal(rows.balance_value, totals.supply);
    assert_int_equal(rows.balances, sums.balances);
    assert_true(world.changes >= 14131);
    buf_deinit(&script);
    buf_deinit(&file);
    world_deinit(&world);
}

/* The coinbases' rewards, from the blocks themselves as explorers show them, are not needed: value in equals value out
 * plus what is kept, so the sums over outputs, balances and rows must agree, whatever was unknown before. */
static void recent_blocks_balance(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        uint32_t height;
    } blocks[] = {{"tests/data/blocks/767430.bin", 767430}, {"tests/data/blocks/840243.bin", 840243}};
    struct world world;
    struct buf raw = {0};
    world_init(&world);
    for (size_t i = 0; i < 2; i++) {
        buf_reset(&raw);
        read_source_file(blocks[i].file, &raw);
        world.height = blocks[i].height;
        world_add(&world, buf_view(&raw));
        struct world_totals totals = world_totals(&world);
        struct world_sums sums = world_sums(&world), rows = world_rows(&world);
        assert_true(totals.unknown > 0 && totals.unspent > 4000);
        assert_int_equal(sums.outputs, totals.unspent);
        assert_int_equal(sums.output_value, totals.supply);
        assert_int_equal(sums.balance_value, totals.supply);
        assert_int_equal(rows.balance_value, totals.supply);
        assert_int_equal(rows.balances, sums.balances);
    }
    buf_deinit(&raw);
    world_deinit(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_coin_of_the_first_14132_blocks_is_there),
        cmocka_unit_test(recent_blocks_balance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
