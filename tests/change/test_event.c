/* Events: read, judged, written; the canonical form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "change/random_event.h"

static struct json_parser *parser;
static struct arena arena;

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

/* From a heap copy of exact size, so that the sanitizer sees a read behind the end; the copy lives in the arena's
 * place. */
static struct bytes exact(struct bytes text)
{
    uint8_t *copy = malloc(text.len + (text.len == 0));
    assert_non_null(copy);
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    return bytes_of(copy, text.len);
}

static void exact_free(struct bytes text) { free((void *)(uintptr_t)text.data); }

#define SOURCE "\"source\":{\"source_name\":\"pg\",\"offset\":\"0/16B3748\",\"timestamp\":1700000000000}"
#define TAIL                                                                                                     \
    "\"ts\":1700000000001,\"schema\":\"public\",\"table\":\"users\",\"primary_key\":[\"id\"],\"snapshot\":null," \
    "\"transaction\":null"
#define END ",\"envelope_version\":1,\"before_is_key_only\":false"
#define INSERT "{\"before\":null,\"after\":{\"id\":42,\"name\":\"Ada\"},\"op\":\"insert\"," SOURCE "," TAIL END "}"
/* What has to be there. */
#define NEEDED "\"op\":\"insert\"," SOURCE ",\"ts\":5,\"table\":\"t\",\"envelope_version\":1"

static void canonical_is(const char *text, const char *want)
{
    struct event event;
    struct sorex_error err = {0};
    struct buf out = {0};
    struct bytes copy = exact(bytes_str(text));
    arena_reset(&arena);
    if (event_parse(parser, copy, &arena, &event, &err) != SOREX_OK)
        fail_msg("%s: %s", text, err.text);
    if ((event.text.data != NULL) != (strcmp(text, want) == 0))
        fail_msg("canonical or not: %s", text);
    assert_int_equal(event_write(&event, &out, &err), SOREX_OK);
    if (!bytes_is(buf_view(&out), want))
        fail_msg("%s\ngives %.*s\nnot   %s", text, (int)out.len, (const char *)out.data, want);
    /* From the fields too, not only the text that was known. */
    buf_reset(&out);
    event.text = bytes_of(NULL, 0);
    assert_int_equal(event_write(&event, &out, &err), SOREX_OK);
    assert_true(bytes_is(buf_view(&out), want));
    buf_deinit(&out);
    exact_free(copy);
}

static void test_fields(void **unused)
{
    (void)unused;
    struct event event;
    struct sorex_error err = {0};
    const char *text =
        "{\"before\":{\"id\":1},\"after\":{\"id\":2},\"op\":\"update\"," SOURCE
        ",\"ts\":18446744073709551615,\"schema\":"
        "\"p\\u0075b\",\"table\":\"us\\ners\",\"primary_key\":[\"i\\\"d\",\"b\"],\"snapshot\":{\"snapshot_id\":\"s1\","
        "\"chunk_index\":4294967295,\"is_last_chunk\":true},\"transaction\":{\"tx_id\":18446744073709551615,"
        "\"total_events\":3,\"event_index\":2},\"envelope_version\":1,\"before_is_key_only\":true,"
        "\"unavailable_columns\":[\"blob\"],\"before_unavailable_columns\":[\"x\",\"y\"]}";
    arena_reset(&arena);
    if (event_parse(parser, bytes_str(text), &arena, &event, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    assert_int_equal(event_validate(&event, &err), SOREX_OK);
    struct json_doc doc; /* what is in the event outlives the parser's next text */
    assert_int_equal(json_parse(parser, bytes_str("[\"\\n\\n\\n\\n\\n\\n\\n\\n\"]"), &doc, &err), SOREX_OK);
    assert_true(bytes_is(event.before, "{\"id\":1}") && bytes_is(event.after, "{\"id\":2}"));
    assert_int_equal(event.op, EVENT_UPDATE);
    assert_true(bytes_is(event.source.name, "pg") && bytes_is(event.source.offset, "0/16B3748"));
    assert_true(event.source.timestamp_ms == 1700000000000 && event.ts_ms == UINT64_MAX);
    assert_true(bytes_is(event.schema, "pub") && bytes_is(event.table, "us\ners"));
    assert_int_equal(event.primary_key.count, 2);
    assert_true(bytes_is(event.primary_key.names[0], "i\"d") && bytes_is(event.primary_key.names[1], "b"));
    assert_true(event.has_snapshot && bytes_is(event.snapshot.id, "s1") && event.snapshot.is_last_chunk);
    assert_true(event.snapshot.chunk_index == UINT32_MAX);
    assert_true(event.has_transaction && event.transaction.has_total_events && event.before_is_key_only);
    assert_true(event.transaction.id == UINT64_MAX && event.transaction.total_events == 3 &&
                event.transaction.event_index == 2);
    assert_int_equal(event.unavailable.count, 1);
    assert_int_equal(event.before_unavailable.count, 2);
}

static void test_canonical(void **unused)
{
    (void)unused;
    canonical_is(INSERT, INSERT);
    /* Defaults, order, white space, unknown fields. */
    canonical_is(
        "{" NEEDED "}",
        "{\"before\":null,\"after\":null,\"op\":\"insert\"," SOURCE
        ",\"ts\":5,\"schema\":null,\"table\":\"t\",\"primary_key\":null,\"snapshot\":null,\"transaction\":null" END
        "}");
    canonical_is(" {\n\"envelope_version\" : 1 , \"x\":{\"op\":[]}, \"after\":{ \"name\" : \"Ada\" , \"id\":42 }, "
                 "\"op\":\"insert\"," SOURCE
                 ",\"ts\":1700000000001,\"schema\":\"public\",\"table\":\"users\",\"primary_key\":[ \"id\" ]}\r\n",
                 INSERT);
    /* Members of source are sorted into their order, unknown ones are dropped. */
    canonical_is("{\"before\":null,\"after\":{\"id\":42,\"name\":\"Ada\"},\"op\":\"insert\",\"source\":{\"timestamp\":"
                 "1700000000000,"
                 "\"lsn\":1,\"offset\":\"0\\/16B3748\",\"source_name\":\"pg\"}," TAIL END "}",
                 INSERT);
    /* Empty lists of unavailable columns are not written, others are. */
    canonical_is("{\"before\":null,\"after\":{\"id\":42,\"name\":\"Ada\"},\"op\":\"insert\"," SOURCE "," TAIL END
                 ",\"unavailable_columns\":[],\"before_unavailable_columns\":[]}",
                 INSERT);
    static const char *const unavailable = "{\"before\":null,\"after\":1,\"op\":\"insert\"," SOURCE "," TAIL END
                                           ",\"before_unavailable_columns\":[\"b\"]}";
    canonical_is(unavailable, unavailable);
    /* Optional objects. */
    static const char *const all =
        "{\"before\":null,\"after\":[],\"op\":\"read\"," SOURCE
        ",\"ts\":1,\"schema\":\"\",\"table\":\"\",\"primary_key\":[],\"snapshot\":{\"snapshot_id\":\"\","
        "\"chunk_index\":0,\"is_last_chunk\":false},\"transaction\":{\"tx_id\":0,\"total_events\":null,"
        "\"event_index\":0},\"envelope_version\":1,\"before_is_key_only\":false,\"unavailable_columns\":[\"\"]}";
    canonical_is(all, all);
    canonical_is(
        "{\"before\":null,\"after\":{\"id\":42,\"name\":\"Ada\"},\"op\":\"insert\"," SOURCE
        ",\"ts\":1700000000001,\"schema\":\"public\",\"table\":\"users\",\"primary_key\":[\"id\"],\"snapshot\":null,"
        "\"transaction\":{\"event_index\":1,\"tx_id\":7}" END "}",
        "{\"before\":null,\"after\":{\"id\":42,\"name\":\"Ada\"},\"op\":\"insert\"," SOURCE
        ",\"ts\":1700000000001,\"schema\":\"public\",\"table\":\"users\",\"primary_key\":[\"id\"],\"snapshot\":null,"
        "\"transaction\":{\"tx_id\":7,\"total_events\":null,\"event_index\":1}" END "}");
}

/* The image alone; the rest is canonical. */
static void image_is(const char *image, const char *want)
{
    char text[4096], wanted[4096];
    (void)snprintf(text, sizeof text, "{\"before\":null,\"after\":%s,\"op\":\"insert\"," SOURCE "," TAIL END "}",
                   image);
    (void)snprintf(wanted, sizeof wanted, "{\"before\":null,\"after\":%s,\"op\":\"insert\"," SOURCE "," TAIL END "}",
                   want);
    canonical_is(text, wanted);
}

static void test_images(void **unused)
{
    (void)unused;
    image_is("{\"b\":1,\"a\":2}", "{\"a\":2,\"b\":1}");
    image_is("{\"a\":{\"z\":0,\"y\":[{\"d\":1,\"c\":2}]},\"A\":3}",
             "{\"A\":3,\"a\":{\"y\":[{\"c\":2,\"d\":1}],\"z\":0}}");
    image_is("{\"aa\":1,\"a\":2,\"\":3}", "{\"\":3,\"a\":2,\"aa\":1}");
    /* By bytes: U+FF61 is EF BD A1, U+1F600 is F0 9F 98 80, though its surrogates are lower. */
    image_is("{\"\xf0\x9f\x98\x80\":1,\"\xef\xbd\xa1\":2}", "{\"\xef\xbd\xa1\":2,\"\xf0\x9f\x98\x80\":1}");
    image_is("[3,1,2]", "[3,1,2]");
    image_is("[ 1 , 2 ]", "[1,2]");
    image_is("{}", "{}");
    image_is("\"text\"", "\"text\"");
    /* More members than the reader leaves unsorted. */
    image_is("{\"s\":1,\"r\":1,\"q\":1,\"p\":1,\"o\":1,\"n\":1,\"m\":1,\"l\":1,\"k\":1,\"j\":1,\"i\":1,\"h\":1,\"g\":1,"
             "\"f\":1,\"e\":1,\"d\":1,"
             "\"c\":1,\"b\":1,\"a\":{\"y\":1,\"x\":1}}",
             "{\"a\":{\"x\":1,\"y\":1},\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,"
             "\"l\":1,\"m\":1,\"n\":1,"
             "\"o\":1,\"p\":1,\"q\":1,\"r\":1,\"s\":1}");
    /* Number text survives. */
    static const char *const numbers =
        "[9223372036854775807,18446744073709551615,-9223372036854775808,1.50,1e400,-0,123456789012345678901234567890]";
    image_is(numbers, numbers);
    /* Escapes. */
    static const char *const minimal = "[\"\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u0001\\u000b\\u001f\",\"\xc3\xa9\x7f/\"]";
    image_is(minimal, minimal);
    image_is("[\"\\/\"]", "[\"/\"]");
    image_is("[\"\\u0041\\u00e9\\ud83d\\ude00\\u007f\"]", "[\"A\xc3\xa9\xf0\x9f\x98\x80\x7f\"]");
    image_is("[\"\\u0008\\u0009\\u000a\\u000c\\u000d\\u0022\\u005c\"]", "[\"\\b\\t\\n\\f\\r\\\"\\\\\"]");
    image_is("[\"\\u001F\\u000B\"]", "[\"\\u001f\\u000b\"]");
    image_is("{\"\\u0062\":1,\"a\":\"\\n\"}", "{\"a\":\"\\n\",\"b\":1}");
}

static void test_errors(void **unused)
{
    (void)unused;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "no text"},
        {"[]", "an event is a JSON object"},
        {"{}", "envelope_version is missing"},
        {"{" NEEDED "} {}", "text behind the value"},
        {"{" NEEDED, "ends too early"},
        {"{" NEEDED ",\"op\":\"insert\"}", "\"op\" stands twice"},
        {"{" NEEDED ",\"after\":{\"a\":1,\"\\u0061\":2}}", "\"a\" stands twice"},
        {"{" NEEDED ",\"after\":\"\xff\"}", "UTF-8"},
        {"{" NEEDED ",\"after\":\"\\ud800\"}", "surrogate"},
        {"{" NEEDED ",\"after\":NaN}", "bad JSON"},
        {"{\"op\":\"insert\"," SOURCE ",\"ts\":5,\"table\":\"t\"}", "envelope_version is missing"},
        {"{\"op\":\"insert\"," SOURCE ",\"ts\":5,\"table\":\"t\",\"envelope_version\":2}",
         "envelope_version is 2, not 1"},
        {"{\"op\":\"insert\"," SOURCE ",\"ts\":5,\"table\":\"t\",\"envelope_version\":\"1\"}",
         "envelope_version is no whole number"},
        {"{\"op\":\"insert\"," SOURCE ",\"ts\":5,\"table\":\"t\",\"envelope_version\":1.0}",
         "envelope_version is no whole number"},
        {"{" SOURCE ",\"ts\":5,\"table\":\"t\",\"envelope_version\":1}", "op is missing"},
        {"{\"op\":\"upsert\"," SOURCE ",\"ts\":5,\"table\":\"t\",\"envelope_version\":1}",
         "op is \"upsert\", not insert"},
        {"{\"op\":1," SOURCE ",\"ts\":5,\"table\":\"t\",\"envelope_version\":1}", "op is no string"},
        {"{\"op\":\"read\",\"ts\":5,\"table\":\"t\",\"envelope_version\":1}", "source is missing"},
        {"{\"op\":\"read\",\"source\":null,\"ts\":5,\"table\":\"t\",\"envelope_version\":1}", "source is no object"},
        {"{\"op\":\"read\",\"source\":{\"offset\":\"\",\"timestamp\":1},\"ts\":5,\"table\":\"t\",\"envelope_version\":"
         "1}",
         "source.source_name is missing"},
        {"{\"op\":\"read\",\"source\":{\"source_name\":\"\",\"offset\":7,\"timestamp\":1},\"ts\":5,\"table\":\"t\","
         "\"envelope_version\":1}",
         "source.offset is no string"},
        {"{\"op\":\"read\",\"source\":{\"source_name\":\"\",\"offset\":\"\",\"timestamp\":-1},\"ts\":5,\"table\":\"t\","
         "\"envelope_version\":1}",
         "source.timestamp is no whole number of 64 bits"},
        {"{\"op\":\"read\"," SOURCE ",\"table\":\"t\",\"envelope_version\":1}", "ts is missing"},
        {"{\"op\":\"read\"," SOURCE ",\"ts\":18446744073709551616,\"table\":\"t\",\"envelope_version\":1}",
         "ts is no whole number"},
        {"{\"op\":\"read\"," SOURCE ",\"ts\":1e3,\"table\":\"t\",\"envelope_version\":1}", "ts is no whole number"},
        {"{\"op\":\"read\"," SOURCE ",\"ts\":5,\"envelope_version\":1}", "table is missing"},
        {"{\"op\":\"read\"," SOURCE ",\"ts\":5,\"table\":null,\"envelope_version\":1}", "table is no string"},
        {"{" NEEDED ",\"schema\":5}", "schema is no string"},
        {"{" NEEDED ",\"primary_key\":\"id\"}", "primary_key is no array of column names"},
        {"{" NEEDED ",\"primary_key\":[1]}", "primary_key is no array of column names"},
        {"{" NEEDED ",\"snapshot\":[]}", "snapshot is no object"},
        {"{" NEEDED ",\"snapshot\":{\"chunk_index\":1,\"is_last_chunk\":true}}", "snapshot.snapshot_id is missing"},
        {"{" NEEDED ",\"snapshot\":{\"snapshot_id\":\"\",\"chunk_index\":4294967296,\"is_last_chunk\":true}}",
         "snapshot.chunk_index is no whole number of 32 bits"},
        {"{" NEEDED ",\"snapshot\":{\"snapshot_id\":\"\",\"chunk_index\":1,\"is_last_chunk\":0}}",
         "snapshot.is_last_chunk is neither true nor false"},
        {"{" NEEDED ",\"transaction\":7}", "transaction is no object"},
        {"{" NEEDED ",\"transaction\":{\"event_index\":1}}", "transaction.tx_id is missing"},
        {"{" NEEDED ",\"transaction\":{\"tx_id\":1}}", "transaction.event_index is missing"},
        {"{" NEEDED ",\"transaction\":{\"tx_id\":1,\"event_index\":0,\"total_events\":\"1\"}}",
         "transaction.total_events is no whole"},
        {"{" NEEDED ",\"before_is_key_only\":null}", "before_is_key_only is neither true nor false"},
        {"{" NEEDED ",\"unavailable_columns\":null}", "unavailable_columns is no array"},
        {"{" NEEDED ",\"before_unavailable_columns\":{}}", "before_unavailable_columns is no array"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct event event;
        struct sorex_error err = {0};
        struct bytes copy = exact(bytes_str(cases[i].text));
        enum sorex_status status = event_parse(parser, copy, &arena, &event, &err);
        if (status != SOREX_INVALID || strstr(err.text, cases[i].error) == NULL)
            fail_msg("%s: %s: %s", cases[i].text, sorex_status_name(status), err.text);
        exact_free(copy);
    }
}

static void test_depth(void **unused)
{
    (void)unused;
    for (int levels = 127; levels <= 128; levels++) { /* the event itself is one more */
        struct buf text = {0};
        struct event event;
        assert_int_equal(buf_append_str(&text, "{" NEEDED ",\"after\":", NULL), SOREX_OK);
        for (int i = 0; i < levels; i++)
            assert_int_equal(buf_append_str(&text, "[", NULL), SOREX_OK);
        for (int i = 0; i < levels; i++)
            assert_int_equal(buf_append_str(&text, i == levels - 1 ? "]}" : "]", NULL), SOREX_OK);
        assert_int_equal(event_parse(parser, buf_view(&text), &arena, &event, NULL),
                         levels == 127 ? SOREX_OK : SOREX_LIMIT);
        buf_deinit(&text);
    }
}

static void test_validate(void **unused)
{
    (void)unused;
    static const struct {
        const char *op, *before, *after, *more, *error; /* error NULL: valid */
    } cases[] = {
        {"insert", "null", "{}", "", NULL},
        {"insert", "null", "null", "", "after is missing (op is insert)"},
        {"insert", "{}", "{}", "", "before does not belong there (op is insert)"},
        {"update", "null", "{}", "", NULL},
        {"update", "{}", "{}", "", NULL},
        {"update", "{}", "null", "", "after is missing"},
        {"delete", "{}", "null", "", NULL},
        {"delete", "null", "null", "", "before is missing (op is delete)"},
        {"delete", "{}", "{}", "", "after does not belong there"},
        {"read", "null", "{}", "", NULL},
        {"read", "null", "null", "", "after is missing"},
        {"schema_change", "null", "\"ALTER\"", "", NULL},
        {"schema_change", "null", "null", "", "after is missing"},
        {"truncate", "null", "null", "", NULL},
        {"truncate", "null", "{}", "", "after does not belong there"},
        {"truncate", "{}", "null", "", "before does not belong there"},
        {"update", "{}", "{}", ",\"before_is_key_only\":true", NULL},
        {"delete", "{}", "null", ",\"before_is_key_only\":true", NULL},
        {"update", "null", "{}", ",\"before_is_key_only\":true", "before_is_key_only is for"},
        {"read", "{}", "{}", ",\"before_is_key_only\":true", "before_is_key_only is for"},
        {"read", "null", "{}", ",\"transaction\":{\"tx_id\":1,\"event_index\":1,\"total_events\":1}",
         "transaction.event_index is 1 of transaction.total_events 1"},
        {"read", "null", "{}", ",\"transaction\":{\"tx_id\":1,\"event_index\":1,\"total_events\":2}", NULL},
        {"read", "null", "{}", ",\"transaction\":{\"tx_id\":1,\"event_index\":1}", NULL},
    };
    struct event event;
    struct sorex_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[1024];
        (void)snprintf(text, sizeof text,
                       "{\"op\":\"%s\",\"before\":%s,\"after\":%s," SOURCE
                       ",\"ts\":5,\"table\":\"t\",\"envelope_version\":1%s}",
                       cases[i].op, cases[i].before, cases[i].after, cases[i].more);
        assert_int_equal(event_parse(parser, bytes_str(text), &arena, &event, &err), SOREX_OK);
        enum sorex_status status = event_validate(&event, &err);
        if ((status == SOREX_OK) != (cases[i].error == NULL) ||
            (status != SOREX_OK && strstr(err.text, cases[i].error) == NULL))
            fail_msg("%s: %s", text, err.text);
    }
    event.ts_ms = 0;
    assert_int_equal(event_validate(&event, &err), SOREX_INVALID);
    assert_string_equal(err.text, "ts is 0");
}

static void test_host_fields(void **unused)
{
    (void)unused;
    static const char *const fields[][2] = {
        {"{\"source_name\":\"q\",\"offset\":\"1\",\"timestamp\":1}", "source.source_name"},
        {"{\"source_name\":\"p\",\"offset\":\"2\",\"timestamp\":1}", "source.offset"},
        {"{\"source_name\":\"p\",\"offset\":\"1\",\"timestamp\":2}", "source.timestamp"},
    };
    static const char *const rest[][2] = {
        {"\"snapshot\":null,\"transaction\":{\"tx_id\":1,\"event_index\":1,\"total_events\":2}", "snapshot"},
        {"\"snapshot\":{\"snapshot_id\":\"t\",\"chunk_index\":1,\"is_last_chunk\":true},\"transaction\":{\"tx_id\":1,"
         "\"event_index\":1,\"total_events\":2}",
         "snapshot.snapshot_id"},
        {"\"snapshot\":{\"snapshot_id\":\"s\",\"chunk_index\":2,\"is_last_chunk\":true},\"transaction\":{\"tx_id\":1,"
         "\"event_index\":1,\"total_events\":2}",
         "snapshot.chunk_index"},
        {"\"snapshot\":{\"snapshot_id\":\"s\",\"chunk_index\":1,\"is_last_chunk\":false},\"transaction\":{\"tx_id\":1,"
         "\"event_index\":1,\"total_events\":2}",
         "snapshot.is_last_chunk"},
        {"\"snapshot\":{\"snapshot_id\":\"s\",\"chunk_index\":1,\"is_last_chunk\":true},\"transaction\":null",
         "transaction"},
        {"\"snapshot\":{\"snapshot_id\":\"s\",\"chunk_index\":1,\"is_last_chunk\":true},\"transaction\":{\"tx_id\":2,"
         "\"event_index\":1,\"total_events\":2}",
         "transaction.tx_id"},
        {"\"snapshot\":{\"snapshot_id\":\"s\",\"chunk_index\":1,\"is_last_chunk\":true},\"transaction\":{\"tx_id\":1,"
         "\"event_index\":0,\"total_events\":2}",
         "transaction.event_index"},
        {"\"snapshot\":{\"snapshot_id\":\"s\",\"chunk_index\":1,\"is_last_chunk\":true},\"transaction\":{\"tx_id\":1,"
         "\"event_index\":1}",
         "transaction.total_events"},
        {"\"snapshot\":{\"snapshot_id\":\"s\",\"chunk_index\":1,\"is_last_chunk\":true},\"transaction\":{\"tx_id\":1,"
         "\"event_index\":1,\"total_events\":2}",
         NULL},
    };
    char text[1024];
    struct event original, changed;
    struct bytes kept = bytes_str(
        "{\"op\":\"read\",\"after\":1,\"source\":{\"source_name\":\"p\",\"offset\":\"1\",\"timestamp\":1},\"ts\":5,"
        "\"table\":\"t\","
        "\"envelope_version\":1,\"snapshot\":{\"snapshot_id\":\"s\",\"chunk_index\":1,\"is_last_chunk\":true},"
        "\"transaction\":{\"tx_id\":1,\"event_index\":1,\"total_events\":2}}");
    arena_reset(&arena);
    assert_int_equal(event_parse(parser, kept, &arena, &original, NULL), SOREX_OK);
    for (size_t i = 0; i < 3 + sizeof rest / sizeof rest[0]; i++) {
        const char *source = i < 3 ? fields[i][0] : "{\"source_name\":\"p\",\"offset\":\"1\",\"timestamp\":1}";
        const char *want = i < 3 ? fields[i][1] : rest[i - 3][1], *more = i < 3 ? "\"schema\":null" : rest[i - 3][0];
        (void)snprintf(text, sizeof text,
                       "{\"op\":\"read\",\"after\":2,\"source\":%s,\"ts\":6,\"table\":\"u\",\"envelope_version\":1,%s}",
                       source, more);
        assert_int_equal(event_parse(parser, bytes_str(text), &arena, &changed, NULL), SOREX_OK);
        const char *got = event_host_field_changed(&original, &changed);
        if ((got == NULL) != (want == NULL) || (want != NULL && strcmp(got, want) != 0))
            fail_msg("%s: %s", text, got != NULL ? got : "none");
    }
}

/* Written, read, written: the same bytes; from any other text of the same event too. */
static void test_random(void **unused)
{
    (void)unused;
    for (uint64_t round = 1; round <= 3000; round++) {
        uint64_t seed = round;
        struct buf once = {0}, other = {0}, twice = {0};
        struct event read;
        arena_reset(&arena);
        struct event event = random_event(parser, &arena, &seed, round % 2 == 0);
        assert_int_equal(event_write(&event, &once, NULL), SOREX_OK);
        struct bytes copy = exact(buf_view(&once));
        assert_int_equal(event_parse(parser, copy, &arena, &read, NULL), SOREX_OK);
        assert_event_equal(&event, &read);
        random_event_text(&event, &seed, &other);
        struct sorex_error err = {0};
        if (event_parse(parser, buf_view(&other), &arena, &read, &err) != SOREX_OK)
            fail_msg("seed %llu: %s: %.*s", (unsigned long long)round, err.text, (int)other.len,
                     (const char *)other.data);
        assert_event_equal(&event, &read);
        assert_int_equal(event_write(&read, &twice, NULL), SOREX_OK);
        if (!bytes_equal(buf_view(&once), buf_view(&twice)))
            fail_msg("seed %llu", (unsigned long long)round);
        exact_free(copy);
        buf_deinit(&once);
        buf_deinit(&other);
        buf_deinit(&twice);
    }
}

/* Damaged text is refused or gives an event whose canonical form is stable. */
static void test_damage(void **unused)
{
    (void)unused;
    unsigned accepted = 0;
    for (uint64_t round = 1; round <= 5000; round++) {
        uint64_t seed = round;
        struct buf text = {0}, once = {0}, twice = {0};
        struct event event, again;
        arena_reset(&arena);
        struct event whole = random_event(parser, &arena, &seed, true);
        assert_int_equal(event_write(&whole, &text, NULL), SOREX_OK);
        random_damage(&text, &seed);
        struct bytes copy = exact(buf_view(&text));
        if (event_parse(parser, copy, &arena, &event, NULL) == SOREX_OK) {
            accepted++;
            assert_int_equal(event_write(&event, &once, NULL), SOREX_OK);
            if (event_parse(parser, buf_view(&once), &arena, &again, NULL) != SOREX_OK)
                fail_msg("seed %llu", (unsigned long long)round);
            assert_event_equal(&event, &again);
            again.text = bytes_of(NULL, 0);
            assert_int_equal(event_write(&again, &twice, NULL), SOREX_OK);
            if (!bytes_equal(buf_view(&once), buf_view(&twice)))
                fail_msg("seed %llu: %.*s", (unsigned long long)round, (int)once.len, (const char *)once.data);
        }
        exact_free(copy);
        buf_deinit(&text);
        buf_deinit(&once);
        buf_deinit(&twice);
    }
    assert_true(accepted > 100);
}

/* Reading what was made from another event gives what reading the whole gives, whatever was done to the text. */
static void changed_agrees(const struct event *from, struct bytes text, unsigned *accepted)
{
    struct event whole, changed;
    struct sorex_error whole_err = {0}, changed_err = {0};
    struct bytes copy = exact(text);
    enum sorex_status status = event_parse(parser, copy, &arena, &whole, &whole_err);
    assert_int_equal(event_parse_changed(parser, from, copy, &arena, &changed, &changed_err), status);
    assert_string_equal(whole_err.text, changed_err.text);
    if (status == SOREX_OK) {
        (*accepted)++;
        assert_event_equal(&whole, &changed);
        struct buf once = {0}, twice = {0}; /* the text that is known may be more often known, but is the same */
        assert_int_equal(event_write(&whole, &once, NULL), SOREX_OK);
        assert_int_equal(event_write(&changed, &twice, NULL), SOREX_OK);
        assert_true(bytes_equal(buf_view(&once), buf_view(&twice)));
        buf_deinit(&once);
        buf_deinit(&twice);
    }
    exact_free(copy);
}

static void test_changed(void **unused)
{
    (void)unused;
    unsigned accepted = 0;
    for (uint64_t round = 1; round <= 3000; round++) {
        uint64_t seed = round;
        struct buf text = {0};
        arena_reset(&arena);
        struct event event = random_event(parser, &arena, &seed, round % 2 == 0);
        assert_int_equal(event_text_make(&event, &arena, NULL), SOREX_OK);
        struct event other = random_event(parser, &arena, &seed, round % 2 == 0);
        struct event edited = event; /* one image or both from another event, then perhaps damaged */
        edited.text = bytes_of(NULL, 0);
        if (random_below(&seed, 2) == 0)
            edited.before = other.before;
        if (random_below(&seed, 2) == 0)
            edited.after = other.after;
        assert_int_equal(event_write(&edited, &text, NULL), SOREX_OK);
        changed_agrees(&event, buf_view(&text), &accepted);
        random_damage(&text, &seed);
        changed_agrees(&event, buf_view(&text), &accepted);
        buf_deinit(&text);
    }
    assert_true(accepted > 3000);
}

static void test_changed_at_the_borders(void **unused)
{
    (void)unused;
    struct event event;
    unsigned accepted = 0;
    static const char *const images[] = {"null", " {}", "{\"b\":1,\"a\":1}", "1,\"x\":2",
                                         "1}",   "",    "\"\\u0041\"",       "{\"a\":1,\"a\":2}",
                                         "tru",  "1 2", "\"\xff\""};
    arena_reset(&arena);
    assert_int_equal(event_parse(parser, bytes_str(INSERT), &arena, &event, NULL), SOREX_OK);
    for (size_t i = 0; i < sizeof images / sizeof images[0]; i++) {
        char text[2048];
        (void)snprintf(text, sizeof text,
                       "{\"before\":%s,\"after\":{\"id\":42,\"name\":\"Ada\"},\"op\":\"insert\"," SOURCE "," TAIL END
                       "}",
                       images[i]);
        changed_agrees(&event, bytes_str(text), &accepted);
        (void)snprintf(text, sizeof text, "{\"before\":null,\"after\":%s,\"op\":\"insert\"," SOURCE "," TAIL END "}",
                       images[i]);
        changed_agrees(&event, bytes_str(text), &accepted);
    }
    assert_int_equal(accepted, 10);
    for (int levels = 126; levels <= 128; levels++) { /* as deep as the whole may be */
        struct buf text = {0};
        assert_int_equal(buf_append_str(&text, "{\"before\":null,\"after\":", NULL), SOREX_OK);
        for (int i = 0; i < levels; i++)
            assert_int_equal(buf_append_str(&text, "[", NULL), SOREX_OK);
        for (int i = 0; i < levels; i++)
            assert_int_equal(buf_append_str(&text, "]", NULL), SOREX_OK);
        assert_int_equal(buf_append_str(&text, ",\"op\":\"insert\"," SOURCE "," TAIL END "}", NULL), SOREX_OK);
        changed_agrees(&event, buf_view(&text), &accepted);
        buf_deinit(&text);
    }
    assert_int_equal(accepted, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fields),
                                       cmocka_unit_test(test_canonical),
                                       cmocka_unit_test(test_images),
                                       cmocka_unit_test(test_errors),
                                       cmocka_unit_test(test_depth),
                                       cmocka_unit_test(test_validate),
                                       cmocka_unit_test(test_host_fields),
                                       cmocka_unit_test(test_changed),
                                       cmocka_unit_test(test_changed_at_the_borders),
                                       cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_damage)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
