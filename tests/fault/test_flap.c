/* A source that flaps between two branches for an hour: every second of virtual time it shows the other one, longer or
 * shorter than before. Each time the follower ends on what the source shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "chain/follower.h"

#define SECONDS 3600
#define BLOCKS 200
#define DEEPEST 60

static uint64_t seed = 20261121;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

/* Events until the second is over and our chain stands at the source's tip, or waits for a prefix to grow. */
static void follow_until(struct follower *f, uint64_t end_ms)
{
    for (;;) {
        struct chain_event event;
        if (follower_take(f, &event, 100) != SOREX_OK)
            fail_msg("%s", f->error.text);
        if (event.kind == CHAIN_IDLE && clock_ms() >= end_ms)
            return;
    }
}

static void an_hour(void **state)
{
    (void)state;
    struct follower f;
    uint64_t now = 1000000;
    clock_virtual(now);
    follower_init(&f, BLOCKS);
    f.options.synchronous = true;
    f.options.poll_ms = 200;
    follower_start(&f);
    for (uint32_t second = 0; second < SECONDS; second++) {
        uint32_t count = 1 + draw(DEEPEST);
        assert_int_equal(memory_fork(f.source, BLOCKS - 1, count, 1 + second % 2, NULL), SOREX_OK);
        now += 1000;
        follow_until(&f, now);
        follower_assert_same(&f);
    }
    assert_true(clock_ms() >= 1000000 + (uint64_t)SECONDS * 1000);
    follower_deinit(&f);
    clock_virtual(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_hour)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
