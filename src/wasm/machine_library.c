/* Libraries of a machine: WebAssembly's convention for dynamic linking, at run time.
 *
 * A library brings no memory or table: it is given a place in the main module's (__memory_base, __table_base) and takes
 * functions by name from the main module, from libraries in front of it and from the host. Addresses that are known
 * only then it reads from globals that it imports from GOT.mem and GOT.func. A function's address is its slot in the
 * table; a function has one address, whoever asks, so a slot that has it already is found again. Source: WebAssembly
 * tool conventions, "Dynamic Linking". */
#include <stdlib.h>

#include "base/check.h"
#include "wasm/machine_private.h"

#define MAIN UINT32_MAX

static enum sorex_status out_of_memory(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_NOMEM, "library: out of memory");
}

enum sorex_status machine_addition_note(struct machine *machine, const struct machine_addition *addition,
                                        struct sorex_error *err)
{
    struct machine_addition *additions =
        realloc(machine->additions, (machine->additions_count + 1) * sizeof *additions);
    if (additions == NULL)
        return out_of_memory(err);
    machine->additions = additions;
    additions[machine->additions_count++] = *addition;
    return SOREX_OK;
}

enum sorex_status machine_callback_add(struct machine *machine, const struct machine_import *callback, uint32_t *out,
                                       struct sorex_error *err)
{
    wasmtime_func_t func;
    TRY(machine_func_make(machine, callback, &func, err));
    TRY(machine_table_add(machine, &func, out, err));
    return machine_addition_note(machine, &(struct machine_addition){.kind = MACHINE_CALLBACK, .callback = callback},
                                 err);
}

/* -- addresses of functions */

static size_t slot_place(const struct machine *machine, const void *raw)
{
    size_t at = ((uintptr_t)raw >> 4) * 0x9E3779B97F4A7C15u >> 20;
    for (at &= machine->slots_cap - 1; machine->slots[at].raw != NULL && machine->slots[at].raw != raw;)
        at = (at + 1) & (machine->slots_cap - 1);
    return at;
}

/* Brings the hash table up to the table's size. */
static enum sorex_status slots_fill(struct machine *machine, struct sorex_error *err)
{
    if (machine->slots == NULL) {
        machine->slots_cap = (size_t)2 * MACHINE_TABLE_MAX;
        machine->slots = calloc(machine->slots_cap, sizeof *machine->slots);
        if (machine->slots == NULL)
            return out_of_memory(err);
    }
    uint32_t size = machine_table_size(machine);
    for (; machine->slots_upto < size; machine->slots_upto++) {
        wasmtime_val_t value;
        if (!wasmtime_table_get(machine->context, &machine->table, machine->slots_upto, &value) ||
            wasmtime_funcref_is_null(&value.of.funcref))
            continue;
        void *raw = wasmtime_func_to_raw(machine->context, &value.of.funcref);
        size_t at = slot_place(machine, raw);
        if (machine->slots[at].raw == NULL)
            machine->slots[at] = (struct slot_entry){raw, machine->slots_upto};
    }
    return SOREX_OK;
}

static enum sorex_status func_address(struct machine *machine, const wasmtime_func_t *func, uint32_t library,
                                      const char *name, uint32_t *out, struct sorex_error *err)
{
    TRY(slots_fill(machine, err));
    size_t at = slot_place(machine, wasmtime_func_to_raw(machine->context, func));
    if (machine->slots[at].raw != NULL) {
        *out = machine->slots[at].slot;
        return SOREX_OK;
    }
    TRY(machine_table_add(machine, func, out, err));
    return machine_addition_note(
        machine, &(struct machine_addition){.kind = MACHINE_SLOT, .library = library, .name = name}, err);
}

/* -- symbols */

/* Where a name is exported: the main module first, then libraries in their order. NULL: nowhere. */
static const struct code_item *symbol_find(const struct machine *machine, const char *name, uint32_t *out_library)
{
    const struct code_item *item = code_export(machine->code, name);
    *out_library = MAIN;
    for (size_t i = 0; item == NULL && i < machine->libraries_count; i++) {
        item = code_export(machine->libraries[i].code, name);
        *out_library = (uint32_t)i;
    }
    return item;
}

static const wasmtime_instance_t *instance_of(const struct machine *machine, uint32_t library)
{
    return library == MAIN ? &machine->main : &machine->libraries[library].instance;
}

static enum sorex_status symbol_address(struct machine *machine, uint32_t library, const struct code_item *item,
                                        uint32_t *out, struct sorex_error *err)
{
    wasmtime_extern_t found;
    CHECK(machine_export_get(machine, instance_of(machine, library), item->name, &found));
    if (found.kind == WASMTIME_EXTERN_FUNC)
        return func_address(machine, &found.of.func, library, item->name, out, err);
    if (found.kind != WASMTIME_EXTERN_GLOBAL)
        return sorex_error_set(err, SOREX_INVALID, "symbol %s is neither function nor data", item->name);
    wasmtime_val_t value;
    wasmtime_global_get(machine->context, &found.of.global, &value);
    *out = (uint32_t)value.of.i32 + (library == MAIN ? 0 : machine->libraries[library].memory_base);
    return SOREX_OK;
}

enum sorex_status machine_library_symbol(struct machine *machine, size_t library, const char *name, uint32_t *out,
                                         struct sorex_error *err)
{
    CHECK(library < machine->libraries_count);
    const struct code_item *item = code_export(machine->libraries[library].code, name);
    if (item == NULL)
        return sorex_error_set(err, SOREX_GONE, "library %s: no symbol %s",
                               machine->libraries[library].code->options.name, name);
    return symbol_address(machine, (uint32_t)library, item, out, err);
}

enum sorex_status machine_data_symbol(struct machine *machine, const char *name, uint32_t *out, struct sorex_error *err)
{
    wasmtime_extern_t found;
    const struct code_item *item = code_export(machine->code, name);
    if (item == NULL || !machine_export_get(machine, &machine->main, name, &found) ||
        found.kind != WASMTIME_EXTERN_GLOBAL)
        return sorex_error_set(err, SOREX_GONE, "module %s: no data %s", machine->code->options.name, name);
    return symbol_address(machine, MAIN, item, out, err);
}

/* -- the globals behind GOT.mem and GOT.func */

static enum sorex_status global_make(struct machine *machine, bool mutable, uint32_t value, wasmtime_global_t *out,
                                     struct sorex_error *err)
{
    wasm_globaltype_t *type = wasm_globaltype_new(wasm_valtype_new(WASM_I32), mutable ? WASM_VAR : WASM_CONST);
    wasmtime_val_t start = {.kind = WASMTIME_I32, .of.i32 = (int32_t)value};
    wasmtime_error_t *error = wasmtime_global_new(machine->context, type, &start, out);
    wasm_globaltype_delete(type);
    return error == NULL ? SOREX_OK : trap_error_take(error, SOREX_FATAL, err, "global");
}

static enum sorex_status got_take(struct machine *machine, const char *name, wasmtime_global_t *out,
                                  struct sorex_error *err)
{
    for (size_t i = 0; i < machine->got_count; i++)
        if (strcmp(machine->got[i].name, name) == 0) {
            *out = machine->got[i].global;
            return SOREX_OK;
        }
    struct got_entry *got = realloc(machine->got, (machine->got_count + 1) * sizeof *got);
    if (got == NULL)
        return out_of_memory(err);
    machine->got = got;
    struct got_entry entry = {.name = strdup(name)};
    if (entry.name == NULL)
        return out_of_memory(err);
    enum sorex_status status = global_make(machine, true, 0, &entry.global, err);
    if (status != SOREX_OK) {
        free(entry.name);
        return status;
    }
    got[machine->got_count++] = entry;
    *out = entry.global;
    return SOREX_OK;
}

/* Gives the addresses that are known now that the library is there. */
static enum sorex_status got_define(struct machine *machine, struct sorex_error *err)
{
    for (size_t i = 0; i < machine->got_count; i++) {
        struct got_entry *entry = &machine->got[i];
        uint32_t library, address = 0;
        if (entry->defined)
            continue;
        const struct code_item *item = symbol_find(machine, entry->name, &library);
        CHECK(item != NULL); /* import_check */
        TRY(symbol_address(machine, library, item, &address, err));
        wasmtime_val_t value = {.kind = WASMTIME_I32, .of.i32 = (int32_t)address};
        wasmtime_error_t *error = wasmtime_global_set(machine->context, &entry->global, &value);
        if (error != NULL)
            return trap_error_take(error, SOREX_FATAL, err, "global");
        entry->defined = true;
    }
    return SOREX_OK;
}

/* -- linking */

static bool is_got(const struct code_item *item) { return strncmp(item->module, "GOT.", 4) == 0; }

static bool is_given(const struct machine *machine, const struct code_item *item)
{
    if (item->kind == WASM_KIND_GLOBAL)
        return strcmp(item->name, "__memory_base") == 0 || strcmp(item->name, "__table_base") == 0 ||
               (strcmp(item->name, "__stack_pointer") == 0 && machine->has_stack_pointer);
    return item->kind == WASM_KIND_MEMORY || item->kind == WASM_KIND_TABLE;
}

/* Before anything is changed: whether somebody has what the library wants. Functions with another type are refused by
 * the instantiation. */
static enum sorex_status imports_check(const struct machine *machine, const struct machine_code *code,
                                       struct sorex_error *err)
{
    for (size_t i = 0; i < code->imports_count; i++) {
        const struct code_item *item = &code->imports[i];
        uint32_t library;
        wasmtime_extern_t unused;
        bool there = is_given(machine, item) || symbol_find(machine, item->name, &library) != NULL;
        if (!there && is_got(item))
            there = code_export(code, item->name) != NULL;
        if (!there && board_has(item->name))
            there = machine_export_get((struct machine *)(uintptr_t)machine, &machine->board, item->name, &unused);
        if (!there && item->kind == WASM_KIND_FUNC) {
            const struct machine_import *import = code_host_find(&machine->code->options, item);
            there = import != NULL && strcmp(import->type, item->type) == 0;
        }
        if (!there)
            return sorex_error_set(err, SOREX_INVALID, "library %s wants %s.%s %s, which nobody has",
                                   code->options.name, item->module, item->name, item->type);
    }
    return SOREX_OK;
}

static enum sorex_status import_take(struct machine *machine, const struct code_item *item, uint32_t memory_base,
                                     uint32_t table_base, wasmtime_extern_t *out, struct sorex_error *err)
{
    uint32_t library;
    if (item->kind == WASM_KIND_MEMORY || item->kind == WASM_KIND_TABLE) {
        bool memory = item->kind == WASM_KIND_MEMORY;
        out->kind = memory ? WASMTIME_EXTERN_MEMORY : WASMTIME_EXTERN_TABLE;
        if (memory)
            out->of.memory = machine->memory;
        else
            out->of.table = machine->table;
        return SOREX_OK;
    }
    if (item->kind == WASM_KIND_GLOBAL) {
        out->kind = WASMTIME_EXTERN_GLOBAL;
        if (is_got(item))
            return got_take(machine, item->name, &out->of.global, err);
        if (strcmp(item->name, "__stack_pointer") != 0)
            return global_make(machine, false, item->name[2] == 'm' ? memory_base : table_base, &out->of.global, err);
        out->of.global = machine->stack_pointer;
        return SOREX_OK;
    }
    if (board_has(item->name)) {
        CHECK(machine_export_get(machine, &machine->board, item->name, out));
        return SOREX_OK;
    }
    if (symbol_find(machine, item->name, &library) != NULL) {
        CHECK(machine_export_get(machine, instance_of(machine, library), item->name, out));
        return SOREX_OK;
    }
    out->kind = WASMTIME_EXTERN_FUNC;
    return machine_func_make(machine, code_host_find(&machine->code->options, item), &out->of.func, err);
}

static enum sorex_status table_room(struct machine *machine, uint32_t slots, uint32_t *out, struct sorex_error *err)
{
    uint64_t before = wasmtime_table_size(machine->context, &machine->table);
    wasmtime_val_t null = {.kind = WASMTIME_FUNCREF};
    wasmtime_funcref_set_null(&null.of.funcref);
    wasmtime_error_t *error =
        slots == 0 ? NULL : wasmtime_table_grow(machine->context, &machine->table, slots, &null, &before);
    *out = (uint32_t)before;
    return error == NULL ? SOREX_OK : trap_error_take(error, SOREX_LIMIT, err, "table");
}

/* Makes the instance: its segments and start function write to memory, which a restore overwrites. */
static enum sorex_status library_instance(struct machine *machine, const struct machine_code *code,
                                          uint32_t memory_base, struct sorex_error *err)
{
    struct library *libraries = realloc(machine->libraries, (machine->libraries_count + 1) * sizeof *libraries);
    wasmtime_extern_t *externs = calloc(code->imports_count + 1, sizeof *externs);
    uint32_t table_base = 0;
    enum sorex_status status = libraries == NULL || externs == NULL ? out_of_memory(err) : SOREX_OK;
    if (libraries != NULL)
        machine->libraries = libraries;
    if (status == SOREX_OK)
        status = table_room(machine, code->needs.table_slots, &table_base, err);
    for (size_t i = 0; i < code->imports_count && status == SOREX_OK; i++)
        status = import_take(machine, &code->imports[i], memory_base, table_base, &externs[i], err);
    struct library library = {.code = code, .memory_base = memory_base};
    if (status == SOREX_OK)
        status = machine_instance_make(machine, code, externs, &library.instance, err);
    if (status == SOREX_OK)
        libraries[machine->libraries_count++] = library;
    free(externs);
    return status;
}

static enum sorex_status export_run(struct machine *machine, size_t library, const char *name, struct sorex_error *err)
{
    wasmtime_extern_t item;
    union wasm_value none = {0};
    const struct code_item *there = code_export(machine->libraries[library].code, name);
    if (there == NULL || strcmp(there->type, "() ->") != 0)
        return SOREX_OK;
    CHECK(machine_export_get(machine, &machine->libraries[library].instance, name, &item));
    return machine_func_run(machine, &item.of.func, &none, 1, NULL, err);
}

enum sorex_status machine_library_add(struct machine *machine, const struct machine_code *code, uint32_t memory_base,
                                      size_t *out, struct sorex_error *err)
{
    TRY(imports_check(machine, code, err));
    size_t size = linear_memory(machine->linear).len;
    if (memory_base > size || code->needs.memory_bytes > size - memory_base)
        return sorex_error_set(err, SOREX_INVALID, "library %s: its place is outside of the memory",
                               code->options.name);
    TRY(library_instance(machine, code, memory_base, err));
    size_t library = machine->libraries_count - 1;
    TRY(machine_addition_note(
        machine, &(struct machine_addition){.kind = MACHINE_LIBRARY, .code = code, .memory_base = memory_base}, err));
    TRY(got_define(machine, err));
    TRY(export_run(machine, library, "__wasm_apply_data_relocs", err));
    TRY(export_run(machine, library, "__wasm_call_ctors", err));
    *out = library;
    return SOREX_OK;
}

bool machine_library_at(const struct machine *machine, uint32_t memory_base, size_t *out)
{
    for (size_t i = 0; i < machine->libraries_count; i++)
        if (machine->libraries[i].memory_base == memory_base) {
            *out = i;
            return true;
        }
    return false;
}

/* -- repeating */

static enum sorex_status addition_repeat(struct machine *machine, const struct machine_addition *addition,
                                         struct sorex_error *err)
{
    uint32_t slot;
    wasmtime_extern_t item;
    switch (addition->kind) {
    case MACHINE_CALLBACK:
        return machine_callback_add(machine, addition->callback, &slot, err);
    case MACHINE_LIBRARY:
        TRY(library_instance(machine, addition->code, addition->memory_base, err));
        return machine_addition_note(machine, addition, err);
    case MACHINE_SLOT:
        CHECK(addition->library == MAIN || addition->library < machine->libraries_count);
        CHECK(machine_export_get(machine, instance_of(machine, addition->library), addition->name, &item));
        TRY(machine_table_add(machine, &item.of.func, &slot, err));
        return machine_addition_note(machine, addition, err);
    }
    return SOREX_OK;
}

enum sorex_status machine_additions_repeat(struct machine *machine, const struct machine_image *image,
                                           struct sorex_error *err)
{
    for (size_t i = machine->additions_count; i < image->additions_count; i++)
        TRY(addition_repeat(machine, &image->additions[i], err));
    if (machine_table_size(machine) != image->table_slots || machine->got_count != image->got_count)
        return sorex_error_set(err, SOREX_MISMATCH, "machine: its table is not that of the image");
    return SOREX_OK;
}

void machine_libraries_free(struct machine *machine)
{
    for (size_t i = 0; i < machine->got_count; i++)
        free(machine->got[i].name);
    free(machine->got);
    free(machine->libraries);
    free(machine->slots);
    free(machine->additions);
}
