/* Sandboxes: one fresh instance in a store of its own. wasm_sandbox_open is the only place of sorex that makes
 * instances. */
#include <stdlib.h>

#include "base/check.h"
#include "wasm/private.h"
#include "wasm/watchdog.h"

/* Wasmtime hands the memory of a closed instance to the next one, of any thread, under a lock of its own. It is not built
 * with ThreadSanitizer, which is told here what that lock does: what was done in a sandbox comes before the sandboxes that
 * are opened after it. What Wasmtime itself writes after that point, as it clears the memory, is left out. */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
static char pool_lock;
void AnnotateIgnoreWritesBegin(const char *file, int line); /* libtsan's; no header has them */
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define POOL_TAKEN() __tsan_acquire(&pool_lock)
#define POOL_GIVING() (__tsan_release(&pool_lock), AnnotateIgnoreWritesBegin(__FILE__, __LINE__))
#define POOL_GIVEN() AnnotateIgnoreWritesEnd(__FILE__, __LINE__)
#else
#define POOL_TAKEN() ((void)0)
#define POOL_GIVING() ((void)0)
#define POOL_GIVEN() ((void)0)
#endif

_Static_assert(sizeof(union wasm_value) == sizeof(wasmtime_val_raw_t), "values travel without a copy");

/* -- imports */

wasm_trap_t *sandbox_import(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t values_count)
{
    (void)values_count;
    const struct import_link *link = env;
    struct wasm_sandbox *sandbox = wasmtime_context_get_data(wasmtime_caller_context(caller));
    if (link->import != NULL) {
        wasmtime_caller_t *outer = sandbox->caller;
        sandbox->caller = caller;
        enum sorex_status status =
            link->import->fn(sandbox->user_data, sandbox, (union wasm_value *)values, &sandbox->error);
        sandbox->caller = outer;
        if (status == SOREX_OK)
            return NULL;
        if (sandbox->error.status != status) /* the callback set no text */
            (void)sorex_error_set(&sandbox->error, status, "import %s.%s: %s", link->module, link->name,
                                  sorex_status_name(status));
        sandbox->end = WASM_END_HOST;
    } else {
        (void)sorex_error_set(&sandbox->error, SOREX_GUEST, "trap: call of the unknown import %s.%s", link->module,
                              link->name);
        sandbox->end = WASM_END_TRAP;
    }
    return wasmtime_trap_new("import", 6);
}

/* -- open and close */

static wasmtime_error_t *epoch_reached(wasmtime_context_t *context, void *data, uint64_t *delta,
                                       wasmtime_update_deadline_kind_t *kind)
{
    (void)context;
    struct wasm_sandbox *sandbox = data;
    *delta = 1;
    *kind = WASMTIME_UPDATE_DEADLINE_CONTINUE;
    if (!atomic_load_explicit(&sandbox->stop, memory_order_acquire))
        return NULL; /* the tick was for another sandbox of the engine */
    sandbox->end = WASM_END_INTERRUPTED;
    return wasmtime_error_new("interrupted");
}

static void fuel_give(struct wasm_sandbox *sandbox, uint64_t fuel)
{
    sandbox->fuel_set = fuel == 0 ? UINT64_MAX : fuel;
    wasmtime_error_t *error = wasmtime_context_set_fuel(sandbox->context, sandbox->fuel_set);
    CHECK(error == NULL); /* only when the engine has no fuel */
}

static enum sorex_status store_open(struct wasm_sandbox *sandbox, const struct wasm_limits *limits,
                                    struct sorex_error *err)
{
    const struct wasm_program *program = sandbox->program;
    const struct wasm_settings *settings = &program->engine->settings;
    uint64_t memory =
        limits == NULL || limits->memory_bytes_max == 0 ? settings->memory_bytes_max : limits->memory_bytes_max;
    if (program->memory_bytes_min > memory)
        return sorex_error_set(err, SOREX_LIMIT, "program %s: starts with %llu bytes of memory, the limit is %llu",
                               program->name, (unsigned long long)program->memory_bytes_min,
                               (unsigned long long)memory);
    sandbox->store = wasmtime_store_new(program->engine->engine, sandbox, NULL);
    sandbox->context = wasmtime_store_context(sandbox->store);
    sandbox->limits.memory_bytes = memory;
    sandbox->limits.table_elements = WASM_TABLE_ELEMENTS_MAX;
    if (limits != NULL && limits->table_elements_max != 0 && limits->table_elements_max < WASM_TABLE_ELEMENTS_MAX)
        sandbox->limits.table_elements = limits->table_elements_max;
    sorex_wasmtime_store_limits(sandbox->store, &sandbox->limits);
    if (settings->metered)
        fuel_give(sandbox, limits == NULL ? 0 : limits->fuel);
    if (settings->interruptible) {
        wasmtime_store_epoch_deadline_callback(sandbox->store, epoch_reached, sandbox, NULL);
        wasmtime_context_set_epoch_deadline(sandbox->context, 1);
    }
    return SOREX_OK;
}

static enum sorex_status instance_make(struct wasm_sandbox *sandbox, struct sorex_error *err)
{
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error =
        wasmtime_instance_pre_instantiate(sandbox->program->pre, sandbox->context, &sandbox->instance, &trap);
    POOL_TAKEN();
    if (error == NULL && trap == NULL) {
        sandbox->instance_made = true;
        sandbox->end = WASM_END_OK;
        return SOREX_OK;
    }
    enum sorex_status status = trap_take(sandbox, trap, error, err);
    /* Neither the guest nor an import: Wasmtime had no slot or the system no memory. */
    if (status == SOREX_FATAL || sandbox->end == WASM_END_MEMORY_HOST) {
        (void)sorex_error_prefix(err, "Failed to refresh memory after block execution");
        if (err != NULL)
            err->status = SOREX_FATAL;
        return SOREX_FATAL;
    }
    return status;
}

enum sorex_status wasm_sandbox_open(struct wasm_program *program, const struct wasm_limits *limits, void *user_data,
                                    struct wasm_sandbox **out, struct sorex_error *err)
{
    struct wasm_sandbox *sandbox = malloc(sizeof *sandbox);
    if (sandbox == NULL)
        return sorex_error_set(err, SOREX_FATAL, "Failed to refresh memory after block execution: out of memory");
    /* Everything but the error's text, a kilobyte. */
    memset(sandbox, 0, offsetof(struct wasm_sandbox, error));
    sandbox->error.status = SOREX_OK;
    sandbox->error.native = 0;
    sandbox->error.text[0] = '\0';
    sandbox->program = program;
    sandbox->user_data = user_data;
    atomic_init(&sandbox->stop, false);
    struct watchdog_call *watch = limits != NULL ? limits->start_watch : NULL;
    enum sorex_status status = store_open(sandbox, limits, err);
    if (status == SOREX_OK && watch != NULL) {
        watch->sandbox = sandbox;
        watchdog_begin(watch);
        status = instance_make(sandbox, err);
        watchdog_end(watch);
    } else if (status == SOREX_OK) {
        status = instance_make(sandbox, err);
    }
    if (status != SOREX_OK) {
        wasm_sandbox_close(sandbox);
        return status;
    }
    *out = sandbox;
    return SOREX_OK;
}

void wasm_sandbox_close(struct wasm_sandbox *sandbox)
{
    if (sandbox == NULL)
        return;
    CHECK(sandbox->caller == NULL);
    POOL_GIVING();
    if (sandbox->store != NULL)
        wasmtime_store_delete(sandbox->store);
    POOL_GIVEN();
    free(sandbox);
}

/* -- exports */

/* False during the start section, where the instance has no handle yet and only a caller reaches its exports. */
static bool export_get(struct wasm_sandbox *sandbox, const char *name, wasmtime_extern_t *out)
{
    if (sandbox->instance_made)
        return wasmtime_instance_export_get(sandbox->context, &sandbox->instance, name, strlen(name), out);
    return sandbox->caller != NULL && wasmtime_caller_export_get(sandbox->caller, name, strlen(name), out);
}

static const wasmtime_func_t *func_get(struct wasm_sandbox *sandbox, const struct wasm_export *export)
{
    size_t slot = export->index % SANDBOX_FUNCS;
    if (sandbox->funcs[slot].export != export) {
        wasmtime_extern_t item;
        CHECK(export_get(sandbox, export->name, &item) && item.kind == WASMTIME_EXTERN_FUNC);
        sandbox->funcs[slot].func = item.of.func;
        sandbox->funcs[slot].export = export;
    }
    return &sandbox->funcs[slot].func;
}

enum sorex_status wasm_sandbox_call(struct wasm_sandbox *sandbox, const struct wasm_export *func,
                                    union wasm_value *values, struct sorex_error *err)
{
    if (atomic_load_explicit(&sandbox->stop, memory_order_relaxed)) {
        sandbox->end = WASM_END_INTERRUPTED;
        sandbox->end_deterministic = false;
        return sorex_error_set(err, SOREX_STOPPED, "interrupted before the call of %s", func->name);
    }
    CHECK(func->kind == WASM_KIND_FUNC && func->slots > 0);
    sandbox->end = WASM_END_OK;
    sandbox->error.status = SOREX_OK;
    wasm_trap_t *trap = NULL;
    wasmtime_func_t handle = *func_get(sandbox, func);
    wasmtime_error_t *error =
        wasmtime_func_call_unchecked(sandbox->context, &handle, (wasmtime_val_raw_t *)values, func->slots, &trap);
    if (error == NULL && trap == NULL) {
        sandbox->end = WASM_END_OK; /* a failed call inside of this one was dealt with by the import that made it */
        return SOREX_OK;
    }
    return trap_take(sandbox, trap, error, err);
}

/* -- memory */

static const wasmtime_memory_t *memory_get(struct wasm_sandbox *sandbox)
{
    if (!sandbox->memory_known) {
        wasmtime_extern_t item;
        const struct wasm_export *export = sandbox->program->memory;
        if (export == NULL || !export_get(sandbox, export->name, &item))
            return NULL;
        CHECK(item.kind == WASMTIME_EXTERN_MEMORY);
        sandbox->memory = item.of.memory;
        sandbox->memory_known = true;
    }
    return &sandbox->memory;
}

struct wasm_memory wasm_sandbox_memory(struct wasm_sandbox *sandbox)
{
    const wasmtime_memory_t *memory = memory_get(sandbox);
    if (memory == NULL)
        return (struct wasm_memory){NULL, 0};
    return (struct wasm_memory){wasmtime_memory_data(sandbox->context, memory),
                                wasmtime_memory_data_size(sandbox->context, memory)};
}

bool wasm_sandbox_range(struct wasm_sandbox *sandbox, uint32_t at, uint32_t len, uint8_t **out)
{
    struct wasm_memory memory = wasm_sandbox_memory(sandbox);
    if (memory.data == NULL || at > memory.len || len > memory.len - at)
        return false;
    *out = memory.data + at;
    return true;
}

enum sorex_status wasm_sandbox_memory_grow(struct wasm_sandbox *sandbox, uint64_t pages, struct sorex_error *err)
{
    const wasmtime_memory_t *memory = memory_get(sandbox);
    if (memory == NULL)
        return sorex_error_set(err, SOREX_INVALID, "program %s: exports no memory", sandbox->program->name);
    uint64_t before = 0;
    wasmtime_error_t *error = wasmtime_memory_grow(sandbox->context, memory, pages, &before);
    if (error == NULL)
        return SOREX_OK;
    return trap_error_take(error, sandbox->limits.host_failed ? SOREX_NOMEM : SOREX_LIMIT, err, "memory");
}

/* -- globals */

static enum sorex_status global_find(struct wasm_sandbox *sandbox, const struct wasm_export *export,
                                     wasmtime_global_t *out, wasmtime_val_t *out_value, struct sorex_error *err)
{
    wasmtime_extern_t item;
    if (export->kind != WASM_KIND_GLOBAL)
        return sorex_error_set(err, SOREX_INVALID, "export %s is not a global", export->name);
    CHECK(export_get(sandbox, export->name, &item) && item.kind == WASMTIME_EXTERN_GLOBAL);
    *out = item.of.global;
    const char *type = strncmp(export->type, "mut ", 4) == 0 ? export->type + 4 : export->type;
    if (strcmp(type, "i32") != 0 && strcmp(type, "i64") != 0 && strcmp(type, "f32") != 0 && strcmp(type, "f64") != 0)
        return sorex_error_set(err, SOREX_INVALID, "global %s: type %s is not a number", export->name, type);
    wasmtime_global_get(sandbox->context, out, out_value);
    return SOREX_OK;
}

enum sorex_status wasm_sandbox_global_get(struct wasm_sandbox *sandbox, const struct wasm_export *export,
                                          uint64_t *out_bits, struct sorex_error *err)
{
    wasmtime_global_t global;
    wasmtime_val_t value;
    TRY(global_find(sandbox, export, &global, &value, err));
    if (value.kind == WASMTIME_I64 || value.kind == WASMTIME_F64) {
        memcpy(out_bits, &value.of.i64, 8); /* f64 lies at the same place: NaN bits do not pass a register */
    } else {
        uint32_t bits;
        memcpy(&bits, &value.of.i32, 4);
        *out_bits = bits;
    }
    return SOREX_OK;
}

enum sorex_status wasm_sandbox_global_set(struct wasm_sandbox *sandbox, const struct wasm_export *export, uint64_t bits,
                                          struct sorex_error *err)
{
    wasmtime_global_t global;
    wasmtime_val_t value;
    TRY(global_find(sandbox, export, &global, &value, err));
    if (strncmp(export->type, "mut ", 4) != 0)
        return sorex_error_set(err, SOREX_INVALID, "global %s is not mutable", export->name);
    if (value.kind == WASMTIME_I64 || value.kind == WASMTIME_F64) {
        memcpy(&value.of.i64, &bits, 8);
    } else {
        uint32_t low = (uint32_t)bits;
        memcpy(&value.of.i32, &low, 4);
    }
    wasmtime_error_t *error = wasmtime_global_set(sandbox->context, &global, &value);
    return error == NULL ? SOREX_OK : trap_error_take(error, SOREX_INVALID, err, export->name);
}

/* -- the rest */

void *wasm_sandbox_user_data(const struct wasm_sandbox *sandbox) { return sandbox->user_data; }

struct wasm_program *wasm_sandbox_program(const struct wasm_sandbox *sandbox) { return sandbox->program; }

enum wasm_end wasm_sandbox_end(const struct wasm_sandbox *sandbox) { return sandbox->end; }

bool wasm_sandbox_end_deterministic(const struct wasm_sandbox *sandbox) { return sandbox->end_deterministic; }

static uint64_t fuel_used_now(const struct wasm_sandbox *sandbox)
{
    uint64_t left = 0;
    wasmtime_error_t *error = wasmtime_context_get_fuel(sandbox->context, &left);
    CHECK(error == NULL);
    return sandbox->fuel_set - left;
}

uint64_t wasm_sandbox_fuel_used(const struct wasm_sandbox *sandbox)
{
    return sandbox->program->engine->settings.metered ? sandbox->fuel_past + fuel_used_now(sandbox) : 0;
}

void wasm_sandbox_fuel_set(struct wasm_sandbox *sandbox, uint64_t fuel)
{
    CHECK(sandbox->program->engine->settings.metered);
    sandbox->fuel_past += fuel_used_now(sandbox);
    fuel_give(sandbox, fuel);
}

void wasm_sandbox_stop(struct wasm_sandbox *sandbox)
{
    if (!sandbox->program->engine->settings.interruptible)
        return;
    atomic_store_explicit(&sandbox->stop, true, memory_order_release);
    wasmtime_engine_increment_epoch(sandbox->program->engine->engine);
}
