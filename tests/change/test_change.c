/* Parse, validate, complete, invert. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "change/change.h"

static struct json_parser *parser, *other;
static struct arena arena;

static int setup(void **unused)
{
    (void)unused;
    arena_init(&arena, 0);
    return json_parser_new(&parser, NULL) == SOREX_OK && json_parser_new(&other, NULL) == SOREX_OK ? 0 : -1;
}

static int teardown(void **unused)
{
    (void)unused;
    json_parser_free(parser);
    json_parser_free(other);
    arena_deinit(&arena);
    return 0;
}

#define HEADER "{\"header\":{\"source\":\"s\",\"timestamp\":1e400,\"block_height\":7},\"payload\":"

static void inverse_is(const char *json, const char *want)
{
    struct buf out = {0};
    struct sorex_error err = {0};
    if (change_invert(parser, bytes_str(json), &out, &err) != SOREX_OK)
        fail_msg("%s: %s", json, err.text);
    if (!bytes_is(buf_view(&out), want))
        fail_msg("got %.*s, want %s", (int)out.len, (const char *)out.data, want);
    buf_deinit(&out);
}

static void test_invert(void **unused)
{
    (void)unused;
    inverse_is(HEADER "{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{\"a\":1.50}}}",
               HEADER "{\"operation\":\"delete\",\"table\":\"t\",\"key\":\"k\",\"before\":{\"a\":1.50}}}");
    inverse_is(HEADER "{\"operation\":\"delete\",\"before\":{\"a\":1e2},\"table\":\"t\",\"key\":\"k\"}}",
               HEADER "{\"operation\":\"create\",\"after\":{\"a\":1e2},\"table\":\"t\",\"key\":\"k\"}}");
    inverse_is(HEADER "{\"table\":\"t\",\"key\":\"k\",\"operation\":\"update\",\"before\":1,\"after\":2}}",
               HEADER "{\"table\":\"t\",\"key\":\"k\",\"operation\":\"update\",\"before\":2,\"after\":1}}");
    inverse_is(HEADER "{\"operation\":\"update\",\"after\":2,\"table\":\"t\",\"before\":1,\"key\":\"k\"}}",
               HEADER "{\"operation\":\"update\",\"after\":1,\"table\":\"t\",\"before\":2,\"key\":\"k\"}}");
    inverse_is(HEADER "{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"before\":null,\"after\":1}}",
               HEADER "{\"operation\":\"delete\",\"table\":\"t\",\"key\":\"k\",\"before\":1}}");
    inverse_is("{ \"payload\": {\"operation\":\"delete\",\"key\":\"k\",\"table\":\"t\",\"before\":[],\"after\":null}, \"header\":{} }",
               "{\"payload\":{\"operation\":\"create\",\"key\":\"k\",\"table\":\"t\",\"after\":[]},\"header\":{}}");
}

static void test_invert_twice(void **unused)
{
    (void)unused;
    static const char *const payloads[] = {"{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{\"z\":1,\"a\":[0.10]}}}",
                                           "{\"operation\":\"update\",\"table\":\"t\",\"key\":\"k\",\"before\":{\"x\":0},\"after\":{}}}",
                                           "{\"operation\":\"delete\",\"table\":\"t\",\"key\":\"\\u00e9\\n\",\"before\":\"x\"}}"};
    for (size_t i = 0; i < 3; i++) {
        struct buf json = {0}, once = {0}, twice = {0};
        assert_int_equal(buf_append_str(&json, HEADER, NULL), SOREX_OK);
        assert_int_equal(buf_append_str(&json, payloads[i], NULL), SOREX_OK);
        assert_int_equal(change_invert(parser, buf_view(&json), &once, NULL), SOREX_OK);
        assert_int_equal(change_invert(parser, buf_view(&once), &twice, NULL), SOREX_OK);
        assert_true(bytes_equal(buf_view(&json), buf_view(&twice)));
        buf_deinit(&json);
        buf_deinit(&once);
        buf_deinit(&twice);
    }
}

static void test_not_invertible(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"{\"payload\":{\"operation\":\"update\",\"after\":1}}", "{\"payload\":{\"operation\":\"delete\"}}",
                                        "{\"payload\":{\"operation\":\"create\"}}", "{\"payload\":{\"operation\":\"upsert\",\"after\":1}}", "{}", "[]", "x"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct buf out = {0};
        assert_int_equal(change_invert(parser, bytes_str(texts[i]), &out, NULL), SOREX_INVALID);
        buf_deinit(&out);
    }
}

static void test_with_before(void **unused)
{
    (void)unused;
    static const struct {
        const char *json, *before, *want;
    } cases[] = {
        {HEADER "{\"operation\":\"update\",\"table\":\"t\",\"key\":\"k\",\"after\":2}}", "1",
         HEADER "{\"operation\":\"update\",\"table\":\"t\",\"key\":\"k\",\"before\":1,\"after\":2}}"},
        {HEADER "{\"operation\":\"delete\",\"table\":\"t\",\"key\":\"k\"}}", "{\"a\":1}",
         HEADER "{\"operation\":\"delete\",\"table\":\"t\",\"key\":\"k\",\"before\":{\"a\":1}}}"},
        {HEADER "{\"operation\":\"update\",\"before\":null,\"table\":\"t\",\"key\":\"k\",\"after\":2}}", "1",
         HEADER "{\"operation\":\"update\",\"before\":1,\"table\":\"t\",\"key\":\"k\",\"after\":2}}"},
        {HEADER "{\"operation\":\"update\",\"before\":9,\"after\":2}}", NULL, HEADER "{\"operation\":\"update\",\"after\":2}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = {0};
        struct bytes before = cases[i].before != NULL ? bytes_str(cases[i].before) : bytes_of(NULL, 0);
        assert_int_equal(change_with_before(parser, bytes_str(cases[i].json), before, &out, NULL), SOREX_OK);
        assert_true(bytes_is(buf_view(&out), cases[i].want));
        buf_deinit(&out);
    }
}

static enum sorex_status check(const char *json, bool require_before, struct sorex_error *err)
{
    static const uint8_t hash[HASH_BYTES] = {0x01};
    struct change change;
    enum sorex_status status = change_parse(parser, bytes_str(json), &arena, &change, err);
    return status != SOREX_OK ? status : change_validate(&change, 7, hash, require_before, err);
}

static void test_validate(void **unused)
{
    (void)unused;
    struct sorex_error err = {0};
    static const struct {
        const char *json, *reason; /* NULL: valid */
    } cases[] = {
        {HEADER "{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{}}}", NULL},
        {"{\"header\":{\"block_hash\":\"0x0000000000000000000000000000000000000000000000000000000000000001\"},\"payload\":{\"operation\":"
         "\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{}}}",
         NULL},
        {"{\"header\":{\"block_hash\":\"00\"},\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{}}}", "block_hash"},
        {"{\"header\":{\"block_hash\":\"0000000000000000000000000000000000000000000000000000000000000002\"},\"payload\":{\"operation\":"
         "\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{}}}",
         "block_hash"},
        {"{\"header\":{\"block_height\":8},\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{}}}", "block_height"},
        {"{\"header\":{\"timestamp\":\"1\"},\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{}}}", "timestamp"},
        {"{\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{}}}", "header"},
        {"{\"header\":{}}", "payload"},
        {HEADER "{\"operation\":\"create\",\"table\":\"\",\"key\":\"k\",\"after\":{}}}", "table"},
        {HEADER "{\"operation\":\"create\",\"table\":\"t\",\"after\":{}}}", "key"},
        {HEADER "{\"operation\":\"create\",\"table\":\"t\",\"key\":5,\"after\":{}}}", "key"},
        {HEADER "{\"operation\":\"insert\",\"table\":\"t\",\"key\":\"k\",\"after\":{}}}", "insert"},
        {HEADER "{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\"}}", "after"},
        {HEADER "{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"before\":{},\"after\":{}}}", "before"},
        {HEADER "{\"operation\":\"delete\",\"table\":\"t\",\"key\":\"k\",\"before\":{},\"after\":{}}}", "after"},
        {HEADER "{\"operation\":\"update\",\"table\":\"t\",\"key\":\"k\",\"after\":{}}}", "before"},
        {"[]", "object"},
        {"{", "JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum sorex_status status = check(cases[i].json, true, &err);
        assert_int_equal(status, cases[i].reason == NULL ? SOREX_OK : SOREX_INVALID);
        if (cases[i].reason != NULL)
            assert_non_null(strstr(err.text, cases[i].reason));
    }
    assert_int_equal(check(HEADER "{\"operation\":\"update\",\"table\":\"t\",\"key\":\"k\",\"after\":{}}}", false, &err), SOREX_OK);
}

static void test_image_equal(void **unused)
{
    (void)unused;
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {{"{\"a\":1,\"b\":[1,{\"c\":null}]}", " { \"b\" : [ 1 , {\"c\":null} ] , \"a\" : 1 }", true},
                 {"{\"a\":1}", "{\"a\":1.0}", false},
                 {"{\"a\":1}", "{\"a\":1,\"b\":2}", false},
                 {"{\"a\":1}", "{\"b\":1}", false},
                 {"[1,2]", "[2,1]", false},
                 {"\"\\u0061\"", "\"a\"", true},
                 {"[]", "{}", false},
                 {"{\"a\":[]}", "{\"a\":[[]]}", false},
                 {"{\"x\":{\"y\":true}}", "{\"x\":{\"y\":false}}", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool equal = !cases[i].equal;
        assert_int_equal(change_image_equal(parser, bytes_str(cases[i].a), other, bytes_str(cases[i].b), &equal, NULL), SOREX_OK);
        if (equal != cases[i].equal)
            fail_msg("%s and %s", cases[i].a, cases[i].b);
    }
}

/* What is kept of the images is there after the next parse, decoded names and strings too; nested values as text. */
static void test_images(void **unused)
{
    (void)unused;
    const char json[] = HEADER "{\"operation\":\"update\",\"table\":\"t\",\"key\":\"k\",\"before\":{\"\\u0061\":\"x\\ny\"},"
                               "\"after\":{\"id\": 1.50,\"list\":[1,{\"b\":2}],\"\":\"\",\"e\\\"\":\"z\"}}}";
    struct change change, ignored;
    struct json_doc before, after, none;
    assert_int_equal(change_parse_images(parser, bytes_str(json), &arena, &change, &before, &after, NULL), SOREX_OK);
    const char create[] = "{\"header\":{\"\\t\":\"\\t\"},\"payload\":{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":7}}";
    assert_int_equal(change_parse_images(parser, bytes_str(create), &arena, &ignored, &none, &none, NULL), SOREX_OK);
    assert_null(none.nodes);
    const struct json_node *node = json_member(&before, &before.nodes[0], "a");
    assert_true(node != NULL && node->kind == JSON_STRING && bytes_is(node->text, "x\ny"));
    assert_null(json_next(&before, node));
    node = json_first(&after, &after.nodes[0]);
    assert_true(bytes_is(node->key, "id") && bytes_is(node->raw, "1.50"));
    node = json_next(&after, node);
    assert_true(node->kind == JSON_ARRAY && bytes_is(node->raw, "[1,{\"b\":2}]") && json_first(&after, node) == NULL);
    node = json_next(&after, node);
    assert_true(node->key.len == 0 && node->text.len == 0 && node->kind == JSON_STRING);
    node = json_next(&after, node);
    assert_true(bytes_is(node->key, "e\"") && bytes_is(node->text, "z"));
    assert_null(json_next(&after, node));
    assert_true(bytes_equal(after.nodes[0].raw, change.after));
    assert_int_equal(after.nodes[0].children, 4);
}

/* An image of many small members would take more than its change: not kept. */
static void test_large_image(void **unused)
{
    (void)unused;
    struct buf json = {0};
    assert_int_equal(buf_printf(&json, NULL, HEADER "{\"operation\":\"create\",\"table\":\"t\",\"key\":\"k\",\"after\":{\"0\":0"), SOREX_OK);
    for (unsigned i = 1; i < 1000; i++)
        assert_int_equal(buf_printf(&json, NULL, ",\"%u\":0", i), SOREX_OK);
    assert_int_equal(buf_printf(&json, NULL, "}}}"), SOREX_OK);
    struct change change;
    struct json_doc before, after;
    assert_int_equal(change_parse_images(parser, buf_view(&json), &arena, &change, &before, &after, NULL), SOREX_OK);
    assert_non_null(change.after.data);
    assert_null(after.nodes);
    buf_deinit(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_invert),        cmocka_unit_test(test_invert_twice), cmocka_unit_test(test_not_invertible),
                                       cmocka_unit_test(test_with_before),   cmocka_unit_test(test_validate),     cmocka_unit_test(test_image_equal),
                                       cmocka_unit_test(test_images),        cmocka_unit_test(test_large_image)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
