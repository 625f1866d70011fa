/* The thread's loop: is the place still on the chain? If not, back; if so, the next block, when there is one. What went
 * wrong with the source is tried again; what a message did wrong ends the run, with everything before it derived and
 * saved.
 *
 * `lock` guards what other threads read or set; all else belongs to the thread. */
#include "pipeline/deriver.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/signals.h"
#include "derive/receipt.h"
#include "pipeline/chain_blocks.h"

#define RETRY_MS 200u
#define RETRY_MS_MAX 10000u
#define STOP_MS 100u

struct deriver {
    struct deriver_options options;
    struct chained *chained;
    struct chain_blocks blocks;
    char component[CHAINED_NAME_BYTES_MAX + 16]; /* for log lines */
    char warned[SOREX_ERROR_TEXT_MAX];           /* the last warning, which is not repeated */
    /* An entry whose message halts: everything before it is derived again and saved, then its error ends the run. */
    struct chained_place halting; /* height SOREX_HEIGHT_NONE: none */
    struct sorex_error halted;

    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;
    bool stop, finished;
    uint64_t looks, done_looks; /* how often it was told to look; for which of them nothing was left */
    struct deriver_status status;
    struct sorex_error failure; /* status SOREX_OK: none */
};

/* ---- what others see ---- */

void deriver_figures(const struct chained *chained, struct deriver_status *out)
{
    const struct receipt *receipt = chained_receipt(chained);
    out->height = chained_place(chained).height;
    out->messages = receipt->count;
    out->rejected = receipt->rejected;
    memcpy(out->key, receipt->key, SHA256_BYTES);
    memcpy(out->trace, receipt->trace, SHA256_BYTES);
}

static void show(struct deriver *deriver, enum sink_state state, const char *why)
{
    (void)pthread_mutex_lock(&deriver->lock);
    struct deriver_status *status = &deriver->status;
    status->state = state;
    deriver_figures(deriver->chained, status);
    (void)snprintf(status->why, sizeof status->why, "%s", why);
    (void)pthread_cond_broadcast(&deriver->changed);
    (void)pthread_mutex_unlock(&deriver->lock);
}

static bool stopping(struct deriver *deriver, uint64_t *out_looks)
{
    (void)pthread_mutex_lock(&deriver->lock);
    bool stop = deriver->stop;
    *out_looks = deriver->looks;
    (void)pthread_mutex_unlock(&deriver->lock);
    return stop;
}

static struct timespec deadline_after(uint64_t ms)
{
    uint64_t at_ms = clock_ms() + ms;
    return (struct timespec){.tv_sec = (time_t)(at_ms / 1000), .tv_nsec = (long)(at_ms % 1000) * 1000000};
}

static void nothing_left(struct deriver *deriver, uint64_t looks)
{
    show(deriver, SINK_IDLE, "");
    (void)pthread_mutex_lock(&deriver->lock);
    deriver->done_looks = looks;
    (void)pthread_cond_broadcast(&deriver->changed);
    while (!deriver->stop && deriver->looks == looks)
        (void)pthread_cond_wait(&deriver->changed, &deriver->lock);
    (void)pthread_mutex_unlock(&deriver->lock);
}

static void pause_for(struct deriver *deriver, uint64_t ms)
{
    struct timespec deadline = deadline_after(ms);
    (void)pthread_mutex_lock(&deriver->lock);
    while (!deriver->stop && pthread_cond_timedwait(&deriver->changed, &deriver->lock, &deadline) != ETIMEDOUT)
        continue;
    (void)pthread_mutex_unlock(&deriver->lock);
}

/* ---- the chain ---- */

/* The highest entry that may be derived. */
static uint32_t reach(const struct deriver *deriver)
{
    struct store_heights heights;
    uint32_t finality = deriver->options.settings->finality;
    store_heights(deriver->options.store, &heights);
    if (heights.durable == SOREX_HEIGHT_NONE || heights.durable < finality)
        return SOREX_HEIGHT_NONE;
    return heights.durable - finality;
}

/* Whether a place is on the chain and may be gone to. */
static enum sorex_status is_on(void *user_data, const struct chained_place *place, bool *out, struct sorex_error *err)
{
    uint32_t highest = reach(user_data);
    *out = false;
    if (highest == SOREX_HEIGHT_NONE || place->height > highest)
        return SOREX_OK;
    return chain_blocks_has(&((struct deriver *)user_data)->blocks, place, out, err);
}

/* ---- the thread ---- */

static void place_log(const struct chained_place *place, char out[HASH_HEX_SIZE + 32])
{
    char hex[HASH_HEX_SIZE];
    hash_display(place->hash, hex);
    if (place->height == SOREX_HEIGHT_NONE)
        (void)snprintf(out, HASH_HEX_SIZE + 32, "the beginning");
    else
        (void)snprintf(out, HASH_HEX_SIZE + 32, "height %u, block %s", place->height, hex);
}

static enum sorex_status back(struct deriver *deriver, struct sorex_error *err)
{
    char from[HASH_HEX_SIZE + 32], to[HASH_HEX_SIZE + 32];
    struct chained_place place = chained_place(deriver->chained);
    place_log(&place, from);
    TRY(chained_back(deriver->chained, is_on, deriver, err));
    place = chained_place(deriver->chained);
    place_log(&place, to);
    log_line(LOG_WARN, deriver->component, "reorganisation: %s, is not on the chain any more: back at %s", from, to);
    (void)pthread_mutex_lock(&deriver->lock);
    deriver->status.undone++;
    (void)pthread_mutex_unlock(&deriver->lock);
    return SOREX_OK;
}

/* The message stops the derivation, unless its entry leaves the chain. */
static enum sorex_status halt(struct deriver *deriver, const struct entry *entry, const struct sorex_error *why)
{
    deriver->halted = *why;
    deriver->halting.height = entry->height;
    memcpy(deriver->halting.hash, entry->hash, HASH_BYTES);
    return SOREX_OK;
}

static enum sorex_status entry_apply(struct deriver *deriver, const struct entry *entry, struct sorex_error *err)
{
    struct sorex_error why = {0};
    if (entry->height == deriver->halting.height && memcmp(entry->hash, deriver->halting.hash, HASH_BYTES) == 0) {
        TRY(chained_commit(deriver->chained, err));
        return sorex_error_set(err, deriver->halted.status, "%s", deriver->halted.text);
    }
    if (chained_place(deriver->chained).height != SOREX_HEIGHT_NONE &&
        memcmp(entry->parent, chained_place(deriver->chained).hash, HASH_BYTES) != 0)
        return sorex_error_set(err, SOREX_AGAIN, "height %u: the chain is changing", entry->height);
    enum sorex_status status = chained_apply(deriver->chained, entry, &why);
    bool applied = chained_next_height(deriver->chained) > entry->height; /* and could not be saved */
    if (!applied && (status == SOREX_GUEST || status == SOREX_LIMIT || status == SOREX_INVALID))
        return halt(deriver, entry, &why);
    return status == SOREX_OK ? SOREX_OK : sorex_error_set(err, status, "%s", why.text);
}

/* One step. *out_moved: there may be another one. */
static enum sorex_status advance(struct deriver *deriver, bool *out_moved, struct sorex_error *err)
{
    struct chained_place place = chained_place(deriver->chained);
    struct entry entry;
    uint32_t highest = reach(deriver), next = chained_next_height(deriver->chained);
    bool on = true;
    *out_moved = true;
    if (place.height != SOREX_HEIGHT_NONE)
        TRY(chain_blocks_has(&deriver->blocks, &place, &on, err));
    if (!on)
        return back(deriver, err);
    if (highest == SOREX_HEIGHT_NONE || next > highest) {
        *out_moved = false;
        return chained_commit(deriver->chained, err);
    }
    enum sorex_status status = chain_blocks_fetch(&deriver->blocks, next, &entry, err);
    if (status == SOREX_CORRUPT) /* it may be better next time */
        return sorex_error_set(err, SOREX_AGAIN, "%s", err->text);
    TRY(status);
    return entry_apply(deriver, &entry, err);
}

static void retry_wait(struct deriver *deriver, const struct sorex_error *err, uint32_t *pause_ms)
{
    if (err->status == SOREX_AGAIN && strcmp(deriver->warned, err->text) != 0) {
        log_line(LOG_WARN, deriver->component, "%s; trying again", err->text);
        memcpy(deriver->warned, err->text, sizeof deriver->warned);
    }
    show(deriver, SINK_RETRYING, err->text);
    pause_for(deriver, *pause_ms);
    *pause_ms = *pause_ms * 2 < RETRY_MS_MAX ? *pause_ms * 2 : RETRY_MS_MAX;
}

static void fail(struct deriver *deriver, const struct sorex_error *err)
{
    (void)pthread_mutex_lock(&deriver->lock);
    deriver->failure = *err;
    (void)pthread_mutex_unlock(&deriver->lock);
    log_line(LOG_ERROR, deriver->component, "stopped: %s", err->text);
    show(deriver, SINK_FAILED, err->text);
}

static void run(struct deriver *deriver)
{
    uint64_t looks;
    uint32_t pause_ms = RETRY_MS;
    bool moved;
    while (!stopping(deriver, &looks)) {
        struct sorex_error err = {0};
        enum sorex_status status = advance(deriver, &moved, &err);
        if (status == SOREX_AGAIN || status == SOREX_STOPPED) {
            retry_wait(deriver, &err, &pause_ms);
            continue;
        }
        if (status != SOREX_OK) {
            fail(deriver, &err);
            return;
        }
        pause_ms = RETRY_MS;
        deriver->warned[0] = '\0';
        if (moved)
            show(deriver, SINK_RUNNING, "");
        else
            nothing_left(deriver, looks);
    }
    struct sorex_error err = {0};
    if (chained_commit(deriver->chained, &err) != SOREX_OK)
        fail(deriver, &err);
    else
        show(deriver, SINK_STOPPED, "");
}

static void *thread_main(void *user_data)
{
    struct deriver *deriver = user_data;
    run(deriver);
    (void)pthread_mutex_lock(&deriver->lock);
    deriver->finished = true;
    (void)pthread_cond_broadcast(&deriver->changed);
    (void)pthread_mutex_unlock(&deriver->lock);
    return NULL;
}

/* ---- the other threads' side ---- */

void deriver_look(struct deriver *deriver)
{
    (void)pthread_mutex_lock(&deriver->lock);
    deriver->looks++;
    (void)pthread_cond_broadcast(&deriver->changed);
    (void)pthread_mutex_unlock(&deriver->lock);
}

void deriver_drain(struct deriver *deriver, uint32_t timeout_ms, bool *out_drained)
{
    struct timespec deadline = deadline_after(timeout_ms);
    (void)pthread_mutex_lock(&deriver->lock);
    uint64_t looks = ++deriver->looks;
    (void)pthread_cond_broadcast(&deriver->changed);
    while (deriver->done_looks < looks && !deriver->finished &&
           pthread_cond_timedwait(&deriver->changed, &deriver->lock, &deadline) != ETIMEDOUT)
        continue;
    *out_drained = deriver->done_looks >= looks;
    (void)pthread_mutex_unlock(&deriver->lock);
}

void deriver_status(struct deriver *deriver, struct deriver_status *out)
{
    (void)pthread_mutex_lock(&deriver->lock);
    *out = deriver->status;
    (void)pthread_mutex_unlock(&deriver->lock);
}

enum sorex_status deriver_failure(struct deriver *deriver, struct sorex_error *err)
{
    (void)pthread_mutex_lock(&deriver->lock);
    enum sorex_status status = deriver->failure.status;
    if (status != SOREX_OK)
        (void)sorex_error_set(err, status, "reducer %s: %s", deriver->options.settings->name, deriver->failure.text);
    (void)pthread_mutex_unlock(&deriver->lock);
    return status;
}

struct chained *deriver_chained(struct deriver *deriver) { return deriver->chained; }

/* ---- lifecycle ---- */

static enum sorex_status database_open_chained(struct deriver *deriver, struct sorex_error *err)
{
    const struct reducer_settings *settings = deriver->options.settings;
    struct buf wasm = {0};
    struct chained_options options = {.name = settings->name,
                                      .store = deriver->options.store,
                                      .dir = deriver->options.dir,
                                      .settings = &settings->derive,
                                      .first_height = deriver->options.first_height};
    enum sorex_status status = file_read(settings->wasm, SOREX_MODULE_BYTES_MAX, &wasm, err);
    options.wasm = buf_view(&wasm);
    if (status == SOREX_OK)
        status = chained_open(&options, &deriver->chained, err);
    buf_deinit(&wasm);
    return status;
}

enum sorex_status deriver_new(const struct deriver_options *options, struct deriver **out, struct sorex_error *err)
{
    struct deriver *deriver = calloc(1, sizeof *deriver);
    if (deriver == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a reducer");
    deriver->options = *options;
    deriver->blocks = (struct chain_blocks){.store = options->store, .source = options->source};
    deriver->halting.height = SOREX_HEIGHT_NONE;
    deriver->status.height = SOREX_HEIGHT_NONE;
    (void)snprintf(deriver->component, sizeof deriver->component, "reducer %.50s", options->settings->name);
    pthread_condattr_t monotonic;
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&deriver->changed, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    CHECK(pthread_mutex_init(&deriver->lock, NULL) == 0);
    enum sorex_status status = database_open_chained(deriver, err);
    if (status != SOREX_OK) {
        deriver_free(deriver);
        return sorex_error_prefix(err, "reducer %s", options->settings->name);
    }
    show(deriver, SINK_STOPPED, "");
    *out = deriver;
    return SOREX_OK;
}

enum sorex_status deriver_start(struct deriver *deriver, struct sorex_error *err)
{
    sigset_t before;
    CHECK(!deriver->started);
    deriver->stop = deriver->finished = false;
    deriver->failure = (struct sorex_error){0};
    deriver->halting.height = SOREX_HEIGHT_NONE;
    show(deriver, SINK_STARTING, "");
    signals_block(&before); /* they are the main thread's */
    int failed = pthread_create(&deriver->thread, NULL, thread_main, deriver);
    signals_restore(&before);
    if (failed != 0)
        return sorex_error_set_errno(err, SOREX_IO, failed, "start the thread of reducer %s",
                                     deriver->options.settings->name);
    deriver->started = true;
    return SOREX_OK;
}

void deriver_stop(struct deriver *deriver)
{
    struct source *source = deriver->options.source;
    if (!deriver->started)
        return;
    (void)pthread_mutex_lock(&deriver->lock);
    deriver->stop = true;
    (void)pthread_cond_broadcast(&deriver->changed);
    while (!deriver->finished) {
        struct timespec deadline = deadline_after(STOP_MS);
        if (source->type->interrupt != NULL) /* a call that began after the last one goes on without it */
            source->type->interrupt(source);
        (void)pthread_cond_timedwait(&deriver->changed, &deriver->lock, &deadline);
    }
    (void)pthread_mutex_unlock(&deriver->lock);
    (void)pthread_join(deriver->thread, NULL);
    deriver->started = false;
}

void deriver_free(struct deriver *deriver)
{
    if (deriver == NULL)
        return;
    deriver_stop(deriver);
    chained_close(deriver->chained);
    chain_blocks_deinit(&deriver->blocks);
    (void)pthread_cond_destroy(&deriver->changed);
    (void)pthread_mutex_destroy(&deriver->lock);
    free(deriver);
}
