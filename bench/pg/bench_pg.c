/* Goals 10 and 12: statements a second through the C interface of the embedded PostgreSQL, one session; opening,
 * forking and restoring. The rivals of goal 10 do the same statements in the same run: PGlite in Node, and a native
 * server over its Unix socket. The limit of goal 12 is absolute. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bench/harness.h"
#include "bench/pg/node.h"
#include "bench/pg/server.h"
#include "pg/database.h"

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
    int pages;  /* of memory, between them */
    struct buf csv;
    struct node node;
    struct server server;
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

/* -- the same by others */

#define NODE(name, work, count) \
    static double name(void *user_data) { return node_ask(&((struct world *)user_data)->node, work, count); }
NODE(node_inserts, "inserts", STATEMENTS)
NODE(node_selects, "selects", STATEMENTS)
NODE(node_ones, "ones", STATEMENTS)
NODE(node_failures, "failures", STATEMENTS)
NODE(node_copies, "copies", ROWS)
NODE(raw_inserts, "raw_inserts", STATEMENTS)
NODE(raw_selects, "raw_selects", STATEMENTS)
NODE(raw_ones, "raw_ones", STATEMENTS)
NODE(raw_failures, "raw_failures", STATEMENTS)
NODE(node_resident, "resident", 1)

/* Each insert waits for the disk. */
static double native_inserts(void *user_data)
{
    return server_inserts(&((struct world *)user_data)->server, STATEMENTS / 10);
}
static double native_inserts_later(void *user_data)
{
    struct server *server = &((struct world *)user_data)->server;
    server_exec(server, "set synchronous_commit = off");
    double result = server_inserts(server, STATEMENTS);
    server_exec(server, "reset synchronous_commit");
    return result;
}
static double native_selects(void *user_data)
{
    return server_selects(&((struct world *)user_data)->server, STATEMENTS);
}
static double native_ones(void *user_data) { return server_ones(&((struct world *)user_data)->server, STATEMENTS); }
static double native_failures(void *user_data)
{
    return server_failures(&((struct world *)user_data)->server, STATEMENTS);
}
static double native_copies(void *user_data)
{
    struct world *world = user_data;
    return server_copies(&world->server, buf_view(&world->csv), ROWS);
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

/* Writes that many pages of the backend's memory, besides those that every statement writes. */
static void dirty(struct world *world)
{
    char sql[64];
    (void)snprintf(sql, sizeof sql, "select length(repeat('x', %d))", world->pages * 4096);
    run(world, sql);
}

static double restores_of_pages(void *user_data)
{
    enum { COUNT = 10 };
    struct world *world = user_data;
    uint64_t spent = 0;
    for (int i = 0; i < COUNT; i++) {
        dirty(world);
        uint64_t start = clock_ns();
        OK(database_restore(world->database, world->snapshot, &err));
        spent += clock_ns() - start;
    }
    return (double)spent / 1e6 / COUNT;
}

/* Forks of a state with that many pages more than the one before it. */
static double forks_of_pages(void *user_data)
{
    struct world *world = user_data;
    struct snapshot *before = world->snapshot;
    dirty(world);
    OK(database_save(world->database, &world->snapshot, &err));
    double result = forks(world);
    snapshot_drop(world->snapshot);
    world->snapshot = before;
    OK(database_restore(world->database, before, &err));
    return result;
}

/* Of this process, in MiB. */
static double resident_now(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*u %lu", &pages) != 1)
        bench_die("/proc/self/statm");
    (void)fclose(file);
    return (double)pages * 4096 / (1 << 20);
}

static double resident_with_one(void *user_data)
{
    (void)user_data;
    return resident_now();
}

/* With a hundred forks that each wrote a row. */
static double resident_with_forks(void *user_data)
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
    double result = resident_now();
    for (int i = 0; i < COUNT; i++)
        database_close(forked[i]);
    return result;
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

static void statements_measure(struct bench *bench, struct world *world)
{
    const struct {
        const char *what;
        unsigned target;
        bench_fn *ours, *node, *raw, *native;
        const char *unit;
    } statements[] = {
        {"prepared INSERT, autocommit", 10, inserts, node_inserts, raw_inserts, native_inserts_later, "statements/s"},
        {"prepared SELECT by primary key", 10, selects, node_selects, raw_selects, native_selects, "statements/s"},
        {"select 1", 10, ones, node_ones, raw_ones, native_ones, "statements/s"},
        {"a statement that fails (1/0)", 10, failures, node_failures, raw_failures, native_failures, "statements/s"},
        {"COPY, rows without index", 0, copies, node_copies, NULL, native_copies, "rows/s"},
    };
    bool node = node_open(&world->node), native = server_open(&world->server);
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        struct bench_row row = {.target = statements[i].target,
                                .what = statements[i].what,
                                .unit = statements[i].unit,
                                .more_is_better = true,
                                .subject = statements[i].ours,
                                .rival = node ? statements[i].node : NULL,
                                .rival_name = node ? "PGlite in Node" : "PGlite in Node: not installed",
                                .goal = statements[i].target == 10 && node ? 4.5 : 0};
        bench_measure(bench, &row, world);
        row.goal = 0;
        if (node && statements[i].raw != NULL) {
            row.rival = statements[i].raw;
            row.rival_name = "PGlite in Node, which leaves its answers as bytes";
            bench_measure(bench, &row, world);
        }
        if (!native)
            continue;
        row.rival = statements[i].native;
        row.rival_name = i == 0 ? "native, synchronous_commit off" : "native, Unix socket";
        row.goal = statements[i].target == 10 ? 4 : 0;
        bench_measure(bench, &row, world);
    }
    if (native) {
        struct bench_row row = {.what = "prepared INSERT, autocommit",
                                .unit = "statements/s",
                                .more_is_better = true,
                                .subject = inserts,
                                .rival = native_inserts,
                                .rival_name = "native, default settings: each waits for the disk"};
        bench_measure(bench, &row, world);
        server_close(&world->server);
    }
    bench_measure(bench,
                  &(struct bench_row){.what = "resident with one database, after these statements",
                                      .unit = "MiB",
                                      .subject = resident_with_one,
                                      .rival = node ? node_resident : NULL,
                                      .rival_name = node ? "PGlite in Node" : NULL},
                  world);
    if (node)
        node_close(&world->node);
}

int main(void)
{
    struct bench bench;
    struct world world = {0};
    world_make(&world);
    bench_start(&bench, "pg");
    statements_measure(&bench, &world);
    run(&world, "truncate t");
    world.pages = 10000; /* the memory grows before the snapshot: what has grown since cannot be put back in place */
    dirty(&world);
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
    static const int pages[] = {1, 100, 1000, 10000};
    static const char *const page_names[] = {"1 page was", "100 pages were", "1,000 pages were", "10,000 pages were"};
    static char texts[8][64];
    for (size_t i = 0; i < 8; i++) {
        bool forked = i >= 4;
        world.pages = pages[i % 4];
        (void)snprintf(texts[i], sizeof texts[i], "%s after %s written", forked ? "fork" : "restore",
                       page_names[i % 4]);
        bench_measure(&bench,
                      &(struct bench_row){.target = 12,
                                          .what = texts[i],
                                          .unit = "ms",
                                          .subject = forked ? forks_of_pages : restores_of_pages,
                                          .goal = world.pages <= 1000 ? 2 : 0,
                                          .goal_absolute = true},
                      &world);
    }
    bench_measure(&bench,
                  &(struct bench_row){.what = "resident with 100 forks that wrote",
                                      .unit = "MiB",
                                      .subject = resident_with_forks,
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
