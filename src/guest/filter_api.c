/* The public library: include/sorex/filter.h over filter.h. A struct sorex_filter is a struct filter. */
#include "sorex/filter.h"

#include <stdlib.h>

#include "base/check.h"
#include "guest/filter.h"

struct sorex_filter_instance {
    struct filter_instance *instance;
    struct json_parser *parser;
    struct arena arena; /* of the event in hand */
    struct event event; /* the input: an output may point to what it points to */
};

static struct filter *inner(struct sorex_filter *filter) { return (struct filter *)filter; }

enum sorex_status sorex_filter_load(const void *wasm, size_t wasm_len, const struct sorex_filter_options *options,
                                    struct sorex_filter **out_filter, struct sorex_error *err)
{
    static const struct sorex_filter_options defaults;
    const struct sorex_filter_options *o = options != NULL ? options : &defaults;
    const struct filter_options own = {.name = o->name,
                                       .memory_bytes_max = o->memory_bytes_max,
                                       .timeout_ms = o->timeout_ms,
                                       .memory = o->fresh ? FILTER_MEMORY_FRESH : FILTER_MEMORY_KEPT,
                                       .config = o->config_json != NULL ? bytes_str(o->config_json) : (struct bytes){0},
                                       .cache_dir = o->cache_dir};
    struct filter *filter;
    TRY(filter_new(bytes_of(wasm, wasm_len), &own, &filter, err));
    *out_filter = (struct sorex_filter *)filter;
    return SOREX_OK;
}

void sorex_filter_free(struct sorex_filter *filter) { filter_free(inner(filter)); }

unsigned sorex_filter_version(const struct sorex_filter *filter)
{
    return filter_version((const struct filter *)filter);
}

enum sorex_status sorex_filter_open(struct sorex_filter *filter, struct sorex_filter_instance **out_instance,
                                    struct sorex_error *err)
{
    struct sorex_filter_instance *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for an instance");
    arena_init(&self->arena, 0);
    enum sorex_status status = json_parser_new(&self->parser, err);
    if (status == SOREX_OK)
        status = filter_instance_open(inner(filter), &self->instance, err);
    if (status != SOREX_OK) {
        sorex_filter_close(self);
        return status;
    }
    *out_instance = self;
    return SOREX_OK;
}

void sorex_filter_close(struct sorex_filter_instance *self)
{
    if (self == NULL)
        return;
    filter_instance_close(self->instance);
    json_parser_free(self->parser);
    arena_deinit(&self->arena);
    free(self);
}

enum sorex_status sorex_filter_transform(struct sorex_filter_instance *self, const void *event, size_t event_len,
                                         enum sorex_filter_outcome *out_outcome, const char **out_event,
                                         size_t *out_event_len, struct sorex_error *err)
{
    static const enum sorex_filter_outcome outcomes[] = {[FILTER_PASSED] = SOREX_FILTER_PASSED,
                                                         [FILTER_CHANGED] = SOREX_FILTER_CHANGED,
                                                         [FILTER_FILTERED] = SOREX_FILTER_FILTERED};
    enum filter_outcome outcome;
    const struct event *output;
    arena_reset(&self->arena);
    struct bytes text = arena_copy(&self->arena, bytes_of(event, event_len)); /* which the output may point to */
    if (text.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for an event");
    TRY(event_parse(self->parser, text, &self->arena, &self->event, err));
    TRY(event_validate(&self->event, err));
    TRY(event_text_make(&self->event, &self->arena, err));
    TRY(filter_instance_transform(self->instance, &self->event, &outcome, &output, err));
    *out_outcome = outcomes[outcome];
    *out_event = output != NULL ? (const char *)output->text.data : NULL;
    *out_event_len = output != NULL ? output->text.len : 0;
    return SOREX_OK;
}

/* What fn of the caller's and user_data are while filter_metrics runs. */
struct metric_call {
    sorex_filter_metric_fn *fn;
    void *user_data;
};

static void metric_give(struct bytes name, int64_t value, void *user_data)
{
    const struct metric_call *call = user_data;
    call->fn((const char *)name.data, name.len, value, call->user_data);
}

void sorex_filter_metrics(struct sorex_filter *filter, sorex_filter_metric_fn *fn, void *user_data)
{
    struct metric_call call = {fn, user_data};
    filter_metrics(inner(filter), metric_give, &call);
}
