/* Where statements and commands begin and end, and what a prompt says of the place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "cli/script.h"

static struct sorex_error err;

/* What script_step says of a text, line by line: [statement] {command} and at the end of each line the place. */
static void steps_make(const char *text, struct buf *out)
{
    struct script script;
    struct bytes rest = bytes_str(text);
    script_init(&script);
    while (rest.len > 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        size_t len = end != NULL ? (size_t)(end - rest.data) : rest.len;
        struct bytes line = bytes_of(rest.data, len);
        rest = bytes_of(rest.data + len + (end != NULL), rest.len - len - (end != NULL));
        for (enum script_step step = SCRIPT_STATEMENT; step != SCRIPT_LINE_END;) {
            assert_int_equal(script_step(&script, &line, &step, &err), SOREX_OK);
            if (step == SCRIPT_STATEMENT) {
                assert_int_equal(buf_printf(out, &err, "[%.*s%s]", BYTES_FMT(buf_view(&script.statement)),
                                            script.copy == SCRIPT_COPY_STDIN ? " <" : ""),
                                 SOREX_OK);
                script_reset(&script);
            } else if (step == SCRIPT_COMMAND) {
                assert_int_equal(buf_printf(out, &err, "{%.*s}", BYTES_FMT(line)), SOREX_OK);
                line.len = 0;
            }
        }
        assert_int_equal(buf_append_u8(out, (uint8_t)script_place(&script), &err), SOREX_OK);
    }
    if (script_begun(&script))
        assert_int_equal(buf_append_str(out, "...", &err), SOREX_OK);
    script_deinit(&script);
}

static const struct {
    const char *text, *steps;
} cases[] = {
    {"select 1;", "[select 1;]="},
    {"select 1; select 2;", "[select 1;][select 2;]="},
    {"  \n\nselect 1", "==-..."},
    {"select\n 1\n;", "--[select\n 1\n;]="},
    {";", "[;]="},
    {"select ';' ;", "[select ';' ;]="},
    {"select 'it''s;\nmore';", "'[select 'it''s;\nmore';]="},
    {"select '\\';", "[select '\\';]="},
    {"select E'\\';' ;", "[select E'\\';' ;]="},
    {"select e'a\\\\';", "[select e'a\\\\';]="},
    {"select \"a;\"\"b\" ;", "[select \"a;\"\"b\" ;]="},
    {"select \"a;\nb\";", "\"[select \"a;\nb\";]="},
    {"select $$;$$ ;", "[select $$;$$ ;]="},
    {"select $x$ ; $y$ $$ $x$;", "[select $x$ ; $y$ $$ $x$;]="},
    {"select $x$\n;\n$x$;", "$$[select $x$\n;\n$x$;]="},
    {"select $1;", "[select $1;]="},
    {"select a$b$;", "[select a$b$;]="},
    {"select 1 -- ; no\n;", "-[select 1 -- ; no\n;]="},
    {"-- only\n", "-"},
    {"/* ; /* ; */ \n */ select 1;", "*[/* ; /* ; */ \n */ select 1;]="},
    {"/* a */ -- b\n", "-"},
    {"select (1;\n);", "([select (1;\n);]="},
    {"select 1);", "[select 1);]="},
    {"\\d t", "{d t}="},
    {"select 1 \\g", "{g}-..."},
    {"select '\\d';", "[select '\\d';]="},
    {"copy t from stdin;", "[copy t from stdin; <]="},
    {"COPY t (a, b) FROM STDIN with (format csv);", "[COPY t (a, b) FROM STDIN with (format csv); <]="},
    {"copy t to stdout;", "[copy t to stdout;]="},
    {"copy (select 1 from stdin) to stdout;", "[copy (select 1 from stdin) to stdout;]="},
    {"copy t from 'stdin';", "[copy t from 'stdin';]="},
    {"select copy from stdin;", "[select copy from stdin;]="},
    {"create function f() returns int begin atomic select 1; select case when true then 2 end; end;",
     "[create function f() returns int begin atomic select 1; select case when true then 2 end; end;]="},
    {"create or replace procedure p() begin atomic; end; select 2;",
     "[create or replace procedure p() begin atomic; end;][select 2;]="},
    {"begin; end;", "[begin;][end;]="},
    {"create table begin (a int); end;", "[create table begin (a int);][end;]="},
    {"select 1e5;select 'a' 'b';", "[select 1e5;][select 'a' 'b';]="},
};

static void test_steps(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf steps = {0};
        steps_make(cases[i].text, &steps);
        if (!bytes_is(buf_view(&steps), cases[i].steps))
            fail_msg("%s\n  became %.*s\n  and not %s", cases[i].text, BYTES_FMT(buf_view(&steps)), cases[i].steps);
        buf_deinit(&steps);
    }
}

/* Cut anywhere, with the rest in a next line of its own: never out of bounds, never stuck. */
static void test_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++) {
            char text[256];
            struct buf steps = {0};
            (void)snprintf(text, sizeof text, "%.*s\n%s", (int)cut, cases[i].text, cases[i].text + cut);
            steps_make(text, &steps);
            buf_deinit(&steps);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps), cmocka_unit_test(test_every_cut)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
