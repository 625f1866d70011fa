/* What a fresh sandbox costs over the bare C API of Wasmtime: instance, call and drop of a 17-page module, host calls,
 * calls into the guest. The rival is the shortest loop over the C API, with the settings of src/wasm/engine.c. */
#include <stdlib.h>

#include <wasmtime.h>

#include "base/clock.h"
#include "bench/harness.h"
#include "wasm/wasm.h"
#include "wasm/watchdog.h"

#define RESETS 4000
#define HOST_CALLS 2000000
#define CALLS 200000

static const char text[] =
    "(module (import \"env\" \"f\" (func $f (param i32) (result i32))) (memory (export \"memory\") 17)"
    " (global $g (mut i32) (i32.const 7)) (data (i32.const 64) \"hello world\")"
    " (func (export \"touch\") (param $n i32) (local $i i32) (block (loop (br_if 1 (i32.ge_u (local.get $i) (local.get "
    "$n)))"
    "  (i32.store (i32.mul (local.get $i) (i32.const 4096)) (i32.const 1))"
    "  (local.set $i (i32.add (local.get $i) (i32.const 1))) (br 0))))"
    " (func (export \"loop\") (param $n i32) (local $i i32) (block (loop (br_if 1 (i32.ge_u (local.get $i) (local.get "
    "$n)))"
    "  (local.set $i (call $f (local.get $i))) (br 0)))))";

/* Linked from deps/wasmtime, so that the rival gets the same. */
void sorex_wasmtime_pool_scan(wasmtime_pooling_allocation_config_t *pool);

struct world {
    int32_t pages;
    uint64_t resident;
    /* ours */
    struct wasm_program *program;
    const struct wasm_export *touch, *loop;
    /* bare */
    wasm_engine_t *engine;
    wasmtime_instance_pre_t *pre;
};

static void must(wasmtime_error_t *error, wasm_trap_t *trap)
{
    if (error != NULL || trap != NULL)
        bench_die("wasmtime failed");
}

/* -- ours */

static enum sorex_status next(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                              struct sorex_error *err)
{
    (void)user_data;
    (void)sandbox;
    (void)err;
    values[0].i32++;
    return SOREX_OK;
}

static const struct wasm_import imports[] = {{"env", "f", "(i32) -> i32", next}};

static void ours_make(struct world *world, struct bytes wasm)
{
    struct sorex_error err;
    const struct wasm_program_options options = {.name = "reset",
                                                 .imports = imports,
                                                 .imports_count = 1,
                                                 .settings = {.sandboxes_max = 16, .resident_bytes = world->resident}};
    if (wasm_program_open(wasm, &options, &world->program, &err) != SOREX_OK ||
        wasm_program_func(world->program, "touch", "(i32) ->", &world->touch, &err) != SOREX_OK ||
        wasm_program_func(world->program, "loop", "(i32) ->", &world->loop, &err) != SOREX_OK)
        bench_die("%s", err.text);
}

static struct wasm_sandbox *ours_open(const struct world *world)
{
    struct sorex_error err;
    struct wasm_sandbox *sandbox = NULL;
    if (wasm_sandbox_open(world->program, NULL, NULL, &sandbox, &err) != SOREX_OK)
        bench_die("%s", err.text);
    return sandbox;
}

static void ours_call(struct wasm_sandbox *sandbox, const struct wasm_export *func, int32_t argument)
{
    struct sorex_error err;
    union wasm_value value = {.i32 = argument};
    if (wasm_sandbox_call(sandbox, func, &value, &err) != SOREX_OK)
        bench_die("%s", err.text);
}

static double ours_reset(void *user_data)
{
    const struct world *world = user_data;
    uint64_t start = clock_ns();
    for (int i = 0; i < RESETS; i++) {
        struct wasm_sandbox *sandbox = ours_open(world);
        ours_call(sandbox, world->touch, world->pages);
        wasm_sandbox_close(sandbox);
    }
    return (double)(clock_ns() - start) / RESETS / 1e3;
}

static double ours_host_call(void *user_data)
{
    const struct world *world = user_data;
    struct wasm_sandbox *sandbox = ours_open(world);
    uint64_t start = clock_ns();
    ours_call(sandbox, world->loop, HOST_CALLS);
    double ns = (double)(clock_ns() - start) / HOST_CALLS;
    wasm_sandbox_close(sandbox);
    return ns;
}

static double ours_guest_call(void *user_data)
{
    const struct world *world = user_data;
    struct wasm_sandbox *sandbox = ours_open(world);
    uint64_t start = clock_ns();
    for (int i = 0; i < CALLS; i++)
        ours_call(sandbox, world->touch, 0);
    double ns = (double)(clock_ns() - start) / CALLS;
    wasm_sandbox_close(sandbox);
    return ns;
}

static double watched(void *user_data)
{
    (void)user_data;
    uint64_t start = clock_ns();
    for (int i = 0; i < CALLS; i++) {
        struct watchdog_call call = {.what = "bench", .stop_ms = 1000};
        watchdog_begin(&call);
        watchdog_end(&call);
    }
    return (double)(clock_ns() - start) / CALLS;
}

/* -- bare */

static wasm_trap_t *bare_next(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t count)
{
    (void)env;
    (void)caller;
    (void)count;
    values[0].i32++;
    return NULL;
}

static wasm_engine_t *bare_engine(uint64_t resident)
{
    wasm_config_t *config = wasm_config_new();
    must(wasmtime_config_target_set(config, "x86_64-unknown-linux-gnu"), NULL);
    wasmtime_config_cranelift_nan_canonicalization_set(config, true);
    wasmtime_config_max_wasm_stack_set(config, (size_t)1 << 20);
    wasmtime_config_gc_support_set(config, false);
    wasmtime_config_memory_reservation_set(config, (uint64_t)1 << 32);
    wasmtime_config_memory_guard_size_set(config, (uint64_t)32 << 20);
    wasmtime_pooling_allocation_config_t *pool = wasmtime_pooling_allocation_config_new();
    wasmtime_pooling_allocation_config_total_core_instances_set(pool, 16);
    wasmtime_pooling_allocation_config_total_memories_set(pool, 16);
    wasmtime_pooling_allocation_config_total_tables_set(pool, 64);
    wasmtime_pooling_allocation_config_max_memory_size_set(pool, (size_t)65535 << 16);
    wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(pool, resident);
    wasmtime_pooling_allocation_config_table_keep_resident_set(pool, 4096);
    if (resident > 65536)
        sorex_wasmtime_pool_scan(pool);
    wasmtime_pooling_allocation_strategy_set(config, pool);
    wasmtime_pooling_allocation_config_delete(pool);
    return wasm_engine_new_with_config(config);
}

static void bare_make(struct world *world, struct bytes wasm)
{
    wasmtime_module_t *module;
    world->engine = bare_engine(world->resident);
    must(wasmtime_module_new(world->engine, wasm.data, wasm.len, &module), NULL);
    wasmtime_linker_t *linker = wasmtime_linker_new(world->engine);
    wasm_functype_t *type = wasm_functype_new_1_1(wasm_valtype_new_i32(), wasm_valtype_new_i32());
    must(wasmtime_linker_define_func_unchecked(linker, "env", 3, "f", 1, type, bare_next, NULL, NULL), NULL);
    must(wasmtime_linker_instantiate_pre(linker, module, &world->pre), NULL);
    wasm_functype_delete(type);
    wasmtime_linker_delete(linker);
    wasmtime_module_delete(module);
}

static wasmtime_store_t *bare_open(const struct world *world, const char *name, wasmtime_func_t *out)
{
    wasmtime_store_t *store = wasmtime_store_new(world->engine, NULL, NULL);
    wasmtime_context_t *context = wasmtime_store_context(store);
    wasmtime_instance_t instance;
    wasmtime_extern_t item;
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error = wasmtime_instance_pre_instantiate(world->pre, context, &instance, &trap);
    must(error, trap);
    if (!wasmtime_instance_export_get(context, &instance, name, strlen(name), &item))
        bench_die("no export %s", name);
    *out = item.of.func;
    return store;
}

static void bare_call(wasmtime_store_t *store, const wasmtime_func_t *func, int32_t argument)
{
    wasmtime_val_raw_t value = {.i32 = argument};
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error = wasmtime_func_call_unchecked(wasmtime_store_context(store), func, &value, 1, &trap);
    must(error, trap);
}

static double bare_reset(void *user_data)
{
    const struct world *world = user_data;
    wasmtime_func_t func;
    uint64_t start = clock_ns();
    for (int i = 0; i < RESETS; i++) {
        wasmtime_store_t *store = bare_open(world, "touch", &func);
        bare_call(store, &func, world->pages);
        wasmtime_store_delete(store);
    }
    return (double)(clock_ns() - start) / RESETS / 1e3;
}

static double bare_host_call(void *user_data)
{
    const struct world *world = user_data;
    wasmtime_func_t func;
    wasmtime_store_t *store = bare_open(world, "loop", &func);
    uint64_t start = clock_ns();
    bare_call(store, &func, HOST_CALLS);
    double ns = (double)(clock_ns() - start) / HOST_CALLS;
    wasmtime_store_delete(store);
    return ns;
}

static double bare_guest_call(void *user_data)
{
    const struct world *world = user_data;
    wasmtime_func_t func;
    wasmtime_store_t *store = bare_open(world, "touch", &func);
    uint64_t start = clock_ns();
    for (int i = 0; i < CALLS; i++)
        bare_call(store, &func, 0);
    double ns = (double)(clock_ns() - start) / CALLS;
    wasmtime_store_delete(store);
    return ns;
}

static void world_make(struct world *world, uint64_t resident, struct bytes wasm)
{
    *world = (struct world){.resident = resident};
    ours_make(world, wasm);
    bare_make(world, wasm);
}

static void world_free(struct world *world)
{
    wasmtime_instance_pre_delete(world->pre);
    wasm_engine_delete(world->engine);
    wasm_program_close(world->program);
}

static void resets_measure(struct bench *bench, struct world *small, struct world *large)
{
    const struct {
        struct world *world;
        int32_t pages;
        const char *what;
        bool target;
    } rows[] = {{small, 16, "fresh instance, call, drop: 16 pages touched, 64 KiB resident", true},
                {large, 16, "the same, 256 MiB resident (the default)", true},
                {small, 0, "no page touched, 64 KiB resident", true},
                {large, 0, "no page touched, 256 MiB resident", true},
                {small, 256, "256 pages touched, 64 KiB resident", false},
                {large, 256, "256 pages touched, 256 MiB resident", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rows[i].world->pages = rows[i].pages;
        bench_measure(bench,
                      &(struct bench_row){.target = rows[i].target,
                                          .what = rows[i].what,
                                          .unit = "us",
                                          .subject = ours_reset,
                                          .rival = bare_reset,
                                          .rival_name = "bare Wasmtime loop",
                                          .goal = rows[i].target ? 1.15 : 0},
                      rows[i].world);
    }
}

int main(void)
{
    struct sorex_error err;
    struct buf wasm = {0};
    struct world small, large;
    if (wasm_from_text(bytes_str(text), &wasm, &err) != SOREX_OK)
        bench_die("%s", err.text);
    world_make(&small, (uint64_t)64 << 10, buf_view(&wasm));
    world_make(&large, (uint64_t)256 << 20, buf_view(&wasm));

    static struct bench bench;
    bench_start(&bench, "reset");
    resets_measure(&bench, &small, &large);
    bench_measure(&bench,
                  &(struct bench_row){.what = "host call that does nothing",
                                      .unit = "ns",
                                      .subject = ours_host_call,
                                      .rival = bare_host_call,
                                      .rival_name = "bare Wasmtime callback"},
                  &small);
    bench_measure(&bench,
                  &(struct bench_row){.what = "call into the guest",
                                      .unit = "ns",
                                      .subject = ours_guest_call,
                                      .rival = bare_guest_call,
                                      .rival_name = "bare unchecked call"},
                  &small);
    bench_measure(&bench, &(struct bench_row){.what = "watchdog around a call", .unit = "ns", .subject = watched},
                  &small);
    world_free(&small);
    world_free(&large);
    buf_deinit(&wasm);
    return bench_finish(&bench);
}
