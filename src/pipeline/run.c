/* The loop: one event of the chain after the other, on the thread that owns the store's writer. */
#include "pipeline/pipeline_private.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "pipeline/runners.h"

#define LOOP_WAIT_MS 200u
#define OUTBOX_WAIT_MS 50u

void pipeline_state(struct pipeline *p, const char *state, const char *waiting_for)
{
    pthread_mutex_lock(&p->lock);
    p->state = state;
    (void)snprintf(p->waiting_for, sizeof p->waiting_for, "%s", waiting_for);
    pthread_mutex_unlock(&p->lock);
}

static enum sorex_status own_hash(void *user_data, uint32_t height, uint8_t out_hash[HASH_BYTES], struct sorex_error *err)
{
    struct pipeline *p = user_data;
    struct entry entry;
    TRY(store_entry(p->store, height, &entry, err));
    memcpy(out_hash, entry.hash, HASH_BYTES);
    return SOREX_OK;
}

static void chain_replace(struct pipeline *p, struct chain *chain)
{
    pthread_mutex_lock(&p->lock);
    struct chain *old = p->chain;
    p->chain = chain;
    pthread_mutex_unlock(&p->lock);
    if (old != NULL)
        chain_free(old);
}

/* The hash at height 0 that the store was written with; *out_known is false until a source has told it. */
static enum sorex_status network_known(struct pipeline *p, uint8_t out_hash[HASH_BYTES], bool *out_known, struct sorex_error *err)
{
    struct buf text = {0};
    enum sorex_status status = store_network(p->store, &text, err);
    *out_known = status == SOREX_OK && text.len != 0;
    if (*out_known)
        status = hash_parse_display(buf_view(&text), out_hash, err);
    buf_deinit(&text);
    return status;
}

/* Before the first entry of a new store, or of one that was written before this was kept. */
static enum sorex_status network_keep(struct pipeline *p, struct sorex_error *err)
{
    uint8_t network[HASH_BYTES];
    char text[HASH_HEX_SIZE];
    if (p->network_kept || !chain_network(p->chain, network))
        return SOREX_OK;
    hash_display(network, text);
    TRY(store_network_set(p->store, text, err));
    p->network_kept = true;
    return SOREX_OK;
}

/* Follows the source from the store's tip on. */
static enum sorex_status chain_start(struct pipeline *p, struct sorex_error *err)
{
    const struct pipeline_scalars *top = &p->settings->top;
    struct chain_options options = {.start_height = top->start_height,
                                    .read_ahead = top->read_ahead,
                                    .fetch_threads = top->fetch_threads,
                                    .poll_ms = top->poll_ms,
                                    .seed = clock_ns(),
                                    .own_hash = own_hash,
                                    .user_data = p};
    struct store_heights heights;
    struct entry tip = {.height = SOREX_HEIGHT_NONE};
    store_heights(p->store, &heights);
    if (heights.tip != SOREX_HEIGHT_NONE)
        TRY(store_entry(p->store, heights.tip, &tip, err));
    uint8_t network[HASH_BYTES];
    TRY(network_known(p, network, &p->network_kept, err));
    options.network = p->network_kept ? network : NULL;
    struct chain *chain = NULL;
    chain_replace(p, NULL);
    TRY(chain_new(p->source, &options, heights.tip, tip.hash, &chain, err));
    chain_replace(p, chain);
    return SOREX_OK;
}

/* Serves a rollback that another thread asked for. */
static enum sorex_status request_serve(struct pipeline *p, struct sorex_error *err)
{
    pthread_mutex_lock(&p->lock);
    struct pipeline_request *request = p->request;
    pthread_mutex_unlock(&p->lock);
    if (request == NULL)
        return SOREX_OK;
    pipeline_state(p, "undoing", "");
    log_line(LOG_INFO, "pipeline", "rolling back to height %u, as asked", request->height);
    request->status = pipeline_undo_to(p, request->height, &request->undone, &request->err);
    p->summary.undone += request->undone;
    enum sorex_status status = chain_start(p, err);
    pthread_mutex_lock(&p->lock);
    request->done = true;
    p->request = NULL;
    (void)pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return status;
}

/* True when the outbox has room; otherwise waits a little and says for whom. */
static bool outbox_has_room(struct pipeline *p)
{
    if (p->sink_count == 0 || store_outbox_bytes(p->store) <= p->settings->top.outbox_max)
        return true;
    char text[SOREX_ERROR_TEXT_MAX] = "the sinks: the outbox is full";
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < p->sink_count; i++) {
        struct sink_status status;
        sink_runner_status(p->sinks[i].runner, &status);
        if (status.sequence < least) {
            least = status.sequence;
            (void)snprintf(text, sizeof text, "sink %s (%s): the outbox is full%s%.800s", p->settings->sinks[i].name,
                           sink_state_name(status.state), status.why[0] != '\0' ? ": " : "", status.why);
        }
    }
    pipeline_state(p, "waiting", text);
    uint64_t at_ms = clock_ms() + OUTBOX_WAIT_MS;
    struct timespec until = {.tv_sec = (time_t)(at_ms / 1000), .tv_nsec = (long)(at_ms % 1000) * 1000000};
    pthread_mutex_lock(&p->lock);
    if (!atomic_load(&p->stopping))
        (void)pthread_cond_timedwait(&p->changed, &p->lock, &until);
    pthread_mutex_unlock(&p->lock);
    return false;
}

/* Every entry at level debug: what it made, and what it used, can be compared between runs. */
static void indexed_log(const struct chain_event *event, const struct step_result *result)
{
    char fuel[32] = "";
    enum log_level level = event->near_tip ? LOG_INFO : LOG_DEBUG;
    if (!log_enabled(level))
        return;
    if (result->fuel != 0)
        (void)snprintf(fuel, sizeof fuel, ", %llu fuel", (unsigned long long)result->fuel);
    log_line(level, "pipeline", "height %u indexed: %llu pairs, %llu changes%s", event->entry.height,
             (unsigned long long)result->pairs, (unsigned long long)result->changes, fuel);
}

static enum sorex_status entry_serve(struct pipeline *p, const struct chain_event *event, uint32_t until,
                                     struct sorex_error *err)
{
    struct step_result result;
    TRY(step_apply(&p->step, &event->entry, event->near_tip, &result, err));
    p->summary.entries++;
    p->summary.pairs += result.pairs;
    p->summary.changes += result.changes;
    p->summary.fuel += result.fuel;
    p->summary.guest_ns += result.guest_ns;
    p->summary.commit_ns += result.commit_ns;
    uint32_t goal = until < PIPELINE_UNTIL_TIP ? until : event->source_tip;
    progress_update(&p->progress, p->summary.entries, event->entry.height, goal);
    pthread_mutex_lock(&p->lock);
    p->state = "indexing";
    p->waiting_for[0] = '\0';
    p->shown = p->summary;
    p->rate = p->progress.rate;
    pthread_mutex_unlock(&p->lock);
    indexed_log(event, &result);
    return SOREX_OK;
}

static enum sorex_status undo_serve(struct pipeline *p, const struct chain_event *event, struct sorex_error *err)
{
    struct store_heights before;
    store_heights(p->store, &before);
    pipeline_state(p, "undoing", "");
    uint64_t undone = 0;
    char hash[HASH_HEX_SIZE] = "nothing";
    if (event->height != SOREX_HEIGHT_NONE)
        hash_display(event->height_hash, hash);
    TRY(pipeline_undo_to(p, event->height, &undone, err));
    p->summary.undone += undone;
    if (event->height != SOREX_HEIGHT_NONE)
        log_line(LOG_WARN, "pipeline", "reorganisation: heights %u to %u undone (%llu entries), back at %u, block %s",
                 event->height + 1, before.tip, (unsigned long long)undone, event->height, hash);
    else
        log_line(LOG_WARN, "pipeline", "reorganisation: all %llu entries undone", (unsigned long long)undone);
    return SOREX_OK;
}

/* Trouble of the source is told once, not at every attempt, and its end too. */
static void trouble_log(struct pipeline *p, const struct chain_event *event)
{
    const char *retrying = event->kind == CHAIN_IDLE ? strstr(event->waiting, ", retrying in") : NULL;
    size_t len = retrying != NULL ? (size_t)(retrying - event->waiting) : 0;
    if (len >= sizeof p->trouble)
        len = sizeof p->trouble - 1;
    bool ends = event->kind != CHAIN_IDLE || strcmp(event->waiting, "at the tip") == 0;
    if (len != 0 && (p->trouble[len] != '\0' || memcmp(p->trouble, event->waiting, len) != 0)) {
        memcpy(p->trouble, event->waiting, len);
        p->trouble[len] = '\0';
        log_line(LOG_WARN, "source", "%s; trying again", p->trouble);
    } else if (ends && p->trouble[0] != '\0') {
        p->trouble[0] = '\0';
        log_line(LOG_INFO, "source", "it answers again");
    }
}

/* One turn. *out_done is set when `until` is reached. */
static enum sorex_status turn(struct pipeline *p, uint32_t until, bool *out_done, struct sorex_error *err)
{
    struct store_heights heights;
    store_heights(p->store, &heights);
    runners_tip(p);
    if (p->deriver != NULL)
        TRY(deriver_failure(p->deriver, err));
    TRY(request_serve(p, err));
    if (until < PIPELINE_UNTIL_TIP && heights.tip != SOREX_HEIGHT_NONE && heights.tip >= until) {
        *out_done = true;
        return SOREX_OK;
    }
    if (!outbox_has_room(p)) {
        TRY(store_flush(p->store, err));
        return until != SOREX_HEIGHT_NONE ? runners_failure(p, err) : SOREX_OK;
    }
    struct chain_event event;
    uint64_t start = clock_ns();
    TRY(chain_next(p->chain, LOOP_WAIT_MS, &event, err));
    p->summary.wait_ns += clock_ns() - start;
    trouble_log(p, &event);
    pthread_mutex_lock(&p->lock);
    p->source_tip = event.source_tip;
    p->shown = p->summary;
    pthread_mutex_unlock(&p->lock);
    switch (event.kind) {
    case CHAIN_ENTRY:
        TRY(network_keep(p, err));
        return entry_serve(p, &event, until, err);
    case CHAIN_UNDO:
        return undo_serve(p, &event, err);
    case CHAIN_IDLE:
        break;
    }
    TRY(store_flush(p->store, err));
    pipeline_state(p, "waiting", strcmp(event.waiting, "at the tip") == 0 ? "the next block, at the tip" : event.waiting);
    store_heights(p->store, &heights);
    *out_done = until == PIPELINE_UNTIL_TIP && event.source_tip != SOREX_HEIGHT_NONE && heights.tip == event.source_tip;
    return SOREX_OK;
}

static void phase_set(struct pipeline *p, enum pipeline_phase phase)
{
    pthread_mutex_lock(&p->lock);
    p->phase = phase;
    if (phase != PIPELINE_RUNNING && p->request != NULL) {
        p->request->status = sorex_error_set(&p->request->err, SOREX_STOPPED, "the pipeline ended before the rollback");
        p->request->done = true;
        p->request = NULL;
        (void)pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
}

static void start_log(const struct pipeline *p, uint32_t until)
{
    char end[64] = "";
    if (until < PIPELINE_UNTIL_TIP)
        (void)snprintf(end, sizeof end, ", until height %u", until);
    if (p->summary.from == SOREX_HEIGHT_NONE)
        log_line(LOG_INFO, "pipeline", "%s: new store in %s, starting at height %u%s", p->settings->top.name,
                 p->settings->top.data, p->settings->top.start_height, end);
    else
        log_line(LOG_INFO, "pipeline", "%s: continuing after height %u%s", p->settings->top.name, p->summary.from, end);
}

enum sorex_status pipeline_run(struct pipeline *p, uint32_t until, struct pipeline_summary *out, struct sorex_error *err)
{
    struct store_heights heights;
    uint64_t start = clock_ns();
    phase_set(p, PIPELINE_RUNNING);
    store_heights(p->store, &heights);
    p->summary = (struct pipeline_summary){.from = heights.tip, .tip = heights.tip};
    start_log(p, until);
    progress_start(&p->progress);
    bool done = false;
    enum sorex_status status = runners_start(p, err);
    if (status == SOREX_OK)
        status = chain_start(p, err);
    while (status == SOREX_OK && !done && !atomic_load(&p->stopping))
        status = turn(p, until, &done, err);
    if (status == SOREX_STOPPED && atomic_load(&p->stopping)) /* a guest was interrupted: its entry is left for the next run */
        status = SOREX_OK;
    phase_set(p, PIPELINE_ENDING);
    chain_replace(p, NULL);
    progress_end();
    struct sorex_error flush_err = {0};
    if (store_flush(p->store, &flush_err) != SOREX_OK && status == SOREX_OK) {
        if (err != NULL)
            *err = flush_err;
        status = flush_err.status;
    }
    if (status == SOREX_OK && done) {
        status = runners_drain(p, err);
    } else if (status == SOREX_OK && until != SOREX_HEIGHT_NONE)
        status = sorex_error_set(err, SOREX_STOPPED, "stopped before the end was reached; the next run continues");
    runners_stop(p);
    pipeline_state(p, status == SOREX_OK || status == SOREX_STOPPED ? "stopped" : "failed", "");
    store_heights(p->store, &heights);
    p->summary.tip = heights.durable; /* what a failed write lost is indexed again */
    p->summary.run_ns = clock_ns() - start;
    *out = p->summary;
    phase_set(p, PIPELINE_ALONE);
    return status;
}
