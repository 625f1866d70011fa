/* An embedded database that is kept in a store, on a disk: what it takes to write what changed, and to open it. */
#include <stdio.h>

#include "base/clock.h"
#include "bench/folder.h"
#include "bench/harness.h"
#include "pg/saved.h"

#define COMMITS 100 /* of few changes, for one figure */

static struct sorex_error err;

#define OK(call)                       \
    do {                               \
        if ((call) != SOREX_OK)        \
            bench_die("%s", err.text); \
    } while (0)

struct world {
    struct database_program *program;
    struct results results;
    char dir[FOLDER_PATH_SIZE];
    struct store *store;
    struct saved *saved;
    int next; /* key of the next row */
    int rows; /* for each commit */
};

static double ms(uint64_t start) { return (double)(clock_ns() - start) / 1e6; }

static void run(struct world *world, const char *sql)
{
    OK(database_exec(saved_database(world->saved), sql, &world->results, &err));
    if (world->results.error != NULL)
        bench_die("%s failed", sql);
}

static void world_open(struct world *world)
{
    struct store_options options = {.dir = world->dir, .create = true, .history = STORE_HISTORY_FULL};
    OK(store_open(&options, &world->store, &err));
    OK(saved_open(world->store, world->program, "bench", NULL, &world->saved, &err));
}

static void world_close(struct world *world)
{
    saved_close(world->saved);
    store_close(world->store);
}

static double first_commit(void *user_data)
{
    struct world *world = user_data;
    struct saved *saved = NULL;
    OK(saved_open(world->store, world->program, "new", NULL, &saved, &err));
    uint64_t start = clock_ns();
    OK(saved_commit(saved, bytes_of(NULL, 0), NULL, &err));
    double figure = ms(start);
    saved_close(saved);
    OK(saved_drop(world->store, "new", &err));
    return figure;
}

/* Of the commit alone. */
static double commits(void *user_data)
{
    struct world *world = user_data;
    char sql[160];
    int count = world->rows == 1 ? COMMITS : 3;
    double sum = 0;
    for (int i = 0; i < count; i++) {
        (void)snprintf(sql, sizeof sql, "insert into t select i, 'the value ' || i from generate_series(%d, %d) i",
                       world->next, world->next + world->rows - 1);
        world->next += world->rows;
        run(world, sql);
        uint64_t start = clock_ns();
        OK(saved_commit(world->saved, bytes_of(NULL, 0), NULL, &err));
        sum += ms(start);
    }
    return sum / count;
}

static double opens(void *user_data)
{
    struct world *world = user_data;
    saved_close(world->saved);
    uint64_t start = clock_ns();
    OK(saved_open(world->store, world->program, "bench", NULL, &world->saved, &err));
    return ms(start);
}

int main(void)
{
    struct bench bench;
    struct world world = {.rows = 1};
    struct database_program_options options = {.dir = SOREX_POSTGRES_DIR, .cache_dir = SOREX_POSTGRES_CACHE};
    OK(database_program_open(&options, &world.program, &err));
    results_init(&world.results, 0);
    folder_make(world.dir);
    world_open(&world);
    run(&world, "create table t(id int primary key, v text)");
    OK(saved_commit(world.saved, bytes_of(NULL, 0), NULL, &err));
    bench_start(&bench, "saved");
    bench_measure(
        &bench, &(struct bench_row){.what = "first commit: everything", .unit = "ms", .subject = first_commit}, &world);
    bench_measure(&bench, &(struct bench_row){.what = "commit after 1 INSERT", .unit = "ms", .subject = commits},
                  &world);
    world.rows = 10000;
    bench_measure(&bench, &(struct bench_row){.what = "commit after 10,000 rows", .unit = "ms", .subject = commits},
                  &world);
    bench_measure(
        &bench, &(struct bench_row){.what = "open", .unit = "ms", .subject = opens, .goal = 300, .goal_absolute = true},
        &world);
    int code = bench_finish(&bench);
    world_close(&world);
    folder_remove(world.dir);
    results_deinit(&world.results);
    database_program_close(world.program);
    return code;
}
