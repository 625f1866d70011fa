/* utxo and balances, rule by rule, on blocks made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/codec.h"
#include "guests/block_builder.h"
#include "guests/world.h"

#define COIN UINT64_C(100000000)

static struct bytes script_a(void) { return bytes_str("\x51\x01"); }
static struct bytes script_b(void) { return bytes_str("\x51\x02"); }
static struct bytes script_c(void) { return bytes_str("\x51\x03"); }

static int setup(void **state)
{
    static struct world world;
    static struct buf block;
    struct made_tx genesis = made_coinbase(0, 50 * COIN, script_a());
    world_init(&world);
    block = (struct buf){0};
    block_make(&block, 1000, &genesis, 1);
    world_add(&world, buf_view(&block));
    buf_deinit(&block);
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    world_deinit(*state);
    return 0;
}

static void add(struct world *world, struct made_tx *txs, size_t count)
{
    struct buf block = {0};
    block_make(&block, 1000 + world->height, txs, count);
    world_add(world, buf_view(&block));
    buf_deinit(&block);
    struct world_totals totals = world_totals(world);
    struct world_sums sums = world_sums(world), rows = world_rows(world);
    assert_int_equal(sums.output_value, totals.supply);
    assert_int_equal(sums.outputs, totals.unspent);
    assert_int_equal(sums.balance_value, totals.supply);
    assert_int_equal(rows.balance_value, totals.supply);
    assert_int_equal(rows.balances, sums.balances);
}

/* A transaction that spends output 0 of `from` and pays value to script. */
static struct made_tx payment(const struct made_tx *from, uint64_t value, struct bytes script)
{
    struct made_tx tx = {.input_count = 1, .output_count = 1};
    memcpy(tx.inputs[0].txid, from->txid, 32);
    tx.outputs[0] = (struct made_output){value, script};
    return tx;
}

static size_t count_changes(const struct world *world)
{
    size_t n = 0;
    for (size_t i = 0; i < world->last_changes.len; i++)
        n += world->last_changes.data[i] == '\n';
    return n;
}

static bool last_changes_have(struct world *world, const char *text)
{
    assert_int_equal(buf_append_u8(&world->last_changes, 0, NULL), SOREX_OK);
    world->last_changes.len--;
    return world->last_changes.len > 0 && strstr((const char *)world->last_changes.data, text) != NULL;
}

static void the_genesis_output_is_left_out(void **state)
{
    struct world *world = *state;
    assert_int_equal(world_totals(world).supply, 0);
    assert_int_equal(world_sums(world).outputs, 0);
    assert_int_equal(world_balance(world, script_a()), 0);
    assert_int_equal(count_changes(world), 0);
}

static void create_update_delete(void **state)
{
    struct world *world = *state;
    struct made_tx first = made_coinbase(1, 50 * COIN, script_a());
    add(world, &first, 1);
    assert_int_equal(world_balance(world, script_a()), 50 * COIN);
    assert_true(last_changes_have(world, "\"operation\":\"create\",\"table\":\"balances\",\"key\":\"5101\","
                                         "\"after\":{\"kind\":\"other\",\"balance\":5000000000}}"));
    assert_true(last_changes_have(world, "\"timestamp\":1001000,\"block_height\":1,"));

    struct made_tx second = made_coinbase(2, 50 * COIN, script_a());
    add(world, &second, 1);
    assert_int_equal(world_balance(world, script_a()), 100 * COIN);
    assert_int_equal(count_changes(world), 1);
    assert_true(last_changes_have(world, "\"operation\":\"update\""));
    assert_true(last_changes_have(world, "\"balance\":5000000000},\"after\":"));

    struct made_tx txs[3] = {made_coinbase(3, 50 * COIN, script_b()), payment(&first, 50 * COIN, script_b()),
                             payment(&second, 50 * COIN, script_b())};
    add(world, txs, 3);
    assert_int_equal(world_balance(world, script_a()), 0);
    assert_int_equal(world_balance(world, script_b()), 150 * COIN);
    assert_int_equal(count_changes(world), 2);
    assert_true(last_changes_have(world, "\"operation\":\"delete\",\"table\":\"balances\",\"key\":\"5101\""));
}

static void the_view_utxo_gives_value_and_script_until_spent(void **state)
{
    struct world *world = *state;
    struct made_tx first = made_coinbase(1, 50 * COIN, script_a());
    uint8_t outpoint[36] = {0};
    struct buf out = {0};
    add(world, &first, 1);
    memcpy(outpoint, first.txid, 32);
    world_view(world, "utxo", bytes_of(outpoint, 36), &out);
    assert_int_equal(out.len, 8 + script_a().len);
    assert_int_equal(u64le_get(out.data), 50 * COIN);
    assert_true(bytes_equal(bytes_of(out.data + 8, out.len - 8), script_a()));
    buf_reset(&out);
    outpoint[32] = 1;
    world_view(world, "utxo", bytes_of(outpoint, 36), &out);
    assert_int_equal(out.len, 0);

    struct made_tx txs[2] = {made_coinbase(2, 50 * COIN, script_b()), payment(&first, 50 * COIN, script_c())};
    add(world, txs, 2);
    outpoint[32] = 0;
    world_view(world, "utxo", bytes_of(outpoint, 36), &out);
    assert_int_equal(out.len, 0);
    buf_deinit(&out);
}

static enum sorex_status count_outputs(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    size_t *count = user_data;
    (void)value;
    (void)err;
    *count += key.data[0] == 'u';
    return SOREX_OK;
}

/* a -> b -> c -> a inside one block: what lies between never reaches the state, and who ends where he began is not
 * listed. */
static void outputs_spent_in_their_own_block_leave_no_key(void **state)
{
    struct world *world = *state;
    struct made_tx first = made_coinbase(1, 50 * COIN, script_a());
    size_t keys = 0;
    add(world, &first, 1);
    struct made_tx txs[4] = {made_coinbase(2, 50 * COIN, bytes_str("\x51\x04")),
                             payment(&first, 50 * COIN, script_b())};
    made_txid(&txs[1]);
    txs[2] = payment(&txs[1], 50 * COIN, script_c());
    made_txid(&txs[2]);
    txs[3] = payment(&txs[2], 50 * COIN, script_a());
    add(world, txs, 4);
    assert_int_equal(world_balance(world, script_a()), 50 * COIN);
    assert_int_equal(world_balance(world, script_b()), 0);
    assert_int_equal(count_changes(world), 1);
    assert_int_equal(memory_state_scan(&world->state, count_outputs, &keys, NULL), SOREX_OK);
    assert_int_equal(keys, 3); /* first (spent: empty), the second coinbase, the last payment */
    assert_int_equal(world_totals(world).unspent, 2);
}

static void what_cannot_be_spent_is_left_out(void **state)
{
    struct world *world = *state;
    static uint8_t long_script[10001], longest[10000];
    struct made_tx tx = made_coinbase(1, 1 * COIN,
                                      bytes_str("\x6a\x04"
                                                "data"));
    tx.outputs[1] = (struct made_output){2 * COIN, bytes_of(long_script, sizeof long_script)};
    tx.outputs[2] = (struct made_output){3 * COIN, bytes_of(longest, sizeof longest)};
    tx.outputs[3] = (struct made_output){4 * COIN, bytes_of(NULL, 0)};
    tx.output_count = 4;
    add(world, &tx, 1);
    assert_int_equal(world_totals(world).supply, 7 * COIN);
    assert_int_equal(world_totals(world).unspent, 2);
    assert_int_equal(world_balance(world, bytes_of(longest, sizeof longest)), 3 * COIN);
    assert_int_equal(world_balance(world, bytes_of(NULL, 0)), 4 * COIN);
    assert_true(last_changes_have(world, "\"key\":\"empty\""));
    /* SHA-256 of 10,000 zero bytes, as sha256sum prints it. */
    assert_true(last_changes_have(
        world, "\"key\":\"sha256:95b532cc4381affdff0d956e12520a04129ed49d37e154228368fe5621f0b9a2\""));
    assert_true(last_changes_have(world, "\"after\":{\"script\":\"00000000"));
}

/* BIP 30: the second coinbase has the first one's txid; what the first one paid is gone. */
static void a_repeated_coinbase_takes_the_place_of_the_first(void **state)
{
    struct world *world = *state;
    struct made_tx first = made_coinbase(1, 50 * COIN, script_a()), other = made_coinbase(2, 50 * COIN, script_b());
    add(world, &first, 1);
    add(world, &other, 1);
    add(world, &first, 1);
    assert_int_equal(world_totals(world).supply, 100 * COIN);
    assert_int_equal(world_totals(world).unspent, 2);
    assert_int_equal(world_balance(world, script_a()), 50 * COIN);
    assert_int_equal(count_changes(world), 0);
}

static void a_repeated_coinbase_after_a_spend_is_a_new_output(void **state)
{
    struct world *world = *state;
    struct made_tx first = made_coinbase(1, 50 * COIN, script_a());
    add(world, &first, 1);
    struct made_tx txs[2] = {made_coinbase(2, 50 * COIN, script_b()), payment(&first, 50 * COIN, script_c())};
    add(world, txs, 2);
    add(world, &first, 1);
    assert_int_equal(world_totals(world).supply, 150 * COIN);
    assert_int_equal(world_balance(world, script_a()), 50 * COIN);
}

static void a_spend_of_the_unknown_is_counted(void **state)
{
    struct world *world = *state;
    struct made_tx never = made_coinbase(9, 1, script_c());
    made_txid(&never);
    struct made_tx txs[2] = {made_coinbase(1, 50 * COIN, script_a()), payment(&never, 7 * COIN, script_b())};
    add(world, txs, 2);
    assert_int_equal(world_totals(world).unknown, 1);
    assert_int_equal(world_totals(world).supply, 57 * COIN);
}

static void witnesses_do_not_change_the_txid(void **state)
{
    struct world *world = *state;
    struct made_tx first = made_coinbase(1, 50 * COIN, script_a());
    first.witness = true;
    add(world, &first, 1);
    struct made_tx txs[2] = {made_coinbase(2, 50 * COIN, script_b()), payment(&first, 50 * COIN, script_c())};
    txs[1].witness = true;
    add(world, txs, 2);
    assert_int_equal(world_totals(world).unknown, 0);
    assert_int_equal(world_balance(world, script_c()), 50 * COIN);
    assert_int_equal(world_balance(world, script_a()), 0);
}

/* Fails as the guest's own error, with nothing written. */
static void refused(struct world *world, struct bytes block)
{
    struct world_sums before = world_sums(world);
    uint32_t height = world->height;
    assert_int_equal(world_try(world, block), SOREX_GUEST);
    struct world_sums after = world_sums(world);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(world->height, height);
}

static void a_broken_block_changes_nothing(void **state)
{
    struct world *world = *state;
    struct made_tx first = made_coinbase(1, 50 * COIN, script_a());
    struct buf block = {0};
    add(world, &first, 1);
    struct made_tx txs[2] = {made_coinbase(2, 50 * COIN, script_b()), payment(&first, 50 * COIN, script_c())};
    block_make(&block, 1, txs, 2);
    refused(world, bytes_of(block.data, block.len - 1));
    refused(world, bytes_of(block.data, 80));
    refused(world, bytes_of(block.data, 79));
    assert_int_equal(buf_append_u8(&block, 0, NULL), SOREX_OK);
    refused(world, buf_view(&block));
    world_add(world, bytes_of(block.data, block.len - 1));
    buf_deinit(&block);
}

static void a_double_spend_inside_a_block_is_refused(void **state)
{
    struct world *world = *state;
    struct made_tx first = made_coinbase(1, 50 * COIN, script_a());
    struct buf block = {0};
    add(world, &first, 1);
    struct made_tx txs[4] = {made_coinbase(2, 50 * COIN, script_b()), payment(&first, 50 * COIN, script_b())};
    made_txid(&txs[1]);
    txs[2] = payment(&txs[1], 50 * COIN, script_a());
    txs[3] = payment(&txs[1], 50 * COIN, script_c());
    block_make(&block, 1, txs, 4);
    refused(world, buf_view(&block));
    buf_deinit(&block);
}

int main(void)
{
#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        RULE(the_genesis_output_is_left_out),
        RULE(create_update_delete),
        RULE(the_view_utxo_gives_value_and_script_until_spent),
        RULE(outputs_spent_in_their_own_block_leave_no_key),
        RULE(what_cannot_be_spent_is_left_out),
        RULE(a_repeated_coinbase_takes_the_place_of_the_first),
        RULE(a_repeated_coinbase_after_a_spend_is_a_new_output),
        RULE(a_spend_of_the_unknown_is_counted),
        RULE(witnesses_do_not_change_the_txid),
        RULE(a_broken_block_changes_nothing),
        RULE(a_double_spend_inside_a_block_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
