#include "pipeline/outlet.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/signals.h"

#define STOP_GRACE_S 1

struct outlet {
    struct sink *sink;
    pthread_t thread;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;
    const struct sink_batch *batch; /* on its way; NULL: none */
    bool closing, finished;
    enum sorex_status status; /* of the last one */
    struct sorex_error err;
};

static void *outlet_main(void *user_data)
{
    struct outlet *outlet = user_data;
    (void)pthread_mutex_lock(&outlet->lock);
    for (;;) {
        while (outlet->batch == NULL && !outlet->closing)
            (void)pthread_cond_wait(&outlet->changed, &outlet->lock);
        if (outlet->batch == NULL)
            break;
        struct sorex_error err = {0};
        (void)pthread_mutex_unlock(&outlet->lock);
        enum sorex_status status = outlet->sink->type->apply(outlet->sink, outlet->batch, &err);
        (void)pthread_mutex_lock(&outlet->lock);
        outlet->status = status;
        outlet->err = err;
        outlet->batch = NULL;
        (void)pthread_cond_broadcast(&outlet->changed);
    }
    outlet->finished = true;
    (void)pthread_cond_broadcast(&outlet->changed);
    (void)pthread_mutex_unlock(&outlet->lock);
    return NULL;
}

static int thread_start(struct outlet *outlet)
{
    sigset_t before;
    signals_block(&before);
    int failed = pthread_create(&outlet->thread, NULL, outlet_main, outlet);
    signals_restore(&before);
    return failed;
}

enum sorex_status outlet_new(struct sink *sink, struct outlet **out, struct sorex_error *err)
{
    struct outlet *outlet = calloc(1, sizeof *outlet);
    if (outlet == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: the thread of a sink");
    outlet->sink = sink;
    pthread_condattr_t monotonic;
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&outlet->changed, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    CHECK(pthread_mutex_init(&outlet->lock, NULL) == 0);
    int failed = thread_start(outlet);
    if (failed != 0) {
        (void)pthread_cond_destroy(&outlet->changed);
        (void)pthread_mutex_destroy(&outlet->lock);
        free(outlet);
        return sorex_error_set_errno(err, SOREX_FATAL, failed, "start the thread of a sink");
    }
    *out = outlet;
    return SOREX_OK;
}

void outlet_free(struct outlet *outlet)
{
    if (outlet == NULL)
        return;
    struct timespec deadline;
    (void)clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += STOP_GRACE_S;
    (void)pthread_mutex_lock(&outlet->lock);
    outlet->closing = true;
    (void)pthread_cond_broadcast(&outlet->changed);
    while (!outlet->finished && pthread_cond_timedwait(&outlet->changed, &outlet->lock, &deadline) != ETIMEDOUT)
        continue;
    bool finished = outlet->finished;
    (void)pthread_mutex_unlock(&outlet->lock);
    if (!finished && outlet->sink->type->interrupt != NULL)
        outlet->sink->type->interrupt(outlet->sink);
    (void)pthread_join(outlet->thread, NULL);
    (void)pthread_cond_destroy(&outlet->changed);
    (void)pthread_mutex_destroy(&outlet->lock);
    free(outlet);
}

void outlet_submit(struct outlet *outlet, const struct sink_batch *batch)
{
    (void)pthread_mutex_lock(&outlet->lock);
    CHECK(outlet->batch == NULL);
    outlet->batch = batch;
    (void)pthread_cond_broadcast(&outlet->changed);
    (void)pthread_mutex_unlock(&outlet->lock);
}

bool outlet_busy(struct outlet *outlet)
{
    (void)pthread_mutex_lock(&outlet->lock);
    bool busy = outlet->batch != NULL;
    (void)pthread_mutex_unlock(&outlet->lock);
    return busy;
}

enum sorex_status outlet_wait(struct outlet *outlet, struct sorex_error *err)
{
    (void)pthread_mutex_lock(&outlet->lock);
    while (outlet->batch != NULL)
        (void)pthread_cond_wait(&outlet->changed, &outlet->lock);
    enum sorex_status status = outlet->status;
    if (status != SOREX_OK && err != NULL)
        *err = outlet->err;
    (void)pthread_mutex_unlock(&outlet->lock);
    return status;
}
