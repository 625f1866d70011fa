/* Envelopes: what is read and written, and that what goes out and comes in again is the same event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "change/change.h"
#include "change/envelope.h"
#include "change/random_event.h"

static struct json_parser *parser;
static struct arena arena;
static struct sorex_error err;

static int setup(void **unused)
{
    (void)unused;
    arena_init(&arena, 0);
    return json_parser_new(&parser, NULL) == SOREX_OK ? 0 : -1;
}

static int teardown(void **unused)
{
    (void)unused;
    json_parser_free(parser);
    arena_deinit(&arena);
    return 0;
}

static struct event read_as(const char *name, const char *text)
{
    struct event event = {0};
    bool tombstone = false;
    if (envelope_read(envelope_find(name), parser, bytes_str(text), &arena, &event, &tombstone, &err) != SOREX_OK)
        fail_msg("%s: %s: %s", name, text, err.text);
    assert_false(tombstone);
    return event;
}

static void written_is(const char *name, const struct event *event, const char *want)
{
    struct buf out = {0};
    if (envelope_write(envelope_find(name), parser, event, &arena, &out, &err) != SOREX_OK)
        fail_msg("%s: %s", name, err.text);
    if (!bytes_is(buf_view(&out), want))
        fail_msg("%s\ngot  %.*s\nwant %s", name, (int)out.len, (const char *)out.data, want);
    buf_deinit(&out);
}

static void event_is(const struct event *event, const char *want) { written_is("event", event, want); }

static void read_fails(const char *name, const char *text, const char *want)
{
    struct event event;
    bool tombstone;
    enum sorex_status status =
        envelope_read(envelope_find(name), parser, bytes_str(text), &arena, &event, &tombstone, &err);
    if (status != SOREX_INVALID || strstr(err.text, want) == NULL)
        fail_msg("%s: %s: got %s", name, text, status == SOREX_OK ? "ok" : err.text);
}

static void write_fails(const char *name, const struct event *event, const char *want)
{
    struct buf out = {0};
    assert_int_equal(buf_append_str(&out, "kept", NULL), SOREX_OK);
    enum sorex_status status = envelope_write(envelope_find(name), parser, event, &arena, &out, &err);
    if (status != SOREX_INVALID || strstr(err.text, want) == NULL)
        fail_msg("%s: got %s", name, status == SOREX_OK ? "ok" : err.text);
    assert_true(bytes_is(buf_view(&out), "kept"));
    buf_deinit(&out);
}

static void test_names(void **unused)
{
    (void)unused;
    assert_string_equal(envelopes[0]->name, "event");
    assert_ptr_equal(envelope_find("cloudevents"), envelopes[4]);
    assert_null(envelopes[5]);
    assert_null(envelope_find("avro"));
}

/* As Debezium's PostgreSQL connector sends it. */
#define PG_SOURCE                                                                                                    \
    "\"version\":\"2.5.0.Final\",\"connector\":\"postgresql\",\"name\":\"pg\",\"ts_ms\":1700000000000,\"snapshot\":" \
    "\"false\",\"db\":"                                                                                              \
    "\"shop\",\"sequence\":\"[null,\\\"24023128\\\"]\",\"schema\":\"public\",\"table\":\"users\",\"txId\":555,"      \
    "\"lsn\":24023128,\"xmin\":null"
#define PG_VALUE                                                                       \
    "{\"before\":null,\"after\":{\"id\":1,\"email\":\"a@b.c\"},\"source\":{" PG_SOURCE \
    "},\"op\":\"c\",\"ts_ms\":1700000000123,"                                          \
    "\"transaction\":null}"
#define PG_OFFSET                                                                                                    \
    "{\\\"connector\\\":\\\"postgresql\\\",\\\"db\\\":\\\"shop\\\",\\\"lsn\\\":24023128,\\\"sequence\\\":\\\"[null," \
    "\\\\\\\"24023128\\\\\\\"]\\\","                                                                                 \
    "\\\"snapshot\\\":\\\"false\\\",\\\"txId\\\":555,\\\"version\\\":\\\"2.5.0.Final\\\",\\\"xmin\\\":null}"
#define PG_EVENT                                                                                                      \
    "{\"before\":null,\"after\":{\"email\":\"a@b.c\",\"id\":1},\"op\":\"insert\",\"source\":{\"source_name\":\"pg\"," \
    "\"offset\":\"" PG_OFFSET "\",\"timestamp\":1700000000000},\"ts\":1700000000123,\"schema\":\"public\",\"table\":" \
                              "\"users\",\"primary_key\":null,\"snapshot\":null,"                                     \
    "\"transaction\":null,\"envelope_version\":1,\"before_is_key_only\":false}"

static void test_debezium(void **unused)
{
    (void)unused;
    arena_reset(&arena);
    struct event event = read_as("debezium", PG_VALUE);
    assert_int_equal(event_validate(&event, &err), SOREX_OK);
    event_is(&event, PG_EVENT);
    /* And out again: everything is there, in another order. */
    static const char *const written = "{\"before\":null,\"after\":{\"email\":\"a@b.c\",\"id\":1},\"source\":{\"name\":"
                                       "\"pg\",\"ts_ms\":1700000000000,\"schema\":\"public\","
                                       "\"table\":\"users\",\"connector\":\"postgresql\",\"db\":\"shop\",\"lsn\":"
                                       "24023128,\"sequence\":\"[null,\\\"24023128\\\"]\","
                                       "\"snapshot\":\"false\",\"txId\":555,\"version\":\"2.5.0.Final\",\"xmin\":null},"
                                       "\"op\":\"c\",\"ts_ms\":1700000000123,\"transaction\":null}";
    written_is("debezium", &event, written);
    event = read_as("debezium", written);
    event_is(&event, PG_EVENT);
    /* With a schema block. */
    event = read_as("debezium", "{\"schema\":{\"type\":\"struct\",\"fields\":[]},\"payload\":" PG_VALUE "}");
    event_is(&event, PG_EVENT);
    /* A transaction is part of the position, and goes back to its place. */
    event = read_as("debezium", "{\"before\":{\"id\":1},\"after\":null,\"op\":\"d\",\"source\":{\"name\":\"my\",\"ts_"
                                "ms\":0,\"table\":\"t\",\"file\":"
                                "\"bin.1\",\"pos\":4},\"ts_ms\":null,\"transaction\":{\"id\":\"555:1\",\"data_"
                                "collection_order\":1,\"total_order\":2}}");
    assert_int_equal(event.op, EVENT_DELETE);
    assert_true(event.schema.data == NULL && event.ts_ms == 0);
    assert_true(bytes_is(event.source.offset, "{\"file\":\"bin.1\",\"pos\":4,\"transaction\":{\"data_collection_"
                                              "order\":1,\"id\":\"555:1\",\"total_order\":2}}"));
    written_is("debezium", &event,
               "{\"before\":{\"id\":1},\"after\":null,\"source\":{\"name\":\"my\",\"ts_ms\":0,\"table\":\"t\",\"file\":"
               "\"bin.1\",\"pos\":4},\"op\":\"d\","
               "\"ts_ms\":0,\"transaction\":{\"data_collection_order\":1,\"id\":\"555:1\",\"total_order\":2}}");
    static const char *const ops[][2] = {{"u", "update"}, {"r", "read"}, {"t", "truncate"}};
    for (size_t i = 0; i < 3; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "{\"op\":\"%s\",\"source\":{\"name\":\"n\",\"ts_ms\":1,\"table\":\"t\"}}",
                       ops[i][0]);
        event = read_as("debezium", text);
        assert_string_equal(event_op_name(event.op), ops[i][1]);
        assert_true(event.ts_ms == 1 && bytes_is(event.source.offset, "{}"));
    }
}

static void test_debezium_errors(void **unused)
{
    (void)unused;
    arena_reset(&arena);
    read_fails("debezium", "[]", "a Debezium event is a JSON object");
    read_fails("debezium", "{\"payload\":7}", "a Debezium event is a JSON object");
    read_fails("debezium", "{}", "op is missing");
    read_fails("debezium", "{\"op\":\"m\"}", "op is \"m\", not c, u, d, r or t");
    read_fails("debezium", "{\"op\":1}", "op is no string");
    read_fails("debezium", "{\"op\":\"c\"}", "source is missing");
    read_fails("debezium", "{\"op\":\"c\",\"source\":{\"ts_ms\":1,\"table\":\"t\"}}", "source.name is missing");
    read_fails("debezium", "{\"op\":\"c\",\"source\":{\"name\":\"n\",\"ts_ms\":\"1\",\"table\":\"t\"}}",
               "source.ts_ms is no whole number");
    read_fails("debezium", "{\"op\":\"c\",\"source\":{\"name\":\"n\",\"ts_ms\":1}}", "source.table is missing");
    read_fails("debezium", "{\"op\":\"c\",\"source\":{\"name\":\"n\",\"ts_ms\":1,\"table\":\"t\",\"schema\":1}}",
               "source.schema is no string");
    read_fails("debezium",
               "{\"op\":\"c\",\"source\":{\"name\":\"n\",\"ts_ms\":1,\"table\":\"t\",\"event\":{\"primary_key\":1}}}",
               "primary_key is no array");
    read_fails("debezium", "{\"op\":\"c\",\"source\":{\"name\":\"n\",\"ts_ms\":1,\"table\":\"t\"},\"ts_ms\":-1}",
               "ts_ms is no whole number");
    struct event event = {.op = EVENT_SCHEMA_CHANGE, .ts_ms = 1, .after = bytes_str("{}")};
    write_fails("debezium", &event, "a Debezium event holds no schema_change");
    write_fails("debezium-schema", &event, "a Debezium event holds no schema_change");
}

static void test_tombstones(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"", "null", " null\n", "{\"schema\":null,\"payload\":null}"};
    struct event event;
    bool tombstone = false;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            envelope_read(envelope_find("debezium"), parser, bytes_str(texts[i]), &arena, &event, &tombstone, &err),
            SOREX_OK);
        assert_true(tombstone);
    }
    read_fails("event", "null", "an event is a JSON object");
    read_fails("change", "null", "a change is a JSON object");
    read_fails("cloudevents", "null", "a CloudEvent is a JSON object");
}

static void test_schema_block(void **unused)
{
    (void)unused;
    arena_reset(&arena);
    struct event event = read_as(
        "debezium",
        "{\"before\":null,\"after\":{\"n\":1,\"big\":18446744073709551615,\"f\":1.5,\"b\":true,\"s\":\"x\",\"z\":null},"
        "\"source\":{\"name\":\"pg\",\"ts_ms\":1,\"table\":\"t\"},\"op\":\"c\",\"ts_ms\":2}");
#define FIELD(type, name) "{\"type\":\"" type "\",\"optional\":true,\"field\":\"" name "\"}"
#define ROW                                                                                         \
    "{\"type\":\"struct\",\"fields\":[" FIELD("boolean", "b") "," FIELD("double", "big") "," FIELD( \
        "double", "f") "," FIELD("int64", "n") "," FIELD("string",                                  \
                                                         "s") "," FIELD("string",                   \
                                                                        "z") "],\"optional\":true,\"field\":\""
    written_is(
        "debezium-schema", &event,
        "{\"schema\":{\"type\":\"struct\",\"fields\":[" ROW "before\"}," ROW "after\"},"
        "{\"type\":\"struct\",\"fields\":[" FIELD("string", "name") "," FIELD("int64", "ts_ms") "," FIELD(
            "string",
            "table") "],"
                     "\"optional\":false,\"field\":\"source\"},{\"type\":\"string\",\"optional\":false,\"field\":"
                     "\"op\"}," FIELD("int64",
                                      "ts_ms") "],"
                                               "\"optional\":false},\"payload\":{\"before\":null,\"after\":{\"b\":true,"
                                               "\"big\":18446744073709551615,\"f\":1.5,\"n\":1,\"s\":\"x\",\"z\":null},"
                                               "\"source\":{\"name\":\"pg\",\"ts_ms\":1,\"table\":\"t\"},\"op\":\"c\","
                                               "\"ts_ms\":2,\"transaction\":null}}");
    event.after = bytes_str("{\"a\":[1]}");
    write_fails("debezium-schema", &event, "column a is an array");
    event.after = bytes_str("[]");
    write_fails("debezium-schema", &event, "before is no object");
}

#define HASH "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"

static void test_change(void **unused)
{
    (void)unused;
    arena_reset(&arena);
    static const char *const change =
        "{\"header\":{\"source\":\"balances\",\"timestamp\":1231469665000,\"block_hash\":\"" HASH
        "\",\"block_height\":1},\"payload\":"
        "{\"operation\":\"create\",\"table\":\"balances\",\"key\":\"4104ac\",\"after\":{\"balance\":5000000000,"
        "\"script\":\"4104ac\"}}}";
    struct event event = read_as("change", change);
    assert_int_equal(event_validate(&event, &err), SOREX_OK);
    assert_true(bytes_is(event.source.offset, "{\"block_hash\":\"" HASH "\",\"block_height\":1,\"key\":\"4104ac\"}"));
    assert_true(event.op == EVENT_INSERT && event.ts_ms == 1231469665000 && event.source.timestamp_ms == event.ts_ms);
    written_is("change", &event, change);
    /* What is written is a change to the rest of the program. */
    struct change parsed;
    assert_int_equal(change_parse(parser, bytes_str(change), &arena, &parsed, &err), SOREX_OK);
    uint8_t hash[HASH_BYTES];
    assert_int_equal(hash_parse_display(bytes_str(HASH), hash, &err), SOREX_OK);
    assert_int_equal(change_validate(&parsed, 1, hash, true, &err), SOREX_OK);
    /* From elsewhere: the key comes from the row. */
    event = read_as("event", "{\"before\":{\"a\":1,\"b\":\"x\"},\"op\":\"delete\",\"source\":{\"source_name\":\"pg\","
                             "\"offset\":\"0/1\",\"timestamp\":7},\"ts\":8,"
                             "\"table\":\"t\",\"schema\":\"s\",\"primary_key\":[\"b\"],\"envelope_version\":1}");
    written_is(
        "change", &event,
        "{\"header\":{\"source\":\"pg\",\"timestamp\":8,\"source_timestamp\":7,\"offset\":\"0/"
        "1\",\"event\":{\"schema\":\"s\",\"primary_key\":[\"b\"]}},"
        "\"payload\":{\"operation\":\"delete\",\"table\":\"t\",\"key\":\"x\",\"before\":{\"a\":1,\"b\":\"x\"}}}");
    static const struct bytes both[] = {{(const uint8_t *)"b", 1}, {(const uint8_t *)"a", 1}};
    event.primary_key = (struct event_columns){both, 2};
    written_is("change", &event,
               "{\"header\":{\"source\":\"pg\",\"timestamp\":8,\"source_timestamp\":7,\"offset\":\"0/"
               "1\",\"event\":{\"schema\":\"s\",\"primary_key\":"
               "[\"b\",\"a\"]}},\"payload\":{\"operation\":\"delete\",\"table\":\"t\",\"key\":\"[\\\"x\\\",1]\","
               "\"before\":{\"a\":1,\"b\":\"x\"}}}");
    event.before = bytes_str("{\"a\":1}");
    write_fails("change", &event, "primary_key column b is not in the row");
    event.primary_key = (struct event_columns){0};
    write_fails("change", &event, "an event without primary_key has no key for a change");
    event.op = EVENT_TRUNCATE;
    write_fails("change", &event, "a change holds no truncate");
    read_fails("change", "{}", "header is missing");
    read_fails("change", "{\"header\":{},\"payload\":{\"operation\":\"upsert\",\"table\":\"t\",\"key\":\"k\"}}",
               "payload.operation is \"upsert\"");
    read_fails("change", "{\"header\":{},\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\"}}",
               "header.timestamp is missing");
    read_fails("change",
               "{\"header\":{\"timestamp\":1.5},\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\"}}",
               "header.timestamp is no");
    read_fails("change", "{\"header\":{},\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":7}}",
               "payload.key is no string");
}

#define PLAIN                                                                                                  \
    "{\"before\":null,\"after\":{\"id\":1},\"op\":\"insert\",\"source\":{\"source_name\":\"p "                 \
    "g\",\"offset\":\"0/1\",\"timestamp\":1},\"ts\":%s,"                                                       \
    "\"schema\":\"s\",\"table\":\"t\",\"primary_key\":null,\"snapshot\":null,\"transaction\":null,\"envelope_" \
    "version\":1,\"before_is_key_only\":false}"

/* As pipelines use it: the header may lack a timestamp, and the key is the caller's. */
static void test_change_event(void **unused)
{
    (void)unused;
    static const char *const texts[] = {
        "{\"header\":{},\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{\"b\":\"x\"}}}",
        "{\"header\":{\"timestamp\":null},\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{\"b\":\"x\"}}}",
        "{\"header\":{\"timestamp\":0},\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{\"b\":\"x\"}}}"};
    struct event event;
    struct buf out = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(change_event_read(parser, bytes_str(texts[i]), 17, &arena, &event, &err), SOREX_OK);
        assert_int_equal(event.ts_ms, 17);
        assert_true(bytes_is(event.source.offset, "{\"key\":\"k\"}"));
    }
    assert_int_equal(change_event_key(parser, &event, &out, &err), SOREX_INVALID);
    struct bytes column = bytes_str("b");
    event.primary_key = (struct event_columns){&column, 1};
    assert_int_equal(change_event_key(parser, &event, &out, &err), SOREX_OK);
    assert_true(bytes_is(buf_view(&out), "x"));
    buf_reset(&out);
    assert_int_equal(change_event_write(parser, &event, bytes_str("o\"k"), &arena, &out, &err), SOREX_OK);
    const char *want = "{\"header\":{\"source\":\"\",\"timestamp\":17,\"event\":{\"primary_key\":[\"b\"]}},\"payload\":{\"operation\":\"create\","
                       "\"table\":\"t\",\"key\":\"o\\\"k\",\"after\":{\"b\":\"x\"}}}";
    if (!bytes_is(buf_view(&out), want))
        fail_msg("%.*s and not %s", (int)out.len, (const char *)out.data, want);
    event.op = EVENT_READ;
    buf_reset(&out);
    assert_int_equal(change_event_write(parser, &event, bytes_str("k"), &arena, &out, &err), SOREX_INVALID);
    buf_deinit(&out);
}

static void test_cloudevents(void **unused)
{
    (void)unused;
    static const char *const times[][2] = {{"1", "1970-01-01T00:00:00.001Z"},
                                           {"951782399999", "2000-02-28T23:59:59.999Z"},
                                           {"951782400000", "2000-02-29T00:00:00.000Z"},
                                           {"1700000000123", "2023-11-14T22:13:20.123Z"},
                                           {"4107542400000", "2100-03-01T00:00:00.000Z"},
                                           {"253402300799999", "9999-12-31T23:59:59.999Z"},
                                           {"253402300800000", NULL},
                                           {"18446744073709551615", NULL}};
    arena_reset(&arena);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char text[1024], data[512], time[64] = "";
        (void)snprintf(data, sizeof data, PLAIN, times[i][0]);
        if (times[i][1] != NULL)
            (void)snprintf(time, sizeof time, "\"time\":\"%s\",", times[i][1]);
        (void)snprintf(text, sizeof text,
                       "{\"specversion\":\"1.0\",\"id\":\"0/"
                       "1\",\"source\":\"p%%20g\",\"type\":\"sorex.event.insert\",\"subject\":\"s.t\",%s"
                       "\"datacontenttype\":\"application/json\",\"data\":%s}",
                       time, data);
        struct event event = read_as("event", data);
        written_is("cloudevents", &event, text);
        event = read_as("cloudevents", text);
        event_is(&event, data);
    }
#define CE "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/\",\"type\":\"t\""
    read_fails("cloudevents", "{\"id\":\"1\"}", "specversion is missing");
    read_fails("cloudevents", "{\"specversion\":\"0.3\"}", "specversion is \"0.3\", not 1.0");
    read_fails("cloudevents", "{\"specversion\":\"1.0\",\"id\":\"\"}", "id is empty");
    read_fails("cloudevents", "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/\"}", "type is missing");
    read_fails("cloudevents", CE "}", "data is missing");
    read_fails("cloudevents", CE ",\"data_base64\":\"\"}", "data_base64 is not read");
    read_fails("cloudevents", CE ",\"datacontenttype\":\"text/xml\",\"data\":{}}",
               "datacontenttype is \"text/xml\", not application/json");
    read_fails("cloudevents", CE ",\"datacontenttype\":\"application/vnd.x+json\",\"data\":{}}",
               "data: envelope_version is missing");
    read_fails("cloudevents", CE ",\"data\":null}", "data: an event is a JSON object");
}

/* Out and in again, by seed. What an envelope cannot hold is refused with the reason, never bent. */
static void test_round_trips(void **unused)
{
    (void)unused;
    static const char *const offsets[] = {"",
                                          "0/16B3748",
                                          "[1]",
                                          "{}",
                                          "{",
                                          "{\"a\":1}",
                                          "{ \"a\":1}",
                                          "{\"b\":1,\"a\":2}",
                                          "{\"a\":{\"c\":[null],\"d\":\"\\n\"}}",
                                          "{\"offset\":\"x\"}",
                                          "{\"a\":1,\"offset\":\"x\"}",
                                          "{\"offset\":7}",
                                          "{\"key\":\"k\"}",
                                          "{\"key\":\"\"}",
                                          "{\"key\":7}",
                                          "{\"key\":\"k\",\"offset\":\"x\"}",
                                          "{\"a\":0,\"key\":\"k\\\"\"}",
                                          "{\"transaction\":{\"id\":\"7\"}}",
                                          "{\"offset\":\"x\",\"transaction\":{\"id\":\"7\"}}",
                                          "{\"transaction\":null}",
                                          "{\"name\":\"n\"}",
                                          "{\"source\":1}",
                                          "{\"event\":{}}",
                                          "{\"schema\":null,\"table\":1}",
                                          "{\"timestamp\":1}",
                                          "{\"ts_ms\":1}"};
    unsigned held[5] = {0};
    for (uint64_t round = 1; round <= 4000; round++) {
        uint64_t seed = round;
        arena_reset(&arena);
        struct event event = random_event(parser, &arena, &seed, random_below(&seed, 4) != 0);
        event.source.offset = bytes_str(offsets[random_below(&seed, sizeof offsets / sizeof offsets[0])]);
        static const struct bytes id[] = {{(const uint8_t *)"aa", 2}};
        if (random_below(&seed, 2) == 0)
            event.primary_key = (struct event_columns){id, 1};
        for (unsigned i = 0; envelopes[i] != NULL; i++) {
            struct buf text = {0};
            struct event again = {0};
            bool tombstone = false;
            err = (struct sorex_error){0};
            enum sorex_status status = envelope_write(envelopes[i], parser, &event, &arena, &text, &err);
            if (status == SOREX_OK) {
                held[i]++;
                status = envelope_read(envelopes[i], parser, buf_view(&text), &arena, &again, &tombstone, &err);
                if (status != SOREX_OK || tombstone)
                    fail_msg("seed %llu, %s: %s: %.*s", (unsigned long long)round, envelopes[i]->name, err.text,
                             (int)text.len, (const char *)text.data);
                assert_event_equal(&event, &again);
            } else if (status != SOREX_INVALID || err.text[0] == '\0') {
                fail_msg("seed %llu, %s: %s", (unsigned long long)round, envelopes[i]->name, err.text);
            }
            buf_deinit(&text);
        }
    }
    assert_true(held[0] == 4000 && held[4] == 4000);
    assert_true(held[1] > 3000 && held[2] > 300 && held[3] > 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names),           cmocka_unit_test(test_debezium),
                                       cmocka_unit_test(test_debezium_errors), cmocka_unit_test(test_tombstones),
                                       cmocka_unit_test(test_schema_block),    cmocka_unit_test(test_change),
                                       cmocka_unit_test(test_change_event),
                                       cmocka_unit_test(test_cloudevents),     cmocka_unit_test(test_round_trips)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
