/* Contract 1 while indexing: one test per rule, one tiny guest per test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/codec.h"
#include "guest/indexer.h"
#include "map.h"
#include "wasm/wasm.h"

#define BLOCK(text) bytes_of(text, sizeof(text) - 1)

struct bench {
    struct indexer *indexer;
    struct map state;   /* what the guest reads */
    struct map written; /* what it wrote */
    struct indexer_result result;
    struct sorex_error err;
};

static void bench_open(struct bench *b, const char *guest, const struct guest_limits *limits)
{
    struct bytes wasm = guest_load(guest);
    struct indexer_options options = {.name = "tiny", .limits = {.memory_bytes_max = 16 << 20}};
    if (limits != NULL)
        options.limits = *limits;
    *b = (struct bench){0};
    enum sorex_status status = indexer_new(wasm, &options, &b->indexer, &b->err);
    if (status != SOREX_OK)
        print_error("%s: %s\n", guest, b->err.text);
    assert_int_equal(status, SOREX_OK);
    free((void *)(uintptr_t)wasm.data);
}

static void bench_close(struct bench *b)
{
    indexer_free(b->indexer);
    map_free(&b->state);
    map_free(&b->written);
}

static enum sorex_status run(struct bench *b, uint32_t height, struct bytes block)
{
    struct state_reader reader = map_reader(&b->state);
    struct state_writer writer = map_writer(&b->written);
    memset(&b->err, 0, sizeof b->err);
    return indexer_run(b->indexer, height, block, &reader, &writer, &b->result, &b->err);
}

static void check_error(const struct bench *b, const char *text)
{
    if (strstr(b->err.text, text) == NULL)
        print_error("got: %s\nwanted: %s\n", b->err.text, text);
    assert_non_null(strstr(b->err.text, text));
}

static enum sorex_status load_text(const char *text, char *out_text)
{
    struct buf wasm = {0};
    struct sorex_error err = {0};
    struct indexer *indexer = NULL;
    struct indexer_options options = {.name = "inline", .limits = {.memory_bytes_max = 16 << 20}};
    assert_int_equal(wasm_from_text(bytes_str(text), &wasm, &err), SOREX_OK);
    enum sorex_status status = indexer_new(buf_view(&wasm), &options, &indexer, &err);
    (void)snprintf(out_text, SOREX_ERROR_TEXT_MAX, "%s", err.text);
    if (status == SOREX_OK)
        indexer_free(indexer);
    buf_deinit(&wasm);
    return status;
}

static void test_load_errors(void **state)
{
    (void)state;
    static const struct {
        const char *module, *text;
    } cases[] = {
        {"(module (func (export \"_start\")))", "memory"},
        {"(module (memory 1) (func (export \"_start\")))", "memory"},
        {"(module (memory (export \"memory\") 1))", "_start"},
        {"(module (memory (export \"memory\") 1) (func (export \"_start\") (result i32) i32.const 1))", "_start"},
        {"(module (memory (export \"memory\") 1) (global (export \"_start\") i32 (i32.const 1)))", "_start"},
        {"(module (import \"env\" \"g\" (global i32)) (memory (export \"memory\") 1) (func (export \"_start\")))", "g"},
        {"(module (import \"env\" \"__flush\" (func (param i64))) (memory (export \"memory\") 1) (func (export "
         "\"_start\")))",
         "__flush"},
        {"(module (memory (export \"memory\") 300) (func (export \"_start\")))",
         "inline"}, /* more than the limit of 16 MiB */
    };
    char text[SOREX_ERROR_TEXT_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(load_text(cases[i].module, text), SOREX_INVALID);
        assert_non_null(strstr(text, "program inline: "));
        if (strstr(text, cases[i].text) == NULL)
            print_error("case %zu: %s\n", i, text);
        assert_non_null(strstr(text, cases[i].text));
    }
    assert_int_equal(load_text("(module (memory (export \"memory\") 1) (func (export \"_start\")))", text), SOREX_OK);

    struct indexer *indexer = NULL;
    struct sorex_error err;
    struct indexer_options options = {.name = "inline"};
    assert_int_equal(indexer_new(BLOCK("no wasm"), &options, &indexer, &err), SOREX_INVALID);
}

static void test_pairs_of_a_flush(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_flush", NULL);
    assert_int_equal(run(&b, 7, BLOCK("\x0a\x01k\x0a\x01v")), SOREX_OK);
    assert_int_equal(b.result.pairs, 1);
    assert_int_equal(b.result.flushes, 1);
    assert_int_equal(b.written.count, 1);
    assert_true(bytes_is(map_value(&b.written, "k"), "v"));
    bench_close(&b);
}

static void test_duplicates_empties_and_odd_elements(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_flush", NULL);
    /* k=v, k=w, ""="", e="", and an odd last element */
    assert_int_equal(run(&b, 7,
                         BLOCK("\x0a\x01k\x0a\x01v\x0a\x01k\x0a\x01w\x0a\x00\x0a\x00\x0a\x01"
                               "e\x0a\x00\x0a\x03odd")),
                     SOREX_OK);
    assert_int_equal(b.result.pairs, 4);
    assert_int_equal(b.written.puts, 4);
    assert_int_equal(b.written.count, 3);
    assert_true(bytes_is(map_value(&b.written, "k"), "w"));
    assert_non_null(map_value(&b.written, "").data);
    assert_int_equal(map_value(&b.written, "e").len, 0);
    bench_close(&b);
}

static void test_an_empty_flush_counts(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_flush", NULL);
    assert_int_equal(run(&b, 7, BLOCK("")), SOREX_OK);
    assert_int_equal(b.result.pairs, 0);
    assert_int_equal(b.result.flushes, 1);
    assert_int_equal(b.written.puts, 0);
    bench_close(&b);
}

static void test_a_broken_flush_fails_the_block(void **state)
{
    (void)state;
    static const char *const broken[] = {"\x0a\x05v", "\x0a\x01k\x0a\x01v\x0f", "\x0a\x01k\x0a\xff\xff\xff\xff\x0f"};
    struct bench b;
    bench_open(&b, "tiny_indexer_flush", NULL);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(run(&b, 9, bytes_str(broken[i])), SOREX_GUEST);
        check_error(&b, "program tiny: height 9: flush: ");
        assert_int_equal(b.written.puts, 0);
    }
    bench_close(&b);
}

static void test_no_flush(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_noflush", NULL);
    assert_int_equal(run(&b, 3, BLOCK("x")), SOREX_GUEST);
    check_error(&b, "program tiny: height 3: indexer exited unexpectedly");
    bench_close(&b);
}

static void test_reads_stay_below_over_several_flushes(void **state)
{
    (void)state;
    struct bench b;
    uint8_t five[8], six[8];
    u64le_put(five, 5);
    u64le_put(six, 6);
    bench_open(&b, "tiny_indexer_flushes", NULL);
    map_set(&b.state, "n", bytes_of(five, 8));
    assert_int_equal(run(&b, 1, BLOCK("x")), SOREX_OK);
    assert_int_equal(b.result.flushes, 3);
    assert_int_equal(b.result.pairs, 6);
    assert_true(bytes_equal(map_value(&b.written, "n"), bytes_of(six, 8)));
    assert_true(bytes_is(map_value(&b.written, "0"), "flushed"));
    assert_true(bytes_is(map_value(&b.written, "2"), "flushed"));
    bench_close(&b);
}

static void test_len_and_get_are_one_lookup(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_get", NULL);
    map_set(&b.state, "key", BLOCK("abc"));
    map_set(&b.state, "empty", BLOCK(""));
    assert_int_equal(run(&b, 1, BLOCK("key")), SOREX_OK);
    assert_int_equal(b.state.gets, 1);
    /* the value, nothing else: no prefix, no zero behind it */
    assert_true(bytes_equal(map_value(&b.written, "key"), BLOCK("\x03\x00\x00\x00"
                                                                "abc#####")));
    assert_int_equal(run(&b, 1, BLOCK("absent")), SOREX_OK);
    assert_int_equal(b.state.gets, 2);
    assert_true(bytes_equal(map_value(&b.written, "absent"), BLOCK("\x00\x00\x00\x00########")));
    assert_int_equal(run(&b, 1, BLOCK("empty")), SOREX_OK);
    assert_true(bytes_equal(map_value(&b.written, "empty"), BLOCK("\x00\x00\x00\x00########")));
    bench_close(&b);
}

static void test_a_failed_read_is_never_absent(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_get", NULL);
    b.state.fail_get_at = 1;
    assert_int_equal(run(&b, 4, BLOCK("key")), SOREX_IO);
    check_error(&b, "program tiny: height 4: ");
    check_error(&b, "the disk is gone");
    assert_int_equal(b.written.puts, 0);
    bench_close(&b);
}

static void test_a_failed_write_passes_through(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_flush", NULL);
    b.written.fail_put_at = 2;
    assert_int_equal(run(&b, 4, BLOCK("\x0a\x01k\x0a\x01v\x0a\x01l\x0a\x01v")), SOREX_IO);
    check_error(&b, "program tiny: height 4: the disk is full");
    bench_close(&b);
}

static void test_a_trap_writes_nothing_and_names_the_function(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_trap", NULL);
    assert_int_equal(run(&b, 5, BLOCK("x")), SOREX_GUEST);
    check_error(&b, "program tiny: height 5: trap: unreachable");
    check_error(&b, "explode");
    assert_int_equal(b.written.puts, 0); /* it had flushed before */
    bench_close(&b);
}

static void test_out_of_fuel(void **state)
{
    (void)state;
    struct bench b;
    struct guest_limits limits = {.memory_bytes_max = 16 << 20, .fuel = 1000000};
    bench_open(&b, "tiny_indexer_loop", &limits);
    assert_int_equal(run(&b, 5, BLOCK("x")), SOREX_LIMIT);
    check_error(&b, "program tiny: height 5: ");
    check_error(&b, "fuel");
    bench_close(&b);
    bench_open(&b, "tiny_indexer_flush", &limits);
    assert_int_equal(run(&b, 5, BLOCK("")), SOREX_OK);
    assert_in_range(b.result.cost.fuel, 1, 1000000);
    uint64_t first = b.result.cost.fuel;
    assert_int_equal(run(&b, 5, BLOCK("")), SOREX_OK);
    assert_int_equal(b.result.cost.fuel, first);
    bench_close(&b);
}

static void test_memory_grows_to_its_limit(void **state)
{
    (void)state;
    struct bench b;
    struct guest_limits limits = {.memory_bytes_max = 64 << 16};
    bench_open(&b, "tiny_indexer_grow", &limits);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(run(&b, 1, BLOCK("x")), SOREX_OK);
        assert_int_equal(u32le_get(map_value(&b.written, "pages").data), 64);
    }
    bench_close(&b);
}

static void test_fresh_memory_always(void **state)
{
    (void)state;
    struct bench b;
    uint8_t once[8];
    u64le_put(once, (uint64_t)1 << 32 | 1);
    bench_open(&b, "tiny_indexer_static", NULL);
    log_watch();
    for (uint32_t height = 0; height < 6; height++) {
        bool fails = height % 2 == 1;
        assert_int_equal(run(&b, height, fails ? BLOCK("trap") : BLOCK("")), fails ? SOREX_GUEST : SOREX_OK);
        assert_true(bytes_equal(map_value(&b.written, "r"), bytes_of(once, 8)));
    }
    unsigned refreshed = 0;
    for (const char *at = log_seen;
         (at = strstr(at, "Memory refreshed after block execution for deterministic state isolation")); at++)
        refreshed++;
    assert_int_equal(refreshed, 6); /* on success and on failure */
    assert_non_null(strstr(log_seen, "debug program tiny: height 5: Memory refreshed"));
    bench_close(&b);
}

static void test_a_start_section_may_call_imports(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_start", NULL);
    assert_int_equal(run(&b, 258, BLOCK("x")), SOREX_OK);
    assert_true(bytes_equal(map_value(&b.written, "s"), BLOCK("\x02\x01\x00\x00")));
    bench_close(&b);
}

static void test_unknown_functions_trap_when_called(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_unknown", NULL);
    assert_int_equal(run(&b, 1, BLOCK("")), SOREX_OK);
    assert_true(bytes_is(map_value(&b.written, "k"), "v"));
    map_free(&b.written);
    assert_int_equal(run(&b, 2, BLOCK("x")), SOREX_GUEST);
    check_error(&b, "program tiny: height 2: ");
    check_error(&b, "__odd");
    assert_int_equal(b.written.puts, 0);
    bench_close(&b);
}

static void test_bad_pointers_fail_the_block(void **state)
{
    (void)state;
    static const uint32_t pointers[] = {0, 3, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffc, 0xffffffff};
    static const struct {
        char import;
        const char *name;
        bool small_is_fine; /* the pointer to write to has no prefix */
    } imports[] = {{'i', "__load_input", true}, {'l', "__get_len", false}, {'g', "__get", false},
                   {'k', "__get", true},        {'f', "__flush", false},   {'o', "__log", false}};
    struct bench b;
    bench_open(&b, "tiny_indexer_pointers", NULL);
    map_set(&b.state, "k", BLOCK("value"));
    for (size_t i = 0; i < sizeof imports / sizeof *imports; i++)
        for (size_t p = imports[i].small_is_fine ? 2 : 0; p < sizeof pointers / sizeof *pointers; p++) {
            uint8_t block[9] = {(uint8_t)imports[i].import};
            u32le_put(block + 1, pointers[p]);
            u32le_put(block + 5, pointers[p]);
            assert_int_equal(run(&b, 6, bytes_of(block, sizeof block)), SOREX_GUEST);
            check_error(&b, "program tiny: height 6: ");
            check_error(&b, imports[i].name);
            check_error(&b, "pointer");
            assert_int_equal(b.written.puts, 0);
        }
    assert_int_equal(run(&b, 6, BLOCK("........?")), SOREX_OK);
    bench_close(&b);
}

static void test_abort(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_abort", NULL);
    assert_int_equal(run(&b, 8, BLOCK("")), SOREX_GUEST);
    check_error(&b, "program tiny: height 8: abort: no \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 ?! at a/b.t:12:34");
    assert_int_equal(run(&b, 8, BLOCK("n")), SOREX_GUEST);
    check_error(&b, "abort: no message at unknown file:0:0");
    assert_int_equal(run(&b, 8, BLOCK("b")), SOREX_GUEST);
    check_error(&b, "abort: no message at unknown file:1:2");
    bench_close(&b);
}

static void test_log_lines(void **state)
{
    (void)state;
    struct bench b;
    static char lines[10000];
    bench_open(&b, "tiny_indexer_log", NULL);
    log_watch();
    assert_int_equal(run(&b, 11, BLOCK("hello\0hidden")), SOREX_OK);
    assert_non_null(strstr(log_seen, "info program tiny: height 11: hello\n"));
    assert_int_equal(run(&b, 12, BLOCK("\x1b[31mred")), SOREX_OK);
    assert_non_null(strstr(log_seen, "info program tiny: height 12:  [31mred\n"));
    memset(lines, 'x', sizeof lines);
    assert_int_equal(run(&b, 13, bytes_of(lines, sizeof lines)), SOREX_OK);
    assert_int_equal(run(&b, 14, BLOCK("")), SOREX_OK);
    bench_close(&b);
}

static void test_the_largest_height_and_no_state(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, "tiny_indexer_start", NULL);
    assert_int_equal(run(&b, UINT32_MAX - 1, BLOCK("")), SOREX_OK);
    assert_true(bytes_equal(map_value(&b.written, "s"), BLOCK("\xfe\xff\xff\xff")));
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_errors),
        cmocka_unit_test(test_pairs_of_a_flush),
        cmocka_unit_test(test_duplicates_empties_and_odd_elements),
        cmocka_unit_test(test_an_empty_flush_counts),
        cmocka_unit_test(test_a_broken_flush_fails_the_block),
        cmocka_unit_test(test_no_flush),
        cmocka_unit_test(test_reads_stay_below_over_several_flushes),
        cmocka_unit_test(test_len_and_get_are_one_lookup),
        cmocka_unit_test(test_a_failed_read_is_never_absent),
        cmocka_unit_test(test_a_failed_write_passes_through),
        cmocka_unit_test(test_a_trap_writes_nothing_and_names_the_function),
        cmocka_unit_test(test_out_of_fuel),
        cmocka_unit_test(test_memory_grows_to_its_limit),
        cmocka_unit_test(test_fresh_memory_always),
        cmocka_unit_test(test_a_start_section_may_call_imports),
        cmocka_unit_test(test_unknown_functions_trap_when_called),
        cmocka_unit_test(test_bad_pointers_fail_the_block),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_log_lines),
        cmocka_unit_test(test_the_largest_height_and_no_state),
    };
    traps_keep();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
