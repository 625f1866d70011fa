/* The pool: whatever the workers do and however many there are, jobs come out in the order in which they went in, each done once. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "pipeline/pool.h"

#define JOBS 5000u
#define WORKERS 4u

struct job {
    unsigned number;
    unsigned done; /* times */
    const void *by;
};

struct worker {
    atomic_flag busy;
    unsigned jobs;
};

/* Some jobs take longer than others, so that later ones are ready first. */
static void work(void *worker, void *job)
{
    struct worker *w = worker;
    struct job *j = job;
    CHECK(!atomic_flag_test_and_set(&w->busy)); /* one call at a time with one worker */
    for (unsigned i = 0; i < (j->number * 2654435761u >> 16) % 64; i++)
        (void)sched_yield();
    j->done++;
    j->by = worker;
    w->jobs++;
    atomic_flag_clear(&w->busy);
}

static void run(size_t count)
{
    static struct job jobs[JOBS];
    struct worker workers[WORKERS] = {0};
    void *pointers[WORKERS];
    struct pool *pool;
    struct sorex_error err;
    for (size_t i = 0; i < WORKERS; i++)
        pointers[i] = &workers[i];
    for (unsigned i = 0; i < JOBS; i++)
        jobs[i] = (struct job){.number = i};
    assert_int_equal(pool_new(work, pointers, count, &pool, &err), SOREX_OK);
    unsigned submitted = 0, taken = 0;
    while (taken < JOBS) {
        while (submitted < JOBS && pool_waiting(pool) < pool_depth(pool))
            pool_submit(pool, &jobs[submitted++]);
        struct job *job = pool_take(pool);
        assert_ptr_equal(job, &jobs[taken]);
        assert_int_equal(job->done, 1);
        assert_non_null(job->by);
        taken++;
    }
    assert_int_equal(pool_waiting(pool), 0);
    pool_free(pool);
    unsigned total = 0;
    for (size_t i = 0; i < WORKERS; i++)
        total += workers[i].jobs;
    assert_int_equal(total, JOBS);
}

static void test_one(void **state)
{
    (void)state;
    run(1);
}

static void test_several(void **state)
{
    (void)state;
    run(2);
    run(WORKERS);
}

/* Jobs that are still waiting are dropped, those in hand are finished: freeing never hangs and nothing is done after it. */
static void test_free_with_jobs(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        struct job jobs[2 * WORKERS] = {0};
        struct worker workers[WORKERS] = {0};
        void *pointers[WORKERS];
        struct pool *pool;
        struct sorex_error err;
        for (size_t i = 0; i < WORKERS; i++)
            pointers[i] = &workers[i];
        assert_int_equal(pool_new(work, pointers, WORKERS, &pool, &err), SOREX_OK);
        for (unsigned i = 0; i < round % (2 * WORKERS + 1); i++) {
            jobs[i].number = i + round;
            pool_submit(pool, &jobs[i]);
        }
        pool_free(pool);
        for (size_t i = 0; i < 2 * WORKERS; i++)
            assert_true(jobs[i].done <= 1);
    }
}

static void look_at_signals(void *worker, void *job)
{
    (void)worker;
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, job) == 0);
}

/* A trap of a guest is a signal that its thread raises: where it is blocked, the kernel ends the process. */
static void test_signals(void **state)
{
    static const int raised[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    struct pool *pool;
    struct sorex_error err;
    sigset_t blocked;
    void *workers[2] = {NULL, NULL};
    (void)state;
    assert_int_equal(pool_new(look_at_signals, workers, 2, &pool, &err), SOREX_OK);
    pool_submit(pool, &blocked);
    (void)pool_take(pool);
    for (size_t i = 0; i < sizeof raised / sizeof raised[0]; i++)
        assert_int_equal(sigismember(&blocked, raised[i]), 0);
    assert_int_equal(sigismember(&blocked, SIGTERM), 1);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_free_with_jobs),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
