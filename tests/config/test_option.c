#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/node.h"
#include "config/option.h"

struct settings {
    char guard_before[8];
    char *url;
    char *path;
    char *name;
    bool durable;
    uint32_t threads;
    uint64_t fuel;
    uint64_t cache;
    uint32_t wait_ms;
    int mode;
    const struct config_node *columns;
};

enum mode { MODE_UPSERT, MODE_LOG };
static const char *const modes[] = {"upsert", "log", NULL};

#define FIELD(name) offsetof(struct settings, name)

static const struct option options[] = {
    {.name = "url", .type = OPTION_STRING, .offset = FIELD(url), .required = true, .text = "where it is"},
    {.name = "path", .type = OPTION_PATH, .offset = FIELD(path), .fallback = "out/x", .text = "file to write"},
    {.name = "name", .type = OPTION_STRING, .offset = FIELD(name), .text = "name"},
    {.name = "durable", .type = OPTION_BOOL, .offset = FIELD(durable), .fallback = "true", .text = "sync"},
    {.name = "threads",
     .type = OPTION_U32,
     .offset = FIELD(threads),
     .fallback = "4",
     .min = 1,
     .max = 64,
     .text = "threads"},
    {.name = "fuel", .type = OPTION_U64, .offset = FIELD(fuel), .text = "fuel"},
    {.name = "cache",
     .type = OPTION_BYTES,
     .offset = FIELD(cache),
     .fallback = "256 MiB",
     .min = 1 << 20,
     .text = "cache"},
    {.name = "wait", .type = OPTION_MS, .offset = FIELD(wait_ms), .fallback = "2s", .max = 60000, .text = "wait"},
    {.name = "mode",
     .type = OPTION_ENUM,
     .offset = FIELD(mode),
     .fallback = "upsert",
     .choices = modes,
     .text = "how rows arrive"},
    {.name = "columns", .type = OPTION_NODE, .offset = FIELD(columns), .text = "columns"},
    {.name = NULL},
};

/* Reads the document at "sinks[0]"; the node stays alive in *out_root. */
static enum sorex_status read_text(const char *text, struct settings *settings, struct config_node **out_root,
                                   struct sorex_error *err)
{
    struct config_node *root = NULL;
    assert_int_equal(config_parse(bytes_str(text), "p.yaml", &root, err), SOREX_OK);
    enum sorex_status status = options_read(options, root, "sinks[0]", "/base", settings, err);
    if (out_root != NULL)
        *out_root = root;
    else
        config_free(root);
    return status;
}

static void refused(const char *text, const char *message)
{
    struct settings settings = {.url = NULL};
    struct sorex_error err = {.text = ""};
    assert_int_equal(read_text(text, &settings, NULL, &err), SOREX_INVALID);
    assert_string_equal(err.text, message);
    assert_null(settings.url); /* nothing is left to free */
    assert_null(settings.path);
    assert_null(settings.name);
}

static void defaults_then_file(void **state)
{
    (void)state;
    struct settings settings = {.guard_before = "guard"};
    struct sorex_error err;
    assert_int_equal(read_text("url: \"\"\n", &settings, NULL, &err), SOREX_OK);
    assert_string_equal(settings.url, "");
    assert_string_equal(settings.path, "/base/out/x");
    assert_null(settings.name);
    assert_true(settings.durable);
    assert_int_equal(settings.threads, 4);
    assert_int_equal(settings.fuel, 0);
    assert_int_equal(settings.cache, 256 << 20);
    assert_int_equal(settings.wait_ms, 2000);
    assert_int_equal(settings.mode, MODE_UPSERT);
    assert_null(settings.columns);
    assert_string_equal(settings.guard_before, "guard");
    options_free(options, &settings);
    assert_null(settings.url);

    struct config_node *root = NULL;
    assert_int_equal(
        read_text("url: tcp://x\npath: /abs/y\nname: '7'\ndurable: no\nthreads: 64\nfuel: 18446744073709551615\n"
                  "cache: \"1GB\"\nwait: 1m\nmode: log\ncolumns:\n  a: 1\n",
                  &settings, &root, &err),
        SOREX_OK);
    assert_string_equal(settings.url, "tcp://x");
    assert_string_equal(settings.path, "/abs/y");
    assert_string_equal(settings.name, "7");
    assert_false(settings.durable);
    assert_int_equal(settings.threads, 64);
    assert_int_equal(settings.fuel, UINT64_MAX);
    assert_int_equal(settings.cache, 1000000000);
    assert_int_equal(settings.wait_ms, 60000);
    assert_int_equal(settings.mode, MODE_LOG);
    assert_ptr_equal(settings.columns, config_get(root, "columns"));
    options_free(options, &settings);
    options_free(options, &settings); /* twice does no harm */
    config_free(root);
}

static void null_means_absent(void **state)
{
    (void)state;
    struct settings settings = {.url = NULL};
    struct sorex_error err;
    assert_int_equal(read_text("url: x\nthreads:\nname: ~\ncolumns: null\n", &settings, NULL, &err), SOREX_OK);
    assert_int_equal(settings.threads, 4);
    assert_null(settings.name);
    assert_null(settings.columns);
    options_free(options, &settings);
    refused("name: a\nurl: ~\n", "p.yaml:1: sinks[0].url is missing: where it is");
}

static void bad_keys_and_values_name_their_line(void **state)
{
    (void)state;
    refused("url: x\n\nthread: 3\n", "p.yaml:3: unknown key \"thread\" in sinks[0] (did you mean \"threads\"?)");
    refused("url: x\nwhatever: 3\n", "p.yaml:2: unknown key \"whatever\" in sinks[0] "
                                     "(known: url, path, name, durable, threads, fuel, cache, wait, mode, columns)");
    refused("{}\n", "p.yaml:1: sinks[0].url is missing: where it is");
    refused("- url\n", "p.yaml:1: sinks[0]: must be a mapping (name: value), not a list");
    refused("text\n", "p.yaml:1: sinks[0]: must be a mapping (name: value), not text");
    refused("url: [a]\n", "p.yaml:1: sinks[0].url: must be one value, not a list");
    refused("url: {a: b}\n", "p.yaml:1: sinks[0].url: must be one value, not a mapping");
    refused("name: n\npath: ''\n", "p.yaml:2: sinks[0].path: the path is empty");
    refused("durable: maybe\n", "p.yaml:1: sinks[0].durable: \"maybe\" is neither true nor false");
    refused("durable: \"true\"\n", "p.yaml:1: sinks[0].durable: \"true\" is quoted: write it without quotes");
    refused("threads: '4'\n", "p.yaml:1: sinks[0].threads: \"4\" is quoted: write it without quotes");
    refused("threads: 0\n", "p.yaml:1: sinks[0].threads: 0 is not between 1 and 64");
    refused("threads: 65\n", "p.yaml:1: sinks[0].threads: 65 is not between 1 and 64");
    refused("threads: 010\n", "p.yaml:1: sinks[0].threads: \"010\" is not a whole number");
    refused("fuel: -1\n", "p.yaml:1: sinks[0].fuel: \"-1\" is not a whole number");
    refused("cache: 64M\n", "p.yaml:1: sinks[0].cache: \"64M\" is not a size such as 4096, 64 KiB, 64 MiB or 1 GB");
    refused("cache: 1 KiB\n", "p.yaml:1: sinks[0].cache: 1 KiB is not at least 1 MiB");
    refused("wait: soon\n",
            "p.yaml:1: sinks[0].wait: \"soon\" is not a time such as 250 (milliseconds), 500ms, 2s or 1m");
    refused("wait: 2m\n", "p.yaml:1: sinks[0].wait: 2m is not between 0ms and 1m");
    refused("mode: lgo\n", "p.yaml:1: sinks[0].mode: \"lgo\" is none of upsert, log (did you mean \"log\"?)");
    refused("mode: append-only\n", "p.yaml:1: sinks[0].mode: \"append-only\" is none of upsert, log");
    refused("columns: 5\n", "p.yaml:1: sinks[0].columns: must be a mapping or a list, not \"5\"");
}

static void without_a_document(void **state)
{
    (void)state;
    struct settings settings = {.url = NULL};
    struct sorex_error err;
    assert_int_equal(options_read(options, NULL, "sink", "/base", &settings, &err), SOREX_INVALID);
    assert_string_equal(err.text, "sink.url is missing: where it is");
    assert_int_equal(options_read(options + 1, NULL, "", NULL, &settings, &err), SOREX_OK);
    assert_string_equal(settings.path, "out/x");
    options_free(options, &settings);
    static const struct option none[] = {{.name = NULL}};
    struct config_node *root = NULL;
    assert_int_equal(config_parse(bytes_str("a: 1\n"), "p.yaml", &root, &err), SOREX_OK);
    assert_int_equal(options_read(none, root, "", NULL, &settings, &err), SOREX_INVALID);
    assert_string_equal(err.text, "p.yaml:1: unknown key \"a\" (known: none)");
    config_free(root);
}

static void the_number_types_end_where_their_fields_do(void **state)
{
    (void)state;
    static const struct option bare[] = {
        {.name = "threads", .type = OPTION_U32, .offset = FIELD(threads), .text = "t"},
        {.name = "wait", .type = OPTION_MS, .offset = FIELD(wait_ms), .text = "t"},
        {.name = NULL},
    };
    struct settings settings = {.url = NULL};
    struct sorex_error err;
    assert_int_equal(option_set(&bare[0], bytes_str("4294967295"), "w", NULL, &settings, &err), SOREX_OK);
    assert_int_equal(settings.threads, UINT32_MAX);
    assert_int_equal(option_set(&bare[0], bytes_str("4294967296"), "w", NULL, &settings, &err), SOREX_INVALID);
    assert_string_equal(err.text, "w: 4294967296 is not between 0 and 4294967295");
    assert_int_equal(settings.threads, UINT32_MAX);
    assert_int_equal(option_set(&bare[1], bytes_str("50d"), "w", NULL, &settings, &err), SOREX_INVALID);
    assert_int_equal(settings.wait_ms, 0);
}

static void flags_replace_what_is_there(void **state)
{
    (void)state;
    struct settings settings = {.url = NULL};
    struct sorex_error err;
    const struct option *url = option_find(options, "url");
    const struct option *path = option_find(options, "path");
    assert_non_null(url);
    assert_null(option_find(options, "ur"));
    assert_int_equal(option_set(url, bytes_str("one"), "--url", NULL, &settings, &err), SOREX_OK);
    assert_int_equal(option_set(url, bytes_of("two!", 3), "--url", NULL, &settings, &err), SOREX_OK);
    assert_string_equal(settings.url, "two");
    assert_int_equal(option_set(url, bytes_of("a\0b", 3), "--url", NULL, &settings, &err), SOREX_INVALID);
    assert_string_equal(err.text, "--url: the text holds a NUL character");
    assert_string_equal(settings.url, "two");
    static const struct {
        const char *base, *text, *wanted;
    } paths[] = {
        {"/base", "a/b", "/base/a/b"}, {"/base/", "a", "/base/a"}, {".", "a", "a"},  {"", "a", "a"}, {NULL, "a", "a"},
        {"/base", "/a", "/a"},         {"rel", "a", "rel/a"},      {"/", "a", "/a"},
        {"/base", "-", "-"},           {"/base", "./-", "/base/./-"},
    };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_int_equal(option_set(path, bytes_str(paths[i].text), "--path", paths[i].base, &settings, &err),
                         SOREX_OK);
        assert_string_equal(settings.path, paths[i].wanted);
    }
    assert_int_equal(option_set(option_find(options, "columns"), bytes_str("x"), "--columns", NULL, &settings, &err),
                     SOREX_INVALID);
    assert_string_equal(err.text, "--columns: is a section; it can only be set in the pipeline file");
    options_free(options, &settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_then_file),
        cmocka_unit_test(null_means_absent),
        cmocka_unit_test(bad_keys_and_values_name_their_line),
        cmocka_unit_test(without_a_document),
        cmocka_unit_test(the_number_types_end_where_their_fields_do),
        cmocka_unit_test(flags_replace_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
