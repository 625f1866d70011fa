/* A module without its state: for machines (machine.h), whose state is saved, restored and forked as a whole.
 *
 * What an instance remembers is its memory, its table and its mutable globals. A skeleton leaves them to the host: the
 * memory and the table become imports, the globals become exports, the data segments and the start function are left
 * out, so that an instance of it costs no more than its code, and are given to the host for the one machine that
 * begins from nothing. */
#ifndef SOREX_WASM_SKELETON_H
#define SOREX_WASM_SKELETON_H

#include "wasm/wasm.h"

/* Where a memory or table of the module's own is imported from: "sorex" "memory", "sorex" "table". */
#define SKELETON_MODULE "sorex"
/* The start function, exported; absent when the module has none. */
#define SKELETON_START "sorex:start"

/* Appends the skeleton of wasm, which must be valid, to out: at most one memory and one table, each imported or its
 * own; every mutable global exported under WASM_REWRITE_PREFIX and its index (rewrite.h).
 *
 * Errors: SOREX_INVALID  it does not decode, has no imports or exports, several tables or memories of its own, a data
 *                        segment that is passive or placed by a global, a mutable global that is no number;
 *         SOREX_NOMEM. Code that uses memory.init or data.drop makes a skeleton that does not validate. */
enum sorex_status skeleton_make(struct bytes wasm, struct buf *out, struct sorex_error *err);

/* Copies the module's data segments to their places. Errors: as above; SOREX_INVALID outside of the memory. */
enum sorex_status skeleton_data_copy(struct bytes wasm, struct wasm_memory memory, struct sorex_error *err);

#endif
