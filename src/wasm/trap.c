/* How a call ended: Wasmtime's trap or error, and what an import left, become an end, a status and a text. */
#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "wasm/private.h"

#define FUNC_NAME_MAX 256

const char *trap_code_text(wasmtime_trap_code_t code)
{
    switch (code) {
    case WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS:
        return "out of bounds memory access";
    case WASMTIME_TRAP_CODE_TABLE_OUT_OF_BOUNDS:
        return "out of bounds table access";
    case WASMTIME_TRAP_CODE_INDIRECT_CALL_TO_NULL:
        return "indirect call to null";
    case WASMTIME_TRAP_CODE_BAD_SIGNATURE:
        return "indirect call type mismatch";
    case WASMTIME_TRAP_CODE_INTEGER_OVERFLOW:
        return "integer overflow";
    case WASMTIME_TRAP_CODE_INTEGER_DIVISION_BY_ZERO:
        return "integer divide by zero";
    case WASMTIME_TRAP_CODE_BAD_CONVERSION_TO_INTEGER:
        return "invalid conversion to integer";
    case WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED:
        return "unreachable executed";
    case WASMTIME_TRAP_CODE_NULL_REFERENCE:
        return "null reference";
    default:
        return "trap of an unknown kind";
    }
}

void trap_place_text(const wasm_trap_t *trap, const wasmtime_error_t *error, char *out, size_t cap)
{
    wasm_frame_vec_t frames;
    if (trap != NULL)
        wasm_trap_trace(trap, &frames);
    else
        wasmtime_error_wasm_trace(error, &frames);
    out[0] = '\0';
    if (frames.size > 0) {
        const wasm_name_t *name = wasmtime_frame_func_name(frames.data[0]);
        char text[FUNC_NAME_MAX];
        size_t len = name == NULL || name->size == 0
                         ? (size_t)snprintf(text, sizeof text, "function %u", wasm_frame_func_index(frames.data[0]))
                         : sorex_wasmtime_demangle(name->data, name->size, text, sizeof text);
        (void)snprintf(out, cap, " in %.*s", (int)len, text);
    }
    wasm_frame_vec_delete(&frames);
}

/* The whole backtrace, for those who look for it. */
static void trace_log(const struct wasm_sandbox *sandbox, const wasm_trap_t *trap, const wasmtime_error_t *error)
{
    if (!log_enabled(LOG_DEBUG))
        return;
    wasm_name_t text;
    if (trap != NULL)
        wasm_trap_message(trap, &text);
    else
        wasmtime_error_message(error, &text);
    log_line(LOG_DEBUG, "wasm", "program %s: %.*s", sandbox->program->name, (int)(text.size > 4096 ? 4096 : text.size),
             text.data);
    wasm_name_delete(&text);
}

static enum sorex_status end_set(struct wasm_sandbox *sandbox, enum wasm_end end, bool deterministic,
                                 enum sorex_status status)
{
    sandbox->end = end;
    sandbox->end_deterministic = deterministic;
    return status;
}

static enum sorex_status code_end(struct wasm_sandbox *sandbox, wasmtime_trap_code_t code, const char *place,
                                  struct sorex_error *err)
{
    const struct wasm_settings *settings = &sandbox->program->engine->settings;
    switch (code) {
    case WASMTIME_TRAP_CODE_STACK_OVERFLOW:
        (void)sorex_error_set(err, SOREX_LIMIT, "stack overflow: the limit is %llu bytes%s",
                              (unsigned long long)settings->stack_bytes_max, place);
        return end_set(sandbox, WASM_END_STACK, false, SOREX_LIMIT);
    case WASMTIME_TRAP_CODE_OUT_OF_FUEL:
        (void)sorex_error_set(err, SOREX_LIMIT, "out of fuel: the limit is %llu units%s",
                              (unsigned long long)sandbox->fuel_set, place);
        return end_set(sandbox, WASM_END_FUEL, true, SOREX_LIMIT);
    case WASMTIME_TRAP_CODE_INTERRUPT:
        (void)sorex_error_set(err, SOREX_STOPPED, "interrupted%s", place);
        return end_set(sandbox, WASM_END_INTERRUPTED, false, SOREX_STOPPED);
    default:
        (void)sorex_error_set(err, SOREX_GUEST, "trap: %s%s", trap_code_text(code), place);
        return end_set(sandbox, WASM_END_TRAP, true, SOREX_GUEST);
    }
}

/* An error that is no trap: an import's, the epoch callback's, the limiter's or Wasmtime's own. The first two set the
 * end before they unwound. */
static enum sorex_status error_end(struct wasm_sandbox *sandbox, const wasmtime_error_t *error, const char *place,
                                   struct sorex_error *err)
{
    if (sandbox->end == WASM_END_HOST || sandbox->end == WASM_END_TRAP) {
        enum sorex_status status = sandbox->error.status;
        (void)sorex_error_set(err, status, "%s%s", sandbox->error.text, status == SOREX_GUEST ? place : "");
        if (err != NULL)
            err->native = sandbox->error.native;
        return end_set(sandbox, sandbox->end, status == SOREX_GUEST, status);
    }
    if (sandbox->end == WASM_END_INTERRUPTED) {
        (void)sorex_error_set(err, SOREX_STOPPED, "interrupted%s", place);
        return end_set(sandbox, WASM_END_INTERRUPTED, false, SOREX_STOPPED);
    }
    if (sandbox->limits.host_failed) {
        (void)sorex_error_set(err, SOREX_NOMEM,
                              "memory: the host cannot supply what is within the limit of %llu bytes%s",
                              (unsigned long long)sandbox->limits.memory_bytes, place);
        return end_set(sandbox, WASM_END_MEMORY_HOST, false, SOREX_NOMEM);
    }
    wasm_name_t text;
    wasmtime_error_message(error, &text);
    (void)sorex_error_set(err, SOREX_FATAL, "%.*s", (int)text.size, text.data);
    wasm_name_delete(&text);
    return end_set(sandbox, WASM_END_HOST, false, SOREX_FATAL);
}

enum sorex_status trap_take(struct wasm_sandbox *sandbox, wasm_trap_t *trap, wasmtime_error_t *error,
                            struct sorex_error *err)
{
    char place[FUNC_NAME_MAX + 8];
    trap_place_text(trap, error, place, sizeof place);
    trace_log(sandbox, trap, error);
    enum sorex_status status;
    if (trap != NULL) {
        wasmtime_trap_code_t code = UINT8_MAX;
        (void)wasmtime_trap_code(trap, &code);
        status = code_end(sandbox, code, place, err);
        wasm_trap_delete(trap);
    } else {
        status = error_end(sandbox, error, place, err);
    }
    if (error != NULL)
        wasmtime_error_delete(error);
    return status;
}

enum sorex_status trap_error_take(wasmtime_error_t *error, enum sorex_status status, struct sorex_error *err,
                                  const char *what)
{
    wasm_name_t text;
    wasmtime_error_message(error, &text);
    wasmtime_error_delete(error);
    /* The chain of causes comes on lines of its own: one line here. */
    char line[SOREX_ERROR_TEXT_MAX];
    size_t len = 0;
    for (size_t i = 0; i < text.size && len + 1 < sizeof line; i++) {
        bool space = text.data[i] == '\n' || text.data[i] == ' ';
        if (!space)
            line[len++] = text.data[i];
        else if (len > 0 && line[len - 1] != ' ')
            line[len++] = ' ';
    }
    line[len] = '\0';
    wasm_name_delete(&text);
    return sorex_error_set(err, status, "%s: %s", what, line);
}
