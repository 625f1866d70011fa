/* The report on a module, and modules that are broken at every place. */
#include "wasm/module.h"

#include <stdlib.h>

#include "wasm/inspect.h"

static const char module[] =
    "(module (import \"env\" \"get\" (func $get (param i32 i32) (result i32)))"
    " (import \"env\" \"table\" (table 2 9 externref)) (import \"env\" \"base\" (global i32))"
    " (memory (export \"memory\") 17 100) (table 3 funcref) (global $g (export \"g\") (mut i64) (i64.const -1))"
    " (global i32 (i32.const 4)) (func $main (export \"_start\") (result i32 f64) (i32.const 0) (f64.const 1))"
    " (func $_ZN3foo3bar17h0123456789abcdefE (drop (i32.extend8_s (i32.const 1)))) (start 2)"
    " (data (i32.const 0) \"hello\") (data $p \"passive\") (elem (table 1) (i32.const 0) func $main)"
    " (@custom \"producers\" \"xyz\"))";

static void test_report(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct buf binary = binary_of(module);
    struct arena arena;
    struct wasm_report report;
    arena_init(&arena, 0);
    assert_ok(wasm_inspect(buf_view(&binary), &arena, &report, &err));
    assert_int_equal(report.imports_count, 3);
    assert_true(bytes_is(report.imports[0].module, "env") && bytes_is(report.imports[0].name, "get"));
    assert_string_equal(report.imports[0].type, "(i32, i32) -> i32");
    assert_int_equal(report.imports[1].kind, WASM_KIND_TABLE);
    assert_string_equal(report.imports[1].type, "externref 2..9");
    assert_string_equal(report.imports[2].type, "i32");
    assert_int_equal(report.exports_count, 3);
    assert_true(bytes_is(report.exports[0].name, "memory"));
    assert_string_equal(report.exports[0].type, "pages 17..100");
    assert_string_equal(report.exports[1].type, "mut i64");
    assert_int_equal(report.exports[1].index, 1);
    assert_string_equal(report.exports[2].type, "() -> (i32, f64)");
    assert_int_equal(report.memories_count, 1);
    assert_int_equal(report.memories[0].min, 17);
    assert_int_equal(report.memories[0].max, 100);
    assert_int_equal(report.tables_count, 2);
    assert_true(report.tables[0].imported && !report.tables[1].imported);
    assert_int_equal(report.tables[1].max, UINT64_MAX);
    assert_int_equal(report.functions, 2);
    assert_int_equal(report.globals, 2);
    assert_int_equal(report.globals_mutable, 1);
    assert_int_equal(report.data_segments, 2);
    assert_int_equal(report.data_bytes, 5 + 7);
    assert_int_equal(report.elem_segments, 1);
    assert_true(report.start && report.start_func == 2);
    assert_true(report.names);
    assert_int_equal(report.bytes, binary.len);
    assert_int_equal(report.customs_count, 2);
    bool producers = false;
    for (size_t i = 0; i < report.customs_count; i++)
        producers |= bytes_is(report.customs[i].name, "producers") && bytes_is(report.customs[i].content, "xyz");
    assert_true(producers);
    assert_true(report.features.sign_extension && report.features.bulk_memory && report.features.multi_value &&
                report.features.reference_types);
    assert_false(report.features.simd || report.features.threads || report.features.unknown ||
                 report.features.tail_call || report.features.saturating_float);
    arena_deinit(&arena);
    buf_deinit(&binary);
}

static struct wasm_features features_of(const char *text)
{
    struct sorex_error err = {0};
    struct buf binary = binary_of(text);
    struct arena arena;
    struct wasm_report report;
    arena_init(&arena, 0);
    assert_ok(wasm_inspect(buf_view(&binary), &arena, &report, &err));
    arena_deinit(&arena);
    buf_deinit(&binary);
    return report.features;
}

static void test_features(void **state)
{
    (void)state;
    assert_true(features_of("(module (func (drop (v128.const i64x2 0 0))))").simd);
    assert_true(features_of("(module (func (drop (f32x4.relaxed_min (v128.const i64x2 0 0) (v128.const i64x2 0 0)))))")
                    .relaxed_simd);
    assert_true(features_of("(module (memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0)))))").threads);
    assert_true(features_of("(module (memory i64 1))").memory64);
    assert_true(features_of("(module (memory 1) (memory 1))").multi_memory);
    assert_true(features_of("(module (func $f return_call $f))").tail_call);
    assert_true(features_of("(module (tag))").exceptions);
    assert_true(features_of("(module (type (struct (field i32))))").gc);
    assert_true(features_of("(module (func (drop (i32.trunc_sat_f64_u (f64.const 1)))))").saturating_float);
    assert_true(features_of("(module (tag) (func (throw 0)))").unknown);
    struct wasm_features plain = features_of("(module (memory 1) (func (param i32) (result i32) (local.get 0)))");
    const struct wasm_features none = {0};
    assert_memory_equal(&plain, &none, sizeof none);
}

static enum sorex_status inspect_copy(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len == 0 ? 1 : len);
    assert_non_null(copy);
    memcpy(copy, data, len);
    struct sorex_error err = {0};
    struct arena arena;
    struct wasm_report report;
    arena_init(&arena, 16u << 20);
    enum sorex_status status = wasm_inspect(bytes_of(copy, len), &arena, &report, &err);
    assert_true(status == SOREX_OK || status == SOREX_INVALID || status == SOREX_NOMEM);
    for (size_t i = 0; status == SOREX_OK && i < report.exports_count; i++)
        assert_true(strlen(report.exports[i].type) < 1000);
    arena_deinit(&arena);
    free(copy);
    return status;
}

static void test_broken(void **state)
{
    (void)state;
    struct buf binary = binary_of(module);
    for (size_t len = 0; len < 8; len++)
        assert_int_equal(inspect_copy(binary.data, len), SOREX_INVALID);
    for (size_t len = 8; len <= binary.len; len++)
        (void)inspect_copy(binary.data, len); /* a cut between two sections is a shorter module */
    assert_int_equal(inspect_copy(binary.data, binary.len - 1), SOREX_INVALID);
    uint64_t seed = 88172645463325252u;
    for (int round = 0; round < 20000; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t at = 8 + (size_t)(seed >> 33) % (binary.len - 8);
        uint8_t old = binary.data[at];
        binary.data[at] = (uint8_t)(seed >> 20);
        (void)inspect_copy(binary.data, binary.len);
        if (round % 5 != 0)
            binary.data[at] = old;
    }
    buf_deinit(&binary);
}

/* Counts that promise more than there is allocate nothing. */
static void test_large_counts(void **state)
{
    (void)state;
    for (uint8_t id = 1; id <= 11; id++) {
        uint8_t bytes[] = {0, 'a', 's', 'm', 1, 0, 0, 0, id, 5, 0xff, 0xff, 0xff, 0xff, 0x0f};
        assert_int_equal(inspect_copy(bytes, sizeof bytes), id == 8 ? SOREX_OK : SOREX_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_large_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
