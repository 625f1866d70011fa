/* The inspection from inside: its outline, which loading a program needs too, and its state. Included by nothing
 * outside src/wasm. */
#ifndef SOREX_WASM_INSPECT_OUTLINE_H
#define SOREX_WASM_INSPECT_OUTLINE_H

#include "base/codec.h"
#include "wasm/inspect.h"

/* As wasm_inspect, without the hash; with_code false leaves function bodies unread, and features found only there
 * unset. */
enum sorex_status inspect_outline(struct bytes wasm, bool with_code, struct arena *arena, struct wasm_report *out,
                                  struct sorex_error *err);

struct func_type {
    const char *text;
    bool multi; /* usable as a block's type only with multi-value */
};

struct inspection {
    struct bytes wasm;
    struct arena *arena;
    struct wasm_report *report;
    bool with_code;
    struct sorex_error *err;
    /* index spaces, imported ones first */
    struct func_type *types;
    uint32_t *funcs; /* type index of each function */
    size_t funcs_count;
    const char **globals;
    size_t globals_count;
    const char **memories;
    size_t memories_count;
    const char **tables;
    size_t tables_count;
};

/* -- inspect_space.c; a reader stands in the section's body, behind what was taken before */

enum sorex_status inspect_out_of_memory(struct inspection *in);
enum sorex_status inspect_broken(struct inspection *in, const struct reader *r, const char *where);
/* An array that holds `more` further elements behind `count` old ones, in the arena; NULL when that is full. */
void *inspect_array_grow(struct inspection *in, const void *old, size_t count, size_t more, size_t size);
/* Room for one more behind `count` old ones, for an array that grew only here: it doubles at powers of two. */
void *inspect_array_add(struct inspection *in, const void *old, size_t count, size_t size);

enum sorex_status inspect_types_read(struct inspection *in, struct reader *r);
enum sorex_status inspect_globals_read(struct inspection *in, struct reader *r);
/* One entry, of its section or of an import. */
enum sorex_status inspect_memory_read(struct inspection *in, struct reader *r, bool imported);
enum sorex_status inspect_table_read(struct inspection *in, struct reader *r, bool imported);
enum sorex_status inspect_global_type_read(struct inspection *in, struct reader *r, bool *out_mutable);
/* The type of a function; "?" when the module is wrong about it. */
const char *inspect_func_text(const struct inspection *in, uint64_t func);

#endif
