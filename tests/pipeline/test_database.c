/* The embedded database at the end of the real chain: its state at a height is what a run that stopped there left, and
 * what a rollback to there leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "pipeline/pipeline.h"
#include "sink/embedded.h"
#include "store/scratch.h"

/* Not 0: the first block has no changes, so there is no table yet, and DDL is not undone. */
static const uint32_t heights[] = {1,    9,    170,  171,  500,  1000,  2016,  2580,
                                   3000, 4500, 5999, 7777, 9999, 12000, 13999, 14131};
#define HEIGHTS (sizeof heights / sizeof *heights)

struct state {
    uint8_t digest[SHA256_BYTES];
    char rows[64];
};

static char dir[SCRATCH_PATH_MAX];
static char file[SCRATCH_PATH_MAX + 32];
static struct sorex_error err;

#define MUST(call)                               \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

/* No sinks: the embedded database is where rows go then. */
static void file_write(void)
{
    struct buf text = {0};
    const char *guests = getenv("SOREX_GUESTS"), *source = getenv("SOREX_SOURCE_DIR");
    assert_true(guests != NULL && source != NULL);
    MUST(buf_printf(&text, &err,
                    "name: chain\ndata: data\nhistory: full\nsource: {type: blockfiles, path: %s/examples/blocks}\n"
                    "indexer: {name: utxo, wasm: %s/utxo.wasm}\n"
                    "transforms: [{name: balances, wasm: %s/balances.wasm}]\n",
                    source, guests, guests));
    (void)snprintf(file, sizeof file, "%s/chain.yaml", dir);
    MUST(file_replace(file, buf_view(&text), &err));
    buf_deinit(&text);
}

/* The sink's bookkeeping aside: sequences differ with the way. */
static void state_take(struct embedded *embedded, uint32_t height, uint32_t wanted, struct state *out)
{
    struct database *database;
    struct results results;
    uint32_t at;
    MUST(embedded_fork(embedded, height, &database, &at, &err));
    assert_int_equal(at, wanted);
    results_init(&results, 0);
    MUST(database_exec(database, "SELECT count(*) || ' ' || sum(balance) FROM balances; DROP TABLE sorex_cursor",
                       &results, &err));
    if (results.error != NULL)
        fail_msg("%.*s", BYTES_FMT(results.error->fields[PROTOCOL_FIELD_MESSAGE]));
    (void)snprintf(out->rows, sizeof out->rows, "%.*s", BYTES_FMT(results.first->rows[0][0].bytes));
    results_deinit(&results);
    MUST(database_digest(database, out->digest, &err));
    database_close(database);
}

static void states_equal(const struct state *a, const struct state *b)
{
    assert_string_equal(a->rows, b->rows);
    assert_memory_equal(a->digest, b->digest, SHA256_BYTES);
}

/* Opens the pipeline, undoes down to `back` unless that is SOREX_HEIGHT_NONE, and goes on to `until`. */
static struct pipeline *pipeline_at(struct pipeline_settings *settings, uint32_t back, uint32_t until)
{
    struct pipeline *pipeline;
    struct pipeline_summary summary;
    uint64_t undone;
    MUST(pipeline_settings_read(file, NULL, 0, settings, &err));
    MUST(pipeline_new(settings, &(struct pipeline_options){0}, &pipeline, &err));
    assert_non_null(pipeline_database(pipeline, NULL));
    assert_ptr_equal(pipeline_database(pipeline, "database"), pipeline_database(pipeline, NULL));
    assert_null(pipeline_database(pipeline, "another"));
    if (back != SOREX_HEIGHT_NONE)
        MUST(pipeline_rollback(pipeline, back, &undone, &err));
    MUST(pipeline_run(pipeline, until, &summary, &err));
    return pipeline;
}

static void pipeline_end(struct pipeline *pipeline, struct pipeline_settings *settings)
{
    pipeline_free(pipeline);
    pipeline_settings_deinit(settings);
}

static void the_state_at_a_height_is_that_of_a_run_that_stopped_there(void **unused)
{
    (void)unused;
    static struct state at[HEIGHTS];
    struct pipeline_settings settings;
    struct pipeline *pipeline = NULL;
    struct state now;
    file_write();
    for (size_t i = 0; i < HEIGHTS; i++) {
        if (pipeline != NULL)
            pipeline_end(pipeline, &settings);
        pipeline = pipeline_at(&settings, SOREX_HEIGHT_NONE, heights[i]);
        state_take(pipeline_database(pipeline, NULL), SOREX_HEIGHT_NONE, heights[i], &at[i]);
    }
    assert_string_not_equal(at[HEIGHTS - 1].rows, at[HEIGHTS - 2].rows);
    for (size_t i = 0; i < HEIGHTS; i++) {
        state_take(pipeline_database(pipeline, NULL), heights[i], heights[i], &now);
        states_equal(&now, &at[i]);
    }
    for (size_t i = HEIGHTS - 1; i > 0; i -= i > 4 ? 4 : 1) {
        pipeline_end(pipeline, &settings);
        pipeline = pipeline_at(&settings, heights[i - 1], heights[i - 1]);
        state_take(pipeline_database(pipeline, NULL), SOREX_HEIGHT_NONE, heights[i - 1], &now);
        states_equal(&now, &at[i - 1]);
    }
    pipeline_end(pipeline, &settings);
}

static int set_up(void **state)
{
    (void)state;
    scratch_make(dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(dir);
    return 0;
}

int main(void)
{
    log_level_set(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_state_at_a_height_is_that_of_a_run_that_stopped_there),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
