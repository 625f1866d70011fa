/* Golden traces: what the chain makes of forks of every shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/limits.h"
#include "follower.h"

static void fork_at(struct follower *f, uint32_t height, uint32_t count, uint32_t branch)
{
    assert_int_equal(memory_fork(f->source, height, count, branch, NULL), SOREX_OK);
}

static void begin(struct follower *f, uint32_t blocks)
{
    char expected[64];
    follower_init(f, blocks);
    follower_start(f);
    follower_catch_up(f);
    (void)snprintf(expected, sizeof expected, "entry 0..%u\nidle at the tip\n", blocks - 1);
    follower_assert_trace(f, expected);
}

static void end(struct follower *f)
{
    follower_assert_same(f);
    follower_deinit(f);
}

static void grows(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 10);
    assert_int_equal(memory_extend(f.source, 1, 0, NULL), SOREX_OK);
    follower_catch_up(&f);
    assert_int_equal(memory_extend(f.source, 200, 0, NULL), SOREX_OK);
    follower_catch_up(&f);
    follower_assert_trace(&f, "entry 10\nidle at the tip\nentry 11..210\nidle at the tip\n");
    end(&f);
}

static void one_deep_and_longer(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 10);
    fork_at(&f, 8, 2, 1);
    follower_catch_up(&f);
    follower_assert_trace(&f, "undo 8\nentry 9..10\nidle at the tip\n");
    end(&f);
}

static void one_deep_and_ten_ahead(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 10);
    fork_at(&f, 8, 11, 1);
    follower_catch_up(&f);
    follower_assert_trace(&f, "undo 8\nentry 9..19\nidle at the tip\n");
    end(&f);
}

static void replaced_at_the_same_height(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 10);
    fork_at(&f, 8, 1, 1);
    follower_catch_up(&f);
    follower_assert_trace(&f, "undo 8\nentry 9\nidle at the tip\n");
    end(&f);
}

static void two_deep_and_one_longer(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 10);
    fork_at(&f, 7, 3, 1);
    follower_catch_up(&f);
    follower_assert_trace(&f, "undo 7\nentry 8..10\nidle at the tip\n");
    end(&f);
}

static void shorter_with_another_tip(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 10);
    fork_at(&f, 4, 2, 1);
    follower_catch_up(&f);
    follower_assert_trace(&f, "undo 4\nentry 5..6\nidle at the tip\n");
    end(&f);
}

static void down_to_genesis(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 10);
    fork_at(&f, 0, 12, 1);
    follower_catch_up(&f);
    follower_assert_trace(&f, "undo 0\nentry 1..12\nidle at the tip\n");
    end(&f);
}

static void a_prefix_is_waited_for(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 10);
    fork_at(&f, 6, 0, 0);
    follower_run(&f, "source is behind");
    follower_assert_trace(&f, "idle source is behind: its tip is 6, ours is 9\n");
    fork_at(&f, 6, 5, 0);
    follower_catch_up(&f);
    follower_assert_trace(&f, "entry 10..11\nidle at the tip\n");
    end(&f);
}

static void a_prefix_that_turns_into_a_fork(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 10);
    fork_at(&f, 6, 0, 0);
    follower_run(&f, "source is behind");
    fork_at(&f, 6, 1, 1);
    follower_catch_up(&f);
    follower_assert_trace(&f, "idle source is behind: its tip is 6, ours is 9\nundo 6\nentry 7\nidle at the tip\n");
    end(&f);
}

static void comes_back(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 20);
    fork_at(&f, 13, 8, 1);
    follower_catch_up(&f);
    fork_at(&f, 13, 9, 0);
    follower_catch_up(&f);
    follower_assert_trace(&f, "undo 13\nentry 14..21\nidle at the tip\nundo 13\nentry 14..22\nidle at the tip\n");
    end(&f);
}

/* The search costs a number of questions that grows with the logarithm of the depth. */
static void deep(uint32_t depth, uint32_t questions_max)
{
    struct follower f;
    char expected[128];
    begin(&f, 1500);
    fork_at(&f, 1499 - depth, depth + 1, 1);
    f.source->type->interrupt(f.source); /* nothing is under way: no effect */
    uint64_t before = memory_calls(f.source, MEMORY_HASH_AT);
    uint64_t questions = 0;
    for (struct chain_event event = {0}; event.kind != CHAIN_UNDO;) {
        assert_int_equal(chain_next(f.chain, 5000, &event, NULL), SOREX_OK);
        assert_true(event.kind != CHAIN_ENTRY);
        questions = memory_calls(f.source, MEMORY_HASH_AT) - before;
        if (event.kind == CHAIN_UNDO) {
            assert_int_equal(event.height, 1499 - depth);
            f.own_count = event.height + 1;
        }
    }
    assert_in_range(questions, 1, questions_max);
    follower_catch_up(&f);
    (void)snprintf(expected, sizeof expected, "entry %u..1500\nidle at the tip\n", 1500 - depth);
    follower_assert_trace(&f, expected);
    end(&f);
}

static void depths(void **state)
{
    (void)state;
    deep(1, 4);
    deep(6, 12);
    deep(100, 20);
    deep(1000, 28);
}

static void fork_while_stopped(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 50);
    fork_at(&f, 30, 40, 1);
    follower_start(&f);
    follower_catch_up(&f);
    follower_assert_trace(&f, "undo 30\nentry 31..70\nidle at the tip\n");
    end(&f);
}

/* Blocks of the branch that was left are in the read-ahead: they may still be given out, and then they are undone. */
static void fork_below_the_read_ahead(void **state)
{
    struct follower f;
    struct chain_event event;
    (void)state;
    follower_init(&f, 100);
    f.options.read_ahead = 16;
    follower_start(&f);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(follower_take(&f, &event, 5000), SOREX_OK);
        assert_int_equal(event.kind, CHAIN_ENTRY);
    }
    fork_at(&f, 4, 100, 1);
    follower_catch_up(&f);
    end(&f);
}

static void beyond_the_horizon(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 100);
    f.horizon = 90;
    fork_at(&f, 90, 20, 1);
    follower_catch_up(&f);
    follower_assert_trace(&f, "undo 90\nentry 91..110\nidle at the tip\n");
    fork_at(&f, 89, 40, 2);
    assert_int_equal(follower_run_to_error(&f), SOREX_GONE);
    assert_non_null(strstr(f.error.text, "below the horizon, height 90"));
    assert_non_null(strstr(f.error.text, "ours ends at 110"));
    follower_deinit(&f);
}

/* A node that starts over is far below the horizon: that is no fork. */
static void behind_the_horizon(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 100);
    f.horizon = 90;
    fork_at(&f, 10, 0, 0);
    follower_run(&f, "source is behind");
    follower_assert_trace(&f, "idle source is behind: its tip is 10, ours is 99\n");
    fork_at(&f, 10, 95, 0);
    follower_catch_up(&f);
    follower_assert_trace(&f, "entry 100..105\nidle at the tip\n");
    end(&f);
}

static void other_network(void **state)
{
    struct follower f;
    (void)state;
    begin(&f, 10);
    fork_at(&f, SOREX_HEIGHT_NONE, 20, 7);
    assert_int_equal(follower_run_to_error(&f), SOREX_MISMATCH);
    assert_non_null(strstr(f.error.text, "another network"));
    follower_start(&f);
    assert_int_equal(follower_run_to_error(&f), SOREX_MISMATCH);
    follower_deinit(&f);
}

/* The genesis block is pruned away, but the store remembers its hash. */
static void other_network_with_a_horizon(void **state)
{
    struct follower f;
    uint8_t network[HASH_BYTES];
    (void)state;
    begin(&f, 10);
    assert_true(chain_network(f.chain, network));
    assert_memory_equal(network, f.own[0], HASH_BYTES);
    f.horizon = 5;
    f.options.network = network;
    fork_at(&f, SOREX_HEIGHT_NONE, 20, 7);
    follower_start(&f);
    assert_int_equal(follower_run_to_error(&f), SOREX_MISMATCH);
    follower_deinit(&f);
}

static void start_height(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 10);
    f.options.start_height = 20;
    follower_start(&f);
    follower_run(&f, "source is behind");
    assert_int_equal(memory_extend(f.source, 20, 0, NULL), SOREX_OK);
    follower_catch_up(&f);
    follower_assert_trace(
        &f, "idle source is behind: its tip is 9, the start height is 20\nentry 20..29\nidle at the tip\n");
    end(&f);
}

/* A fork at or below the first entry: undone when the network is known to be ours, refused when it is not. */
static void fork_below_the_start(void **state)
{
    struct follower f;
    uint8_t network[HASH_BYTES];
    (void)state;
    follower_init(&f, 30);
    f.options.start_height = 20;
    follower_start(&f);
    follower_catch_up(&f);
    assert_true(chain_network(f.chain, network));
    fork_at(&f, 15, 20, 1);
    assert_int_equal(follower_run_to_error(&f), SOREX_MISMATCH);
    f.options.network = network;
    follower_start(&f);
    follower_catch_up(&f);
    follower_assert_trace(&f, "entry 20..29\nidle at the tip\nundo all\nentry 20..35\nidle at the tip\n");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows),
        cmocka_unit_test(one_deep_and_longer),
        cmocka_unit_test(one_deep_and_ten_ahead),
        cmocka_unit_test(replaced_at_the_same_height),
        cmocka_unit_test(two_deep_and_one_longer),
        cmocka_unit_test(shorter_with_another_tip),
        cmocka_unit_test(down_to_genesis),
        cmocka_unit_test(a_prefix_is_waited_for),
        cmocka_unit_test(a_prefix_that_turns_into_a_fork),
        cmocka_unit_test(comes_back),
        cmocka_unit_test(depths),
        cmocka_unit_test(fork_while_stopped),
        cmocka_unit_test(fork_below_the_read_ahead),
        cmocka_unit_test(beyond_the_horizon),
        cmocka_unit_test(behind_the_horizon),
        cmocka_unit_test(other_network),
        cmocka_unit_test(other_network_with_a_horizon),
        cmocka_unit_test(start_height),
        cmocka_unit_test(fork_below_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
