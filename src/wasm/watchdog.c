/* Running calls hang in one list; one thread looks at it ten times a second, or once in the shortest timeout that it
 * has seen since it was idle. Calls are often microseconds long, so beginning one does not wake the thread unless it is
 * idle (a hundred looks without a call) or would look too late for the call's timeout: with the pace of the shortest
 * one, that is once for each shorter one.
 *
 * Everything about a call is read and written under the mutex, the stop functions included: so watchdog_end, which
 * takes it, returns only when nothing of the watchdog touches the call any more. A stop function must therefore not
 * take a lock that is held around watchdog_begin or watchdog_end.
 *
 * The thread is detached and blocks all signals. It is not joined at exit: it holds no resource but its stack. */
#include "wasm/watchdog.h"

#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"

#define POLL_NS ((uint64_t)100 * 1000 * 1000)
#define MS_NS ((uint64_t)1000 * 1000)
#define IDLE_POLLS 100
#define WARN_MS_DEFAULT ((uint64_t)30000)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake;
static bool started;
static bool failed;
static bool idle; /* the thread waits to be woken */
static uint64_t pace_ns = POLL_NS;
static uint64_t next_look_ns;
static unsigned empty_polls;
static struct watchdog_call *calls;

static void stop(struct watchdog_call *call, bool timed_out)
{
    call->stopped = true;
    call->timed_out = timed_out;
    if (call->sandbox != NULL)
        wasm_sandbox_stop(call->sandbox);
}

static void look(struct watchdog_call *call, uint64_t now)
{
    if (now >= call->warn_next_ns) {
        log_line(LOG_WARN, "watchdog", "%s has been running for %llu s", call->what,
                 (unsigned long long)((now - call->started_ns) / (1000 * MS_NS)));
        call->warn_next_ns = now + call->warn_ms * MS_NS;
    }
    if (call->stopped) {
        /* Again: a tick is lost on a guest that was just answering the one before it, for another sandbox of its engine. */
        stop(call, call->timed_out);
        return;
    }
    if (call->stop_ms != 0 && now - call->started_ns >= call->stop_ms * MS_NS)
        stop(call, true);
    else if (call->stop != NULL && call->stop(call->stop_user_data))
        stop(call, false);
}

static void wait_until(uint64_t now, uint64_t next)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (next - now);
    until.tv_sec += (time_t)(ns / (1000 * MS_NS));
    until.tv_nsec = (long)(ns % (1000 * MS_NS));
    (void)pthread_cond_timedwait(&wake, &mutex, &until);
}

static void wait_for_next(void)
{
    empty_polls = calls == NULL ? empty_polls + 1 : 0;
    if (empty_polls > IDLE_POLLS) {
        idle = true;
        pace_ns = POLL_NS;
        (void)pthread_cond_wait(&wake, &mutex);
        idle = false;
        empty_polls = 0;
        return;
    }
    uint64_t now = clock_ns();
    next_look_ns = now + pace_ns;
    for (const struct watchdog_call *call = calls; call != NULL; call = call->next) {
        uint64_t end = call->started_ns + call->stop_ms * MS_NS;
        if (call->stop_ms != 0 && !call->stopped && end < next_look_ns)
            next_look_ns = end;
    }
    if (next_look_ns > now)
        wait_until(now, next_look_ns);
}

static void *watch(void *unused)
{
    (void)unused;
    (void)pthread_mutex_lock(&mutex);
    for (;;) {
        uint64_t now = clock_ns();
        for (struct watchdog_call *call = calls; call != NULL; call = call->next)
            look(call, now);
        wait_for_next();
    }
    return NULL;
}

static void thread_start(void)
{
    pthread_condattr_t clock;
    pthread_attr_t detached;
    pthread_t thread;
    sigset_t before;
    (void)pthread_condattr_init(&clock);
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&wake, &clock);
    (void)pthread_condattr_destroy(&clock);
    (void)pthread_attr_init(&detached);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    signals_block(&before);
    int code = pthread_create(&thread, &detached, watch, NULL);
    signals_restore(&before);
    (void)pthread_attr_destroy(&detached);
    started = code == 0;
    failed = code != 0;
    if (failed) {
        struct sorex_error err;
        (void)sorex_error_set_errno(&err, SOREX_IO, code, "no thread, long calls will not be reported");
        log_line(LOG_WARN, "watchdog", "%s", err.text);
    }
}

void watchdog_begin(struct watchdog_call *call)
{
    if (call->warn_ms == 0)
        call->warn_ms = WARN_MS_DEFAULT;
    call->started_ns = clock_ns();
    call->warn_next_ns = call->started_ns + call->warn_ms * MS_NS;
    call->stopped = false;
    call->timed_out = false;

    (void)pthread_mutex_lock(&mutex);
    if (!started && !failed)
        thread_start();
    call->link = &calls;
    call->next = calls;
    if (calls != NULL)
        calls->link = &call->next;
    calls = call;
    if (call->stop_ms != 0 && call->stop_ms * MS_NS < pace_ns)
        pace_ns = call->stop_ms * MS_NS;
    if (idle || (call->stop_ms != 0 && call->started_ns + call->stop_ms * MS_NS < next_look_ns))
        (void)pthread_cond_signal(&wake);
    (void)pthread_mutex_unlock(&mutex);
}

void watchdog_end(struct watchdog_call *call)
{
    (void)pthread_mutex_lock(&mutex);
    *call->link = call->next;
    if (call->next != NULL)
        call->next->link = call->link;
    (void)pthread_mutex_unlock(&mutex);
}
