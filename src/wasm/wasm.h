/* WebAssembly: compile, cache, fresh sandbox, limits, traps. The only interface to Wasmtime in sorex.
 *
 * An engine is a class of settings, a program is a module compiled for an engine with its imports linked, a sandbox
 * is one fresh instance of a program. What a guest computes depends on the module, its inputs and its limits, on no
 * machine: the target is the x86-64 baseline, NaNs are canonical, relaxed SIMD is deterministic, threads are off.
 *
 * (Function names here never end in _new or _delete: the C API of WebAssembly owns wasm_instance_new and its
 * siblings, and it is linked into the same program.) */
#ifndef SOREX_WASM_WASM_H
#define SOREX_WASM_WASM_H

#include "base/bytes.h"

/* -- engines ----------------------------------------------------------------------------------------------------- */

/* Settings that the machine code and the memory pool depend on. Equal settings share one engine. Zero-initialise,
 * then set. */
struct wasm_settings {
    bool metered;              /* the guest uses fuel: costs heavy guests a quarter */
    bool interruptible;        /* a running guest can be stopped (epochs): costs 13 to 20 % */
    uint64_t memory_bytes_max; /* a pool slot's size, the largest limit a sandbox may have; 0 =
                                * SOREX_MEMORY_BYTES_DEFAULT */
    uint64_t stack_bytes_max;  /* 0 = SOREX_STACK_BYTES_DEFAULT. The calling thread needs at least this much native
                                * stack on top of what it uses itself, twice that where a view runs inside a
                                * transform's call. */
    uint64_t resident_bytes;   /* memory that a slot keeps mapped for its next sandbox, up to what was written; 0 =
                                * 256 MiB where Linux can tell which pages were written (6.7), else 64 KiB. Changes
                                * speed, not results: 64 KiB is best for guests that touch a few pages, more for all
                                * others. */
    uint32_t sandboxes_max;    /* alive at one time; 0 = 16 */
    bool machine;              /* for machines (machine.h), not for sandboxes: memory on demand at addresses of our own
                                * choice, exceptions; sandboxes_max and resident_bytes mean nothing */
};

/* -- values ------------------------------------------------------------------------------------------------------ */

/* One argument or result. 16 bytes, because a v128 has them; sorex itself passes no v128. Floats by their bits. */
union wasm_value {
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    uint32_t f32_bits;
    uint64_t f64_bits;
    uint64_t v128[2];
};

/* -- programs ---------------------------------------------------------------------------------------------------- */

struct wasm_program;
struct wasm_sandbox;

/* What the host does when the guest calls an import.
 *
 * user_data  the one given to wasm_sandbox_open.
 * sandbox    the caller: wasm_sandbox_memory may be used (again after anything that may grow the memory).
 * values     the arguments in order; a result is stored into values[0].
 * Errors:    any status but SOREX_OK unwinds the guest: wasm_sandbox_call returns that status with the text set
 *            here. No guest code runs after it. SOREX_GUEST is the guest's fault, others the host's.
 * Thread:    the one that called wasm_sandbox_call. Must not longjmp. May open and call other sandboxes. */
typedef enum sorex_status wasm_import_fn(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                         struct sorex_error *err);

/* type is text: "(i32, i32) -> i32", no result is "() ->". Value types: i32 i64 f32 f64; up to 32
 * parameters, at most one result. */
struct wasm_import {
    const char *module;
    const char *name;
    const char *type;
    wasm_import_fn *fn;
};

struct wasm_program_options {
    const char *name; /* for errors and logs; copied */
    struct wasm_settings settings;
    const struct wasm_import *imports; /* borrowed for the program's life (static tables) */
    size_t imports_count;
    const char *cache_dir;       /* compiled code goes there; NULL = no cache; made when missing; copied */
    bool unknown_functions_trap; /* an import that is not in the table traps when it is called, naming itself;
                                  * false: it is a load error. An unknown import that is no function always is
                                  * one. */
};

/* Compiles (or loads from the cache), checks the imports' types and links. Runs nothing.
 *
 * Errors: SOREX_INVALID  no WebAssembly module, uses a feature that is off, an import with another type, an unknown
 *                        import, more memory from the start than settings.memory_bytes_max, more than one memory;
 *         SOREX_NOMEM, SOREX_IO. A cache that cannot be used is no error: it is logged at debug level and compiled
 *         around.
 * Thread: any. */
enum sorex_status wasm_program_open(struct bytes wasm, const struct wasm_program_options *options,
                                    struct wasm_program **out, struct sorex_error *err);
/* No sandbox of it may be alive. NULL is fine. */
void wasm_program_close(struct wasm_program *program);

const char *wasm_program_name(const struct wasm_program *program);
/* True when the machine code came from the cache. */
bool wasm_program_cached(const struct wasm_program *program);

enum wasm_kind { WASM_KIND_FUNC, WASM_KIND_TABLE, WASM_KIND_MEMORY, WASM_KIND_GLOBAL, WASM_KIND_TAG };

struct wasm_export {
    const char *name; /* NUL-terminated copy; names with a NUL inside are left out */
    enum wasm_kind kind;
    const char *type; /* functions: "(i32, i32) -> i32"; globals: "i32", "mut i64"; otherwise "" */
    uint32_t index;   /* position among the module's exports */
    uint32_t slots;   /* functions: values that a call needs room for, at least 1 */
};

/* The exports in the module's order, borrowed for the program's life. */
const struct wasm_export *wasm_program_exports(const struct wasm_program *program, size_t *out_count);
/* NULL when there is none of that name. */
const struct wasm_export *wasm_program_export(const struct wasm_program *program, const char *name);
/* True when the module imports this function. */
bool wasm_program_imports(const struct wasm_program *program, const char *module, const char *name);

/* Finds an exported function once, to be called in every sandbox of the program.
 * type: text as in struct wasm_import, or NULL for any. *out is borrowed for the program's life.
 * Errors: SOREX_GONE no such export; SOREX_INVALID it is no function or has another type (the text says both). */
enum sorex_status wasm_program_func(const struct wasm_program *program, const char *name, const char *type,
                                    const struct wasm_export **out, struct sorex_error *err);

/* -- sandboxes --------------------------------------------------------------------------------------------------- */

/* How the last call (or the start section) ended. */
enum wasm_end {
    WASM_END_OK,
    WASM_END_TRAP,        /* unreachable, out of bounds, divide by zero, unknown import, ... : SOREX_GUEST */
    WASM_END_STACK,       /* stack overflow: SOREX_LIMIT. Depends on the machine code: halts, is never recorded as a
                           * rejection */
    WASM_END_FUEL,        /* SOREX_LIMIT */
    WASM_END_MEMORY_HOST, /* the host could not supply memory below the limit: SOREX_NOMEM */
    WASM_END_INTERRUPTED, /* wasm_sandbox_stop or the watchdog's stop function: SOREX_STOPPED */
    WASM_END_HOST,        /* an import returned an error: its status */
};

struct watchdog_call;

struct wasm_limits {
    uint64_t memory_bytes_max;         /* memory.grow above it gives the guest -1; 0 = the engine's */
    uint64_t table_elements_max;       /* of each table, table.grow above it gives -1; 0 = the engine's */
    uint64_t fuel;                     /* metered engines: units for the sandbox's life; 0 = without bound (still counted) */
    struct watchdog_call *start_watch; /* wasm_sandbox_open begins it, with its sandbox set, for the start section, and
                                        * ends it; NULL = unwatched */
};

/* Makes a fresh instance and runs the module's start section. It is the only function that makes instances, for all
 * contracts: every byte of memory, every global, table and dropped segment is as the module says, whatever ran before.
 *
 * A caller that opens one per block logs at debug level, after wasm_sandbox_close:
 * "Memory refreshed after block execution for deterministic state isolation".
 *
 * user_data  is given to every import.
 * Errors:    SOREX_FATAL  the host cannot make an instance: "Failed to refresh memory after block execution: ...".
 *            A trap or host error in the start section: as wasm_sandbox_call.
 * Thread:    any; the sandbox belongs to the caller's thread from then on. */
enum sorex_status wasm_sandbox_open(struct wasm_program *program, const struct wasm_limits *limits, void *user_data,
                                    struct wasm_sandbox **out, struct sorex_error *err);
/* Drops the instance: its memory is gone. NULL is fine. Not from inside one of its own calls. */
void wasm_sandbox_close(struct wasm_sandbox *sandbox);

/* Calls an exported function; values holds the arguments and afterwards values[0] the result, so it has room for the
 * larger of both (at least one). Values are not checked against the type: wasm_program_func did that.
 *
 * Errors: by wasm_sandbox_end: SOREX_GUEST "trap: unreachable executed in balances::process", SOREX_LIMIT "out of
 *         fuel: the limit is 1000000 units", SOREX_NOMEM, SOREX_STOPPED, or what an import returned. After an error
 *         the sandbox can only be inspected (memory, globals) and closed, except for contracts that say otherwise. */
enum sorex_status wasm_sandbox_call(struct wasm_sandbox *sandbox, const struct wasm_export *func,
                                    union wasm_value *values, struct sorex_error *err);

/* The exported memory "memory" (or the only exported one); empty when the module exports none. Borrowed until the
 * guest runs again or the memory grows: read it again after that. For use in imports and between calls. */
struct wasm_memory {
    uint8_t *data;
    size_t len;
};
struct wasm_memory wasm_sandbox_memory(struct wasm_sandbox *sandbox);
/* A guest's range: false when any byte of it is outside. */
bool wasm_sandbox_range(struct wasm_sandbox *sandbox, uint32_t at, uint32_t len, uint8_t **out);
/* Grows by the host, in pages of 64 KiB. Errors: SOREX_LIMIT above the limit, SOREX_NOMEM. */
enum sorex_status wasm_sandbox_memory_grow(struct wasm_sandbox *sandbox, uint64_t pages, struct sorex_error *err);

/* Exported globals of type i32, i64, f32 or f64, by the bits. Errors: SOREX_INVALID no such global, v128 or
 * reference, or (set) not mutable. */
enum sorex_status wasm_sandbox_global_get(struct wasm_sandbox *sandbox, const struct wasm_export *global,
                                          uint64_t *out_bits, struct sorex_error *err);
enum sorex_status wasm_sandbox_global_set(struct wasm_sandbox *sandbox, const struct wasm_export *global, uint64_t bits,
                                          struct sorex_error *err);

void *wasm_sandbox_user_data(const struct wasm_sandbox *sandbox);
struct wasm_program *wasm_sandbox_program(const struct wasm_sandbox *sandbox);
enum wasm_end wasm_sandbox_end(const struct wasm_sandbox *sandbox);
/* True when the last failure would be the same on every machine: a trap, fuel, an import's SOREX_GUEST. */
bool wasm_sandbox_end_deterministic(const struct wasm_sandbox *sandbox);
/* Units used since the sandbox was opened; 0 when the engine is not metered. */
uint64_t wasm_sandbox_fuel_used(const struct wasm_sandbox *sandbox);
/* Sets the fuel left (metered engines): for contracts that have a budget per call in a sandbox that lives on. 0 =
 * without bound. */
void wasm_sandbox_fuel_set(struct wasm_sandbox *sandbox, uint64_t fuel);

/* Ends the call that runs, as soon as it reaches the next check; interruptible engines only, otherwise nothing
 * happens and the call goes on. Thread: any, while the sandbox is open. */
void wasm_sandbox_stop(struct wasm_sandbox *sandbox);

/* -- tools ------------------------------------------------------------------------------------------------------- */

/* Whether an engine of these settings accepts the binary, without compiling it. (Wasmtime's validator reads with every
 * feature of the binary format on, so compact imports pass here; compiling refuses them.)
 * Errors: SOREX_INVALID with Wasmtime's text; those of an engine that cannot be made. Thread: any. */
enum sorex_status wasm_validate(struct bytes wasm, const struct wasm_settings *settings, struct sorex_error *err);

/* Text format to binary, appended to out. For tests and tools. Errors: SOREX_INVALID with Wasmtime's text. */
enum sorex_status wasm_from_text(struct bytes text, struct buf *out, struct sorex_error *err);

/* "48.0.8" */
const char *wasm_version(void);

#endif
