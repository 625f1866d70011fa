/* How statements end that cannot go on, and what they leave: an error of SQL and a session that goes on, or an error of
 * the call and the last good state. */
#include "pg/statements.h"

#include <stdio.h>
#include <stdlib.h>

static bool sqlstate_is(const char *sqlstate)
{
    return results.error != NULL && bytes_is(results.error->fields[PROTOCOL_FIELD_SQLSTATE], sqlstate);
}

/* As hash_of in other tests, but it does not make the state a good one. */
static void hash_of(struct database *database, char out[HASH_HEX_SIZE]) { pg_hash(database_instance(database), out); }

static void save(struct database *database)
{
    struct sorex_error err = {0};
    struct snapshot *snapshot = NULL;
    assert_ok(database_save(database, &snapshot, &err));
    snapshot_drop(snapshot);
}

/* Ends the backend. */
static void end(struct database *database)
{
    struct sorex_error err = {0};
    assert_int_equal(database_exec(database, "set exit_on_error = on; select 1/0", &results, &err), SOREX_GUEST);
    assert_int_equal(strncmp(err.text, "22012: division by zero: ", 25), 0);
    assert_non_null(strstr(err.text, "; the database is back in the state that was saved last"));
    assert_false(database_broken(database));
}

/* -- states */

static void test_good_states(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database_options options = {.time_us = 1600000000000000, .seed = 5, .file_bytes_max = (uint64_t)64 << 20};
    char opened[HASH_HEX_SIZE], saved[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    struct database *database = open_with(&options), *fork = NULL;
    struct snapshot *first = NULL;
    hash_of(database, opened);
    exec_ok(database, "create table t(v int); select length(repeat('x', 130000000))"); /* memory grows */
    end(database);
    hash_of(database, hash);
    assert_string_equal(hash, opened); /* clock, seed and limits as the options said */
    exec_ok(database, "create table t(v int); prepare p as select count(*) from t");
    exec_ok(database, "begin; insert into t values (1)");
    assert_ok(database_save(database, &first, &err));
    hash_of(database, saved);
    for (int i = 0; i < 3; i++) { /* in a transaction, with a prepared statement; any number of times */
        exec_ok(database, i == 0 ? "rollback" : i == 1 ? "commit; drop table t" : "deallocate p");
        end(database);
        hash_of(database, hash);
        assert_string_equal(hash, saved);
    }
    exec_value(database, "execute p", "1");
    exec_ok(database, "rollback");
    save(database);
    exec_value(database, "execute p", "0");
    end(database);
    exec_value(database, "execute p", "0");
    assert_ok(database_restore(database, first, &err)); /* what was restored is good, too */
    exec_ok(database, "rollback; drop table t");
    end(database);
    hash_of(database, hash);
    assert_string_equal(hash, saved);
    assert_ok(database_fork(database, first, &fork, &err));
    snapshot_drop(first);
    exec_ok(fork, "commit; truncate t");
    end(fork);
    hash_of(fork, hash);
    assert_string_equal(hash, saved);
    database_close(database);
    exec_ok(fork, "rollback; insert into t values (4)");
    exec_value(fork, "execute p", "1");
    database_close(fork);
}

/* Results that have no room were results: what made them happened, and is taken back. */
static void test_large_results(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct results small;
    struct database *database = open_with(NULL);
    results_init(&small, 100000);
    exec_ok(database, "create table t(v int)");
    save(database);
    assert_int_equal(database_exec(database, "insert into t values (1); select repeat('x', 1000000)", &small, &err),
                     SOREX_LIMIT);
    assert_int_equal(database_query(database, "insert into t select 1 from generate_series(1, 100000) returning 'long'",
                                    NULL, 0, &small, &err),
                     SOREX_LIMIT);
    exec_value(database, "select count(*) from t", "0");
    results_deinit(&small);
    database_close(database);
}

/* -- depth */

struct nest {
    const char *before, *open, *middle, *close, *after;
    size_t depth;
    const char *sqlstate; /* NULL: it fits. "": the machine's own stack ends first */
};

static char *nest_make(const struct nest *nest)
{
    size_t open = strlen(nest->open), close = strlen(nest->close);
    char *sql = malloc(nest->depth * (open + close) + 200), *at = sql;
    assert_non_null(sql);
    at = stpcpy(stpcpy(at, "select "), nest->before);
    for (size_t i = 0; i < nest->depth; i++, at += open)
        memcpy(at, nest->open, open);
    at = stpcpy(at, nest->middle);
    for (size_t i = 0; i < nest->depth; i++, at += close)
        memcpy(at, nest->close, close);
    (void)stpcpy(at, nest->after);
    return sql;
}

/* PostgreSQL's own limits come first, but where functions call themselves that need no room in memory: a million
 * levels of JSON are beyond the machine's stack. */
static void test_depth(void **state)
{
    (void)state;
    static const struct nest nests[] = {
        {"", "(", "1", ")", "", 9000, NULL},
        {"", "(", "1", ")", "", 1000000, "42601"}, /* memory exhausted, says the parser */
        {"", "abs(", "1", ")", "", 1000, NULL},
        {"", "abs(", "1", ")", "", 100000, "42601"},
        {"", "not ", "true", "", "", 5000, "54001"},
        {"1", "+1", "", "", "", 100000, "54001"},
        {"1", " union all select 1", "", "", "", 100000, "54001"},
        {"", "(select ", "1", ")", "", 100000, "42601"},
        {"'a' ~ '", "(", "a", ")", "'", 100000, "2201B"},
        {"'", "(", "a", ")", "'::tsquery", 100000, "54001"},
        {"'", "{", "1", "}", "'::int[]", 100000, "54000"},
        {"'", "[", "", "]", "'::json is null", 9000, NULL},
        {"'", "[", "", "]", "'::jsonb is null", 100000, "54001"},
        {"'", "[", "", "]", "'::json is null", 1000000, ""},
        {"'", "{\"a\":", "1", "}", "'::jsonb is null", 1000000, ""},
    };
    struct sorex_error err = {0};
    struct database *database = open_with(NULL);
    exec_ok(database, "create table t(v int)");
    save(database);
    for (size_t i = 0; i < sizeof nests / sizeof *nests; i++) {
        const struct nest *nest = &nests[i];
        char *sql = nest_make(nest);
        bool stack = nest->sqlstate != NULL && *nest->sqlstate == '\0';
        assert_int_equal(database_exec(database, sql, &results, &err), stack ? SOREX_LIMIT : SOREX_OK);
        if (stack)
            assert_int_equal(strncmp(err.text, "54000: postgres: stack overflow", 31), 0);
        else if (nest->sqlstate == NULL ? results.error != NULL : !sqlstate_is(nest->sqlstate))
            fail_msg("%zu times %s: another error", nest->depth, nest->open);
        exec_value(database, "select count(*) from t", "0");
        free(sql);
    }
    database_close(database);
}

/* -- fuel */

static void expect_out_of_fuel(enum sorex_status status, const struct sorex_error *err, struct database *database,
                               const char *good)
{
    char hash[HASH_HEX_SIZE];
    assert_int_equal(status, SOREX_LIMIT);
    assert_int_equal(strncmp(err->text, "54000: postgres: out of fuel", 28), 0);
    assert_false(database_broken(database));
    hash_of(database, hash);
    assert_string_equal(hash, good);
}

/* Every way to run a statement that has no end. */
static void test_fuel(void **state)
{
    (void)state;
    static const char loop[] = "do $$ begin loop null; end loop; end $$", *const rows = "1\n2\n";
    struct database_program_options metered = {.dir = PG_DIR, .cache_dir = PG_CACHE, .metered = true};
    struct database_options options = {.statement_fuel = 20000000};
    struct sorex_error err = {0};
    struct database_program *other = NULL;
    struct database *database = NULL;
    struct buf messages = {0}, replies = {0};
    char good[HASH_HEX_SIZE];
    assert_ok(database_program_open(&metered, &other, &err));
    assert_ok(database_open(other, &options, &database, &err));
    exec_ok(database,
            "create table t(v int check (v > 0)); create function forever() returns trigger language plpgsql as "
            "$$ begin loop null; end loop; end $$; create function endless(int) returns int language plpgsql as "
            "$$ begin loop null; end loop; end $$");
    exec_ok(database, "create trigger a before insert on t for each row execute function forever()");
    assert_ok(database_prepare(database, "p", "select endless(1)", &results, &err));
    save(database);
    hash_of(database, good);
    expect_out_of_fuel(database_exec(database, loop, &results, &err), &err, database, good);
    expect_out_of_fuel(database_query(database, "select endless(2)", NULL, 0, &results, &err), &err, database, good);
    expect_out_of_fuel(database_execute(database, "p", NULL, NULL, 0, &results, &err), &err, database, good);
    expect_out_of_fuel(database_copy_in(database, "copy t from stdin", bytes_str(rows), &results, &err), &err, database,
                       good);
    assert_ok(protocol_query(&messages, bytes_str(loop), &err));
    expect_out_of_fuel(database_exchange(database, buf_view(&messages), &replies, &err), &err, database, good);
    exec_ok(database, "create table ok as select i from generate_series(1, 1000) i"); /* each call has its own */
    buf_deinit(&messages);
    buf_deinit(&replies);
    database_close(database);
    database_program_close(other);
}

/* -- the disk is full */

/* A log that cannot be written is a PANIC, which ends a server. */
static void test_panic(void **state)
{
    (void)state;
    enum { TRIES = 200 };
    struct sorex_error err = {0};
    struct database_options options = {.file_bytes_max = (uint64_t)64 << 20};
    char good[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    struct database *database = open_with(&options);
    exec_ok(database, "create table t(v text); create table small(v int)");
    save(database);
    hash_of(database, good);
    for (int round = 0; round < 2; round++) {
        enum sorex_status status = SOREX_OK;
        assert_ok(database_exec(database, "insert into t select repeat('y', 900) from generate_series(1, 60000)",
                                &results, &err));
        assert_true(sqlstate_is("53100"));
        exec_value(database, "select 1", "1"); /* the session goes on, the files stay as large */
        for (int i = 0; i < TRIES && status == SOREX_OK; i++) {
            status = database_exec(database, "insert into small values (1)", &results, &err);
            if (status == SOREX_OK)
                status = database_exec(database, "select pg_switch_wal()", &results, &err);
        }
        assert_int_equal(status, SOREX_GUEST);
        assert_int_equal(strncmp(err.text, "53100: ", 7), 0);
        hash_of(database, hash);
        assert_string_equal(hash, good);
    }
    database_close(database);
}

/* -- again and again */

static void test_replays(void **state)
{
    (void)state;
    enum { REPLAYS = 100 };
    static const char *const statements[] = {
        "create table t(id serial primary key, u uuid default gen_random_uuid(), at timestamptz default now(), v text)",
        "insert into t(v) select md5(random()::text) from generate_series(1, 300)",
        "begin; update t set v = v || id where id % 3 = 0; savepoint s; delete from t where id < 20; rollback to s",
        "prepare p as select * from t where id = $1",
        "execute p(7)",
        "select 1/0",
        "rollback",
        "analyze t",
        "do $$ begin for i in 1..20 loop insert into t(id) values (i) on conflict do nothing; end loop; end $$",
        "do $$ begin insert into t(id) values (7); exception when others then null; end $$",
        "create index on t(v); select count(*) from t where v like 'a%'",
    };
    struct sorex_error err = {0};
    char first[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    for (int i = 0; i < REPLAYS; i++) {
        struct database *database = open_with(NULL);
        for (size_t k = 0; k < sizeof statements / sizeof *statements; k++)
            assert_ok(database_exec(database, statements[k], &results, &err));
        hash_of(database, i == 0 ? first : hash);
        if (i > 0)
            assert_string_equal(first, hash);
        database_close(database);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good_states), cmocka_unit_test(test_large_results),
                                       cmocka_unit_test(test_depth),       cmocka_unit_test(test_fuel),
                                       cmocka_unit_test(test_panic),       cmocka_unit_test(test_replays)};
    return cmocka_run_group_tests_name("how statements end", tests, setup, teardown);
}
