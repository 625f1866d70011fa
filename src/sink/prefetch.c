#include "sink/prefetch.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"

enum work { WORK_NONE, WORK_WANTED, WORK_DONE };

struct prefetch {
    struct feed *feed;
    pthread_t thread;
    bool asked;           /* the caller's own */
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;
    enum work work;
    bool stop;
    uint64_t head;
    uint32_t tip;
    struct feed_answer answer; /* the thread's while work is WANTED, else the caller's */
};

static void *thread_main(void *user_data)
{
    struct prefetch *prefetch = user_data;
    (void)pthread_mutex_lock(&prefetch->lock);
    for (;;) {
        while (prefetch->work != WORK_WANTED && !prefetch->stop)
            (void)pthread_cond_wait(&prefetch->changed, &prefetch->lock);
        if (prefetch->work != WORK_WANTED)
            break;
        (void)pthread_mutex_unlock(&prefetch->lock);
        feed_next(prefetch->feed, prefetch->head, prefetch->tip, &prefetch->answer);
        (void)pthread_mutex_lock(&prefetch->lock);
        prefetch->work = WORK_DONE;
        (void)pthread_cond_broadcast(&prefetch->changed);
    }
    (void)pthread_mutex_unlock(&prefetch->lock);
    return NULL;
}

enum sorex_status prefetch_new(struct feed *feed, struct prefetch **out, struct sorex_error *err)
{
    struct prefetch *prefetch = calloc(1, sizeof *prefetch);
    if (prefetch == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    prefetch->feed = feed;
    CHECK(pthread_mutex_init(&prefetch->lock, NULL) == 0);
    CHECK(pthread_cond_init(&prefetch->changed, NULL) == 0);
    int failed = pthread_create(&prefetch->thread, NULL, thread_main, prefetch);
    if (failed != 0) {
        (void)pthread_cond_destroy(&prefetch->changed);
        (void)pthread_mutex_destroy(&prefetch->lock);
        free(prefetch);
        return sorex_error_set_errno(err, SOREX_IO, failed, "start a thread");
    }
    *out = prefetch;
    return SOREX_OK;
}

void prefetch_free(struct prefetch *prefetch)
{
    if (prefetch == NULL)
        return;
    (void)pthread_mutex_lock(&prefetch->lock);
    prefetch->stop = true;
    (void)pthread_cond_broadcast(&prefetch->changed);
    (void)pthread_mutex_unlock(&prefetch->lock);
    (void)pthread_join(prefetch->thread, NULL);
    (void)pthread_cond_destroy(&prefetch->changed);
    (void)pthread_mutex_destroy(&prefetch->lock);
    free(prefetch);
}

void prefetch_ask(struct prefetch *prefetch, uint64_t head, uint32_t tip)
{
    CHECK(!prefetch->asked);
    prefetch->asked = true;
    (void)pthread_mutex_lock(&prefetch->lock);
    prefetch->head = head;
    prefetch->tip = tip;
    prefetch->work = WORK_WANTED;
    (void)pthread_cond_broadcast(&prefetch->changed);
    (void)pthread_mutex_unlock(&prefetch->lock);
}

bool prefetch_asked(const struct prefetch *prefetch) { return prefetch->asked; }

void prefetch_take(struct prefetch *prefetch, struct feed_answer *out)
{
    CHECK(prefetch->asked);
    prefetch->asked = false;
    (void)pthread_mutex_lock(&prefetch->lock);
    while (prefetch->work != WORK_DONE)
        (void)pthread_cond_wait(&prefetch->changed, &prefetch->lock);
    prefetch->work = WORK_NONE;
    *out = prefetch->answer;
    (void)pthread_mutex_unlock(&prefetch->lock);
}
