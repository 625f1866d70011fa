/* The reader against RFC 8259, the writer against the reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/limits.h"
#include "json/json.h"
#include "json/writer.h"

static struct json_parser *parser;

static int setup(void **unused)
{
    (void)unused;
    return json_parser_new(&parser, NULL) == SOREX_OK ? 0 : -1;
}

static int teardown(void **unused)
{
    (void)unused;
    json_parser_free(parser);
    return 0;
}

/* Parses from a heap copy of exact size, so that a read behind the end is seen by the sanitizer. */
static enum sorex_status parse(struct bytes text, struct json_doc *doc, struct sorex_error *err, uint8_t **copy)
{
    *copy = malloc(text.len == 0 ? 1 : text.len);
    assert_non_null(*copy);
    if (text.len != 0)
        memcpy(*copy, text.data, text.len);
    return json_parse(parser, bytes_of(*copy, text.len), doc, err);
}

static void test_valid(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"null",
                                        " true ",
                                        "false",
                                        "0",
                                        "-0",
                                        "-12.5e+3",
                                        "1e400",
                                        "123456789012345678901234567890",
                                        "\"\"",
                                        "\"\\u00e9\\ud83d\\ude00\\n\\/\"",
                                        "[]",
                                        "{}",
                                        "[[],{}]",
                                        "[1,2 , 3]\n",
                                        "{\"a\":{\"b\":[null]},\"c\":\"\"}",
                                        "\"\xc3\xa9\"",
                                        "{\"\":0}",
                                        "\t\r\n 1"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_doc doc;
        struct sorex_error err = {0};
        uint8_t *copy;
        if (parse(bytes_str(texts[i]), &doc, &err, &copy) != SOREX_OK)
            fail_msg("%s: %s", texts[i], err.text);
        free(copy);
    }
}

static void test_invalid(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"",
                                        " ",
                                        "nul",
                                        "truee",
                                        "01",
                                        "1.",
                                        ".5",
                                        "1e",
                                        "+1",
                                        "-",
                                        "--1",
                                        "NaN",
                                        "'a'",
                                        "\"a",
                                        "\"\\x\"",
                                        "\"\\u12\"",
                                        "\"\\ud800\"",
                                        "\"\\udc00\"",
                                        "\"\\ud800\\u0041\"",
                                        "[",
                                        "]",
                                        "[1",
                                        "[1,",
                                        "[1,]",
                                        "[,1]",
                                        "[1 2]",
                                        "{",
                                        "{\"a\"",
                                        "{\"a\":",
                                        "{\"a\":1",
                                        "{\"a\":1,",
                                        "{\"a\":1,}",
                                        "{a:1}",
                                        "{1:1}",
                                        "{\"a\" 1}",
                                        "{\"a\":1 \"b\":2}",
                                        "{\"a\":1,\"a\":2}",
                                        "{\"a\":1,\"\\u0061\":2}",
                                        "1 2",
                                        "{} {}",
                                        "[}",
                                        "{]",
                                        "1,",
                                        "\"a\"b",
                                        "a\"b\"",
                                        "[1]]",
                                        "\"\x01\"",
                                        "\"\xff\"",
                                        "\"\xc3\"",
                                        "\"\xed\xa0\x80\"",
                                        "[1}",
                                        ":",
                                        "{\"a\"::1}",
                                        "[\"a\":1]",
                                        "/**/1",
                                        "\xef\xbb\xbf"
                                        "1x"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_doc doc;
        struct sorex_error err = {0};
        uint8_t *copy;
        if (parse(bytes_str(texts[i]), &doc, &err, &copy) != SOREX_INVALID)
            fail_msg("accepted: %s", texts[i]);
        assert_true(err.text[0] != '\0');
        free(copy);
    }
}

static void test_many_names(void **unused)
{
    (void)unused;
    struct buf text = {0};
    for (int twice = 0; twice < 2; twice++) {
        buf_reset(&text);
        assert_int_equal(buf_append_str(&text, "{", NULL), SOREX_OK);
        for (int i = 0; i < 100; i++)
            assert_int_equal(buf_printf(&text, NULL, "%s\"k%d\":%d", i == 0 ? "" : ",", twice && i == 99 ? 3 : i, i),
                             SOREX_OK);
        assert_int_equal(buf_append_str(&text, "}", NULL), SOREX_OK);
        struct json_doc doc;
        struct sorex_error err;
        assert_int_equal(json_parse(parser, buf_view(&text), &doc, &err), twice ? SOREX_INVALID : SOREX_OK);
    }
    buf_deinit(&text);
}

static void test_depth(void **unused)
{
    (void)unused;
    char text[2 * SOREX_JSON_DEPTH_MAX + 3];
    struct json_doc doc;
    for (size_t depth = SOREX_JSON_DEPTH_MAX; depth <= SOREX_JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(json_parse(parser, bytes_of(text, 2 * depth), &doc, NULL),
                         depth == SOREX_JSON_DEPTH_MAX ? SOREX_OK : SOREX_LIMIT);
    }
}

static void test_slices(void **unused)
{
    (void)unused;
    static const char text[] =
        "{ \"n\" : 1e400 , \"s\":\"a\\tb\",\"o\":{ \"x\":1 },\"l\":[ 1,-2 ,18446744073709551615] }";
    struct json_doc doc;
    uint64_t u;
    int64_t i;
    assert_int_equal(json_parse(parser, bytes_str(text), &doc, NULL), SOREX_OK);
    const struct json_node *root = &doc.nodes[0];
    assert_int_equal(root->children, 4);
    assert_true(bytes_is(json_member(&doc, root, "n")->raw, "1e400"));
    assert_false(json_u64(json_member(&doc, root, "n"), &u));
    assert_true(bytes_is(json_member(&doc, root, "s")->text, "a\tb"));
    assert_true(bytes_is(json_member(&doc, root, "s")->raw, "\"a\\tb\""));
    assert_true(bytes_is(json_member(&doc, root, "o")->raw, "{ \"x\":1 }"));
    assert_null(json_member(&doc, root, "absent"));
    const struct json_node *item = json_first(&doc, json_member(&doc, root, "l"));
    assert_true(json_u64(item, &u) && u == 1);
    item = json_next(&doc, item);
    assert_true(!json_u64(item, &u) && json_i64(item, &i) && i == -2);
    item = json_next(&doc, item);
    assert_true(json_u64(item, &u) && u == UINT64_MAX && !json_i64(item, &i));
    assert_null(json_next(&doc, item));
}

static void test_document_flags(void **unused)
{
    (void)unused;
    static const struct {
        const char *text;
        bool compact, escapes;
    } cases[] = {
        {"{\"a\":[1,\"b c\",null],\"d\":{}}", true, false},
        {"\"\\n\"", true, true},
        {"{\"a\\u0041\":1}", true, true},
        {" 1", false, false},
        {"1 ", false, false},
        {"[]\n", false, false},
        {"{\"a\": 1}", false, false},
        {"{\"a\" :1}", false, false},
        {"[1 ,2]", false, false},
        {"[ ]", false, false},
        {"{\"a\":\"b\"\t}", false, false},
        {"[true\r,2]", false, false},
        {"[{} ,2]", false, false},
        {" \"\\\\\"", false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_doc doc;
        uint8_t *copy;
        assert_int_equal(parse(bytes_str(cases[i].text), &doc, NULL, &copy), SOREX_OK);
        if (doc.compact != cases[i].compact || doc.escapes != cases[i].escapes)
            fail_msg("%s", cases[i].text);
        free(copy);
    }
}

/* Large objects whose members come in order of their names are not sorted; a name that stands twice is seen all the same. */
static void test_names_in_order(void **unused)
{
    (void)unused;
    for (unsigned count = 14; count < 20; count++)
        for (unsigned twice = 0; twice < 2; twice++) {
            struct buf text = {0};
            struct json_doc doc;
            struct sorex_error err = {0};
            for (unsigned i = 0; i < count; i++)
                assert_int_equal(buf_printf(&text, NULL, "%c\"n%02u\":%u", i == 0 ? '{' : ',', twice && i == count - 1 ? i - 1 : i, i),
                                 SOREX_OK);
            assert_int_equal(buf_append_str(&text, "}", NULL), SOREX_OK);
            assert_int_equal(json_parse(parser, buf_view(&text), &doc, &err), twice ? SOREX_INVALID : SOREX_OK);
            if (twice)
                assert_non_null(strstr(err.text, "stands twice"));
            else
                assert_true(bytes_is(json_member(&doc, &doc.nodes[0], "n13")->raw, "13"));
            buf_deinit(&text);
        }
}

static void test_writer(void **unused)
{
    (void)unused;
    struct buf out = {0};
    struct sorex_error err = {0};
    struct json_writer w;
    json_writer_init(&w, &out, false, &err);
    json_object_begin(&w);
    json_name(&w, "q\"");
    json_string(&w, bytes_of("\x01\b\f\n\r\t\"\\\x7f\xc3\xa9\xff/", 13));
    json_name(&w, "list");
    json_array_begin(&w);
    json_uint(&w, UINT64_MAX);
    json_int(&w, INT64_MIN);
    json_double(&w, 0.1);
    json_bool(&w, true);
    json_null(&w);
    json_raw(&w, bytes_str("1e400"));
    json_hex(&w, bytes_of("\xab", 1));
    json_array_begin(&w);
    json_array_end(&w);
    json_array_end(&w);
    json_object_end(&w);
    assert_int_equal(json_writer_finish(&w), SOREX_OK);
    static const char want[] = "{\"q\\\"\":\"\\u0001\\b\\f\\n\\r\\t\\\"\\\\\x7f\xc3\xa9\xef\xbf\xbd/\","
                               "\"list\":[18446744073709551615,-9223372036854775808,0.1,true,null,1e400,\"ab\",[]]}";
    assert_int_equal(out.len, sizeof want - 1);
    assert_memory_equal(out.data, want, sizeof want - 1);
    struct json_doc doc;
    assert_int_equal(json_parse(parser, buf_view(&out), &doc, &err), SOREX_OK);
    buf_deinit(&out);
}

/* Random bytes: never a crash, and what is accepted comes back as one value covering the text. */
static void test_noise(void **unused)
{
    (void)unused;
    static const char alphabet[] = "{}[]:,\"\\u0 1-.eEtrufalsn\xc3\xa9";
    uint64_t seed = 42;
    for (int round = 0; round < 20000; round++) {
        uint8_t text[24];
        size_t len = 0;
        for (; len < sizeof text; len++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            if (seed >> 60 == 0)
                break;
            text[len] = (uint8_t)alphabet[(seed >> 33) % (sizeof alphabet - 1)];
        }
        struct json_doc doc;
        uint8_t *copy;
        if (parse(bytes_of(text, len), &doc, NULL, &copy) == SOREX_OK)
            assert_true(doc.count >= 1 && doc.nodes[0].raw.len <= len);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_valid),      cmocka_unit_test(test_invalid),
                                       cmocka_unit_test(test_many_names), cmocka_unit_test(test_depth),
                                       cmocka_unit_test(test_slices),     cmocka_unit_test(test_document_flags),
                                       cmocka_unit_test(test_names_in_order), cmocka_unit_test(test_writer),
                                       cmocka_unit_test(test_noise)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
