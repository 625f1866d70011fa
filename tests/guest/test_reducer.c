/* Contract 4, messages that do what they are for: effects, records, parameters, columns, errors that are handled,
 * settings. */
#include "guest/reducer_base.h"

#include <stdio.h>
#include <stdlib.h>

#include "guest/map.h"

static struct sorex_error err;

static void test_messages(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    run_ok(&run, "insert into t values (1, 'one')\ninsert into t values (2, null)\n!changes\nselect count(*) from t");
    run_ok(&run, "update t set note = 'two'\n!changes");
    assert_query(&run, "select * from t order by id", "1|two;2|two");
    assert_query(&run, "select message, line, value from out order by message, line", "0|3|1;0|4|2;1|2|2");
    assert_query(&run, "select index, time, author, status, code, reason, encode(hash, 'hex') from sorex.messages",
                 "0|2023-11-14 22:13:20+00|tester|applied|0||000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c"
                 "1d1e1f;1|2023-11-14 22:13:21+00|tester|applied|0||0102030405060708090a0b0c0d0e0f10111213141516171819"
                 "1a1b1c1d1e1f20");
    assert_query(&run, "select name from sorex.meta order by name", "reducer;semantics");
    assert_true(run.result.fuel > 0);
    assert_int_equal(run.result.statements, 2);
    run_ok(&run, ""); /* a message of nothing */
    run_close(&run);
}

static void test_rejections(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    run_rejected(&run, "insert into t values (1, 'one')\n!reject 7 no\tsuch \xffunit", 7, " no?such ?unit");
    run_rejected(&run, "insert into t values (1, 'one')\n!return 3", 3, "");
    run_rejected(&run, "insert into t values (1, 'one')\n!trap", 0, "trap: unreachable executed in reduce");
    run_rejected(&run, "insert into t values (1, 'one')\ninsert into t values (1, 'two')", 0,
                 "23505: duplicate key value violates unique constraint \"t_pkey\"; Key (id)=(1) already exists.");
    assert_string_equal(run.result.sqlstate, "23505");
    assert_query(&run, "select count(*) from t", "0");
    assert_query(&run, "select index, status, code, reason from sorex.messages order by index",
                 "0|rejected|7| no?such ?unit;1|rejected|3|;2|rejected|0|trap: unreachable executed in reduce;"
                 "3|rejected|0|23505: duplicate key value violates unique constraint \"t_pkey\"; Key (id)=(1) already "
                 "exists.");
    run_close(&run);
}

static void test_errors_that_are_handled(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    run_ok(&run,
           "insert into t values (1, 'one')\nsavepoint a\n?23505 insert into t values (1, 'two')\n?25P02 select 1\n"
           "?25P02 savepoint b\nrollback to savepoint a\ninsert into t values (2, 'two')\nrelease a");
    run_ok(&run,
           "savepoint a\n?0A000 commit\n?25P02 select 1\n?25P02 commit\nROLLBACK /* */ transaction to a\nselect 1");
    run_rejected(&run, "savepoint a\n?0A000 commit", 0, "0A000: commit is not for reducers");
    run_rejected(&run, "savepoint a\n?3B001 rollback to b\n?25P02 select 1", 0, "25P02: *");
    run_rejected(&run, "savepoint a\n?22012 select 1 / 0\n!reject 5 enough", 5, " enough");
    assert_query(&run, "select * from t order by id", "1|one;2|two");
    run_close(&run);
}

static void test_parameters(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    static const struct {
        const char *line, *want;
    } good[] = {
        {"!i64 -32768 select $1::int2", "-32768"},
        {"!i64 2147483647 select $1::int4", "2147483647"},
        {"!i64 -9223372036854775808 select $1::int8", "-9223372036854775808"},
        {"!i64 9223372036854775807 select $1::numeric + 1", "9223372036854775808"},
        {"!i64 1 select $1::bool::text", "true"},
        {"!i64 7 select $1::text || '!'", "7!"},
        {"!i64 3 select $1::float8 / 2", "1.5"},
        {"!i64 3 select '{\"a\":1}'::jsonb || jsonb_build_object('b', $1::int)", "{\"a\": 1, \"b\": 3}"},
        {"!f64 -10 select $1::float8", "-2.5"},
        {"!f64 1 select $1::float4", "0.25"},
        {"!f64 10 select $1::numeric + 0.1", "2.6"},
        {"!f64 8 select $1::int4", "2"},
        {"!text 2020-02-29, select $1::date + 1", "2020-03-01"},
        {"!text [1;2], select replace($1, ';', '-')", "[1-2]"},
        {"!text happy, select $1::text = 'happy'", "1"},
        {"!blob abc, select encode($1::bytea, 'hex')", "616263"},
        {"!blob abc, select $1::bytea", "abc"},
        {"!unbound select coalesce($1::text, 'nothing')", "nothing"},
        {"!i64 1 select array[$1::int, 2]", "{1,2}"},
        {"select '[1,5)'::int4range", "[1,5)"},
        {"select '10.0.0.0/8'::inet", "10.0.0.0/8"},
        {"select row(1, 'a')", "(1,a)"},
        {"select 'a b'::tsvector", "'a' 'b'"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        run_ok(&run, good[i].line);
        const char *got = run_query(&run, "select value from out order by message desc limit 1");
        if (strcmp(got, good[i].want) != 0)
            fail_msg("%s: %s, wanted %s", good[i].line, got, good[i].want);
    }
    run_rejected(&run, "!i64 32768 select $1::int2", 0, "22003: value \"32768\" is out of range for type smallint");
    run_rejected(&run, "!i64 2 select $1::bool", 0, "22P02: *");
    run_rejected(&run, "!f64 1 select $1::int4", 0, "22P02: *");
    run_rejected(&run, "!text x, select $1::int4", 0, "22P02: *");
    run_rejected(&run, "!text \xff, select $1::text", 0, "22021: *");
    run_rejected(&run, "!blob abc, select $1::int4", 0, "08P01: *");
    run_close(&run);
}

/* type, integer, float times 4, length, text */
static void test_columns(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    static const char *const good[][2] = {
        {"select 5::int2", "1 5 20 1 5"},
        {"select -5::int8", "1 -5 -20 2 -5"},
        {"select true", "1 1 4 1 1"},
        {"select 2.5::float8", "2 0 10 3 2.5"},
        {"select 3::float4", "2 3 12 1 3"},
        {"select 12345678901234567890123::numeric", "3 0 0 23 12345678901234567890123"},
        {"select 42.00::numeric", "3 42 0 5 42.00"},
        {"select -9223372036854775808::numeric", "3 -9223372036854775808 0 20 -9223372036854775808"},
        {"select 9223372036854775808::numeric", "3 0 0 19 9223372036854775808"},
        {"select sum(a::int8) from generate_series(1, 3) a", "3 6 0 1 6"},
        {"select '12'::text", "3 12 0 2 12"},
        {"select '1 2'::text", "3 0 0 3 1 2"},
        {"select ''::text", "3 0 0 0 "},
        {"select null::int", "0 0 0 0 "},
        {"select 'abc'::bytea", "4 0 0 3 abc"},
        {"select timestamptz '2020-01-01 00:00:00+00'", "3 0 0 22 2020-01-01 00:00:00+00"},
        {"select 'a'::varchar(3)", "3 0 0 1 a"},
        {"select '12345678-1234-1234-1234-123456789012'::uuid", "3 0 0 36 12345678-1234-1234-1234-123456789012"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char line[256];
        (void)snprintf(line, sizeof line, "!column %s", good[i][0]);
        run_ok(&run, line);
        const char *got = run_query(&run, "select value from out order by message desc limit 1");
        if (strcmp(got, good[i][1]) != 0)
            fail_msg("%s: %s, wanted %s", good[i][0], got, good[i][1]);
    }
    run_close(&run);
}

static void test_rows(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    static const char *const good[][2] = {{"!rows select generate_series(1, 999)", "999 999 "},
                                          {"!rows select generate_series(1, 1000)", "1000 1000 "},
                                          {"!rows select generate_series(1, 1001)", "1001 1001 "},
                                          {"!rows select generate_series(1, 5000)", "5000 5000 "},
                                          {"!rows select 1 where false", "0 0 "},
                                          {"!rows insert into t select generate_series(1, 20)", "0 20 "},
                                          {"!rows update t set note = 'x' returning id", "20 20 "},
                                          {"!rows delete from t where id > 5", "0 15 "},
                                          {"!rows ", "0 0 "},
                                          {"!rows with d as (delete from t returning 1) select * from d", "5 5 "}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        run_ok(&run, good[i][0]);
        const char *got = run_query(&run, "select value from out order by message desc limit 1");
        if (strcmp(got, good[i][1]) != 0)
            fail_msg("%s: %s, wanted %s", good[i][0], got, good[i][1]);
    }
    run_close(&run);
}

/* -- settings and failures */

static void test_halt(void **state)
{
    (void)state;
    struct run run = run_open("script", &(struct reducer_options){.name = "test", .halt = true, .sql_fuel = 200000000});
    run_rejected(&run, "!reject 7 his own word", 7, " his own word");
    run_rejected(&run, "!return 7", 7, "");
    static const char *const faults[][2] = {
        {"!trap", "program test: message 2: trap: unreachable executed in reduce"},
        {"select 1 / 0", "program test: message 2: 22012: division by zero"},
        {"!return-1", "program test: message 2: it returned -1"},
        {"!loop", "program test: message 2: out of fuel: *"},
        {"select sum(i) from generate_series(1, 1000000000) i", "program test: message 2: a statement ran out of fuel"},
        {"set transaction read only", "program test: message 2: 25006: *"},
    };
    struct snapshot *before = NULL;
    assert_ok(database_save(run.database, &before, &err));
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        run.index = 2;
        size_t len = strlen(faults[i][1]);
        if (run_try(&run, faults[i][0], &err) != SOREX_GUEST ||
            (faults[i][1][len - 1] == '*' ? strncmp(err.text, faults[i][1], len - 1)
                                          : strcmp(err.text, faults[i][1])) != 0)
            fail_msg("%s: %s", faults[i][0], err.text);
        assert_ok(database_restore(run.database, before, &err));
    }
    snapshot_drop(before);
    run_ok(&run, "insert into t values (1, 'one')");
    assert_query(&run, "select count(*) from sorex.messages", "3");
    run_close(&run);
}

/* Where a stack ends depends on the machine code: it is never recorded. */
static void test_stack(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    struct snapshot *before = NULL;
    assert_ok(database_save(run.database, &before, &err));
    enum sorex_status status = run_try(&run, "!recurse", &err);
    /* The guest's own stack (64 KiB of its memory) may end first, which is a trap like others. */
    if (status == SOREX_OK)
        assert_int_equal(run.result.status, REDUCER_REJECTED);
    else
        assert_non_null(strstr(err.text, "stack overflow"));
    assert_ok(database_restore(run.database, before, &err));
    snapshot_drop(before);
    run.index = 0;
    run_ok(&run, "select 1");
    run_close(&run);
}

static void test_identity(void **state)
{
    (void)state;
    struct reducer_options options[] = {{.name = "test"}, {.name = "another name"}, {.memory_bytes_max = 1 << 20},
                                        {.fuel = 1},      {.sql_fuel = 1},          {.halt = true}};
    struct buf bytes[sizeof options / sizeof options[0]] = {{0}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        struct reducer *reducer = run_reducer("script", &options[i]);
        assert_ok(reducer_identity(reducer, &bytes[i], &err));
        assert_true(bytes[i].len > 0 && bytes[i].data[bytes[i].len - 1] == '\n');
        for (size_t k = 0; k < i; k++)
            assert_true(bytes_equal(buf_view(&bytes[i]), buf_view(&bytes[k])) == (i == 1));
        reducer_free(reducer);
    }
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        buf_deinit(&bytes[i]);
}

static void test_databases_of_others(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    struct reducer_message message = run_message(0, "");
    run_ok(&run, "insert into t values (1, 'one')");
    assert_ok(reducer_schema(run.reducer, run.database, &err)); /* nothing to be done */
    assert_query(&run, "select count(*) from t", "1");
    /* Without sorex's tables. */
    struct database *bare = NULL;
    assert_ok(database_open(runs_program(), NULL, &bare, &err));
    message.index = 1;
    assert_int_equal(reducer_apply(run.reducer, bare, &message, NULL, NULL, &run.result, &err), SOREX_MISMATCH);
    database_close(bare);
    /* Another reducer's. */
    struct results results;
    results_init(&results, 0);
    assert_ok(database_exec(run.database, "update sorex.meta set value = 'x' where name = 'reducer'", &results, &err));
    results_deinit(&results);
    assert_int_equal(reducer_schema(run.reducer, run.database, &err), SOREX_MISMATCH);
    assert_non_null(strstr(err.text, "the database belongs to another reducer"));
    assert_int_equal(reducer_apply(run.reducer, run.database, &message, NULL, NULL, &run.result, &err), SOREX_MISMATCH);
    run_close(&run);
}

/* A message that is there already is the caller's mistake: it stops. */
static void test_a_number_twice(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    run_ok(&run, "select 1");
    run.index = 0;
    assert_int_equal(run_try(&run, "select 1", &err), SOREX_INVALID);
    assert_non_null(strstr(err.text, "it could not be recorded: 23505: "));
    run_close(&run);
}

/* The guest of docs/guide-guests.md. */
static void test_the_guide(void **state)
{
    (void)state;
    struct run run = run_open("notes", NULL);
    run_ok(&run, "{\"b\": [1, 2]}");
    run_rejected(&run, "no JSON", 0, "22P02: invalid input syntax for type json; *");
    run_ok(&run, "7");
    assert_query(&run, "select * from notes order by id", "0|tester|{\"b\": [1, 2]};2|tester|7");
    run_close(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_rejections),
        cmocka_unit_test(test_errors_that_are_handled),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_halt),
        cmocka_unit_test(test_stack),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_databases_of_others),
        cmocka_unit_test(test_a_number_twice),
        cmocka_unit_test(test_the_guide),
    };
    traps_keep();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runs_program_close();
    return failed;
}
