#include "serve/states.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"

static void must(enum sorex_status status, const struct sorex_error *err)
{
    if (status == SOREX_OK)
        return;
    fprintf(stderr, "states: %s\n", err->text);
    exit(1);
}

static void run(struct states *states, const char *sql)
{
    struct sorex_error err = {0};
    struct results results;
    results_init(&results, 0);
    must(database_exec(states->database, sql, &results, &err), &err);
    if (results.error != NULL)
        must(result_error(results.error, &err), &err);
    results_deinit(&results);
}

void states_open(struct states *states, const char *dir, const char *cache_dir, const char *sql)
{
    struct sorex_error err = {0};
    const struct database_program_options options = {.dir = dir, .cache_dir = cache_dir};
    *states = (struct states){0};
    must(database_program_open(&options, &states->program, &err), &err);
    must(database_open(states->program, NULL, &states->database, &err), &err);
    run(states, "create table heights (height int primary key, text text)");
    if (sql != NULL)
        run(states, sql);
    for (unsigned i = 0; i < STATES_HEIGHTS; i++) {
        char insert[128];
        (void)snprintf(insert, sizeof insert, "insert into heights values (%u, 'height %u')", i, i);
        run(states, insert);
        must(database_save(states->database, &states->snapshots[i], &err), &err);
    }
}

void states_close(struct states *states)
{
    for (unsigned i = 0; i < STATES_HEIGHTS; i++)
        snapshot_drop(states->snapshots[i]);
    database_close(states->database);
    database_program_close(states->program);
}

static enum sorex_status fork_at(void *user_data, struct bytes name, uint32_t height, struct database **out,
                                 struct sorex_error *err)
{
    const struct states *states = user_data;
    if (!bytes_is(name, "postgres") && !bytes_is(name, "states"))
        return sorex_error_set(err, SOREX_GONE, "database \"%.*s\" does not exist", BYTES_FMT(name));
    if (height != SOREX_HEIGHT_NONE && height >= STATES_HEIGHTS)
        return sorex_error_set(err, SOREX_GONE, "there is no height %u, the newest is %u", height, STATES_HEIGHTS - 1);
    return database_fork(states->database, states->snapshots[height == SOREX_HEIGHT_NONE ? STATES_HEIGHTS - 1 : height],
                         out, err);
}

struct postgres_states states_provider(struct states *states)
{
    return (struct postgres_states){.user_data = states, .fork = fork_at};
}
