/* Programs from text, for the tests of this folder. */
#ifndef SOREX_TESTS_WASM_MODULE_H
#define SOREX_TESTS_WASM_MODULE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wasm/wasm.h"

#define assert_ok(call)                                                                 \
    do {                                                                                \
        enum sorex_status assert_status_ = (call);                                      \
        if (assert_status_ != SOREX_OK)                                                 \
            fail_msg("%s: %s: %s", #call, sorex_status_name(assert_status_), err.text); \
    } while (0)

static inline struct buf binary_of(const char *text)
{
    struct sorex_error err = {0};
    struct buf out = {0};
    assert_ok(wasm_from_text(bytes_str(text), &out, &err));
    return out;
}

static inline struct wasm_program *program_of(const char *text, const struct wasm_program_options *options)
{
    struct sorex_error err = {0};
    struct buf binary = binary_of(text);
    struct wasm_program *program = NULL;
    assert_ok(wasm_program_open(buf_view(&binary), options, &program, &err));
    buf_deinit(&binary);
    return program;
}

static inline struct wasm_sandbox *sandbox_of(struct wasm_program *program, const struct wasm_limits *limits)
{
    struct sorex_error err = {0};
    struct wasm_sandbox *sandbox = NULL;
    assert_ok(wasm_sandbox_open(program, limits, NULL, &sandbox, &err));
    return sandbox;
}

/* Calls an export with one i32 and returns the status; the result is left in *value. */
static inline enum sorex_status call(struct wasm_sandbox *sandbox, const char *name, int32_t *value,
                                     struct sorex_error *err)
{
    const struct wasm_export *func = wasm_program_export(wasm_sandbox_program(sandbox), name);
    assert_non_null(func);
    union wasm_value values[8] = {{.i32 = *value}};
    assert_true(func->slots <= 8);
    enum sorex_status status = wasm_sandbox_call(sandbox, func, values, err);
    *value = values[0].i32;
    return status;
}

#endif
