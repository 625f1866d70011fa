#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/node.h"

static struct config_node *parse(const char *text)
{
    struct config_node *root = NULL;
    struct sorex_error err = {.text = ""};
    if (config_parse(bytes_str(text), "p.yaml", &root, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    assert_non_null(root);
    return root;
}

/* The document is refused with exactly this text, or, when it ends in "...", with a text that begins so. */
static void refused(struct bytes text, enum sorex_status status, const char *message)
{
    struct config_node *root = (struct config_node *)&status; /* must become NULL */
    struct sorex_error err = {.text = ""};
    assert_int_equal(config_parse(text, "p.yaml", &root, &err), status);
    assert_null(root);
    size_t len = strlen(message);
    if (len > 3 && strcmp(message + len - 3, "...") == 0)
        err.text[len - 3 < sizeof err.text ? len - 3 : 0] = '\0', len -= 3;
    char wanted[SOREX_ERROR_TEXT_MAX];
    (void)snprintf(wanted, sizeof wanted, "%.*s", (int)len, message);
    assert_string_equal(err.text, wanted);
}

static void a_document_is_a_tree_with_lines(void **state)
{
    (void)state;
    struct config_node *root = parse("# a pipeline\n"
                                     "name: demo\n"
                                     "source:\n"
                                     "  type: blocks\n"
                                     "  paths: [a, \"b c\", 'd']\n"
                                     "sinks:\n"
                                     "  - type: file\n"
                                     "    path: out.jsonl\n"
                                     "  - {type: console}\n");
    assert_int_equal(root->kind, CONFIG_MAPPING);
    assert_string_equal(root->file, "p.yaml");
    const struct config_node *name = config_get(root, "name");
    assert_string_equal(name->text, "demo");
    assert_string_equal(name->key, "name");
    assert_int_equal(name->line, 2);
    assert_int_equal(name->column, 7);
    assert_false(name->quoted);
    const struct config_node *paths = config_get(config_get(root, "source"), "paths");
    assert_int_equal(paths->kind, CONFIG_LIST);
    assert_string_equal(paths->first->text, "a");
    assert_string_equal(paths->first->next->text, "b c");
    assert_true(paths->first->next->quoted);
    assert_true(paths->first->next->next->quoted);
    assert_null(paths->first->next->next->next);
    assert_null(paths->first->key);
    const struct config_node *sinks = config_get(root, "sinks");
    assert_int_equal(sinks->first->line, 7);
    assert_int_equal(config_get(sinks->first, "path")->line, 8);
    assert_string_equal(config_get(sinks->first->next, "type")->text, "console");
    assert_null(config_get(root, "nothing"));
    assert_null(config_get(name, "name"));
    assert_null(config_get(NULL, "name"));
    config_free(root);
}

static void json_is_yaml(void **state)
{
    (void)state;
    struct config_node *root =
        parse("{\"a\": {\"b\": [1, true, null, \"null\", \"\\u00e4\\n\"]},\n\t\"c\": {}, \"d\": []}\n");
    const struct config_node *item = config_get(config_get(root, "a"), "b")->first;
    assert_string_equal(item->text, "1");
    assert_false(item->quoted);
    item = item->next->next;
    assert_true(config_is_null(item));
    item = item->next;
    assert_false(config_is_null(item));
    assert_string_equal(item->next->text, "\xc3\xa4\n");
    assert_int_equal(config_get(root, "c")->kind, CONFIG_MAPPING);
    assert_null(config_get(root, "c")->first);
    assert_int_equal(config_get(root, "d")->kind, CONFIG_LIST);
    config_free(root);
}

static void null_is_unquoted(void **state)
{
    (void)state;
    struct config_node *root = parse("a: ~\nb: null\nc:\nd: ''\ne: \"null\"\nf: nil\ng: []\nh: !!str\n");
    static const char *const nulls[] = {"a", "b", "c"};
    static const char *const values[] = {"d", "e", "f", "g", "h"};
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++)
        assert_true(config_is_null(config_get(root, nulls[i])));
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        assert_false(config_is_null(config_get(root, values[i])));
    assert_int_equal(config_get(root, "c")->line, 3); /* where its key is */
    config_free(root);
}

static void block_text_is_a_string(void **state)
{
    (void)state;
    struct config_node *root =
        parse("a: |\n  one\n  two\nb: >-\n  three\n  four\n!!str c: !!str 5\nd: !!map {}\ne: !!seq []\n");
    assert_string_equal(config_get(root, "a")->text, "one\ntwo\n");
    assert_true(config_get(root, "a")->quoted);
    assert_string_equal(config_get(root, "b")->text, "three four");
    assert_true(config_get(root, "c")->quoted);
    config_free(root);
}

static void a_byte_order_mark_and_crlf_are_fine(void **state)
{
    (void)state;
    struct config_node *root = parse("\xef\xbb\xbf"
                                     "a: 1\r\nb: 2\r\n");
    assert_string_equal(config_get(root, "a")->text, "1");
    assert_int_equal(config_get(root, "b")->line, 2);
    config_free(root);
}

static void what_yaml_allows_and_we_do_not(void **state)
{
    (void)state;
    refused(bytes_str("a: 1\nb: 2\n\"a\": 3\n"), SOREX_INVALID, "p.yaml:3:1: duplicate key \"a\", first at line 1");
    refused(bytes_str("x:\n  a: {k: 1, k: 2}\n"), SOREX_INVALID, "p.yaml:2:13: duplicate key \"k\", first at line 2");
    refused(bytes_str("a: &x 1\n"), SOREX_INVALID, "p.yaml:1:4: anchors (&x) are not supported: write the value out");
    refused(bytes_str("a: &m {b: 1}\n"), SOREX_INVALID,
            "p.yaml:1:4: anchors (&m) are not supported: write the value out");
    refused(bytes_str("a: &l [b]\n"), SOREX_INVALID, "p.yaml:1:4: anchors (&l) are not supported: write the value out");
    refused(bytes_str("&k a: 1\n"), SOREX_INVALID, "p.yaml:1:1: anchors (&k) are not supported: write the value out");
    refused(bytes_str("a: *x\n"), SOREX_INVALID, "p.yaml:1:4: aliases (*x) are not supported: write the value out");
    refused(bytes_str("<<: *x\n"), SOREX_INVALID, "p.yaml:1:5: aliases (*x) are not supported: write the value out");
    refused(bytes_str("a: !!int 5\n"), SOREX_INVALID,
            "p.yaml:1:4: tags (tag:yaml.org,2002:int) are not supported: write the plain value");
    refused(bytes_str("a: !env HOME\n"), SOREX_INVALID,
            "p.yaml:1:4: tags (!env) are not supported: write the plain value");
    refused(bytes_str("a: !x {}\n"), SOREX_INVALID, "p.yaml:1:4: tags (!x) are not supported: write the plain value");
    refused(bytes_str("a: !x []\n"), SOREX_INVALID, "p.yaml:1:4: tags (!x) are not supported: write the plain value");
    refused(bytes_str("%TAG ! tag:x,2000:\n---\na: 1\n"), SOREX_INVALID,
            "p.yaml:1:1: %TAG directives are not supported");
    refused(bytes_str("a: 1\n---\nb: 2\n"), SOREX_INVALID,
            "p.yaml:2:1: a second document begins here: one file is one document");
    refused(bytes_str("? {a: 1}\n: 2\n"), SOREX_INVALID, "p.yaml:1:3: a key must be text, not a mapping");
    refused(bytes_str("? [a]\n: 2\n"), SOREX_INVALID, "p.yaml:1:3: a key must be text, not a list");
    refused(bytes_str("a: \"x\\0y\"\n"), SOREX_INVALID, "p.yaml:1:4: a value holds a NUL character");
    refused(bytes_str("\"x\\0y\": 1\n"), SOREX_INVALID, "p.yaml:1:1: a value holds a NUL character");
}

static void what_is_no_yaml(void **state)
{
    (void)state;
    refused(bytes_str(""), SOREX_INVALID, "p.yaml:1:1: the file is empty");
    refused(bytes_of(NULL, 0), SOREX_INVALID, "p.yaml:1:1: the file is empty");
    refused(bytes_str("# only a comment\n"), SOREX_INVALID, "p.yaml:1:1: the file is empty");
    refused(bytes_str("a: 1\n\tb: 2\n"), SOREX_INVALID,
            "p.yaml:2:1: found a tab character that violates indentation, while scanning a plain scalar that starts at "
            "line 1 "
            "(indent with spaces, not with tabs)");
    refused(bytes_str("a:\n\tb: 2\n"), SOREX_INVALID,
            "p.yaml:2:1: found character that cannot start any token, while scanning for the next token that starts at "
            "line 2 "
            "(indent with spaces, not with tabs)");
    refused(bytes_str("a: [1, 2\n"), SOREX_INVALID,
            "p.yaml:2:1: did not find expected ',' or ']', while parsing a flow sequence that starts at line 1");
    refused(bytes_str("{\"a\": 1\n"), SOREX_INVALID, "p.yaml:2:1: did not find expected ',' or '}'...");
    refused(bytes_str("a: \"x\n"), SOREX_INVALID, "p.yaml:2:1: found unexpected end of stream...");
    refused(bytes_str("a: b: c\n"), SOREX_INVALID, "p.yaml:1:5: mapping values are not allowed in this context");
    refused(bytes_str("a: 1\n  b: 2\n"), SOREX_INVALID, "p.yaml:2:4: mapping values are not allowed in this context");
    refused(bytes_str("a: 1\nb\nc: 2\n"), SOREX_INVALID, "p.yaml:3:1: could not find expected ':'...");
    refused(bytes_str("ok: 1\n\xc3\xa4: \xff\n"), SOREX_INVALID,
            "p.yaml:2:4: invalid leading UTF-8 octet (the file must be UTF-8 text)");
    refused(bytes_of("a: 1\nb: \0c\n", 11), SOREX_INVALID,
            "p.yaml:2:4: control characters are not allowed (the file must be UTF-8 text)");
    refused(bytes_of("\xff\xfe"
                     "a\0:\0",
                     6),
            SOREX_INVALID, "p.yaml:1:1: invalid leading UTF-8 octet (the file must be UTF-8 text)");
    refused(bytes_of("\x7f"
                     "ELF\2\1\1",
                     7),
            SOREX_INVALID, "p.yaml:1:1: control characters are not allowed (the file must be UTF-8 text)");
}

/* Every prefix of a document parses or is refused with a text; under ASan this also shows that nothing leaks on the way
 * out. */
static void every_torn_file_is_safe(void **state)
{
    (void)state;
    const char *text = "name: demo # c\nsource: {type: \"a\\u00e4\", l: [1, 'x', {y: z}]}\nsinks:\n  - a: |\n      t\n "
                       "   b: >\n      u\n  - &q c\n";
    for (size_t len = 0; len <= strlen(text); len++) {
        struct config_node *root = NULL;
        struct sorex_error err = {.text = ""};
        enum sorex_status status = config_parse(bytes_of(text, len), "p.yaml", &root, &err);
        assert_int_equal(status == SOREX_OK, root != NULL);
        assert_true(status == SOREX_OK || strncmp(err.text, "p.yaml:", 7) == 0);
        config_free(root);
    }
}

static struct buf repeated(const char *head, const char *text, unsigned times)
{
    struct buf buf = {.data = NULL};
    assert_int_equal(buf_append_str(&buf, head, NULL), SOREX_OK);
    for (unsigned i = 0; i < times; i++)
        assert_int_equal(buf_append_str(&buf, text, NULL), SOREX_OK);
    return buf;
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    struct config_node *root = NULL;
    struct sorex_error err;
    struct buf deep = repeated("", "[", CONFIG_DEPTH_MAX + 1);
    refused(buf_view(&deep), SOREX_LIMIT, "p.yaml:1:33: nested deeper than 32 levels");
    buf_deinit(&deep);
    deep = repeated("", "[", CONFIG_DEPTH_MAX);
    for (unsigned i = 0; i < CONFIG_DEPTH_MAX; i++)
        assert_int_equal(buf_append_str(&deep, "]", NULL), SOREX_OK);
    assert_int_equal(config_parse(buf_view(&deep), "p.yaml", &root, &err), SOREX_OK);
    config_free(root);
    buf_deinit(&deep);

    struct buf many = repeated("", "- a\n", CONFIG_NODES_MAX); /* and the list itself */
    refused(buf_view(&many), SOREX_LIMIT, "p.yaml:10000:3: more than 10000 values");
    many.len -= 4;
    assert_int_equal(config_parse(buf_view(&many), "p.yaml", &root, &err), SOREX_OK);
    config_free(root);
    buf_deinit(&many);

    struct buf large = repeated("a: ", "x", (unsigned)CONFIG_BYTES_MAX);
    refused(buf_view(&large), SOREX_LIMIT, "p.yaml is larger than 1048576 bytes");
    buf_deinit(&large);
}

static void names_survive_their_caller(void **state)
{
    (void)state;
    char name[] = "p.yaml";
    struct config_node *root = NULL;
    assert_int_equal(config_parse(bytes_str("a:\n  b: 1\n"), name, &root, NULL), SOREX_OK);
    name[0] = 'X';
    struct sorex_error err;
    const struct config_node *b = config_get(config_get(root, "a"), "b");
    assert_int_equal(config_error(&err, b, SOREX_INVALID, "%s is %d", "b", 1), SOREX_INVALID);
    assert_string_equal(err.text, "p.yaml:2: b is 1");
    config_free(root);
    config_free(NULL);
    struct config_node flag = {.file = "--data"};
    assert_int_equal(config_error(&err, &flag, SOREX_LIMIT, "no"), SOREX_LIMIT);
    assert_string_equal(err.text, "--data: no");
}

static void files_are_read(void **state)
{
    (void)state;
    char path[] = "/tmp/sorex-test-node-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a: 1\nb: [\n", 10), 10);
    struct config_node *root = NULL;
    struct sorex_error err;
    assert_int_equal(config_read_file(path, &root, &err), SOREX_INVALID);
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "%s:3:1: ", path);
    assert_memory_equal(err.text, wanted, strlen(wanted));
    assert_int_equal(ftruncate(fd, 5), 0);
    assert_int_equal(config_read_file(path, &root, &err), SOREX_OK);
    assert_string_equal(config_get(root, "a")->text, "1");
    config_free(root);
    assert_int_equal(ftruncate(fd, (off_t)CONFIG_BYTES_MAX + 1), 0);
    assert_int_equal(config_read_file(path, &root, &err), SOREX_LIMIT);
    assert_null(root);
    (void)close(fd);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(config_read_file(path, &root, &err), SOREX_IO);
    assert_null(root);
    assert_non_null(strstr(err.text, "No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_is_a_tree_with_lines),
        cmocka_unit_test(json_is_yaml),
        cmocka_unit_test(null_is_unquoted),
        cmocka_unit_test(block_text_is_a_string),
        cmocka_unit_test(a_byte_order_mark_and_crlf_are_fine),
        cmocka_unit_test(what_yaml_allows_and_we_do_not),
        cmocka_unit_test(what_is_no_yaml),
        cmocka_unit_test(every_torn_file_is_safe),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(names_survive_their_caller),
        cmocka_unit_test(files_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
