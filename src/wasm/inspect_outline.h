/* The part of the inspection that loading a program needs too. Included by nothing outside src/wasm. */
#ifndef SOREX_WASM_INSPECT_OUTLINE_H
#define SOREX_WASM_INSPECT_OUTLINE_H

#include "wasm/inspect.h"

/* As wasm_inspect, without the hash; with_code false leaves function bodies unread, and features found only there unset. */
enum sorex_status inspect_outline(struct bytes wasm, bool with_code, struct arena *arena, struct wasm_report *out,
                                  struct sorex_error *err);

#endif
