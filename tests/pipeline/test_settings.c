/* Pipeline files: the tables against the structs that they fill, and what flags and environment may say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "pipeline/settings.h"

static size_t value_size(enum option_type type)
{
    switch (type) {
    case OPTION_BOOL:
        return sizeof(bool);
    case OPTION_U32:
    case OPTION_MS:
        return sizeof(uint32_t);
    case OPTION_U64:
    case OPTION_BYTES:
        return sizeof(uint64_t);
    case OPTION_STRING:
    case OPTION_PATH:
        return sizeof(char *);
    case OPTION_ENUM:
        return sizeof(int);
    case OPTION_NODE:
        return sizeof(struct config_node *);
    }
    return SIZE_MAX;
}

static void check_fits(const char *type, const struct option *options, size_t size)
{
    for (; options->name != NULL; options++)
        if (options->offset + value_size(options->type) > size)
            fail_msg("%s: option %s lies outside of the %zu bytes of its settings", type, options->name, size);
}

static void options_lie_within_their_settings(void **state)
{
    (void)state;
    for (size_t i = 0; source_types[i] != NULL; i++)
        check_fits(source_types[i]->name, source_types[i]->options, source_types[i]->settings_size);
    for (size_t i = 0; sink_types[i] != NULL; i++)
        check_fits(sink_types[i]->name, sink_types[i]->options, sink_types[i]->settings_size);
    check_fits("top", pipeline_options, sizeof(struct pipeline_scalars));
    check_fits("indexer", indexer_options_table, sizeof(struct program_settings));
    check_fits("transform", transform_options_table, sizeof(struct program_settings));
    check_fits("sink", sink_common_options, sizeof(struct sink_settings));
}

/* Reads a pipeline of this text; the caller gives the settings back. */
static enum sorex_status read_text(const char *text, struct pipeline_override *overrides, size_t count,
                                   struct pipeline_settings *out, struct sorex_error *err)
{
    char path[] = "/tmp/sorex-test-settings-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(close(fd), 0);
    enum sorex_status status = pipeline_settings_read(path, overrides, count, out, err);
    assert_int_equal(unlink(path), 0);
    return status;
}

#define START "data: d\nsource: {type: blockfiles, path: x}\nindexer: {wasm: i}\n"

static void flags_win_over_environment_over_file(void **state)
{
    (void)state;
    struct pipeline_settings s;
    struct sorex_error err = {0};
    struct pipeline_override overrides[] = {{.path = "sinks.b.finality", .value = "3"},
                                            {.path = "indexer.fuel", .value = "5"}};
    assert_int_equal(setenv("SOREX_SINKS_A_FINALITY", "2", 1), 0);
    assert_int_equal(setenv("SOREX_SINKS_B_FINALITY", "2", 1), 0);
    const char *text =
        START "finality: 1\nsinks: [{name: a, type: file, path: p}, {name: b, type: file, path: q}, {type: console}]\n";
    assert_int_equal(read_text(text, overrides, 2, &s, &err), SOREX_OK);
    assert_int_equal(s.sinks[0].finality, 2);
    assert_int_equal(s.sinks[1].finality, 3);
    assert_int_equal(s.sinks[2].finality, 1);
    assert_string_equal(s.sinks[2].name, "console");
    assert_int_equal(s.indexer.limits.fuel, 5);
    pipeline_settings_deinit(&s);
    assert_int_equal(unsetenv("SOREX_SINKS_A_FINALITY"), 0);
    assert_int_equal(unsetenv("SOREX_SINKS_B_FINALITY"), 0);
}

static void check_refused(const char *text, const char *flag, const char *wanted)
{
    struct pipeline_settings s;
    struct sorex_error err = {0};
    struct pipeline_override override = {.path = flag, .value = "1"};
    assert_int_equal(read_text(text, &override, flag != NULL, &s, &err), SOREX_INVALID);
    pipeline_settings_deinit(&s);
    if (strstr(err.text, wanted) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", wanted, err.text);
}

static void refuses_with_the_nearest_name(void **state)
{
    (void)state;
    check_refused(START, "sinks.pg.url", "no setting \"sinks.pg.url\" in this pipeline");
    check_refused(START, "indexer.feul", "did you mean \"indexer.fuel\"?");
    check_refused(START "sink: {type: file, path: p}\n", "sinks.file.finalty", "did you mean \"sinks.file.finality\"?");
    check_refused(START "sink: {type: file, path: p}\n", "sinks.file.type", "no setting \"sinks.file.type\"");
    check_refused(START "sink: {type: file, path: p, name: [a]}\n", NULL,
                  "sinks.file.name: must be one value, not a list");
    check_refused(START "sink: {type: file, path: p, finalty: 1}\n", NULL, "did you mean \"finality\"?");
    check_refused(START "sink: {type: file, path: p, finality: x}\n", NULL, ":4: sinks.file.finality");
    check_refused(START "sinks: [{type: console}, {type: console}]\n", NULL, "two sinks have the name \"console\"");
}

/* The words are the envelopes' names behind "default": a sink of rows takes the change only. */
static void a_sinks_envelope(void **state)
{
    (void)state;
    struct pipeline_settings s;
    struct sorex_error err = {0};
    assert_string_equal(sink_envelope_words[0], "default");
    for (size_t i = 0; envelope_names[i] != NULL || sink_envelope_words[i + 1] != NULL; i++)
        assert_string_equal(sink_envelope_words[i + 1], envelope_names[i]);
    const char *text = START "sinks: [{type: file, path: p, envelope: debezium}, {type: console},"
                             " {type: postgres, url: x, envelope: change}]\n";
    assert_int_equal(read_text(text, NULL, 0, &s, &err), SOREX_OK);
    assert_ptr_equal(s.sinks[0].envelope, envelope_find("debezium"));
    assert_null(s.sinks[1].envelope);
    assert_ptr_equal(s.sinks[2].envelope, envelope_find("change"));
    pipeline_settings_deinit(&s);
    check_refused(START "sink:\n  type: postgres\n  url: x\n  envelope: debezium\n", NULL,
                  ":7: envelope: a sink of type postgres writes rows, so it takes changes, not \"debezium\"");
    check_refused(START "sink: {type: file, path: p, envelope: debezum}\n", NULL, "debezium");
}

int main(void)
{
    log_level_set(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_lie_within_their_settings),
        cmocka_unit_test(flags_win_over_environment_over_file),
        cmocka_unit_test(refuses_with_the_nearest_name),
        cmocka_unit_test(a_sinks_envelope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
