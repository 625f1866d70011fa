#include "pipeline/stages.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "pipeline/filter_status.h"

const char *const on_error_words[] = {"halt", "skip", "pass", NULL};

enum stage_count { STAGE_EVENTS, STAGE_CHANGED, STAGE_FILTERED, STAGE_FAILED, STAGE_COUNTS };

struct stage {
    enum on_error on_error;
    struct filter *filter;
    uint64_t counts[STAGE_COUNTS]; /* of workers that were closed; under the stages' lock */
};

struct stages {
    const struct envelope *from, *to;
    enum on_error on_bad_event;
    bool rows;
    pthread_mutex_t lock; /* guards `workers` and the counts */
    struct stages_worker *workers;
    size_t count;
    struct stage stages[];
};

/* Of one worker at one filter. Written by the worker only. */
struct seat {
    struct filter_instance *instance;
    _Atomic uint64_t counts[STAGE_COUNTS];
};

struct stages_worker {
    struct stages *stages;
    struct stages_worker *next;
    struct json_parser *parser;
    struct arena arena; /* of the event in hand */
    struct event read, changed;
    struct sorex_error why;
    struct seat seats[];
};

/* ---- modules ---- */

static enum sorex_status stage_load(struct stage *stage, const struct stage_settings *settings, const char *cache_dir,
                                    struct sorex_error *err)
{
    struct buf wasm = {0};
    const struct filter_options options = {.name = settings->name,
                                           .memory_bytes_max = settings->memory_bytes_max,
                                           .timeout_ms = settings->timeout_ms,
                                           .memory = settings->fresh ? FILTER_MEMORY_FRESH : FILTER_MEMORY_KEPT,
                                           .config = settings->config,
                                           .cache_dir = cache_dir};
    stage->on_error = settings->on_error;
    enum sorex_status status = file_read(settings->wasm, SOREX_MODULE_BYTES_MAX, &wasm, err);
    if (status == SOREX_OK && (status = filter_new(buf_view(&wasm), &options, &stage->filter, err)) != SOREX_OK)
        (void)sorex_error_prefix(err, "%s", settings->wasm);
    buf_deinit(&wasm);
    return status;
}

enum sorex_status stages_new(const struct stages_options *options, struct stages **out, struct sorex_error *err)
{
    struct stages *stages = calloc(1, sizeof *stages + options->count * sizeof stages->stages[0]);
    if (stages == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu filters", options->count);
    (void)pthread_mutex_init(&stages->lock, NULL);
    stages->from = options->from;
    stages->to = options->to;
    stages->on_bad_event = options->on_bad_event;
    stages->rows = options->rows;
    for (; stages->count < options->count; stages->count++) {
        enum sorex_status status =
            stage_load(&stages->stages[stages->count], &options->stages[stages->count], options->cache_dir, err);
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
    if (stages == NULL)
        return;
    CHECK(stages->workers == NULL);
    for (size_t i = 0; i < stages->count; i++)
        filter_free(stages->stages[i].filter);
    (void)pthread_mutex_destroy(&stages->lock);
    free(stages);
}

size_t stages_count(const struct stages *stages)
{
    return stages->count;
}

/* ---- status ---- */

static void stage_status(struct stages *stages, size_t index, struct json_writer *w)
{
    static const char *const names[] = {"events", "changed", "filtered", "failed"};
    struct stage *stage = &stages->stages[index];
    json_object_begin(w);
    json_name(w, "name");
    json_string_z(w, filter_name(stage->filter));
    for (size_t c = 0; c < STAGE_COUNTS; c++) {
        uint64_t sum = stage->counts[c];
        for (struct stages_worker *worker = stages->workers; worker != NULL; worker = worker->next)
            sum += atomic_load_explicit(&worker->seats[index].counts[c], memory_order_relaxed);
        json_name(w, names[c]);
        json_uint(w, sum);
    }
    filter_status(stage->filter, w);
    json_object_end(w);
}

void stages_status(struct stages *stages, struct json_writer *w)
{
    (void)pthread_mutex_lock(&stages->lock);
    json_array_begin(w);
    for (size_t i = 0; i < stages->count; i++)
        stage_status(stages, i, w);
    json_array_end(w);
    (void)pthread_mutex_unlock(&stages->lock);
}

/* ---- workers ---- */

static enum sorex_status worker_init(struct stages_worker *worker, struct sorex_error *err)
{
    TRY(json_parser_new(&worker->parser, err));
    for (size_t i = 0; i < worker->stages->count; i++)
        TRY(filter_instance_open(worker->stages->stages[i].filter, &worker->seats[i].instance, err));
    return SOREX_OK;
}

static void worker_free(struct stages_worker *worker)
{
    for (size_t i = 0; i < worker->stages->count; i++)
        filter_instance_close(worker->seats[i].instance);
    json_parser_free(worker->parser);
    arena_deinit(&worker->arena);
    free(worker);
}

enum sorex_status stages_worker_open(struct stages *stages, struct stages_worker **out, struct sorex_error *err)
{
    struct stages_worker *worker = calloc(1, sizeof *worker + stages->count * sizeof worker->seats[0]);
    if (worker == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu filters", stages->count);
    worker->stages = stages;
    arena_init(&worker->arena, 0);
    enum sorex_status status = worker_init(worker, err);
    if (status != SOREX_OK) {
        worker_free(worker);
        return status;
    }
    (void)pthread_mutex_lock(&stages->lock);
    worker->next = stages->workers;
    stages->workers = worker;
    (void)pthread_mutex_unlock(&stages->lock);
    *out = worker;
    return SOREX_OK;
}

void stages_worker_close(struct stages_worker *worker)
{
    if (worker == NULL)
        return;
    struct stages *stages = worker->stages;
    (void)pthread_mutex_lock(&stages->lock);
    struct stages_worker **at = &stages->workers;
    while (*at != worker)
        at = &(*at)->next;
    *at = worker->next;
    for (size_t i = 0; i < stages->count; i++)
        for (size_t c = 0; c < STAGE_COUNTS; c++)
            stages->stages[i].counts[c] += atomic_load_explicit(&worker->seats[i].counts[c], memory_order_relaxed);
    (void)pthread_mutex_unlock(&stages->lock);
    worker_free(worker);
}

struct json_parser *stages_worker_parser(struct stages_worker *worker)
{
    return worker->parser;
}

/* ---- one event ---- */

/* There is one writer: no need to add atomically. */
static void count(struct seat *seat, enum stage_count which)
{
    uint64_t value = atomic_load_explicit(&seat->counts[which], memory_order_relaxed);
    atomic_store_explicit(&seat->counts[which], value + 1, memory_order_relaxed);
}

/* Whether a failure is the event's or its filter's, and all goes on. */
static bool goes_on(struct stages_worker *worker, enum on_error policy, const struct sorex_error *err,
                    struct stages_result *result)
{
    bool of_event = err->status == SOREX_INVALID || err->status == SOREX_GUEST || err->status == SOREX_LIMIT;
    if (!of_event || policy == ON_ERROR_HALT)
        return false;
    if (result->why == NULL)
        worker->why = *err;
    result->why = worker->why.text;
    return true;
}

static enum sorex_status event_read(struct stages_worker *worker, struct bytes text, bool *out_tombstone, struct sorex_error *err)
{
    TRY(envelope_read(worker->stages->from, worker->parser, text, &worker->arena, &worker->read, out_tombstone, err));
    if (*out_tombstone)
        return SOREX_OK;
    TRY(event_validate(&worker->read, err));
    return worker->stages->count > 0 ? event_text_make(&worker->read, &worker->arena, err) : SOREX_OK;
}

static enum sorex_status event_filter(struct stages_worker *worker, const struct event **event, struct stages_result *result,
                                      struct sorex_error *err)
{
    for (size_t i = 0; i < worker->stages->count; i++) {
        enum filter_outcome outcome;
        const struct event *next;
        struct seat *seat = &worker->seats[i];
        count(seat, STAGE_EVENTS);
        if (filter_instance_transform(seat->instance, *event, &outcome, &next, err) != SOREX_OK) {
            enum on_error policy = worker->stages->stages[i].on_error;
            count(seat, STAGE_FAILED);
            if (!goes_on(worker, policy, err, result))
                return err->status;
            if (policy == ON_ERROR_PASS)
                continue;
            result->outcome = STAGES_LEFT_OUT;
            *event = NULL;
            return SOREX_OK;
        }
        if (outcome != FILTER_PASSED)
            count(seat, outcome == FILTER_FILTERED ? STAGE_FILTERED : STAGE_CHANGED);
        *event = next;
        if (next == NULL)
            return SOREX_OK;
    }
    return SOREX_OK;
}

static enum sorex_status event_deliver(struct stages_worker *worker, const struct event *event, struct buf *out,
                                       struct stages_result *result, struct sorex_error *err)
{
    if (worker->stages->rows && event->op == EVENT_READ) {
        worker->changed = *event;
        worker->changed.op = EVENT_INSERT;
        worker->changed.text = (struct bytes){0};
        event = &worker->changed;
    }
    result->outcome = STAGES_DELIVERED;
    result->event = event;
    if (envelope_write(worker->stages->to, worker->parser, event, &worker->arena, out, err) == SOREX_OK)
        return SOREX_OK;
    if (!goes_on(worker, worker->stages->on_bad_event, err, result))
        return err->status;
    result->outcome = STAGES_LEFT_OUT;
    result->event = NULL;
    return SOREX_OK;
}

enum sorex_status stages_run(struct stages_worker *worker, struct bytes text, struct buf *out, struct stages_result *out_result,
                             struct sorex_error *err)
{
    const struct event *event = &worker->read;
    bool tombstone = false;
    enum on_error on_bad_event = worker->stages->on_bad_event;
    *out_result = (struct stages_result){.outcome = STAGES_FILTERED};
    arena_reset(&worker->arena);
    if (event_read(worker, text, &tombstone, err) != SOREX_OK) {
        if (!goes_on(worker, on_bad_event, err, out_result))
            return err->status;
        out_result->outcome = on_bad_event == ON_ERROR_PASS ? STAGES_DELIVERED : STAGES_LEFT_OUT;
        return on_bad_event == ON_ERROR_PASS ? buf_append(out, text, err) : SOREX_OK;
    }
    if (tombstone) {
        out_result->outcome = STAGES_DELIVERED;
        return buf_append(out, text, err);
    }
    TRY(event_filter(worker, &event, out_result, err));
    return event != NULL ? event_deliver(worker, event, out, out_result, err) : SOREX_OK;
}
