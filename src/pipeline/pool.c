/* A ring of jobs between two counters: the owner submits at `tail` and takes at `head`, workers begin at `next` between them.
 *
 *     head          next          tail
 *      |  begun, done |  not begun  |
 *
 * A slot's `done` is set by the worker that did it. One mutex for all: jobs are batches of events, not events. */
#include "pipeline/pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/signals.h"

struct slot {
    void *job;
    bool done;
};

struct crew_member {
    struct pool *pool;
    void *worker;
    pthread_t thread;
};

struct pool {
    pool_work_fn *work;
    void *alone; /* the only worker: no threads */
    size_t threads;
    size_t depth;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t submitted, finished;
    struct slot *slots; /* depth of them */
    size_t head, next, tail;
    bool closing;
    struct crew_member members[];
};

static void *member_main(void *user_data)
{
    struct crew_member *member = user_data;
    struct pool *pool = member->pool;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->closing && pool->next == pool->tail)
            pthread_cond_wait(&pool->submitted, &pool->lock);
        if (pool->closing)
            break;
        struct slot *slot = &pool->slots[pool->next++ % pool->depth];
        pthread_mutex_unlock(&pool->lock);
        pool->work(member->worker, slot->job);
        pthread_mutex_lock(&pool->lock);
        slot->done = true;
        pthread_cond_signal(&pool->finished);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals are the owner's business. */
static bool thread_start(struct crew_member *member)
{
    sigset_t before;
    signals_block(&before);
    int failed = pthread_create(&member->thread, NULL, member_main, member);
    signals_restore(&before);
    return failed == 0;
}

enum sorex_status pool_new(pool_work_fn *work, void *const *workers, size_t count, struct pool **out, struct sorex_error *err)
{
    CHECK(count > 0 && count <= POOL_WORKERS_MAX);
    struct pool *pool = calloc(1, sizeof *pool + count * sizeof pool->members[0]);
    size_t depth = count == 1 ? 1 : 2 * count;
    struct slot *slots = calloc(depth, sizeof *slots);
    if (pool == NULL || slots == NULL) {
        free(pool);
        free(slots);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: a pool of %zu workers", count);
    }
    pool->work = work;
    pool->depth = depth;
    pool->slots = slots;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->submitted, NULL);
    (void)pthread_cond_init(&pool->finished, NULL);
    if (count == 1) {
        pool->alone = workers[0];
        *out = pool;
        return SOREX_OK;
    }
    for (; pool->threads < count; pool->threads++) {
        struct crew_member *member = &pool->members[pool->threads];
        member->pool = pool;
        member->worker = workers[pool->threads];
        if (!thread_start(member)) {
            size_t started = pool->threads;
            pool_free(pool);
            return sorex_error_set(err, SOREX_FATAL, "worker %zu of %zu could not be started; ask for fewer instances", started + 1,
                                   count);
        }
    }
    *out = pool;
    return SOREX_OK;
}

void pool_free(struct pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->submitted);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->threads; i++)
        (void)pthread_join(pool->members[i].thread, NULL);
    (void)pthread_cond_destroy(&pool->submitted);
    (void)pthread_cond_destroy(&pool->finished);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->slots);
    free(pool);
}

size_t pool_depth(const struct pool *pool)
{
    return pool->depth;
}

/* head and tail are written by the owner only. */
size_t pool_waiting(const struct pool *pool)
{
    return pool->tail - pool->head;
}

void pool_submit(struct pool *pool, void *job)
{
    CHECK(pool_waiting(pool) < pool->depth);
    pthread_mutex_lock(&pool->lock);
    pool->slots[pool->tail % pool->depth] = (struct slot){.job = job};
    pool->tail++;
    pthread_cond_signal(&pool->submitted);
    pthread_mutex_unlock(&pool->lock);
}

void *pool_take(struct pool *pool)
{
    CHECK(pool_waiting(pool) > 0);
    struct slot *slot = &pool->slots[pool->head % pool->depth];
    if (pool->threads == 0) {
        pool->work(pool->alone, slot->job);
    } else {
        pthread_mutex_lock(&pool->lock);
        while (!slot->done)
            pthread_cond_wait(&pool->finished, &pool->lock);
        pthread_mutex_unlock(&pool->lock);
    }
    void *job = slot->job;
    pool->head++;
    return job;
}
