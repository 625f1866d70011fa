/* Sandboxes: freshness, traps and their texts, limits, host calls, globals, determinism of NaNs. */
#include "wasm/module.h"

#include <pthread.h>
#include <sys/resource.h>

/* Everything that can remember: memory, a global, a table, a dropped segment. */
static const char counter[] =
    "(module (memory (export \"memory\") 1 4) (global $g (mut i32) (i32.const 0)) (table 2 funcref)"
    " (data $d \"abcd\") (elem declare func $f)"
    " (func $f) (func (export \"bump\") (param i32) (result i32)"
    "   (i32.store (i32.const 60000) (i32.add (i32.load (i32.const 60000)) (i32.const 1)))"
    "   (global.set $g (i32.add (global.get $g) (i32.const 1)))"
    "   (table.set (i32.const 1) (ref.func $f))"
    "   (i32.add (i32.load (i32.const 60000)) (i32.mul (global.get $g) (i32.const 100))))"
    " (func (export \"drop\") (param i32) (result i32)"
    "   (memory.init $d (i32.const 0) (i32.const 0) (i32.const 4)) (data.drop $d)"
    "   (i32.add (ref.is_null (table.get (i32.const 1))) (memory.grow (i32.const 1)))))";

static void fresh_each_time(uint64_t resident_bytes)
{
    struct sorex_error err = {0};
    struct wasm_program *program =
        program_of(counter, &(struct wasm_program_options){.settings = {.resident_bytes = resident_bytes}});
    for (int round = 0; round < 50; round++) {
        struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
        int32_t value = 0;
        assert_ok(call(sandbox, "drop", &value, &err));
        assert_int_equal(value, 2); /* the table entry is null (1), the memory had one page (1) */
        assert_ok(call(sandbox, "bump", &value, &err));
        assert_int_equal(value, 101);
        assert_ok(call(sandbox, "bump", &value, &err));
        assert_int_equal(value, 202);
        struct wasm_memory memory = wasm_sandbox_memory(sandbox);
        assert_int_equal(memory.len, 2 * 65536);
        for (size_t i = 4; i < 60000; i++)
            assert_int_equal(memory.data[i], 0);
        memset(memory.data, 0xa5, memory.len);
        wasm_sandbox_close(sandbox);
    }
    wasm_program_close(program);
}

/* Whichever way a slot is cleared: by its size's default, all at once, hardly. */
static void test_fresh_each_time(void **state)
{
    (void)state;
    fresh_each_time(0);
    fresh_each_time(65536);
    fresh_each_time(4096);
    fresh_each_time((uint64_t)1 << 30);
}

static void test_fresh_after_trap(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program =
        program_of("(module (memory (export \"memory\") 1) (func (export \"f\") (param i32) (result i32)"
                   " (i32.load (i32.const 0)) (i32.store (i32.const 0) (i32.const 7))"
                   " (if (local.get 0) (then unreachable))))",
                   &(struct wasm_program_options){0});
    for (int32_t round = 0; round < 20; round++) {
        struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
        int32_t value = round % 2;
        enum sorex_status status = call(sandbox, "f", &value, &err);
        assert_int_equal(status, round % 2 == 0 ? SOREX_OK : SOREX_GUEST);
        if (round % 2 == 0)
            assert_int_equal(value, 0);
        wasm_sandbox_close(sandbox);
    }
    wasm_program_close(program);
}

static const char traps[] =
    "(module (memory (export \"memory\") 1) (table 1 funcref) (type $t (func))"
    " (func $rust (export \"unreachable\") (param i32) unreachable)"
    " (func $bounds (export \"bounds\") (param i32) (drop (i32.load (i32.const 65533))))"
    " (func $_ZN8balances7process17h0123456789abcdefE (export \"divide\") (param i32)"
    "   (drop (i32.div_s (i32.const 1) (local.get 0))))"
    " (func $null (export \"null\") (param i32) (call_indirect (type $t) (i32.const 0)))"
    " (func $table (export \"table\") (param i32) (call_indirect (type $t) (i32.const 9)))"
    " (func $deep (export \"deep\") (param i32) (call $deep (i32.const 0)))"
    " (func $float (export \"float\") (param i32) (drop (i32.trunc_f64_s (f64.const 1e30))))"
    " (func $overflow (export \"overflow\") (param i32) (drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))))";

static void test_trap_texts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum sorex_status status;
        enum wasm_end end;
        const char *text;
    } cases[] = {
        {"unreachable", SOREX_GUEST, WASM_END_TRAP, "trap: unreachable executed in rust"},
        {"bounds", SOREX_GUEST, WASM_END_TRAP, "trap: out of bounds memory access in bounds"},
        {"divide", SOREX_GUEST, WASM_END_TRAP, "trap: integer divide by zero in balances::process"},
        {"null", SOREX_GUEST, WASM_END_TRAP, "trap: indirect call to null in null"},
        {"table", SOREX_GUEST, WASM_END_TRAP, "trap: out of bounds table access in table"},
        {"deep", SOREX_LIMIT, WASM_END_STACK, "stack overflow: the limit is 1048576 bytes in deep"},
        {"float", SOREX_GUEST, WASM_END_TRAP, "trap: integer overflow in float"},
        {"overflow", SOREX_GUEST, WASM_END_TRAP, "trap: integer overflow in overflow"},
    };
    struct wasm_program *program = program_of(traps, &(struct wasm_program_options){0});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sorex_error err = {0};
        struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
        int32_t value = 0;
        assert_int_equal(call(sandbox, cases[i].name, &value, &err), cases[i].status);
        assert_string_equal(err.text, cases[i].text);
        assert_int_equal(err.status, cases[i].status);
        assert_int_equal(wasm_sandbox_end(sandbox), cases[i].end);
        assert_int_equal(wasm_sandbox_end_deterministic(sandbox), cases[i].end == WASM_END_TRAP);
        wasm_sandbox_close(sandbox);
    }
    wasm_program_close(program);
}

static void test_trap_without_names(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program =
        program_of("(module (func) (func (export \"f\") (param i32) unreachable))", &(struct wasm_program_options){0});
    struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
    int32_t value = 0;
    assert_int_equal(call(sandbox, "f", &value, &err), SOREX_GUEST);
    assert_string_equal(err.text, "trap: unreachable executed in function 1");
    assert_null(wasm_sandbox_memory(sandbox).data);
    wasm_sandbox_close(sandbox);
    wasm_program_close(program);
}

static void test_fuel(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program = program_of(
        "(module (func $spin (export \"spin\") (param i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0)"
        " (i32.const 1)))))))",
        &(struct wasm_program_options){.settings = {.metered = true}});
    struct wasm_sandbox *sandbox = sandbox_of(program, &(struct wasm_limits){.fuel = 10000});
    int32_t value = 10;
    assert_ok(call(sandbox, "spin", &value, &err));
    uint64_t ten = wasm_sandbox_fuel_used(sandbox);
    assert_true(ten > 10 && ten < 200);
    value = 10;
    assert_ok(call(sandbox, "spin", &value, &err));
    assert_int_equal(wasm_sandbox_fuel_used(sandbox), 2 * ten);
    value = 1000000;
    assert_int_equal(call(sandbox, "spin", &value, &err), SOREX_LIMIT);
    assert_string_equal(err.text, "out of fuel: the limit is 10000 units in spin");
    assert_int_equal(wasm_sandbox_end(sandbox), WASM_END_FUEL);
    assert_true(wasm_sandbox_end_deterministic(sandbox));
    wasm_sandbox_fuel_set(sandbox, 0);
    value = 1000000;
    assert_ok(call(sandbox, "spin", &value, &err));
    assert_true(wasm_sandbox_fuel_used(sandbox) > 10000 + 1000000);
    wasm_sandbox_close(sandbox);
    wasm_program_close(program);
}

static const char grower[] = "(module (memory (export \"memory\") 1)"
                             " (func (export \"grow\") (param i32) (result i32) (memory.grow (local.get 0)))"
                             " (func (export \"touch\") (param i32) (result i32)"
                             "   (i32.store8 (local.get 0) (i32.const 1)) (i32.load8_u (local.get 0))))";

static void test_memory_limit(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program = program_of(grower, &(struct wasm_program_options){0});
    struct wasm_sandbox *sandbox = sandbox_of(program, &(struct wasm_limits){.memory_bytes_max = 3 * 65536});
    static const int32_t asked[] = {3, 65535, 65536, INT32_MAX, -1, 0, 2, 1};
    static const int32_t given[] = {-1, -1, -1, -1, -1, 1, 1, -1};
    for (size_t i = 0; i < 8; i++) {
        int32_t value = asked[i];
        assert_ok(call(sandbox, "grow", &value, &err));
        assert_int_equal(value, given[i]);
    }
    assert_int_equal(wasm_sandbox_memory(sandbox).len, 3 * 65536);
    int32_t at = 3 * 65536 - 1;
    assert_ok(call(sandbox, "touch", &at, &err));
    assert_int_equal(at, 1);
    assert_int_equal(wasm_sandbox_memory_grow(sandbox, 1, &err), SOREX_LIMIT);
    wasm_sandbox_close(sandbox);

    /* Without a limit of its own: the engine's, one page below 4 GiB. */
    sandbox = sandbox_of(program, NULL);
    int32_t value = 65535;
    assert_ok(call(sandbox, "grow", &value, &err));
    assert_int_equal(value, -1);
    value = 65534;
    assert_ok(call(sandbox, "grow", &value, &err));
    assert_int_equal(value, 1);
    assert_ok(wasm_sandbox_memory_grow(sandbox, 0, &err));
    wasm_sandbox_close(sandbox);
    assert_int_equal(wasm_sandbox_open(program, &(struct wasm_limits){.memory_bytes_max = 1}, NULL, &sandbox, &err),
                     SOREX_LIMIT);
    wasm_program_close(program);
}

/* A growth that the limit allows and the system refuses ends the run: the guest never sees how much memory there is. */
static void test_memory_host(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their shadow memory counts against the limit that is set here */
#else
    struct sorex_error err = {0};
    struct wasm_program *program = program_of(grower, &(struct wasm_program_options){0});
    struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_DATA, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_DATA, &(struct rlimit){(rlim_t)1 << 30, before.rlim_max}), 0);
    int32_t value = 65000;
    enum sorex_status status = call(sandbox, "grow", &value, &err);
    assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
    assert_int_equal(status, SOREX_NOMEM);
    assert_string_equal(err.text,
                        "memory: the host cannot supply what is within the limit of 4294901760 bytes in function 0");
    assert_int_equal(wasm_sandbox_end(sandbox), WASM_END_MEMORY_HOST);
    assert_false(wasm_sandbox_end_deterministic(sandbox));
    wasm_sandbox_close(sandbox);
    wasm_program_close(program);
#endif
}

static void test_stack_limit(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program =
        program_of("(module (func $down (export \"down\") (param i32) (result i32)"
                   " (if (result i32) (local.get 0) (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0)"
                   " (i32.const 1))))) (else (i32.const 0)))))",
                   &(struct wasm_program_options){.settings = {.stack_bytes_max = 65536}});
    struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
    int32_t value = 100;
    assert_ok(call(sandbox, "down", &value, &err));
    assert_int_equal(value, 100);
    value = 100000;
    assert_int_equal(call(sandbox, "down", &value, &err), SOREX_LIMIT);
    assert_string_equal(err.text, "stack overflow: the limit is 65536 bytes in down");
    wasm_sandbox_close(sandbox);
    wasm_program_close(program);
}

/* -- imports */

struct seen {
    int calls;
    uint8_t byte;
    struct wasm_program *inner;
};

static enum sorex_status host_read(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                   struct sorex_error *err)
{
    struct seen *seen = user_data;
    uint8_t *at;
    seen->calls++;
    if (!wasm_sandbox_range(sandbox, values[0].u32, 1, &at))
        return sorex_error_set(err, SOREX_GUEST, "read: address %u is outside of the memory", values[0].u32);
    seen->byte = *at;
    values[0].i32 = *at + 1;
    return SOREX_OK;
}

static enum sorex_status host_fail(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                   struct sorex_error *err)
{
    (void)user_data;
    (void)sandbox;
    if (values[0].i32 == 0)
        return SOREX_CORRUPT;
    return sorex_error_set(err, SOREX_AGAIN, "state: try later");
}

/* Runs another sandbox, as a view does. */
static enum sorex_status host_nest(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                   struct sorex_error *err)
{
    (void)sandbox;
    struct seen *seen = user_data;
    struct wasm_sandbox *inner = NULL;
    enum sorex_status status = wasm_sandbox_open(seen->inner, NULL, NULL, &inner, err);
    if (status != SOREX_OK)
        return status;
    int32_t value = 0;
    struct sorex_error ignored = {0};
    status = call(inner, "unreachable", &value, &ignored);
    wasm_sandbox_close(inner);
    values[0].i32 = (int32_t)status;
    return SOREX_OK;
}

static const struct wasm_import imports[] = {
    {"env", "read", "(i32) -> i32", host_read},
    {"env", "fail", "(i32) -> i32", host_fail},
    {"env", "nest", "(i32) -> i32", host_nest},
};

static const char caller[] =
    "(module (import \"env\" \"read\" (func $read (param i32) (result i32)))"
    " (import \"env\" \"fail\" (func $fail (param i32) (result i32)))"
    " (import \"env\" \"nest\" (func $nest (param i32) (result i32)))"
    " (import \"wasi\" \"fd_write\" (func $unknown (param i32 i32) (result i64)))"
    " (memory (export \"memory\") 1) (data (i32.const 9) \"z\")"
    " (func $read_it (export \"read\") (param i32) (result i32) (call $read (local.get 0)))"
    " (func (export \"fail\") (param i32) (result i32) (call $fail (local.get 0)))"
    " (func (export \"nest\") (param i32) (result i32) (call $nest (local.get 0)))"
    " (func $ask (export \"unknown\") (param i32) (drop (call $unknown (local.get 0) (local.get 0)))))";

static void test_imports(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    const struct wasm_program_options options = {
        .name = "caller", .imports = imports, .imports_count = 3, .unknown_functions_trap = true};
    struct wasm_program *program = program_of(caller, &options);
    struct seen seen = {.inner = program_of(traps, &(struct wasm_program_options){0})};
    struct wasm_sandbox *sandbox = NULL;
    assert_ok(wasm_sandbox_open(program, NULL, &seen, &sandbox, &err));
    assert_ptr_equal(wasm_sandbox_user_data(sandbox), &seen);

    int32_t value = 9;
    assert_ok(call(sandbox, "read", &value, &err));
    assert_int_equal(value, 'z' + 1);
    assert_int_equal(seen.byte, 'z');
    value = 65536;
    assert_int_equal(call(sandbox, "read", &value, &err), SOREX_GUEST);
    assert_string_equal(err.text, "read: address 65536 is outside of the memory in read_it");
    assert_int_equal(wasm_sandbox_end(sandbox), WASM_END_HOST);
    assert_true(wasm_sandbox_end_deterministic(sandbox));

    value = 0;
    assert_int_equal(call(sandbox, "fail", &value, &err), SOREX_CORRUPT);
    assert_string_equal(err.text, "import env.fail: corrupt");
    value = 1;
    assert_int_equal(call(sandbox, "fail", &value, &err), SOREX_AGAIN);
    assert_string_equal(err.text, "state: try later");
    assert_false(wasm_sandbox_end_deterministic(sandbox));

    assert_ok(call(sandbox, "nest", &value, &err));
    assert_int_equal(value, SOREX_GUEST);
    assert_int_equal(wasm_sandbox_end(sandbox), WASM_END_OK);

    assert_int_equal(call(sandbox, "unknown", &value, &err), SOREX_GUEST);
    assert_string_equal(err.text, "trap: call of the unknown import wasi.fd_write in ask");
    assert_int_equal(wasm_sandbox_end(sandbox), WASM_END_TRAP);
    wasm_sandbox_close(sandbox);
    wasm_program_close(seen.inner);
    wasm_program_close(program);
}

static void test_start_section(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    const struct wasm_program_options options = {.name = "starts", .imports = imports, .imports_count = 3};
    struct wasm_program *program = program_of(
        "(module (import \"env\" \"read\" (func $read (param i32) (result i32))) (memory (export \"memory\") 1)"
        " (data (i32.const 5) \"q\") (func $go (i32.store8 (i32.const 6) (call $read (i32.const 5))))"
        " (start $go))",
        &options);
    struct seen seen = {0};
    struct wasm_sandbox *sandbox = NULL;
    assert_ok(wasm_sandbox_open(program, NULL, &seen, &sandbox, &err));
    assert_int_equal(seen.byte, 'q'); /* the import reads the memory while there is no instance yet */
    assert_int_equal(wasm_sandbox_memory(sandbox).data[6], 'r');
    wasm_sandbox_close(sandbox);
    wasm_program_close(program);

    program = program_of("(module (func $go unreachable) (start $go))", &options);
    sandbox = NULL;
    assert_int_equal(wasm_sandbox_open(program, NULL, NULL, &sandbox, &err), SOREX_GUEST);
    assert_string_equal(err.text, "trap: unreachable executed in go");
    assert_null(sandbox);
    wasm_program_close(program);

    program = program_of("(module (import \"env\" \"fail\" (func $fail (param i32) (result i32)))"
                         " (func $go (drop (call $fail (i32.const 1)))) (start $go))",
                         &options);
    assert_int_equal(wasm_sandbox_open(program, NULL, NULL, &sandbox, &err), SOREX_AGAIN);
    assert_string_equal(err.text, "state: try later");
    wasm_program_close(program);
}

static void test_no_instance(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program =
        program_of(counter, &(struct wasm_program_options){.settings = {.sandboxes_max = 2}});
    struct wasm_sandbox *first = sandbox_of(program, NULL);
    struct wasm_sandbox *second = sandbox_of(program, NULL);
    struct wasm_sandbox *third = NULL;
    assert_int_equal(wasm_sandbox_open(program, NULL, NULL, &third, &err), SOREX_FATAL);
    assert_non_null(strstr(err.text, "Failed to refresh memory after block execution: "));
    assert_int_equal(err.status, SOREX_FATAL);
    wasm_sandbox_close(first);
    third = sandbox_of(program, NULL);
    wasm_sandbox_close(second);
    wasm_sandbox_close(third);
    wasm_program_close(program);
}

/* -- stop */

static void *stop_it(void *sandbox)
{
    wasm_sandbox_stop(sandbox);
    return NULL;
}

static enum sorex_status host_stop(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                   struct sorex_error *err)
{
    (void)user_data;
    (void)values;
    (void)err;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_it, sandbox), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return SOREX_OK;
}

static void test_stop(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    static const struct wasm_import stop[] = {{"env", "stop", "() ->", host_stop}};
    const struct wasm_program_options options = {
        .imports = stop, .imports_count = 1, .settings = {.interruptible = true}};
    struct wasm_program *program =
        program_of("(module (import \"env\" \"stop\" (func $stop)) (func $forever (export \"forever\") (param i32)"
                   " (call $stop) (loop (br 0))) (func (export \"nothing\") (param i32)))",
                   &options);
    struct wasm_sandbox *other = sandbox_of(program, NULL);
    struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
    int32_t value = 0;
    assert_int_equal(call(sandbox, "forever", &value, &err), SOREX_STOPPED);
    assert_string_equal(err.text, "interrupted in forever");
    assert_int_equal(wasm_sandbox_end(sandbox), WASM_END_INTERRUPTED);
    assert_int_equal(call(sandbox, "nothing", &value, &err), SOREX_STOPPED);
    assert_ok(call(other, "nothing", &value, &err)); /* its neighbour's tick passes over it */
    wasm_sandbox_close(sandbox);
    wasm_sandbox_close(other);
    wasm_program_close(program);
}

/* -- values */

static void test_globals(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program = program_of(
        "(module (global (export \"a\") (mut i32) (i32.const -2)) (global (export \"b\") (mut i64) (i64.const -3))"
        " (global (export \"c\") (mut f32) (f32.const nan:0x200001)) (global (export \"d\") (mut f64)"
        " (f64.const nan:0x4000000000001)) (global (export \"e\") i32 (i32.const 5))"
        " (global (export \"v\") (mut v128) (v128.const i64x2 1 2)) (func (export \"f\")))",
        &(struct wasm_program_options){0});
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    static const uint64_t start[] = {0xfffffffe, UINT64_MAX - 2, 0x7fa00001, 0x7ff4000000000001, 5};
    struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
    for (size_t i = 0; i < 5; i++) {
        const struct wasm_export *global = wasm_program_export(program, names[i]);
        uint64_t bits = 0;
        assert_ok(wasm_sandbox_global_get(sandbox, global, &bits, &err));
        assert_int_equal(bits, start[i]);
        uint64_t wanted = start[i] ^ 0x10;
        if (i == 4) {
            assert_int_equal(wasm_sandbox_global_set(sandbox, global, wanted, &err), SOREX_INVALID);
            continue;
        }
        assert_ok(wasm_sandbox_global_set(sandbox, global, wanted, &err));
        assert_ok(wasm_sandbox_global_get(sandbox, global, &bits, &err));
        assert_int_equal(bits, wanted);
    }
    uint64_t bits;
    assert_int_equal(wasm_sandbox_global_get(sandbox, wasm_program_export(program, "v"), &bits, &err), SOREX_INVALID);
    assert_int_equal(wasm_sandbox_global_get(sandbox, wasm_program_export(program, "f"), &bits, &err), SOREX_INVALID);
    wasm_sandbox_close(sandbox);
    wasm_program_close(program);
}

static void test_canonical_nan(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    /* A NaN with a payload goes through arithmetic; 0/0 gives the negative NaN on x86. */
    struct wasm_program *program = program_of(
        "(module (func (export \"add\") (param i32) (result i32) (i32.reinterpret_f32 (f32.add (f32.reinterpret_i32"
        " (local.get 0)) (f32.const 1)))) (func (export \"zero\") (param i32) (result i32)"
        " (i32.reinterpret_f32 (f32.div (f32.convert_i32_s (local.get 0)) (f32.const 0))))"
        " (func (export \"simd\") (param i32) (result i32) (i32x4.extract_lane 2 (f32x4.add (i32x4.splat (local.get 0))"
        " (v128.const f32x4 1 1 1 1))))"
        " (func (export \"relaxed\") (param i32) (result i32) (i32x4.extract_lane 0 (i32x4.relaxed_trunc_f32x4_s"
        " (f32x4.splat (f32.const 3e9))))))",
        &(struct wasm_program_options){0});
    struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
    int32_t value = 0x7fa00123;
    assert_ok(call(sandbox, "add", &value, &err));
    assert_int_equal(value, 0x7fc00000);
    value = 0;
    assert_ok(call(sandbox, "zero", &value, &err));
    assert_int_equal(value, 0x7fc00000);
    value = 0x7fa00123;
    assert_ok(call(sandbox, "simd", &value, &err));
    assert_int_equal(value, 0x7fc00000);
    assert_ok(call(sandbox, "relaxed", &value, &err));
    assert_int_equal(value, INT32_MAX); /* the deterministic form saturates; the machine's gives INT32_MIN */
    wasm_sandbox_close(sandbox);
    wasm_program_close(program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fresh_each_time),
        cmocka_unit_test(test_fresh_after_trap),
        cmocka_unit_test(test_trap_texts),
        cmocka_unit_test(test_trap_without_names),
        cmocka_unit_test(test_fuel),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_stack_limit),
        cmocka_unit_test(test_imports),
        cmocka_unit_test(test_start_section),
        cmocka_unit_test(test_no_instance),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_globals),
        cmocka_unit_test(test_canonical_nan),
        cmocka_unit_test(test_memory_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
