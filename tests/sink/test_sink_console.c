/* What the console sink writes, and the list of sink types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <unistd.h>

#include "sink/console.h"

static struct sorex_error err;

static const char raw[] = "{\"header\":{},\"payload\":\n "
                          "{\"operation\":\"update\",\"table\":\"t\",\"key\":\"a\\u001b[2J\",\"before\":{\"v\":1},"
                          "\"after\":{\"v\": 2}}}";

/* Applies one change with standard output going to a file, whose content comes back. */
static enum sorex_status written(int pretty, bool undo, int output, char *out, size_t size)
{
    struct json_parser *parser;
    struct arena arena;
    struct sink_change change = {.height = 7, .undo = undo};
    struct console_settings settings = {.pretty = pretty};
    struct sink_context context = {.name = "console", .pipeline = "test", .base_dir = "."};
    struct sink *sink;
    arena_init(&arena, 0);
    assert_int_equal(json_parser_new(&parser, &err), SOREX_OK);
    assert_int_equal(change_parse(parser, bytes_str(raw), &arena, &change.change, &err), SOREX_OK);
    assert_int_equal(sink_console.open(&settings, &context, &sink, &err), SOREX_OK);
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(fflush(stdout), 0);
    int before = dup(STDOUT_FILENO);
    assert_true(before >= 0);
    assert_true(dup2(output >= 0 ? output : fileno(file), STDOUT_FILENO) >= 0);
    struct sink_batch batch = {.changes = &change, .count = 1, .cursor = {.sequence = 1}};
    enum sorex_status status = sink_console.apply(sink, &batch, &err);
    assert_true(dup2(before, STDOUT_FILENO) >= 0);
    assert_int_equal(close(before), 0);
    sink_console.close(sink);
    json_parser_free(parser);
    arena_deinit(&arena);
    rewind(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    assert_int_equal(fclose(file), 0);
    return status;
}

static void json_lines(void **state)
{
    (void)state;
    char text[512];
    assert_int_equal(written(CONSOLE_OFF, false, -1, text, sizeof text), SOREX_OK);
    assert_string_equal(text, "{\"header\":{},\"payload\":  "
                              "{\"operation\":\"update\",\"table\":\"t\",\"key\":\"a\\u001b[2J\",\"before\":{\"v\":1},"
                              "\"after\":{\"v\": 2}}}\n");
    /* A file is no terminal. */
    char automatic[512];
    assert_int_equal(written(CONSOLE_AUTO, false, -1, automatic, sizeof automatic), SOREX_OK);
    assert_string_equal(automatic, text);
}

static void pretty_lines_cannot_steer_the_terminal(void **state)
{
    (void)state;
    char text[512];
    assert_int_equal(written(CONSOLE_ON, false, -1, text, sizeof text), SOREX_OK);
    assert_string_equal(text, "       7        update  \"t\" \"a\\u001b[2J\"  {\"v\": 2}\n");
    assert_int_equal(written(CONSOLE_ON, true, -1, text, sizeof text), SOREX_OK);
    assert_string_equal(text, "       7  undo  update  \"t\" \"a\\u001b[2J\"  {\"v\": 2}\n");
}

static void a_closed_pipe_is_an_error(void **state)
{
    (void)state;
    char text[512];
    FILE *unwritable = fopen("/dev/null", "r");
    assert_non_null(unwritable);
    assert_int_equal(written(CONSOLE_OFF, false, fileno(unwritable), text, sizeof text), SOREX_IO);
    assert_non_null(strstr(err.text, "standard output"));
    assert_int_equal(fclose(unwritable), 0);
}

/* Puts a file in the place of a descriptor; returns what was there. */
static int redirected(int fd, FILE *file)
{
    int before = dup(fd);
    assert_true(before >= 0);
    assert_true(dup2(fileno(file), fd) >= 0);
    return before;
}

static void restored(int fd, int before, FILE *file, char *out, size_t size)
{
    assert_true(dup2(before, fd) >= 0);
    assert_int_equal(close(before), 0);
    rewind(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    assert_int_equal(fclose(file), 0);
}

/* Texts of another envelope as they are, tombstones, and dead letters elsewhere; pretty changes nothing of it. */
static void a_stream(void **state)
{
    (void)state;
    struct sink_change changes[] = {{.change.raw = bytes_str("{\"op\":\n\"insert\"}")}, {.sequence = 2}};
    struct sink_dead dead = {.partition = "-", .number = 3, .event = bytes_str("x"), .error = "no event"};
    struct sink_position moved = {.partition = "-", .first = true, .to = {.offset = 9}};
    struct sink_batch batch = {
        .changes = changes, .count = 2, .positions = &moved, .position_count = 1, .dead = &dead, .dead_count = 1};
    for (int pretty = CONSOLE_ON; pretty <= CONSOLE_OFF; pretty++) {
        struct console_settings settings = {.pretty = pretty};
        struct sink_context context = {.name = "console", .pipeline = "test", .base_dir = ".", .stream = true};
        struct sink *sink;
        char lines[256];
        char letters[256];
        assert_int_equal(sink_console.open(&settings, &context, &sink, &err), SOREX_OK);
        FILE *out = tmpfile();
        FILE *errors = tmpfile();
        assert_true(out != NULL && errors != NULL);
        assert_int_equal(fflush(NULL), 0);
        int out_before = redirected(STDOUT_FILENO, out);
        int errors_before = redirected(STDERR_FILENO, errors);
        enum sorex_status status = sink_console.apply(sink, &batch, &err);
        restored(STDOUT_FILENO, out_before, out, lines, sizeof lines);
        restored(STDERR_FILENO, errors_before, errors, letters, sizeof letters);
        sink_console.close(sink);
        assert_int_equal(status, SOREX_OK);
        assert_string_equal(lines, "{\"op\": \"insert\"}\nnull\n");
        assert_string_equal(letters, "{\"partition\":\"-\",\"number\":3,\"error\":\"no event\",\"event\":\"x\"}\n");
    }
}

static void every_type_is_found_and_complete(void **state)
{
    (void)state;
    size_t count = 0;
    for (; sink_types[count] != NULL; count++) {
        const struct sink_type *type = sink_types[count];
        assert_ptr_equal(sink_type_find(type->name), type);
        assert_true(type->summary != NULL && type->options != NULL && type->open != NULL && type->close != NULL);
        assert_true(type->apply != NULL && (type->cursor != NULL) == type->holds_cursor);
        /* The embedded database refuses streams: test_sink_database. */
        bool positions = type->holds_cursor && strcmp(type->name, "database") != 0;
        assert_true((type->position != NULL) == positions);
        for (const struct option *option = type->options; option->name != NULL; option++)
            assert_non_null(option->text);
    }
    assert_int_equal(count, 6);
    assert_null(sink_type_find("postgresql"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines),
        cmocka_unit_test(pretty_lines_cannot_steer_the_terminal),
        cmocka_unit_test(a_closed_pipe_is_an_error),
        cmocka_unit_test(a_stream),
        cmocka_unit_test(every_type_is_found_and_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
