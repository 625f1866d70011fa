#include <string.h>

#include "base/clock.h"
#include "pipeline/flow_private.h"
#include "pipeline/status.h"

static void counts_members(const struct flow_summary *summary, struct json_writer *w)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {{"in", summary->counts.in},
                   {"out", summary->counts.out},
                   {"filtered", summary->counts.filtered},
                   {"failed", summary->counts.failed},
                   {"bytes_in", summary->counts.bytes_in},
                   {"bytes_out", summary->counts.bytes_out},
                   {"batches", summary->batches}};
    json_object_begin(w);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        json_name(w, members[i].name);
        json_uint(w, members[i].value);
    }
    json_object_end(w);
}

static void place_member(const struct flow_place *place, struct json_writer *w)
{
    json_object_begin(w);
    json_name(w, "name");
    json_string_z(w, place->name);
    json_name(w, "offset");
    if (place->first)
        json_null(w);
    else
        json_uint(w, place->at.offset);
    json_name(w, "number");
    json_uint(w, place->at.number);
    json_name(w, "behind");
    if (place->end == 0)
        json_null(w);
    else
        json_uint(w, place->end > place->at.offset ? place->end - place->at.offset : 0);
    json_object_end(w);
}

/* As a chain's sinks (status.c), as far as a stream has the same. The lock is held. */
static void sink_member(const struct flow *flow, struct json_writer *w)
{
    uint64_t now_ms = clock_ms();
    bool failing = flow->breaker.failures > 0;
    const char *state = failing && strcmp(flow->state, "waiting") == 0 ? "retrying" : flow->state;
    json_object_begin(w);
    json_name(w, "name");
    json_string_z(w, flow->settings->sinks[0].name);
    json_name(w, "type");
    json_string_z(w, flow->settings->sinks[0].type->name);
    json_name(w, "state");
    json_string_z(w, state);
    json_name(w, "changes");
    json_uint(w, flow->summary.counts.out);
    json_name(w, "attempts");
    json_uint(w, flow->breaker.failures);
    json_name(w, "retry_in_ms");
    json_uint(w, breaker_wait_ms(&flow->breaker, now_ms));
    json_name(w, "breaker");
    json_string_z(w, breaker_state_name(breaker_state_at(&flow->breaker, now_ms)));
    json_name(w, "why");
    json_string_z(w, failing ? flow->waiting_for : "");
    json_object_end(w);
}

enum sorex_status flow_status(struct flow *flow, struct json_writer *w, struct sorex_error *err)
{
    (void)err;
    (void)pthread_mutex_lock(&flow->lock);
    json_object_begin(w);
    json_name(w, "pipeline");
    json_string_z(w, flow->settings->top.name);
    json_name(w, "kind");
    json_string_z(w, "stream");
    json_name(w, "state");
    json_string_z(w, flow->state);
    json_name(w, "waiting_for");
    json_string_z(w, flow->waiting_for);
    json_name(w, "events");
    counts_members(&flow->summary, w);
    json_name(w, "events_per_second");
    json_double(w, clock_ms() - flow->rate_ms < 3000 ? flow->rate : 0);
    json_name(w, "source");
    json_string_z(w, flow->settings->event_source_type->name);
    json_name(w, "partitions");
    json_array_begin(w);
    for (size_t i = 0; i < flow->place_count; i++)
        place_member(&flow->places[i], w);
    json_array_end(w);
    json_name(w, "sinks");
    json_array_begin(w);
    if (flow->fold == NULL)
        sink_member(flow, w);
    json_array_end(w);
    if (flow->fold != NULL)
        status_reducer(flow->settings->reducer.name, flow->state, &flow->derived, w);
    (void)pthread_mutex_unlock(&flow->lock);
    if (flow->fold == NULL) {
        json_name(w, "filters");
        stages_status(flow->stages, w);
    }
    json_object_end(w);
    return w->status;
}
