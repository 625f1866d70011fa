/* The loop, on the thread that calls flow_run. It polls, has the batch filtered, then settles the batch before, which the outlet was
 * delivering meanwhile, and hands the new one over.
 *
 * Where things stand is the target's to say. After a failure that may pass, the target is asked how far it came: where it stood
 * before the batch, the batch is given again; behind it, it was applied; anywhere else somebody else delivers too, and the source
 * is placed anew. With a group (Kafka to Kafka) the source is always placed anew: the group's offsets say it. */
#include "pipeline/flow_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

#define REPORT_MS 10000    /* between two lines about how it goes */

/* ---- state ---- */

static void state_set(struct flow *flow, const char *state, const char *waiting_for)
{
    (void)pthread_mutex_lock(&flow->lock);
    flow->state = state;
    (void)snprintf(flow->waiting_for, sizeof flow->waiting_for, "%s", waiting_for);
    (void)pthread_mutex_unlock(&flow->lock);
}

static bool stopping(struct flow *flow)
{
    return atomic_load(&flow->stopping);
}

static void pause_for(struct flow *flow, uint64_t ms)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&flow->lock);
    while (!stopping(flow) && pthread_cond_timedwait(&flow->changed, &flow->lock, &at) != ETIMEDOUT)
        continue;
    (void)pthread_mutex_unlock(&flow->lock);
}

/* When to try again what failed, the sink (by its breaker) or the source. */
static uint64_t retry_in_ms(struct flow *flow)
{
    if (!flow->sink_trouble) {
        uint64_t wait_ms = backoff_ms(flow->attempts, flow->retry_base_ms, flow->retry_max_ms, &flow->jitter);
        flow->attempts += flow->attempts < UINT32_MAX;
        return wait_ms;
    }
    (void)pthread_mutex_lock(&flow->lock);
    uint64_t wait_ms = breaker_failed(&flow->breaker, clock_ms());
    (void)pthread_mutex_unlock(&flow->lock);
    return wait_ms;
}

/* After SOREX_AGAIN: says why, once, and waits, longer from time to time. */
static void retry_wait(struct flow *flow, const struct sorex_error *err)
{
    if (strcmp(flow->warned, err->text) != 0) {
        log_line(LOG_WARN, "stream", "%s; trying again", err->text);
        (void)snprintf(flow->warned, sizeof flow->warned, "%s", err->text);
    }
    uint64_t wait_ms = retry_in_ms(flow);
    state_set(flow, "waiting", err->text);
    pause_for(flow, wait_ms);
}

/* Whoever failed is there again. */
static void works(struct flow *flow)
{
    if (flow->warned[0] != '\0')
        log_line(LOG_INFO, "stream", "works again");
    flow->warned[0] = '\0';
}

static void sink_works(struct flow *flow)
{
    (void)pthread_mutex_lock(&flow->lock);
    breaker_succeeded(&flow->breaker);
    (void)pthread_mutex_unlock(&flow->lock);
    works(flow);
}

/* ---- positions ---- */

/* For a sink that commits it; else NULL. */
static void *group_of(const struct flow *flow)
{
    bool taken = flow->sink != NULL && flow->sink->type->takes_group && flow->source->type->group != NULL;
    return taken ? flow->source->type->group(flow->source) : NULL;
}

/* Says what the target holds, where the sink does not say it itself. */
static void delivered_tell(struct flow *flow, const char *partition, const struct position *to)
{
    if (flow->source->type->delivered != NULL && group_of(flow) == NULL)
        flow->source->type->delivered(flow->source, partition, to);
}

/* Where the target, or our own file, says that a partition stands. SOREX_GONE: nowhere. */
static enum sorex_status position_read(struct flow *flow, const char *partition, struct position *out, struct sorex_error *err)
{
    if (flow->fold != NULL)
        return fold_position(flow->fold, partition, out, err);
    const struct sink_type *type = flow->sink->type;
    if (type->position != NULL) {
        enum sorex_status status = type->position(flow->sink, partition, group_of(flow), out, err);
        flow->sink_trouble = status == SOREX_AGAIN;
        return status;
    }
    const struct sidecar_position *saved = sidecar_position_find(&flow->saved, partition);
    if (saved == NULL)
        return sorex_error_set(err, SOREX_GONE, "%s: no position", partition);
    *out = saved->at;
    return SOREX_OK;
}

static enum sorex_status positions_save(struct flow *flow, const struct sink_batch *batch, struct sorex_error *err)
{
    if (flow->sink->type->position != NULL)
        return SOREX_OK;
    for (size_t i = 0; i < batch->position_count; i++) {
        const struct sink_position *position = &batch->positions[i];
        struct sidecar_position *saved = sidecar_position_find(&flow->saved, position->partition);
        if (saved != NULL)
            saved->at = position->to;
        else
            TRY(sidecar_position_add(&flow->saved, bytes_str(position->partition), &position->to, err));
    }
    return sidecar_write(&flow->saved, err);
}

static const struct flow_place *place_find(const struct flow *flow, const char *name)
{
    for (size_t i = 0; i < flow->place_count; i++)
        if (strcmp(flow->places[i].name, name) == 0)
            return &flow->places[i];
    return NULL;
}

static enum sorex_status place_one(struct flow *flow, const struct event_partition *partition, bool anew, struct flow_place *out,
                                   struct sorex_error *err)
{
    const struct flow_place *known = place_find(flow, partition->name);
    if (partition->placed && !anew && known != NULL) {
        *out = *known;
        return SOREX_OK;
    }
    *out = (struct flow_place){.end = partition->end};
    size_t len = strlen(partition->name);
    CHECK(len < sizeof out->name);
    (void)memcpy(out->name, partition->name, len + 1);
    enum sorex_status status = position_read(flow, partition->name, &out->at, err);
    out->first = status == SOREX_GONE;
    if (status != SOREX_OK && status != SOREX_GONE)
        return status;
    TRY(flow->source->type->seek(flow->source, partition->name, out->first ? NULL : &out->at, err));
    if (!out->first) /* whoever delivered that may have died before it said so */
        delivered_tell(flow, partition->name, &out->at);
    return SOREX_OK;
}

/* Tells the source where to go on in its partitions: all of them anew, or those that are not placed. Nothing is on its way. */
static enum sorex_status places_make(struct flow *flow, const struct event_batch *input, bool all, struct sorex_error *err)
{
    size_t count = input->partition_count;
    if (flow->fold != NULL && count > 1)
        return sorex_error_set(err, SOREX_INVALID, "a reducer's messages have one order, and partitions have none among each other: "
                               "this source has %zu, %s and others", count, input->partitions[0].name);
    struct flow_place *places = calloc(count > 0 ? count : 1, sizeof *places);
    if (places == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu partitions", count);
    for (size_t i = 0; i < count; i++) {
        enum sorex_status status = place_one(flow, &input->partitions[i], all, &places[i], err);
        if (status != SOREX_OK) {
            free(places);
            return status;
        }
    }
    (void)pthread_mutex_lock(&flow->lock);
    struct flow_place *old = flow->places;
    flow->places = places;
    flow->place_count = count;
    (void)pthread_mutex_unlock(&flow->lock);
    free(old);
    flow->misplaced = false;
    return SOREX_OK;
}

/* ---- delivery ---- */

static void counts_add(struct flow *flow, const struct flow_counts *more)
{
    struct flow_counts *sum = &flow->summary.counts;
    (void)pthread_mutex_lock(&flow->lock);
    sum->in += more->in;
    sum->out += more->out;
    sum->filtered += more->filtered;
    sum->failed += more->failed;
    sum->bytes_in += more->bytes_in;
    sum->bytes_out += more->bytes_out;
    sum->work_ns += more->work_ns;
    flow->summary.batches++;
    uint64_t now_ms = clock_ms(), passed = now_ms - flow->rate_ms;
    if (passed >= 1000) {
        flow->rate = (double)(sum->in - flow->rate_in) * 1000 / (double)passed;
        flow->rate_ms = now_ms;
        flow->rate_in = sum->in;
    }
    (void)pthread_mutex_unlock(&flow->lock);
}

static void report(struct flow *flow, const struct sink_batch *batch, const struct flow_counts *counts)
{
    if (counts->failed > 0 && batch->dead_count > 0)
        log_line(LOG_WARN, "stream", "%" PRIu64 " events failed; the first: %s, record %" PRIu64 ": %s", counts->failed,
                 batch->dead[0].partition, batch->dead[0].number, batch->dead[0].error);
    uint64_t now_ms = clock_ms(), passed = now_ms - flow->reported_ms;
    if (passed < REPORT_MS)
        return;
    log_line(LOG_INFO, "stream", "%" PRIu64 " events delivered, %.0f a second", flow->summary.counts.in,
             (double)(flow->summary.counts.in - flow->reported_in) * 1000 / (double)passed);
    flow->reported_ms = now_ms;
    flow->reported_in = flow->summary.counts.in;
}

/* A batch is in the target. */
static enum sorex_status delivered(struct flow *flow, const struct flow_batch *done, struct sorex_error *err)
{
    const struct sink_batch *batch = flow_batch_result(done);
    TRY(positions_save(flow, batch, err));
    sink_works(flow);
    counts_add(flow, flow_batch_counts(done));
    report(flow, batch, flow_batch_counts(done));
    for (size_t i = 0; i < batch->position_count; i++)
        delivered_tell(flow, batch->positions[i].partition, &batch->positions[i].to);
    return SOREX_OK;
}

enum where { STANDS_BEFORE, STANDS_BEHIND, STANDS_ELSEWHERE };

/* Where the target stands, seen from a batch whose outcome is not known. */
static enum sorex_status stand(struct flow *flow, const struct sink_batch *batch, enum where *out, struct sorex_error *err)
{
    size_t before = 0, behind = 0;
    *out = STANDS_ELSEWHERE;
    if (batch->group != NULL)
        return SOREX_OK;
    if (flow->sink->type->position == NULL)
        *out = STANDS_BEFORE;
    for (size_t i = 0; flow->sink->type->position != NULL && i < batch->position_count; i++) {
        const struct sink_position *position = &batch->positions[i];
        struct position at = {0};
        enum sorex_status status = position_read(flow, position->partition, &at, err);
        if (status != SOREX_OK && status != SOREX_GONE)
            return status;
        bool none = status == SOREX_GONE;
        before += none ? position->first : !position->first && position_equal(&at, &position->from);
        behind += !none && position_equal(&at, &position->to);
    }
    if (flow->sink->type->position != NULL)
        *out = behind == batch->position_count   ? STANDS_BEHIND
               : before == batch->position_count ? STANDS_BEFORE
                                                 : STANDS_ELSEWHERE;
    return SOREX_OK;
}

/* The sink said SOREX_AGAIN: tries until the batch is in the target, or not ours any more. */
static enum sorex_status deliver_again(struct flow *flow, const struct flow_batch *made, struct sorex_error *err)
{
    const struct sink_batch *batch = flow_batch_result(made);
    enum sorex_status status = SOREX_AGAIN;
    while (status == SOREX_AGAIN) {
        enum where where;
        flow->sink_trouble = true;
        retry_wait(flow, err);
        if (stopping(flow))
            return sorex_error_set(err, SOREX_STOPPED, "stopped while the sink was waited for");
        status = stand(flow, batch, &where, err);
        if (status != SOREX_OK)
            continue;
        if (where == STANDS_BEHIND)
            return delivered(flow, made, err);
        flow->misplaced = where == STANDS_ELSEWHERE;
        if (flow->misplaced)
            return SOREX_OK;
        outlet_submit(flow->outlet, batch);
        status = outlet_wait(flow->outlet, err);
        if (status == SOREX_OK)
            return delivered(flow, made, err);
    }
    return status;
}

/* Waits for the batch that is on its way. Afterwards flow->misplaced says whether what was read since counts. */
static enum sorex_status settle(struct flow *flow, struct sorex_error *err)
{
    if (!flow->delivering)
        return SOREX_OK;
    const struct flow_batch *made = flow->batches[!flow->current];
    flow->delivering = false;
    enum sorex_status status = outlet_wait(flow->outlet, err);
    if (status == SOREX_OK)
        return delivered(flow, made, err);
    if (status == SOREX_AGAIN)
        status = deliver_again(flow, made, err);
    return status;
}

/* ---- the loop ---- */

static void batch_submit(struct flow *flow)
{
    struct flow_batch *made = flow->batches[flow->current];
    if (flow_batch_result(made)->position_count == 0)
        return;
    outlet_submit(flow->outlet, flow_batch_result(made));
    flow->delivering = true;
    flow->current = !flow->current;
}

/* The reducer's database is as far as its place says, whatever was read. Both are shown when they are saved: who sees
 * them may ask the database. */
static enum sorex_status folded(struct flow *flow, const struct event_partition *partition, struct sorex_error *err)
{
    struct position at;
    TRY(fold_save(flow->fold, err));
    TRY(fold_position(flow->fold, partition->name, &at, err));
    (void)pthread_mutex_lock(&flow->lock);
    flow->places[0].at = at;
    flow->places[0].end = partition->end;
    fold_figures(flow->fold, &flow->derived);
    (void)pthread_mutex_unlock(&flow->lock);
    works(flow);
    delivered_tell(flow, partition->name, &at);
    return SOREX_OK;
}

/* Records become messages, one after the other; a stop is heeded between them. */
static enum sorex_status batch_fold(struct flow *flow, const struct event_batch *input, struct sorex_error *err)
{
    const struct event_partition *partition = &input->partitions[0];
    struct flow_counts counts = {0};
    enum sorex_status status = SOREX_OK;
    struct deriver_status before, now;
    uint64_t began = clock_ns();
    fold_figures(flow->fold, &before);
    for (size_t i = 0; i < input->count && status == SOREX_OK && !flow->misplaced && !stopping(flow); i++) {
        const struct event_record *record = &input->records[i];
        status = fold_apply(flow->fold, partition->name, record, &flow->misplaced, err);
        counts.in += status == SOREX_OK;
        counts.bytes_in += record->text.len;
    }
    counts.work_ns = clock_ns() - began;
    if (flow->misplaced) /* the messages since the last save come again */
        return SOREX_OK;
    fold_figures(flow->fold, &now);
    counts.failed = now.rejected - before.rejected;
    counts.out = counts.in - counts.failed;
    counts_add(flow, &counts);
    return status == SOREX_OK ? folded(flow, partition, err) : status;
}

/* A batch that a failing event ended is delivered up to there, then that event's error is the stream's. */
static enum sorex_status batch_make(struct flow *flow, const struct event_batch *input, struct sorex_error *err)
{
    struct flow_batch *batch = flow->batches[flow->current];
    struct sorex_error halted = {0};
    enum sorex_status made = flow_batch_run(batch, input, group_of(flow), &halted);
    (void)pthread_mutex_lock(&flow->lock);
    flow_batch_place(batch, input, flow->places);
    (void)pthread_mutex_unlock(&flow->lock);
    TRY(settle(flow, err));
    if (flow->misplaced)
        return SOREX_OK;
    batch_submit(flow);
    if (made != SOREX_OK) {
        TRY(settle(flow, err));
        if (flow->misplaced)
            return SOREX_OK; /* it is met again */
        *err = halted;
    }
    return made;
}

static bool all_placed(const struct event_batch *input)
{
    for (size_t i = 0; i < input->partition_count; i++)
        if (!input->partitions[i].placed)
            return false;
    return true;
}

static enum sorex_status turn(struct flow *flow, bool *out_ended, struct sorex_error *err)
{
    struct event_batch input = {0};
    flow->sink_trouble = false;
    TRY(flow->source->type->poll(flow->source, &flow->limits, &input, err));
    flow->attempts = 0;
    if (input.assigned || flow->misplaced || !all_placed(&input)) {
        TRY(settle(flow, err));
        bool forget = flow->misplaced;
        flow->misplaced = true; /* unless it succeeds: what was polled is lost then */
        TRY(places_make(flow, &input, forget, err));
        if (forget)
            return SOREX_OK;
    }
    if (input.count > 0) {
        state_set(flow, "running", "");
        return flow->fold != NULL ? batch_fold(flow, &input, err) : batch_make(flow, &input, err);
    }
    if (!flow->delivering || !outlet_busy(flow->outlet)) {
        TRY(settle(flow, err));
        works(flow);
        if (!flow->misplaced)
            state_set(flow, "idle", input.caught_up ? "events" : "");
    }
    *out_ended = input.ended && !flow->delivering && !flow->misplaced;
    return SOREX_OK;
}

static enum sorex_status loop(struct flow *flow, struct sorex_error *err)
{
    bool ended = false;
    while (!ended && !stopping(flow)) {
        enum sorex_status status = turn(flow, &ended, err);
        if (status == SOREX_AGAIN)
            retry_wait(flow, err);
        else if (status == SOREX_STOPPED && stopping(flow))
            break;
        else if (status == SOREX_GONE && flow->fold != NULL)
            return sorex_error_prefix(err, "a reducer needs every message of its log");
        else
            TRY(status);
    }
    TRY(settle(flow, err));
    return ended ? SOREX_OK : sorex_error_set(err, SOREX_STOPPED, "stopped");
}

enum sorex_status flow_run(struct flow *flow, struct flow_summary *out, struct sorex_error *err)
{
    flow->began_ns = clock_ns();
    (void)pthread_mutex_lock(&flow->lock);
    flow->reported_ms = flow->rate_ms = clock_ms();
    (void)pthread_mutex_unlock(&flow->lock);
    enum sorex_status status = loop(flow, err);
    if (status != SOREX_OK && status != SOREX_STOPPED) {
        struct sorex_error ignored;
        (void)settle(flow, &ignored); /* what was made before goes out */
        state_set(flow, "failed", err->text);
    } else
        state_set(flow, "stopped", "");
    (void)pthread_mutex_lock(&flow->lock);
    flow->summary.run_ns = clock_ns() - flow->began_ns;
    *out = flow->summary;
    (void)pthread_mutex_unlock(&flow->lock);
    return status;
}

void flow_stop(struct flow *flow)
{
    atomic_store(&flow->stopping, true);
    (void)pthread_mutex_lock(&flow->lock);
    (void)pthread_cond_broadcast(&flow->changed);
    (void)pthread_mutex_unlock(&flow->lock);
    if (flow->source->type->interrupt != NULL)
        flow->source->type->interrupt(flow->source);
}
