/* Every allocation of the engine fails in turn, through the lives of life.c. What comes back is an error that says so
 * (or the work is done without); no crash, no leak (with AddressSanitizer), and the next life ends as an undisturbed
 * one. RocksDB, Wasmtime, libpq and the C library are not the engine: their memory is not touched. With FAULT_LONG=1
 * every single one, otherwise a sample. FAULT_LIFE and FAULT_FIRST go on where a walk failed. */
#define ALLOC_REAL
#include "fault/alloc.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "fault/life.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#else
static int __lsan_do_recoverable_leak_check(void) { return 0; }
#endif

static void on_crash(int signal_number)
{
    static const char text[] = "\ncrashed after the allocation at ";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    (void)!write(STDERR_FILENO, alloc_failed(), strlen(alloc_failed()));
    (void)!write(STDERR_FILENO, "\n", 1);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

static void prepare(const struct life *life)
{
    (void)alloc_arm(0);
    if (life->prepare != NULL)
        life->prepare();
}

static void undisturbed(const struct life *life, uint8_t out_result[SHA256_BYTES], const char *when)
{
    struct sorex_error err = {0};
    if (life->live(out_result, &err) != SOREX_OK)
        fail_msg("%s, %s: %s", life->name, when, err.text);
}

static void fail_one(const struct life *life, unsigned long nth, const uint8_t wanted[SHA256_BYTES])
{
    uint8_t got[SHA256_BYTES];
    struct sorex_error err = {0};
    char where[300];
    prepare(life);
    (void)alloc_arm(nth);
    enum sorex_status status = life->live(got, &err);
    (void)snprintf(where, sizeof where, "after allocation %lu (%s) failed", nth, alloc_failed());
    (void)alloc_arm(0);
    /* A sink's failure has the run's status and the sink's text. */
    bool named = err.text[0] != '\0' && (status == SOREX_NOMEM || strstr(err.text, "out of memory") != NULL);
    if (status != SOREX_OK && !named)
        fail_msg("%s, %s: status %d, \"%s\"", life->name, where, (int)status, err.text);
    if (status == SOREX_OK && memcmp(got, wanted, sizeof got) != 0)
        fail_msg("%s, %s: another result", life->name, where);
    if (__lsan_do_recoverable_leak_check() != 0)
        fail_msg("%s, %s: a leak", life->name, where);
    undisturbed(life, got, where);
    if (memcmp(got, wanted, sizeof got) != 0)
        fail_msg("%s, %s: the next life has another result", life->name, where);
}

static void walk(const struct life *life)
{
    uint8_t wanted[SHA256_BYTES];
    const char *first = getenv("FAULT_FIRST");
    prepare(life);
    undisturbed(life, wanted, "the first time"); /* what is made once per process is made now */
    prepare(life);
    undisturbed(life, wanted, "undisturbed");
    unsigned long total = alloc_arm(0);
    bool all = life->sample == 0 || getenv("FAULT_LONG") != NULL || total < life->sample;
    unsigned long step = all ? 1 : total / life->sample;
    print_message("%s: %lu allocations, every %luth fails\n", life->name, total, step);
    assert_true(total > 5);
    for (unsigned long nth = first != NULL ? strtoul(first, NULL, 10) : 1; nth <= total; nth += step)
        fail_one(life, nth, wanted);
}

static void every_allocation(void **state)
{
    (void)state;
    const char *only = getenv("FAULT_LIFE");
    (void)signal(SIGABRT, on_crash);
    for (size_t i = 0; i < lives_count; i++)
        if ((only == NULL || strcmp(only, lives[i].name) == 0) && life_possible(&lives[i]))
            walk(&lives[i]);
}

static int setup(void **state)
{
    (void)state;
    log_level_set(LOG_OFF);
    lives_start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)alloc_arm(0);
    lives_end();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
