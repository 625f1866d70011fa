/* `sorex status`: what is it doing, and why is it waiting. */
#include "pipeline/pipeline_private.h"

#include <stdio.h>
#include <string.h>

#include "pipeline/status.h"

static void height_member(struct json_writer *w, const char *name, uint32_t height)
{
    json_name(w, name);
    if (height == SOREX_HEIGHT_NONE)
        json_null(w);
    else
        json_uint(w, height);
}

void status_store(struct store *store, uint32_t source_tip, struct json_writer *w)
{
    struct store_heights heights;
    struct store_figures figures;
    store_heights(store, &heights);
    store_figures(store, &figures);
    json_name(w, "heights");
    json_object_begin(w);
    height_member(w, "tip", heights.tip);
    height_member(w, "durable", heights.durable);
    height_member(w, "horizon", heights.horizon);
    height_member(w, "first", heights.first);
    height_member(w, "source", source_tip);
    json_name(w, "lag");
    if (source_tip == SOREX_HEIGHT_NONE)
        json_null(w);
    else
        json_uint(w, heights.tip == SOREX_HEIGHT_NONE ? (uint64_t)source_tip + 1
                     : source_tip > heights.tip       ? source_tip - heights.tip
                                                      : 0);
    json_object_end(w);
    uint64_t first, head;
    store_outbox_range(store, &first, &head);
    json_name(w, "outbox");
    json_object_begin(w);
    json_name(w, "first");
    json_uint(w, first);
    json_name(w, "head");
    json_uint(w, head);
    json_name(w, "waiting_bytes");
    json_uint(w, store_outbox_bytes(store));
    json_object_end(w);
    json_name(w, "disk_bytes");
    json_uint(w, figures.disk_bytes);
}

struct cursors {
    struct json_writer *w;
    uint64_t head;
};

static void cursor_member(void *user_data, const char *sink, uint64_t sequence)
{
    const struct cursors *cursors = user_data;
    struct json_writer *w = cursors->w;
    json_object_begin(w);
    json_name(w, "name");
    json_string_z(w, sink);
    json_name(w, "state");
    json_string_z(w, sink_state_name(SINK_STOPPED));
    json_name(w, "sequence");
    json_uint(w, sequence);
    json_name(w, "behind");
    json_uint(w, cursors->head > sequence ? cursors->head - sequence : 0);
    json_object_end(w);
}

void status_cursors(struct store *store, struct json_writer *w)
{
    struct cursors cursors = {.w = w};
    uint64_t first;
    store_outbox_range(store, &first, &cursors.head);
    json_name(w, "sinks");
    json_array_begin(w);
    store_cursors(store, cursor_member, &cursors);
    json_array_end(w);
}

static void sink_member(const struct sink_settings *settings, const struct sink_status *status, struct json_writer *w)
{
    json_object_begin(w);
    json_name(w, "name");
    json_string_z(w, settings->name);
    json_name(w, "type");
    json_string_z(w, settings->type->name);
    json_name(w, "state");
    json_string_z(w, sink_state_name(status->state));
    json_name(w, "sequence");
    json_uint(w, status->sequence);
    json_name(w, "behind");
    json_uint(w, status->head > status->sequence ? status->head - status->sequence : 0);
    height_member(w, "height", status->height);
    json_name(w, "changes");
    json_uint(w, status->changes);
    json_name(w, "attempts");
    json_uint(w, status->attempts);
    json_name(w, "retry_in_ms");
    json_uint(w, status->retry_in_ms);
    json_name(w, "breaker");
    json_string_z(w, breaker_state_name(status->breaker));
    char held[64];
    (void)snprintf(held, sizeof held, "held back until they are final (finality: %u)", settings->finality);
    bool holds = settings->finality != 0 && status->state == SINK_IDLE && status->head > status->sequence;
    json_name(w, "why");
    json_string_z(w, holds ? held : status->why);
    json_object_end(w);
}

void status_reducer(const char *name, const char *state, const struct deriver_status *figures, struct json_writer *w)
{
    json_name(w, "reducer");
    json_object_begin(w);
    json_name(w, "name");
    json_string_z(w, name);
    json_name(w, "state");
    json_string_z(w, state);
    height_member(w, "height", figures->height);
    json_name(w, "messages");
    json_uint(w, figures->messages);
    json_name(w, "rejected");
    json_uint(w, figures->rejected);
    json_name(w, "undone");
    json_uint(w, figures->undone);
    json_name(w, "key");
    json_hex(w, bytes_of(figures->key, SHA256_BYTES));
    json_name(w, "trace");
    json_hex(w, bytes_of(figures->trace, SHA256_BYTES));
    json_name(w, "why");
    json_string_z(w, figures->why);
    json_object_end(w);
}

void status_reducer_stopped(struct store *store, const char *name, bool stream, struct json_writer *w)
{
    struct chained *chained = NULL;
    struct deriver_status figures = {.height = SOREX_HEIGHT_NONE};
    struct sorex_error err = {0};
    enum sorex_status status = chained_open_note(store, name, &chained, &err);
    if (status == SOREX_OK)
        deriver_figures(chained, &figures);
    else if (status != SOREX_GONE)
        (void)snprintf(figures.why, sizeof figures.why, "%s", err.text);
    if (stream)
        figures.height = SOREX_HEIGHT_NONE;
    status_reducer(name, sink_state_name(SINK_STOPPED), &figures, w);
    chained_close(chained);
}

/* Of a sink that has no runner (yet, or any more): as far as the store knows. */
static void sink_stopped(struct store *store, const char *name, struct sink_status *out)
{
    uint64_t first;
    uint8_t hash[HASH_BYTES];
    *out = (struct sink_status){.state = SINK_STOPPED, .height = SOREX_HEIGHT_NONE};
    (void)store_cursor_get(store, name, &out->sequence, hash, NULL);
    store_outbox_range(store, &first, &out->head);
}

/* Until the source's tip, if it goes on like this. The lock is held. */
static void eta_member(const struct pipeline *p, double rate, struct json_writer *w)
{
    struct store_heights heights;
    store_heights(p->store, &heights);
    uint32_t next = heights.tip == SOREX_HEIGHT_NONE ? p->settings->top.start_height : heights.tip + 1;
    json_name(w, "eta_seconds");
    if (rate > 0 && p->source_tip != SOREX_HEIGHT_NONE)
        json_uint(w, p->source_tip < next ? 0 : (uint64_t)((double)(p->source_tip - next) / rate) + 1);
    else
        json_null(w);
}

/* Since the start. */
static void summary_members(const struct pipeline_summary *summary, struct json_writer *w)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {{"entries", summary->entries},
                   {"undone", summary->undone},
                   {"changes", summary->changes},
                   {"fuel", summary->fuel},
                   {"guest_ns", summary->guest_ns},
                   {"commit_ns", summary->commit_ns},
                   {"wait_ns", summary->wait_ns}};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        json_name(w, members[i].name);
        json_uint(w, members[i].value);
    }
}

enum sorex_status pipeline_status(struct pipeline *p, struct json_writer *w, struct sorex_error *err)
{
    (void)err;
    json_name(w, "pipeline");
    json_string_z(w, p->settings->top.name);
    pthread_mutex_lock(&p->lock);
    json_name(w, "state");
    json_string_z(w, p->state);
    json_name(w, "waiting_for");
    json_string_z(w, p->waiting_for);
    summary_members(&p->shown, w);
    double rate = strcmp(p->state, "indexing") == 0 ? p->rate : 0;
    json_name(w, "entries_per_second");
    json_double(w, rate);
    eta_member(p, rate, w);
    status_store(p->store, p->source_tip, w);
    json_name(w, "sinks");
    json_array_begin(w);
    for (size_t i = 0; i < p->sink_count; i++) {
        struct sink_status status;
        if (p->sinks[i].runner != NULL)
            sink_runner_status(p->sinks[i].runner, &status);
        else
            sink_stopped(p->store, p->settings->sinks[i].name, &status);
        sink_member(&p->settings->sinks[i], &status, w);
    }
    json_array_end(w);
    pthread_mutex_unlock(&p->lock);
    if (p->deriver != NULL) {
        struct deriver_status status;
        deriver_status(p->deriver, &status);
        status_reducer(p->settings->reducer.name, sink_state_name(status.state), &status, w);
    }
    if (p->filters.count != 0) {
        json_name(w, "filters");
        filters_status(&p->filters, w);
    }
    return w->status;
}
