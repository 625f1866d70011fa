/* What the files of this room share: Wasmtime's types behind wasm.h. Included by nothing outside src/wasm. */
#ifndef SOREX_WASM_PRIVATE_H
#define SOREX_WASM_PRIVATE_H

#include <stdatomic.h>

#include <wasmtime.h>

#include "wasm/wasm.h"

/* The target is named, so that Wasmtime does not look at the machine's CPU: the same code on every machine. */
#define WASM_TARGET "x86_64-unknown-linux-gnu"

/* Elements of one table in a pool slot: eight bytes of address space each. The largest modules in the field have
 * 20,000. */
#define WASM_TABLE_ELEMENTS_MAX 1000000u
#define WASM_TABLES_PER_MODULE_MAX 4u
/* Wasmtime's record of one instance: 8 to 32 bytes for each global, import and function that is taken as a value. */
#define WASM_INSTANCE_BYTES_MAX ((size_t)4 << 20)
#define WASM_RESIDENT_BYTES_PLAIN ((uint64_t)64 << 10)
#define WASM_RESIDENT_BYTES_SCANNED ((uint64_t)256 << 20)
#define WASM_SANDBOXES_DEFAULT 16u
#define WASM_PAGE_BYTES ((uint64_t)65536)

/* Of deps/wasmtime/src/lib.rs. */
struct sorex_wasmtime_limits {
    uint64_t memory_bytes;
    uint64_t table_elements;
    bool granted;
    bool host_failed;
};
void sorex_wasmtime_store_limits(wasmtime_store_t *store, struct sorex_wasmtime_limits *limits);
void sorex_wasmtime_pool_scan(wasmtime_pooling_allocation_config_t *pool);
bool sorex_wasmtime_pool_scan_available(void);
size_t sorex_wasmtime_demangle(const char *name, size_t len, void *out, size_t cap);

/* -- engine.c */

struct wasm_engine {
    wasm_engine_t *engine;
    struct wasm_settings settings; /* without zeros */
    size_t refs;                   /* under the list's mutex */
    struct wasm_engine *next;
};

/* Takes the engine of these settings, made when there is none. Thread: any. */
enum sorex_status engine_take(const struct wasm_settings *settings, struct wasm_engine **out, struct sorex_error *err);
void engine_drop(struct wasm_engine *engine);
/* Appends everything that machine code depends on, as one line of text. */
enum sorex_status engine_describe(const struct wasm_engine *engine, struct buf *out, struct sorex_error *err);

/* -- cache.c */

/* Deserializes the module from dir. False when it is not there or cannot be used (a debug line says why). */
bool cache_load(const char *dir, const struct wasm_engine *engine, struct bytes wasm, wasmtime_module_t **out);
void cache_save(const char *dir, const struct wasm_engine *engine, struct bytes wasm, const wasmtime_module_t *module);

/* -- machine.c */

/* What an engine of machines has instead of a pool: memories that linear.h makes, exceptions. */
void machine_engine_set(wasm_config_t *config);

/* -- type.c */

#define TYPE_VALUES_MAX 32

/* Of "(i32, i32) -> i32"; NULL when it has other types than i32, i64, f32, f64, or more than TYPE_VALUES_MAX. */
wasm_functype_t *type_func_make(const char *text);
/* Values that a call needs room for, at least 1; 0 when the text was cut. */
uint32_t type_func_slots(const char *text);

/* -- program.c */

/* One import of the module: what its host function needs. */
struct import_link {
    const struct wasm_import *import; /* NULL: traps when called */
    char *module;
    char *name;
};

struct wasm_program {
    char *name;
    struct wasm_engine *engine;
    wasmtime_module_t *module;
    wasmtime_instance_pre_t *pre;
    struct import_link *links;
    size_t links_count;
    struct wasm_export *exports;
    size_t exports_count;
    const struct wasm_export *memory; /* of the sandbox's memory; NULL when none is exported */
    uint64_t memory_bytes_min;
    bool cached;
};

/* -- sandbox.c */

#define SANDBOX_FUNCS 8

struct wasm_sandbox {
    struct wasm_program *program;
    wasmtime_store_t *store;
    wasmtime_context_t *context;
    wasmtime_caller_t *caller; /* the innermost host call, NULL outside of one */
    void *user_data;
    wasmtime_instance_t instance;
    bool instance_made; /* false during the start section */
    bool memory_known;
    wasmtime_memory_t memory;
    struct sorex_wasmtime_limits limits;
    uint64_t fuel_set;  /* what the store was last given */
    uint64_t fuel_past; /* used before that */
    enum wasm_end end;
    bool end_deterministic;
    atomic_bool stop;
    struct {
        const struct wasm_export *export;
        wasmtime_func_t func;
    } funcs[SANDBOX_FUNCS];   /* by export index */
    struct sorex_error error; /* of the host call that failed */
};

/* The one callback of all imports; env is a struct import_link. */
wasm_trap_t *sandbox_import(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t values_count);

/* -- trap.c */

/* "unreachable executed" */
const char *trap_code_text(wasmtime_trap_code_t code);
/* " in NAME" of the innermost function, or nothing when there is no wasm frame. */
void trap_place_text(const wasm_trap_t *trap, const wasmtime_error_t *error, char *out, size_t cap);

/* Turns how a call ended into end, status and text; takes trap and error (one of them is not NULL). */
enum sorex_status trap_take(struct wasm_sandbox *sandbox, wasm_trap_t *trap, wasmtime_error_t *error,
                            struct sorex_error *err);
/* Sets err from a Wasmtime error that has nothing to do with guest code, and deletes it. */
enum sorex_status trap_error_take(wasmtime_error_t *error, enum sorex_status status, struct sorex_error *err,
                                  const char *what);

#endif
