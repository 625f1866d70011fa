/* Wasmtime's verdict on a module, for the targets that read modules themselves. */
#ifndef SOREX_TESTS_FUZZ_MODULE_ENGINE_H
#define SOREX_TESTS_FUZZ_MODULE_ENGINE_H

#include "base/check.h"
#include "wasm/wasm.h"

static inline bool module_valid(struct bytes wasm)
{
    static const struct wasm_settings settings = {.memory_bytes_max = 1 << 20, .sandboxes_max = 1};
    static struct wasm_program *kept; /* so that the engine is made once */
    if (kept == NULL) {
        struct wasm_program_options options = {.settings = settings};
        CHECK(wasm_program_open(bytes_of("\0asm\1\0\0\0", 8), &options, &kept, NULL) == SOREX_OK);
    }
    return wasm_validate(wasm, &settings, NULL) == SOREX_OK;
}

#endif
