/* A ring of slots, indexed by height modulo the window, under one lock:
 *
 *            head                 next                   limit
 *   delivered | ready, in flight   | to be fetched        | not wanted
 *
 * A thread takes `next`, asks the source without the lock, checks the block and puts it into its slot, unless the
 * generation changed meanwhile. After a failure nothing new is started until ahead_discard, so that a node that is down
 * is not asked for every height of the window. Threads that found the window full are woken when half of it is free:
 * one wake-up for many blocks. */
#include "chain/ahead.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"

#define PLACE_BYTES 256
#define INTERRUPT_EVERY_MS 20 /* a call may begin just after it was interrupted */

enum slot_state { SLOT_EMPTY, SLOT_FETCHING, SLOT_READY, SLOT_FAILED };

struct slot {
    enum slot_state state;
    struct entry entry;
    struct buf raw;
    struct sorex_error error; /* when failed */
};

struct ahead {
    struct source *source;
    struct ahead_options options;
    pthread_t *threads;
    uint32_t thread_count;

    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t work;  /* for the threads */
    pthread_cond_t ready; /* for the one who takes */
    pthread_cond_t left;  /* for those who interrupt: a thread ended, or the taker's call of the source did */
    struct slot *slots;
    uint64_t head, next, limit; /* heights; 64 bits because limit may be one past the last */
    uint64_t generation;
    uint64_t bytes_ready;
    uint64_t largest; /* block seen, to guess those in flight */
    uint32_t in_flight;
    uint32_t running; /* threads */
    bool failed, woken, closing;
    bool asking; /* the one who takes is inside a call of the source */
};

static struct slot *slot_of(struct ahead *ahead, uint64_t height)
{
    return &ahead->slots[height % ahead->options.window];
}

static bool may_start(const struct ahead *ahead)
{
    if (ahead->failed || ahead->next >= ahead->limit || ahead->next >= ahead->head + ahead->options.window)
        return false;
    uint64_t expected = ahead->bytes_ready + ((uint64_t)ahead->in_flight + 1) * ahead->largest;
    return ahead->next == ahead->head || expected <= ahead->options.bytes_max;
}

static enum sorex_status check_block(struct slot *slot, const uint8_t hash[HASH_BYTES], struct sorex_error *err)
{
    TRY(block_header_parse(buf_view(&slot->raw), &slot->entry, err));
    if (memcmp(slot->entry.hash, hash, HASH_BYTES) != 0)
        return sorex_error_set(err, SOREX_CORRUPT, "the bytes that came are another block");
    return block_check(buf_view(&slot->raw), err);
}

static enum sorex_status fetch_block(struct source *source, uint32_t height, struct slot *out, struct sorex_error *err)
{
    uint8_t hash[HASH_BYTES];
    char text[HASH_HEX_SIZE], place[PLACE_BYTES] = "";
    TRY(source->type->hash_at(source, height, hash, err));
    enum sorex_status status = source->type->fetch(source, height, hash, &out->raw, err);
    if (status == SOREX_STOPPED)
        return status;
    if (status == SOREX_OK) {
        status = check_block(out, hash, err);
        if (status != SOREX_OK && source->type->place != NULL)
            source->type->place(source, height, hash, place, sizeof place);
    }
    out->entry.height = height;
    hash_display(hash, text);
    if (status == SOREX_OK)
        return SOREX_OK;
    return sorex_error_prefix(err, "height %u: block %s%s%s%s", height, text, place[0] != '\0' ? " (" : "", place,
                              place[0] != '\0' ? ")" : "");
}

/* Puts a result into its slot. The lock is held. */
static void store_result(struct ahead *ahead, uint32_t height, enum sorex_status status, const struct slot *fetched)
{
    struct slot *slot = slot_of(ahead, height);
    CHECK(slot->state == SLOT_FETCHING);
    slot->entry = fetched->entry;
    slot->raw = fetched->raw;
    slot->state = status == SOREX_OK ? SLOT_READY : SLOT_FAILED;
    if (status == SOREX_OK) {
        ahead->bytes_ready += slot->raw.len;
        if (slot->raw.len > ahead->largest)
            ahead->largest = slot->raw.len;
    } else {
        slot->error = fetched->error;
        slot->error.status = status;
        ahead->failed = true;
    }
    if (height == ahead->head)
        pthread_cond_signal(&ahead->ready);
}

/* Fetches one block. The lock is held on entry and on return, not between. */
static void work_once(struct ahead *ahead)
{
    struct slot fetched = {0};
    uint32_t height = (uint32_t)ahead->next++;
    uint64_t generation = ahead->generation;
    slot_of(ahead, height)->state = SLOT_FETCHING;
    ahead->in_flight++;
    enum sorex_status status = SOREX_STOPPED;
    while (status == SOREX_STOPPED && !ahead->closing && ahead->generation == generation) {
        pthread_mutex_unlock(&ahead->lock);
        buf_reset(&fetched.raw);
        status = fetch_block(ahead->source, height, &fetched, &fetched.error);
        if (status != SOREX_OK)
            buf_deinit(&fetched.raw);
        pthread_mutex_lock(&ahead->lock);
    }
    ahead->in_flight--;
    if (ahead->generation == generation && !ahead->closing)
        store_result(ahead, height, status, &fetched);
    else
        buf_deinit(&fetched.raw);
}

static void *run(void *argument)
{
    struct ahead *ahead = argument;
    pthread_mutex_lock(&ahead->lock);
    while (!ahead->closing) {
        if (may_start(ahead))
            work_once(ahead);
        else
            pthread_cond_wait(&ahead->work, &ahead->lock);
    }
    ahead->running--;
    pthread_cond_broadcast(&ahead->left);
    pthread_mutex_unlock(&ahead->lock);
    return NULL;
}

/* Waits for a signal; false when the deadline has passed. The lock is held. */
static bool wait_until(struct ahead *ahead, pthread_cond_t *condition, uint64_t deadline_ms)
{
    if (ahead->options.threads == 0) {
        clock_pass(deadline_ms);
        return false;
    }
    struct timespec at = {.tv_sec = (time_t)(deadline_ms / 1000), .tv_nsec = (long)(deadline_ms % 1000) * 1000000};
    return pthread_cond_timedwait(condition, &ahead->lock, &at) != ETIMEDOUT;
}

static void conditions_init(struct ahead *ahead)
{
    pthread_condattr_t attributes;
    CHECK(pthread_mutex_init(&ahead->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&ahead->work, &attributes) == 0);
    CHECK(pthread_cond_init(&ahead->ready, &attributes) == 0);
    CHECK(pthread_cond_init(&ahead->left, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

static enum sorex_status start_thread(struct ahead *ahead, struct sorex_error *err)
{
    pthread_mutex_lock(&ahead->lock);
    int native = pthread_create(&ahead->threads[ahead->thread_count], NULL, run, ahead);
    if (native == 0) {
        ahead->thread_count++;
        ahead->running++;
    }
    pthread_mutex_unlock(&ahead->lock);
    return native == 0 ? SOREX_OK : sorex_error_set_errno(err, SOREX_IO, native, "start a fetch thread");
}

enum sorex_status ahead_new(struct source *source, const struct ahead_options *options, struct ahead **out,
                            struct sorex_error *err)
{
    CHECK(options->window > 0);
    struct ahead *ahead = calloc(1, sizeof *ahead);
    if (ahead == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the read-ahead");
    ahead->source = source;
    ahead->options = *options;
    conditions_init(ahead);
    ahead->slots = calloc(options->window, sizeof *ahead->slots);
    ahead->threads = calloc((size_t)options->threads + 1, sizeof *ahead->threads);
    enum sorex_status status = SOREX_OK;
    if (ahead->slots == NULL || ahead->threads == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory for the read-ahead");
    while (status == SOREX_OK && ahead->thread_count < options->threads)
        status = start_thread(ahead, err);
    if (status != SOREX_OK) {
        ahead_free(ahead);
        return status;
    }
    *out = ahead;
    return SOREX_OK;
}

/* The lock is held. */
static void discard(struct ahead *ahead)
{
    for (uint32_t i = 0; i < ahead->options.window; i++) {
        buf_deinit(&ahead->slots[i].raw);
        ahead->slots[i].state = SLOT_EMPTY;
    }
    ahead->generation++;
    ahead->next = ahead->head;
    ahead->bytes_ready = 0;
    ahead->failed = false;
}

static bool busy(const struct ahead *ahead, bool threads) { return threads ? ahead->running != 0 : ahead->asking; }

/* Interrupts the source until no thread, or no taker, is inside a call of it. The lock is held on entry and on return.
 */
static void interrupt_while_busy(struct ahead *ahead, bool threads)
{
    struct source *source = ahead->source;
    while (source->type->interrupt != NULL && busy(ahead, threads)) {
        pthread_mutex_unlock(&ahead->lock);
        source->type->interrupt(source);
        pthread_mutex_lock(&ahead->lock);
        if (busy(ahead, threads))
            (void)wait_until(ahead, &ahead->left, clock_ms() + INTERRUPT_EVERY_MS);
    }
}

void ahead_free(struct ahead *ahead)
{
    if (ahead == NULL)
        return;
    pthread_mutex_lock(&ahead->lock);
    ahead->closing = true;
    pthread_cond_broadcast(&ahead->work);
    interrupt_while_busy(ahead, true);
    pthread_mutex_unlock(&ahead->lock);
    for (uint32_t i = 0; i < ahead->thread_count; i++)
        pthread_join(ahead->threads[i], NULL);
    if (ahead->slots != NULL)
        discard(ahead);
    pthread_cond_destroy(&ahead->left);
    pthread_cond_destroy(&ahead->ready);
    pthread_cond_destroy(&ahead->work);
    pthread_mutex_destroy(&ahead->lock);
    free(ahead->threads);
    free(ahead->slots);
    free(ahead);
}

void ahead_aim(struct ahead *ahead, uint32_t from, uint32_t last)
{
    pthread_mutex_lock(&ahead->lock);
    uint64_t limit = (uint64_t)last + 1;
    bool moved = ahead->head != from;
    if (moved) {
        ahead->head = from;
        discard(ahead);
    }
    if (moved || ahead->limit != limit || ahead->next == ahead->head) {
        ahead->limit = limit;
        pthread_cond_broadcast(&ahead->work);
    }
    pthread_mutex_unlock(&ahead->lock);
}

void ahead_discard(struct ahead *ahead)
{
    pthread_mutex_lock(&ahead->lock);
    discard(ahead);
    pthread_mutex_unlock(&ahead->lock);
}

/* Moves the head's block out. The lock is held. */
static void deliver(struct ahead *ahead, struct slot *slot, struct entry *out, struct buf *out_raw)
{
    *out = slot->entry;
    *out_raw = slot->raw;
    out->payload = buf_view(out_raw);
    slot->raw = (struct buf){0};
    slot->state = SLOT_EMPTY;
    ahead->bytes_ready -= out_raw->len;
    ahead->head++;
    bool half_empty = ahead->next - ahead->head <= ahead->options.window / 2;
    if (half_empty || ahead->bytes_ready <= ahead->options.bytes_max / 2)
        pthread_cond_broadcast(&ahead->work);
}

enum sorex_status ahead_take(struct ahead *ahead, uint64_t deadline_ms, struct entry *out, struct buf *out_raw,
                             struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    *out_raw = (struct buf){0};
    pthread_mutex_lock(&ahead->lock);
    struct slot *slot = slot_of(ahead, ahead->head);
    while (slot->state != SLOT_READY && slot->state != SLOT_FAILED && status == SOREX_OK) {
        if (ahead->options.threads == 0 && may_start(ahead))
            work_once(ahead);
        else if (ahead->woken || !wait_until(ahead, &ahead->ready, deadline_ms))
            status = SOREX_BUSY;
    }
    if (slot->state == SLOT_FAILED) {
        status = slot->error.status;
        if (err != NULL)
            *err = slot->error;
    } else if (slot->state == SLOT_READY) {
        status = SOREX_OK;
        deliver(ahead, slot, out, out_raw);
    }
    pthread_mutex_unlock(&ahead->lock);
    return status;
}

void ahead_pause(struct ahead *ahead, uint64_t deadline_ms)
{
    pthread_mutex_lock(&ahead->lock);
    while (!ahead->woken && wait_until(ahead, &ahead->ready, deadline_ms)) {
    }
    pthread_mutex_unlock(&ahead->lock);
}

void ahead_wake(struct ahead *ahead)
{
    pthread_mutex_lock(&ahead->lock);
    ahead->woken = true;
    pthread_cond_signal(&ahead->ready);
    interrupt_while_busy(ahead, false);
    pthread_mutex_unlock(&ahead->lock);
}

bool ahead_ask_begin(struct ahead *ahead)
{
    pthread_mutex_lock(&ahead->lock);
    ahead->asking = !ahead->woken;
    bool allowed = ahead->asking;
    pthread_mutex_unlock(&ahead->lock);
    return allowed;
}

void ahead_ask_end(struct ahead *ahead)
{
    pthread_mutex_lock(&ahead->lock);
    ahead->asking = false;
    pthread_cond_broadcast(&ahead->left);
    pthread_mutex_unlock(&ahead->lock);
}

bool ahead_woken(struct ahead *ahead)
{
    pthread_mutex_lock(&ahead->lock);
    bool woken = ahead->woken;
    ahead->woken = false;
    pthread_mutex_unlock(&ahead->lock);
    return woken;
}
