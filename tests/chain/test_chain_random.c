/* Random scripts: whatever the source does, once it is quiet we have its chain. The seed is printed; ARGS: a seed to
 * repeat. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "follower.h"

#define SCRIPTS 100
#define STEPS 25

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed += 0x9e3779b97f4a7c15u;
    uint64_t x = seed;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ (x >> 31)) % below);
}

static uint32_t tip_of(struct follower *f)
{
    uint32_t height;
    uint8_t hash[HASH_BYTES];
    /* A scripted failure may hit this question too. */
    while (f->source->type->tip(f->source, &height, hash, NULL) != SOREX_OK) {
    }
    return height;
}

static void disturb(struct follower *f)
{
    uint32_t tip = tip_of(f);
    uint32_t depth = draw(3) == 0 ? draw(tip + 1) : draw(4);
    uint32_t keep = depth >= tip ? 0 : tip - depth;
    switch (draw(6)) {
    case 0:
        assert_int_equal(memory_extend(f->source, draw(30), draw(3), NULL), SOREX_OK);
        return;
    case 1:
    case 2:
        assert_int_equal(memory_fork(f->source, keep, draw(40), draw(4), NULL), SOREX_OK);
        return;
    case 3:
        memory_fail(f->source, (enum memory_call)draw(MEMORY_CALLS), draw(8), 1, SOREX_AGAIN, "away");
        return;
    case 4:
        memory_fail(f->source, MEMORY_FETCH, draw(20), 1, SOREX_CORRUPT, "garbage");
        return;
    default:
        follower_start(f);
        return;
    }
}

/* Up to `events` of them, or until there is nothing to do. */
static void take_some(struct follower *f, uint32_t events, uint64_t first)
{
    for (uint32_t i = 0; i < events; i++) {
        struct chain_event event;
        if (follower_take(f, &event, 1) != SOREX_OK)
            fail_msg("seed %llu: %s", (unsigned long long)first, f->error.text);
        if (event.kind == CHAIN_IDLE && strcmp(event.waiting, "at the tip") == 0)
            return;
    }
}

static void converges(void **state)
{
    (void)state;
    for (uint32_t script = 0; script < SCRIPTS; script++) {
        struct follower f;
        uint64_t first = seed;
        follower_init(&f, 1 + draw(100));
        f.options.read_ahead = 1 + draw(40);
        f.options.fetch_threads = 1 + draw(6);
        follower_start(&f);
        for (uint32_t step = 0; step < STEPS; step++) {
            disturb(&f);
            take_some(&f, draw(60), first);
        }
        for (int call = 0; call < MEMORY_CALLS; call++)
            memory_fail(f.source, (enum memory_call)call, 0, 0, SOREX_OK, "");
        /* A chain that is a prefix of ours is waited for: let it grow beyond us. */
        assert_int_equal(memory_extend(f.source, 300, 9, NULL), SOREX_OK);
        print_message("script %u, seed %llu\n", script, (unsigned long long)first);
        follower_catch_up(&f);
        follower_assert_same(&f);
        follower_deinit(&f);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(converges)};
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 20261121;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
