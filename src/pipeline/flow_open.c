#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "pipeline/config_json.h"
#include "pipeline/flow_private.h"

#define POLL_MS 200 /* for the first event of a batch; also how soon an outcome of the sink is seen */
#define BATCH_EVENTS 10000
#define BATCH_BYTES ((size_t)8 << 20)
#define RETRY_BASE_MS 100
#define RETRY_MAX_MS 30000

static enum sorex_status data_take(struct flow *flow, struct sorex_error *err)
{
    const char *data = flow->settings->top.data;
    TRY(file_mkdirs(data, err));
    TRY(lockfile_take(&flow->lockfile, data, err));
    flow->locked = true;
    if (asprintf(&flow->saved_path, "%s/positions", data) < 0) {
        flow->saved_path = NULL;
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    flow->saved = (struct sidecar){
        .path = flow->saved_path, .pipeline = flow->settings->top.name, .stream = true, .fsync = true};
    struct json_parser *parser;
    bool found;
    TRY(json_parser_new(&parser, err));
    enum sorex_status status = sidecar_read(&flow->saved, parser, &found, err);
    json_parser_free(parser);
    return status;
}

/* A reducer's store takes the directory, and has the position. */
static enum sorex_status fold_open(struct flow *flow, struct sorex_error *err)
{
    TRY(fold_new(flow->settings, &flow->fold, err));
    fold_figures(flow->fold, &flow->derived);
    return SOREX_OK;
}

static const struct envelope *envelope_out(const struct pipeline_settings *settings)
{
    const struct sink_settings *sink = &settings->sinks[0];
    if (sink->type->reads_images)
        return envelope_find("change");
    return sink->envelope != NULL ? sink->envelope : envelopes[settings->events.envelope];
}

static enum sorex_status configs_make(const struct pipeline_settings *settings, struct buf *out, struct sorex_error *err)
{
    struct json_parser *parser;
    TRY(json_parser_new(&parser, err));
    enum sorex_status status = SOREX_OK;
    for (size_t i = 0; i < settings->filter_count && status == SOREX_OK; i++) {
        const struct config_node *config = settings->filters[i].config;
        if (config != NULL && !config_is_null(config))
            status = config_json(config, parser, &out[i], err);
    }
    json_parser_free(parser);
    return status;
}

static enum sorex_status stages_load(struct flow *flow, const struct buf *configs, struct sorex_error *err)
{
    const struct pipeline_settings *settings = flow->settings;
    struct stage_settings stages[PIPELINE_FILTERS_MAX];
    char cache[PATH_MAX];
    if (snprintf(cache, sizeof cache, "%s/cache", settings->top.data) >= (int)sizeof cache)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", settings->top.data);
    for (size_t i = 0; i < settings->filter_count; i++) {
        const struct filter_settings *filter = &settings->filters[i];
        stages[i] = (struct stage_settings){.name = filter->name,
                                            .wasm = filter->wasm,
                                            .config = configs[i].len != 0 ? buf_view(&configs[i]) : (struct bytes){0},
                                            .memory_bytes_max = filter->memory_max,
                                            .timeout_ms = filter->timeout_ms,
                                            .fresh = filter->memory == FILTER_FRESH,
                                            .on_error = (enum on_error)filter->on_error};
    }
    const struct stages_options options = {.stages = stages,
                                           .count = settings->filter_count,
                                           .cache_dir = cache,
                                           .from = envelopes[settings->events.envelope],
                                           .to = envelope_out(settings),
                                           .on_bad_event = (enum on_error)settings->events.on_error,
                                           .rows = settings->sinks[0].type->reads_images};
    return stages_new(&options, &flow->stages, err);
}

static enum sorex_status workers_open(struct flow *flow, struct sorex_error *err)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = flow->settings->top.instances != 0 ? flow->settings->top.instances : processors > 0 ? (size_t)processors : 1;
    if (wanted > POOL_WORKERS_MAX)
        wanted = POOL_WORKERS_MAX;
    if (wanted * flow->settings->filter_count > FILTER_INSTANCES_MAX)
        return sorex_error_set(err, SOREX_INVALID, "%zu instances of %zu filters; at most %d in all", wanted,
                               flow->settings->filter_count, FILTER_INSTANCES_MAX);
    flow->workers = calloc(wanted, sizeof(struct stages_worker *));
    if (flow->workers == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu instances", wanted);
    for (; flow->worker_count < wanted; flow->worker_count++)
        TRY(stages_worker_open(flow->stages, &flow->workers[flow->worker_count], err));
    return pool_new(flow_batch_work, (void *const *)flow->workers, wanted, &flow->pool, err);
}

static enum sorex_status source_open(struct flow *flow, const struct flow_options *options, struct sorex_error *err)
{
    const struct pipeline_settings *settings = flow->settings;
    const struct event_source_context context = {
        .pipeline = settings->top.name, .until_end = options->until_end, .ordered = settings->has_reducer};
    enum sorex_status status = settings->event_source_type->open(settings->source, &context, &flow->source, err);
    return status == SOREX_OK ? SOREX_OK : sorex_error_prefix(err, "source %s", settings->event_source_type->name);
}

static enum sorex_status sink_open(struct flow *flow, struct sorex_error *err)
{
    const struct pipeline_settings *settings = flow->settings;
    const struct sink_settings *sink = &settings->sinks[0];
    const struct sink_context context = {
        .name = sink->name, .pipeline = settings->top.name, .base_dir = settings->base_dir, .stream = true};
    enum sorex_status status = sink->type->open(sink->options, &context, &flow->sink, err);
    return status == SOREX_OK ? SOREX_OK : sorex_error_prefix(err, "sink %s", sink->name);
}

/* As the user says, else as the sink likes it. */
static void limits_set(struct flow *flow)
{
    const struct pipeline_scalars *top = &flow->settings->top;
    const struct sink_type *sink = flow->sink != NULL ? flow->sink->type : NULL;
    size_t records = sink != NULL && sink->batch_changes_max != 0 ? sink->batch_changes_max : BATCH_EVENTS;
    size_t bytes = sink != NULL && sink->batch_bytes_max != 0 ? (size_t)sink->batch_bytes_max : BATCH_BYTES;
    flow->limits = (struct event_limits){.records = top->batch_events != 0 ? top->batch_events : records,
                                         .bytes = top->batch_bytes != 0 ? (size_t)top->batch_bytes : bytes,
                                         .wait_ms = POLL_MS};
}

static enum sorex_status batches_make(struct flow *flow, struct sorex_error *err)
{
    const struct flow_batch_options options = {.workers = flow->workers,
                                               .pool = flow->pool,
                                               .records_max = flow->limits.records,
                                               .program = flow->settings->top.name,
                                               .sink = flow->sink->type,
                                               .dead_letters = true};
    TRY(flow_batch_new(&options, &flow->batches[0], err));
    return flow_batch_new(&options, &flow->batches[1], err);
}

static enum sorex_status flow_open(struct flow *flow, const struct flow_options *options, struct sorex_error *err)
{
    struct buf configs[PIPELINE_FILTERS_MAX] = {0};
    if (flow->settings->has_reducer) {
        TRY(fold_open(flow, err));
        limits_set(flow);
        return source_open(flow, options, err);
    }
    TRY(data_take(flow, err));
    enum sorex_status status = configs_make(flow->settings, configs, err);
    if (status == SOREX_OK)
        status = stages_load(flow, configs, err);
    for (size_t i = 0; i < PIPELINE_FILTERS_MAX; i++)
        buf_deinit(&configs[i]);
    TRY(status);
    TRY(workers_open(flow, err));
    TRY(sink_open(flow, err));
    TRY(source_open(flow, options, err));
    TRY(outlet_new(flow->sink, &flow->outlet, err));
    limits_set(flow);
    return batches_make(flow, err);
}

enum sorex_status flow_new(const struct pipeline_settings *settings, const struct flow_options *options, struct flow **out, struct sorex_error *err)
{
    struct flow *flow = calloc(1, sizeof *flow);
    if (flow == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    flow->settings = settings;
    flow->retry_base_ms = options->retry_base_ms != 0 ? options->retry_base_ms : RETRY_BASE_MS;
    flow->retry_max_ms = options->retry_max_ms != 0 ? options->retry_max_ms : RETRY_MAX_MS;
    struct breaker_options breaker = settings->sinks[0].breaker;
    breaker.retry_base_ms = (uint32_t)flow->retry_base_ms;
    breaker.retry_max_ms = (uint32_t)flow->retry_max_ms;
    breaker_init(&flow->breaker, &breaker, clock_ns());
    flow->state = "starting";
    flow->jitter = clock_ns();
    pthread_condattr_t monotonic;
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&flow->changed, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    CHECK(pthread_mutex_init(&flow->lock, NULL) == 0);
    enum sorex_status status = flow_open(flow, options, err);
    if (status != SOREX_OK) {
        flow_free(flow);
        return status;
    }
    *out = flow;
    return SOREX_OK;
}

void flow_free(struct flow *flow)
{
    if (flow == NULL)
        return;
    outlet_free(flow->outlet);
    flow_batch_free(flow->batches[0]);
    flow_batch_free(flow->batches[1]);
    pool_free(flow->pool);
    for (size_t i = 0; i < flow->worker_count; i++)
        stages_worker_close(flow->workers[i]);
    free(flow->workers);
    stages_free(flow->stages);
    /* The sink first: it may hold on to the source's group. */
    if (flow->sink != NULL)
        flow->sink->type->close(flow->sink);
    if (flow->source != NULL)
        flow->source->type->close(flow->source);
    fold_free(flow->fold);
    free(flow->places);
    sidecar_deinit(&flow->saved);
    free(flow->saved_path);
    if (flow->locked)
        lockfile_release(&flow->lockfile);
    (void)pthread_cond_destroy(&flow->changed);
    (void)pthread_mutex_destroy(&flow->lock);
    free(flow);
}
