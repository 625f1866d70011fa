/* Databases that are kept in a store: what comes back is what was committed, whatever happened in between. */
#include "pg/pg.h"

#include <stdio.h>
#include <stdlib.h>

#include "pg/saved.h"
#include "store/disk.h"
#include "store/fault.h"

static struct database_program *program;
static struct results results;

static int setup(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database_program_options options = {.dir = PG_DIR, .cache_dir = PG_CACHE};
    assert_ok(database_program_open(&options, &program, &err));
    results_init(&results, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    results_deinit(&results);
    database_program_close(program);
    return 0;
}

/* -- a store on a disk in memory */

struct world {
    struct disk *disk;
    struct store *store;
    struct saved *saved;
};

static void store_begin_on(struct world *world, bool read_only)
{
    struct sorex_error err = {0};
    struct store_options options = {.dir = "",
                                    .disk = world->disk,
                                    .create = !read_only,
                                    .read_only = read_only,
                                    .history = STORE_HISTORY_FULL,
                                    .cache_bytes = 1 << 20};
    assert_ok(store_open(&options, &world->store, &err));
}

static void world_open(struct world *world)
{
    struct sorex_error err = {0};
    if (world->disk == NULL)
        assert_non_null(world->disk = disk_new());
    store_begin_on(world, false);
    assert_ok(saved_open(world->store, program, "main", NULL, &world->saved, &err));
}

static void world_close(struct world *world)
{
    saved_close(world->saved);
    store_close(world->store);
}

/* As a process that is killed, on a machine whose power fails. */
static void world_crash(struct world *world)
{
    saved_close(world->saved);
    store_crash(world->store);
    disk_crash(world->disk);
}

static void run(struct saved *saved, const char *sql)
{
    struct sorex_error err = {0};
    assert_ok(database_exec(saved_database(saved), sql, &results, &err));
    if (results.error != NULL) {
        (void)result_error(results.error, &err);
        fail_msg("%s: %s", sql, err.text);
    }
}

/* The only value of the only row. */
static void expect(struct saved *saved, const char *sql, const char *wanted)
{
    run(saved, sql);
    assert_int_equal(results.first->rows_count, 1);
    struct bytes value = results.first->rows[0][0].bytes;
    if (!bytes_is(value, wanted))
        fail_msg("%s: %.*s, wanted %s", sql, BYTES_FMT(value), wanted);
}

static void hash_of(struct saved *saved, char out[HASH_HEX_SIZE])
{
    struct sorex_error err = {0};
    uint8_t hash[SHA256_BYTES];
    struct snapshot *snapshot = NULL;
    assert_ok(database_save(saved_database(saved), &snapshot, &err));
    assert_ok(image_hash(snapshot, hash, &err));
    snapshot_drop(snapshot);
    hash_hex(hash, out);
}

static void commit(struct saved *saved, const char *note)
{
    struct sorex_error err = {0};
    assert_ok(saved_commit(saved, bytes_str(note), NULL, &err));
}

/* After each of many kinds of work: committed, opened again, equal to the last byte. */
static void test_reopen(void **state)
{
    (void)state;
    static const char *const steps[] = {
        "select 1",
        "create table t(id int primary key, v text)",
        "insert into t values (0, 'zero')",
        "insert into t select i, repeat('v', 200) from generate_series(1, 20000) i", /* beyond what an image holds */
        "update t set v = 'new' where id % 1000 = 3",
        "begin; insert into t values (30000, 'in a transaction'); prepare p as select count(*) from t",
        "execute p",
        "savepoint s; delete from t",
        "rollback to s; commit",
        "create temp table x as select * from t",
        "create extension if not exists plpgsql; do $$ begin perform 1; end $$",
        "drop table t; checkpoint",
        "create table big as select i, repeat('x', 1000) from generate_series(1, 30000) i", /* memory grows */
        "truncate big",
        "vacuum",
        "checkpoint",
    };
    struct world world = {0};
    world_open(&world);
    assert_int_equal(saved_version(world.saved), 0);
    assert_int_equal(saved_note(world.saved).len, 0);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        char before[HASH_HEX_SIZE], after[HASH_HEX_SIZE], note[32];
        run(world.saved, steps[i]);
        (void)snprintf(note, sizeof note, "step %zu", i);
        hash_of(world.saved, before);
        commit(world.saved, note);
        if (i % 2 == 0)
            world_close(&world);
        else
            world_crash(&world);
        world_open(&world);
        hash_of(world.saved, after);
        if (strcmp(before, after) != 0)
            fail_msg("step %zu: another database came back", i);
        assert_int_equal(saved_version(world.saved), i + 1);
        assert_true(bytes_is(saved_note(world.saved), note));
    }
    world_close(&world);
    disk_free(world.disk);
}

/* The other of two runs is never interrupted; it may not be told apart. */
static void test_transaction_goes_on(void **state)
{
    (void)state;
    char hashes[2][HASH_HEX_SIZE];
    for (int interrupted = 0; interrupted < 2; interrupted++) {
        struct world world = {0};
        world_open(&world);
        run(world.saved, "create table t(id serial, at timestamptz default now(), r float8 default random())");
        run(world.saved, "begin; insert into t default values; savepoint a; insert into t default values");
        commit(world.saved, "");
        if (interrupted) {
            world_crash(&world);
            world_open(&world);
        }
        run(world.saved, "rollback to a; insert into t default values; commit");
        expect(world.saved, "select string_agg(id::text, ' ' order by id) from t", "1 3");
        hash_of(world.saved, hashes[interrupted]);
        world_close(&world);
        disk_free(world.disk);
    }
    assert_string_equal(hashes[0], hashes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reopen), cmocka_unit_test(test_transaction_goes_on)};
    return cmocka_run_group_tests_name("saved databases", tests, setup, teardown);
}
