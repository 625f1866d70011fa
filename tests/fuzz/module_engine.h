/* Wasmtime's verdict on a module, for the targets that read modules themselves. */
#ifndef SOREX_TESTS_FUZZ_MODULE_ENGINE_H
#define SOREX_TESTS_FUZZ_MODULE_ENGINE_H

#include "base/check.h"
#include "wasm/wasm.h"

static const struct wasm_settings module_settings = {.memory_bytes_max = 1 << 20, .sandboxes_max = 1};

static inline bool module_valid(struct bytes wasm)
{
    static struct wasm_program *kept; /* so that the engine is made once */
    if (kept == NULL) {
        struct wasm_program_options options = {.settings = module_settings};
        CHECK(wasm_program_open(bytes_of("\0asm\1\0\0\0", 8), &options, &kept, NULL) == SOREX_OK);
    }
    return wasm_validate(wasm, &module_settings, NULL) == SOREX_OK;
}

/* For a valid module that a reader of ours refuses: was it right? Compiling knows what the validator lets pass; see
 * wasm_validate. */
static inline bool module_compiles(struct bytes wasm)
{
    struct wasm_program_options options = {.settings = module_settings, .unknown_functions_trap = true};
    struct wasm_program *program = NULL;
    struct sorex_error err = {0};
    enum sorex_status status = wasm_program_open(wasm, &options, &program, &err);
    wasm_program_close(program);
    return status == SOREX_OK || strstr(err.text, ": compile: ") == NULL;
}

#endif
