/* Contract 2: one test per rule, one tiny guest per test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/log.h"
#include "guest/indexer.h"
#include "guest/transform.h"
#include "map.h"
#include "wasm/wasm.h"

#define TEXT(text) bytes_of(text, sizeof(text) - 1)

struct bench {
    struct transform *transform;
    struct map keys;
    struct map pages;
    char changes[1024];              /* as delivered, each ended by a newline */
    enum sorex_status change_status; /* answer every change with this when it is not SOREX_OK */
    struct indexer *indexer;
    struct map indexed;
    enum sorex_status view_status;
    struct transform_result result;
    struct sorex_error err;
    struct bytes wasm;
};

static enum sorex_status on_change(void *user_data, struct bytes json, struct sorex_error *err)
{
    struct bench *b = user_data;
    char text[256];
    (void)snprintf(text, sizeof text, "%.*s", BYTES_FMT(json));
    if (strstr(text, "bad") != NULL)
        return sorex_error_set(err, SOREX_INVALID, "the word is in it");
    if (b->change_status != SOREX_OK)
        return sorex_error_set(err, b->change_status, "the outbox is broken");
    (void)strncat(b->changes, text, sizeof b->changes - strlen(b->changes) - 1);
    (void)strncat(b->changes, "\n", sizeof b->changes - strlen(b->changes) - 1);
    return SOREX_OK;
}

static enum sorex_status on_view(void *user_data, struct bytes name, struct bytes input, struct buf *out,
                                 bool *out_failed, struct sorex_error *err)
{
    struct bench *b = user_data;
    struct state_reader reader = map_reader(&b->indexed);
    if (b->view_status != SOREX_OK)
        return sorex_error_set(err, b->view_status, "the node is away");
    bool deterministic = false;
    enum sorex_status status = indexer_view(b->indexer, name, 5, input, &reader, out, NULL, &deterministic, err);
    *out_failed = status != SOREX_OK && deterministic;
    return *out_failed ? SOREX_OK : status;
}

static bool stop_now(void *user_data)
{
    (void)user_data;
    return true;
}

static void bench_open(struct bench *b, const char *guest, struct transform_options options)
{
    *b = (struct bench){.wasm = guest_load(guest)};
    options.name = "tiny";
    options.limits.memory_bytes_max = 16 << 20;
    enum sorex_status status = transform_new(b->wasm, &options, &b->transform, &b->err);
    if (status != SOREX_OK)
        print_error("%s: %s\n", guest, b->err.text);
    assert_int_equal(status, SOREX_OK);
}

static void bench_reopen(struct bench *b, struct transform_options options)
{
    options.name = "tiny";
    options.limits.memory_bytes_max = 16 << 20;
    transform_free(b->transform);
    assert_int_equal(transform_new(b->wasm, &options, &b->transform, &b->err), SOREX_OK);
}

static void bench_close(struct bench *b)
{
    transform_free(b->transform);
    indexer_free(b->indexer);
    map_free(&b->keys);
    map_free(&b->pages);
    map_free(&b->indexed);
    free((void *)(uintptr_t)b->wasm.data);
}

typedef enum sorex_status call_fn(struct transform *transform, const struct entry *entry,
                                  const struct transform_host *host, struct transform_result *out_result,
                                  struct sorex_error *err);

static enum sorex_status call(struct bench *b, call_fn *fn, uint32_t height)
{
    struct entry entry = {.height = height};
    struct transform_host host = {
        .state = map_reader(&b->keys),
        .writes = map_writer(&b->keys),
        .pages = map_reader(&b->pages),
        .page_writes = map_writer(&b->pages),
        .view = b->indexer != NULL || b->view_status != SOREX_OK ? on_view : NULL,
        .change = on_change,
        .user_data = b,
    };
    for (size_t i = 0; i < HASH_BYTES; i++)
        entry.hash[i] = (uint8_t)i;
    memset(&b->err, 0, sizeof b->err);
    b->changes[0] = '\0';
    return fn(b->transform, &entry, &host, &b->result, &b->err);
}

static enum sorex_status run(struct bench *b, uint32_t height) { return call(b, transform_run, height); }

static void check_error(const struct bench *b, const char *text)
{
    if (strstr(b->err.text, text) == NULL)
        print_error("got: %s\nwanted: %s\n", b->err.text, text);
    assert_non_null(strstr(b->err.text, text));
}

static void check_ok(const struct bench *b, enum sorex_status status)
{
    if (status != SOREX_OK)
        print_error("%s\n", b->err.text);
    assert_int_equal(status, SOREX_OK);
}

static void test_load_errors(void **state)
{
    (void)state;
    static const struct {
        const char *module, *text;
        enum guest_memory_mode memory;
    } cases[] = {
        {"(module (func (export \"process_block\") (result i32) i32.const 0))", "memory", GUEST_MEMORY_FRESH},
        {"(module (memory (export \"memory\") 1))", "process_block", GUEST_MEMORY_FRESH},
        {"(module (memory (export \"memory\") 1) (func (export \"process_block\")))", "process_block",
         GUEST_MEMORY_FRESH},
        {"(module (memory (export \"memory\") 1) (func (export \"process_block\") (result i32) i32.const 0)"
         " (func (export \"rollback\")))",
         "rollback", GUEST_MEMORY_FRESH},
        {"(module (memory (export \"memory\") 1) (data \"x\") (func (export \"process_block\") (result i32) data.drop "
         "0 i32.const 0))",
         "data.drop", GUEST_MEMORY_KEPT},
        {"(module (memory (export \"memory\") 1) (table 1 funcref) (func (export \"process_block\") (result i32)"
         " (table.set 0 (i32.const 0) (ref.null func)) i32.const 0))",
         "table.set", GUEST_MEMORY_KEPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf wasm = {0};
        struct sorex_error err = {0};
        struct transform *transform = NULL;
        struct transform_options options = {
            .name = "inline", .memory = cases[i].memory, .limits = {.memory_bytes_max = 16 << 20}};
        assert_int_equal(wasm_from_text(bytes_str(cases[i].module), &wasm, &err), SOREX_OK);
        assert_int_equal(transform_new(buf_view(&wasm), &options, &transform, &err), SOREX_INVALID);
        assert_non_null(strstr(err.text, "program inline: "));
        if (strstr(err.text, cases[i].text) == NULL)
            print_error("case %zu: %s\n", i, err.text);
        assert_non_null(strstr(err.text, cases[i].text));
        buf_deinit(&wasm);
    }
}

/* One byte behind the last export makes a module invalid, and would become the length of a name that swallows the
 * export that `memory: kept` adds: valid, but with a global that nobody keeps. */
static void test_an_invalid_module_is_not_made_valid(void **state)
{
    (void)state;
    static const char module[] = "(module (memory (export \"memory\") 1) (global (mut i32) (i32.const 0))"
                                 " (func (export \"process_block\") (result i32) i32.const 0))";
    static const uint8_t exports_end[] =
        "process_block"; /* with the NUL: the kind of the last export, then its index */
    for (int memory = GUEST_MEMORY_FRESH; memory <= GUEST_MEMORY_KEPT; memory++) {
        struct buf wasm = {0}, broken = {0};
        struct sorex_error err = {0};
        struct transform *transform = NULL;
        struct transform_options options = {
            .name = "inline", .memory = (enum guest_memory_mode)memory, .limits = {.memory_bytes_max = 16 << 20}};
        assert_int_equal(wasm_from_text(TEXT(module), &wasm, &err), SOREX_OK);
        uint8_t *name = memmem(wasm.data, wasm.len, exports_end, sizeof exports_end);
        assert_non_null(name);
        uint8_t *end = name + sizeof exports_end + 1;
        uint8_t *start = memmem(wasm.data, wasm.len, "\x07\x1a\x02\x06memory", 10); /* id, length, count, name */
        assert_true(start != NULL && start + 2 + start[1] == end);
        start[1]++;
        size_t before = (size_t)(end - wasm.data);
        assert_int_equal(buf_append(&broken, bytes_of(wasm.data, before), &err), SOREX_OK);
        assert_int_equal(buf_append_u8(&broken, sizeof "sorex:global:0", &err), SOREX_OK);
        assert_int_equal(buf_append(&broken, bytes_of(end, wasm.len - before), &err), SOREX_OK);
        assert_int_equal(transform_new(buf_view(&broken), &options, &transform, &err), SOREX_INVALID);
        assert_non_null(strstr(err.text, "program inline: "));
        buf_deinit(&broken);
        buf_deinit(&wasm);
    }
}

static void test_pushed_changes(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_push", (struct transform_options){0});
    check_ok(&b, run(&b, 1));
    assert_string_equal(b.changes, "{\"n\": 1.0}\n{\"n\":2}\n");
    assert_int_equal(b.result.changes, 2);
    assert_false(transform_has_rollback(b.transform));
    bench_close(&b);
}

static void test_returned_changes(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_returned", (struct transform_options){0});
    check_ok(&b, run(&b, 1));
    assert_string_equal(b.changes, "{\"n\" : 3.50}\n{\"n\":4}\n"); /* the text as the guest wrote it */
    assert_int_equal(b.result.changes, 2);
    check_ok(&b, run(&b, 2));
    assert_string_equal(b.changes, "");
    assert_int_equal(run(&b, 3), SOREX_GUEST);
    check_error(&b, "program tiny: height 3: process_block: the result is no JSON array");
    assert_int_equal(run(&b, 4), SOREX_GUEST);
    check_error(&b, "program tiny: height 4: process_block: the result is no JSON");
    assert_int_equal(run(&b, 5), SOREX_GUEST);
    check_error(&b, "program tiny: height 5: process_block: the buffer at pointer 2147483632");
    assert_int_equal(run(&b, 6), SOREX_GUEST);
    check_error(&b, "program tiny: height 6: change 1: the word is in it");
    bench_close(&b);
}

static void test_pushed_first_then_returned(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_both", (struct transform_options){0});
    check_ok(&b, run(&b, 1));
    assert_string_equal(b.changes, "{\"pushed\":1}\n{\"pushed\":2}\n{\"returned\":1}\n{\"returned\":2}\n");
    bench_close(&b);
}

static void test_a_bad_change_fails_the_block(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_bad", (struct transform_options){0});
    assert_int_equal(run(&b, 9), SOREX_GUEST); /* though the guest ignored the result */
    assert_string_equal(b.err.text, "program tiny: height 9: change 1: the word is in it");
    assert_string_equal(b.changes, "{\"n\":1}\n");
    assert_true(bytes_equal(map_value(&b.keys, "results"), TEXT("\x00\xff\xff")));
    bench_close(&b);
    bench_open(&b, "tiny_transform_bad_trap", (struct transform_options){0});
    assert_int_equal(run(&b, 9), SOREX_GUEST);
    assert_string_equal(b.err.text, "program tiny: height 9: change 0: the word is in it");
    bench_close(&b);
}

static void test_a_host_that_fails_on_a_change(void **state)
{
    (void)state;
    static const char *const guests[] = {"tiny_transform_push", "tiny_transform_returned"};
    for (size_t i = 0; i < 2; i++) {
        struct bench b;
        bench_open(&b, guests[i], (struct transform_options){0});
        b.change_status = SOREX_IO;
        assert_int_equal(run(&b, 1), SOREX_IO);
        check_error(&b, "the outbox is broken");
        bench_close(&b);
    }
}

static void test_a_negative_result_fails_the_block(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_negative", (struct transform_options){0});
    assert_int_equal(run(&b, 2), SOREX_GUEST);
    check_error(&b, "program tiny: height 2: process_block returned -7");
    bench_close(&b);
}

static void test_state(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_state", (struct transform_options){0});
    check_ok(&b, run(&b, 1));
    assert_true(bytes_equal(map_value(&b.keys, "results"), TEXT("\x00\x01\x03"
                                                                "ac.\x01\x00\x00\x01")));
    assert_non_null(map_value(&b.keys, "other").data);
    assert_null(map_value(&b.keys, "key").data);
    bench_close(&b);
    for (unsigned at = 1; at <= 2; at++) {
        bench_open(&b, "tiny_transform_state", (struct transform_options){0});
        if (at == 1)
            b.keys.fail_get_at = 2;
        else
            b.keys.fail_put_at = 1;
        assert_int_equal(run(&b, 1), SOREX_IO);
        check_error(&b, at == 1 ? "the disk is gone" : "the disk is full");
        bench_close(&b);
    }
}

static void test_height_and_hash(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_info", (struct transform_options){0});
    check_ok(&b, run(&b, 840243));
    assert_int_equal(u32le_get(map_value(&b.keys, "height").data), 840243);
    struct bytes hash = map_value(&b.keys, "hash");
    assert_int_equal(hash.len, 32);
    for (size_t i = 0; i < 32; i++)
        assert_int_equal(hash.data[i], 31 - i); /* as nodes print it */
    bench_close(&b);
}

static void test_log(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_log", (struct transform_options){0});
    log_watch();
    check_ok(&b, run(&b, 4));
    assert_non_null(strstr(log_seen, "info program tiny: height 4: all is well\n"));
    assert_non_null(strstr(log_seen, "warn program tiny: height 4: or is it\n"));
    assert_non_null(strstr(log_seen, "debug program tiny: height 4: Memory refreshed after block execution"));
    bench_close(&b);
}

static void test_bad_pointers(void **state)
{
    (void)state;
    static const char *const imports[] = {
        "__view",         "__view",   "__get_state", "__set_state",        "__set_state",
        "__delete_state", "__stdout", "__stderr",    "__push_cdc_message", "__load"};
    struct bench b;
    bench_open(&b, "tiny_transform_pointers", (struct transform_options){0});
    for (uint32_t i = 0; i < 10; i++)
        for (uint32_t p = 0; p < (i == 9 ? 2 : 3); p++) {
            assert_int_equal(run(&b, 10 * i + p), SOREX_GUEST);
            check_error(&b, imports[i]);
            check_error(&b, ": the buffer at pointer ");
        }
    assert_int_equal(b.keys.puts, 0);
    assert_string_equal(b.changes, "");
    bench_close(&b);
}

static void indexer_add(struct bench *b)
{
    struct bytes wasm = guest_load("tiny_indexer_views");
    struct indexer_options options = {.name = "index", .limits = {.memory_bytes_max = 16 << 20}};
    assert_int_equal(indexer_new(wasm, &options, &b->indexer, &b->err), SOREX_OK);
    free((void *)(uintptr_t)wasm.data);
    map_set(&b->indexed, "key", TEXT("indexed"));
}

static void test_views(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_view", (struct transform_options){0});
    map_set(&b.keys, "name", TEXT("read"));
    map_set(&b.keys, "input", TEXT("key"));
    assert_int_equal(run(&b, 5), SOREX_INVALID);
    check_error(&b, "program tiny: height 5: ");
    check_error(&b, "no indexer");

    indexer_add(&b);
    check_ok(&b, run(&b, 5));
    assert_int_equal(u32le_get(map_value(&b.keys, "len").data), 7);
    assert_true(bytes_is(map_value(&b.keys, "result"), "indexed"));

    static const char *const failing[] = {"explode", "nothing", "outside"};
    for (size_t i = 0; i < 3; i++) { /* the guest sees a negative length, the block goes on */
        map_set(&b.keys, "name", bytes_str(failing[i]));
        check_ok(&b, run(&b, 5));
        assert_true((int32_t)u32le_get(map_value(&b.keys, "len").data) < 0);
        assert_int_equal(map_value(&b.keys, "result").len, 0);
    }
    b.view_status = SOREX_IO; /* the guest never sees trouble of the host */
    assert_int_equal(run(&b, 5), SOREX_IO);
    check_error(&b, "the node is away");
    bench_close(&b);
}

static void test_memory_fresh(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_static", (struct transform_options){0});
    for (uint32_t height = 1; height <= 3; height++) {
        check_ok(&b, run(&b, height));
        assert_int_equal(u32le_get(map_value(&b.keys, "calls").data), 1);
    }
    assert_int_equal(b.pages.gets + b.pages.puts, 0);
    bench_close(&b);
}

static void test_memory_kept_in_a_static_variable(void **state)
{
    (void)state;
    struct bench b;
    struct transform_options kept = {.memory = GUEST_MEMORY_KEPT};
    bench_open(&b, "tiny_transform_static", kept);
    for (uint32_t height = 1; height <= 4; height++) {
        check_ok(&b, run(&b, height));
        assert_int_equal(u32le_get(map_value(&b.keys, "calls").data), height);
        if (height == 2)
            bench_reopen(&b, kept); /* a restart */
    }
    bench_close(&b);
}

static void check_counts(const struct bench *b, uint64_t count)
{
    struct bytes noted = map_value(&b->keys, "count");
    assert_int_equal(noted.len, 20);
    assert_int_equal(u64le_get(noted.data), count);          /* the mutable global */
    assert_int_equal(u64le_get(noted.data + 8), count);      /* memory */
    assert_int_equal(u32le_get(noted.data + 16), 1 + count); /* its size */
}

static void test_memory_kept_with_globals_and_size(void **state)
{
    (void)state;
    struct bench b;
    struct transform_options kept = {.memory = GUEST_MEMORY_KEPT};
    bench_open(&b, "tiny_transform_kept", kept);
    for (uint32_t height = 1; height <= 3; height++) {
        check_ok(&b, run(&b, height));
        check_counts(&b, height);
    }
    struct map third = map_copy(&b.pages);

    assert_int_equal(run(&b, 666), SOREX_GUEST); /* a failed block restores the pages from before it */
    assert_true(map_equal(&b.pages, &third));
    check_ok(&b, run(&b, 4));
    check_counts(&b, 4);
    struct map fourth = map_copy(&b.pages);

    map_free(&b.pages); /* undone: the store has the records of height 3 again */
    b.pages = map_copy(&third);
    check_ok(&b, run(&b, 4));
    check_counts(&b, 4);
    assert_true(map_equal(&b.pages, &fourth));

    map_free(&b.pages); /* undone to the beginning */
    check_ok(&b, run(&b, 1));
    check_counts(&b, 1);

    map_free(&b.pages); /* a restart */
    b.pages = map_copy(&third);
    bench_reopen(&b, kept);
    check_ok(&b, run(&b, 4));
    assert_true(map_equal(&b.pages, &fourth));

    unsigned puts = b.pages.puts; /* four pages at most: count, notes, and the new page's end; then "s", "g", "m" */
    check_ok(&b, run(&b, 5));
    assert_in_range(b.pages.puts - puts, 4, 7);

    b.pages.fail_put_at = b.pages.puts + 2;
    assert_int_equal(run(&b, 6), SOREX_IO);
    check_error(&b, "program tiny: height 6: the disk is full");
    map_free(&third);
    map_free(&fourth);
    bench_close(&b);
}

static void test_memory_kept_with_a_start_section(void **state)
{
    (void)state;
    /* The start section writes the height; a kept memory still holds what the first call left, as if the instance had
     * lived on. */
    static const char module[] = "(module (import \"env\" \"__height\" (func $height (result i32)))"
                                 " (import \"env\" \"__set_state\" (func $set (param i32 i32) (result i32)))"
                                 " (memory (export \"memory\") 1) (data (i32.const 0) \"\\01\\00\\00\\00s\") (data "
                                 "(i32.const 8) \"\\04\\00\\00\\00\")"
                                 " (func $start (i32.store (i32.const 5000) (call $height)))"
                                 " (func (export \"process_block\") (result i32)"
                                 "  (i32.store (i32.const 12) (i32.load (i32.const 5000))) (drop (call $set (i32.const "
                                 "0) (i32.const 8))) i32.const 0)"
                                 " (start $start))";
    traps_restore();
    struct bench b = {0};
    struct buf wasm = {0};
    struct transform_options options = {
        .name = "tiny", .memory = GUEST_MEMORY_KEPT, .limits = {.memory_bytes_max = 16 << 20}};
    assert_int_equal(wasm_from_text(TEXT(module), &wasm, &b.err), SOREX_OK);
    assert_int_equal(transform_new(buf_view(&wasm), &options, &b.transform, &b.err), SOREX_OK);
    for (uint32_t height = 7; height < 10; height++) {
        check_ok(&b, run(&b, height));
        assert_int_equal(u32le_get(map_value(&b.keys, "s").data), 7);
    }
    buf_deinit(&wasm);
    bench_close(&b);
}

static void test_rollback(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_rollback", (struct transform_options){0});
    assert_true(transform_has_rollback(b.transform));
    assert_int_equal(call(&b, transform_rollback, 12), SOREX_OK);
    assert_string_equal(b.changes, "{\"undo\":1}\n{\"undo\":2}\n");
    assert_int_equal(u32le_get(map_value(&b.keys, "undone").data), 12);
    bench_close(&b);
    bench_open(&b, "tiny_transform_rollback_trap", (struct transform_options){0});
    assert_int_equal(call(&b, transform_rollback, 12), SOREX_GUEST);
    check_error(&b, "program tiny: height 12: trap: unreachable");
    bench_close(&b);
}

static void test_a_guest_that_never_returns(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_transform_loop", (struct transform_options){.stop = stop_now});
    assert_int_equal(run(&b, 3), SOREX_STOPPED);
    check_error(&b, "program tiny: height 3: ");
    bench_close(&b);
    bench_open(&b, "tiny_transform_loop", (struct transform_options){.limits = {.fuel = 100000}});
    assert_int_equal(run(&b, 3), SOREX_LIMIT);
    check_error(&b, "fuel");
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_errors),
        cmocka_unit_test(test_an_invalid_module_is_not_made_valid),
        cmocka_unit_test(test_pushed_changes),
        cmocka_unit_test(test_returned_changes),
        cmocka_unit_test(test_pushed_first_then_returned),
        cmocka_unit_test(test_a_bad_change_fails_the_block),
        cmocka_unit_test(test_a_host_that_fails_on_a_change),
        cmocka_unit_test(test_a_negative_result_fails_the_block),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_height_and_hash),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_bad_pointers),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_memory_fresh),
        cmocka_unit_test(test_memory_kept_in_a_static_variable),
        cmocka_unit_test(test_memory_kept_with_globals_and_size),
        cmocka_unit_test(test_memory_kept_with_a_start_section),
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_a_guest_that_never_returns),
    };
    traps_keep();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
