/* Reads a module's binary without running or compiling it: for `sorex inspect` and for messages. */
#ifndef SOREX_WASM_INSPECT_H
#define SOREX_WASM_INSPECT_H

#include "base/arena.h"
#include "wasm/wasm.h"

struct wasm_import_info {
    struct bytes module;
    struct bytes name;
    enum wasm_kind kind;
    const char *type; /* "(i32) -> i32", "mut i32", "1..65536 pages", "funcref 10.." */
};

struct wasm_export_info {
    struct bytes name;
    enum wasm_kind kind;
    uint32_t index; /* in the index space of its kind */
    const char *type;
};

struct wasm_limits_info {
    uint64_t min;
    uint64_t max; /* UINT64_MAX when there is none */
    bool imported;
};

struct wasm_custom_info {
    struct bytes name;
    struct bytes content;
};

/* Features beyond the first version of WebAssembly that the module's code or sections use. */
struct wasm_features {
    bool sign_extension;
    bool saturating_float;
    bool bulk_memory;
    bool reference_types;
    bool simd;
    bool relaxed_simd;
    bool multi_value;
    bool tail_call;
    bool threads;
    bool exceptions;
    bool multi_memory;
    bool memory64;
    bool gc;
    bool unknown; /* an instruction or section that this reader does not know: code was not read to its end */
};

struct wasm_report {
    const struct wasm_import_info *imports;
    size_t imports_count;
    const struct wasm_export_info *exports;
    size_t exports_count;
    const struct wasm_limits_info *memories; /* in pages of 64 KiB, imported ones first */
    size_t memories_count;
    const struct wasm_limits_info *tables;
    size_t tables_count;
    const struct wasm_custom_info *customs;
    size_t customs_count;
    uint32_t functions; /* defined, without imported ones */
    uint32_t globals;   /* defined */
    uint32_t globals_mutable;
    uint32_t types;
    uint32_t data_segments;
    uint64_t data_bytes;
    uint32_t elem_segments;
    uint64_t code_bytes;
    bool start; /* has a start section */
    uint32_t start_func;
    bool names;     /* has a name section: traps will name functions */
    uint64_t bytes; /* of the module */
    uint8_t sha256[32];
    struct wasm_features features;
};

/* Fills out. Everything in it lives in arena or borrows wasm. Names are the module's bytes: print them with care.
 * Errors: SOREX_INVALID with the offset where it stops to decode; SOREX_NOMEM. Never reads outside wasm. */
enum sorex_status wasm_inspect(struct bytes wasm, struct arena *arena, struct wasm_report *out,
                               struct sorex_error *err);

#endif
