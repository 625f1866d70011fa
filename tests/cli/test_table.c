/* Tables compared byte for byte with what psql prints for the same statements on the same server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/file.h"
#include "cli/table.h"
#include "pg/native.h"

#define BYTES(literal) bytes_of(literal, sizeof(literal) - 1)

static struct sorex_error err;
static struct postgres_server *server;
static struct native native;
static struct buf statements;

#define OK(call)                      \
    do {                              \
        if ((call) != SOREX_OK)       \
            fail_msg("%s", err.text); \
    } while (0)

/* Statements end where a line begins that is not the middle of a quoted name. */
static bool statement_next(struct bytes *text, struct bytes *out)
{
    bool quoted = false;
    for (size_t i = 0; i < text->len; i++) {
        quoted ^= text->data[i] == '"';
        if (text->data[i] != '\n' || quoted)
            continue;
        *out = bytes_of(text->data, i);
        text->data += i + 1;
        text->len -= i + 1;
        return true;
    }
    return false;
}

static void ours(struct bytes sql, enum protocol_format format, const struct table_options *options, struct buf *out)
{
    struct buf messages = {0}, replies = {0};
    struct results results;
    const struct protocol_bind bind = {.portal = BYTES(""), .statement = BYTES(""), .results = format};
    results_init(&results, 0);
    OK(protocol_parse(&messages, BYTES(""), sql, NULL, 0, &err));
    OK(protocol_bind(&messages, &bind, &err));
    OK(protocol_describe(&messages, PROTOCOL_PORTAL, BYTES(""), &err));
    OK(protocol_execute(&messages, BYTES(""), 0, &err));
    OK(protocol_sync(&messages, &err));
    OK(results_exchange(&results, native_exchange, &native, buf_view(&messages), &replies, &err));
    if (results.error != NULL) {
        (void)result_error(results.error, &err);
        fail_msg("%.*s: %s", BYTES_FMT(sql), err.text);
    }
    OK(table_print(results.first, options, out, &err));
    results_deinit(&results);
    buf_deinit(&messages);
    buf_deinit(&replies);
}

static void same(enum table_format format, const char *null, bool rows_only, const char *const *arguments)
{
    const struct table_options options = {.format = format, .null = bytes_str(null), .rows_only = rows_only};
    struct bytes sql;
    size_t count = 0;
    for (struct bytes rest = buf_view(&statements); statement_next(&rest, &sql); count++) {
        struct buf psql = {0}, text = {0}, binary = {0}, script = {0};
        OK(buf_printf(&script, &err, "%.*s\n;\n", BYTES_FMT(sql)));
        assert_true(native_psql(server, arguments, buf_view(&script), &psql));
        ours(sql, PROTOCOL_TEXT, &options, &text);
        ours(sql, PROTOCOL_BINARY, &options, &binary);
        if (!bytes_equal(buf_view(&psql), buf_view(&text)))
            fail_msg("%.*s:\n%.*s--- is not\n%.*s---", BYTES_FMT(sql), BYTES_FMT(buf_view(&text)),
                     BYTES_FMT(buf_view(&psql)));
        assert_true(bytes_equal(buf_view(&text), buf_view(&binary)));
        buf_deinit(&psql);
        buf_deinit(&text);
        buf_deinit(&binary);
        buf_deinit(&script);
    }
    assert_int_equal(count, 21);
}

static void test_aligned(void **unused)
{
    (void)unused;
    if (server == NULL)
        skip();
    same(TABLE_ALIGNED, "", false, (const char *const[]){"-q", NULL});
    same(TABLE_ALIGNED, "(null)", false, (const char *const[]){"-q", "-P", "null=(null)", NULL});
}

static void test_rows_only(void **unused)
{
    (void)unused;
    if (server == NULL)
        skip();
    same(TABLE_ALIGNED, "", true, (const char *const[]){"-q", "-t", NULL});
}

static void test_expanded(void **unused)
{
    (void)unused;
    if (server == NULL)
        skip();
    same(TABLE_EXPANDED, "", false, (const char *const[]){"-q", "-x", NULL});
    same(TABLE_EXPANDED, "∅", false, (const char *const[]){"-q", "-x", "-P", "null=∅", NULL});
}

static void test_csv(void **unused)
{
    (void)unused;
    if (server == NULL)
        skip();
    same(TABLE_CSV, "", false, (const char *const[]){"-q", "--csv", NULL});
    same(TABLE_CSV, "\\N", true, (const char *const[]){"-q", "--csv", "-t", "-P", "null=\\N", NULL});
}

static void test_json(void **unused)
{
    (void)unused;
    if (server == NULL)
        skip();
    const struct table_options options = {.format = TABLE_JSON};
    static const char wanted[] =
        "{\"i\":-1,\"n\":1.50,\"nan\":\"NaN\",\"f\":1e+20,\"inf\":\"-Infinity\",\"b\":false,\"z\":null,\"t\":"
        "\"a\\\"\\n\","
        "\"j\":{\"a\":  1},\"jb\":[1, 2],\"d\":\"2024-02-29\",\"a\":\"{1,NULL}\",\"x\":\"\\\\x00\"}\n";
    static const enum protocol_format formats[] = {PROTOCOL_TEXT, PROTOCOL_BINARY};
    for (size_t i = 0; i < 2; i++) {
        struct buf out = {0};
        ours(BYTES("select -1 as i, 1.50 as n, 'NaN'::numeric as nan, 1e20::float8 as f, '-Infinity'::float4 as inf, "
                   "false as b, null::int as z, e'a\"\\n' as t, e'{\"a\": \\n1}'::json as j, '[1,2]'::jsonb as jb, "
                   "'2024-02-29'::date as d, array[1,null] as a, '\\x00'::bytea as x"),
             formats[i], &options, &out);
        if (!bytes_is(buf_view(&out), wanted))
            fail_msg("%.*s", BYTES_FMT(buf_view(&out)));
        buf_deinit(&out);
    }
}

static void test_width(void **unused)
{
    (void)unused;
    assert_int_equal(table_width('a'), 1);
    assert_int_equal(table_width('\n'), -1);
    assert_int_equal(table_width(0x85), -1);
    assert_int_equal(table_width(0x301), 0);
    assert_int_equal(table_width(0x65e5), 2);
    assert_int_equal(table_width(0x1f98a), 2);
    assert_int_equal(table_width(0xe4), 1);
}

static int setup(void **unused)
{
    (void)unused;
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/tests/cli/statements.sql", getenv("SOREX_SOURCE_DIR"));
    enum sorex_status status = file_read(path, 1 << 20, &statements, &err);
    if (status == SOREX_OK)
        status = postgres_server_new(NULL, &server, &err);
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
    buf_deinit(&statements);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aligned), cmocka_unit_test(test_rows_only), cmocka_unit_test(test_expanded),
        cmocka_unit_test(test_csv),     cmocka_unit_test(test_json),      cmocka_unit_test(test_width),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
