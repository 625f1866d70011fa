/* Results collected from messages: made up ones, and those of a native server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pg/native.h"

#define BYTES(literal) bytes_of(literal, sizeof(literal) - 1)

static struct sorex_error err;
static struct postgres_server *server;
static struct native native;
static struct buf messages, replies;
static struct results results;

#define OK(call)                      \
    do {                              \
        if ((call) != SOREX_OK)       \
            fail_msg("%s", err.text); \
    } while (0)

static void is(struct bytes a, const char *text)
{
    if (!bytes_is(a, text))
        fail_msg("'%.*s' is not '%s'", BYTES_FMT(a), text);
}

static void send_all(void)
{
    OK(results_exchange(&results, native_exchange, &native, buf_view(&messages), &replies, &err));
    buf_reset(&messages);
}

static void query(const char *sql)
{
    buf_reset(&messages); /* a test before may have failed */
    OK(protocol_query(&messages, bytes_str(sql), &err));
    send_all();
}

/* ---- made up ---- */

static void collected(struct bytes input, enum sorex_status wanted, const char *text)
{
    enum sorex_status status = results_collect(&results, input, &err);
    if (status != wanted || (text != NULL && strstr(err.text, text) == NULL))
        fail_msg("%s: %s", sorex_status_name(status), err.text);
    if (status != SOREX_OK)
        assert_null(results.first);
}

#define READY "Z\0\0\0\5I"
#define DONE "C\0\0\0\x6X\0"
#define COLUMN "T\0\0\0\x19\0\1\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"
#define ROW "D\0\0\0\xb\0\1\0\0\0\1x"
#define FATAL "E\0\0\0\x16SFATAL\0C57P01\0Mx\0\0"

static void test_order(void **unused)
{
    (void)unused;
    collected(BYTES(COLUMN ROW ROW DONE READY), SOREX_OK, NULL);
    assert_int_equal(results.first->rows_count, 2);
    assert_int_equal(results.transaction, 'I');
    collected(BYTES(ROW DONE READY), SOREX_OK, NULL); /* executed without a description */
    assert_null(results.first->columns);
    assert_int_equal(results.first->columns_count, 1);
    collected(BYTES(FATAL), SOREX_OK, NULL); /* the connection ended */
    assert_int_equal(results.transaction, 0);
    assert_int_equal(result_error(results.error, &err), SOREX_IO);
    collected(BYTES(""), SOREX_CORRUPT, "no end");
    collected(BYTES(COLUMN ROW DONE), SOREX_CORRUPT, "no end");
    collected(BYTES(READY READY), SOREX_CORRUPT, "behind");
    collected(BYTES(READY "Z"), SOREX_CORRUPT, "behind");
    collected(BYTES(COLUMN ROW READY), SOREX_CORRUPT, "does not belong"); /* a result without an end */
    collected(BYTES(COLUMN ROW COLUMN DONE READY), SOREX_CORRUPT, "does not belong");
    collected(BYTES(COLUMN "D\0\0\0\x6\0\0" DONE READY), SOREX_CORRUPT, "0 values in a result of 1");
    collected(BYTES("d\0\0\0\4" READY), SOREX_CORRUPT, "does not belong");
    collected(BYTES("c\0\0\0\4" READY), SOREX_CORRUPT, "does not belong");
    collected(BYTES("H\0\0\0\7\0\0\0" DONE READY), SOREX_CORRUPT, "does not belong");
    collected(BYTES("R\0\0\0\x8\0\0\0\3" READY), SOREX_INVALID, "authentication");
    collected(BYTES("?" READY), SOREX_CORRUPT, "unknown type");
    collected(BYTES(READY), SOREX_OK, NULL);
    assert_null(results.first);
}

static void test_ceiling(void **unused)
{
    (void)unused;
    struct results small;
    struct buf input = {0};
    results_init(&small, 256 << 10);
    OK(buf_append(&input, BYTES(COLUMN), &err));
    for (size_t i = 0; i < 100000; i++)
        OK(buf_append(&input, BYTES(ROW), &err));
    OK(buf_append(&input, BYTES(DONE READY), &err));
    assert_int_equal(results_collect(&small, buf_view(&input), &err), SOREX_LIMIT);
    assert_int_equal(results_collect(&small, BYTES(READY), &err), SOREX_OK); /* it can be used again */
    results_deinit(&small);
    buf_deinit(&input);
}

static void test_tags(void **unused)
{
    (void)unused;
    assert_int_equal(result_rows(BYTES("INSERT 0 3")), 3);
    assert_int_equal(result_rows(BYTES("SELECT 1234567890123")), 1234567890123);
    assert_int_equal(result_rows(BYTES("CREATE TABLE")), 0);
    assert_int_equal(result_rows(BYTES("")), 0);
    assert_int_equal(result_rows(BYTES("12")), 0);
    assert_int_equal(result_rows(BYTES("X1")), 0);
}

/* ---- of the server ---- */

static void test_simple(void **unused)
{
    (void)unused;
    if (server == NULL)
        skip();
    query("create temp table t (id int primary key, name text); insert into t values (1, 'a'), (2, null);"
          "select * from t order by id; delete from t where id = 1; select 1/0; select 2");
    const struct result *r = results.first;
    is(r->tag, "CREATE TABLE");
    assert_null(r->columns);
    r = r->next;
    is(r->tag, "INSERT 0 2");
    assert_int_equal(result_rows(r->tag), 2);
    r = r->next;
    is(r->tag, "SELECT 2");
    assert_int_equal(r->columns_count, 2);
    is(r->columns[1].name, "name");
    assert_int_equal(r->columns[0].type, 23);
    is(r->rows[0][1].bytes, "a");
    assert_true(r->rows[1][1].null);
    r = r->next;
    is(r->tag, "DELETE 1");
    r = r->next;
    assert_null(r->tag.data);
    is(r->error->fields[PROTOCOL_FIELD_SQLSTATE], "22012");
    assert_ptr_equal(results.error, r->error);
    assert_null(r->next);
    query("");
    is(results.first->tag, "");
    query("begin");
    assert_int_equal(results.transaction, 'T');
    query("selec");
    assert_int_equal(results.transaction, 'E');
    assert_int_equal(result_error(results.error, &err), SOREX_INVALID);
    assert_string_equal(err.text, "42601: syntax error at or near \"selec\" (character 1)");
    query("rollback");
    assert_int_equal(results.transaction, 'I');
    query("do $$ begin raise notice 'one'; raise warning 'two' using hint = 'h'; end $$");
    is(results.notices->fields[PROTOCOL_FIELD_MESSAGE], "one");
    is(results.notices->next->fields[PROTOCOL_FIELD_HINT], "h");
    query("copy (select g from generate_series(1, 3) g) to stdout");
    is(results.first->copy_out, "1\n2\n3\n");
    is(results.first->tag, "COPY 3");
    query("select from generate_series(1, 3)");
    assert_int_equal(results.first->rows_count, 3);
    assert_int_equal(results.first->columns_count, 0);
}

static void test_extended(void **unused)
{
    (void)unused;
    if (server == NULL)
        skip();
    static const uint8_t five[] = {0, 0, 0, 5};
    const struct protocol_parameter parameter = {bytes_of(five, 4), false, PROTOCOL_BINARY};
    struct protocol_bind bind = {.portal = BYTES("p"),
                                 .statement = BYTES("s"),
                                 .parameters = &parameter,
                                 .parameters_count = 1,
                                 .results = PROTOCOL_TEXT};
    buf_reset(&messages);
    OK(protocol_parse(&messages, BYTES("s"), BYTES("select g from generate_series(1, $1::int) g"), NULL, 0, &err));
    OK(protocol_describe(&messages, PROTOCOL_STATEMENT, BYTES("s"), &err));
    OK(protocol_sync(&messages, &err));
    send_all();
    assert_null(results.first);
    assert_int_equal(results.parameters_count, 1);
    assert_int_equal(results.parameters[0], 23);
    assert_int_equal(results.columns_count, 1);
    is(results.columns[0].name, "g");
    OK(protocol_bind(&messages, &bind, &err));
    OK(protocol_execute(&messages, BYTES("p"), 2, &err));
    OK(protocol_execute(&messages, BYTES("p"), 2, &err));
    OK(protocol_execute(&messages, BYTES("p"), 2, &err));
    OK(protocol_close(&messages, PROTOCOL_STATEMENT, BYTES("s"), &err));
    OK(protocol_sync(&messages, &err));
    send_all();
    const struct result *r = results.first;
    assert_true(r->suspended);
    assert_int_equal(r->rows_count, 2);
    r = r->next;
    assert_true(r->suspended);
    r = r->next;
    assert_false(r->suspended);
    assert_int_equal(r->rows_count, 1);
    is(r->rows[0][0].bytes, "5");
    is(r->tag, "SELECT 1");
    /* COPY in: everything in one go. */
    query("create temp table c (a int, b text)");
    OK(protocol_query(&messages, BYTES("copy c from stdin"), &err));
    OK(protocol_copy_data(&messages, BYTES("1\tx\n2\t\\N\n"), &err));
    OK(protocol_copy_done(&messages, &err));
    send_all();
    is(results.first->tag, "COPY 2");
    OK(protocol_query(&messages, BYTES("copy c from stdin"), &err));
    OK(protocol_copy_fail(&messages, BYTES("changed my mind"), &err));
    send_all();
    is(results.error->fields[PROTOCOL_FIELD_SQLSTATE], "57014");
}

static int setup(void **unused)
{
    (void)unused;
    results_init(&results, 0);
    enum sorex_status status = postgres_server_new(NULL, &server, &err);
    if (status == SOREX_OK)
        status = native_open(server, &native, &err);
    if (status != SOREX_OK)
        print_message("%s\n", err.text);
    return status == SOREX_OK || status == SOREX_GONE ? 0 : -1;
}

static int teardown(void **unused)
{
    (void)unused;
    if (server != NULL)
        native_close(&native);
    postgres_server_free(server);
    results_deinit(&results);
    buf_deinit(&messages);
    buf_deinit(&replies);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),  cmocka_unit_test(test_ceiling),  cmocka_unit_test(test_tags),
        cmocka_unit_test(test_simple), cmocka_unit_test(test_extended),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
