/* What becomes of a configuration in YAML when a guest gets it as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/config_json.h"

static void is(const char *yaml, const char *json)
{
    struct sorex_error err;
    struct config_node *root;
    struct json_parser *parser;
    struct buf out = {0};
    if (config_parse(bytes_str(yaml), "test", &root, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    assert_int_equal(json_parser_new(&parser, &err), SOREX_OK);
    if (config_json(root, parser, &out, &err) != SOREX_OK)
        fail_msg("%s: %s", yaml, err.text);
    if (!bytes_is(buf_view(&out), json))
        fail_msg("%s: %.*s and not %s", yaml, BYTES_FMT(buf_view(&out)), json);
    buf_deinit(&out);
    json_parser_free(parser);
    config_free(root);
}

static void test_values(void **unused)
{
    (void)unused;
    is("{}", "{}");
    is("{a: [], b: {}}", "{\"a\":[],\"b\":{}}");
    is("{b: 1, a: -1.50e3, c: 18446744073709551616}", "{\"b\":1,\"a\":-1.50e3,\"c\":18446744073709551616}");
    is("{a: true, b: false, c: null, d: ~, e: }", "{\"a\":true,\"b\":false,\"c\":null,\"d\":null,\"e\":null}");
    is("{a: yes, b: '1', c: \"true\", d: 01, e: 1_0, f: \"\"}",
       "{\"a\":\"yes\",\"b\":\"1\",\"c\":\"true\",\"d\":\"01\",\"e\":\"1_0\",\"f\":\"\"}");
    is("{a: 'quote\"', b: a\\b}", "{\"a\":\"quote\\\"\",\"b\":\"a\\\\b\"}");
    is("columns:\n  - email\n  - {x: [1, [2, []], 3]}\nlast: {y: {z: 1}}\n",
       "{\"columns\":[\"email\",{\"x\":[1,[2,[]],3]}],\"last\":{\"y\":{\"z\":1}}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
