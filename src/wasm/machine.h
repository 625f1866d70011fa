/* Machines: one long-lived WebAssembly process that the host saves, restores and forks as a whole. For programs that
 * were made with Emscripten: their set-jump and long-jump, their dynamic libraries.
 *
 * A machine has a main module and, linked to it at run time, libraries. Its state is the memory, the mutable globals of
 * the main module and the table, and nothing else: modules run as skeletons (skeleton.h). An image holds memory and
 * globals, and how the table came to be: in another machine the same additions are made in the same order.
 *
 * Calls run on a stack of the machine's own. Nothing is checked at a call: names and types were compared when the code
 * was opened. */
#ifndef SOREX_WASM_MACHINE_H
#define SOREX_WASM_MACHINE_H

#include "wasm/linear.h"
#include "wasm/wasm.h"

struct machine;

/* -- host functions ---------------------------------------------------------------------------------------------- */

enum machine_next {
    MACHINE_GO,   /* the guest goes on; a result is in values[0] */
    MACHINE_EXIT, /* the guest asked to end: the call unwinds and says so */
    MACHINE_FAIL, /* the host failed: machine_fail was called; the call unwinds with that error */
};

/* user_data  the machine's. May call the machine. */
typedef enum machine_next machine_import_fn(void *user_data, struct machine *machine, union wasm_value *values);

/* Types as in struct wasm_import. */
struct machine_import {
    const char *module, *name, *type;
    machine_import_fn *fn;
};
/* A function that the host calls, by its place in the list. */
struct machine_export {
    const char *name, *type;
};

/* -- code -------------------------------------------------------------------------------------------------------- */

struct machine_code;

struct machine_code_options {
    const char *name;                     /* for errors; copied */
    bool metered;                         /* uses fuel */
    const char *cache_dir;                /* as in struct wasm_program_options */
    const struct machine_import *imports; /* borrowed for the code's life, as is exports */
    size_t imports_count;
    const struct machine_export *exports;
    size_t exports_count;
    bool library; /* a library: exports are not looked at; what the imports lack, machines provide */
};

/* Compiles, or loads from the cache, and compares imports and exports with the lists, names and types.
 * Errors: SOREX_INVALID with every import that the host lacks; as wasm_program_open. Thread: any. */
enum sorex_status machine_code_open(struct bytes wasm, const struct machine_code_options *options,
                                    struct machine_code **out, struct sorex_error *err);
/* Not while a machine uses it. NULL is fine. */
void machine_code_close(struct machine_code *code);
bool machine_code_cached(const struct machine_code *code);
/* The code's own copy of the name of a function that it exports; NULL: there is none. */
const char *machine_code_name(const struct machine_code *code, struct bytes name);

/* What a library wants of its place: its "dylink.0" section. */
struct machine_library_needs {
    uint32_t memory_bytes, memory_align; /* align in bytes */
    uint32_t table_slots;
};
struct machine_library_needs machine_code_needs(const struct machine_code *code);

/* -- machines ---------------------------------------------------------------------------------------------------- */

struct machine_options {
    uint64_t memory_bytes_max; /* growing beyond it fails for the guest; 0 = what the module allows */
    void *user_data;
};

/* Makes a machine of which nothing ran: memory and globals are as the module says them, without its data.
 * machine_start or machine_restore comes next. Errors: SOREX_NOMEM, SOREX_FATAL. */
enum sorex_status machine_open(const struct machine_code *code, const struct machine_options *options,
                               struct machine **out, struct sorex_error *err);
void machine_close(struct machine *machine); /* NULL is fine; not from inside a call */

/* Puts the module's data in place and runs its start function. wasm: the bytes that the code was opened with. */
enum sorex_status machine_start(struct machine *machine, struct bytes wasm, struct sorex_error *err);

/* Calls exports[func] of the code's options; values as in wasm_sandbox_call. *out_exited (may be NULL): the guest ended
 * by MACHINE_EXIT, which is SOREX_GUEST without out_exited.
 * Errors: SOREX_GUEST a trap; SOREX_LIMIT stack overflow or out of fuel; what machine_fail set. The machine's state is
 *         undefined after an error. */
enum sorex_status machine_call(struct machine *machine, size_t func, union wasm_value *values, bool *out_exited,
                               struct sorex_error *err);
/* The same for the function in a slot of the table, whose type must be `type`. Errors: also SOREX_GUEST none there. */
enum sorex_status machine_call_slot(struct machine *machine, uint32_t slot, const char *type, union wasm_value *values,
                                    bool *out_exited, struct sorex_error *err);
/* Runs fn on the machine's stack: calls from inside of it change no stacks. */
void machine_enter(struct machine *machine, void (*fn)(void *user_data), void *user_data);

/* For host functions. Returns MACHINE_FAIL. */
enum machine_next machine_fail(struct machine *machine, enum sorex_status status, const char *format, ...)
    SOREX_PRINTF(3, 4);
enum machine_next machine_fail_with(struct machine *machine, const struct sorex_error *err);

struct wasm_memory machine_memory(const struct machine *machine);
/* False when the guest's limit or the module's is reached. Errors (by status): SOREX_NOMEM the host has none. */
enum sorex_status machine_memory_grow(struct machine *machine, uint64_t bytes, bool *out_grown,
                                      struct sorex_error *err);
uint32_t machine_table_size(const struct machine *machine);
/* Metered code only: the units left from now on, and what is left. */
void machine_fuel_set(struct machine *machine, uint64_t fuel);
uint64_t machine_fuel_left(const struct machine *machine);

/* -- additions to the table: recorded, and repeated by machine_restore ------------------------------------------- */

/* A host function that the guest calls by pointer; borrowed for good (a static table). *out is its slot. */
enum sorex_status machine_callback_add(struct machine *machine, const struct machine_import *callback, uint32_t *out,
                                       struct sorex_error *err);
/* Links a library whose data lies at memory_base; code must outlive the machine and its images. *out: its number. Its
 * data are put in place, its start function, relocations and constructors run.
 * Errors: SOREX_INVALID it wants what nobody has, the text says what; nothing was changed. As machine_call. */
enum sorex_status machine_library_add(struct machine *machine, const struct machine_code *code, uint32_t memory_base,
                                      size_t *out, struct sorex_error *err);
/* The value of a library's symbol: a function's slot (one is added when it has none), data's address.
 * Errors: SOREX_GONE. */
enum sorex_status machine_library_symbol(struct machine *machine, size_t library, const char *name, uint32_t *out,
                                         struct sorex_error *err);
/* The address of data that the main module exports by this name. Errors: SOREX_GONE. */
enum sorex_status machine_data_symbol(struct machine *machine, const char *name, uint32_t *out,
                                      struct sorex_error *err);
/* The library whose data lies there. False: none. */
bool machine_library_at(const struct machine *machine, uint32_t memory_base, size_t *out);

/* -- images ------------------------------------------------------------------------------------------------------ */

#define MACHINE_GLOBALS_MAX 8

enum machine_addition_kind { MACHINE_CALLBACK, MACHINE_LIBRARY, MACHINE_SLOT };

/* One addition, in the order in which they were made. */
struct machine_addition {
    enum machine_addition_kind kind;
    const struct machine_import *callback;
    const struct machine_code *code; /* MACHINE_LIBRARY */
    uint32_t memory_base;
    uint32_t library; /* MACHINE_SLOT: of this library's function; UINT32_MAX = of the main module's */
    const char *name; /* lives as long as the code */
};

/* Everything that a machine is, besides its code. */
struct machine_image {
    struct linear_image *memory;
    uint64_t globals[MACHINE_GLOBALS_MAX]; /* the mutable ones, in the module's order, by their bits */
    uint32_t globals_count;
    uint32_t table_slots;
    struct machine_addition *additions;
    size_t additions_count;
    uint32_t *got; /* addresses that libraries were given, in the order in which they asked */
    size_t got_count;
};

/* Between calls only: no guest code may be on the stack. Ownership: machine_image_deinit. Errors: as linear_save. */
enum sorex_status machine_save(struct machine *machine, struct machine_image *out, struct sorex_error *err);
/* Into a new machine, or into one that has made the same additions or fewer.
 * Errors: SOREX_MISMATCH  the machine has grown beyond the image, or in another way: use a new one. As linear_restore.
 */
enum sorex_status machine_restore(struct machine *machine, const struct machine_image *image, struct sorex_error *err);
void machine_image_deinit(struct machine_image *image);
enum sorex_status machine_image_copy(struct machine_image *out, const struct machine_image *image,
                                     struct sorex_error *err);

#endif
