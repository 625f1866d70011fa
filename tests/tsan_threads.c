/* C11's threads on POSIX's, for programs under ThreadSanitizer.
 *
 * Its runtime knows pthread_create and the locks of POSIX, but not those of <threads.h>: a thread that librdkafka starts with
 * thrd_create has no state in it and ends the process at its first allocation. Linked into every program of that build, these take
 * the place of the C library's, also for the shared libraries. glibc's types are as large as POSIX's, and made of them. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "a mutex fits");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "a condition fits");

#define EXPORT __attribute__((visibility("default")))
#define MUTEX(m) ((pthread_mutex_t *)(void *)(m))
#define COND(c) ((pthread_cond_t *)(void *)(c))

struct start {
    thrd_start_t fn;
    void *arg;
};

static void *run(void *user_data)
{
    struct start start = *(struct start *)user_data;
    free(user_data);
    return (void *)(intptr_t)start.fn(start.arg);
}

static int result(int error)
{
    switch (error) {
    case 0: return thrd_success;
    case EBUSY: return thrd_busy;
    case ENOMEM: return thrd_nomem;
    case ETIMEDOUT: return thrd_timedout;
    default: return thrd_error;
    }
}

EXPORT int thrd_create(thrd_t *thread, thrd_start_t fn, void *arg)
{
    struct start *start = malloc(sizeof *start);
    if (!start)
        return thrd_nomem;
    *start = (struct start){fn, arg};
    int error = pthread_create(thread, NULL, run, start);
    if (error)
        free(start);
    return result(error);
}

EXPORT int thrd_join(thrd_t thread, int *out)
{
    void *value;
    int error = pthread_join(thread, &value);
    if (!error && out)
        *out = (int)(intptr_t)value;
    return result(error);
}

EXPORT int mtx_init(mtx_t *mutex, int type)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    if (type & mtx_recursive)
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    int error = pthread_mutex_init(MUTEX(mutex), &attributes);
    pthread_mutexattr_destroy(&attributes);
    return result(error);
}

EXPORT void mtx_destroy(mtx_t *mutex) { pthread_mutex_destroy(MUTEX(mutex)); }
EXPORT int mtx_lock(mtx_t *mutex) { return result(pthread_mutex_lock(MUTEX(mutex))); }
EXPORT int mtx_unlock(mtx_t *mutex) { return result(pthread_mutex_unlock(MUTEX(mutex))); }

EXPORT int cnd_init(cnd_t *cond) { return result(pthread_cond_init(COND(cond), NULL)); }
EXPORT void cnd_destroy(cnd_t *cond) { pthread_cond_destroy(COND(cond)); }
EXPORT int cnd_signal(cnd_t *cond) { return result(pthread_cond_signal(COND(cond))); }
EXPORT int cnd_broadcast(cnd_t *cond) { return result(pthread_cond_broadcast(COND(cond))); }
EXPORT int cnd_wait(cnd_t *cond, mtx_t *mutex) { return result(pthread_cond_wait(COND(cond), MUTEX(mutex))); }

EXPORT int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until)
{
    return result(pthread_cond_timedwait(COND(cond), MUTEX(mutex), until));
}
