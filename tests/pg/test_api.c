/* include/sorex/database.h, as a program of somebody else's uses it. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sorex/database.h"

#define PG_DIR "postgres"
#define PG_CACHE "postgres-cache"

static struct sorex_postgres *postgres;
static struct sorex_error err;

#define assert_ok(call)                          \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

static int setup(void **state)
{
    (void)state;
    struct sorex_postgres_options options = {.dir = PG_DIR, .cache_dir = PG_CACHE};
    assert_ok(sorex_postgres_load(&options, &postgres, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sorex_postgres_free(postgres);
    return 0;
}

static struct sorex_database *open_new(void)
{
    struct sorex_database *db = NULL;
    assert_ok(sorex_database_open(postgres, NULL, &db, &err));
    return db;
}

static void exec(struct sorex_database *db, const char *sql) { assert_ok(sorex_database_exec(db, sql, NULL, &err)); }

static struct sorex_value integer(int64_t value)
{
    return (struct sorex_value){.kind = SOREX_VALUE_INTEGER, .integer = value};
}

static struct sorex_value text(const char *value)
{
    return (struct sorex_value){.kind = SOREX_VALUE_TEXT, .data = value, .len = strlen(value)};
}

/* The only value of the only row. */
static int64_t count_of(struct sorex_database *db, const char *sql)
{
    struct sorex_result *result = NULL;
    assert_ok(sorex_database_query(db, sql, NULL, 0, &result, &err));
    assert_int_equal(sorex_result_rows(result), 1);
    assert_int_equal(sorex_result_row(result, 0)->kind, SOREX_VALUE_INTEGER);
    int64_t value = sorex_result_row(result, 0)->integer;
    sorex_result_free(result);
    return value;
}

static const char types_sql[] =
    "select 1::int2 as i2, -2147483648 as i4, (-9223372036854775807 - 1)::int8 as i8, 4294967295::oid as o, true as y,"
    " false as n, 0.25::float4 as f4, '-Infinity'::float8 as f8, 'NaN'::float8 as nan, 'a\xc3\xa4'::text as t, "
    "''::text as e,"
    " '\\x00ff5c'::bytea as b, null::int as z, 1.50::numeric as num, '2020-02-29'::date as d, '{\"a\": 1}'::jsonb as j,"
    " array[1,null] as a, 'x'::char(3) as c";

static void types_check(struct sorex_result *result)
{
    static const char *const names[] = {"i2", "i4", "i8", "o", "y",   "n", "f4", "f8", "nan",
                                        "t",  "e",  "b",  "z", "num", "d", "j",  "a",  "c"};
    static const int64_t integers[] = {1, INT32_MIN, INT64_MIN, 4294967295, 1, 0};
    static const char *const texts[] = {"1.50", "2020-02-29", "{\"a\": 1}", "{1,NULL}", "x  "};
    const struct sorex_value *row = sorex_result_row(result, 0);
    assert_int_equal(sorex_result_columns(result), 18);
    for (size_t i = 0; i < 18; i++)
        assert_string_equal(sorex_result_column_name(result, i), names[i]);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(row[i].kind, SOREX_VALUE_INTEGER);
        assert_int_equal(row[i].integer, integers[i]);
    }
    for (size_t i = 6; i < 9; i++)
        assert_int_equal(row[i].kind, SOREX_VALUE_DOUBLE);
    assert_true(row[6].real > 0.249 && row[6].real < 0.251 && row[7].real < -1e308 && row[8].real != row[8].real);
    assert_int_equal(row[9].kind, SOREX_VALUE_TEXT);
    assert_string_equal(row[9].data, "a\xc3\xa4");
    assert_int_equal(row[9].len, 3);
    assert_int_equal(row[10].kind, SOREX_VALUE_TEXT);
    assert_int_equal(row[10].len, 0);
    assert_string_equal(row[10].data, "");
    assert_int_equal(row[11].kind, SOREX_VALUE_BYTES);
    assert_int_equal(row[11].len, 3);
    assert_memory_equal(row[11].data, "\0\377\\", 4); /* with the NUL behind it */
    assert_int_equal(row[12].kind, SOREX_VALUE_NULL);
    for (size_t i = 13; i < 18; i++) {
        assert_int_equal(row[i].kind, SOREX_VALUE_TEXT);
        assert_string_equal(row[i].data, texts[i - 13]);
    }
    assert_int_equal(sorex_result_column_type(result, 2), 20);
    assert_string_equal(sorex_result_tag(result), "SELECT 1");
}

/* The same values, whichever way the server sent them. */
static void test_types(void **state)
{
    (void)state;
    struct sorex_database *db = open_new();
    struct sorex_result *result = NULL;
    char sql[2048];
    assert_ok(sorex_database_query(db, types_sql, NULL, 0, &result, &err));
    types_check(result);
    sorex_result_free(result);
    assert_ok(sorex_database_exec(db, types_sql, &result, &err));
    types_check(result);
    sorex_result_free(result);
    /* A type that is not known makes all columns text on the way. */
    (void)snprintf(sql, sizeof sql, "select * from (%s) q, (select '10.0.0.1/8'::inet as ip, 'pg_class'::regclass) r",
                   types_sql);
    assert_ok(sorex_database_query(db, sql, NULL, 0, &result, &err));
    assert_string_equal(sorex_result_row(result, 0)[18].data, "10.0.0.1/8");
    assert_string_equal(sorex_result_row(result, 0)[19].data, "pg_class");
    assert_int_equal(sorex_result_row(result, 0)[1].integer, INT32_MIN);
    assert_int_equal(sorex_result_row(result, 0)[8].kind, SOREX_VALUE_DOUBLE);
    sorex_result_free(result);
    exec(db, "set bytea_output = 'escape'");
    assert_ok(sorex_database_exec(db, types_sql, &result, &err));
    types_check(result);
    sorex_result_free(result);
    sorex_database_close(db);
}

static void test_several_statements(void **state)
{
    (void)state;
    struct sorex_database *db = open_new();
    struct sorex_result *first = NULL;
    assert_ok(sorex_database_exec(db, "create table t (id int); insert into t select generate_series(1, 3); table t; ;",
                                  &first, &err));
    assert_int_equal(sorex_result_columns(first), 0);
    assert_int_equal(sorex_result_rows(first), 0);
    assert_string_equal(sorex_result_tag(first), "CREATE TABLE");
    struct sorex_result *result = sorex_result_next(first);
    assert_int_equal(sorex_result_affected(result), 3);
    result = sorex_result_next(result);
    assert_int_equal(sorex_result_rows(result), 3);
    assert_int_equal(sorex_result_row(result, 2)[0].integer, 3);
    assert_null(sorex_result_next(result));
    sorex_result_free(first);
    assert_ok(sorex_database_exec(db, "", &first, &err));
    assert_string_equal(sorex_result_tag(first), "");
    sorex_result_free(first);
    /* Together they are one transaction. */
    assert_int_equal(sorex_database_exec(db, "insert into t values (9); select 1/0", &first, &err), SOREX_INVALID);
    assert_int_equal(count_of(db, "select count(*) from t"), 3);
    sorex_database_close(db);
}

static void test_errors(void **state)
{
    (void)state;
    struct sorex_database *db = open_new();
    struct sorex_result *result = NULL;
    assert_string_equal(sorex_database_error(db, SOREX_FIELD_SQLSTATE), "");
    exec(db, "create table t (id int constraint positive check (id > 0))");
    assert_int_equal(sorex_database_exec(db, "selec", &result, &err), SOREX_INVALID);
    assert_int_equal(err.status, SOREX_INVALID);
    assert_string_equal(err.text, "42601: syntax error at or near \"selec\" (character 1)");
    assert_string_equal(sorex_database_error(db, SOREX_FIELD_SQLSTATE), "42601");
    assert_string_equal(sorex_database_error(db, SOREX_FIELD_POSITION), "1");
    assert_string_equal(sorex_database_error(db, SOREX_FIELD_HINT), "");
    exec(db, "begin");
    assert_int_equal(sorex_database_transaction(db), 'T');
    struct sorex_value parameter = integer(-1);
    assert_int_equal(sorex_database_query(db, "insert into t values ($1)", &parameter, 1, &result, &err),
                     SOREX_INVALID);
    assert_string_equal(sorex_database_error(db, SOREX_FIELD_CONSTRAINT), "positive");
    assert_string_equal(sorex_database_error(db, SOREX_FIELD_TABLE), "t");
    assert_int_equal(sorex_database_transaction(db), 'E');
    assert_int_equal(sorex_database_query(db, "select 1", NULL, 0, &result, &err), SOREX_INVALID);
    assert_string_equal(sorex_database_error(db, SOREX_FIELD_SQLSTATE), "25P02");
    exec(db, "rollback");
    assert_int_equal(sorex_database_transaction(db), 'I');
    /* What PostgreSQL never saw. */
    assert_int_equal(sorex_database_query(db, "insert into t values ($1)", NULL, 0, &result, &err), SOREX_INVALID);
    parameter = integer(INT64_MAX);
    assert_int_equal(sorex_database_query(db, "insert into t values ($1)", &parameter, 1, &result, &err),
                     SOREX_INVALID);
    parameter.kind = (enum sorex_value_kind)77;
    assert_int_equal(sorex_database_query(db, "insert into t values ($1)", &parameter, 1, &result, &err),
                     SOREX_INVALID);
    assert_int_equal(sorex_database_exec(db, "copy t from stdin", NULL, &err), SOREX_INVALID);
    assert_string_equal(sorex_database_error(db, SOREX_FIELD_SQLSTATE), "57014");
    assert_null(result);
    assert_false(sorex_database_broken(db));
    assert_int_equal(count_of(db, "select count(*) from t"), 0);
    sorex_database_close(db);
}

static void test_prepared(void **state)
{
    (void)state;
    struct sorex_database *db = open_new(), *fork = NULL;
    struct sorex_statement *add = NULL, *find = NULL, *other = NULL;
    struct sorex_result *result = NULL;
    exec(db,
         "create table t (id bigint primary key, name text, data bytea, weight float8, price numeric, kind regtype)");
    assert_ok(
        sorex_database_prepare(db, "insert into t values ($1, $2, $3, $4, $5, 'int4') returning id, kind", &add, &err));
    assert_ok(sorex_database_prepare(db, "select * from t where id = $1", &find, &err));
    assert_int_equal(sorex_statement_parameters(add), 5);
    assert_int_equal(sorex_statement_parameter_type(add, 0), 20);
    assert_int_equal(sorex_statement_parameter_type(add, 4), 1700);
    for (int64_t i = 0; i < 100; i++) {
        struct sorex_value values[] = {integer(i),
                                       text("n\xc3\xa4me"),
                                       {.kind = SOREX_VALUE_BYTES, .data = "\0\1", .len = 2},
                                       {.kind = SOREX_VALUE_DOUBLE, .real = 0.5},
                                       text("1.10")};
        assert_ok(sorex_statement_execute(add, values, 5, &result, &err));
        assert_int_equal(sorex_result_row(result, 0)[0].integer, i);
        assert_string_equal(sorex_result_row(result, 0)[1].data, "integer");
        sorex_result_free(result);
    }
    struct sorex_value key = integer(42);
    assert_ok(sorex_statement_execute(find, &key, 1, &result, &err));
    const struct sorex_value *row = sorex_result_row(result, 0);
    assert_string_equal(row[1].data, "n\xc3\xa4me");
    assert_memory_equal(row[2].data, "\0\1", 3);
    assert_true(row[3].real > 0.49 && row[3].real < 0.51);
    assert_string_equal(row[4].data, "1.10");
    sorex_result_free(result);
    assert_int_equal(sorex_statement_execute(find, NULL, 0, &result, &err), SOREX_INVALID);
    /* A fork has the session's statements, and names of its own nevertheless. */
    assert_ok(sorex_database_fork(db, NULL, &fork, &err));
    assert_int_equal(count_of(fork, "select count(*) from pg_prepared_statements where name like 'sorex%'"), 2);
    assert_ok(sorex_database_prepare(fork, "select 5", &other, &err));
    assert_ok(sorex_statement_execute(other, NULL, 0, &result, &err));
    assert_int_equal(sorex_result_row(result, 0)->integer, 5);
    sorex_result_free(result);
    sorex_statement_free(other);
    sorex_database_close(fork);
    sorex_statement_free(add);
    assert_int_equal(count_of(db, "select count(*) from pg_prepared_statements where name like 'sorex%'"), 1);
    sorex_statement_free(find);
    sorex_statement_free(NULL);
    assert_int_equal(sorex_database_prepare(db, "select $1::nothing", &add, &err), SOREX_INVALID);
    assert_string_equal(sorex_database_error(db, SOREX_FIELD_SQLSTATE), "42704");
    sorex_database_close(db);
}

static void test_copies(void **state)
{
    (void)state;
    struct sorex_database *db = open_new();
    static const char data[] = "1,one\n2,\"two, three\"\n3,\n";
    uint64_t rows = 0;
    void *out = NULL;
    size_t len = 0;
    exec(db, "create table t (id int, name text)");
    assert_ok(sorex_database_copy_in(db, "copy t from stdin (format csv)", data, sizeof data - 1, &rows, &err));
    assert_int_equal(rows, 3);
    assert_ok(sorex_database_copy_out(db, "copy t to stdout (format csv)", &out, &len, &err));
    assert_int_equal(len, sizeof data - 1);
    assert_memory_equal(out, data, len);
    free(out);
    assert_ok(sorex_database_copy_out(db, "copy (select 1 where false) to stdout", &out, &len, &err));
    assert_int_equal(len, 0);
    assert_null(out);
    assert_int_equal(sorex_database_copy_in(db, "copy t from stdin (format csv)", "x,y\n", 4, &rows, &err),
                     SOREX_INVALID);
    assert_string_equal(sorex_database_error(db, SOREX_FIELD_SQLSTATE), "22P02");
    assert_int_equal(count_of(db, "select count(*) from t"), 3);
    sorex_database_close(db);
}

static void test_states(void **state)
{
    (void)state;
    struct sorex_database *db = open_new(), *fork = NULL;
    struct sorex_snapshot *snapshot = NULL;
    struct sorex_statement *add = NULL;
    exec(db, "create table t (id int)");
    assert_ok(sorex_database_prepare(db, "insert into t values ($1)", &add, &err));
    exec(db, "begin; insert into t values (1)");
    assert_ok(sorex_database_snapshot(db, &snapshot, &err)); /* in a transaction, with a statement */
    exec(db, "commit; insert into t values (2)");
    assert_ok(sorex_database_fork(db, snapshot, &fork, &err));
    exec(fork, "rollback");
    assert_int_equal(count_of(fork, "select count(*) from t"), 0);
    assert_int_equal(count_of(db, "select count(*) from t"), 2);
    assert_ok(sorex_database_restore(db, snapshot, &err));
    struct sorex_value value = integer(7);
    assert_ok(sorex_statement_execute(add, &value, 1, NULL, &err));
    exec(db, "commit");
    assert_int_equal(count_of(db, "select sum(id) from t"), 8);
    sorex_statement_free(add);
    sorex_database_close(db);
    assert_int_equal(count_of(fork, "select count(*) from t"), 0); /* outlives its parent */
    assert_ok(sorex_database_restore(fork, snapshot, &err));       /* of a common ancestor */
    assert_int_equal(count_of(fork, "select sum(id) from t"), 1);
    sorex_snapshot_free(snapshot);
    sorex_database_close(fork);
}

static void test_images(void **state)
{
    (void)state;
    struct sorex_database *db = open_new(), *other = NULL;
    uint8_t hash[SOREX_HASH_BYTES], again[SOREX_HASH_BYTES], digest[SOREX_HASH_BYTES];
    void *image = NULL;
    size_t len = 0;
    char path[] = "/tmp/sorex-api-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    (void)close(file);
    exec(db, "create table t (id int, name text); insert into t values (1, 'a'), (2, 'b')");
    assert_ok(sorex_database_export(db, &image, &len, hash, &err));
    assert_ok(sorex_database_export_file(db, path, again, &err));
    assert_memory_equal(hash, again, SOREX_HASH_BYTES);
    assert_ok(sorex_database_digest(db, digest, &err));

    assert_ok(sorex_database_import(postgres, NULL, image, len, hash, &other, &err));
    assert_ok(sorex_database_digest(other, again, &err));
    assert_memory_equal(digest, again, SOREX_HASH_BYTES);
    exec(other, "insert into t values (3, 'c')");
    assert_ok(sorex_database_digest(other, again, &err));
    assert_memory_not_equal(digest, again, SOREX_HASH_BYTES);
    sorex_database_close(other);
    assert_ok(sorex_database_import_file(postgres, NULL, path, NULL, &other, &err));
    assert_int_equal(count_of(other, "select count(*) from t"), 2);
    sorex_database_close(other);
    other = NULL;

    hash[5] ^= 1;
    assert_int_equal(sorex_database_import_file(postgres, NULL, path, hash, &other, &err), SOREX_MISMATCH);
    assert_non_null(strstr(err.text, path));
    ((uint8_t *)image)[len / 2] ^= 1;
    assert_int_equal(sorex_database_import(postgres, NULL, image, len, NULL, &other, &err), SOREX_CORRUPT);
    assert_int_equal(sorex_database_import(postgres, NULL, image, 9, NULL, &other, &err), SOREX_CORRUPT);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sorex_database_import_file(postgres, NULL, path, NULL, &other, &err), SOREX_IO);
    assert_null(other);
    free(image);
    sorex_database_close(db);
}

/* The same statements, time and seed: the same bytes; another seed: others. */
static void test_options(void **state)
{
    (void)state;
    uint8_t hashes[3][SOREX_HASH_BYTES];
    for (uint64_t i = 0; i < 3; i++) {
        struct sorex_database_options options = {.time_us = 1600000000000000, .seed = 1 + i / 2};
        struct sorex_database *db = NULL;
        assert_ok(sorex_database_open(postgres, &options, &db, &err));
        exec(db, "create table t as select random() r, now() n; select gen_random_uuid()");
        assert_int_equal(count_of(db, "select extract(epoch from n)::bigint from t"), 1600000000);
        sorex_database_time_set(db, 1700000000000000);
        assert_int_equal(count_of(db, "select extract(epoch from now())::bigint"), 1700000000);
        void *image;
        size_t len;
        assert_ok(sorex_database_export(db, &image, &len, hashes[i], &err));
        free(image);
        sorex_database_close(db);
    }
    assert_memory_equal(hashes[0], hashes[1], SOREX_HASH_BYTES);
    assert_memory_not_equal(hashes[0], hashes[2], SOREX_HASH_BYTES);
    struct sorex_database *db = NULL;
    struct sorex_database_options fuel = {.statement_fuel = 1000};
    assert_int_equal(sorex_database_open(postgres, &fuel, &db, &err), SOREX_INVALID);
    assert_null(db);
    struct sorex_postgres *nothing = NULL;
    assert_int_equal(sorex_postgres_load(&(struct sorex_postgres_options){.dir = "/nowhere"}, &nothing, &err),
                     SOREX_IO);
    assert_null(nothing);
}

struct worker {
    struct sorex_database *parent;
    const struct sorex_snapshot *snapshot;
    int64_t number, sum;
};

static void *work(void *user_data)
{
    struct worker *w = user_data;
    struct sorex_error why;
    struct sorex_database *fork = NULL;
    struct sorex_result *result = NULL;
    struct sorex_value value = integer(w->number);
    if (sorex_database_fork(w->parent, w->snapshot, &fork, &why) == SOREX_OK &&
        sorex_database_query(fork, "insert into t values ($1)", &value, 1, NULL, &why) == SOREX_OK &&
        sorex_database_query(fork, "select sum(id) from t", NULL, 0, &result, &why) == SOREX_OK)
        w->sum = sorex_result_row(result, 0)->integer;
    sorex_result_free(result);
    sorex_database_close(fork);
    return NULL;
}

static void test_forks_on_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct sorex_database *db = open_new();
    struct sorex_snapshot *snapshot = NULL;
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    exec(db, "create table t (id int); insert into t values (100)");
    assert_ok(sorex_database_snapshot(db, &snapshot, &err));
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.parent = db, .snapshot = snapshot, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].sum, 100 + i);
    }
    assert_int_equal(count_of(db, "select count(*) from t"), 1);
    sorex_snapshot_free(snapshot);
    sorex_database_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),           cmocka_unit_test(test_several_statements),
        cmocka_unit_test(test_errors),          cmocka_unit_test(test_prepared),
        cmocka_unit_test(test_copies),          cmocka_unit_test(test_states),
        cmocka_unit_test(test_images),          cmocka_unit_test(test_options),
        cmocka_unit_test(test_forks_on_threads)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
