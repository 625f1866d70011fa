/* The threads beside the loop: a runner for each sink, and the reducer's. */
#include "pipeline/runners.h"

#include "base/check.h"
#include "base/log.h"

#define DRAIN_SLICE_MS 100u

/* NULL: changes go as they are in the outbox, which a second writing of them would not be. */
static const struct envelope *sink_envelope(const struct sink_settings *settings)
{
    return settings->envelope == envelope_find("change") ? NULL : settings->envelope;
}

uint64_t pipeline_guest_inverse(const struct pipeline *p)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < p->settings->transform_count; i++)
        if (p->settings->transforms[i].inverse == INVERSE_GUEST)
            bits |= (uint64_t)1 << p->transforms[i].stored.id;
    return bits;
}

enum sorex_status runners_start(struct pipeline *p, struct sorex_error *err)
{
    for (size_t i = 0; i < p->sink_count; i++) {
        struct sink_runner_options options = {.name = p->settings->sinks[i].name,
                                              .finality = p->settings->sinks[i].finality,
                                              .breaker = p->settings->sinks[i].breaker,
                                              .envelope = sink_envelope(&p->settings->sinks[i]),
                                              .guest_inverse = pipeline_guest_inverse(p)};
        struct sink_runner *runner = NULL;
        if (sink_runner_start(p->sinks[i].sink, p->store, &options, &runner, err) != SOREX_OK)
            return sorex_error_prefix(err, "sink %s", p->settings->sinks[i].name);
        pthread_mutex_lock(&p->lock);
        p->sinks[i].runner = runner;
        pthread_mutex_unlock(&p->lock);
    }
    return p->deriver != NULL ? deriver_start(p->deriver, err) : SOREX_OK;
}

void runners_stop(struct pipeline *p)
{
    if (p->deriver != NULL)
        deriver_stop(p->deriver);
    for (size_t i = 0; i < p->sink_count; i++) {
        pthread_mutex_lock(&p->lock); /* status does not see a runner that is going away */
        struct sink_runner *runner = p->sinks[i].runner;
        p->sinks[i].runner = NULL;
        pthread_mutex_unlock(&p->lock);
        if (runner != NULL)
            sink_runner_stop(runner);
    }
}

void runners_tip(struct pipeline *p)
{
    struct store_heights heights;
    store_heights(p->store, &heights);
    for (size_t i = 0; i < p->sink_count; i++)
        if (p->sinks[i].runner != NULL && heights.durable != SOREX_HEIGHT_NONE)
            sink_runner_tip(p->sinks[i].runner, heights.durable);
    if (p->deriver != NULL)
        deriver_look(p->deriver);
}

enum sorex_status runners_failure(struct pipeline *p, struct sorex_error *err)
{
    for (size_t i = 0; i < p->sink_count; i++) {
        struct sink_status status;
        sink_runner_status(p->sinks[i].runner, &status);
        if (status.state == SINK_FAILED)
            return sorex_error_set(err, SOREX_IO, "sink %s: %s", p->settings->sinks[i].name, status.why);
    }
    return SOREX_OK;
}

/* ---- the end of a run ---- */

/* A sink that waits for confirmations is not at the tip when a run ends. */
static void finality_log(const struct pipeline *p)
{
    struct store_heights heights;
    store_heights(p->store, &heights);
    for (size_t i = 0; i < p->sink_count; i++) {
        uint32_t finality = p->settings->sinks[i].finality;
        if (finality == 0 || heights.durable == SOREX_HEIGHT_NONE)
            continue;
        if (heights.durable >= finality)
            log_line(LOG_INFO, "pipeline", "sink %s has what is final (finality: %u), to height %u", p->settings->sinks[i].name,
                     finality, heights.durable - finality);
        else
            log_line(LOG_INFO, "pipeline", "sink %s has nothing yet: no entry is final (finality: %u)", p->settings->sinks[i].name,
                     finality);
    }
}

/* What the end waits for is seen too: how far a sink or the reducer is. from: where it was when the waiting began. */
static void drain_begin(struct progress *progress, uint32_t from)
{
    progress_start(progress);
    progress->mark_entries = from == SOREX_HEIGHT_NONE ? 0 : from;
}

static void drain_show(struct pipeline *p, struct progress *progress, uint32_t height)
{
    struct store_heights heights;
    uint64_t entries = height == SOREX_HEIGHT_NONE ? 0 : height;
    store_heights(p->store, &heights);
    if (entries < progress->mark_entries) /* it went back */
        drain_begin(progress, height);
    progress_update(progress, entries, height, heights.durable);
}

static enum sorex_status sink_drain(struct pipeline *p, size_t at, struct sorex_error *err)
{
    struct sink_status status;
    struct progress progress;
    bool drained;
    sink_runner_status(p->sinks[at].runner, &status);
    drain_begin(&progress, status.height);
    do {
        sink_runner_drain(p->sinks[at].runner, DRAIN_SLICE_MS, &drained);
        sink_runner_status(p->sinks[at].runner, &status);
        if (status.state == SINK_FAILED)
            return SOREX_OK; /* runners_failure tells */
        if (!drained && atomic_load(&p->stopping))
            return sorex_error_set(err, SOREX_STOPPED, "stopped while sink %s had %llu records to take",
                                   p->settings->sinks[at].name, (unsigned long long)(status.head - status.sequence));
        drain_show(p, &progress, status.height);
    } while (!drained);
    return SOREX_OK;
}

static enum sorex_status reducer_drain(struct pipeline *p, struct sorex_error *err)
{
    struct deriver_status status;
    struct progress progress;
    bool drained;
    deriver_status(p->deriver, &status);
    drain_begin(&progress, status.height);
    do {
        deriver_drain(p->deriver, DRAIN_SLICE_MS, &drained);
        TRY(deriver_failure(p->deriver, err));
        if (!drained && atomic_load(&p->stopping))
            return sorex_error_set(err, SOREX_STOPPED, "stopped while reducer %s had blocks to derive", p->settings->reducer.name);
        deriver_status(p->deriver, &status);
        drain_show(p, &progress, status.height);
    } while (!drained);
    return SOREX_OK;
}

enum sorex_status runners_drain(struct pipeline *p, struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    runners_tip(p);
    pipeline_state(p, "draining", "sinks to take what is in the outbox");
    for (size_t i = 0; i < p->sink_count; i++)
        status = status == SOREX_OK ? sink_drain(p, i, err) : status;
    if (status == SOREX_OK && p->deriver != NULL) {
        pipeline_state(p, "draining", "the reducer to derive what is durable");
        status = reducer_drain(p, err);
    }
    progress_end();
    finality_log(p);
    return status == SOREX_OK ? runners_failure(p, err) : status;
}
