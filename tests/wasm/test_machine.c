/* Machines: what a module wants, calls and how they end, jumps, images, libraries, boundaries. (tests/pg runs a whole
 * PostgreSQL in one.) */
#include "wasm/module.h"

#include <stdlib.h>

#include "wasm/machine.h"

/* As Emscripten makes them: an invoke function whose callee jumps or not; exports of the stack; a start function. */
static const char module_text[] =
    "(module (import \"env\" \"invoke_ii\" (func $invoke (param i32 i32) (result i32)))"
    " (import \"env\" \"_emscripten_throw_longjmp\" (func $throw))"
    " (import \"env\" \"host\" (func $host (param i32) (result i32)))"
    " (memory 2 8) (table 4 funcref) (elem (i32.const 1) $returns $jumps $traps)"
    " (global $sp (export \"__stack_pointer\") (mut i32) (i32.const 65536)) (global $threw (mut i32) (i32.const 0))"
    " (data (i32.const 1024) \"data\")"
    " (func $begin (i32.store (i32.const 2048) (i32.const 77))) (start $begin)"
    " (func (export \"emscripten_stack_get_current\") (result i32) (global.get $sp))"
    " (func (export \"_emscripten_stack_restore\") (param i32) (global.set $sp (local.get 0)))"
    " (func (export \"setThrew\") (param i32 i32) (global.set $threw (local.get 0)))"
    " (func $returns (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))"
    " (func $jumps (param i32) (result i32) (global.set $sp (i32.const 60000)) (call $throw) (i32.const 5))"
    " (func $traps (param i32) (result i32) unreachable)"
    " (func (export \"try\") (param i32 i32) (result i32) (call $invoke (local.get 0) (local.get 1)))"
    " (func (export \"threw\") (result i32) (global.get $threw))"
    " (func (export \"load\") (param i32) (result i32) (i32.load (local.get 0)))"
    " (func (export \"add\") (param i32) (result i32)"
    "   (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (local.get 0)))"
    "   (global.set $threw (i32.add (global.get $threw) (i32.const 1))) (i32.load (i32.const 4096)))"
    " (func (export \"ask\") (param i32) (result i32) (call $host (local.get 0)))"
    " (func (export \"slot\") (param i32 i32) (result i32)"
    "   (call_indirect (param i32) (result i32) (local.get 1) (local.get 0)))"
    " (func $deep (export \"deep\") (param i32) (result i32)"
    "   (i32.add (i32.const 1) (if (result i32) (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1))))"
    "     (else (i32.const 0))))))";

enum { TRY_, THREW, LOAD, ADD, ASK, SLOT, DEEP };
static const struct machine_export exports[] = {
    {"try", "(i32, i32) -> i32"}, {"threw", "() -> i32"},        {"load", "(i32) -> i32"}, {"add", "(i32) -> i32"},
    {"ask", "(i32) -> i32"},      {"slot", "(i32, i32) -> i32"}, {"deep", "(i32) -> i32"}};

/* 1: ends; 2: the host fails; 3: asks again from inside; others: doubled. */
static enum machine_next on_host(void *user_data, struct machine *machine, union wasm_value *values)
{
    int *calls = user_data;
    struct sorex_error err = {0};
    ++*calls;
    union wasm_value inner = {.u32 = 1};
    bool exited = false;
    switch (values[0].u32) {
    case 1:
        return MACHINE_EXIT;
    case 2:
        return machine_fail(machine, SOREX_IO, "the host's %s", "disk");
    case 3:
        assert_ok(machine_call(machine, ASK, &inner, &exited, &err));
        assert_true(exited);
        values[0].u32 = 33;
        return MACHINE_GO;
    default:
        values[0].u32 *= 2;
        return MACHINE_GO;
    }
}

static const struct machine_import imports[] = {{"env", "host", "(i32) -> i32", on_host}};
static const struct machine_import callback = {"host", "callback", "(i32) -> i32", on_host};
static const struct machine_code_options options = {.name = "test",
                                                    .imports = imports,
                                                    .imports_count = 1,
                                                    .exports = exports,
                                                    .exports_count = sizeof exports / sizeof *exports};

static struct buf module;
static struct machine_code *code;
static int calls;

static int setup(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    module = binary_of(module_text);
    assert_ok(machine_code_open(buf_view(&module), &options, &code, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    machine_code_close(code);
    buf_deinit(&module);
    return 0;
}

static struct machine *machine_of(bool started)
{
    struct sorex_error err = {0};
    struct machine *machine = NULL;
    calls = 0;
    assert_ok(machine_open(code, &(struct machine_options){.user_data = &calls}, &machine, &err));
    if (started)
        assert_ok(machine_start(machine, buf_view(&module), &err));
    return machine;
}

static uint32_t call2(struct machine *machine, size_t func, uint32_t a, uint32_t b)
{
    struct sorex_error err = {0};
    union wasm_value values[2] = {{.u32 = a}, {.u32 = b}};
    assert_ok(machine_call(machine, func, values, NULL, &err));
    return values[0].u32;
}

static void test_calls(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct machine *machine = machine_of(true);
    union wasm_value value = {.u32 = 1};
    bool exited = false;
    assert_int_equal(call2(machine, LOAD, 1024, 0), 0x61746164); /* "data" */
    assert_int_equal(call2(machine, LOAD, 2048, 0), 77);
    assert_int_equal(call2(machine, ASK, 21, 0), 42);
    assert_ok(machine_call(machine, ASK, &value, &exited, &err));
    assert_true(exited);
    assert_int_equal(call2(machine, ASK, 3, 0), 33); /* an end inside of a host function ends only that call */
    value.u32 = 2;
    assert_int_equal(machine_call(machine, ASK, &value, &exited, &err), SOREX_IO);
    assert_string_equal(err.text, "the host's disk");
    value.u32 = 1;
    assert_int_equal(machine_call(machine, ASK, &value, NULL, &err), SOREX_GUEST);
    assert_int_equal(call2(machine, ASK, 4, 0), 8);
    machine_close(machine);
}

static void test_jumps(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct machine *machine = machine_of(true);
    union wasm_value values[2] = {{.u32 = 3}, {.u32 = 0}};
    assert_int_equal(call2(machine, TRY_, 1, 9), 10);
    assert_int_equal(call2(machine, THREW, 0, 0), 0);
    assert_int_equal(call2(machine, TRY_, 2, 9), 0);
    assert_int_equal(call2(machine, THREW, 0, 0), 1);
    assert_int_equal(call2(machine, TRY_, 1, 9), 10);
    assert_int_equal(machine_call(machine, TRY_, values, NULL, &err), SOREX_GUEST); /* a trap is no jump */
    assert_non_null(strstr(err.text, "unreachable"));
    machine_close(machine);
}

/* Deeper than the caller's thread could: the stack is the machine's own. */
static void test_stack(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct machine *machine = machine_of(true);
    union wasm_value value = {.u32 = 100000000};
    assert_int_equal(call2(machine, DEEP, 500000, 0), 500001);
    assert_int_equal(machine_call(machine, DEEP, &value, NULL, &err), SOREX_LIMIT);
    assert_non_null(strstr(err.text, "stack overflow"));
    machine_close(machine);
}

static const char library_text[] =
    "(module (@custom \"dylink.0\" (before first) \"\\01\\04\\10\\04\\02\\00\")"
    " (import \"env\" \"memory\" (memory 1)) (import \"env\" \"__indirect_function_table\" (table 1 funcref))"
    " (import \"env\" \"__memory_base\" (global $m i32)) (import \"env\" \"__table_base\" (global $t i32))"
    " (import \"env\" \"add\" (func $add (param i32) (result i32)))"
    " (import \"GOT.func\" \"triple\" (global $got (mut i32)))"
    " (data (global.get $m) \"\\05\\00\\00\\00\") (elem (global.get $t) func $triple)"
    " (global (export \"five\") i32 (i32.const 0))"
    " (func $triple (export \"triple\") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))"
    " (func (export \"own\") (param i32) (result i32)"
    "   (call $add (i32.add (i32.load (global.get $m)) (local.get 0))))"
    " (func (export \"address\") (param i32) (result i32) (global.get $got)))";

static struct machine_code *library_of(const char *text)
{
    struct sorex_error err = {0};
    struct buf wasm = binary_of(text);
    struct machine_code *library = NULL;
    assert_ok(machine_code_open(buf_view(&wasm), &(struct machine_code_options){.name = "library", .library = true},
                                &library, &err));
    buf_deinit(&wasm);
    return library;
}

static void test_library_and_image(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct machine_code *library_code = library_of(library_text);
    struct machine *machine = machine_of(true), *fork = machine_of(false);
    struct machine_image image, copy;
    uint32_t slot, own, triple, five, again;
    size_t library;
    assert_int_equal(machine_code_needs(library_code).memory_align, 16);
    assert_ok(machine_callback_add(machine, &callback, &slot, &err));
    assert_int_equal(slot, 4);
    assert_int_equal(call2(machine, SLOT, slot, 4), 8);
    assert_ok(machine_library_add(machine, library_code, 8192, &library, &err));
    assert_ok(machine_library_symbol(machine, library, "own", &own, &err));
    assert_ok(machine_library_symbol(machine, library, "own", &again, &err));
    assert_int_equal(own, again); /* a function has one address */
    assert_ok(machine_library_symbol(machine, library, "triple", &triple, &err));
    assert_int_equal(triple, 5); /* where its own element segment put it */
    assert_ok(machine_library_symbol(machine, library, "five", &five, &err));
    assert_int_equal(five, 8192);
    assert_int_equal(machine_library_symbol(machine, library, "six", &again, &err), SOREX_GONE);
    assert_int_equal(call2(machine, SLOT, own, 10), 15);
    assert_int_equal(call2(machine, SLOT, triple, 5), 15);
    assert_ok(machine_save(machine, &image, &err));
    assert_ok(machine_image_copy(&copy, &image, &err));
    machine_image_deinit(&image);
    assert_int_equal(call2(machine, SLOT, own, 10), 30);
    for (int round = 0; round < 2; round++) {
        struct machine *target = round == 0 ? machine : fork;
        assert_ok(machine_restore(target, &copy, &err));
        assert_int_equal(machine_table_size(target), 8);
        assert_int_equal(call2(target, THREW, 0, 0), 1); /* a global that the module does not export */
        assert_int_equal(call2(target, SLOT, own, 10), 30);
        assert_int_equal(call2(target, SLOT, slot, 4), 8);
    }
    assert_ok(machine_callback_add(fork, &callback, &slot, &err));
    assert_int_equal(machine_restore(fork, &copy, &err), SOREX_MISMATCH); /* the table cannot shrink */
    machine_image_deinit(&copy);
    machine_close(machine);
    machine_close(fork);
    machine_code_close(library_code);
}

/* Two machines that came from one image and went different ways have tables of one size, but not the same. */
static void test_other_additions(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    static const struct machine_import other = {"host", "other", "(i32) -> i32", on_host};
    struct machine *one = machine_of(true), *two = machine_of(false);
    struct machine_image base, later;
    uint32_t slot;
    assert_ok(machine_save(one, &base, &err));
    assert_ok(machine_callback_add(one, &callback, &slot, &err));
    assert_ok(machine_save(one, &later, &err));
    assert_ok(machine_restore(two, &base, &err));
    assert_ok(machine_callback_add(two, &other, &slot, &err));
    assert_int_equal(machine_restore(two, &later, &err), SOREX_MISMATCH);
    machine_image_deinit(&base);
    machine_image_deinit(&later);
    machine_close(one);
    machine_close(two);
}

static void test_what_does_not_fit(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct machine_code *other = NULL;
    struct machine_code_options wrong = options;
    static const struct machine_import other_type[] = {{"env", "host", "(i64) -> i32", on_host}};
    static const struct machine_export no_export[] = {{"load", "(i32) -> i64"}};
    wrong.imports_count = 0;
    assert_int_equal(machine_code_open(buf_view(&module), &wrong, &other, &err), SOREX_INVALID);
    assert_non_null(strstr(err.text, "env.host"));
    wrong = options;
    wrong.imports = other_type;
    assert_int_equal(machine_code_open(buf_view(&module), &wrong, &other, &err), SOREX_INVALID);
    assert_non_null(strstr(err.text, "env.host (i32) -> i32 (the host has (i64) -> i32)"));
    wrong = options;
    wrong.exports = no_export;
    wrong.exports_count = 1;
    assert_int_equal(machine_code_open(buf_view(&module), &wrong, &other, &err), SOREX_INVALID);
    assert_non_null(strstr(err.text, "export load is (i32) -> i32, wanted is (i32) -> i64"));
    static const uint8_t nothing[] = "no module";
    assert_int_equal(machine_code_open(bytes_of(nothing, 9), &options, &other, &err), SOREX_INVALID);
    size_t whole = 0; /* behind the code come only data, which a skeleton leaves out, and names */
    for (size_t len = 0; len < module.len; len++) {
        enum sorex_status status = machine_code_open(bytes_of(module.data, len), &options, &other, &err);
        assert_true(status == SOREX_INVALID || (status == SOREX_OK && len > module.len / 2));
        if (status == SOREX_OK)
            machine_code_close(other);
        whole += status == SOREX_OK;
    }
    assert_in_range(whole, 1, 3);
    /* A library that wants what nobody has changes nothing. */
    struct machine_code *stranger =
        library_of("(module (@custom \"dylink.0\" (before first) \"\\01\\04\\10\\04\\02\\00\")"
                   " (import \"env\" \"nobody\" (func)) (import \"GOT.mem\" \"nothing\" (global (mut i32))))");
    struct machine *machine = machine_of(true);
    size_t library;
    assert_int_equal(machine_library_add(machine, stranger, 8192, &library, &err), SOREX_INVALID);
    assert_non_null(strstr(err.text, "env.nobody"));
    assert_int_equal(machine_table_size(machine), 4);
    machine_close(machine);
    machine_code_close(stranger);
}

static void test_memory_limit(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct machine *machine = NULL;
    bool grown;
    assert_ok(machine_open(code, &(struct machine_options){.memory_bytes_max = 4 * 65536, .user_data = &calls},
                           &machine, &err));
    assert_ok(machine_memory_grow(machine, 2 * 65536, &grown, &err));
    assert_true(grown);
    assert_int_equal(machine_memory(machine).len, 4 * 65536);
    assert_int_equal(call2(machine, LOAD, 4 * 65536 - 4, 0), 0);
    assert_ok(machine_memory_grow(machine, 65536, &grown, &err));
    assert_false(grown);
    assert_int_equal(machine_memory(machine).len, 4 * 65536);
    machine_close(machine);
    assert_int_equal(machine_open(code, &(struct machine_options){.memory_bytes_max = 65536}, &machine, &err),
                     SOREX_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),           cmocka_unit_test(test_jumps),
        cmocka_unit_test(test_stack),           cmocka_unit_test(test_library_and_image),
        cmocka_unit_test(test_other_additions), cmocka_unit_test(test_what_does_not_fit),
        cmocka_unit_test(test_memory_limit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
