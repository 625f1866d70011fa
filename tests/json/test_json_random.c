/* The reader against a second opinion on random, damaged JSON; what it accepts, written again from its nodes, is the
 * same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "json/json.h"
#include "json/random.h"
#include "json/reference.h"
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

/* From a heap copy of exact size, so that the sanitizer sees a read behind the end. */
static bool agrees(struct bytes text, struct sorex_error *err)
{
    uint8_t *copy = malloc(text.len + (text.len == 0));
    assert_non_null(copy);
    if (text.len != 0)
        memcpy(copy, text.data, text.len);
    struct json_doc doc;
    err->text[0] = '\0';
    enum sorex_status status = json_parse(parser, bytes_of(copy, text.len), &doc, err);
    /* Names that stand twice are found where their object ends, faults behind it are not looked for. */
    bool agree = (status == SOREX_OK) == reference_accepts(text) || strstr(err->text, "stands twice") != NULL;
    if (status != SOREX_OK)
        agree = agree && strstr(err->text, "at byte ") != NULL;
    free(copy);
    return agree;
}

static void test_against_reference(void **unused)
{
    (void)unused;
    struct buf text = {0};
    struct sorex_error err;
    unsigned accepted = 0;
    for (uint64_t round = 0; round < 60000; round++) {
        uint64_t seed = round * 1000003;
        struct json_writer w;
        buf_reset(&text);
        json_writer_init(&w, &text, round % 4 == 0, NULL);
        random_value(&w, &seed, 4);
        assert_int_equal(json_writer_finish(&w), SOREX_OK);
        if (round % 8 != 0)
            random_damage(&text, &seed);
        if (!agrees(buf_view(&text), &err))
            fail_msg("seed %llu: %.*s: %s", (unsigned long long)round, (int)text.len, (const char *)text.data,
                     err.text);
        accepted += err.text[0] == '\0';
    }
    assert_in_range(accepted, 10000, 50000); /* both sides of the border were visited */
    buf_deinit(&text);
}

/* A scalar that touches a string: simdjson makes no token of the string. */
static void test_touching(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"[1\"a\"]",    "1\"a\"",     "{\"a\":1\"b\"}", "[true\"x\"]",
                                        "[null\"]\"]", "\"a\"\"b\"", "\"a\"1",         "[1\\\"a\\\"]"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_doc doc;
        assert_int_equal(json_parse(parser, bytes_str(texts[i]), &doc, NULL), SOREX_INVALID);
    }
}

static void test_offsets(void **unused)
{
    (void)unused;
    static const struct {
        const char *text, *want;
    } cases[] = {{"[1,\"a\xff\"]", "byte 5:"},
                 {"{\"a\":\"\xc3\xa9\x01\"}", "byte 8:"},
                 {"[\"\\\"\", \"b]", "byte 7:"},
                 {"[1 2]", "byte 3:"},
                 {"  ", "byte 2:"},
                 {"[\"\\x\"]", "byte 3:"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_doc doc;
        struct sorex_error err = {0};
        assert_int_equal(json_parse(parser, bytes_str(cases[i].text), &doc, &err), SOREX_INVALID);
        if (strstr(err.text, cases[i].want) == NULL)
            fail_msg("%s: %s", cases[i].text, err.text);
    }
}

/* Every name is found, in small objects and in sorted ones, and no other. */
static void test_member(void **unused)
{
    (void)unused;
    struct buf text = {0};
    for (int members = 0; members < 64; members++) {
        buf_reset(&text);
        assert_int_equal(buf_append_str(&text, "[{\"z\":{\"y\":1}},{", NULL), SOREX_OK);
        for (int i = 0; i < members; i++)
            assert_int_equal(buf_printf(&text, NULL, "%s\"n%d\":%d", i == 0 ? "" : ",", i * 37 % 64, i), SOREX_OK);
        assert_int_equal(buf_append_str(&text, "}]", NULL), SOREX_OK);
        struct json_doc doc;
        assert_int_equal(json_parse(parser, buf_view(&text), &doc, NULL), SOREX_OK);
        const struct json_node *object = json_next(&doc, json_first(&doc, &doc.nodes[0]));
        for (int i = 0; i < 64; i++) {
            char name[8];
            uint64_t value;
            (void)snprintf(name, sizeof name, "n%d", i * 37 % 64);
            const struct json_node *member = json_member(&doc, object, name);
            assert_int_equal(member != NULL, i < members);
            if (member != NULL)
                assert_true(json_u64(member, &value) && value == (uint64_t)i);
        }
    }
    buf_deinit(&text);
}

/* After a large text the parser lets memory go and reads on; nodes of the next text are its own. */
static void test_large_then_small(void **unused)
{
    (void)unused;
    struct buf text = {0};
    assert_int_equal(buf_append_str(&text, "[0", NULL), SOREX_OK);
    for (int i = 0; i < 2000000; i++)
        assert_int_equal(buf_append_str(&text, ",1", NULL), SOREX_OK);
    assert_int_equal(buf_append_str(&text, "]", NULL), SOREX_OK);
    for (int round = 0; round < 2; round++) {
        struct json_doc doc;
        assert_int_equal(json_parse(parser, buf_view(&text), &doc, NULL), SOREX_OK);
        assert_int_equal(doc.nodes[0].children, 2000001);
        assert_int_equal(json_parse(parser, bytes_str("{\"a\":[1]}"), &doc, NULL), SOREX_OK);
        assert_int_equal(doc.count, 3);
    }
    buf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_reference), cmocka_unit_test(test_touching),
                                       cmocka_unit_test(test_offsets), cmocka_unit_test(test_member),
                                       cmocka_unit_test(test_large_then_small)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
