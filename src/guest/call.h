/* One call of an exported function in a sandbox of its own: open, run under the watchdog, close. All contracts that
 * start from fresh memory go through here, on success and on failure. */
#ifndef SOREX_GUEST_CALL_H
#define SOREX_GUEST_CALL_H

#include "base/log.h"
#include "guest/buffers.h"
#include "guest/host.h"
#include "wasm/wasm.h"

/* Sandboxes of one class alive at a time: a run, a transform's nested view and views of users beside them. */
#define GUEST_SANDBOXES_MAX 64

struct guest_call {
    struct wasm_program *program;
    const struct wasm_export *func; /* "() ->" or "() -> i32" */
    const struct guest_limits *limits;
    const char *name; /* the program's */
    uint32_t height;
    guest_stop_fn *stop; /* may be NULL */
    void *stop_user_data;
    void *user_data; /* of the imports and the two below */
    /* Between the fresh instance and the call; NULL = nothing. */
    enum sorex_status (*before)(void *user_data, struct wasm_sandbox *sandbox, struct sorex_error *err);
    /* After a call that succeeded, with its result (0 when it has none), the instance still there; NULL = nothing. */
    enum sorex_status (*after)(void *user_data, struct wasm_sandbox *sandbox, int32_t result, struct sorex_error *err);
};

/* Engine settings for these limits. */
struct wasm_settings guest_settings(const struct guest_limits *limits);

/* Errors: what the sandbox, an import, before or after returned; the text begins with "program NAME: height H: ". Logs
 * a failed refresh (SOREX_FATAL) and, at debug level, every refresh. out_deterministic: may be NULL; whether a failure
 * would happen on every machine. out_cost may be NULL. */
enum sorex_status guest_call(const struct guest_call *call, struct guest_cost *out_cost, bool *out_deterministic,
                             struct sorex_error *err);

struct guest_memory guest_memory_of(struct wasm_sandbox *sandbox);

/* SOREX_GUEST with "IMPORT: pointer P is outside the memory of N bytes". */
enum sorex_status guest_pointer_error(const char *import, uint32_t pointer, struct guest_memory memory,
                                      struct sorex_error *err);

/* A guest's line to the log: component "program NAME", text "height H: LINE"; a NUL ends it, and it is cut when too
 * long. */
void guest_log(enum log_level level, const char *name, uint32_t height, struct bytes line);

/* Text for one line: what is no UTF-8 or a control character becomes '?', and what is too long is cut between
 * characters. */
size_t guest_text_clean(struct bytes text, char *out, size_t cap);

/* AssemblyScript's abort(message, file, line, column): SOREX_GUEST with what of it can be read. values: the four
 * arguments. */
enum sorex_status guest_abort(struct guest_memory memory, const union wasm_value *values, struct sorex_error *err);

/* Finds an exported function of this type; an optional one that is absent is NULL. Errors: SOREX_INVALID. */
enum sorex_status guest_export(struct wasm_program *program, const char *name, const char *type, bool optional,
                               const struct wasm_export **out, struct sorex_error *err);
/* SOREX_INVALID unless the module exports a memory named "memory". */
enum sorex_status guest_memory_check(const struct wasm_program *program, struct sorex_error *err);

#endif
