/* The circuit breaker under a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/breaker.h"

static const struct breaker_options options = {
    .retry_base_ms = 100, .retry_max_ms = 1000, .failures = 4, .open_ms = 2000};

static struct breaker made(const struct breaker_options *wanted, uint64_t seed)
{
    struct breaker breaker;
    breaker_init(&breaker, wanted, seed);
    return breaker;
}

/* A wait is between half of what it could be and all of it. */
static void expect_wait(uint64_t wait_ms, uint64_t full_ms)
{
    assert_true(wait_ms >= full_ms / 2 && wait_ms <= full_ms);
}

static void a_new_one_is_closed(void **state)
{
    (void)state;
    struct breaker breaker = made(&options, 1);
    assert_int_equal(breaker_state_at(&breaker, 0), BREAKER_CLOSED);
    assert_int_equal(breaker_wait_ms(&breaker, 0), 0);
    assert_int_equal(breaker.failures, 0);
}

static void waits_grow_until_it_opens(void **state)
{
    (void)state;
    struct breaker breaker = made(&options, 1);
    uint64_t now = 5000;
    static const uint64_t full[] = {100, 200, 400};
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t wait = breaker_failed(&breaker, now);
        expect_wait(wait, full[i]);
        assert_int_equal(breaker.failures, i + 1);
        assert_int_equal(breaker_state_at(&breaker, now), BREAKER_CLOSED);
        assert_int_equal(breaker_wait_ms(&breaker, now), wait);
        assert_int_equal(breaker_wait_ms(&breaker, now + wait - 1), 1);
        assert_int_equal(breaker_wait_ms(&breaker, now + wait), 0);
        now += wait;
    }
    uint64_t wait = breaker_failed(&breaker, now);
    expect_wait(wait, 2000);
    assert_int_equal(breaker_state_at(&breaker, now), BREAKER_OPEN);
    assert_int_equal(breaker_state_at(&breaker, now + wait - 1), BREAKER_OPEN);
    assert_int_equal(breaker_state_at(&breaker, now + wait), BREAKER_HALF_OPEN);
}

/* Fails until it opens; returns when that was. */
static uint64_t opened(struct breaker *breaker)
{
    uint64_t now = 1;
    for (;;) {
        uint64_t wait_ms = breaker_failed(breaker, now);
        if (breaker_state_at(breaker, now) == BREAKER_OPEN)
            return now;
        assert_true(breaker->failures < 100);
        now += wait_ms;
    }
}

static void a_probe_that_succeeds_closes_it(void **state)
{
    (void)state;
    struct breaker breaker = made(&options, 2);
    uint64_t now = opened(&breaker);
    now += breaker_wait_ms(&breaker, now);
    assert_int_equal(breaker_state_at(&breaker, now), BREAKER_HALF_OPEN);
    breaker_succeeded(&breaker);
    assert_int_equal(breaker_state_at(&breaker, now), BREAKER_CLOSED);
    assert_int_equal(breaker.failures, 0);
    /* And it begins from the start. */
    expect_wait(breaker_failed(&breaker, now), 100);
    assert_int_equal(breaker_state_at(&breaker, now), BREAKER_CLOSED);
}

static void a_probe_that_fails_opens_it_for_longer(void **state)
{
    (void)state;
    struct breaker_options longer = options;
    longer.retry_max_ms = 7000;
    struct breaker breaker = made(&longer, 3);
    uint64_t now = opened(&breaker);
    static const uint64_t full[] = {4000, 7000, 7000, 7000};
    for (uint32_t i = 0; i < 4; i++) {
        now += breaker_wait_ms(&breaker, now);
        assert_int_equal(breaker_state_at(&breaker, now), BREAKER_HALF_OPEN);
        expect_wait(breaker_failed(&breaker, now), full[i]);
        assert_int_equal(breaker_state_at(&breaker, now), BREAKER_OPEN);
        assert_int_equal(breaker.failures, 5 + i);
    }
}

/* The longest wait is no shorter than the first one of an open breaker. */
static void the_first_wait_may_be_the_longest(void **state)
{
    (void)state;
    struct breaker breaker = made(&options, 4); /* open_ms 2000, retry_max_ms 1000 */
    uint64_t now = opened(&breaker);
    for (int i = 0; i < 40; i++) {
        now += breaker_wait_ms(&breaker, now);
        expect_wait(breaker_failed(&breaker, now), 2000);
    }
}

static void without_a_number_it_never_opens(void **state)
{
    (void)state;
    struct breaker_options never = {.open_ms = 5};
    struct breaker breaker = made(&never, 5);
    uint64_t now = 0;
    uint64_t full = 100;
    for (int i = 0; i < 100; i++) {
        uint64_t wait = breaker_failed(&breaker, now);
        expect_wait(wait, full);
        assert_int_equal(breaker_state_at(&breaker, now), BREAKER_CLOSED);
        now += wait;
        full = full * 2 > 30000 ? 30000 : full * 2;
    }
}

static void counters_do_not_wrap(void **state)
{
    (void)state;
    struct breaker breaker = made(&options, 6);
    breaker.failures = breaker.openings = UINT32_MAX;
    (void)breaker_failed(&breaker, 0);
    assert_int_equal(breaker.failures, UINT32_MAX);
    assert_int_equal(breaker_state_at(&breaker, 0), BREAKER_OPEN);
}

/* Those that fail together do not come back together. */
static void jitter_comes_from_the_seed(void **state)
{
    (void)state;
    unsigned equal = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct breaker a = made(&options, seed);
        struct breaker b = made(&options, seed + 1000);
        struct breaker again = made(&options, seed);
        (void)opened(&a);
        (void)opened(&b);
        (void)opened(&again);
        assert_int_equal(again.until_ms, a.until_ms);
        equal += a.until_ms == b.until_ms;
    }
    assert_true(equal < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_one_is_closed),
        cmocka_unit_test(waits_grow_until_it_opens),
        cmocka_unit_test(a_probe_that_succeeds_closes_it),
        cmocka_unit_test(a_probe_that_fails_opens_it_for_longer),
        cmocka_unit_test(the_first_wait_may_be_the_longest),
        cmocka_unit_test(without_a_number_it_never_opens),
        cmocka_unit_test(counters_do_not_wrap),
        cmocka_unit_test(jitter_comes_from_the_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
