#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/option.h"

static const char *const modes[] = {"upsert", "log", NULL};

static const struct option options[] = {
    {.name = "url", .type = OPTION_STRING, .required = true, .text = "where it is"},
    {.name = "out", .type = OPTION_PATH, .fallback = "", .text = "a | b"},
    {.name = "sync", .type = OPTION_BOOL, .fallback = "true", .text = "sync every batch"},
    {.name = "threads", .type = OPTION_U32, .fallback = "4", .min = 1, .max = 64, .text = "threads"},
    {.name = "fuel", .type = OPTION_U64, .text = "fuel"},
    {.name = "cache", .type = OPTION_BYTES, .fallback = "256 MiB", .min = 1 << 20, .text = "cache"},
    {.name = "wait_ms", .type = OPTION_MS, .max = 60000, .required = true, .text = "wait"},
    {.name = "mode", .type = OPTION_ENUM, .fallback = "upsert", .choices = modes, .text = "how rows arrive"},
    {.name = "columns", .type = OPTION_NODE, .text = "columns"},
    {.name = NULL},
};

static void expect(enum sorex_status (*write)(const struct option *, struct buf *, struct sorex_error *),
                   const char *wanted)
{
    struct buf out = {.data = NULL};
    assert_int_equal(write(options, &out, NULL), SOREX_OK);
    assert_int_equal(buf_append_u8(&out, 0, NULL), SOREX_OK);
    assert_string_equal((const char *)out.data, wanted);
    buf_deinit(&out);
}

static void help(void **state)
{
    (void)state;
    expect(options_help, "  --url TEXT               where it is\n"
                         "  --out PATH               a | b\n"
                         "  --sync BOOL              sync every batch (default: true)\n"
                         "  --threads NUMBER         threads (1 to 64; default: 4)\n"
                         "  --fuel NUMBER            fuel\n"
                         "  --cache SIZE             cache (at least 1 MiB; default: 256 MiB)\n"
                         "  --wait-ms TIME           wait (0ms to 1m)\n"
                         "  --mode WORD              how rows arrive (upsert, log; default: upsert)\n");
}

static void markdown(void **state)
{
    (void)state;
    expect(options_markdown, "| key | type | default | values | meaning |\n|---|---|---|---|---|\n"
                             "| `url` | TEXT | required |  | where it is |\n"
                             "| `out` | PATH |  |  | a \\| b |\n"
                             "| `sync` | BOOL | `true` |  | sync every batch |\n"
                             "| `threads` | NUMBER | `4` | 1 to 64 | threads |\n"
                             "| `fuel` | NUMBER |  |  | fuel |\n"
                             "| `cache` | SIZE | `256 MiB` | at least 1 MiB | cache |\n"
                             "| `wait_ms` | TIME | required | 0ms to 1m | wait |\n"
                             "| `mode` | WORD | `upsert` | upsert, log | how rows arrive |\n"
                             "| `columns` | SECTION |  |  | columns |\n");
}

static void a_full_buffer_is_an_error(void **state)
{
    (void)state;
    for (size_t max = 1; max < 400; max += 7) {
        struct buf out;
        struct sorex_error err;
        buf_init(&out, max);
        assert_int_equal(options_help(options, &out, &err), SOREX_LIMIT);
        buf_deinit(&out);
        buf_init(&out, max);
        assert_int_equal(options_markdown(options, &out, &err), SOREX_LIMIT);
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help),
        cmocka_unit_test(markdown),
        cmocka_unit_test(a_full_buffer_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
