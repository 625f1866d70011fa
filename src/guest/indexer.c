/* Contract 1. A run collects the flush messages as the guest gave them (copied once, into an arena); when the whole run
 * has succeeded their pairs go to `writes` as views into those copies. Reads go to the state as of height - 1
 * throughout, so the last lookup stays true for the whole run: __get_len and __get on one key are one lookup. */
#include "guest/indexer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "guest/call.h"
#include "guest/flush.h"

#define VIEW_RESULT_BYTES_DEFAULT ((uint64_t)64 << 20)
/* The rest of GUEST_SANDBOXES_MAX is for runs and for views inside a transform's call. */
#define VIEWS_AT_ONCE_MAX (GUEST_SANDBOXES_MAX / 2)

struct indexer {
    char *name;
    struct guest_limits limits;
    guest_stop_fn *stop;
    void *stop_user_data;
    struct wasm_program *program;
    const struct wasm_export *start;
    const char **views; /* owned array, borrowed names */
    atomic_uint views_running;
    struct arena messages;      /* of one run: its blocks stay for the next one */
    atomic_flag messages_taken; /* a second run at the same time (a preview) uses an arena of its own */
};

/* One call; what the imports see. */
struct indexer_call {
    struct indexer *indexer;
    uint32_t height;
    struct bytes input;
    const struct state_reader *state;
    bool viewing;
    /* the last lookup */
    bool looked_up;
    bool found;
    struct buf key;
    struct bytes value; /* borrowed until the next lookup */
    /* a run's flushes */
    struct arena *messages;
    struct buf flushed; /* array of struct bytes, in messages */
    uint64_t flushes;
    uint64_t pairs;
    /* a view's result */
    struct buf *out;
};

/* -- imports ----------------------------------------------------------------------------------------------------------
 */

static enum sorex_status import_host_len(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                         struct sorex_error *err)
{
    (void)sandbox, (void)err;
    const struct indexer_call *call = user_data;
    values[0].u32 = (uint32_t)(4 + call->input.len);
    return SOREX_OK;
}

static enum sorex_status import_load_input(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                           struct sorex_error *err)
{
    const struct indexer_call *call = user_data;
    struct guest_memory memory = guest_memory_of(sandbox);
    uint8_t *target = buffer_target(memory, values[0].u32, 4 + (uint64_t)call->input.len);
    if (target == NULL)
        return guest_pointer_error("__load_input", values[0].u32, memory, err);
    u32le_put(target, call->height);
    if (call->input.len > 0)
        memcpy(target + 4, call->input.data, call->input.len);
    return SOREX_OK;
}

static enum sorex_status lookup(struct indexer_call *call, struct bytes key, struct sorex_error *err)
{
    if (call->looked_up && bytes_equal(buf_view(&call->key), key))
        return SOREX_OK;
    call->looked_up = false;
    call->value = bytes_of(NULL, 0);
    buf_reset(&call->key);
    TRY(buf_append(&call->key, key, err));
    TRY(call->state->get(call->state->user_data, buf_view(&call->key), &call->value, &call->found, err));
    if (!call->found)
        call->value = bytes_of(NULL, 0);
    if (call->value.len > INT32_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "a value of %zu bytes is too long for a guest", call->value.len);
    call->looked_up = true;
    return SOREX_OK;
}

static enum sorex_status import_get_len(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                        struct sorex_error *err)
{
    struct indexer_call *call = user_data;
    struct guest_memory memory = guest_memory_of(sandbox);
    struct bytes key;
    if (!buffer_payload(memory, values[0].u32, &key))
        return guest_pointer_error("__get_len", values[0].u32, memory, err);
    TRY(lookup(call, key, err));
    values[0].u32 = (uint32_t)call->value.len;
    return SOREX_OK;
}

static enum sorex_status import_get(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                    struct sorex_error *err)
{
    struct indexer_call *call = user_data;
    struct guest_memory memory = guest_memory_of(sandbox);
    struct bytes key;
    if (!buffer_payload(memory, values[0].u32, &key))
        return guest_pointer_error("__get", values[0].u32, memory, err);
    TRY(lookup(call, key, err));
    if (call->value.len == 0)
        return SOREX_OK;
    uint8_t *target = buffer_target(memory, values[1].u32, call->value.len);
    if (target == NULL)
        return guest_pointer_error("__get", values[1].u32, memory, err);
    memcpy(target, call->value.data, call->value.len);
    return SOREX_OK;
}

static enum sorex_status import_flush(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                      struct sorex_error *err)
{
    struct indexer_call *call = user_data;
    if (call->viewing)
        return SOREX_OK;
    struct guest_memory memory = guest_memory_of(sandbox);
    struct bytes message;
    if (!buffer_payload(memory, values[0].u32, &message))
        return guest_pointer_error("__flush", values[0].u32, memory, err);
    uint64_t pairs = 0;
    TRY(flush_check(message, &pairs, err));
    call->flushes++;
    if (pairs == 0)
        return SOREX_OK;
    struct bytes copy = arena_copy(call->messages, message);
    if (copy.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "__flush: no memory for a message of %zu bytes", message.len);
    call->pairs += pairs;
    return buf_append(&call->flushed, bytes_of(&copy, sizeof copy), err);
}

static enum sorex_status import_log(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                    struct sorex_error *err)
{
    const struct indexer_call *call = user_data;
    struct guest_memory memory = guest_memory_of(sandbox);
    struct bytes line;
    if (!buffer_payload(memory, values[0].u32, &line))
        return guest_pointer_error("__log", values[0].u32, memory, err);
    guest_log(LOG_INFO, call->indexer->name, call->height, line);
    return SOREX_OK;
}

static enum sorex_status import_abort(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                      struct sorex_error *err)
{
    (void)user_data;
    return guest_abort(guest_memory_of(sandbox), values, err);
}

static const struct wasm_import indexer_imports[] = {
    {"env", "__host_len", "() -> i32", import_host_len},
    {"env", "__load_input", "(i32) ->", import_load_input},
    {"env", "__get_len", "(i32) -> i32", import_get_len},
    {"env", "__get", "(i32, i32) ->", import_get},
    {"env", "__flush", "(i32) ->", import_flush},
    {"env", "__log", "(i32) ->", import_log},
    {"env", "abort", "(i32, i32, i32, i32) ->", import_abort},
};

bool indexer_has_import(struct bytes module, struct bytes name)
{
    for (size_t i = 0; i < sizeof indexer_imports / sizeof *indexer_imports; i++)
        if (bytes_is(module, indexer_imports[i].module) && bytes_is(name, indexer_imports[i].name))
            return true;
    return false;
}

/* -- loading ----------------------------------------------------------------------------------------------------------
 */

static bool is_view(const struct wasm_export *export)
{
    return export->kind == WASM_KIND_FUNC && strcmp(export->type, "() -> i32") == 0;
}

static enum sorex_status views_collect(struct indexer *indexer, struct sorex_error *err)
{
    size_t count = 0, views = 0;
    const struct wasm_export *exports = wasm_program_exports(indexer->program, &count);
    indexer->views = calloc(count + 1, sizeof *indexer->views);
    if (indexer->views == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the names of %zu exports", count);
    for (size_t i = 0; i < count; i++)
        if (is_view(&exports[i]))
            indexer->views[views++] = exports[i].name;
    return SOREX_OK;
}

static enum sorex_status program_open(struct indexer *indexer, struct bytes wasm, const struct indexer_options *options,
                                      struct sorex_error *err)
{
    struct wasm_program_options program = {
        .name = indexer->name,
        .settings = guest_settings(&indexer->limits),
        .imports = indexer_imports,
        .imports_count = sizeof indexer_imports / sizeof *indexer_imports,
        .cache_dir = options->cache_dir,
        .unknown_functions_trap = true,
    };
    program.settings.interruptible = options->interruptible;
    TRY(wasm_program_open(wasm, &program, &indexer->program, err));
    TRY(guest_memory_check(indexer->program, err));
    TRY(guest_export(indexer->program, "_start", "() ->", false, &indexer->start, err));
    return views_collect(indexer, err);
}

enum sorex_status indexer_new(struct bytes wasm, const struct indexer_options *options, struct indexer **out,
                              struct sorex_error *err)
{
    struct indexer *indexer = calloc(1, sizeof *indexer);
    char *name = strdup(options->name);
    if (indexer == NULL || name == NULL) {
        free(indexer);
        free(name);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for program %s", options->name);
    }
    indexer->name = name;
    indexer->limits = options->limits;
    indexer->stop = options->stop;
    indexer->stop_user_data = options->stop_user_data;
    arena_init(&indexer->messages, 0);
    atomic_flag_clear(&indexer->messages_taken);
    enum sorex_status status = program_open(indexer, wasm, options, err);
    if (status != SOREX_OK) {
        (void)sorex_error_prefix(err, "program %s", indexer->name);
        indexer_free(indexer);
        return status;
    }
    *out = indexer;
    return SOREX_OK;
}

void indexer_free(struct indexer *indexer)
{
    if (indexer == NULL)
        return;
    wasm_program_close(indexer->program);
    arena_deinit(&indexer->messages);
    free(indexer->views);
    free(indexer->name);
    free(indexer);
}

const char *const *indexer_views(const struct indexer *indexer) { return indexer->views; }

/* -- running ----------------------------------------------------------------------------------------------------------
 */

static void call_deinit(struct indexer_call *call)
{
    buf_deinit(&call->key);
    buf_deinit(&call->flushed);
}

static enum sorex_status run_after(void *user_data, struct wasm_sandbox *sandbox, int32_t result,
                                   struct sorex_error *err)
{
    (void)sandbox, (void)result;
    const struct indexer_call *call = user_data;
    if (call->flushes == 0)
        return sorex_error_set(err, SOREX_GUEST, "indexer exited unexpectedly: it returned without a flush");
    return SOREX_OK;
}

static enum sorex_status pairs_write(const struct indexer_call *call, const struct state_writer *writes,
                                     struct sorex_error *err)
{
    for (size_t at = 0; at < call->flushed.len; at += sizeof(struct bytes)) {
        struct bytes message, key, value;
        memcpy(&message, call->flushed.data + at, sizeof message);
        struct reader reader = reader_of(message);
        while (flush_next(&reader, &key, &value))
            TRY(writes->put(writes->user_data, key, value, err));
    }
    return SOREX_OK;
}

enum sorex_status indexer_run(struct indexer *indexer, uint32_t height, struct bytes block,
                              const struct state_reader *state, const struct state_writer *writes,
                              struct indexer_result *out_result, struct sorex_error *err)
{
    if (block.len > SOREX_ENTRY_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "program %s: height %u: a block of %zu bytes is over the limit of %zu",
                               indexer->name, height, block.len, SOREX_ENTRY_BYTES_MAX);
    struct arena own;
    bool shared = !atomic_flag_test_and_set(&indexer->messages_taken);
    if (!shared)
        arena_init(&own, 0);
    struct indexer_call call = {.indexer = indexer,
                                .height = height,
                                .input = block,
                                .state = state,
                                .messages = shared ? &indexer->messages : &own};
    struct guest_call guest = {
        .program = indexer->program,
        .func = indexer->start,
        .limits = &indexer->limits,
        .name = indexer->name,
        .height = height,
        .stop = indexer->stop,
        .stop_user_data = indexer->stop_user_data,
        .user_data = &call,
        .after = run_after,
    };
    struct guest_cost cost = {0};
    enum sorex_status status = guest_call(&guest, &cost, NULL, err);
    if (status == SOREX_OK) {
        status = pairs_write(&call, writes, err);
        if (status != SOREX_OK)
            (void)sorex_error_prefix(err, "program %s: height %u", indexer->name, height);
    }
    if (out_result != NULL)
        *out_result = (struct indexer_result){.pairs = call.pairs, .flushes = call.flushes, .cost = cost};
    call_deinit(&call);
    if (shared) {
        arena_reset(&indexer->messages);
        atomic_flag_clear(&indexer->messages_taken);
    } else {
        arena_deinit(&own);
    }
    return status;
}

/* -- views ------------------------------------------------------------------------------------------------------------
 */

static enum sorex_status view_after(void *user_data, struct wasm_sandbox *sandbox, int32_t result,
                                    struct sorex_error *err)
{
    const struct indexer_call *call = user_data;
    struct guest_memory memory = guest_memory_of(sandbox);
    uint64_t max = call->indexer->limits.view_result_bytes_max;
    max = max != 0 ? max : VIEW_RESULT_BYTES_DEFAULT;
    struct bytes payload;
    if (!buffer_payload(memory, (uint32_t)result, &payload))
        return guest_pointer_error("view result", (uint32_t)result, memory, err);
    if (payload.len > max)
        return sorex_error_set(err, SOREX_LIMIT, "the view's result of %zu bytes is over the limit of %llu",
                               payload.len, (unsigned long long)max);
    return buf_append(call->out, payload, err);
}

static const struct wasm_export *view_find(const struct indexer *indexer, struct bytes name)
{
    size_t count = 0;
    const struct wasm_export *exports = wasm_program_exports(indexer->program, &count);
    for (size_t i = 0; i < count; i++)
        if (bytes_is(name, exports[i].name))
            return is_view(&exports[i]) ? &exports[i] : NULL;
    return NULL;
}

/* Names the views that there are, as many as a message holds. */
static enum sorex_status view_missing(const struct indexer *indexer, struct bytes name, struct sorex_error *err)
{
    char views[SOREX_ERROR_TEXT_MAX / 2] = "";
    size_t used = 0;
    for (const char *const *at = indexer->views; *at != NULL && used < sizeof views; at++)
        used += (size_t)snprintf(views + used, sizeof views - used, "%s%s", at == indexer->views ? "" : ", ", *at);
    const char *cut = used < sizeof views ? "" : "...";
    return sorex_error_set(err, SOREX_GONE, "program %s: no view named %.*s; it has %s%s", indexer->name,
                           name.len < 100 ? (int)name.len : 100, (const char *)name.data,
                           views[0] == '\0' ? "none" : views, cut);
}

static enum sorex_status view_call(struct indexer *indexer, const struct wasm_export *func, struct indexer_call *call,
                                   struct guest_cost *out_cost, bool *out_deterministic, struct sorex_error *err)
{
    struct guest_call guest = {
        .program = indexer->program,
        .func = func,
        .limits = &indexer->limits,
        .name = indexer->name,
        .height = call->height,
        .stop = indexer->stop,
        .stop_user_data = indexer->stop_user_data,
        .user_data = call,
        .after = view_after,
    };
    enum sorex_status status = SOREX_AGAIN;
    if (atomic_fetch_add(&indexer->views_running, 1) < VIEWS_AT_ONCE_MAX)
        status = guest_call(&guest, out_cost, out_deterministic, err);
    else
        (void)sorex_error_set(err, SOREX_AGAIN, "program %s: %d views run already", indexer->name, VIEWS_AT_ONCE_MAX);
    atomic_fetch_sub(&indexer->views_running, 1);
    return status;
}

enum sorex_status indexer_view(struct indexer *indexer, struct bytes name, uint32_t height, struct bytes input,
                               const struct state_reader *state, struct buf *out, struct guest_cost *out_cost,
                               bool *out_deterministic, struct sorex_error *err)
{
    bool deterministic = false;
    if (out_deterministic == NULL)
        out_deterministic = &deterministic;
    *out_deterministic = true;
    const struct wasm_export *func = view_find(indexer, name);
    if (func == NULL)
        return view_missing(indexer, name, err);
    if (input.len > SOREX_ENTRY_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "program %s: view %s: an input of %zu bytes is over the limit of %zu",
                               indexer->name, func->name, input.len, SOREX_ENTRY_BYTES_MAX);
    *out_deterministic = false;
    struct indexer_call call = {
        .indexer = indexer, .height = height, .input = input, .state = state, .viewing = true, .out = out};
    enum sorex_status status = view_call(indexer, func, &call, out_cost, out_deterministic, err);
    call_deinit(&call);
    return status;
}
