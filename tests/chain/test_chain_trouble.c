/* Golden traces: what the chain makes of a source that fails, stalls or gives wrong blocks. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/limits.h"
#include "follower.h"

static void unreachable_at_start(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 10);
    memory_fail(f.source, MEMORY_TIP, 0, 2, SOREX_AGAIN, "node 127.0.0.1:1: Connection refused");
    follower_start(&f);
    follower_catch_up(&f);
    follower_assert_trace(&f, "idle node 127.0.0.1:1: Connection refused\nentry 0..9\nidle at the tip\n");
    follower_deinit(&f);
}

static void the_reason_tells_attempt_and_pause(void **state)
{
    struct follower f;
    struct chain_event event;
    (void)state;
    follower_init(&f, 10);
    memory_fail(f.source, MEMORY_TIP, 0, 2, SOREX_AGAIN, "refused");
    follower_start(&f);
    assert_int_equal(chain_next(f.chain, 5000, &event, NULL), SOREX_OK);
    assert_int_equal(event.kind, CHAIN_IDLE);
    assert_int_equal(strncmp(event.waiting, "refused, retrying in 0.0 s", 26), 0);
    assert_non_null(strstr(event.waiting, "(attempt 1)"));
    assert_int_equal(event.source_tip, SOREX_HEIGHT_NONE);
    assert_int_equal(chain_next(f.chain, 5000, &event, NULL), SOREX_OK);
    assert_non_null(strstr(event.waiting, "(attempt 2)"));
    assert_int_equal(chain_next(f.chain, 5000, &event, NULL), SOREX_OK);
    assert_int_equal(event.kind, CHAIN_ENTRY);
    assert_int_equal(event.source_tip, 9);
    follower_deinit(&f);
}

/* However short the pause: at 1 ms, the first one is rounded down to nothing, as on a machine that is busy elsewhere. */
static void every_attempt_is_told(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 5);
    f.options.retry_ms = 1;
    follower_start(&f);
    follower_catch_up(&f);
    memory_fail(f.source, MEMORY_TIP, 0, 1, SOREX_AGAIN, "node: gone");
    follower_run(&f, "node: gone");
    follower_catch_up(&f);
    follower_assert_trace(&f, "entry 0..4\nidle at the tip\nidle node: gone\nidle at the tip\n");
    follower_deinit(&f);
}

static void goes_away_in_the_middle(void **state)
{
    struct follower f;
    char expected[256];
    char hash[HASH_HEX_SIZE];
    (void)state;
    follower_init(&f, 300);
    f.options.fetch_threads = 1;
    memory_fail(f.source, MEMORY_FETCH, 150, 3, SOREX_AGAIN, "node: timed out");
    follower_start(&f);
    follower_catch_up(&f);
    hash_display(f.own[150], hash);
    (void)snprintf(expected, sizeof expected,
                   "entry 0..149\nidle height 150: block %s: node: timed out\nentry 150..299\nidle at the tip\n", hash);
    follower_assert_trace(&f, expected);
    follower_deinit(&f);
}

static void goes_away_at_the_tip(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 5);
    follower_start(&f);
    follower_catch_up(&f);
    memory_fail(f.source, MEMORY_TIP, 0, 1, SOREX_AGAIN, "node: gone");
    follower_run(&f, "node: gone");
    assert_int_equal(memory_extend(f.source, 2, 0, NULL), SOREX_OK);
    follower_catch_up(&f);
    follower_assert_trace(&f, "entry 0..4\nidle at the tip\nidle node: gone\nentry 5..6\nidle at the tip\n");
    follower_deinit(&f);
}

static void goes_away_during_a_search(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 100);
    follower_start(&f);
    follower_catch_up(&f);
    assert_int_equal(memory_fork(f.source, 49, 51, 1, NULL), SOREX_OK);
    memory_fail(f.source, MEMORY_HASH_AT, 3, 1, SOREX_AGAIN, "node: timed out");
    follower_catch_up(&f);
    follower_assert_trace(
        &f, "entry 0..99\nidle at the tip\nidle node: timed out\nundo 49\nentry 50..100\nidle at the tip\n");
    follower_assert_same(&f);
    follower_deinit(&f);
}

/* Below the search, the source's chain ends: it is asked anew. */
static void shrinks_during_a_search(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 100);
    follower_start(&f);
    follower_catch_up(&f);
    assert_int_equal(memory_fork(f.source, 49, 50, 1, NULL), SOREX_OK);
    memory_fail(f.source, MEMORY_HASH_AT, 2, 1, SOREX_GONE, "above the tip");
    follower_catch_up(&f);
    follower_assert_trace(&f, "entry 0..99\nidle at the tip\nundo 49\nentry 50..99\nidle at the tip\n");
    follower_deinit(&f);
}

static void empty_source(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 0);
    follower_start(&f);
    follower_run(&f, "no block yet");
    assert_int_equal(memory_extend(f.source, 3, 0, NULL), SOREX_OK);
    follower_catch_up(&f);
    follower_assert_trace(&f, "idle no block yet\nentry 0..2\nidle at the tip\n");
    follower_deinit(&f);
}

/* A block that stays bad: nothing of it is given out, the reason names it, and when it is good again the chain goes on.
 */
static void bad_block(enum memory_damage damage, const char *reason)
{
    struct follower f;
    follower_init(&f, 20);
    assert_int_equal(memory_spoil(f.source, 12, damage, NULL), SOREX_OK);
    follower_start(&f);
    follower_run(&f, "height 12: block ");
    assert_int_equal(f.own_count, 12);
    follower_run(&f, "height 12: block "); /* and again */
    assert_non_null(strstr((const char *)f.trace.data, reason));
    assert_int_equal(memory_spoil(f.source, 12, MEMORY_SOUND, NULL), SOREX_OK);
    follower_catch_up(&f);
    follower_assert_same(&f);
    follower_deinit(&f);
}

static void bad_blocks(void **state)
{
    (void)state;
    bad_block(MEMORY_WRONG_HASH, "another block");
    bad_block(MEMORY_BAD_MERKLE, "Merkle root");
    bad_block(MEMORY_TORN, "does not decode");
    bad_block(MEMORY_MISSING, "is missing");
}

static void bad_once_is_not_worth_a_word(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 20);
    f.options.fetch_threads = 1;
    memory_fail(f.source, MEMORY_FETCH, 12, 1, SOREX_CORRUPT, "garbage");
    follower_start(&f);
    follower_catch_up(&f);
    follower_assert_trace(&f, "entry 0..19\nidle at the tip\n");
    follower_deinit(&f);
}

static void wrong_parent(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 13);
    assert_int_equal(memory_spoil(f.source, 12, MEMORY_WRONG_PARENT, NULL), SOREX_OK);
    follower_start(&f);
    follower_run(&f, "height 12: block ");
    assert_int_equal(f.own_count, 12);
    assert_non_null(strstr((const char *)f.trace.data, "which is not the block below"));
    assert_int_equal(memory_fork(f.source, 11, 5, 0, NULL), SOREX_OK);
    follower_catch_up(&f);
    follower_assert_same(&f);
    follower_deinit(&f);
}

static void genesis_with_a_parent(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 1);
    assert_int_equal(memory_spoil(f.source, 0, MEMORY_WRONG_PARENT, NULL), SOREX_OK);
    follower_start(&f);
    follower_run(&f, "height 0: block ");
    assert_int_equal(f.own_count, 0);
    follower_deinit(&f);
}

static enum sorex_status broken_own_hash(void *user_data, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                         struct sorex_error *err)
{
    (void)user_data;
    (void)height;
    (void)out_hash;
    return sorex_error_set(err, SOREX_CORRUPT, "record does not decode");
}

/* Trouble of our store is not the source's: it stops the chain. */
static void our_own_chain_fails(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 20);
    follower_start(&f);
    follower_catch_up(&f);
    assert_int_equal(memory_fork(f.source, 11, 5, 1, NULL), SOREX_OK);
    f.options.own_hash = broken_own_hash;
    follower_start(&f);
    assert_int_equal(follower_run_to_error(&f), SOREX_FATAL);
    assert_non_null(strstr(f.error.text, "our own chain at height"));
    follower_deinit(&f);
}

static void statuses_that_stop(void **state)
{
    static const enum sorex_status statuses[] = {SOREX_INVALID, SOREX_IO, SOREX_NOMEM, SOREX_MISMATCH, SOREX_FATAL};
    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct follower f;
        follower_init(&f, 20);
        memory_fail(f.source, MEMORY_FETCH, 5, 1000, statuses[i], "no way on");
        follower_start(&f);
        assert_int_equal(follower_run_to_error(&f), statuses[i]);
        assert_non_null(strstr(f.error.text, "no way on"));
        follower_deinit(&f);
    }
}

static void several_requests_in_flight(void **state)
{
    struct follower f;
    struct chain_event event;
    (void)state;
    follower_init(&f, 100);
    f.options.fetch_threads = 6;
    memory_stall(f.source, MEMORY_FETCH, true);
    follower_start(&f);
    assert_int_equal(chain_next(f.chain, 10, &event, NULL), SOREX_OK);
    assert_int_equal(event.kind, CHAIN_IDLE);
    assert_string_equal(event.waiting, "waiting for block 0");
    assert_true(memory_stalled(f.source, MEMORY_FETCH, 6, 10000));
    memory_stall(f.source, MEMORY_FETCH, false);
    follower_catch_up(&f);
    follower_assert_same(&f);
    follower_deinit(&f);
}

/* With nobody taking, the threads stop at the window's end. */
static void the_window_bounds_the_read_ahead(void **state)
{
    struct follower f;
    struct chain_event event;
    (void)state;
    follower_init(&f, 100);
    f.options.read_ahead = 8;
    f.options.fetch_threads = 3;
    follower_start(&f);
    assert_int_equal(follower_take(&f, &event, 5000), SOREX_OK);
    assert_int_equal(event.kind, CHAIN_ENTRY);
    for (uint32_t taken = 1; taken < 100; taken++) {
        assert_true(memory_calls(f.source, MEMORY_FETCH) <= taken + 8);
        assert_int_equal(follower_take(&f, &event, 5000), SOREX_OK);
        assert_int_equal(event.kind, CHAIN_ENTRY);
    }
    follower_deinit(&f);
}

/* Blocks larger than the whole allowance still come, one at a time. */
static void a_block_larger_than_the_allowance(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 50);
    f.options.read_ahead_bytes = 1;
    follower_start(&f);
    follower_catch_up(&f);
    follower_assert_trace(&f, "entry 0..49\nidle at the tip\n");
    follower_deinit(&f);
}

struct sleeper {
    struct follower *follower;
    struct chain_event event;
    enum sorex_status status;
};

static void *sleep_in_next(void *argument)
{
    struct sleeper *sleeper = argument;
    sleeper->status = chain_next(sleeper->follower->chain, 60000, &sleeper->event, NULL);
    return NULL;
}

static void wake_while(struct follower *f, enum memory_call stalled)
{
    pthread_t thread;
    struct sleeper sleeper = {.follower = f};
    uint64_t before = clock_ms();
    assert_int_equal(pthread_create(&thread, NULL, sleep_in_next, &sleeper), 0);
    if (stalled != MEMORY_CALLS)
        assert_true(memory_stalled(f->source, stalled, 1, 10000));
    chain_wake(f->chain);
    pthread_join(thread, NULL);
    assert_int_equal(sleeper.status, SOREX_OK);
    assert_int_equal(sleeper.event.kind, CHAIN_IDLE);
    assert_true(clock_ms() - before < 20000);
}

static void wake_ends_every_wait(void **state)
{
    struct follower f;
    (void)state;
    follower_init(&f, 10);
    memory_stall(f.source, MEMORY_TIP, true); /* inside a question for the tip */
    follower_start(&f);
    wake_while(&f, MEMORY_TIP);
    memory_stall(f.source, MEMORY_TIP, false);
    memory_stall(f.source, MEMORY_FETCH, true); /* waiting for the read-ahead */
    wake_while(&f, MEMORY_FETCH);
    memory_stall(f.source, MEMORY_FETCH, false);
    follower_catch_up(&f);
    f.options.poll_ms = 60000;
    follower_start(&f);
    follower_run(&f, "at the tip");
    wake_while(&f, MEMORY_CALLS); /* waiting at the tip */
    follower_deinit(&f);
}

static void free_ends_stalled_fetches(void **state)
{
    struct follower f;
    struct chain_event event;
    (void)state;
    follower_init(&f, 10);
    memory_stall(f.source, MEMORY_FETCH, true);
    follower_start(&f);
    assert_int_equal(chain_next(f.chain, 1, &event, NULL), SOREX_OK);
    assert_true(memory_stalled(f.source, MEMORY_FETCH, 4, 10000));
    follower_deinit(&f);
}

static void near_tip(void **state)
{
    struct follower f;
    struct chain_event event = {0};
    (void)state;
    follower_init(&f, 50);
    follower_start(&f);
    for (uint32_t i = 0; i < 50; i++) {
        assert_int_equal(follower_take(&f, &event, 5000), SOREX_OK);
        assert_int_equal(event.kind, CHAIN_ENTRY);
        assert_int_equal(event.near_tip, i >= 44);
        assert_int_equal(event.source_tip, 49);
    }
    follower_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unreachable_at_start),
        cmocka_unit_test(the_reason_tells_attempt_and_pause),
        cmocka_unit_test(every_attempt_is_told),
        cmocka_unit_test(goes_away_in_the_middle),
        cmocka_unit_test(goes_away_at_the_tip),
        cmocka_unit_test(goes_away_during_a_search),
        cmocka_unit_test(shrinks_during_a_search),
        cmocka_unit_test(empty_source),
        cmocka_unit_test(bad_blocks),
        cmocka_unit_test(bad_once_is_not_worth_a_word),
        cmocka_unit_test(wrong_parent),
        cmocka_unit_test(genesis_with_a_parent),
        cmocka_unit_test(our_own_chain_fails),
        cmocka_unit_test(statuses_that_stop),
        cmocka_unit_test(several_requests_in_flight),
        cmocka_unit_test(the_window_bounds_the_read_ahead),
        cmocka_unit_test(a_block_larger_than_the_allowance),
        cmocka_unit_test(wake_ends_every_wait),
        cmocka_unit_test(free_ends_stalled_fetches),
        cmocka_unit_test(near_tip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
