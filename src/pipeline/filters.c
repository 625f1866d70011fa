#include "pipeline/filters.h"

#include <limits.h>
#include <stdio.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/sha256.h"
#include "change/envelope.h"
#include "pipeline/config_json.h"
#include "pipeline/filter_status.h"

/* ---- loading ---- */

/* Appends what of a filter decides results. Its timeout is there because init sees it. */
static enum sorex_status identity_add(const struct filters_stage *stage, struct bytes config, struct buf *out,
                                      struct sorex_error *err)
{
    const struct filter_settings *s = stage->settings;
    char module[HASH_HEX_SIZE];
    hash_hex(stage->module_hash, module);
    TRY(buf_printf(out, err, "module=%s\nmemory=%d\nmemory_max=%llu\ntimeout=%u\non_error=%d\nconfig=", module,
                   s->memory, (unsigned long long)s->memory_max, s->timeout_ms, s->on_error));
    TRY(buf_append(out, config, err));
    return buf_append_u8(out, '\n', err);
}

static enum sorex_status stage_open(struct filters_stage *stage, struct bytes wasm, struct bytes config,
                                    const char *data_dir, struct sorex_error *err)
{
    const struct filter_settings *s = stage->settings;
    char cache[PATH_MAX];
    if (data_dir != NULL && snprintf(cache, sizeof cache, "%s/cache", data_dir) >= (int)sizeof cache)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", data_dir);
    bool fresh = s->memory == FILTER_FRESH;
    const struct filter_options options = {.name = s->name,
                                           .memory_bytes_max = s->memory_max,
                                           .timeout_ms = s->timeout_ms,
                                           .memory = fresh ? FILTER_MEMORY_FRESH : FILTER_MEMORY_KEPT,
                                           .metrics_write_only = fresh,
                                           .config = config,
                                           .cache_dir = data_dir != NULL ? cache : NULL};
    TRY(filter_new(wasm, &options, &stage->filter, err));
    return filter_instance_open(stage->filter, &stage->instance, err);
}

static enum sorex_status stage_load(struct filters_stage *stage, const char *data_dir, struct buf *identity,
                                    struct sorex_error *err)
{
    struct json_parser *parser = NULL;
    struct buf wasm = {0}, config = {0};
    const struct filter_settings *s = stage->settings;
    enum sorex_status status = json_parser_new(&parser, err);
    if (status == SOREX_OK && s->config != NULL && !config_is_null(s->config))
        status = config_json(s->config, parser, &config, err);
    if (status == SOREX_OK)
        status = file_read(s->wasm, SOREX_MODULE_BYTES_MAX, &wasm, err);
    if (status == SOREX_OK) {
        sha256_once(buf_view(&wasm), stage->module_hash);
        status = identity_add(stage, buf_view(&config), identity, err);
    }
    if (status == SOREX_OK) {
        status =
            stage_open(stage, buf_view(&wasm), config.len != 0 ? buf_view(&config) : (struct bytes){0}, data_dir, err);
        if (status != SOREX_OK)
            (void)sorex_error_prefix(err, "%s", s->wasm);
    }
    json_parser_free(parser);
    buf_deinit(&wasm);
    buf_deinit(&config);
    return status == SOREX_OK ? status : sorex_error_prefix(err, "filter %s", s->name);
}

enum sorex_status filters_load(struct filters *filters, const struct filter_settings *settings, size_t count,
                               const char *data_dir, struct sorex_error *err)
{
    struct buf identity = {0}, modules = {0};
    *filters = (struct filters){0};
    enum sorex_status status = buf_append_str(&identity, "contract=filters\n", err);
    for (size_t i = 0; i < count && status == SOREX_OK; i++) {
        struct filters_stage *stage = &filters->stages[filters->count++];
        stage->settings = &settings[i];
        status = stage_load(stage, data_dir, &identity, err);
        if (status == SOREX_OK)
            status = buf_append(&modules, bytes_of(stage->module_hash, HASH_BYTES), err);
    }
    if (status == SOREX_OK) {
        sha256_once(buf_view(&identity), filters->identity);
        sha256_once(buf_view(&modules), filters->module_hash);
    }
    buf_deinit(&identity);
    buf_deinit(&modules);
    return status;
}

void filters_unload(struct filters *filters)
{
    for (size_t i = 0; i < filters->count; i++) {
        filter_instance_close(filters->stages[i].instance);
        filter_free(filters->stages[i].filter);
    }
    *filters = (struct filters){0};
}

enum sorex_status filters_register(struct filters *filters, struct store *store, bool adopt, struct sorex_error *err)
{
    return store_program(store, FILTERS_PROGRAM, filters->identity, filters->module_hash, adopt, &filters->stored, err);
}

/* ---- one change ---- */

static bool columns_equal(const struct event_columns *a, const struct event_columns *b)
{
    bool equal = a->count == b->count;
    for (uint32_t i = 0; i < a->count && equal; i++)
        equal = bytes_equal(a->names[i], b->names[i]);
    return equal;
}

/* A changed event must be a change again. */
static enum sorex_status output_check(const struct event *event, struct sorex_error *err)
{
    if (event->op != EVENT_INSERT && event->op != EVENT_UPDATE && event->op != EVENT_DELETE)
        return sorex_error_set(err, SOREX_GUEST,
                               "the output is a %s: only insert, update and delete are changes of a row",
                               event_op_name(event->op));
    if (event->table.len == 0)
        return sorex_error_set(err, SOREX_GUEST, "the output has no table");
    return SOREX_OK;
}

static void count(_Atomic uint64_t *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

/* *out_event: NULL when it was dropped. */
static enum sorex_status stage_run(struct filters_stage *stage, struct json_parser *parser, const struct event *event,
                                   const struct event **out_event, struct buf *key, struct sorex_error *err)
{
    enum filter_outcome outcome;
    struct buf made = {0};
    count(&stage->events);
    TRY(filter_instance_transform(stage->instance, event, &outcome, out_event, err));
    if (outcome == FILTER_FILTERED) {
        count(&stage->filtered);
        return SOREX_OK;
    }
    if (outcome == FILTER_PASSED)
        return SOREX_OK;
    const struct event *output = *out_event;
    enum sorex_status status = output_check(output, err);
    bool rekeyed = output->after.data != NULL && output->primary_key.count != 0 &&
                   !columns_equal(&event->primary_key, &output->primary_key);
    if (status == SOREX_OK && rekeyed) {
        status = change_event_key(parser, output, &made, err);
        if (status == SOREX_OK) {
            buf_reset(key);
            status = buf_append(key, buf_view(&made), err);
        }
        buf_deinit(&made);
    }
    if (status == SOREX_OK)
        count(&stage->changed);
    else if (status == SOREX_GUEST || status == SOREX_INVALID)
        return sorex_error_prefix(err, "program %s", stage->settings->name);
    return status;
}

/* What on_error makes of a failure: SOREX_OK when the pipeline goes on. */
static enum sorex_status failure_judge(struct filters_stage *stage, const struct filters_origin *origin,
                                       struct sorex_error *err)
{
    static const char *const what[] = {[ON_ERROR_SKIP] = "the change is skipped", [ON_ERROR_PASS] = "the change passes"};
    int policy = stage->settings->on_error;
    count(&stage->failed);
    (void)sorex_error_prefix(err, "table %.*s, key %.*s", BYTES_FMT(origin->table), BYTES_FMT(origin->key));
    bool repeatable = filter_instance_repeatable(stage->instance);
    if (policy != ON_ERROR_HALT && repeatable) {
        log_line(LOG_WARN, "filters", "height %u: %s; %s", origin->height, err->text, what[policy]);
        return SOREX_OK;
    }
    if (policy != ON_ERROR_HALT) {
        struct sorex_error cause = *err;
        return sorex_error_set(err, SOREX_INVALID,
                               "%s (whatever on_error says: this could end otherwise on another machine)", cause.text);
    }
    err->status = SOREX_INVALID;
    return SOREX_INVALID;
}

enum sorex_status filters_run(struct filters *filters, struct json_parser *parser, const struct event *event,
                              const struct filters_origin *origin, enum filters_verdict *out_verdict,
                              const struct event **out_event, struct buf *out_key, struct sorex_error *err)
{
    buf_reset(out_key);
    *out_event = event;
    for (size_t i = 0; i < filters->count; i++) {
        struct filters_stage *stage = &filters->stages[i];
        const struct event *next = NULL;
        struct sorex_error why = {0};
        enum sorex_status status = stage_run(stage, parser, *out_event, &next, out_key, &why);
        if (status == SOREX_GUEST || status == SOREX_INVALID) {
            status = failure_judge(stage, origin, &why);
            next = *out_event;
        }
        if (status != SOREX_OK) {
            if (err != NULL)
                *err = why;
            return status;
        }
        if (why.status != SOREX_OK && stage->settings->on_error == ON_ERROR_SKIP) {
            *out_verdict = FILTERS_STAY;
            return SOREX_OK;
        }
        if (next == NULL) {
            *out_event = event;
            *out_verdict = FILTERS_NONE;
            return SOREX_OK;
        }
        *out_event = next;
    }
    *out_verdict = (*out_event)->after.data != NULL ? FILTERS_ROW : FILTERS_NONE;
    return SOREX_OK;
}

/* ---- status ---- */

void filters_status(struct filters *filters, struct json_writer *w)
{
    json_array_begin(w);
    for (size_t i = 0; i < filters->count; i++) {
        struct filters_stage *stage = &filters->stages[i];
        const struct {
            const char *name;
            _Atomic uint64_t *value;
        } counts[] = {{"events", &stage->events},
                      {"filtered", &stage->filtered},
                      {"changed", &stage->changed},
                      {"failed", &stage->failed}};
        json_object_begin(w);
        json_name(w, "name");
        json_string_z(w, stage->settings->name);
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            json_name(w, counts[c].name);
            json_uint(w, atomic_load_explicit(counts[c].value, memory_order_relaxed));
        }
        filter_status(stage->filter, w);
        json_object_end(w);
    }
    json_array_end(w);
}
