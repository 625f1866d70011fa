/* Values: their text is compared with what a native server prints for the same binary value; what C gives arrives
 * there; bytes that are no value are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/file.h"
#include "pg/native.h"
#include "pg/value.h"

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

static bool have_server(void) { return server != NULL; }

static void exchange(void)
{
    OK(results_exchange(&results, native_exchange, &native, buf_view(&messages), &replies, &err));
    if (results.error != NULL) {
        (void)result_error(results.error, &err);
        fail_msg("%s", err.text);
    }
    buf_reset(&messages);
}

/* A statement with parameters, its results in that format. */
static void run(struct bytes sql, const struct protocol_parameter *parameters, size_t count,
                enum protocol_format format)
{
    const struct protocol_bind bind = {.parameters = parameters,
                                       .parameters_count = count,
                                       .results = format,
                                       .portal = BYTES(""),
                                       .statement = BYTES("")};
    buf_reset(&messages); /* a test before may have failed */
    OK(protocol_parse(&messages, BYTES(""), sql, NULL, 0, &err));
    OK(protocol_bind(&messages, &bind, &err));
    OK(protocol_describe(&messages, PROTOCOL_PORTAL, BYTES(""), &err));
    OK(protocol_execute(&messages, BYTES(""), 0, &err));
    OK(protocol_sync(&messages, &err));
    exchange();
    assert_non_null(results.first);
    assert_non_null(results.first->columns);
}

static bool line_next(struct bytes *text, struct bytes *out)
{
    const uint8_t *end = text->len == 0 ? NULL : memchr(text->data, '\n', text->len);
    if (end == NULL)
        return false;
    *out = bytes_of(text->data, (size_t)(end - text->data));
    text->data = end + 1;
    text->len -= out->len + 1;
    return true;
}

/* Every column of every row of a statement, once as text and once as binary. Returns the number of values. */
static size_t same_text(struct bytes sql)
{
    struct buf texts = {0};
    struct results binary;
    size_t values = 0;
    run(sql, NULL, 0, PROTOCOL_BINARY);
    binary = results;
    results_init(&results, 0);
    run(sql, NULL, 0, PROTOCOL_TEXT);
    assert_int_equal(binary.first->rows_count, results.first->rows_count);
    for (size_t row = 0; row < results.first->rows_count; row++) {
        for (size_t column = 0; column < results.first->columns_count; column++, values++) {
            const struct protocol_value *value = &binary.first->rows[row][column];
            const struct protocol_value *wanted = &results.first->rows[row][column];
            assert_int_equal(value->null, wanted->null);
            if (value->null)
                continue;
            assert_int_equal(binary.first->columns[column].format, PROTOCOL_BINARY);
            buf_reset(&texts);
            OK(value_text(binary.first->columns[column].type, value->bytes, &texts, &err));
            if (!bytes_equal(buf_view(&texts), wanted->bytes))
                fail_msg("%.*s: '%.*s' is not '%.*s'", BYTES_FMT(sql), BYTES_FMT(buf_view(&texts)),
                         BYTES_FMT(wanted->bytes));
        }
    }
    results_deinit(&binary);
    buf_deinit(&texts);
    return values;
}

static void test_text(void **unused)
{
    (void)unused;
    if (!have_server())
        skip();
    char path[4096];
    struct buf file = {0}, sql = {0};
    struct bytes line;
    size_t count = 0;
    (void)snprintf(path, sizeof path, "%s/tests/pg/data/values.sql", getenv("SOREX_SOURCE_DIR"));
    OK(file_read(path, 1 << 20, &file, &err));
    for (struct bytes rest = buf_view(&file); line_next(&rest, &line);) {
        buf_reset(&sql);
        OK(buf_printf(&sql, &err, "select %.*s", BYTES_FMT(line)));
        count += same_text(buf_view(&sql));
    }
    assert_true(count > 150);
    buf_deinit(&file);
    buf_deinit(&sql);
}

/* Random bits, powers of two with their neighbours, and what lies near short decimals, where the shortest text is
 * hardest: the server makes the numbers. */
static void test_floats(void **unused)
{
    (void)unused;
    if (!have_server())
        skip();
    size_t count = same_text(BYTES("select 2::float8 ^ e, (2::float8 ^ e) * (1 + 2.2204460492503131e-16::float8), "
                                   "(2::float8 ^ e) * (1 - 1.1102230246251565e-16::float8) "
                                   "from generate_series(-1022, 1023) e"));
    count += same_text(BYTES("select (d || 'e' || e)::float8, (d || 'e' || e)::float8 * 1.0000000000000002::float8 "
                             "from generate_series(0, 22) e, generate_series(1, 40) d"));
    count +=
        same_text(BYTES("select (d || 'e' || e)::float8 from generate_series(20, 30) e, generate_series(1, 999) d"));
    count += same_text(BYTES("select 2::float4 ^ e, ((2::float8 ^ e) * (1 + 1.1920929e-7::float8))::float4 "
                             "from generate_series(-126, 127) e"));
    count +=
        same_text(BYTES("select (d || 'e' || e)::float4 from generate_series(0, 12) e, generate_series(1, 999) d"));
    assert_true(count > 30000);
}

/* Bits that no literal gives: through COPY they would have to be binary, so they are parameters. */
static void test_random_floats(void **unused)
{
    (void)unused;
    if (!have_server())
        skip();
    enum { COUNT = 4000 };
    static uint8_t wide[COUNT][8], narrow[COUNT][4];
    static struct protocol_parameter parameters[2 * COUNT];
    struct buf sql = {0};
    uint64_t state = 42; /* splitmix64 */
    OK(buf_append_str(&sql, "select unnest(array[", &err));
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t bits = state += UINT64_C(0x9e3779b97f4a7c15);
        bits = (bits ^ (bits >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        bits = (bits ^ (bits >> 27)) * UINT64_C(0x94d049bb133111eb);
        bits ^= bits >> 31;
        u64be_put(wide[i], bits);
        u32be_put(narrow[i], (uint32_t)(bits >> 13));
        parameters[i] = (struct protocol_parameter){bytes_of(wide[i], 8), false, PROTOCOL_BINARY};
        parameters[COUNT + i] = (struct protocol_parameter){bytes_of(narrow[i], 4), false, PROTOCOL_BINARY};
        OK(buf_printf(&sql, &err, "%s$%zu::float8", i > 0 ? "," : "", i + 1));
    }
    OK(buf_append_str(&sql, "])::text, unnest(array[", &err));
    for (size_t i = 0; i < COUNT; i++)
        OK(buf_printf(&sql, &err, "%s$%zu::float4", i > 0 ? "," : "", COUNT + i + 1));
    OK(buf_append_str(&sql, "])::text", &err));
    run(buf_view(&sql), parameters, 2 * (size_t)COUNT, PROTOCOL_TEXT);
    assert_int_equal(results.first->rows_count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        buf_reset(&sql);
        OK(value_text(VALUE_FLOAT8, parameters[i].bytes, &sql, &err));
        OK(buf_append_str(&sql, " ", &err));
        OK(value_text(VALUE_FLOAT4, parameters[COUNT + i].bytes, &sql, &err));
        const struct protocol_value *row = results.first->rows[i];
        struct buf wanted = {0};
        OK(buf_printf(&wanted, &err, "%.*s %.*s", BYTES_FMT(row[0].bytes), BYTES_FMT(row[1].bytes)));
        if (!bytes_equal(buf_view(&wanted), buf_view(&sql)))
            fail_msg("'%.*s' is not '%.*s'", BYTES_FMT(buf_view(&sql)), BYTES_FMT(buf_view(&wanted)));
        buf_deinit(&wanted);
    }
    buf_deinit(&sql);
}

static void test_calendar(void **unused)
{
    (void)unused;
    if (!have_server())
        skip();
    size_t count = same_text(BYTES("select '4713-11-24 BC'::date + d * 997, '4713-11-24 BC'::timestamp + d * interval "
                                   "'997 days 01:02:03.456' from generate_series(0, 20000) d"));
    count += same_text(BYTES("select '2096-02-20'::date + d, '1896-02-20'::timestamptz + d * interval '1 day', "
                             "'0001-02-20 BC'::timestamp + d * interval '1 day' from generate_series(0, 800) d"));
    assert_true(count > 40000);
}

/* What C gives is what the server reads, and comes back as C knows it. */
static void test_parameters(void **unused)
{
    (void)unused;
    if (!have_server())
        skip();
    static const struct {
        struct value value;
        const char *type;
        uint32_t oid;
        const char *text;
        enum value_kind back;
    } cases[] = {
        {{.kind = VALUE_IS_NULL}, "int4", VALUE_INT4, NULL, VALUE_IS_NULL},
        {{.kind = VALUE_IS_INTEGER, .integer = 1}, "bool", VALUE_BOOL, "true", VALUE_IS_INTEGER},
        {{.kind = VALUE_IS_INTEGER, .integer = -32768}, "int2", VALUE_INT2, "-32768", VALUE_IS_INTEGER},
        {{.kind = VALUE_IS_INTEGER, .integer = INT32_MIN}, "int4", VALUE_INT4, "-2147483648", VALUE_IS_INTEGER},
        {{.kind = VALUE_IS_INTEGER, .integer = INT64_MIN},
         "int8",
         VALUE_INT8,
         "-9223372036854775808",
         VALUE_IS_INTEGER},
        {{.kind = VALUE_IS_INTEGER, .integer = UINT32_MAX}, "oid", VALUE_OID, "4294967295", VALUE_IS_INTEGER},
        {{.kind = VALUE_IS_INTEGER, .integer = INT64_MAX},
         "numeric",
         VALUE_NUMERIC,
         "9223372036854775807",
         VALUE_IS_TEXT},
        {{.kind = VALUE_IS_INTEGER, .integer = 3}, "float4", VALUE_FLOAT4, "3", VALUE_IS_REAL},
        {{.kind = VALUE_IS_INTEGER, .integer = 3}, "float8", VALUE_FLOAT8, "3", VALUE_IS_REAL},
        {{.kind = VALUE_IS_INTEGER, .integer = 7}, "text", VALUE_TEXT, "7", VALUE_IS_TEXT},
        {{.kind = VALUE_IS_INTEGER, .integer = 7}, "int4", 0, "7", VALUE_IS_INTEGER}, /* a type that is not known */
        {{.kind = VALUE_IS_REAL, .real = 0.1}, "float8", VALUE_FLOAT8, "0.1", VALUE_IS_REAL},
        {{.kind = VALUE_IS_REAL, .real = 0.1}, "float4", VALUE_FLOAT4, "0.1", VALUE_IS_REAL},
        {{.kind = VALUE_IS_REAL, .real = 2.5}, "numeric", VALUE_NUMERIC, "2.5", VALUE_IS_TEXT},
        {{.kind = VALUE_IS_TEXT, .bytes = {(const uint8_t *)"a'b\\", 4}}, "text", VALUE_TEXT, "a'b\\", VALUE_IS_TEXT},
        {{.kind = VALUE_IS_TEXT, .bytes = {(const uint8_t *)"{1,2}", 5}}, "int4[]", 1007, "{1,2}", VALUE_IS_TEXT},
        {{.kind = VALUE_IS_TEXT, .bytes = {(const uint8_t *)"2024-02-29", 10}},
         "date",
         VALUE_DATE,
         "2024-02-29",
         VALUE_IS_TEXT},
        {{.kind = VALUE_IS_TEXT, .bytes = {(const uint8_t *)"{\"a\": 1}", 8}},
         "jsonb",
         VALUE_JSONB,
         "{\"a\": 1}",
         VALUE_IS_TEXT},
        {{.kind = VALUE_IS_BLOB, .bytes = {(const uint8_t *)"\0\xff", 2}},
         "bytea",
         VALUE_BYTEA,
         "\\x00ff",
         VALUE_IS_BLOB},
        {{.kind = VALUE_IS_BLOB, .bytes = {(const uint8_t *)"0123456789abcdef", 16}},
         "uuid",
         VALUE_UUID,
         "30313233-3435-3637-3839-616263646566",
         VALUE_IS_TEXT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf bytes = {0}, texts = {0};
        struct protocol_parameter parameter;
        struct value back;
        char sql[64];
        size_t at;
        OK(value_parameter(&cases[i].value, cases[i].oid, &bytes, &at, &parameter, &err));
        parameter.bytes.data = bytes.data == NULL ? (const uint8_t *)"" : bytes.data + at;
        (void)snprintf(sql, sizeof sql, "select $1::%s, $1::%s::text", cases[i].type, cases[i].type);
        run(bytes_str(sql), &parameter, 1, PROTOCOL_BINARY);
        const struct protocol_value *row = results.first->rows[0];
        OK(value_read(results.first->columns[0].type, &row[0], &texts, &back, &err));
        assert_int_equal(back.kind, cases[i].back);
        assert_int_equal(row[1].null, cases[i].text == NULL);
        if (cases[i].text != NULL && !bytes_is(row[1].bytes, cases[i].text))
            fail_msg("%s: '%.*s'", sql, BYTES_FMT(row[1].bytes));
        if (back.kind == VALUE_IS_INTEGER)
            assert_int_equal(back.integer, cases[i].value.integer);
        if (back.kind == VALUE_IS_TEXT && !bytes_is(back.bytes, cases[i].text))
            fail_msg("%s: back as '%.*s'", sql, BYTES_FMT(back.bytes));
        if (back.kind == VALUE_IS_BLOB)
            assert_true(bytes_equal(back.bytes, cases[i].value.bytes));
        buf_deinit(&bytes);
        buf_deinit(&texts);
    }
}

static void test_out_of_range(void **unused)
{
    (void)unused;
    static const struct {
        int64_t integer;
        uint32_t type;
    } cases[] = {{2, VALUE_BOOL}, {32768, VALUE_INT2}, {INT64_C(2147483648), VALUE_INT4},
                 {-1, VALUE_OID}, {-1, VALUE_BOOL},    {INT64_C(4294967296), VALUE_OID}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf bytes = {0};
        struct protocol_parameter parameter;
        size_t at;
        const struct value value = {.kind = VALUE_IS_INTEGER, .integer = cases[i].integer};
        assert_int_equal(value_parameter(&value, cases[i].type, &bytes, &at, &parameter, &err), SOREX_INVALID);
        assert_int_equal(bytes.len, 0);
    }
}

static void test_refused(void **unused)
{
    (void)unused;
    static const struct {
        uint32_t type;
        struct bytes bytes;
        enum sorex_status status;
    } cases[] = {
#define CASE(type, literal) {type, {(const uint8_t *)(literal), sizeof(literal) - 1}, SOREX_CORRUPT}
        CASE(VALUE_BOOL, ""),
        CASE(VALUE_BOOL, "\2"),
        CASE(VALUE_CHAR, ""),
        CASE(VALUE_INT2, "\0\0\0\0"),
        CASE(VALUE_INT4, "\0"),
        CASE(VALUE_INT8, "\0\0\0\0"),
        CASE(VALUE_OID, ""),
        CASE(VALUE_FLOAT4, "\0\0\0\0\0\0\0\0"),
        CASE(VALUE_FLOAT8, "\0\0\0\0"),
        CASE(VALUE_DATE, ""),
        CASE(VALUE_TIME, "\0\0\0\x14\x1d\xd7\x60\1"), /* 24:00:00.000001 */
        CASE(VALUE_TIME, "\xff\xff\xff\xff\xff\xff\xff\xff"),
        CASE(VALUE_TIMETZ, "\0\0\0\0\0\0\0\0\0\0\xe1\0"), /* 16 hours */
        CASE(VALUE_TIMETZ, "\0\0\0\0\0\0\0\0\x80\0\0\0"),
        CASE(VALUE_TIMESTAMP, "\0\0\0\0"),
        CASE(VALUE_INTERVAL, "\0\0\0\0"),
        CASE(VALUE_UUID, "0123456789abcde"),
        CASE(VALUE_JSONB, ""),
        CASE(VALUE_JSONB, "\2{}"),
        CASE(VALUE_VOID, "x"),
        CASE(VALUE_NUMERIC, "\0\0\0\0\0\0\0"),
        CASE(VALUE_NUMERIC, "\0\1\0\0\0\0\0\0"),                                          /* no digit */
        CASE(VALUE_NUMERIC, "\0\1\0\0\0\0\0\0\x27\x10"),                                  /* the digit 10,000 */
        CASE(VALUE_NUMERIC, "\0\0\0\0\x12\x34\0\0"),                                      /* no such sign */
        CASE(VALUE_NUMERIC, "\0\0\0\0\0\0\x40\0"),                                        /* 16,384 decimals */
        CASE(1007, "\0\0\0\7\0\0\0\0\0\0\0\x17"),                                         /* 7 dimensions */
        CASE(1007, "\0\0\0\1\0\0\0\2\0\0\0\x17\0\0\0\1\0\0\0\1\xff\xff\xff\xff"),         /* flags */
        CASE(1007, "\0\0\0\1\0\0\0\0\0\0\0\x17\0\0\0\2\0\0\0\1\xff\xff\xff\xff"),         /* one of two */
        CASE(1007, "\0\0\0\1\0\0\0\0\0\0\0\x17\0\0\0\0\0\0\0\1"),                         /* no element */
        CASE(1007, "\0\0\0\1\0\0\0\0\0\0\0\x17\xff\xff\xff\xff\0\0\0\1\0\0\0\0"),         /* too many */
        CASE(1007, "\0\0\0\1\0\0\0\0\0\0\0\x17\0\0\0\1\0\0\0\1\0\0\0\5\0\0\0\1"),         /* cut */
        CASE(1007, "\0\0\0\1\0\0\0\0\0\0\0\x17\0\0\0\1\0\0\0\1\0\0\0\4\0\0\0\1\0"),       /* a byte more */
        CASE(1007, "\0\0\0\1\0\0\0\0\0\0\0\x17\0\0\0\1\0\0\0\1\0\0\0\2\0\1"),             /* an int4 of 2 bytes */
        CASE(1007, "\0\0\0\1\0\0\0\0\0\0\0\x17\0\0\0\1\x7f\xff\xff\xff\0\0\0\4\0\0\0\1"), /* bound overflows */
        CASE(1007, "\0\0\0\2\0\0\0\0\0\0\0\x17\0\1\0\0\0\0\0\1\0\1\0\0\0\0\0\1\xff\xff\xff\xff"), /* product */
#undef CASE
        {600, {(const uint8_t *)"", 0}, SOREX_GONE}, /* point */
        {1007, {(const uint8_t *)"\0\0\0\1\0\0\0\0\0\0\2\x58\0\0\0\1\0\0\0\1\0\0\0\0", 24}, SOREX_GONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = {0};
        OK(buf_append_str(&out, "kept", &err));
        uint8_t *exact = malloc(cases[i].bytes.len + (cases[i].bytes.len == 0));
        assert_non_null(exact);
        memcpy(exact, cases[i].bytes.data, cases[i].bytes.len);
        enum sorex_status status = value_text(cases[i].type, bytes_of(exact, cases[i].bytes.len), &out, &err);
        if (status != cases[i].status || !bytes_is(buf_view(&out), "kept"))
            fail_msg("case %zu, type %u: %s, '%.*s'", i, cases[i].type, sorex_status_name(status),
                     BYTES_FMT(buf_view(&out)));
        free(exact);
        buf_deinit(&out);
    }
    struct value value;
    struct buf texts = {0};
    const struct protocol_value three = {BYTES("\0\0\0"), false};
    static const uint32_t types[] = {VALUE_BOOL, VALUE_INT2, VALUE_INT4,   VALUE_INT8,  VALUE_OID,
                                     VALUE_DATE, VALUE_UUID, VALUE_FLOAT4, VALUE_FLOAT8};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        assert_int_equal(value_read(types[i], &three, &texts, &value, &err), SOREX_CORRUPT);
    buf_deinit(&texts);
    assert_false(value_known(600));
    assert_true(value_known(1007));
    assert_false(value_known(0));
}

static int setup(void **unused)
{
    (void)unused;
    results_init(&results, 0);
    enum sorex_status status = postgres_server_new(NULL, &server, &err);
    if (status == SOREX_OK)
        status = native_open(server, &native, &err);
    if (status == SOREX_GONE)
        print_message("no PostgreSQL to compare with: %s\n", err.text);
    else if (status != SOREX_OK)
        print_message("%s\n", err.text);
    return status == SOREX_OK || status == SOREX_GONE ? 0 : -1;
}

static int teardown(void **unused)
{
    (void)unused;
    if (have_server())
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
        cmocka_unit_test(test_text),     cmocka_unit_test(test_floats),     cmocka_unit_test(test_random_floats),
        cmocka_unit_test(test_calendar), cmocka_unit_test(test_parameters), cmocka_unit_test(test_out_of_range),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
