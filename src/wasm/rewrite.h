/* Modules for `memory: kept`: everything a guest can remember outside its memory is made visible, or the module is
 * refused. */
#ifndef SOREX_WASM_REWRITE_H
#define SOREX_WASM_REWRITE_H

#include "wasm/wasm.h"

/* Exported under this name with the global's index in decimal appended: "sorex:global:0". */
#define WASM_REWRITE_PREFIX "sorex:global:"

/* Appends to out the module with every mutable global of its own exported under WASM_REWRITE_PREFIX. The module must
 * be valid (wasm_validate accepts it): then the result is. Another one is refused or makes something that may even be
 * valid; nothing is read past its end.
 *
 * Errors: SOREX_INVALID  it writes tables or drops segments (table.set/grow/fill/copy/init, elem.drop, data.drop,
 *                        the text names the instruction and the function), has a mutable global of type v128 or a
 *                        reference, imports a mutable global, uses an instruction outside the list in instruction.c,
 *                        or does not decode;
 *         SOREX_NOMEM. */
enum sorex_status wasm_rewrite(struct bytes wasm, struct buf *out, struct sorex_error *err);

#endif
