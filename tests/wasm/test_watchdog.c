/* The watchdog: warns, stops by time and on request, and lets go at the end. */
#include "wasm/module.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/log.h"
#include "wasm/watchdog.h"

static const char forever[] = "(module (func $forever (export \"forever\") (param i32) (loop (br 0)))"
                              " (func (export \"nothing\") (param i32)))";

static struct wasm_program *interruptible(void)
{
    return program_of(forever, &(struct wasm_program_options){.settings = {.interruptible = true}});
}

static void test_timeout(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program = interruptible();
    for (uint64_t timeout = 1; timeout <= 150; timeout += 49) {
        struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
        struct watchdog_call watched = {.sandbox = sandbox, .what = "test", .stop_ms = timeout};
        uint64_t start = clock_ms();
        watchdog_begin(&watched);
        int32_t value = 0;
        assert_int_equal(call(sandbox, "forever", &value, &err), SOREX_STOPPED);
        watchdog_end(&watched);
        assert_true(watched.stopped && watched.timed_out);
        assert_true(clock_ms() - start + 1 >= timeout);
        wasm_sandbox_close(sandbox);
    }
    wasm_program_close(program);
}

static bool stop_at_third(void *asked) { return atomic_fetch_add((atomic_int *)asked, 1) == 2; }

static void test_stop_function(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program = interruptible();
    struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
    atomic_int asked = 0;
    struct watchdog_call watched = {
        .sandbox = sandbox, .what = "test", .stop = stop_at_third, .stop_user_data = &asked};
    watchdog_begin(&watched);
    int32_t value = 0;
    assert_int_equal(call(sandbox, "forever", &value, &err), SOREX_STOPPED);
    watchdog_end(&watched);
    assert_true(watched.stopped && !watched.timed_out);
    assert_int_equal(asked, 3); /* not asked again once it said so */
    wasm_sandbox_close(sandbox);
    wasm_program_close(program);
}

/* -- warnings, without a guest: what cannot be stopped is reported again and again */

static atomic_int warnings;

static void count_warning(enum log_level level, const char *component, const char *text, void *user_data)
{
    (void)user_data;
    if (level == LOG_WARN && strcmp(component, "watchdog") == 0 &&
        strncmp(text, "program p at height 7 has been running for ", 43) == 0)
        atomic_fetch_add(&warnings, 1);
}

static bool never(void *seen)
{
    atomic_store((atomic_bool *)seen, true);
    return false;
}

static void test_warns(void **state)
{
    (void)state;
    atomic_bool seen = false;
    struct watchdog_call watched = {
        .what = "program p at height 7", .warn_ms = 20, .stop = never, .stop_user_data = &seen};
    log_sink_set(count_warning, NULL);
    watchdog_begin(&watched);
    uint64_t deadline = clock_ms() + 20000;
    while (atomic_load(&warnings) < 2 && clock_ms() < deadline)
        (void)sched_yield();
    watchdog_end(&watched);
    log_sink_set(NULL, NULL);
    assert_true(atomic_load(&warnings) >= 2);
    assert_true(atomic_load(&seen));
    assert_false(watched.stopped);
}

/* -- many short calls on several threads: the list holds together, nothing is stopped */

/* NULL when all went well, else program. */
static void *short_calls(void *program)
{
    struct sorex_error err = {0};
    atomic_bool seen = false;
    for (int i = 0; i < 2000; i++) {
        struct wasm_sandbox *sandbox = NULL;
        if (wasm_sandbox_open(program, NULL, NULL, &sandbox, &err) != SOREX_OK)
            return program;
        struct watchdog_call watched = {
            .sandbox = sandbox, .what = "short", .stop_ms = 60000, .stop = never, .stop_user_data = &seen};
        watchdog_begin(&watched);
        union wasm_value value = {0};
        enum sorex_status status = wasm_sandbox_call(sandbox, wasm_program_export(program, "nothing"), &value, &err);
        watchdog_end(&watched);
        wasm_sandbox_close(sandbox);
        if (status != SOREX_OK || watched.stopped)
            return program;
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct wasm_program *program = interruptible();
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, short_calls, program), 0);
    for (size_t i = 0; i < 4; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    wasm_program_close(program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_stop_function),
        cmocka_unit_test(test_warns),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
