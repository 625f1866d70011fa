/* Goals 10 and 12: statements a second through the C interface of the embedded PostgreSQL, one session; opening,
 * forking and restoring. The rivals of goal 10 are figures measured elsewhere: PGlite in Node 20, the same statements.
 * The limit of goal 12 is absolute. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bench/harness.h"
#include "pg/database.h"

#define NODE "PGlite in Node"
#define STATEMENTS 10000
#define ROWS 50000

static struct sorex_error err;

#define OK(call)                                  \
    do {                                          \
        if ((call) != SOREX_OK)                   \
            bench_die("%s: %s", #call, err.text); \
    } while (0)

struct world {
    struct database_program *program;
    struct database *database;
    struct snapshot *snapshot;
    struct results results;
    uint32_t insert_types[3], select_types[1];
    int64_t id;
    int writes; /* statements between a snapshot and its restore */
    struct buf csv;
};

static struct database_program_options program_options = {.dir = SOREX_POSTGRES_DIR, .cache_dir = SOREX_POSTGRES_CACHE};

static void run(struct world *world, const char *sql)
{
    OK(database_exec(world->database, sql, &world->results, &err));
    if (world->results.error != NULL) {
        (void)result_error(world->results.error, &err);
        bench_die("%s: %s", sql, err.text);
    }
}

static void prepare(struct world *world, const char *name, const char *sql, uint32_t *types)
{
    OK(database_prepare(world->database, name, sql, &world->results, &err));
    memcpy(types, world->results.parameters, world->results.parameters_count * sizeof *types);
}

static void insert(struct world *world)
{
    char text[32];
    struct value values[3] = {{.kind = VALUE_IS_INTEGER, .integer = ++world->id},
                              {.kind = VALUE_IS_TEXT},
                              {.kind = VALUE_IS_INTEGER, .integer = world->id * 7}};
    (void)snprintf(text, sizeof text, "row %lld", (long long)world->id);
    values[1].bytes = bytes_str(text);
    OK(database_execute(world->database, "i", world->insert_types, values, 3, &world->results, &err));
    if (world->results.error != NULL)
        bench_die("an insert failed");
}

static double rate(uint64_t start, int count) { return count / ((double)(clock_ns() - start) / 1e9); }

static double inserts(void *user_data)
{
    struct world *world = user_data;
    run(world, "truncate t");
    uint64_t start = clock_ns();
    for (int i = 0; i < STATEMENTS; i++)
        insert(world);
    return rate(start, STATEMENTS);
}

static double selects(void *user_data)
{
    struct world *world = user_data;
    uint64_t start = clock_ns();
    for (int i = 0; i < STATEMENTS; i++) {
        struct value key = {.kind = VALUE_IS_INTEGER, .integer = 1 + (int64_t)i * 7919 % ROWS};
        OK(database_execute(world->database, "s", world->select_types, &key, 1, &world->results, &err));
        if (world->results.error != NULL || world->results.first->rows_count != 1)
            bench_die("a select failed");
    }
    return rate(start, STATEMENTS);
}

static double ones(void *user_data)
{
    struct world *world = user_data;
    uint64_t start = clock_ns();
    for (int i = 0; i < STATEMENTS; i++)
        OK(database_exec(world->database, "select 1", &world->results, &err));
    return rate(start, STATEMENTS);
}

static double failures(void *user_data)
{
    struct world *world = user_data;
    uint64_t start = clock_ns();
    for (int i = 0; i < STATEMENTS; i++) {
        OK(database_exec(world->database, "select 1/0", &world->results, &err));
        if (world->results.error == NULL)
            bench_die("1/0 did not fail");
    }
    return rate(start, STATEMENTS);
}

static double copies(void *user_data)
{
    struct world *world = user_data;
    run(world, "truncate c");
    uint64_t start = clock_ns();
    OK(database_copy_in(world->database, "copy c from stdin (format csv)", buf_view(&world->csv), &world->results,
                        &err));
    if (world->results.error != NULL)
        bench_die("the copy failed");
    return rate(start, ROWS);
}

/* -- states, in milliseconds */

static double ms(uint64_t start) { return (double)(clock_ns() - start) / 1e6; }

static double program_opens(void *user_data)
{
    (void)user_data;
    struct database_program *program = NULL;
    uint64_t start = clock_ns();
    OK(database_program_open(&program_options, &program, &err));
    double result = ms(start);
    database_program_close(program);
    return result;
}

static double opens(void *user_data)
{
    enum { COUNT = 20 };
    const struct world *world = user_data;
    struct database *databases[COUNT];
    uint64_t start = clock_ns();
    for (int i = 0; i < COUNT; i++)
        OK(database_open(world->program, NULL, &databases[i], &err));
    double result = ms(start) / COUNT;
    for (int i = 0; i < COUNT; i++)
        database_close(databases[i]);
    return result;
}

static double forks(void *user_data)
{
    enum { COUNT = 20 };
    const struct world *world = user_data;
    struct database *databases[COUNT];
    uint64_t start = clock_ns();
    for (int i = 0; i < COUNT; i++)
        OK(database_fork(world->database, world->snapshot, &databases[i], &err));
    double result = ms(start) / COUNT;
    for (int i = 0; i < COUNT; i++)
        database_close(databases[i]);
    return result;
}

static double saves(void *user_data)
{
    enum { COUNT = 50 };
    const struct world *world = user_data;
    uint64_t start = clock_ns();
    for (int i = 0; i < COUNT; i++) {
        struct snapshot *snapshot = NULL;
        OK(database_save(world->database, &snapshot, &err));
        snapshot_drop(snapshot);
    }
    return ms(start) / COUNT;
}

static double restores(void *user_data)
{
    enum { COUNT = 50 };
    struct world *world = user_data;
    uint64_t spent = 0;
    int64_t id = world->id;
    for (int i = 0; i < COUNT; i++) {
        for (int k = 0; k < world->writes; k++)
            insert(world);
        uint64_t start = clock_ns();
        OK(database_restore(world->database, world->snapshot, &err));
        spent += clock_ns() - start;
        world->id = id;
    }
    return (double)spent / 1e6 / COUNT;
}

/* Memory of this process, in MiB, with a hundred forks that each wrote a row. */
static double resident(void *user_data)
{
    enum { COUNT = 100 };
    struct world *world = user_data;
    struct database *origin = world->database, *forked[COUNT];
    for (int i = 0; i < COUNT; i++) {
        OK(database_fork(origin, world->snapshot, &forked[i], &err));
        world->database = forked[i];
        insert(world);
    }
    world->database = origin;
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*u %lu", &pages) != 1)
        bench_die("/proc/self/statm");
    (void)fclose(file);
    for (int i = 0; i < COUNT; i++)
        database_close(forked[i]);
    return (double)pages * 4096 / (1 << 20);
}

static void world_make(struct world *world)
{
    results_init(&world->results, 0);
    OK(database_program_open(&program_options, &world->program, &err));
    OK(database_open(world->program, NULL, &world->database, &err));
    run(world, "create table t(id int primary key, a text, b bigint)");
    run(world,
        "create table u as select g as id, 'row ' || g as a, g * 7::bigint as b from generate_series(1, 50000) g");
    run(world, "alter table u add primary key (id)");
    run(world, "create table c(id int, a text, b bigint)");
    run(world, "vacuum analyze u");
    prepare(world, "i", "insert into t values ($1, $2, $3)", world->insert_types);
    prepare(world, "s", "select a, b from u where id = $1", world->select_types);
    for (int i = 0; i < ROWS; i++)
        OK(buf_printf(&world->csv, &err, "%d,row number %d,%d\n", i, i, i * 13));
}

int main(void)
{
    struct bench bench;
    struct world world = {0};
    world_make(&world);
    bench_start(&bench, "pg");
    const struct bench_row statements[] = {
        {.target = 10, .what = "prepared INSERT, autocommit", .subject = inserts, .rival_value = 18800, .goal = 4.5},
        {.target = 10, .what = "prepared SELECT by primary key", .subject = selects, .rival_value = 19900, .goal = 4.5},
        {.target = 10, .what = "select 1", .subject = ones, .rival_value = 30000, .goal = 4.5},
        {.what = "a statement that fails (1/0)", .subject = failures, .rival_value = 10000},
        {.what = "COPY, rows without index", .subject = copies, .rival_value = 600000},
    };
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        struct bench_row row = statements[i];
        row.unit = i + 1 < sizeof statements / sizeof *statements ? "statements/s" : "rows/s";
        row.more_is_better = true;
        row.rival_name = NODE;
        bench_measure(&bench, &row, &world);
    }
    run(&world, "truncate t");
    OK(database_save(world.database, &world.snapshot, &err));
    bench_measure(&bench,
                  &(struct bench_row){.what = "load PostgreSQL and the image", .unit = "ms", .subject = program_opens},
                  &world);
    bench_measure(&bench, &(struct bench_row){.what = "open a new database", .unit = "ms", .subject = opens}, &world);
    bench_measure(&bench,
                  &(struct bench_row){
                      .target = 12, .what = "fork", .unit = "ms", .subject = forks, .goal = 2, .goal_absolute = true},
                  &world);
    bench_measure(&bench, &(struct bench_row){.what = "save, nothing written since", .unit = "ms", .subject = saves},
                  &world);
    static const int writes[] = {1, 100, 1000};
    static const char *const names[] = {"restore after 1 INSERT", "restore after 100 INSERTs",
                                        "restore after 1,000 INSERTs"};
    for (size_t i = 0; i < 3; i++) {
        world.writes = writes[i];
        bench_measure(
            &bench,
            &(struct bench_row){
                .target = 12, .what = names[i], .unit = "ms", .subject = restores, .goal = 2, .goal_absolute = true},
            &world);
    }
    bench_measure(&bench,
                  &(struct bench_row){.what = "resident with 100 forks that wrote",
                                      .unit = "MiB",
                                      .subject = resident,
                                      .goal = 1024,
                                      .goal_absolute = true},
                  &world);
    int code = bench_finish(&bench);
    snapshot_drop(world.snapshot);
    database_close(world.database);
    database_program_close(world.program);
    results_deinit(&world.results);
    buf_deinit(&world.csv);
    return code;
}
