/* Contract 1's views, and a preview as the pipeline makes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/codec.h"
#include "guest/indexer.h"
#include "map.h"

#define TEXT(text) bytes_of(text, sizeof(text) - 1)

struct bench {
    struct indexer *indexer;
    struct map state;
    struct buf out;
    struct guest_cost cost;
    bool deterministic;
    struct sorex_error err;
};

static bool stop_now(void *user_data)
{
    (void)user_data;
    return true;
}

static void bench_open(struct bench *b, struct indexer_options options)
{
    struct bytes wasm = guest_load("tiny_indexer_views");
    *b = (struct bench){0};
    options.name = "tiny";
    options.limits.memory_bytes_max = 16 << 20;
    assert_int_equal(indexer_new(wasm, &options, &b->indexer, &b->err), SOREX_OK);
    free((void *)(uintptr_t)wasm.data);
}

static void bench_close(struct bench *b)
{
    indexer_free(b->indexer);
    map_free(&b->state);
    buf_deinit(&b->out);
}

static enum sorex_status view(struct bench *b, const char *name, uint32_t height, struct bytes input)
{
    struct state_reader reader = map_reader(&b->state);
    buf_reset(&b->out);
    memset(&b->err, 0, sizeof b->err);
    return indexer_view(b->indexer, bytes_str(name), height, input, &reader, &b->out, &b->cost, &b->deterministic,
                        &b->err);
}

static void check_fails(struct bench *b, const char *name, enum sorex_status status, bool deterministic,
                        const char *text)
{
    assert_int_equal(view(b, name, 3, TEXT("")), status);
    if (strstr(b->err.text, text) == NULL)
        print_error("%s: %s\n", name, b->err.text);
    assert_non_null(strstr(b->err.text, "program tiny: "));
    assert_non_null(strstr(b->err.text, text));
    assert_int_equal(b->deterministic, deterministic);
    assert_int_equal(b->out.len, 0);
}

static void test_input_and_result(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, (struct indexer_options){0});
    assert_int_equal(view(&b, "echo", 0x01020304, TEXT("input")), SOREX_OK);
    assert_true(bytes_equal(buf_view(&b.out), TEXT("\x04\x03\x02\x01input")));
    assert_int_equal(view(&b, "echo", 1, TEXT("")), SOREX_OK);
    assert_true(bytes_equal(buf_view(&b.out), TEXT("\x01\x00\x00\x00")));
    bench_close(&b);
}

static void test_state_is_read_and_appended(void **state)
{
    (void)state;
    struct bench b;
    struct state_reader reader;
    bench_open(&b, (struct indexer_options){0});
    map_set(&b.state, "key", TEXT("value"));
    assert_int_equal(view(&b, "read", 1, TEXT("key")), SOREX_OK);
    assert_true(bytes_is(buf_view(&b.out), "value"));
    assert_int_equal(b.state.gets, 1);
    reader = map_reader(&b.state);
    assert_int_equal(indexer_view(b.indexer, TEXT("read"), 1, TEXT("key"), &reader, &b.out, NULL, NULL, NULL),
                     SOREX_OK);
    assert_true(bytes_is(buf_view(&b.out), "valuevalue"));
    assert_int_equal(view(&b, "read", 1, TEXT("absent")), SOREX_OK);
    assert_int_equal(b.out.len, 0);
    bench_close(&b);
}

static void test_fresh_memory_and_no_flush(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, (struct indexer_options){0});
    for (int i = 0; i < 3; i++) {
        assert_int_equal(view(&b, "count", 1, TEXT("")), SOREX_OK);
        assert_true(bytes_equal(buf_view(&b.out), TEXT("\x01\x00\x00\x00")));
    }
    bench_close(&b);
}

static void test_failures(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, (struct indexer_options){.limits = {.view_result_bytes_max = 65535}});
    check_fails(&b, "nothing", SOREX_GONE, true, "no view named nothing; it has ");
    check_fails(&b, "nothing", SOREX_GONE, true, ", explode, ");
    check_fails(&b, "", SOREX_GONE, true, "no view named");
    check_fails(&b, "_start", SOREX_GONE, true, "no view named _start");
    check_fails(&b, "add", SOREX_GONE, true, "no view named add");
    check_fails(&b, "memory", SOREX_GONE, true, "no view named memory");
    check_fails(&b, "explode", SOREX_GUEST, true, "height 3: trap: unreachable");
    check_fails(&b, "outside", SOREX_GUEST, true, "view result: the buffer at pointer 4294967280");
    check_fails(&b, "null", SOREX_GUEST, true, "view result: the buffer at pointer 0");
    check_fails(&b, "huge", SOREX_LIMIT, true, "65536 bytes is over the limit of 65535");
    b.state.fail_get_at = 1;
    check_fails(&b, "read", SOREX_IO, false, "the disk is gone");
    assert_int_equal(view(&b, "echo", 1, TEXT("")), SOREX_OK); /* the next call is not affected */
    bench_close(&b);
    bench_open(&b, (struct indexer_options){.limits = {.view_result_bytes_max = 65536}});
    assert_int_equal(view(&b, "huge", 1, TEXT("")), SOREX_OK);
    assert_int_equal(b.out.len, 65536);
    bench_close(&b);
}

static void test_a_view_that_never_returns(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, (struct indexer_options){.limits = {.fuel = 100000}});
    check_fails(&b, "spin", SOREX_LIMIT, true, "fuel");
    bench_close(&b);
    bench_open(&b, (struct indexer_options){.interruptible = true, .stop = stop_now});
    check_fails(&b, "spin", SOREX_STOPPED, false, "height 3: ");
    bench_close(&b);
}

static void test_names(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, (struct indexer_options){0});
    const char *const *names = indexer_views(b.indexer);
    unsigned count = 0, known = 0;
    for (; names[count] != NULL; count++) {
        assert_string_not_equal(names[count], "_start");
        assert_string_not_equal(names[count], "add");
        assert_string_not_equal(names[count], "memory");
        if (strcmp(names[count], "echo") == 0 || strcmp(names[count], "huge") == 0)
            known++;
    }
    assert_int_equal(known, 2);
    assert_int_equal(count, 8);
    bench_close(&b);
}

struct worker {
    struct indexer *indexer;
    struct map state;
    unsigned wrong;
};

static void *views_run(void *user_data)
{
    struct worker *worker = user_data;
    struct buf out = {0};
    for (uint32_t i = 0; i < 200; i++) {
        struct state_reader reader = map_reader(&worker->state);
        uint8_t expected[8];
        u32le_put(expected, i);
        memcpy(expected + 4, "ping", 4);
        buf_reset(&out);
        if (indexer_view(worker->indexer, TEXT("echo"), i, TEXT("ping"), &reader, &out, NULL, NULL, NULL) != SOREX_OK ||
            !bytes_equal(buf_view(&out), bytes_of(expected, 8)))
            worker->wrong++;
    }
    buf_deinit(&out);
    return NULL;
}

static void test_views_run_beside_each_other(void **state)
{
    (void)state;
    struct bench b;
    struct worker workers[4];
    pthread_t threads[4];
    bench_open(&b, (struct indexer_options){0});
    for (int i = 0; i < 4; i++) {
        workers[i] = (struct worker){.indexer = b.indexer};
        assert_int_equal(pthread_create(&threads[i], NULL, views_run, &workers[i]), 0);
    }
    struct map written = {0};
    for (uint32_t i = 0; i < 100; i++) {
        struct state_reader reader = map_reader(&b.state);
        struct state_writer writer = map_writer(&written);
        assert_int_equal(indexer_run(b.indexer, i, TEXT("block"), &reader, &writer, NULL, &b.err), SOREX_OK);
    }
    assert_true(bytes_is(map_value(&written, "b"), "block"));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].wrong, 0);
    }
    map_free(&written);
    bench_close(&b);
}

/* A state that answers by asking again: calls pile up until something gives. */
struct pile {
    struct indexer *indexer;
    bool views;
    unsigned depth, deepest;
    char first_error[256]; /* of the innermost call: each level puts its own context in front */
};

static enum sorex_status pile_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                  struct sorex_error *err)
{
    struct pile *pile = user_data;
    struct state_reader reader = {.get = pile_get, .user_data = pile};
    struct map written = {0};
    struct state_writer writer = map_writer(&written);
    struct buf out = {0};
    pile->depth++;
    pile->deepest = pile->depth > pile->deepest ? pile->depth : pile->deepest;
    enum sorex_status status = pile->views
                                   ? indexer_view(pile->indexer, TEXT("read"), 1, key, &reader, &out, NULL, NULL, err)
                                   : indexer_run(pile->indexer, 1, key, &reader, &writer, NULL, err);
    pile->depth--;
    if (status != SOREX_OK && pile->first_error[0] == '\0')
        (void)snprintf(pile->first_error, sizeof pile->first_error, "%.255s", err->text);
    buf_deinit(&out);
    map_free(&written);
    *out_value = TEXT("x");
    *out_found = true;
    return status;
}

static void test_too_many_views_at_once(void **state)
{
    (void)state;
    struct bench b;
    struct bytes value;
    bool found;
    bench_open(&b, (struct indexer_options){0});
    for (int i = 0; i < 2; i++) {
        struct pile pile = {.indexer = b.indexer, .views = true};
        assert_int_equal(pile_get(&pile, TEXT("k"), &value, &found, &b.err), SOREX_AGAIN);
        assert_non_null(strstr(pile.first_error, "32 views run already"));
        assert_int_equal(pile.deepest, 33);
    }
    assert_int_equal(view(&b, "echo", 1, TEXT("")), SOREX_OK);
    bench_close(&b);
}

static void test_no_fresh_instance_is_fatal_and_named(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct bytes wasm = guest_load("tiny_indexer_get");
    struct indexer_options options = {.name = "tiny",
                                      .limits = {.memory_bytes_max = 16 << 20, .stack_bytes_max = 65536}};
    struct pile pile = {0};
    struct bytes value;
    bool found;
    assert_int_equal(indexer_new(wasm, &options, &pile.indexer, &err), SOREX_OK);
    log_watch();
    assert_int_equal(pile_get(&pile, TEXT("k"), &value, &found, &err), SOREX_FATAL);
    assert_non_null(
        strstr(pile.first_error, "program tiny: height 1: Failed to refresh memory after block execution: "));
    assert_non_null(strstr(log_seen, "error program tiny: height 1: Failed to refresh memory after block execution: "));
    assert_int_equal(pile.deepest, 65); /* the engine's sandboxes */
    indexer_free(pile.indexer);
    free((void *)(uintptr_t)wasm.data);
}

/* A preview is a run into a throw-away map, then a view over it: the state below is not touched. */
static void test_preview(void **state)
{
    (void)state;
    struct bench b;
    struct map overlay;
    bench_open(&b, (struct indexer_options){0});
    map_set(&b.state, "b", TEXT("old"));
    overlay = map_copy(&b.state);
    struct state_reader below = map_reader(&b.state), above = map_reader(&overlay);
    struct state_writer writer = map_writer(&overlay);
    assert_int_equal(indexer_run(b.indexer, 6, TEXT("new"), &below, &writer, NULL, &b.err), SOREX_OK);
    assert_int_equal(indexer_view(b.indexer, TEXT("read"), 6, TEXT("b"), &above, &b.out, NULL, NULL, &b.err), SOREX_OK);
    assert_true(bytes_is(buf_view(&b.out), "new"));
    assert_true(bytes_is(map_value(&b.state, "b"), "old"));
    map_free(&overlay);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_input_and_result),
        cmocka_unit_test(test_state_is_read_and_appended),
        cmocka_unit_test(test_fresh_memory_and_no_flush),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_a_view_that_never_returns),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_views_run_beside_each_other),
        cmocka_unit_test(test_too_many_views_at_once),
        cmocka_unit_test(test_no_fresh_instance_is_fatal_and_named),
        cmocka_unit_test(test_preview),
    };
    traps_keep();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
