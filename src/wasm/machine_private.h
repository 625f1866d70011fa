/* What the files of machines share. Included by nothing outside src/wasm. */
#ifndef SOREX_WASM_MACHINE_PRIVATE_H
#define SOREX_WASM_MACHINE_PRIVATE_H

#include "base/arena.h"
#include "wasm/fiber.h"
#include "wasm/machine.h"
#include "wasm/private.h"

#define MACHINE_STACK_BYTES ((uint64_t)64 << 20)
#define MACHINE_TABLE_MAX 65536u

struct code_item {
    const char *module; /* NULL for exports */
    const char *name;
    enum wasm_kind kind;
    const char *type;
};

struct machine_code {
    struct machine_code_options options; /* name copied */
    struct wasm_engine *engine;
    struct machine_code *board; /* NULL for libraries */
    wasmtime_module_t *module;
    struct arena arena;                  /* of the lists */
    struct code_item *imports, *exports; /* exports by name */
    uint32_t *slots;                     /* values that a call of options.exports needs room for */
    size_t imports_count, exports_count;
    uint64_t memory_pages_min, memory_pages_max; /* of the main module's memory, in pages of 64 KiB */
    uint64_t table_min;
    struct machine_library_needs needs;
    bool is_library; /* has a dylink.0 section and no memory of its own */
    bool cached;
};

const struct code_item *code_export(const struct machine_code *code, const char *name);
const struct machine_import *code_host_find(const struct machine_code_options *options, const struct code_item *item);

/* -- board.c: a generated module that owns the memory and the table and has what unwinds */

/* Whether the board of a main module exports an import of this name. */
bool board_has(const char *name);
/* Appends the board's text for a main module. */
enum sorex_status board_write(const struct machine_code *code, struct buf *out, struct sorex_error *err);

/* -- machine.c */

struct host_link {
    struct machine *machine;
    const struct machine_import *import;
};

struct got_entry {
    char *name;
    wasmtime_global_t global;
    bool defined;
};

struct library {
    wasmtime_instance_t instance;
    const struct machine_code *code;
    uint32_t memory_base;
};

/* A slot's function, by Wasmtime's own pointer: a function has one slot, the first. */
struct slot_entry {
    void *raw;
    uint32_t slot;
};

struct machine {
    const struct machine_code *code;
    void *user_data;
    wasmtime_store_t *store;
    wasmtime_context_t *context;
    struct linear *linear;
    struct fiber *fiber;
    wasmtime_instance_t board, main;
    wasmtime_memory_t memory;
    wasmtime_table_t table;
    wasmtime_func_t *funcs; /* of code->options.exports */
    wasmtime_global_t globals[MACHINE_GLOBALS_MAX];
    uint32_t globals_count;
    wasmtime_global_t stack_pointer;
    bool has_stack_pointer;
    bool inside;  /* on the machine's stack */
    bool exiting; /* unwinding because of MACHINE_EXIT */
    bool failing; /* because of MACHINE_FAIL: error says why */
    struct sorex_error error;
    struct library *libraries;
    size_t libraries_count;
    struct got_entry *got;
    size_t got_count;
    struct slot_entry *slots; /* hash table, a power of two, or NULL */
    size_t slots_cap;
    uint32_t slots_upto; /* table slots that are in it */
    struct machine_addition *additions;
    size_t additions_count;
};

wasm_trap_t *machine_host_call(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t values_count);
/* A function of the machine's store for a host function; type as text. */
enum sorex_status machine_func_make(struct machine *machine, const struct machine_import *import, wasmtime_func_t *out,
                                    struct sorex_error *err);
enum sorex_status machine_func_run(struct machine *machine, const wasmtime_func_t *func, union wasm_value *values,
                                   size_t slots, bool *out_exited, struct sorex_error *err);
/* Instantiates code with these externs; runs its start function. */
enum sorex_status machine_instance_make(struct machine *machine, const struct machine_code *code,
                                        const wasmtime_extern_t *externs, wasmtime_instance_t *out,
                                        struct sorex_error *err);
bool machine_export_get(struct machine *machine, const wasmtime_instance_t *instance, const char *name,
                        wasmtime_extern_t *out);
enum sorex_status machine_table_add(struct machine *machine, const wasmtime_func_t *func, uint32_t *out,
                                    struct sorex_error *err);

/* -- machine_library.c */

enum sorex_status machine_addition_note(struct machine *machine, const struct machine_addition *addition,
                                        struct sorex_error *err);
/* Makes additions[from..count) again, as an image has them. */
enum sorex_status machine_additions_repeat(struct machine *machine, const struct machine_image *image,
                                           struct sorex_error *err);
void machine_libraries_free(struct machine *machine);

#endif
