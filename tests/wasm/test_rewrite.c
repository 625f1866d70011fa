/* The rewriter: what becomes visible, what stays as it was, what is refused; and reading broken modules. */
#include "wasm/module.h"

#include <stdlib.h>

#include "wasm/rewrite.h"

static struct wasm_program *rewritten(const char *text)
{
    struct sorex_error err = {0};
    struct buf binary = binary_of(text);
    struct buf out = {0};
    assert_ok(wasm_rewrite(buf_view(&binary), &out, &err));
    struct wasm_program *program = NULL;
    assert_ok(wasm_program_open(buf_view(&out), &(struct wasm_program_options){.unknown_functions_trap = true},
                                &program, &err));
    buf_deinit(&binary);
    buf_deinit(&out);
    return program;
}

static uint64_t global(struct wasm_sandbox *sandbox, const char *name)
{
    struct sorex_error err = {0};
    uint64_t bits = 0;
    const struct wasm_export *export = wasm_program_export(wasm_sandbox_program(sandbox), name);
    assert_non_null(export);
    assert_ok(wasm_sandbox_global_get(sandbox, export, &bits, &err));
    return bits;
}

static void test_globals_visible(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program = rewritten(
        "(module (import \"env\" \"f\" (func)) (memory (export \"memory\") 1) (global $sp (mut i32) (i32.const 65536))"
        " (global $k i64 (i64.const 9)) (global $n (mut i64) (i64.const 3)) (global $x (mut f64) (f64.const 0.5))"
        " (func $init (global.set $n (i64.const 4))) (start $init) (data (i32.const 0) \"abc\")"
        " (func (export \"step\") (param i32) (result i32) (global.set $sp (i32.sub (global.get $sp) (local.get 0)))"
        "  (global.set $n (i64.add (global.get $n) (global.get $k))) (global.get $sp)))");
    struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
    assert_int_equal(global(sandbox, "sorex:global:0"), 65536);
    assert_null(wasm_program_export(program, "sorex:global:1")); /* not mutable */
    assert_int_equal(global(sandbox, "sorex:global:2"), 4);
    assert_int_equal(global(sandbox, "sorex:global:3"), 0x3fe0000000000000);
    int32_t value = 16;
    assert_ok(call(sandbox, "step", &value, &err));
    assert_int_equal(value, 65520);
    assert_int_equal(global(sandbox, "sorex:global:2"), 13);
    const struct wasm_export *sp = wasm_program_export(program, "sorex:global:0");
    assert_ok(wasm_sandbox_global_set(sandbox, sp, 100, &err));
    value = 1;
    assert_ok(call(sandbox, "step", &value, &err));
    assert_int_equal(value, 99);
    wasm_sandbox_close(sandbox);
    wasm_program_close(program);
}

/* The export section is added in its place among the others. */
static void test_no_exports(void **state)
{
    (void)state;
    static const char *const modules[] = {
        "(module (global (mut i32) (i32.const 7)))",
        "(module (global (mut i32) (i32.const 7)) (func $f) (start $f))",
        "(module (global (mut i32) (i32.const 7)) (table 1 funcref) (func $f) (elem (i32.const 0) $f))",
        "(module (memory 1) (data $d \"abc\") (global (mut i32) (i32.const 7)) (func (memory.init $d (i32.const 0)"
        " (i32.const 0) (i32.const 1))))",
        "(module (memory 1) (global (mut i32) (i32.const 7)) (data (i32.const 0) \"abc\"))",
    };
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        struct wasm_program *program = rewritten(modules[i]);
        struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
        assert_int_equal(global(sandbox, "sorex:global:0"), 7);
        wasm_sandbox_close(sandbox);
        wasm_program_close(program);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *module;
        const char *text;
    } cases[] = {
        {"(module (table 1 funcref) (func) (func (table.set (i32.const 0) (ref.null func))))",
         "function 1 uses table.set"},
        {"(module (table 1 funcref) (func (drop (table.grow (ref.null func) (i32.const 1)))))", "uses table.grow"},
        {"(module (table 1 funcref) (func (table.fill (i32.const 0) (ref.null func) (i32.const 1))))",
         "uses table.fill"},
        {"(module (table 1 funcref) (func (table.copy (i32.const 0) (i32.const 0) (i32.const 1))))", "uses table.copy"},
        {"(module (table 1 funcref) (elem $e func) (func (table.init $e (i32.const 0) (i32.const 0) (i32.const 0))))",
         "uses table.init"},
        {"(module (elem $e func) (func (elem.drop $e)))", "uses elem.drop"},
        {"(module (import \"a\" \"b\" (func)) (data $d \"a\") (func (block (loop (data.drop $d)))))",
         "function 1 uses data.drop"},
        {"(module (global (mut v128) (v128.const i64x2 0 0)))", "global 0 is mutable and of type v128"},
        {"(module (global (mut funcref) (ref.null func)))", "global 0 is mutable and of type funcref"},
        {"(module (import \"a\" \"b\" (global (mut i32))))", "imports a mutable global"},
        {"(module (func (export \"sorex:global:0\")))", "reserved name sorex:global:0"},
        {"(module (memory 1 1 shared) (tag) (func (throw 0)))", "unknown instruction 0x08"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sorex_error err = {0};
        struct buf binary = binary_of(cases[i].module);
        struct buf out = {0};
        assert_int_equal(wasm_rewrite(buf_view(&binary), &out, &err), SOREX_INVALID);
        if (strstr(err.text, cases[i].text) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", cases[i].text, err.text);
        assert_int_equal(out.len, 0);
        buf_deinit(&out);
        buf_deinit(&binary);
    }
}

/* Every shape of instruction in one body; a mistake in one of them would make the next ones unknown. */
static const char every_shape[] =
    "(module (memory 1) (table $t 2 funcref) (type $v (func)) (type $two (func (param i32) (result i32 i32)))"
    " (global $g (mut i32) (i32.const 0)) (data $d \"abcd\") (elem declare func $f)"
    " (func $f) (func (param i32) (result i32) (local v128 f32 i64)"
    " (block (loop (if (local.get 0) (then (br 1)) (else (br_if 2 (i32.const -1))))))"
    " (block (block (block (br_table 0 1 2 (local.get 0)))))"
    " (call_indirect (type $v) (i32.const 0)) (drop (table.get 0 (i32.const 0))) (drop (table.size 0))"
    " (drop (ref.is_null (ref.func $f))) (drop (ref.null func))"
    " (drop (select (result i32) (i32.const 1) (i32.const 2) (i32.const 3))) (drop (select (i32.const 1) (i32.const 2)"
    " (i32.const 3))) (i32.const 5) (block (type $two) (i32.const 6)) (drop) (drop)"
    " (i64.store offset=4000000000 align=4 (i32.const 0) (i64.const -9223372036854775808))"
    " (drop (i64.load32_s (i32.const 0))) (drop (f32.const 1.5)) (drop (f64.const -2.5))"
    " (drop (i32.extend8_s (i32.const 200))) (drop (i32.trunc_sat_f32_s (f32.const 9)))"
    " (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) (memory.copy (i32.const 0) (i32.const 1) (i32.const "
    "2))"
    " (memory.fill (i32.const 0) (i32.const 1) (i32.const 2)) (drop (memory.grow (memory.size)))"
    " (local.set 1 (v128.const i64x2 1 2)) (drop (v128.load (i32.const 0))) (v128.store (i32.const 0) (local.get 1))"
    " (drop (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (local.get 1) (local.get 1)))"
    " (drop (i8x16.swizzle (local.get 1) (local.get 1))) (drop (i32x4.splat (i32.const 1)))"
    " (drop (i16x8.extract_lane_s 3 (local.get 1))) (drop (f64x2.replace_lane 1 (local.get 1) (f64.const 1)))"
    " (drop (i8x16.eq (local.get 1) (local.get 1))) (drop (v128.bitselect (local.get 1) (local.get 1) (local.get 1)))"
    " (drop (v128.load8_lane 3 (i32.const 0) (local.get 1))) (v128.store64_lane 1 (i32.const 0) (local.get 1))"
    " (drop (v128.load32_zero (i32.const 0))) (drop (v128.load64_zero (i32.const 0))) (drop (f32x4.add (local.get 1)"
    " (local.get 1))) (drop (f64x2.promote_low_f32x4 (local.get 1))) (drop (i64x2.abs (local.get 1)))"
    " (drop (i8x16.relaxed_swizzle (local.get 1) (local.get 1))) (global.set $g (i32.const 1))"
    " (return_call 1 (i32.const 1))))";

static void test_every_shape(void **state)
{
    (void)state;
    struct wasm_program *program = rewritten(every_shape);
    assert_non_null(wasm_program_export(program, "sorex:global:0"));
    wasm_program_close(program);
}

/* A copy of the exact length, so that the address sanitizer sees a read past the end. */
static void rewrite_copy(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len == 0 ? 1 : len);
    assert_non_null(copy);
    memcpy(copy, data, len);
    struct sorex_error err = {0};
    struct buf out = {0};
    enum sorex_status status = wasm_rewrite(bytes_of(copy, len), &out, &err);
    assert_true(status == SOREX_OK || status == SOREX_INVALID);
    assert_true(status == SOREX_OK || (out.len == 0 && err.text[0] != '\0'));
    buf_deinit(&out);
    free(copy);
}

static void test_broken(void **state)
{
    (void)state;
    struct buf binary = binary_of(every_shape);
    for (size_t len = 0; len <= binary.len; len++)
        rewrite_copy(binary.data, len);
    uint64_t seed = 0x9e3779b97f4a7c15;
    for (int round = 0; round < 20000; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t at = (size_t)(seed >> 33) % binary.len;
        uint8_t old = binary.data[at];
        binary.data[at] = (uint8_t)(seed >> 20);
        rewrite_copy(binary.data, binary.len);
        if (round % 7 != 0)
            binary.data[at] = old; /* some damage stays */
    }
    buf_deinit(&binary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_globals_visible), cmocka_unit_test(test_no_exports), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_shape),     cmocka_unit_test(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
