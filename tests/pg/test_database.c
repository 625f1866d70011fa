/* The interface for C programs: statements, typed rows, parameters, copies, limits, states, digests. */
#include "pg/statements.h"

#include <stdio.h>
#include <stdlib.h>

static void exec_error(struct database *database, const char *sql, const char *sqlstate)
{
    struct sorex_error err = {0};
    assert_ok(database_exec(database, sql, &results, &err));
    assert_non_null(results.error);
    assert_true(bytes_is(results.error->fields[PROTOCOL_FIELD_SQLSTATE], sqlstate));
}

static void test_typed_rows(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database *database = open_with(NULL);
    struct buf texts = {0};
    struct value value;
    const struct value parameters[] = {{.kind = VALUE_IS_INTEGER, .integer = 41},
                                       {.kind = VALUE_IS_TEXT, .bytes = bytes_str("a text")},
                                       {.kind = VALUE_IS_BLOB, .bytes = bytes_of("\0\1\377", 3)},
                                       {.kind = VALUE_IS_NULL},
                                       {.kind = VALUE_IS_REAL, .real = 0.5}};
    assert_ok(database_query(database,
                             "select $1::int + 1, $2::text || '!', $3::bytea, $4::int8, $5::float8 * 3, "
                             "'2020-02-29'::date, 1.50::numeric, array[1,2] from generate_series(1, 2)",
                             parameters, 5, &results, &err));
    assert_null(results.error);
    assert_int_equal(results.first->rows_count, 2);
    const struct protocol_value *row = results.first->rows[1];
    const struct protocol_column *columns = results.first->columns;
    assert_int_equal(columns[0].type, VALUE_INT4);
    assert_ok(value_read(columns[0].type, &row[0], &texts, &value, &err));
    assert_int_equal(value.integer, 42);
    assert_ok(value_read(columns[1].type, &row[1], &texts, &value, &err));
    assert_true(bytes_is(value.bytes, "a text!"));
    assert_ok(value_read(columns[2].type, &row[2], &texts, &value, &err));
    assert_int_equal(value.kind, VALUE_IS_BLOB);
    assert_true(bytes_equal(value.bytes, bytes_of("\0\1\377", 3)));
    assert_ok(value_read(columns[3].type, &row[3], &texts, &value, &err));
    assert_int_equal(value.kind, VALUE_IS_NULL);
    assert_ok(value_read(columns[4].type, &row[4], &texts, &value, &err));
    assert_true(value.real > 1.4999 && value.real < 1.5001);
    static const char *const others[] = {"2020-02-29", "1.50", "{1,2}"};
    for (size_t i = 5; i < 8; i++) {
        buf_reset(&texts);
        assert_ok(value_read(columns[i].type, &row[i], &texts, &value, &err));
        assert_true(bytes_is(value.bytes, others[i - 5]));
    }
    assert_int_equal(database_query(database, "select $1::int", NULL, 0, &results, &err), SOREX_INVALID);
    assert_ok(database_query(database, "selec", NULL, 0, &results, &err));
    assert_non_null(results.error);
    exec_value(database, "select 1", "1");
    buf_deinit(&texts);
    database_close(database);
}

static void test_prepared(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database *database = open_with(NULL);
    exec_ok(database, "create table t(id int primary key, v text)");
    assert_ok(database_prepare(database, "add", "insert into t values ($1, $2)", &results, &err));
    assert_int_equal(results.parameters_count, 2);
    uint32_t types[2] = {results.parameters[0], results.parameters[1]};
    assert_int_equal(types[0], VALUE_INT4);
    for (int i = 0; i < 1000; i++) {
        struct value values[] = {{.kind = VALUE_IS_INTEGER, .integer = i},
                                 {.kind = VALUE_IS_TEXT, .bytes = bytes_str("v")}};
        assert_ok(database_execute(database, "add", types, values, 2, &results, &err));
        assert_null(results.error);
        assert_int_equal(result_rows(results.first->tag), 1);
    }
    struct value again[] = {{.kind = VALUE_IS_INTEGER, .integer = 5}, {.kind = VALUE_IS_NULL}};
    assert_ok(database_execute(database, "add", types, again, 2, &results, &err));
    assert_true(bytes_is(results.error->fields[PROTOCOL_FIELD_SQLSTATE], "23505"));
    exec_value(database, "select count(*) from t", "1000");
    database_close(database);
}

static void test_copy(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database *database = open_with(NULL);
    struct buf data = {0};
    exec_ok(database, "create table t(id int, v text)");
    for (int i = 0; i < 200000; i++)
        assert_ok(buf_printf(&data, &err, "%d,row %d\n", i, i));
    assert_true(data.len > (size_t)2 << 20); /* several messages */
    assert_ok(database_copy_in(database, "copy t from stdin (format csv)", buf_view(&data), &results, &err));
    assert_null(results.error);
    assert_true(bytes_is(results.first->tag, "COPY 200000"));
    assert_ok(database_copy_in(database, "copy t from stdin (format csv)", bytes_str("1,a\nx,b\n"), &results, &err));
    assert_true(bytes_is(results.error->fields[PROTOCOL_FIELD_SQLSTATE], "22P02"));
    exec_value(database, "select count(*) || ' ' || sum(id) from t", "200000 19999900000");
    /* Without data it fails as a statement does, in both protocols. */
    exec_error(database, "copy t from stdin; select 1", "57014");
    assert_ok(database_query(database, "copy t from stdin", NULL, 0, &results, &err));
    assert_true(bytes_is(results.error->fields[PROTOCOL_FIELD_SQLSTATE], "57014"));
    assert_int_equal(results.transaction, 'I');
    exec_ok(database, "copy (select id, v from t order by id) to stdout (format csv)");
    assert_true(bytes_equal(results.first->copy_out, buf_view(&data)));
    buf_deinit(&data);
    database_close(database);
}

static void test_clock_and_seed(void **state)
{
    (void)state;
    struct database_options options = {.time_us = 1600000000000000, .seed = 5}, other = {.seed = 6};
    char first[64], text[64];
    for (int i = 0; i < 3; i++) {
        struct database *database = open_with(i < 2 ? &options : &other);
        exec_ok(database, "select gen_random_uuid()");
        struct bytes value = results.first->rows[0][0].bytes;
        (void)snprintf(text, sizeof text, "%.*s", BYTES_FMT(value));
        if (i == 0)
            memcpy(first, text, sizeof first);
        assert_int_equal(strcmp(first, text) == 0, i < 2);
        if (i == 0) {
            exec_value(database, "select date_trunc('second', now())", "2020-09-13 12:26:40+00");
            database_time_set(database, 1700000000000000);
            exec_value(database, "select date_trunc('second', now())", "2023-11-14 22:13:20+00");
        }
        database_close(database);
    }
}

/* Limits are errors of SQL, and the session goes on. */
static void test_limits(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database_options options = {.memory_bytes_max = (uint64_t)192 << 20, .file_bytes_max = (uint64_t)64 << 20};
    struct database *database = open_with(&options);
    exec_error(database, "select length(repeat('x', 150000000))", "53200");
    exec_value(database, "select 1", "1");
    struct snapshot *snapshot = NULL;
    exec_ok(database, "create table t(v text)");
    assert_ok(database_save(database, &snapshot, &err));
    exec_error(database, "insert into t select md5(g::text) || repeat('y', 900) from generate_series(1, 60000) g",
               "53100");
    exec_value(database, "select 1", "1");
    assert_ok(database_restore(database, snapshot, &err)); /* a full disk stays full */
    exec_value(database, "select count(*) from t", "0");
    snapshot_drop(snapshot);
    struct database *none = NULL;
    options.memory_bytes_max = 64 << 20; /* less than it begins with */
    assert_int_equal(database_open(program, &options, &none, &err), SOREX_LIMIT);
    options = (struct database_options){.statement_fuel = 1};
    assert_int_equal(database_open(program, &options, &none, &err), SOREX_INVALID);
    database_close(database);
}

static void test_fuel(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database_program_options metered = {.dir = PG_DIR, .cache_dir = PG_CACHE, .metered = true};
    struct database_options options = {.statement_fuel = 20000000};
    struct database_program *other = NULL;
    struct database *database = NULL;
    struct snapshot *snapshot = NULL;
    assert_ok(database_program_open(&metered, &other, &err));
    assert_ok(database_open(other, &options, &database, &err));
    exec_ok(database, "create table t(v int)");
    assert_ok(database_save(database, &snapshot, &err));
    snapshot_drop(snapshot); /* the database has its own */
    for (int round = 0; round < 2; round++) {
        const char *sql =
            round == 0 ? "do $$ begin loop begin perform 1/0; exception when others then null; end; end loop; end $$"
                       : "select count(*) from generate_series(1, 100000000)";
        assert_int_equal(database_exec(database, sql, &results, &err), SOREX_LIMIT);
        assert_non_null(strstr(err.text, "out of fuel"));
        assert_int_equal(strncmp(err.text, "54000: postgres", 15), 0);
        assert_false(database_broken(database));
        exec_value(database, "select count(*) from t", "0"); /* each statement has its own */
    }
    database_close(database);
    database_program_close(other);
}

static void test_last_words(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database *database = open_with(NULL);
    struct snapshot *snapshot = NULL;
    assert_ok(database_save(database, &snapshot, &err));
    assert_int_equal(database_exec(database, "set exit_on_error = on; select 1/0", &results, &err), SOREX_GUEST);
    assert_non_null(strstr(err.text, "22012: division by zero"));
    assert_ok(database_restore(database, snapshot, &err));
    exec_value(database, "select 1", "1");
    snapshot_drop(snapshot);
    database_close(database);
}

static void test_digest(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    uint8_t a[SHA256_BYTES], b[SHA256_BYTES];
    struct database *one = open_with(NULL), *two = open_with(NULL);
    /* The same content, made in different ways, under different settings. */
    exec_ok(one, "create table t(id int primary key, f float8, at timestamptz, b bytea); create schema s;"
                 "create table s.u(v text); insert into t select g, g / 3.0, '2020-01-01 00:00+00'::timestamptz + g * "
                 "interval '1 day', "
                 "decode('00ff', 'hex') from generate_series(1, 100) g; insert into s.u values ('x'), (null), ('x');"
                 "create table s.w(t text, v int); insert into s.w values ('x', 1), ('x', 2)");
    exec_ok(two, "set timezone = 'Asia/Tokyo'; set extra_float_digits = -5; set datestyle = 'German'; set bytea_output "
                 "= 'escape';"
                 "create schema s; create table s.u(v text); insert into s.u values ('x'), ('x'), (null);"
                 "create table s.w(t text, v int); insert into s.w values ('x', 2), ('x', 1);"
                 "create table t(id int primary key, f float8, at timestamptz, b bytea); begin;"
                 "insert into t select g, g / 3.0, '2020-01-01 00:00+00'::timestamptz + g * interval '1 day', "
                 "decode('00ff', 'hex') from generate_series(120, 1, -1) g; delete from t where id > 100");
    assert_ok(database_digest(one, a, &err));
    assert_ok(database_digest(two, b, &err));
    assert_memory_equal(a, b, SHA256_BYTES);
    exec_ok(two, "update t set f = f + 1e-12 where id = 50");
    assert_ok(database_digest(two, b, &err));
    assert_memory_not_equal(a, b, SHA256_BYTES);
    exec_ok(two, "rollback");
    exec_ok(two, "begin");
    exec_error(two, "select 1/0", "22012");
    assert_int_equal(database_digest(two, b, &err), SOREX_INVALID);
    database_close(one);
    database_close(two);
}

/* A digest leaves the database as it was, to the byte. */
static void test_digest_changes_nothing(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    uint8_t digest[SHA256_BYTES], before[SHA256_BYTES], after[SHA256_BYTES];
    struct database *database = open_with(NULL);
    struct snapshot *snapshot = NULL;
    exec_ok(database, "create table t as select g from generate_series(1, 5000) g; begin; delete from t where g = 1");
    assert_ok(database_save(database, &snapshot, &err));
    assert_ok(image_hash(snapshot, before, &err));
    snapshot_drop(snapshot);
    assert_ok(database_digest(database, digest, &err));
    assert_ok(database_save(database, &snapshot, &err));
    assert_ok(image_hash(snapshot, after, &err));
    snapshot_drop(snapshot);
    assert_memory_equal(before, after, SHA256_BYTES);
    database_close(database);
}

static void test_export(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct buf image = {0};
    struct database *database = open_with(NULL), *copy = NULL;
    exec_ok(database, "create table t as select g, md5(g::text) m from generate_series(1, 3000) g");
    exec_ok(database, "begin");
    exec_ok(database, "delete from t where g < 10");
    assert_ok(database_export(database, &image, &err));
    assert_ok(database_open_image(program, NULL, buf_view(&image), &copy, &err));
    exec_ok(copy, "commit");
    exec_value(copy, "select count(*) from t", "2991");
    exec_ok(database, "rollback");
    exec_value(database, "select count(*) from t", "3000");
    image.data[image.len / 2] ^= 1;
    database_close(copy);
    assert_int_equal(database_open_image(program, NULL, buf_view(&image), &copy, &err), SOREX_CORRUPT);
    buf_deinit(&image);
    database_close(database);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_typed_rows),
        cmocka_unit_test(test_prepared),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_clock_and_seed),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_fuel),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_digest_changes_nothing),
        cmocka_unit_test(test_export),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
