/* What tests of databases share: a program that is loaded once, and statements whose results are looked at. */
#ifndef SOREX_TESTS_PG_STATEMENTS_H
#define SOREX_TESTS_PG_STATEMENTS_H

#include "pg/database.h"
#include "pg/pg.h"

static struct database_program *program;
static struct results results; /* of the last statement */

static inline int setup(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database_program_options options = {.dir = PG_DIR, .cache_dir = PG_CACHE};
    assert_ok(database_program_open(&options, &program, &err));
    results_init(&results, 0);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    results_deinit(&results);
    database_program_close(program);
    return 0;
}

static inline struct database *open_with(const struct database_options *options)
{
    struct sorex_error err = {0};
    struct database *database = NULL;
    assert_ok(database_open(program, options, &database, &err));
    return database;
}

static inline void exec_ok(struct database *database, const char *sql)
{
    struct sorex_error err = {0};
    assert_ok(database_exec(database, sql, &results, &err));
    if (results.error != NULL) {
        (void)result_error(results.error, &err);
        fail_msg("%s: %s", sql, err.text);
    }
}

/* The only value of the only row. */
static inline void exec_value(struct database *database, const char *sql, const char *wanted)
{
    exec_ok(database, sql);
    assert_int_equal(results.first->rows_count, 1);
    struct bytes value = results.first->rows[0][0].bytes;
    if (!bytes_is(value, wanted))
        fail_msg("%s: %.*s, wanted %s", sql, BYTES_FMT(value), wanted);
}

#endif
