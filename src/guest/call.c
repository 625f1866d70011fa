#include "guest/call.h"

#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "json/utf8.h"
#include "wasm/watchdog.h"

#define ABORT_TEXT_MAX 256

struct wasm_settings guest_settings(const struct guest_limits *limits)
{
    return (struct wasm_settings){
        .metered = limits->fuel != 0,
        .memory_bytes_max = limits->memory_bytes_max,
        .stack_bytes_max = limits->stack_bytes_max,
        .resident_bytes = limits->resident_bytes,
        .sandboxes_max = GUEST_SANDBOXES_MAX,
    };
}

static struct watchdog_call watched(const struct guest_call *call, const char *what)
{
    return (struct watchdog_call){
        .what = what,
        .warn_ms = call->limits->watchdog_ms,
        .stop = call->stop,
        .stop_user_data = call->stop_user_data,
    };
}

/* The start section runs inside: a guest may loop there too. */
static enum sorex_status sandbox_open(const struct guest_call *call, const char *what, struct wasm_sandbox **out,
                                      struct sorex_error *err)
{
    struct watchdog_call watch = watched(call, what);
    struct wasm_limits limits = {
        .memory_bytes_max = call->limits->memory_bytes_max, .fuel = call->limits->fuel, .start_watch = &watch};
    return wasm_sandbox_open(call->program, &limits, call->user_data, out, err);
}

static enum sorex_status sandbox_run(const struct guest_call *call, const char *what, struct wasm_sandbox *sandbox,
                                     bool *out_deterministic, struct sorex_error *err)
{
    if (call->before != NULL)
        TRY(call->before(call->user_data, sandbox, err));
    union wasm_value result = {0};
    struct watchdog_call watch = watched(call, what);
    watch.sandbox = sandbox;
    watchdog_begin(&watch);
    enum sorex_status status = wasm_sandbox_call(sandbox, call->func, &result, err);
    watchdog_end(&watch);
    if (status != SOREX_OK) {
        *out_deterministic = wasm_sandbox_end_deterministic(sandbox);
        return status;
    }
    if (call->after == NULL)
        return SOREX_OK;
    status = call->after(call->user_data, sandbox, result.i32, err);
    *out_deterministic = status == SOREX_GUEST || status == SOREX_LIMIT;
    return status;
}

enum sorex_status guest_call(const struct guest_call *call, struct guest_cost *out_cost, bool *out_deterministic,
                             struct sorex_error *err)
{
    struct sorex_error own;
    struct wasm_sandbox *sandbox = NULL;
    bool deterministic = false;
    char what[128];
    (void)snprintf(what, sizeof what, "program %s at height %u", call->name, call->height);
    if (err == NULL)
        err = &own;

    uint64_t begun = clock_ns();
    enum sorex_status status = sandbox_open(call, what, &sandbox, err);
    uint64_t opened = clock_ns();
    struct guest_cost cost = {.reset_ns = opened - begun};
    if (status == SOREX_OK) {
        status = sandbox_run(call, what, sandbox, &deterministic, err);
        cost.fuel = wasm_sandbox_fuel_used(sandbox);
        uint64_t returned = clock_ns();
        wasm_sandbox_close(sandbox);
        cost.reset_ns += clock_ns() - returned;
        guest_log(LOG_DEBUG, call->name, call->height,
                  bytes_str("Memory refreshed after block execution for deterministic state isolation"));
    } else if (status == SOREX_FATAL) {
        guest_log(LOG_ERROR, call->name, call->height, bytes_str(err->text));
    } else {
        deterministic = status == SOREX_GUEST;
    }
    cost.ns = clock_ns() - begun;
    if (out_cost != NULL)
        *out_cost = cost;
    if (out_deterministic != NULL)
        *out_deterministic = status != SOREX_OK && deterministic;
    if (status != SOREX_OK)
        (void)sorex_error_prefix(err, "program %s: height %u", call->name, call->height);
    return status;
}

struct guest_memory guest_memory_of(struct wasm_sandbox *sandbox)
{
    struct wasm_memory memory = wasm_sandbox_memory(sandbox);
    return (struct guest_memory){memory.data, memory.len};
}

enum sorex_status guest_pointer_error(const char *import, uint32_t pointer, struct guest_memory memory,
                                      struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_GUEST, "%s: the buffer at pointer %u leaves the memory of %zu bytes", import,
                           pointer, memory.len);
}

size_t guest_text_clean(struct bytes text, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len;) {
        size_t sequence = utf8_sequence(text.data + i, text.len - i);
        size_t take = sequence == 0 ? 1 : sequence;
        if (n + take > cap)
            break;
        if (sequence == 0 || text.data[i] < 0x20 || text.data[i] == 0x7f)
            out[n++] = '?';
        else
            for (size_t k = 0; k < take; k++)
                out[n++] = (char)text.data[i + k];
        i += take;
    }
    return n;
}

void guest_log(enum log_level level, const char *name, uint32_t height, struct bytes line)
{
    if (!log_enabled(level))
        return;
    char component[128];
    (void)snprintf(component, sizeof component, "program %s", name);
    int len = (int)(line.len < SOREX_LOG_LINE_MAX ? line.len : SOREX_LOG_LINE_MAX);
    log_line(level, component, "height %u: %.*s", height, len, len == 0 ? "" : (const char *)line.data);
}

/* UTF-16LE with its byte length in front, as far as it is readable and fits; '?' for what is no character. */
static void utf16_text(struct guest_memory memory, uint32_t pointer, char out[ABORT_TEXT_MAX])
{
    struct bytes text;
    size_t used = 0;
    if (!buffer_payload(memory, pointer, &text))
        text = bytes_of(NULL, 0);
    for (size_t at = 0; at + 1 < text.len && used + 5 < ABORT_TEXT_MAX; at += 2) {
        uint32_t c = u16le_get(text.data + at);
        if ((c & 0xfc00) == 0xd800 && at + 3 < text.len && (u16le_get(text.data + at + 2) & 0xfc00) == 0xdc00) {
            c = 0x10000 + ((c & 0x3ff) << 10) + (u16le_get(text.data + at + 2) & 0x3ffU);
            at += 2;
        }
        if (c < 0x20 || c == 0x7f || (c & 0xf800) == 0xd800) {
            out[used++] = '?';
        } else if (c < 0x80) {
            out[used++] = (char)c;
        } else {
            unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
            static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
            out[used++] = (char)(lead[more] | c >> (6 * more));
            while (more-- > 0)
                out[used++] = (char)(0x80 | (c >> (6 * more) & 0x3f));
        }
    }
    out[used] = '\0';
}

enum sorex_status guest_abort(struct guest_memory memory, const union wasm_value *values, struct sorex_error *err)
{
    char message[ABORT_TEXT_MAX], file[ABORT_TEXT_MAX];
    utf16_text(memory, values[0].u32, message);
    utf16_text(memory, values[1].u32, file);
    return sorex_error_set(err, SOREX_GUEST, "abort: %s at %s:%u:%u", message[0] != '\0' ? message : "no message",
                           file[0] != '\0' ? file : "unknown file", values[2].u32, values[3].u32);
}

/* The likeliest mistake is a module in the wrong section of the pipeline file. */
static const char *other_contract(const struct wasm_program *program)
{
    if (wasm_program_export(program, "process_block") != NULL)
        return "; it exports process_block: it is a transform";
    if (wasm_program_export(program, "_start") != NULL)
        return "; it exports _start: it may be an indexer";
    return "";
}

enum sorex_status guest_export(struct wasm_program *program, const char *name, const char *type, bool optional,
                               const struct wasm_export **out, struct sorex_error *err)
{
    *out = NULL;
    if (wasm_program_export(program, name) != NULL)
        return wasm_program_func(program, name, type, out, err);
    if (optional)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_INVALID, "the module exports no function %s%s", name, other_contract(program));
}

enum sorex_status guest_memory_check(const struct wasm_program *program, struct sorex_error *err)
{
    const struct wasm_export *memory = wasm_program_export(program, "memory");
    if (memory == NULL || memory->kind != WASM_KIND_MEMORY)
        return sorex_error_set(err, SOREX_INVALID, "the module exports no memory named memory");
    return SOREX_OK;
}
