/* Engines: one per class of settings, shared in the process, each with its pool of instance slots.
 *
 * What decides a guest's results is fixed here for all of them:
 *   - the target is named, which also turns off the detection of the CPU's features (baseline x86-64);
 *   - NaNs are canonical, relaxed SIMD takes its deterministic form;
 *   - no threads, no shared memory, no garbage collector and so no exceptions, one memory, 32-bit addresses;
 *   - memory is always reserved in full, so that growing it never moves it and never fails for want of address space.
 * Pooling with copy-on-write images makes a fresh instance cost microseconds. What a slot keeps resident after its
 * instance is gone saves the next one page faults, for the price of clearing it. Up to WASM_RESIDENT_BYTES_PLAIN it is
 * cleared whole: best for guests that touch a few pages. Above that, the system is asked which pages were written and
 * only those are cleared: one more microsecond for a guest that touches nothing, and many times cheaper for one that
 * touches megabytes. So the latter is the default where the system can do it. */
#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"
#include "wasm/private.h"

#define WASM32_BYTES ((uint64_t)1 << 32)
#define GUARD_BYTES ((uint64_t)32 << 20)
/* Host functions run on the same stack, beyond what the guest may use. */
#define STACK_HOST_BYTES ((uint64_t)1 << 20)

static pthread_mutex_t engines_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct wasm_engine *engines;

static struct wasm_settings with_defaults(struct wasm_settings settings)
{
    if (settings.memory_bytes_max == 0)
        settings.memory_bytes_max = SOREX_MEMORY_BYTES_DEFAULT;
    if (settings.stack_bytes_max == 0)
        settings.stack_bytes_max = SOREX_STACK_BYTES_DEFAULT;
    if (settings.resident_bytes == 0)
        settings.resident_bytes =
            sorex_wasmtime_pool_scan_available() ? WASM_RESIDENT_BYTES_SCANNED : WASM_RESIDENT_BYTES_PLAIN;
    if (settings.resident_bytes > settings.memory_bytes_max)
        settings.resident_bytes = settings.memory_bytes_max;
    if (settings.sandboxes_max == 0)
        settings.sandboxes_max = WASM_SANDBOXES_DEFAULT;
#ifdef __SANITIZE_THREAD__
    if (settings.sandboxes_max > 64) /* it leaves too few addresses for more slots of 4 GiB */
        settings.sandboxes_max = 64;
#endif
    return settings;
}

static bool settings_equal(const struct wasm_settings *a, const struct wasm_settings *b)
{
    return a->metered == b->metered && a->interruptible == b->interruptible &&
           a->memory_bytes_max == b->memory_bytes_max && a->stack_bytes_max == b->stack_bytes_max &&
           a->resident_bytes == b->resident_bytes && a->sandboxes_max == b->sandboxes_max &&
           a->machine == b->machine;
}

static enum sorex_status settings_check(const struct wasm_settings *settings, struct sorex_error *err)
{
    if (settings->memory_bytes_max > WASM32_BYTES || settings->memory_bytes_max % WASM_PAGE_BYTES != 0)
        return sorex_error_set(err, SOREX_INVALID, "memory limit %llu: a multiple of 65536 up to 4 GiB is wanted",
                               (unsigned long long)settings->memory_bytes_max);
    if (settings->stack_bytes_max < 16384 || settings->stack_bytes_max > ((uint64_t)256 << 20))
        return sorex_error_set(err, SOREX_INVALID, "stack limit %llu: 16 KiB to 256 MiB is wanted",
                               (unsigned long long)settings->stack_bytes_max);
    if (settings->sandboxes_max > 4096)
        return sorex_error_set(err, SOREX_INVALID, "%u sandboxes at one time: up to 4096 are possible",
                               (unsigned)settings->sandboxes_max);
    return SOREX_OK;
}

static void pool_set(wasm_config_t *config, const struct wasm_settings *settings)
{
    wasmtime_pooling_allocation_config_t *pool = wasmtime_pooling_allocation_config_new();
    wasmtime_pooling_allocation_config_total_core_instances_set(pool, settings->sandboxes_max);
    wasmtime_pooling_allocation_config_total_memories_set(pool, settings->sandboxes_max);
    wasmtime_pooling_allocation_config_total_tables_set(pool, settings->sandboxes_max * WASM_TABLES_PER_MODULE_MAX);
    wasmtime_pooling_allocation_config_total_stacks_set(pool, 0);
    wasmtime_pooling_allocation_config_total_gc_heaps_set(pool, 0);
    wasmtime_pooling_allocation_config_max_memories_per_module_set(pool, 1);
    wasmtime_pooling_allocation_config_max_tables_per_module_set(pool, WASM_TABLES_PER_MODULE_MAX);
    wasmtime_pooling_allocation_config_table_elements_set(pool, WASM_TABLE_ELEMENTS_MAX);
    wasmtime_pooling_allocation_config_max_core_instance_size_set(pool, WASM_INSTANCE_BYTES_MAX);
    wasmtime_pooling_allocation_config_max_memory_size_set(pool, settings->memory_bytes_max);
    wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(pool, settings->resident_bytes);
    wasmtime_pooling_allocation_config_table_keep_resident_set(pool, 4096);
    if (settings->resident_bytes > WASM_RESIDENT_BYTES_PLAIN)
        sorex_wasmtime_pool_scan(pool);
    wasmtime_pooling_allocation_strategy_set(config, pool);
    wasmtime_pooling_allocation_config_delete(pool);
}

static void features_set(wasm_config_t *config)
{
    wasmtime_config_wasm_bulk_memory_set(config, true);
    wasmtime_config_wasm_multi_value_set(config, true);
    wasmtime_config_wasm_simd_set(config, true);
    wasmtime_config_wasm_tail_call_set(config, true);
    wasmtime_config_wasm_reference_types_set(config, true);
    wasmtime_config_wasm_relaxed_simd_set(config, true);
    wasmtime_config_wasm_relaxed_simd_deterministic_set(config, true);
    wasmtime_config_gc_support_set(config, false);
    wasmtime_config_wasm_gc_set(config, false);
    wasmtime_config_wasm_function_references_set(config, false);
    wasmtime_config_wasm_exceptions_set(config, false);
    wasmtime_config_wasm_threads_set(config, false);
    wasmtime_config_shared_memory_set(config, false);
    wasmtime_config_wasm_multi_memory_set(config, false);
    wasmtime_config_wasm_memory64_set(config, false);
    wasmtime_config_wasm_wide_arithmetic_set(config, false);
    wasmtime_config_wasm_custom_page_sizes_set(config, false);
    wasmtime_config_wasm_stack_switching_set(config, false);
}

static enum sorex_status engine_make(const struct wasm_settings *settings, wasm_engine_t **out, struct sorex_error *err)
{
    wasm_config_t *config = wasm_config_new();
    if (config == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "webassembly engine: out of memory");
    wasmtime_error_t *error = wasmtime_config_target_set(config, WASM_TARGET);
    if (error != NULL) {
        wasm_config_delete(config);
        return trap_error_take(error, SOREX_INVALID, err, "webassembly engine");
    }
#ifdef __SANITIZE_THREAD__
    wasmtime_config_parallel_compilation_set(config, false); /* Rust's threads are not instrumented */
#endif
    wasmtime_config_strategy_set(config, WASMTIME_STRATEGY_CRANELIFT);
    wasmtime_config_cranelift_opt_level_set(config, WASMTIME_OPT_LEVEL_SPEED);
    wasmtime_config_cranelift_nan_canonicalization_set(config, true);
    wasmtime_config_consume_fuel_set(config, settings->metered);
    wasmtime_config_epoch_interruption_set(config, settings->interruptible);
    wasmtime_config_max_wasm_stack_set(config, (size_t)settings->stack_bytes_max);
    wasmtime_config_async_stack_size_set(config, (size_t)(settings->stack_bytes_max + STACK_HOST_BYTES));
    wasmtime_config_memory_reservation_set(config, WASM32_BYTES);
    wasmtime_config_memory_guard_size_set(config, GUARD_BYTES);
    wasmtime_config_memory_may_move_set(config, false);
    wasmtime_config_memory_init_cow_set(config, true);
    features_set(config);
    if (settings->machine)
        machine_engine_set(config);
    else
        pool_set(config, settings);
    *out = wasm_engine_new_with_config(config);
    if (*out == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "webassembly engine: cannot reserve %u slots of 4 GiB of addresses",
                               (unsigned)settings->sandboxes_max);
    return SOREX_OK;
}

enum sorex_status engine_take(const struct wasm_settings *asked, struct wasm_engine **out, struct sorex_error *err)
{
    struct wasm_settings settings = with_defaults(*asked);
    TRY(settings_check(&settings, err));
    enum sorex_status status = SOREX_OK;
    struct wasm_engine *engine = NULL;

    (void)pthread_mutex_lock(&engines_mutex);
    for (engine = engines; engine != NULL; engine = engine->next)
        if (settings_equal(&engine->settings, &settings))
            break;
    if (engine == NULL) {
        engine = calloc(1, sizeof *engine);
        status = engine == NULL ? sorex_error_set(err, SOREX_NOMEM, "webassembly engine: out of memory")
                                : engine_make(&settings, &engine->engine, err);
        if (status != SOREX_OK)
            goto out;
        engine->settings = settings;
        engine->next = engines;
        engines = engine;
    }
    engine->refs++;
    *out = engine;
    engine = NULL;
out:
    (void)pthread_mutex_unlock(&engines_mutex);
    if (status != SOREX_OK)
        free(engine);
    return status;
}

void engine_drop(struct wasm_engine *engine)
{
    if (engine == NULL)
        return;
    (void)pthread_mutex_lock(&engines_mutex);
    CHECK(engine->refs > 0);
    bool last = --engine->refs == 0;
    if (last) {
        struct wasm_engine **link = &engines;
        while (*link != engine)
            link = &(*link)->next;
        *link = engine->next;
    }
    (void)pthread_mutex_unlock(&engines_mutex);
    if (last) {
        wasm_engine_delete(engine->engine);
        free(engine);
    }
}

enum sorex_status engine_describe(const struct wasm_engine *engine, struct buf *out, struct sorex_error *err)
{
    /* The features are those of features_set: a change there needs a new number here. */
    return buf_printf(out, err, "wasmtime %s target %s features 1 metered %d interruptible %d stack %llu%s\n",
                      WASMTIME_VERSION, WASM_TARGET, engine->settings.metered, engine->settings.interruptible,
                      (unsigned long long)engine->settings.stack_bytes_max, engine->settings.machine ? " machine" : "");
}

const char *wasm_version(void) { return WASMTIME_VERSION; }
