#include "pipeline/stages.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"

struct stages {
    size_t count;
    struct filter *filters[];
};

struct stages_worker {
    const struct stages *stages;
    const struct envelope *from, *to;
    struct json_parser *parser;
    struct arena arena; /* of the event in hand */
    struct filter_instance *instances[];
};

/* ---- modules ---- */

static enum sorex_status stage_load(const struct stage_settings *settings, const char *cache_dir, struct filter **out,
                                    struct sorex_error *err)
{
    struct buf wasm = {0};
    const struct filter_options options = {.name = settings->name,
                                           .memory_bytes_max = settings->memory_bytes_max,
                                           .timeout_ms = settings->timeout_ms,
                                           .memory = settings->fresh ? FILTER_MEMORY_FRESH : FILTER_MEMORY_KEPT,
                                           .config = settings->config != NULL ? bytes_str(settings->config) : (struct bytes){0},
                                           .cache_dir = cache_dir};
    enum sorex_status status = file_read(settings->wasm, SOREX_MODULE_BYTES_MAX, &wasm, err);
    if (status == SOREX_OK && (status = filter_new(buf_view(&wasm), &options, out, err)) != SOREX_OK)
        (void)sorex_error_prefix(err, "%s", settings->wasm);
    buf_deinit(&wasm);
    return status;
}

enum sorex_status stages_new(const struct stage_settings *settings, size_t count, const char *cache_dir, struct stages **out,
                             struct sorex_error *err)
{
    struct stages *stages = calloc(1, sizeof *stages + count * sizeof(struct filter *));
    if (stages == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu filters", count);
    for (; stages->count < count; stages->count++) {
        enum sorex_status status = stage_load(&settings[stages->count], cache_dir, &stages->filters[stages->count], err);
        if (status != SOREX_OK) {
            stages_free(stages);
            return status;
        }
    }
    *out = stages;
    return SOREX_OK;
}

void stages_free(struct stages *stages)
{
    for (size_t i = 0; stages != NULL && i < stages->count; i++)
        filter_free(stages->filters[i]);
    free(stages);
}

size_t stages_count(const struct stages *stages)
{
    return stages->count;
}

struct filter *stages_filter(const struct stages *stages, size_t index)
{
    return stages->filters[index];
}

/* ---- instances ---- */

static enum sorex_status worker_init(struct stages_worker *worker, struct sorex_error *err)
{
    TRY(json_parser_new(&worker->parser, err));
    for (size_t i = 0; i < worker->stages->count; i++)
        TRY(filter_instance_open(worker->stages->filters[i], &worker->instances[i], err));
    return SOREX_OK;
}

enum sorex_status stages_worker_open(struct stages *stages, const struct envelope *from, const struct envelope *to,
                                     struct stages_worker **out, struct sorex_error *err)
{
    struct stages_worker *worker = calloc(1, sizeof *worker + stages->count * sizeof(struct filter_instance *));
    if (worker == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu filters", stages->count);
    worker->stages = stages;
    worker->from = from;
    worker->to = to;
    arena_init(&worker->arena, 0);
    enum sorex_status status = worker_init(worker, err);
    if (status != SOREX_OK) {
        stages_worker_close(worker);
        return status;
    }
    *out = worker;
    return SOREX_OK;
}

void stages_worker_close(struct stages_worker *worker)
{
    if (worker == NULL)
        return;
    for (size_t i = 0; i < worker->stages->count; i++)
        filter_instance_close(worker->instances[i]);
    json_parser_free(worker->parser);
    arena_deinit(&worker->arena);
    free(worker);
}

/* ---- one event ---- */

enum sorex_status stages_run(struct stages_worker *worker, struct bytes text, struct buf *out, enum stages_outcome *out_outcome,
                             struct sorex_error *err)
{
    struct event first;
    const struct event *event = &first;
    bool tombstone;
    *out_outcome = STAGES_FILTERED;
    arena_reset(&worker->arena);
    TRY(envelope_read(worker->from, worker->parser, text, &worker->arena, &first, &tombstone, err));
    if (tombstone) {
        *out_outcome = STAGES_DELIVERED;
        return buf_append(out, text, err);
    }
    TRY(event_validate(&first, err));
    if (worker->stages->count > 0)
        TRY(event_text_make(&first, &worker->arena, err));
    for (size_t i = 0; i < worker->stages->count && event != NULL; i++) {
        enum filter_outcome outcome;
        TRY(filter_instance_transform(worker->instances[i], event, &outcome, &event, err));
    }
    if (event == NULL)
        return SOREX_OK;
    *out_outcome = STAGES_DELIVERED;
    return envelope_write(worker->to, worker->parser, event, &worker->arena, out, err);
}
