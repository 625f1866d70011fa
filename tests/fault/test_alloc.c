/* Every allocation of the engine fails in turn, through a pipeline's whole life: settings, opening, indexing, delivery,
 * undo, closing. What comes back is an error (or the work is done without); no crash, no leak (run with the
 * sanitizers), and the next life ends as an undisturbed one. RocksDB, Wasmtime and the C library are not the engine:
 * their memory is not touched. With FAULT_LONG=1 every single one, otherwise a sample. */
#define ALLOC_REAL
#include "fault/alloc.h"

#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "pipeline/pipeline.h"

#define TIP 6
#define UNDONE 3
#define SAMPLE 24 /* allocations in `make check`: about half a second each */

static char root[] = "/tmp/sorex-alloc-XXXXXX";
static char file[PATH_MAX];

static void pipeline_write(void)
{
    const char *guests = getenv("SOREX_GUESTS");
    const char *source = getenv("SOREX_SOURCE_DIR");
    assert_non_null(guests);
    assert_non_null(source);
    (void)snprintf(file, sizeof file, "%s/p.yaml", root);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    (void)fprintf(out,
                  "name: alloc\ndata: %s/data\nsource: {type: blockfiles, path: %s/examples/blocks}\n"
                  "indexer: {name: utxo, wasm: %s/utxo.wasm}\ntransforms: [{name: balances, wasm: %s/balances.wasm}]\n"
                  "sinks: [{type: file, path: %s/data/changes.jsonl}]\n",
                  root, source, guests, guests, root);
    assert_int_equal(fclose(out), 0);
}

static void data_remove(void)
{
    char command[PATH_MAX];
    (void)snprintf(command, sizeof command, "rm -rf %s/data", root);
    assert_int_equal(system(command), 0);
}

/* Opens, indexes up to TIP, delivers, undoes, indexes again, closes. */
static enum sorex_status live(uint8_t out[2][HASH_BYTES], struct sorex_error *err)
{
    static struct pipeline_settings settings;
    struct pipeline_options options = {0};
    struct pipeline_summary summary;
    struct pipeline *pipeline = NULL;
    uint64_t undone;
    (void)memset(&settings, 0, sizeof settings);
    enum sorex_status status = pipeline_settings_read(file, NULL, 0, &settings, err);
    if (status == SOREX_OK)
        status = pipeline_new(&settings, &options, &pipeline, err);
    if (status == SOREX_OK) {
        status = pipeline_run(pipeline, TIP, &summary, err);
        if (status == SOREX_OK)
            status = pipeline_rollback(pipeline, UNDONE, &undone, err);
        if (status == SOREX_OK)
            status = pipeline_run(pipeline, TIP, &summary, err);
        for (uint16_t program = 0; program < 2 && status == SOREX_OK; program++)
            status = store_commitment(pipeline_store(pipeline), TIP, program, out[program], err);
        pipeline_free(pipeline);
    }
    pipeline_settings_deinit(&settings);
    return status;
}

static void on_crash(int signal_number)
{
    static const char text[] = "\ncrashed after the allocation at ";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    (void)!write(STDERR_FILENO, alloc_failed(), strlen(alloc_failed()));
    (void)!write(STDERR_FILENO, "\n", 1);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

static void fail_one(unsigned long nth, uint8_t wanted[2][HASH_BYTES])
{
    uint8_t got[2][HASH_BYTES];
    struct sorex_error err = {0};
    char where[256];
    data_remove();
    (void)alloc_arm(nth);
    enum sorex_status status = live(got, &err);
    (void)snprintf(where, sizeof where, "%s", alloc_failed());
    (void)alloc_arm(0);
    /* A sink's failure has the run's status and the sink's text. */
    bool named = err.text[0] != '\0' && (status == SOREX_NOMEM || strstr(err.text, "out of memory") != NULL);
    if (status != SOREX_OK && !named)
        fail_msg("allocation %lu (%s): status %d, \"%s\"", nth, where, (int)status, err.text);
    if (status == SOREX_OK)
        assert_memory_equal(got, wanted, sizeof got);
    status = live(got, &err);
    if (status != SOREX_OK)
        fail_msg("after allocation %lu (%s) failed: status %d, \"%s\"", nth, where, (int)status, err.text);
    assert_memory_equal(got, wanted, sizeof got);
}

static void every_allocation(void **state)
{
    (void)state;
    uint8_t wanted[2][HASH_BYTES];
    struct sorex_error err = {0};
    (void)signal(SIGABRT, on_crash);
    data_remove();
    (void)alloc_arm(0);
    if (live(wanted, &err) != SOREX_OK)
        fail_msg("undisturbed: %s", err.text);
    unsigned long total = alloc_arm(0);
    const char *all = getenv("FAULT_LONG");
    unsigned long step = all != NULL || total < SAMPLE ? 1 : total / SAMPLE;
    print_message("%lu allocations, every %luth fails\n", total, step);
    assert_true(total > 100);
    const char *first = getenv("FAULT_FIRST"); /* to go on where a walk failed */
    for (unsigned long nth = first != NULL ? strtoul(first, NULL, 10) : 1; nth <= total; nth += step)
        fail_one(nth, wanted);
}

static int setup(void **state)
{
    (void)state;
    log_level_set(LOG_ERROR);
    if (access("/dev/shm", W_OK) == 0)
        (void)memcpy(root, "/dev/shm/alloc-XXXXXX", sizeof "/dev/shm/alloc-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    pipeline_write();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    data_remove();
    (void)unlink(file);
    return rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
