/* The runner's thread:
 *
 *   place    read the cursor in the target (or in the store), check that it belongs to this outbox, seek the feed there
 *   deliver  next batch -> apply -> move the store's lower bound; no batch: wait for the outbox. Far behind, the batch
 * after it is read meanwhile by the prefetch's thread retry    after SOREX_AGAIN: wait with back-off, then `place`
 * again, because only the target knows how far it came
 *
 * `status_lock` guards everything that other threads read or set; the feed and the sink belong to the thread alone. */
#include "sink/runner.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "sink/cursor.h"
#include "sink/prefetch.h"

#define IDLE_WAIT_MS 100
#define STOP_GRACE_MS 1000
#define NAME_BYTES 128

struct sink_runner {
    struct sink *sink;
    struct store *store;
    struct sink_runner_options options;
    char name[NAME_BYTES];
    char component[160]; /* for log lines */
    struct feed *feed;
    struct prefetch *prefetch;
    pthread_t thread;
    struct sink_cursor at;             /* last known cursor of the target */
    char warned[SOREX_ERROR_TEXT_MAX]; /* the last warning, which is not repeated */

    pthread_mutex_t status_lock; /* everything below */
    pthread_cond_t status_changed;
    struct sink_status status;
    struct breaker breaker; /* set by the thread alone, which may read it without the lock */
    bool stop, finished;
    uint32_t tip;
    uint64_t tips;                 /* how often the tip was set */
    uint64_t done_head, done_tips; /* head and tips for which nothing was left to do */
};

static const char *const state_names[] = {"starting", "running", "idle", "retrying", "failed", "stopped"};

const char *sink_state_name(enum sink_state state) { return state_names[state]; }

/* ---- status ---- */

static void state_set(struct sink_runner *runner, enum sink_state state, const char *why)
{
    (void)pthread_mutex_lock(&runner->status_lock);
    runner->status.state = state;
    (void)snprintf(runner->status.why, sizeof runner->status.why, "%s", why);
    (void)pthread_cond_broadcast(&runner->status_changed);
    (void)pthread_mutex_unlock(&runner->status_lock);
}

static void cursor_show(struct sink_runner *runner, uint32_t height, size_t changes)
{
    (void)pthread_mutex_lock(&runner->status_lock);
    runner->status.sequence = runner->at.sequence;
    runner->status.height = height;
    runner->status.changes += changes;
    (void)pthread_mutex_unlock(&runner->status_lock);
}

static bool stopping(struct sink_runner *runner)
{
    (void)pthread_mutex_lock(&runner->status_lock);
    bool stop = runner->stop;
    (void)pthread_mutex_unlock(&runner->status_lock);
    return stop;
}

static struct timespec deadline_after(uint64_t ms)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

/* Waits for the time or for stop; true when it should go on. */
static bool pause_for(struct sink_runner *runner, uint64_t ms)
{
    struct timespec deadline = deadline_after(ms);
    (void)pthread_mutex_lock(&runner->status_lock);
    while (!runner->stop &&
           pthread_cond_timedwait(&runner->status_changed, &runner->status_lock, &deadline) != ETIMEDOUT)
        continue;
    bool go_on = !runner->stop;
    (void)pthread_mutex_unlock(&runner->status_lock);
    return go_on;
}

/* ---- cursor ---- */

static enum sorex_status cursor_read(struct sink_runner *runner, struct sink_cursor *out, struct sorex_error *err)
{
    *out = (struct sink_cursor){0};
    (void)memcpy(out->store_id, store_id(runner->store), SINK_STORE_ID_BYTES);
    if (runner->sink->type->holds_cursor)
        return runner->sink->type->cursor(runner->sink, out, err);
    return store_cursor_get(runner->store, runner->name, &out->sequence, out->hash, err);
}

/* Reads and checks the cursor and puts the feed there. */
static enum sorex_status place(struct sink_runner *runner, struct sorex_error *err)
{
    struct sink_cursor cursor;
    enum sorex_status status = cursor_read(runner, &cursor, err);
    if (status == SOREX_GONE)
        cursor = (struct sink_cursor){0};
    else if (status != SOREX_OK)
        return status;
    TRY(cursor_check(runner->store, runner->name, &cursor, err));
    if (cursor.sequence > 0)
        TRY(store_cursor_set(runner->store, runner->name, cursor.sequence, cursor.hash, err));
    runner->at = cursor;
    feed_seek(runner->feed, cursor.sequence);
    uint32_t height = SOREX_HEIGHT_NONE;
    struct buf bytes = {0};
    struct outbox_record record;
    if (cursor.sequence > 0 && store_outbox_read(runner->store, cursor.sequence, &bytes, &record, NULL) == SOREX_OK)
        height = record.height;
    buf_deinit(&bytes);
    cursor_show(runner, height, 0);
    return SOREX_OK;
}

/* ---- delivery ---- */

static void recovered(struct sink_runner *runner)
{
    if (runner->breaker.failures > 0)
        log_line(LOG_INFO, runner->component, "works again after %u attempts", runner->breaker.failures);
    runner->warned[0] = '\0';
    (void)pthread_mutex_lock(&runner->status_lock);
    breaker_succeeded(&runner->breaker);
    (void)pthread_mutex_unlock(&runner->status_lock);
}

static void undo_log(struct sink_runner *runner, const struct sink_batch *batch)
{
    size_t count = 0;
    uint32_t lowest = UINT32_MAX;
    uint32_t highest = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->changes[i].undo)
            continue;
        count++;
        lowest = batch->changes[i].height < lowest ? batch->changes[i].height : lowest;
        highest = batch->changes[i].height > highest ? batch->changes[i].height : highest;
    }
    if (count > 0)
        log_line(LOG_INFO, runner->component, "undid %zu changes of heights %u to %u", count, lowest, highest);
}

static enum sorex_status deliver(struct sink_runner *runner, const struct feed_answer *next, struct sorex_error *err)
{
    const struct sink_batch *batch = &next->batch;
    TRY(runner->sink->type->apply(runner->sink, batch, err));
    runner->at = batch->cursor;
    cursor_show(runner, next->height, batch->count);
    undo_log(runner, batch);
    recovered(runner);
    return store_cursor_set(runner->store, runner->name, batch->cursor.sequence, batch->cursor.hash, err);
}

static void nothing_left(struct sink_runner *runner, uint64_t head, uint64_t tips)
{
    (void)pthread_mutex_lock(&runner->status_lock);
    runner->done_head = head;
    runner->done_tips = tips;
    runner->status.state = SINK_IDLE;
    runner->status.why[0] = '\0';
    (void)pthread_cond_broadcast(&runner->status_changed);
    (void)pthread_mutex_unlock(&runner->status_lock);
    store_outbox_wait(runner->store, head, IDLE_WAIT_MS);
}

/* What can be delivered now: the tip first, then the head, so that every undo that lowered the tip is in the outbox. */
struct reach {
    uint32_t tip;
    uint64_t tips;
    uint64_t head;
};

static struct reach reach_now(struct sink_runner *runner)
{
    struct reach reach;
    uint64_t first;
    (void)pthread_mutex_lock(&runner->status_lock);
    reach.tip = runner->tip;
    reach.tips = runner->tips;
    (void)pthread_mutex_unlock(&runner->status_lock);
    store_outbox_range(runner->store, &first, &reach.head);
    return reach;
}

/* Delivers until stop; returns what went wrong. */
static enum sorex_status deliver_all(struct sink_runner *runner, struct sorex_error *err)
{
    struct reach reach = {0};
    while (!stopping(runner)) {
        struct feed_answer next;
        if (prefetch_asked(runner->prefetch)) {
            prefetch_take(runner->prefetch, &next);
        } else {
            reach = reach_now(runner);
            feed_next(runner->feed, reach.head, reach.tip, &next);
        }
        if (next.status != SOREX_OK) {
            *err = next.err;
            return next.status;
        }
        if (!next.moved) {
            recovered(runner);
            nothing_left(runner, reach.head, reach.tips);
            continue;
        }
        if (runner->breaker.failures == 0)
            state_set(runner, SINK_RUNNING, "");
        if (next.scanned < reach.head)
            prefetch_ask(runner->prefetch, reach.head, reach.tip);
        TRY(deliver(runner, &next, err));
    }
    return SOREX_OK;
}

/* The feed is the runner's again; what was read ahead is forgotten. */
static void prefetch_drop(struct sink_runner *runner)
{
    struct feed_answer ignored;
    if (prefetch_asked(runner->prefetch))
        prefetch_take(runner->prefetch, &ignored);
}

/* True when it should be tried again. */
static bool retry_wait(struct sink_runner *runner, const struct sorex_error *err)
{
    if (strcmp(runner->warned, err->text) != 0) {
        log_line(LOG_WARN, runner->component, "%s; trying again", err->text);
        (void)memcpy(runner->warned, err->text, sizeof runner->warned);
    }
    (void)pthread_mutex_lock(&runner->status_lock);
    uint64_t wait_ms = breaker_failed(&runner->breaker, clock_ms());
    (void)pthread_mutex_unlock(&runner->status_lock);
    if (runner->breaker.openings == 1)
        log_line(LOG_WARN, runner->component, "%u failures in a row: left alone, tried again from time to time",
                 runner->breaker.failures);
    state_set(runner, SINK_RETRYING, err->text);
    return pause_for(runner, wait_ms);
}

static void fail(struct sink_runner *runner, const struct sorex_error *err)
{
    log_line(LOG_ERROR, runner->component, "stopped: %s", err->text);
    state_set(runner, SINK_FAILED, err->text);
}

static void run(struct sink_runner *runner)
{
    for (;;) {
        struct sorex_error err = {0};
        enum sorex_status status = place(runner, &err);
        if (status == SOREX_OK) {
            if (runner->breaker.failures == 0)
                state_set(runner, SINK_RUNNING, "");
            status = deliver_all(runner, &err);
            prefetch_drop(runner);
        }
        if (status == SOREX_OK || (status == SOREX_AGAIN && (stopping(runner) || !retry_wait(runner, &err)))) {
            state_set(runner, SINK_STOPPED, "");
            return;
        }
        if (status != SOREX_AGAIN) {
            fail(runner, &err);
            return;
        }
    }
}

static void *thread_main(void *user_data)
{
    struct sink_runner *runner = user_data;
    run(runner);
    (void)pthread_mutex_lock(&runner->status_lock);
    runner->finished = true;
    (void)pthread_cond_broadcast(&runner->status_changed);
    (void)pthread_mutex_unlock(&runner->status_lock);
    return NULL;
}

/* ---- the other threads' side ---- */

/* A sink that the store has never seen must hold back trimming before its first batch. */
static enum sorex_status bound_set(struct store *store, const char *name, struct sorex_error *err)
{
    uint64_t sequence;
    uint8_t hash[HASH_BYTES] = {0};
    enum sorex_status status = store_cursor_get(store, name, &sequence, hash, err);
    if (status != SOREX_GONE)
        return status;
    return store_cursor_set(store, name, 0, hash, err);
}

static void options_complete(struct sink_runner_options *options, const struct sink_type *type)
{
    if (options->batch_changes_max == 0)
        options->batch_changes_max = type->batch_changes_max > 0 ? type->batch_changes_max : 10000;
    if (options->batch_bytes_max == 0)
        options->batch_bytes_max = type->batch_bytes_max > 0 ? type->batch_bytes_max : (uint64_t)8 << 20;
}

static enum sorex_status thread_start(struct sink_runner *runner, struct sorex_error *err)
{
    /* Signals are the main thread's; a closed pipe must come back as an error of write(2). */
    sigset_t before;
    signals_block(&before);
    enum sorex_status status = prefetch_new(runner->feed, &runner->prefetch, err);
    int failed = status == SOREX_OK ? pthread_create(&runner->thread, NULL, thread_main, runner) : 0;
    signals_restore(&before);
    if (failed != 0)
        return sorex_error_set_errno(err, SOREX_IO, failed, "start the thread of sink %s", runner->name);
    return status;
}

static void runner_free(struct sink_runner *runner)
{
    prefetch_free(runner->prefetch);
    feed_free(runner->feed);
    (void)pthread_cond_destroy(&runner->status_changed);
    (void)pthread_mutex_destroy(&runner->status_lock);
    free(runner);
}

static struct sink_runner *runner_new(struct sink *sink, struct store *store, const struct sink_runner_options *options)
{
    struct sink_runner *runner = calloc(1, sizeof *runner);
    if (runner == NULL)
        return NULL;
    runner->sink = sink;
    runner->store = store;
    runner->options = *options;
    options_complete(&runner->options, sink->type);
    (void)snprintf(runner->name, sizeof runner->name, "%s", options->name);
    (void)snprintf(runner->component, sizeof runner->component, "sink %s", runner->name);
    runner->options.name = runner->name;
    runner->tip = SOREX_HEIGHT_NONE;
    runner->status.height = SOREX_HEIGHT_NONE;
    breaker_init(&runner->breaker, &options->breaker, clock_ns());
    pthread_condattr_t monotonic;
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&runner->status_changed, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    CHECK(pthread_mutex_init(&runner->status_lock, NULL) == 0);
    return runner;
}

enum sorex_status sink_runner_start(struct sink *sink, struct store *store, const struct sink_runner_options *options,
                                    struct sink_runner **out, struct sorex_error *err)
{
    if (strlen(options->name) >= NAME_BYTES)
        return sorex_error_set(err, SOREX_INVALID, "the sink name \"%.64s...\" is too long", options->name);
    TRY(bound_set(store, options->name, err));
    struct sink_runner *runner = runner_new(sink, store, options);
    if (runner == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    struct feed_options feed = {.changes_max = runner->options.batch_changes_max,
                                .bytes_max = runner->options.batch_bytes_max,
                                .finality = runner->options.finality,
                                .images = sink->type->reads_images,
                                .envelope = options->envelope,
                                .guest_inverse = runner->options.guest_inverse};
    enum sorex_status status = feed_new(store, &feed, &runner->feed, err);
    if (status == SOREX_OK)
        status = thread_start(runner, err);
    if (status != SOREX_OK) {
        runner_free(runner);
        return status;
    }
    *out = runner;
    return SOREX_OK;
}

void sink_runner_tip(struct sink_runner *runner, uint32_t height)
{
    (void)pthread_mutex_lock(&runner->status_lock);
    runner->tip = height;
    runner->tips++;
    (void)pthread_mutex_unlock(&runner->status_lock);
    if (runner->options.finality > 0)
        store_outbox_wake(runner->store);
}

void sink_runner_status(struct sink_runner *runner, struct sink_status *out)
{
    uint64_t first;
    uint64_t head;
    store_outbox_range(runner->store, &first, &head);
    (void)pthread_mutex_lock(&runner->status_lock);
    uint64_t now_ms = clock_ms();
    *out = runner->status;
    out->attempts = runner->breaker.failures;
    out->breaker = breaker_state_at(&runner->breaker, now_ms);
    out->retry_in_ms = out->state == SINK_RETRYING ? breaker_wait_ms(&runner->breaker, now_ms) : 0;
    (void)pthread_mutex_unlock(&runner->status_lock);
    out->head = head;
}

void sink_runner_drain(struct sink_runner *runner, uint32_t timeout_ms, bool *out_drained)
{
    uint64_t first;
    uint64_t head;
    store_outbox_range(runner->store, &first, &head);
    store_outbox_wake(runner->store);
    struct timespec deadline = deadline_after(timeout_ms);
    (void)pthread_mutex_lock(&runner->status_lock);
    uint64_t tips = runner->tips;
    bool in_time = true;
    while (in_time && !runner->finished &&
           (runner->status.state == SINK_STARTING || runner->done_head < head || runner->done_tips < tips))
        in_time = pthread_cond_timedwait(&runner->status_changed, &runner->status_lock, &deadline) != ETIMEDOUT;
    *out_drained = runner->status.state != SINK_STARTING && runner->done_head >= head && runner->done_tips >= tips;
    (void)pthread_mutex_unlock(&runner->status_lock);
}

/* Waits for the thread to come to its end by itself; false when it took too long. */
static bool finished_within(struct sink_runner *runner, uint64_t ms)
{
    struct timespec deadline = deadline_after(ms);
    (void)pthread_mutex_lock(&runner->status_lock);
    bool in_time = true;
    while (in_time && !runner->finished)
        in_time = pthread_cond_timedwait(&runner->status_changed, &runner->status_lock, &deadline) != ETIMEDOUT;
    bool finished = runner->finished;
    (void)pthread_mutex_unlock(&runner->status_lock);
    return finished;
}

void sink_runner_stop(struct sink_runner *runner)
{
    if (runner == NULL)
        return;
    (void)pthread_mutex_lock(&runner->status_lock);
    runner->stop = true;
    (void)pthread_cond_broadcast(&runner->status_changed);
    (void)pthread_mutex_unlock(&runner->status_lock);
    store_outbox_wake(runner->store);
    if (!finished_within(runner, STOP_GRACE_MS) && runner->sink->type->interrupt != NULL)
        runner->sink->type->interrupt(runner->sink);
    (void)pthread_join(runner->thread, NULL);
    runner_free(runner);
}
