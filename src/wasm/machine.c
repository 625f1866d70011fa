/* Machines: one store with a board, a main module and libraries; calls, and images of the whole. */
#include "wasm/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "wasm/machine_private.h"
#include "wasm/rewrite.h"
#include "wasm/skeleton.h"

/* Host functions run on the machine's stack too, beyond what the guest may use. */
#define STACK_HOST_BYTES ((size_t)1 << 20)

/* -- memories of the engine */

/* The memory that the board is to own which this thread makes. The engine asks for others too, for exceptions: these
 * begin empty. */
static _Thread_local struct linear *memory_given;

static uint8_t *memory_get(void *env, size_t *out_size, size_t *out_capacity)
{
    struct wasm_memory memory = linear_memory(env);
    *out_size = memory.len;
    *out_capacity = LINEAR_RESERVED_BYTES;
    return memory.data;
}

static wasmtime_error_t *memory_grow(void *env, size_t size)
{
    struct sorex_error err = {0};
    return linear_grow(env, size, &err) == SOREX_OK ? NULL : wasmtime_error_new(err.text);
}

static void memory_own_close(void *env) { linear_close(env); }

static wasmtime_error_t *memory_create(void *env, const wasm_memorytype_t *type, size_t size, size_t size_max,
                                       size_t reserved, size_t guard, wasmtime_linear_memory_t *out)
{
    (void)env;
    (void)type;
    (void)size_max;
    (void)reserved;
    (void)guard; /* 4 GiB and 32 MiB, of engine.c: linear.h has these for all */
    struct sorex_error err = {0};
    struct linear *linear = memory_given;
    bool own = linear == NULL || size == 0 || linear_memory(linear).len != size;
    if (!own)
        memory_given = NULL;
    if (own && linear_open(size, LINEAR_RESERVED_BYTES, &linear, &err) != SOREX_OK)
        return wasmtime_error_new(err.text);
    *out = (wasmtime_linear_memory_t){.env = linear,
                                      .get_memory = memory_get,
                                      .grow_memory = memory_grow,
                                      .finalizer = own ? memory_own_close : NULL};
    return NULL;
}

void machine_engine_set(wasm_config_t *config)
{
    wasmtime_memory_creator_t creator = {.new_memory = memory_create};
    wasmtime_config_memory_init_cow_set(config, false); /* it does not go with memories of our own */
    wasmtime_config_host_memory_creator_set(config, &creator);
    wasmtime_config_gc_support_set(config, true);
    wasmtime_config_wasm_function_references_set(config, true);
    wasmtime_config_wasm_exceptions_set(config, true);
}

/* -- host functions */

wasm_trap_t *machine_host_call(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t values_count)
{
    (void)caller;
    (void)values_count;
    const struct host_link *link = env;
    struct machine *machine = link->machine;
    switch (link->import->fn(machine->user_data, machine, (union wasm_value *)values)) {
    case MACHINE_GO:
        return NULL;
    case MACHINE_EXIT:
        machine->exiting = true;
        break;
    case MACHINE_FAIL:
        machine->failing = true;
        break;
    }
    return wasmtime_trap_new_code(WASMTIME_TRAP_CODE_INTERRUPT); /* unwinds; cheap, as it has no text */
}

enum machine_next machine_fail(struct machine *machine, enum sorex_status status, const char *format, ...)
{
    char text[SOREX_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)sorex_error_set(&machine->error, status, "%s", text);
    return MACHINE_FAIL;
}

enum machine_next machine_fail_with(struct machine *machine, const struct sorex_error *err)
{
    machine->error = *err;
    return MACHINE_FAIL;
}

enum sorex_status machine_func_make(struct machine *machine, const struct machine_import *import, wasmtime_func_t *out,
                                    struct sorex_error *err)
{
    struct host_link *link = malloc(sizeof *link);
    wasm_functype_t *type = type_func_make(import->type);
    if (link == NULL || type == NULL) {
        free(link);
        if (type != NULL)
            wasm_functype_delete(type);
        return sorex_error_set(err, SOREX_NOMEM, "import %s.%s: out of memory", import->module, import->name);
    }
    *link = (struct host_link){machine, import};
    wasmtime_func_new_unchecked(machine->context, type, machine_host_call, link, free, out);
    wasm_functype_delete(type);
    return SOREX_OK;
}

/* -- making */

bool machine_export_get(struct machine *machine, const wasmtime_instance_t *instance, const char *name,
                        wasmtime_extern_t *out)
{
    return wasmtime_instance_export_get(machine->context, instance, name, strlen(name), out);
}

enum sorex_status machine_instance_make(struct machine *machine, const struct machine_code *code,
                                        const wasmtime_extern_t *externs, wasmtime_instance_t *out,
                                        struct sorex_error *err)
{
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error =
        wasmtime_instance_new(machine->context, code->module, externs, code->imports_count, out, &trap);
    if (error == NULL && trap == NULL)
        return SOREX_OK;
    if (trap != NULL) {
        wasm_trap_delete(trap);
        return sorex_error_set(err, SOREX_GUEST, "module %s: its start function trapped", code->options.name);
    }
    return trap_error_take(error, SOREX_FATAL, err, code->options.name);
}

static enum sorex_status board_make(struct machine *machine, const struct machine_options *options,
                                    struct sorex_error *err)
{
    const struct machine_code *code = machine->code;
    uint64_t size = code->memory_pages_min * WASM_PAGE_BYTES, size_max = code->memory_pages_max * WASM_PAGE_BYTES;
    if (options->memory_bytes_max != 0 && options->memory_bytes_max < size_max)
        size_max = options->memory_bytes_max;
    if (size > size_max)
        return sorex_error_set(err, SOREX_LIMIT, "module %s: starts with %llu bytes of memory, the limit is %llu",
                               code->options.name, (unsigned long long)size, (unsigned long long)size_max);
    TRY(linear_open(size, size_max, &machine->linear, err));
    memory_given = machine->linear;
    enum sorex_status status = machine_instance_make(machine, code->board, NULL, &machine->board, err);
    CHECK(status != SOREX_OK || memory_given == NULL);
    memory_given = NULL;
    TRY(status);
    wasmtime_extern_t item;
    CHECK(machine_export_get(machine, &machine->board, "memory", &item));
    machine->memory = item.of.memory;
    CHECK(wasmtime_memory_data(machine->context, &machine->memory) == linear_memory(machine->linear).data);
    CHECK(machine_export_get(machine, &machine->board, "table", &item));
    machine->table = item.of.table;
    return SOREX_OK;
}

static enum sorex_status import_provide(struct machine *machine, const struct code_item *item, wasmtime_extern_t *out,
                                        struct sorex_error *err)
{
    if (item->kind == WASM_KIND_MEMORY) {
        *out = (wasmtime_extern_t){.kind = WASMTIME_EXTERN_MEMORY, .of.memory = machine->memory};
        return SOREX_OK;
    }
    if (item->kind == WASM_KIND_TABLE) {
        *out = (wasmtime_extern_t){.kind = WASMTIME_EXTERN_TABLE, .of.table = machine->table};
        return SOREX_OK;
    }
    if (board_has(item->name)) {
        CHECK(machine_export_get(machine, &machine->board, item->name, out));
        return SOREX_OK;
    }
    out->kind = WASMTIME_EXTERN_FUNC;
    return machine_func_make(machine, code_host_find(&machine->code->options, item), &out->of.func, err);
}

static enum sorex_status main_make(struct machine *machine, struct sorex_error *err)
{
    const struct machine_code *code = machine->code;
    wasmtime_extern_t *externs = calloc(code->imports_count + 1, sizeof *externs);
    if (externs == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "machine: out of memory");
    enum sorex_status status = SOREX_OK;
    for (size_t i = 0; i < code->imports_count && status == SOREX_OK; i++)
        status = import_provide(machine, &code->imports[i], &externs[i], err);
    if (status == SOREX_OK)
        status = machine_instance_make(machine, code, externs, &machine->main, err);
    free(externs);
    return status;
}

static enum sorex_status exports_take(struct machine *machine, struct sorex_error *err)
{
    static const char *const host[] = {"emscripten_stack_get_current", "_emscripten_stack_restore", "setThrew"};
    const struct machine_code *code = machine->code;
    wasmtime_extern_t item;
    machine->funcs = calloc(code->options.exports_count + 1, sizeof *machine->funcs);
    if (machine->funcs == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "machine: out of memory");
    for (size_t i = 0; i < code->options.exports_count; i++) {
        CHECK(machine_export_get(machine, &machine->main, code->options.exports[i].name, &item));
        machine->funcs[i] = item.of.func;
    }
    wasmtime_extern_t table;
    CHECK(machine_export_get(machine, &machine->board, "host", &table));
    for (uint32_t i = 0; i < 3; i++) {
        if (!machine_export_get(machine, &machine->main, host[i], &item))
            return sorex_error_set(err, SOREX_INVALID, "module %s: no export %s", code->options.name, host[i]);
        wasmtime_val_t value = {.kind = WASMTIME_FUNCREF, .of.funcref = item.of.func};
        wasmtime_error_t *error = wasmtime_table_set(machine->context, &table.of.table, i, &value);
        if (error != NULL)
            return trap_error_take(error, SOREX_FATAL, err, "machine");
    }
    for (size_t i = 0; i < code->exports_count; i++) {
        if (strncmp(code->exports[i].name, WASM_REWRITE_PREFIX, sizeof WASM_REWRITE_PREFIX - 1) != 0)
            continue;
        if (machine->globals_count == MACHINE_GLOBALS_MAX)
            return sorex_error_set(err, SOREX_INVALID, "module %s: more than %d mutable globals", code->options.name,
                                   MACHINE_GLOBALS_MAX);
        CHECK(machine_export_get(machine, &machine->main, code->exports[i].name, &item));
        machine->globals[machine->globals_count++] = item.of.global;
    }
    machine->has_stack_pointer = machine_export_get(machine, &machine->main, "__stack_pointer", &item);
    machine->stack_pointer = item.of.global;
    return SOREX_OK;
}

enum sorex_status machine_open(const struct machine_code *code, const struct machine_options *options,
                               struct machine **out, struct sorex_error *err)
{
    CHECK(code->board != NULL);
    struct machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "machine: out of memory");
    machine->code = code;
    machine->user_data = options->user_data;
    machine->store = wasmtime_store_new(code->engine->engine, machine, NULL);
    machine->context = wasmtime_store_context(machine->store);
    if (code->options.metered)
        machine_fuel_set(machine, UINT64_MAX);
    enum sorex_status status = fiber_open((size_t)MACHINE_STACK_BYTES + STACK_HOST_BYTES, &machine->fiber, err);
    if (status == SOREX_OK)
        status = board_make(machine, options, err);
    if (status == SOREX_OK)
        status = main_make(machine, err);
    if (status == SOREX_OK)
        status = exports_take(machine, err);
    if (status != SOREX_OK) {
        machine_close(machine);
        return status;
    }
    *out = machine;
    return SOREX_OK;
}

void machine_close(struct machine *machine)
{
    if (machine == NULL)
        return;
    CHECK(!machine->inside);
    wasmtime_store_delete(machine->store);
    linear_close(machine->linear);
    fiber_close(machine->fiber);
    machine_libraries_free(machine);
    free(machine->funcs);
    free(machine);
}

/* -- calls */

struct entry_call {
    struct machine *machine;
    void (*fn)(void *user_data);
    void *user_data;
};

static void entered(void *user_data)
{
    struct entry_call *call = user_data;
    call->machine->inside = true;
    call->fn(call->user_data);
    call->machine->inside = false;
}

void machine_enter(struct machine *machine, void (*fn)(void *user_data), void *user_data)
{
    if (machine->inside) {
        fn(user_data);
        return;
    }
    struct entry_call call = {machine, fn, user_data};
    fiber_run(machine->fiber, entered, &call);
}

static enum sorex_status trap_status(const struct machine *machine, wasm_trap_t *trap, struct sorex_error *err)
{
    char place[256];
    wasmtime_trap_code_t code = UINT8_MAX;
    trap_place_text(trap, NULL, place, sizeof place);
    (void)wasmtime_trap_code(trap, &code);
    wasm_trap_delete(trap);
    const char *name = machine->code->options.name;
    if (code == WASMTIME_TRAP_CODE_STACK_OVERFLOW)
        return sorex_error_set(err, SOREX_LIMIT, "%s: stack overflow%s", name, place);
    if (code == WASMTIME_TRAP_CODE_OUT_OF_FUEL)
        return sorex_error_set(err, SOREX_LIMIT, "%s: out of fuel%s", name, place);
    return sorex_error_set(err, SOREX_GUEST, "%s: trap: %s%s", name, trap_code_text(code), place);
}

enum sorex_status machine_func_run(struct machine *machine, const wasmtime_func_t *func, union wasm_value *values,
                                   size_t slots, bool *out_exited, struct sorex_error *err)
{
    wasm_trap_t *trap = NULL;
    if (out_exited != NULL)
        *out_exited = false;
    wasmtime_error_t *error =
        wasmtime_func_call_unchecked(machine->context, func, (wasmtime_val_raw_t *)values, slots, &trap);
    if (error == NULL && trap == NULL)
        return SOREX_OK;
    if (!machine->exiting && !machine->failing && trap != NULL)
        return trap_status(machine, trap, err);
    if (!machine->exiting && !machine->failing)
        return trap_error_take(error, SOREX_GUEST, err, machine->code->options.name);
    if (trap != NULL)
        wasm_trap_delete(trap);
    if (error != NULL)
        wasmtime_error_delete(error);
    if (machine->failing) {
        machine->failing = machine->exiting = false;
        return sorex_error_set(err, machine->error.status, "%s", machine->error.text);
    }
    machine->exiting = false;
    if (out_exited == NULL)
        return sorex_error_set(err, SOREX_GUEST, "%s: ended where it must return", machine->code->options.name);
    *out_exited = true;
    return SOREX_OK;
}

struct outside_call {
    struct machine *machine;
    const wasmtime_func_t *func;
    union wasm_value *values;
    size_t slots;
    bool *out_exited;
    struct sorex_error *err;
    enum sorex_status status;
};

static void outside_run(void *user_data)
{
    struct outside_call *call = user_data;
    call->status = machine_func_run(call->machine, call->func, call->values, call->slots, call->out_exited, call->err);
}

static enum sorex_status func_call(struct machine *machine, const wasmtime_func_t *func, union wasm_value *values,
                                   size_t slots, bool *out_exited, struct sorex_error *err)
{
    if (machine->inside)
        return machine_func_run(machine, func, values, slots, out_exited, err);
    struct outside_call call = {machine, func, values, slots, out_exited, err, SOREX_OK};
    machine_enter(machine, outside_run, &call);
    return call.status;
}

enum sorex_status machine_call(struct machine *machine, size_t func, union wasm_value *values, bool *out_exited,
                               struct sorex_error *err)
{
    CHECK(func < machine->code->options.exports_count);
    return func_call(machine, &machine->funcs[func], values, machine->code->slots[func], out_exited, err);
}

enum sorex_status machine_call_slot(struct machine *machine, uint32_t slot, const char *type, union wasm_value *values,
                                    bool *out_exited, struct sorex_error *err)
{
    wasmtime_val_t value;
    if (!wasmtime_table_get(machine->context, &machine->table, slot, &value) ||
        wasmtime_funcref_is_null(&value.of.funcref))
        return sorex_error_set(err, SOREX_GUEST, "%s: call of the empty slot %u", machine->code->options.name,
                               (unsigned)slot);
    wasm_functype_t *has = wasmtime_func_type(machine->context, &value.of.funcref), *wants = type_func_make(type);
    bool same = wants != NULL && wasm_functype_params(has)->size == wasm_functype_params(wants)->size &&
                wasm_functype_results(has)->size == wasm_functype_results(wants)->size;
    for (size_t i = 0; same && i < wasm_functype_params(has)->size; i++)
        same = wasm_valtype_kind(wasm_functype_params(has)->data[i]) ==
               wasm_valtype_kind(wasm_functype_params(wants)->data[i]);
    wasm_functype_delete(has);
    if (wants != NULL)
        wasm_functype_delete(wants);
    if (!same)
        return sorex_error_set(err, SOREX_GUEST, "%s: the function in slot %u is not %s", machine->code->options.name,
                               (unsigned)slot, type);
    return func_call(machine, &value.of.funcref, values, type_func_slots(type), out_exited, err);
}

enum sorex_status machine_start(struct machine *machine, struct bytes wasm, struct sorex_error *err)
{
    wasmtime_extern_t item;
    union wasm_value none = {0};
    TRY(skeleton_data_copy(wasm, linear_memory(machine->linear), err));
    if (!machine_export_get(machine, &machine->main, SKELETON_START, &item))
        return SOREX_OK;
    return func_call(machine, &item.of.func, &none, 1, NULL, err);
}

/* -- memory, table, fuel */

struct wasm_memory machine_memory(const struct machine *machine) { return linear_memory(machine->linear); }

enum sorex_status machine_memory_grow(struct machine *machine, uint64_t bytes, bool *out_grown, struct sorex_error *err)
{
    uint64_t before;
    *out_grown = bytes <= linear_size_max(machine->linear) - linear_memory(machine->linear).len;
    if (!*out_grown)
        return SOREX_OK;
    wasmtime_error_t *error =
        wasmtime_memory_grow(machine->context, &machine->memory, bytes / WASM_PAGE_BYTES, &before);
    return error == NULL ? SOREX_OK : trap_error_take(error, SOREX_NOMEM, err, "memory");
}

uint32_t machine_table_size(const struct machine *machine)
{
    return (uint32_t)wasmtime_table_size(machine->context, &machine->table);
}

enum sorex_status machine_table_add(struct machine *machine, const wasmtime_func_t *func, uint32_t *out,
                                    struct sorex_error *err)
{
    uint64_t before = 0;
    wasmtime_val_t value = {.kind = WASMTIME_FUNCREF, .of.funcref = *func};
    wasmtime_error_t *error = wasmtime_table_grow(machine->context, &machine->table, 1, &value, &before);
    if (error != NULL)
        return trap_error_take(error, SOREX_LIMIT, err, "table");
    *out = (uint32_t)before;
    return SOREX_OK;
}

void machine_fuel_set(struct machine *machine, uint64_t fuel)
{
    CHECK(machine->code->options.metered);
    wasmtime_error_t *error = wasmtime_context_set_fuel(machine->context, fuel);
    CHECK(error == NULL);
}

uint64_t machine_fuel_left(const struct machine *machine)
{
    uint64_t left = 0;
    wasmtime_error_t *error = wasmtime_context_get_fuel(machine->context, &left);
    CHECK(error == NULL);
    return left;
}

/* -- images */

static uint64_t global_bits(struct machine *machine, uint32_t index)
{
    wasmtime_val_t value;
    uint64_t bits = 0;
    wasmtime_global_get(machine->context, &machine->globals[index], &value);
    bool wide = value.kind == WASMTIME_I64 || value.kind == WASMTIME_F64;
    memcpy(&bits, &value.of.i64, wide ? 8 : 4);
    return bits;
}

static enum sorex_status global_put(struct machine *machine, const wasmtime_global_t *global, uint64_t bits,
                                    struct sorex_error *err)
{
    wasmtime_val_t value;
    wasmtime_global_get(machine->context, global, &value);
    bool wide = value.kind == WASMTIME_I64 || value.kind == WASMTIME_F64;
    memcpy(&value.of.i64, &bits, wide ? 8 : 4);
    wasmtime_error_t *error = wasmtime_global_set(machine->context, global, &value);
    return error == NULL ? SOREX_OK : trap_error_take(error, SOREX_FATAL, err, "global");
}

static enum sorex_status image_room(struct machine_image *out, size_t additions, size_t got, struct sorex_error *err)
{
    out->additions = malloc((additions + 1) * sizeof *out->additions);
    out->got = malloc((got + 1) * sizeof *out->got);
    if (out->additions != NULL && out->got != NULL)
        return SOREX_OK;
    machine_image_deinit(out);
    return sorex_error_set(err, SOREX_NOMEM, "image: out of memory");
}

enum sorex_status machine_save(struct machine *machine, struct machine_image *out, struct sorex_error *err)
{
    CHECK(!machine->inside);
    *out = (struct machine_image){.table_slots = machine_table_size(machine), .globals_count = machine->globals_count};
    TRY(image_room(out, machine->additions_count, machine->got_count, err));
    enum sorex_status status = linear_save(machine->linear, &out->memory, err);
    if (status != SOREX_OK) {
        machine_image_deinit(out);
        return status;
    }
    for (uint32_t i = 0; i < machine->globals_count; i++)
        out->globals[i] = global_bits(machine, i);
    for (; out->additions_count < machine->additions_count; out->additions_count++)
        out->additions[out->additions_count] = machine->additions[out->additions_count];
    for (size_t i = 0; i < machine->got_count; i++) {
        wasmtime_val_t value;
        wasmtime_global_get(machine->context, &machine->got[i].global, &value);
        out->got[i] = (uint32_t)value.of.i32;
    }
    out->got_count = machine->got_count;
    return SOREX_OK;
}

/* Whether what the machine added is how the image's additions begin. */
static bool additions_begin(const struct machine *machine, const struct machine_image *image)
{
    if (machine->additions_count > image->additions_count)
        return false;
    for (size_t i = 0; i < machine->additions_count; i++) {
        const struct machine_addition *a = &machine->additions[i], *b = &image->additions[i];
        bool named = a->kind == MACHINE_SLOT;
        if (a->kind != b->kind || a->callback != b->callback || a->code != b->code ||
            a->memory_base != b->memory_base || (named && (a->library != b->library || strcmp(a->name, b->name) != 0)))
            return false;
    }
    return true;
}

enum sorex_status machine_restore(struct machine *machine, const struct machine_image *image, struct sorex_error *err)
{
    CHECK(!machine->inside);
    if (machine->globals_count != image->globals_count)
        return sorex_error_set(err, SOREX_MISMATCH, "machine: the image has %u globals, the module %u",
                               (unsigned)image->globals_count, (unsigned)machine->globals_count);
    size_t size = linear_memory(machine->linear).len, wanted = linear_image_size(image->memory);
    if (!additions_begin(machine, image) || size > wanted)
        return sorex_error_set(err, SOREX_MISMATCH, "machine: it has grown beyond the image");
    bool grown = size == wanted;
    if (!grown)
        TRY(machine_memory_grow(machine, wanted - size, &grown, err));
    if (!grown)
        return sorex_error_set(err, SOREX_LIMIT, "machine: the image has %zu bytes of memory, more than the limit",
                               wanted);
    TRY(machine_additions_repeat(machine, image, err));
    for (uint32_t i = 0; i < image->globals_count; i++)
        TRY(global_put(machine, &machine->globals[i], image->globals[i], err));
    for (size_t i = 0; i < image->got_count; i++) {
        TRY(global_put(machine, &machine->got[i].global, image->got[i], err));
        machine->got[i].defined = true;
    }
    return linear_restore(machine->linear, image->memory, err);
}

void machine_image_deinit(struct machine_image *image)
{
    linear_image_drop(image->memory);
    free(image->additions);
    free(image->got);
    *image = (struct machine_image){0};
}

enum sorex_status machine_image_copy(struct machine_image *out, const struct machine_image *image,
                                     struct sorex_error *err)
{
    struct machine_image copy = *image;
    TRY(image_room(&copy, image->additions_count, image->got_count, err));
    memcpy(copy.additions, image->additions, image->additions_count * sizeof *copy.additions);
    memcpy(copy.got, image->got, image->got_count * sizeof *copy.got);
    linear_image_keep(copy.memory);
    *out = copy;
    return SOREX_OK;
}
