/* The wire protocol: what is read and refused, what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pg/protocol.h"

/* A string literal as bytes, without the NUL that C adds. */
#define BYTES(literal) bytes_of(literal, sizeof(literal) - 1)

static struct sorex_error err;
static struct bytes kept; /* what the last message's views point into */

/* Reads from a heap copy of exactly its size, so that the sanitizer sees a read behind the end. */
static enum sorex_status take(struct bytes input, struct protocol_message *out, bool *out_whole, size_t *out_left)
{
    free((void *)(uintptr_t)kept.data);
    uint8_t *copy = malloc(input.len + (input.len == 0));
    assert_non_null(copy);
    if (input.len > 0)
        memcpy(copy, input.data, input.len);
    kept = bytes_of(copy, input.len);
    struct bytes in = kept;
    enum sorex_status status = protocol_take(&in, out, out_whole, &err);
    *out_left = in.len;
    return status;
}

static void message_make(struct buf *out, char type, struct bytes body)
{
    uint8_t len[4];
    u32be_put(len, (uint32_t)body.len + 4);
    assert_int_equal(buf_append(out, bytes_of(&type, 1), &err), SOREX_OK);
    assert_int_equal(buf_append(out, bytes_of(len, 4), &err), SOREX_OK);
    assert_int_equal(buf_append(out, body, &err), SOREX_OK);
}

static void refused(char type, struct bytes body, const char *text)
{
    struct buf input = {0};
    struct protocol_message message;
    bool whole;
    size_t left;
    message_make(&input, type, body);
    enum sorex_status status = take(buf_view(&input), &message, &whole, &left);
    if (status != SOREX_CORRUPT || strstr(err.text, text) == NULL)
        fail_msg("expected '%s', not %s: %s", text, sorex_status_name(status), err.text);
    assert_false(whole);
    assert_int_equal(left, input.len);
    buf_deinit(&input);
}

/* A body of any length is taken when `open`; else one byte more or less is refused. In pieces it is waited for. */
static struct protocol_message taken(char type, struct bytes body, bool open)
{
    struct buf input = {0};
    struct protocol_message message;
    bool whole;
    size_t left;
    if (!open) {
        assert_int_equal(buf_append(&input, body, &err), SOREX_OK);
        assert_int_equal(buf_append_u8(&input, 0, &err), SOREX_OK);
        refused(type, buf_view(&input), "does not add up");
        if (body.len > 0)
            refused(type, bytes_of(body.data, body.len - 1), "does not add up");
        buf_reset(&input);
    }
    message_make(&input, type, body);
    for (size_t len = 0; len < input.len; len++) {
        assert_int_equal(take(bytes_of(input.data, len), &message, &whole, &left), SOREX_OK);
        assert_false(whole);
        assert_int_equal(left, len);
    }
    assert_int_equal(buf_append_str(&input, "more", &err), SOREX_OK);
    if (take(buf_view(&input), &message, &whole, &left) != SOREX_OK)
        fail_msg("%s", err.text);
    assert_true(whole);
    assert_int_equal(left, 4);
    assert_int_equal(message.type, type);
    buf_deinit(&input);
    return message;
}

static void is(struct bytes a, const char *text)
{
    if (!bytes_is(a, text))
        fail_msg("'%.*s' is not '%s'", BYTES_FMT(a), text);
}

static void test_columns(void **unused)
{
    (void)unused;
    struct protocol_message m = taken('T',
                                      BYTES("\0\2"
                                            "id\0\0\0\x40\1\0\1\0\0\0\x14\0\x8\xff\xff\xff\xff\0\1"
                                            "\0\0\0\0\0\0\0\0\0\4\x13\xff\xff\0\0\0\xc\0\0"),
                                      false);
    assert_int_equal(m.columns.count, 2);
    struct protocol_column column = protocol_column_next(&m.columns);
    is(column.name, "id");
    assert_int_equal(column.table, 0x4001);
    assert_int_equal(column.attribute, 1);
    assert_int_equal(column.type, 20);
    assert_int_equal(column.type_bytes, 8);
    assert_int_equal(column.modifier, -1);
    assert_int_equal(column.format, PROTOCOL_BINARY);
    column = protocol_column_next(&m.columns);
    is(column.name, "");
    assert_int_equal(column.type, 1043);
    assert_int_equal(column.type_bytes, -1);
    assert_int_equal(column.modifier, 12);
    assert_int_equal(column.format, PROTOCOL_TEXT);
    assert_int_equal(taken('T', BYTES("\0\0"), false).columns.count, 0);
    refused('T', BYTES("\xff\xff"), "RowDescription");
    refused('T', BYTES("\0\1x\0\0\0\0\0\0\0\0\0\0\x14\0\x8\xff\xff\xff\xff\0\2"), "RowDescription"); /* format 2 */
}

static void test_row(void **unused)
{
    (void)unused;
    struct protocol_message m = taken('D', BYTES("\0\3\0\0\0\3abc\xff\xff\xff\xff\0\0\0\0"), false);
    assert_int_equal(m.row.count, 3);
    struct protocol_value value = protocol_value_next(&m.row);
    is(value.bytes, "abc");
    assert_false(value.null);
    assert_true(protocol_value_next(&m.row).null);
    value = protocol_value_next(&m.row);
    assert_false(value.null);
    assert_int_equal(value.bytes.len, 0);
    refused('D', BYTES("\0\1\xff\xff\xff\xfe"), "DataRow");
    refused('D', BYTES("\0\1\0\0\0\2x"), "DataRow");
    refused('D', BYTES("\0\2\xff\xff\xff\xff"), "DataRow");
    refused('D', BYTES("\x80\0"), "DataRow");
}

static void test_notice(void **unused)
{
    (void)unused;
    struct protocol_message m = taken(
        'E', BYTES("SFEHLER\0VERROR\0C42601\0Mbad\0Dd\0Hh\0P7\0p8\0qq\0Ww\0ss\0tt\0cc\0dy\0nn\0FF\0LL\0RR\0?what\0\0"),
        false);
    static const char *const wanted[PROTOCOL_FIELDS] = {
        [PROTOCOL_FIELD_SEVERITY] = "FEHLER",  [PROTOCOL_FIELD_SEVERITY_ENGLISH] = "ERROR",
        [PROTOCOL_FIELD_SQLSTATE] = "42601",   [PROTOCOL_FIELD_MESSAGE] = "bad",
        [PROTOCOL_FIELD_DETAIL] = "d",         [PROTOCOL_FIELD_HINT] = "h",
        [PROTOCOL_FIELD_POSITION] = "7",       [PROTOCOL_FIELD_INTERNAL_POSITION] = "8",
        [PROTOCOL_FIELD_INTERNAL_QUERY] = "q", [PROTOCOL_FIELD_CONTEXT] = "w",
        [PROTOCOL_FIELD_SCHEMA] = "s",         [PROTOCOL_FIELD_TABLE] = "t",
        [PROTOCOL_FIELD_COLUMN] = "c",         [PROTOCOL_FIELD_DATATYPE] = "y",
        [PROTOCOL_FIELD_CONSTRAINT] = "n",     [PROTOCOL_FIELD_FILE] = "F",
        [PROTOCOL_FIELD_LINE] = "L",           [PROTOCOL_FIELD_ROUTINE] = "R",
    };
    for (size_t i = 0; i < PROTOCOL_FIELDS; i++)
        is(m.notice.fields[i], wanted[i]);
    m = taken('N', BYTES("SNOTICE\0C00000\0Mx\0\0"), false);
    assert_null(m.notice.fields[PROTOCOL_FIELD_TABLE].data);
    refused('E', BYTES("SERROR\0C4260\0Mbad\0\0"), "ErrorResponse"); /* a state of 4 characters */
    refused('E', BYTES("SERROR\0C42601\0Mbad\0"), "ErrorResponse");  /* no end of the list */
    refused('E', BYTES("SERROR\0C42601\0Mbad"), "ErrorResponse");    /* no end of a text */
    refused('E', BYTES("SERROR\0C42601\0\0"), "ErrorResponse");      /* no message */
    refused('E', BYTES("\0"), "ErrorResponse");
}

static void test_session(void **unused)
{
    (void)unused;
    assert_int_equal(taken('R', BYTES("\0\0\0\0"), false).authentication.kind, 0);
    is(taken('R', BYTES("\0\0\0\5salt"), false).authentication.data, "salt");
    struct protocol_message m = taken('R', BYTES("\0\0\0\xaSCRAM-SHA-256\0\0"), true);
    assert_int_equal(m.authentication.kind, 10);
    assert_int_equal(m.authentication.data.len, 15);
    m = taken('K', BYTES("\0\0\0\x2a\1\2\3\4"), true);
    assert_int_equal(m.key.process, 42);
    assert_int_equal(m.key.secret.len, 4);
    refused('K', BYTES("\0\0\0\x2a\1\2\3"), "BackendKeyData");
    m = taken('S', BYTES("TimeZone\0UTC\0"), false);
    is(m.parameter.name, "TimeZone");
    is(m.parameter.value, "UTC");
    m = taken('v', BYTES("\0\0\0\2\0\0\0\2_pq_.a\0_pq_.b\0"), false);
    assert_int_equal(m.negotiate.version, 2);
    assert_int_equal(m.negotiate.count, 2);
    refused('v', BYTES("\0\0\0\2\xff\xff\xff\xff_pq_.a\0"), "NegotiateProtocolVersion");
    assert_int_equal(taken('Z', BYTES("T"), false).transaction, 'T');
    refused('Z', BYTES("X"), "ReadyForQuery");
    m = taken('A', BYTES("\0\0\0\7c\0hello\0"), false);
    assert_int_equal(m.notification.process, 7);
    is(m.notification.channel, "c");
    is(m.notification.payload, "hello");
}

static void test_statements(void **unused)
{
    (void)unused;
    is(taken('C', BYTES("INSERT 0 1\0"), false).text, "INSERT 0 1");
    for (const char *type = "123Insc"; *type != '\0'; type++)
        (void)taken(*type, BYTES(""), false);
    struct protocol_message m = taken('t', BYTES("\0\2\0\0\0\x17\0\0\0\x19"), false);
    assert_int_equal(m.types.count, 2);
    assert_int_equal(protocol_type_next(&m.types.rest), 23);
    assert_int_equal(protocol_type_next(&m.types.rest), 25);
    m = taken('G', BYTES("\0\0\2\0\0\0\0"), false);
    assert_int_equal(m.copy.format, PROTOCOL_TEXT);
    assert_int_equal(m.copy.count, 2);
    assert_int_equal(taken('H', BYTES("\1\0\1\0\1"), false).copy.format, PROTOCOL_BINARY);
    (void)taken('W', BYTES("\0\0\0"), false);
    refused('G', BYTES("\2\0\0"), "CopyInResponse");
    refused('G', BYTES("\0\0\1\0\1"), "CopyInResponse"); /* binary in text */
    is(taken('d', BYTES("1\t2\n"), true).text, "1\t2\n");
    (void)taken('d', BYTES(""), true);
}

static void test_frames(void **unused)
{
    (void)unused;
    struct protocol_message m;
    bool whole;
    size_t left;
    assert_int_equal(take(BYTES("?"), &m, &whole, &left), SOREX_CORRUPT);
    assert_non_null(strstr(err.text, "unknown type 0x3f"));
    assert_int_equal(take(BYTES("C\0\0\0\3"), &m, &whole, &left), SOREX_CORRUPT);
    assert_int_equal(take(BYTES("D\x7f\xff\xff\xff"), &m, &whole, &left), SOREX_LIMIT);
    /* The longest that is waited for. */
    assert_int_equal(take(BYTES("D\x3f\xff\xff\xfe"), &m, &whole, &left), SOREX_OK);
    assert_false(whole);
}

static void written(struct buf *out, struct bytes wanted)
{
    if (!bytes_equal(buf_view(out), wanted)) {
        struct buf hex = {0};
        assert_int_equal(buf_append_hex(&hex, buf_view(out), &err), SOREX_OK);
        fail_msg("wrote %.*s", BYTES_FMT(buf_view(&hex)));
    }
    buf_reset(out);
}

static void test_written(void **unused)
{
    (void)unused;
    struct buf out = {0};
    const struct protocol_setting settings[] = {{BYTES("user"), BYTES("a")}, {BYTES("database"), BYTES("b")}};
    const uint32_t types[] = {23, 0};
    const struct protocol_parameter parameters[] = {
        {.bytes = BYTES("\0\0\0\5"), .format = PROTOCOL_BINARY}, {.null = true}, {.bytes = BYTES("")}};
    const struct protocol_bind bind = {.portal = BYTES("p"),
                                       .statement = BYTES("s"),
                                       .parameters = parameters,
                                       .parameters_count = 3,
                                       .results = PROTOCOL_BINARY};
    assert_int_equal(protocol_startup(&out, PROTOCOL_VERSION_3_2, settings, 2, &err), SOREX_OK);
    written(&out, BYTES("\0\0\0\x1b\0\3\0\2user\0a\0database\0b\0\0"));
    assert_int_equal(protocol_cancel(&out, 42, BYTES("\1\2\3\4"), &err), SOREX_OK);
    written(&out, BYTES("\0\0\0\x10\4\xd2\x16\x2e\0\0\0\x2a\1\2\3\4"));
    assert_int_equal(protocol_query(&out, BYTES("select 1"), &err), SOREX_OK);
    written(&out, BYTES("Q\0\0\0\xdselect 1\0"));
    assert_int_equal(protocol_parse(&out, BYTES("s"), BYTES("x"), types, 2, &err), SOREX_OK);
    written(&out, BYTES("P\0\0\0\x12s\0x\0\0\2\0\0\0\x17\0\0\0\0"));
    assert_int_equal(protocol_bind(&out, &bind, &err), SOREX_OK);
    written(&out, BYTES("B\0\0\0\x26p\0s\0\0\3\0\1\0\0\0\0\0\3\0\0\0\4\0\0\0\5\xff\xff\xff\xff\0\0\0\0\0\1\0\1"));
    assert_int_equal(protocol_describe(&out, PROTOCOL_STATEMENT, BYTES("s"), &err), SOREX_OK);
    written(&out, BYTES("D\0\0\0\7Ss\0"));
    assert_int_equal(protocol_close(&out, PROTOCOL_PORTAL, BYTES(""), &err), SOREX_OK);
    written(&out, BYTES("C\0\0\0\6P\0"));
    assert_int_equal(protocol_execute(&out, BYTES(""), 100, &err), SOREX_OK);
    written(&out, BYTES("E\0\0\0\x9\0\0\0\0\x64"));
    assert_int_equal(protocol_sync(&out, &err), SOREX_OK);
    assert_int_equal(protocol_flush(&out, &err), SOREX_OK);
    assert_int_equal(protocol_terminate(&out, &err), SOREX_OK);
    assert_int_equal(protocol_copy_done(&out, &err), SOREX_OK);
    written(&out, BYTES("S\0\0\0\4H\0\0\0\4X\0\0\0\4c\0\0\0\4"));
    assert_int_equal(protocol_copy_data(&out, BYTES("1\n"), &err), SOREX_OK);
    assert_int_equal(protocol_copy_fail(&out, BYTES("no"), &err), SOREX_OK);
    written(&out, BYTES("d\0\0\0\x6"
                        "1\nf\0\0\0\7no\0"));
    buf_deinit(&out);
}

/* What cannot be said leaves the buffer as it was, also when there is no room for all of it. */
static void test_not_written(void **unused)
{
    (void)unused;
    struct buf out = {0};
    assert_int_equal(protocol_sync(&out, &err), SOREX_OK);
    assert_int_equal(protocol_query(&out, BYTES("a\0b"), &err), SOREX_INVALID);
    assert_int_equal(protocol_parse(&out, BYTES("s"), BYTES("\0"), NULL, 0, &err), SOREX_INVALID);
    assert_int_equal(protocol_execute(&out, BYTES(""), UINT32_MAX, &err), SOREX_LIMIT);
    size_t many = PROTOCOL_PARAMETERS_MAX + 1;
    struct protocol_parameter *parameters = calloc(many, sizeof *parameters);
    assert_non_null(parameters);
    struct protocol_bind bind = {.parameters = parameters, .parameters_count = many};
    assert_int_equal(protocol_bind(&out, &bind, &err), SOREX_LIMIT);
    assert_non_null(strstr(err.text, "65536 parameters"));
    free(parameters);
    written(&out, BYTES("S\0\0\0\4"));
    buf_deinit(&out);

    struct buf small;
    buf_init(&small, 12);
    assert_int_equal(protocol_query(&small, BYTES("select 1"), &err), SOREX_LIMIT);
    assert_int_equal(small.len, 0);
    buf_deinit(&small);
}

static int teardown(void **unused)
{
    (void)unused;
    free((void *)(uintptr_t)kept.data);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns), cmocka_unit_test(test_row),         cmocka_unit_test(test_notice),
        cmocka_unit_test(test_session), cmocka_unit_test(test_statements),  cmocka_unit_test(test_frames),
        cmocka_unit_test(test_written), cmocka_unit_test(test_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
