/* Contract 2. Host functions with a result leave it pending and return its length; __load copies it. State writes and
 * pushed changes go to the host's tables at once, so that the guest reads its own writes; the pipeline drops them all
 * when the call fails.
 *
 * A bad change is remembered: __push_cdc_message returns -1, later changes are not delivered, and the call fails at its
 * end whatever the guest made of the -1. */
#include "guest/transform.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "guest/call.h"
#include "guest/kept.h"
#include "json/json.h"
#include "wasm/rewrite.h"

struct transform {
    char *name;
    struct guest_limits limits;
    guest_stop_fn *stop;
    void *stop_user_data;
    struct wasm_program *program;
    const struct wasm_export *process_block;
    const struct wasm_export *rollback; /* NULL when there is none */
    struct json_parser *parser;
    bool keeps_memory;
    struct kept kept;
    const struct wasm_export **globals; /* owned array; those that the rewriter exported */
    size_t globals_count;
};

/* One call; what the imports see. */
struct transform_call {
    struct transform *transform;
    const struct wasm_export *func;
    const struct entry *entry;
    const struct transform_host *host;
    struct buf pending;
    uint64_t changes; /* delivered */
    bool bad;
    struct sorex_error bad_change; /* "change INDEX: REASON" */
};

/* -- imports ----------------------------------------------------------------------------------------------------------
 */

static enum sorex_status argument(struct wasm_sandbox *sandbox, const char *import, uint32_t pointer, struct bytes *out,
                                  struct sorex_error *err)
{
    struct guest_memory memory = guest_memory_of(sandbox);
    if (!buffer_prefixed(memory, pointer, out))
        return guest_pointer_error(import, pointer, memory, err);
    return SOREX_OK;
}

static enum sorex_status pending_set(struct transform_call *call, struct bytes bytes, union wasm_value *values,
                                     struct sorex_error *err)
{
    buf_reset(&call->pending);
    if (bytes.len > INT32_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "a result of %zu bytes is too long for a guest", bytes.len);
    TRY(buf_append(&call->pending, bytes, err));
    values[0].i32 = (int32_t)bytes.len;
    return SOREX_OK;
}

static enum sorex_status import_height(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                       struct sorex_error *err)
{
    (void)sandbox, (void)err;
    const struct transform_call *call = user_data;
    values[0].u32 = call->entry->height;
    return SOREX_OK;
}

static enum sorex_status import_block_hash(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                           struct sorex_error *err)
{
    (void)sandbox;
    struct transform_call *call = user_data;
    uint8_t display[HASH_BYTES];
    for (size_t i = 0; i < HASH_BYTES; i++)
        display[i] = call->entry->hash[HASH_BYTES - 1 - i];
    return pending_set(call, bytes_of(display, sizeof display), values, err);
}

static enum sorex_status import_view(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                     struct sorex_error *err)
{
    struct transform_call *call = user_data;
    struct bytes name, input;
    bool failed = false;
    TRY(argument(sandbox, "__view", values[0].u32, &name, err));
    TRY(argument(sandbox, "__view", values[1].u32, &input, err));
    if (call->host->view == NULL)
        return sorex_error_set(err, SOREX_INVALID, "__view: this pipeline has no indexer");
    buf_reset(&call->pending);
    TRY(call->host->view(call->host->user_data, name, input, &call->pending, &failed, err));
    if (failed)
        buf_reset(&call->pending);
    if (call->pending.len > INT32_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "__view: a result of %zu bytes is too long for a guest",
                               call->pending.len);
    values[0].i32 = failed ? -1 : (int32_t)call->pending.len;
    return SOREX_OK;
}

static enum sorex_status import_get_state(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                          struct sorex_error *err)
{
    struct transform_call *call = user_data;
    const struct state_reader *state = &call->host->state;
    struct bytes key, value = {0};
    bool found = false;
    TRY(argument(sandbox, "__get_state", values[0].u32, &key, err));
    TRY(state->get(state->user_data, key, &value, &found, err));
    return pending_set(call, found ? value : bytes_of(NULL, 0), values, err);
}

static enum sorex_status import_set_state(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                          struct sorex_error *err)
{
    const struct transform_call *call = user_data;
    const struct state_writer *writes = &call->host->writes;
    struct bytes key, value;
    TRY(argument(sandbox, "__set_state", values[0].u32, &key, err));
    TRY(argument(sandbox, "__set_state", values[1].u32, &value, err));
    if (key.len > SOREX_KEY_BYTES_MAX)
        return sorex_error_set(err, SOREX_GUEST, "__set_state: a key of %zu bytes is over the limit of %zu", key.len,
                               SOREX_KEY_BYTES_MAX);
    TRY(writes->put(writes->user_data, key, value, err));
    values[0].i32 = 1;
    return SOREX_OK;
}

static enum sorex_status import_delete_state(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                             struct sorex_error *err)
{
    const struct transform_call *call = user_data;
    const struct state_reader *state = &call->host->state;
    const struct state_writer *writes = &call->host->writes;
    struct bytes key, value = {0};
    bool found = false;
    TRY(argument(sandbox, "__delete_state", values[0].u32, &key, err));
    TRY(state->get(state->user_data, key, &value, &found, err));
    if (found)
        TRY(writes->del(writes->user_data, key, err));
    values[0].i32 = found;
    return SOREX_OK;
}

static enum sorex_status import_load(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                     struct sorex_error *err)
{
    const struct transform_call *call = user_data;
    struct guest_memory memory = guest_memory_of(sandbox);
    uint8_t *target = buffer_target(memory, values[0].u32, call->pending.len);
    if (target == NULL)
        return guest_pointer_error("__load", values[0].u32, memory, err);
    if (call->pending.len > 0)
        memcpy(target, call->pending.data, call->pending.len);
    return SOREX_OK;
}

static enum sorex_status import_stdout(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                       struct sorex_error *err)
{
    const struct transform_call *call = user_data;
    struct bytes line;
    TRY(argument(sandbox, "__stdout", values[0].u32, &line, err));
    guest_log(LOG_INFO, call->transform->name, call->entry->height, line);
    return SOREX_OK;
}

static enum sorex_status import_stderr(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                       struct sorex_error *err)
{
    const struct transform_call *call = user_data;
    struct bytes line;
    TRY(argument(sandbox, "__stderr", values[0].u32, &line, err));
    guest_log(LOG_WARN, call->transform->name, call->entry->height, line);
    return SOREX_OK;
}

/* SOREX_OK with call->bad set for a bad change; other failures are the host's. */
static enum sorex_status change_deliver(struct transform_call *call, struct bytes json, struct sorex_error *err)
{
    struct sorex_error *reason = &call->bad_change;
    enum sorex_status status = SOREX_OK;
    if (json.len > SOREX_CHANGE_BYTES_MAX)
        status = sorex_error_set(reason, SOREX_INVALID, "%zu bytes are over the limit of %zu", json.len,
                                 SOREX_CHANGE_BYTES_MAX);
    else if (call->changes == SOREX_ENTRY_CHANGES_MAX)
        status = sorex_error_set(reason, SOREX_INVALID, "one entry makes at most %zu changes", SOREX_ENTRY_CHANGES_MAX);
    else
        status = call->host->change(call->host->user_data, json, reason);
    if (status == SOREX_OK) {
        call->changes++;
        return SOREX_OK;
    }
    reason->status = status;
    (void)sorex_error_prefix(reason, "change %llu", (unsigned long long)call->changes);
    if (status == SOREX_INVALID) {
        call->bad = true;
        return SOREX_OK;
    }
    *err = *reason;
    return status;
}

static enum sorex_status import_push_cdc_message(void *user_data, struct wasm_sandbox *sandbox,
                                                 union wasm_value *values, struct sorex_error *err)
{
    struct transform_call *call = user_data;
    struct bytes json;
    TRY(argument(sandbox, "__push_cdc_message", values[0].u32, &json, err));
    if (!call->bad)
        TRY(change_deliver(call, json, err));
    values[0].i32 = call->bad ? -1 : 0;
    return SOREX_OK;
}

static enum sorex_status import_abort(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                      struct sorex_error *err)
{
    (void)user_data;
    return guest_abort(guest_memory_of(sandbox), values, err);
}

static const struct wasm_import transform_imports[] = {
    {"env", "__height", "() -> i32", import_height},
    {"env", "__block_hash", "() -> i32", import_block_hash},
    {"env", "__view", "(i32, i32) -> i32", import_view},
    {"env", "__get_state", "(i32) -> i32", import_get_state},
    {"env", "__set_state", "(i32, i32) -> i32", import_set_state},
    {"env", "__delete_state", "(i32) -> i32", import_delete_state},
    {"env", "__load", "(i32) ->", import_load},
    {"env", "__stdout", "(i32) ->", import_stdout},
    {"env", "__stderr", "(i32) ->", import_stderr},
    {"env", "__push_cdc_message", "(i32) -> i32", import_push_cdc_message},
    {"env", "abort", "(i32, i32, i32, i32) ->", import_abort},
};

bool transform_has_import(struct bytes module, struct bytes name)
{
    for (size_t i = 0; i < sizeof transform_imports / sizeof *transform_imports; i++)
        if (bytes_is(module, transform_imports[i].module) && bytes_is(name, transform_imports[i].name))
            return true;
    return false;
}

/* -- loading ----------------------------------------------------------------------------------------------------------
 */

static enum sorex_status globals_collect(struct transform *transform, struct sorex_error *err)
{
    size_t count = 0;
    const struct wasm_export *exports = wasm_program_exports(transform->program, &count);
    transform->globals = calloc(count + 1, sizeof(*transform->globals));
    if (transform->globals == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the globals of a module");
    for (size_t i = 0; i < count; i++)
        if (exports[i].kind == WASM_KIND_GLOBAL &&
            strncmp(exports[i].name, WASM_REWRITE_PREFIX, sizeof WASM_REWRITE_PREFIX - 1) == 0)
            transform->globals[transform->globals_count++] = &exports[i];
    return SOREX_OK;
}

/* A transform spends its time in host functions; being able to stop one is worth more than the epoch checks cost. */
static struct wasm_settings settings_of(const struct transform *transform)
{
    struct wasm_settings settings = guest_settings(&transform->limits);
    settings.interruptible = true;
    return settings;
}

static enum sorex_status program_open(struct transform *transform, struct bytes wasm, const char *cache_dir,
                                      struct sorex_error *err)
{
    struct wasm_program_options options = {
        .name = transform->name,
        .settings = settings_of(transform),
        .imports = transform_imports,
        .imports_count = sizeof transform_imports / sizeof *transform_imports,
        .cache_dir = cache_dir,
        .unknown_functions_trap = true,
    };
    TRY(wasm_program_open(wasm, &options, &transform->program, err));
    TRY(guest_memory_check(transform->program, err));
    TRY(guest_export(transform->program, "process_block", "() -> i32", false, &transform->process_block, err));
    TRY(guest_export(transform->program, "rollback", "() -> i32", true, &transform->rollback, err));
    return transform->keeps_memory ? globals_collect(transform, err) : SOREX_OK;
}

static enum sorex_status transform_load(struct transform *transform, struct bytes wasm, const char *cache_dir,
                                        struct sorex_error *err)
{
    TRY(json_parser_new(&transform->parser, err));
    if (!transform->keeps_memory)
        return program_open(transform, wasm, cache_dir, err);
    /* Rewriting could make a valid module of an invalid one, with a global that is not kept. */
    struct wasm_settings settings = settings_of(transform);
    TRY(wasm_validate(wasm, &settings, err));
    struct buf rewritten = {0};
    enum sorex_status status = wasm_rewrite(wasm, &rewritten, err);
    if (status == SOREX_OK)
        status = program_open(transform, buf_view(&rewritten), cache_dir, err);
    buf_deinit(&rewritten);
    return status;
}

enum sorex_status transform_new(struct bytes wasm, const struct transform_options *options, struct transform **out,
                                struct sorex_error *err)
{
    struct transform *transform = calloc(1, sizeof *transform);
    char *name = strdup(options->name);
    if (transform == NULL || name == NULL) {
        free(transform);
        free(name);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for program %s", options->name);
    }
    transform->name = name;
    transform->limits = options->limits;
    transform->stop = options->stop;
    transform->stop_user_data = options->stop_user_data;
    transform->keeps_memory = options->memory == GUEST_MEMORY_KEPT;
    uint8_t module_hash[SHA256_BYTES];
    sha256_once(wasm, module_hash);
    kept_init(&transform->kept, module_hash);
    enum sorex_status status = transform_load(transform, wasm, options->cache_dir, err);
    if (status != SOREX_OK) {
        (void)sorex_error_prefix(err, "program %s", transform->name);
        transform_free(transform);
        return status;
    }
    *out = transform;
    return SOREX_OK;
}

void transform_free(struct transform *transform)
{
    if (transform == NULL)
        return;
    wasm_program_close(transform->program);
    if (transform->parser != NULL)
        json_parser_free(transform->parser);
    kept_deinit(&transform->kept);
    free(transform->globals);
    free(transform->name);
    free(transform);
}

bool transform_has_rollback(const struct transform *transform) { return transform->rollback != NULL; }

/* -- memory: kept -----------------------------------------------------------------------------------------------------
 */

/* Globals in the module's order, 8 bytes little-endian each. */
static enum sorex_status globals_save(const struct transform *transform, struct wasm_sandbox *sandbox, struct buf *out,
                                      struct sorex_error *err)
{
    for (size_t i = 0; i < transform->globals_count; i++) {
        uint64_t bits = 0;
        TRY(wasm_sandbox_global_get(sandbox, transform->globals[i], &bits, err));
        TRY(buf_append_u64le(out, bits, err));
    }
    return SOREX_OK;
}

static enum sorex_status globals_restore(const struct transform *transform, struct wasm_sandbox *sandbox,
                                         struct sorex_error *err)
{
    const struct buf *saved = &transform->kept.globals;
    if (saved->len != 8 * transform->globals_count)
        return sorex_error_set(err, SOREX_CORRUPT, "kept memory: %zu bytes of globals, the module has %zu of them",
                               saved->len, transform->globals_count);
    for (size_t i = 0; i < transform->globals_count; i++)
        TRY(wasm_sandbox_global_set(sandbox, transform->globals[i], u64le_get(saved->data + 8 * i), err));
    return SOREX_OK;
}

static enum sorex_status memory_restore(void *user_data, struct wasm_sandbox *sandbox, struct sorex_error *err)
{
    const struct transform_call *call = user_data;
    struct transform *transform = call->transform;
    struct kept *kept = &transform->kept;
    TRY(kept_load(kept, &call->host->pages, err));
    if (kept->empty)
        return SOREX_OK;
    size_t now = guest_memory_of(sandbox).len;
    if (now < kept->image_len)
        TRY(wasm_sandbox_memory_grow(sandbox, (kept->image_len - now) >> 16, err));
    kept_restore(kept, guest_memory_of(sandbox));
    return globals_restore(transform, sandbox, err);
}

static enum sorex_status memory_save(const struct transform_call *call, struct wasm_sandbox *sandbox,
                                     struct sorex_error *err)
{
    struct transform *transform = call->transform;
    struct buf globals = {0};
    enum sorex_status status = globals_save(transform, sandbox, &globals, err);
    if (status == SOREX_OK)
        status =
            kept_save(&transform->kept, guest_memory_of(sandbox), buf_view(&globals), &call->host->page_writes, err);
    buf_deinit(&globals);
    return status;
}

/* -- running ----------------------------------------------------------------------------------------------------------
 */

static enum sorex_status bad_change(const struct transform_call *call, struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_GUEST, "%s", call->bad_change.text);
}

/* The array that the guest returned. */
static enum sorex_status changes_returned(struct transform_call *call, struct wasm_sandbox *sandbox, int32_t result,
                                          struct sorex_error *err)
{
    struct bytes text;
    struct json_doc doc;
    TRY(argument(sandbox, call->func->name, (uint32_t)result, &text, err));
    enum sorex_status status = json_parse(call->transform->parser, text, &doc, err);
    if (status == SOREX_NOMEM)
        return status;
    if (status != SOREX_OK) {
        err->status = SOREX_GUEST;
        return sorex_error_prefix(err, "%s: the result is no JSON", call->func->name);
    }
    if (doc.nodes[0].kind != JSON_ARRAY)
        return sorex_error_set(err, SOREX_GUEST, "%s: the result is no JSON array", call->func->name);
    const struct json_node *change = json_first(&doc, &doc.nodes[0]);
    for (; change != NULL; change = json_next(&doc, change)) {
        TRY(change_deliver(call, change->raw, err));
        if (call->bad)
            return bad_change(call, err);
    }
    return SOREX_OK;
}

static enum sorex_status transform_after(void *user_data, struct wasm_sandbox *sandbox, int32_t result,
                                         struct sorex_error *err)
{
    struct transform_call *call = user_data;
    if (call->bad)
        return bad_change(call, err);
    if (result < 0)
        return sorex_error_set(err, SOREX_GUEST, "%s returned %d", call->func->name, result);
    if (result > 0)
        TRY(changes_returned(call, sandbox, result, err));
    return call->transform->keeps_memory ? memory_save(call, sandbox, err) : SOREX_OK;
}

static enum sorex_status transform_execute(struct transform *transform, const struct wasm_export *func,
                                           const struct entry *entry, const struct transform_host *host,
                                           struct transform_result *out_result, struct sorex_error *err)
{
    struct sorex_error own;
    if (err == NULL)
        err = &own;
    struct transform_call call = {.transform = transform, .func = func, .entry = entry, .host = host};
    struct guest_call guest = {
        .program = transform->program,
        .func = func,
        .limits = &transform->limits,
        .name = transform->name,
        .height = entry->height,
        .stop = transform->stop,
        .stop_user_data = transform->stop_user_data,
        .user_data = &call,
        .before = transform->keeps_memory ? memory_restore : NULL,
        .after = transform_after,
    };
    struct guest_cost cost = {0};
    enum sorex_status status = guest_call(&guest, &cost, NULL, err);
    if (status == SOREX_GUEST && call.bad) { /* a guest that traps on the -1 hides the cause */
        (void)bad_change(&call, err);
        (void)sorex_error_prefix(err, "program %s: height %u", transform->name, entry->height);
    }
    if (out_result != NULL)
        *out_result = (struct transform_result){.changes = call.changes, .cost = cost};
    buf_deinit(&call.pending);
    return status;
}

enum sorex_status transform_run(struct transform *transform, const struct entry *entry,
                                const struct transform_host *host, struct transform_result *out_result,
                                struct sorex_error *err)
{
    return transform_execute(transform, transform->process_block, entry, host, out_result, err);
}

enum sorex_status transform_rollback(struct transform *transform, const struct entry *entry,
                                     const struct transform_host *host, struct transform_result *out_result,
                                     struct sorex_error *err)
{
    CHECK(transform->rollback != NULL);
    return transform_execute(transform, transform->rollback, entry, host, out_result, err);
}
