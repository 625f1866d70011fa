/* Contract 4 with modules that break it: those that are refused say why, the others get codes below 0 or are rejected,
 * and the database goes on. */
#include "guest/reducer_base.h"

#include <stdio.h>
#include <stdlib.h>

#include "guest/map.h"
#include "wasm/wasm.h"

static struct sorex_error err;

static enum sorex_status load(const char *text, const struct reducer_options *options, struct reducer **out)
{
    static const struct reducer_options none = {.name = "test"};
    struct buf wasm = {0};
    traps_restore();
    if (wasm_from_text(bytes_str(text), &wasm, &err) != SOREX_OK)
        fail_msg("%s: %s", text, err.text);
    enum sorex_status status = reducer_load(buf_view(&wasm), options != NULL ? options : &none, out, &err);
    buf_deinit(&wasm);
    return status;
}

#define MEMORY "(memory (export \"memory\") 1) "
#define REDUCE "(func (export \"reduce\") (result i32) (i32.const 0)) "

static void test_modules_that_are_refused(void **state)
{
    (void)state;
    static const char *const modules[][2] = {
        {"(module (import \"env\" \"abort\" (func)) " MEMORY REDUCE ")",
         "import env.abort is forbidden: a reducer may import sorex.prepare and its siblings only"},
        {"(module (import \"sorex\" \"prepar\" (func)) " MEMORY REDUCE ")", "import sorex.prepar is forbidden: *"},
        {"(module (import \"env\" \"prepare\" (func (param i32 i32) (result i32))) " MEMORY REDUCE ")",
         "import env.prepare is forbidden: *"},
        {"(module (import \"wasi_snapshot_preview1\" \"clock_time_get\" (func)) " MEMORY REDUCE ")",
         "import wasi_snapshot_preview1.clock_time_get is forbidden: *"},
        {"(module (import \"sorex\" \"step\" (func (param i64) (result i32))) " MEMORY REDUCE ")",
         "import sorex.step is a function (i64) -> i32, it has to be a function (i32) -> i32"},
        {"(module (import \"sorex\" \"step\" (global i32)) " MEMORY REDUCE ")",
         "import sorex.step is a global i32, it has to be a function (i32) -> i32"},
        {"(module (import \"env\" \"memory\" (memory 1)) " REDUCE ")", "import env.memory is forbidden: *"},
        {"(module " REDUCE ")", "missing required export memory"},
        {"(module (func (export \"memory\")) " REDUCE ")", "export memory is a function, it has to be a memory"},
        {"(module " MEMORY ")", "missing required export reduce"},
        {"(module " MEMORY "(global (export \"reduce\") i32 (i32.const 0)))",
         "export reduce is a global, it has to be a function"},
        {"(module " MEMORY "(func (export \"reduce\")))", "export reduce is () ->, it has to be () -> i32"},
        {"(module " MEMORY REDUCE "(func (export \"schema\") (param i32) (result i32) (i32.const 0)))",
         "export schema is (i32) -> i32, it has to be () -> i32"},
        {"(module " MEMORY REDUCE "(func $s) (start $s))", "a reducer has no start section: *"},
        {"(module (memory (export \"memory\") 1025) " REDUCE ")",
         "it starts with 1025 pages of memory, the limit is 1024"},
        /* The first thing wrong is the error. */
        {"(module (import \"env\" \"a\" (func)) (import \"env\" \"b\" (func)))", "import env.a is forbidden: *"},
    };
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        char want[256];
        struct reducer *reducer = NULL;
        (void)snprintf(want, sizeof want, "program test: %s", modules[i][1]);
        size_t len = strlen(want);
        if (load(modules[i][0], NULL, &reducer) != SOREX_INVALID || reducer != NULL ||
            (want[len - 1] == '*' ? strncmp(err.text, want, len - 1) : strcmp(err.text, want)) != 0)
            fail_msg("%s: wanted %s, got %s", modules[i][0], want, err.text);
    }
    struct reducer *reducer = NULL;
    assert_int_equal(reducer_load(bytes_str("no module"), &(struct reducer_options){0}, &reducer, &err), SOREX_INVALID);
    assert_int_equal(load("(module " MEMORY REDUCE ")", &(struct reducer_options){.memory_bytes_max = 65535}, &reducer),
                     SOREX_INVALID);
}

/* -- codes */

#define IMPORTS                                                                                   \
    "(import \"sorex\" \"message_len\" (func $message_len (result i32)))"                         \
    "(import \"sorex\" \"message_read\" (func $message_read (param i32 i32 i32) (result i32)))"   \
    "(import \"sorex\" \"message_index\" (func $message_index (result i64)))"                     \
    "(import \"sorex\" \"message_time\" (func $message_time (result i64)))"                       \
    "(import \"sorex\" \"message_author\" (func $message_author (param i32 i32) (result i32)))"   \
    "(import \"sorex\" \"message_hash\" (func $message_hash (param i32) (result i32)))"           \
    "(import \"sorex\" \"prepare\" (func $prepare (param i32 i32) (result i32)))"                 \
    "(import \"sorex\" \"bind_null\" (func $bind_null (param i32 i32) (result i32)))"             \
    "(import \"sorex\" \"bind_i64\" (func $bind_i64 (param i32 i32 i64) (result i32)))"           \
    "(import \"sorex\" \"bind_f64\" (func $bind_f64 (param i32 i32 f64) (result i32)))"           \
    "(import \"sorex\" \"bind_text\" (func $bind_text (param i32 i32 i32 i32) (result i32)))"     \
    "(import \"sorex\" \"bind_blob\" (func $bind_blob (param i32 i32 i32 i32) (result i32)))"     \
    "(import \"sorex\" \"step\" (func $step (param i32) (result i32)))"                           \
    "(import \"sorex\" \"column_count\" (func $column_count (param i32) (result i32)))"           \
    "(import \"sorex\" \"column_type\" (func $column_type (param i32 i32) (result i32)))"         \
    "(import \"sorex\" \"column_i64\" (func $column_i64 (param i32 i32) (result i64)))"           \
    "(import \"sorex\" \"column_f64\" (func $column_f64 (param i32 i32) (result f64)))"           \
    "(import \"sorex\" \"column_len\" (func $column_len (param i32 i32) (result i32)))"           \
    "(import \"sorex\" \"column_read\" (func $column_read (param i32 i32 i32 i32) (result i32)))" \
    "(import \"sorex\" \"changes\" (func $changes (result i64)))"                                 \
    "(import \"sorex\" \"reset\" (func $reset (param i32) (result i32)))"                         \
    "(import \"sorex\" \"error_len\" (func $error_len (result i32)))"                             \
    "(import \"sorex\" \"error_read\" (func $error_read (param i32 i32) (result i32)))"           \
    "(import \"sorex\" \"sqlstate\" (func $sqlstate (param i32) (result i32)))"                   \
    "(import \"sorex\" \"log\" (func $log (param i32 i32 i32)))"                                  \
    "(import \"sorex\" \"reject\" (func $reject (param i32 i32 i32)))"

/* 0: "select $1::int8, $2::text" with one row; 64: "values (1, 2.5::float8, 'text', '\x00ff'::bytea, null, 7::numeric)"
 */
#define DATA                                                                                          \
    "(memory (export \"memory\") 2)"                                                                  \
    "(data (i32.const 0) \"select $1::int8, $2::text\")"                                              \
    "(data (i32.const 64) \"values (1, 2.5::float8, 'text', '\\5cx00ff'::bytea, null, 7::numeric)\")" \
    "(data (i32.const 160) \"select 1 / 0\")"
#define SELECT "(drop (call $prepare (i32.const 0) (i32.const 25)))"                                    /* 1 */
#define VALUES "(drop (call $prepare (i32.const 64) (i32.const 66))) (drop (call $step (i32.const 1)))" /* 1 */

static struct database *database;

static int setup(void **state)
{
    (void)state;
    assert_ok(database_open(runs_program(), NULL, &database, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    database_close(database);
    database = NULL;
    return 0;
}

/* A module whose reduce has this body; in a database as new. */
static struct run open_body(const char *body)
{
    static char text[65536];
    struct run run = {0};
    struct snapshot *snapshot = NULL;
    (void)snprintf(text, sizeof text,
                   "(module " IMPORTS DATA "(func (export \"reduce\") (result i32) (local $i i32) %s))", body);
    assert_ok(load(text, NULL, &run.reducer));
    assert_ok(database_save(database, &snapshot, &err));
    assert_ok(database_fork(database, snapshot, &run.database, &err));
    snapshot_drop(snapshot);
    assert_ok(reducer_schema(run.reducer, run.database, &err));
    return run;
}

/* What an expression gives, as the code of a rejection: it is 100 more. */
static void gives(const char *before, const char *expression, int want)
{
    char body[4096];
    (void)snprintf(body, sizeof body, "%s (return (i32.add (i32.const 100) %s))", before, expression);
    struct run run = open_body(body);
    assert_ok(run_try(&run, "payload", &err));
    if (run.result.code != want + 100)
        fail_msg("%s %s: %d, wanted %d (%.*s)", before, expression, run.result.code - 100, want,
                 BYTES_FMT(run.result.reason));
    run_close(&run);
}

static void test_codes(void **state)
{
    (void)state;
    gives("", "(call $message_len)", 7);
    gives("", "(call $message_read (i32.const 131070) (i32.const 5) (i32.const 2))", 2);
    gives("", "(call $message_read (i32.const 131070) (i32.const 0) (i32.const 3))", -2);
    gives("", "(call $message_read (i32.const -1) (i32.const 0) (i32.const 1))", -2);
    gives("", "(call $message_read (i32.const 0) (i32.const 0) (i32.const -1))", -2);
    gives("", "(call $message_read (i32.const 0) (i32.const -1) (i32.const 1))", -4);
    gives("", "(call $message_read (i32.const 0) (i32.const 2147483647) (i32.const 1))", 0);
    gives("", "(call $message_author (i32.const 0) (i32.const 3))", 6);
    gives("", "(call $message_author (i32.const 131071) (i32.const 2))", -2);
    gives("", "(call $message_author (i32.const 0) (i32.const -2147483648))", -2);
    gives("", "(call $message_hash (i32.const 131040))", 0);
    gives("", "(call $message_hash (i32.const 131041))", -2);
    gives("", "(call $prepare (i32.const 0) (i32.const -1))", -2);
    gives("", "(call $prepare (i32.const 131072) (i32.const 1))", -2);
    gives("", "(call $prepare (i32.const 0) (i32.const 25))", 1);
    gives(SELECT, "(call $prepare (i32.const 0) (i32.const 25))", 1); /* nobody did anything with it */
    gives(SELECT "(drop (call $bind_null (i32.const 1) (i32.const 1)))", "(call $prepare (i32.const 0) (i32.const 25))",
          2);
    gives("", "(call $prepare (i32.const 0) (i32.const 64))", -1); /* zero bytes */
    static const char *const nobody[] = {"0", "2", "-1", "2147483647", "-2147483648"};
    for (size_t i = 0; i < sizeof nobody / sizeof nobody[0]; i++) {
        char call[128];
        (void)snprintf(call, sizeof call, "(call $step (i32.const %s))", nobody[i]);
        gives(SELECT, call, -3);
        (void)snprintf(call, sizeof call, "(call $reset (i32.const %s))", nobody[i]);
        gives(SELECT, call, -3);
        (void)snprintf(call, sizeof call, "(call $bind_i64 (i32.const %s) (i32.const 1) (i64.const 1))", nobody[i]);
        gives(SELECT, call, -3);
        (void)snprintf(call, sizeof call, "(call $column_type (i32.const %s) (i32.const 0))", nobody[i]);
        gives(SELECT, call, -3);
    }
    gives("", "(call $column_count (i32.const 1))", -3);
    gives(SELECT, "(call $column_count (i32.const 1))", 2);
    gives(SELECT, "(call $bind_null (i32.const 1) (i32.const 0))", -4);
    gives(SELECT, "(call $bind_null (i32.const 1) (i32.const 3))", -4);
    gives(SELECT, "(call $bind_text (i32.const 1) (i32.const 2) (i32.const 131000) (i32.const 73))", -2);
    gives(SELECT, "(call $bind_blob (i32.const 1) (i32.const 2) (i32.const 0) (i32.const -1))", -2);
    gives(SELECT "(drop (call $bind_blob (i32.const 1) (i32.const 2) (i32.const 0) (i32.const -1)))",
          "(call $step (i32.const 1))", -2);
    gives(SELECT, "(call $column_type (i32.const 1) (i32.const 0))", -5);
    gives(SELECT, "(call $step (i32.const 1))", 1);
    gives(VALUES, "(call $column_type (i32.const 1) (i32.const 6))", -4);
    gives(VALUES, "(call $column_type (i32.const 1) (i32.const -1))", -4);
    gives(VALUES, "(call $column_read (i32.const 1) (i32.const 2) (i32.const 131071) (i32.const 2))", -2);
    gives(VALUES, "(call $column_read (i32.const 1) (i32.const 2) (i32.const 0) (i32.const 2))", 4);
    for (int i = 0; i < 6; i++) {
        static const int types[] = {1, 2, 3, 4, 0, 3}, lens[] = {1, 3, 4, 2, 0, 1}, integers[] = {1, 0, 0, 0, 0, 7};
        char call[128];
        (void)snprintf(call, sizeof call, "(call $column_type (i32.const 1) (i32.const %d))", i);
        gives(VALUES, call, types[i]);
        (void)snprintf(call, sizeof call, "(call $column_len (i32.const 1) (i32.const %d))", i);
        gives(VALUES, call, lens[i]);
        (void)snprintf(call, sizeof call, "(i32.wrap_i64 (call $column_i64 (i32.const 1) (i32.const %d)))", i);
        gives(VALUES, call, integers[i]);
    }
    gives(VALUES, "(i32.trunc_f64_s (f64.mul (f64.const 4) (call $column_f64 (i32.const 1) (i32.const 1))))", 10);
    gives(VALUES "(drop (call $column_f64 (i32.const 1) (i32.const 2)))", "(call $error_len)", 42);
    gives(VALUES "(drop (call $step (i32.const 1)))", "(call $column_type (i32.const 1) (i32.const 0))", -5);
    gives(VALUES "(drop (call $step (i32.const 1)))", "(call $step (i32.const 1))", 0);
    gives("(drop (call $step (call $prepare (i32.const 160) (i32.const 12))))", "(call $error_len)", 16);
    gives("(drop (call $step (call $prepare (i32.const 160) (i32.const 12))))", "(call $sqlstate (i32.const 131068))",
          -2);
    gives("(drop (call $step (call $prepare (i32.const 160) (i32.const 12)))) (drop (call $sqlstate (i32.const 0)))",
          "(i32.sub (i32.load8_u (i32.const 2)) (i32.const 48))", 0);
    gives(
        "(call $log (i32.const 9) (i32.const 0) (i32.const 1)) (call $log (i32.const 0) (i32.const -1) (i32.const 9))",
        "(i32.const 5)", 5);
    gives("(call $reject (i32.const 5) (i32.const 0) (i32.const 6))", "(i32.const 9)", 5 - 100);
    gives("(call $reject (i32.const 5) (i32.const 131072) (i32.const 1))", "(i32.const 9)", 0 - 100);
}

/* -- dice */

static uint64_t dice;

static uint32_t roll(uint32_t sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (uint32_t)(dice % sides);
}

static const char *number(void)
{
    static const char *const numbers[] = {"0",  "1",   "2",   "3",     "4",      "-1",     "5",          "12",
                                          "25", "64",  "66",  "160",   "131071", "131072", "2147483647", "-2147483648",
                                          "1",  "100", "131", "65536", "1",      "2",      "1",          "-5"};
    return numbers[roll(sizeof numbers / sizeof numbers[0])];
}

static size_t call_add(char *out, size_t cap)
{
    static const struct {
        const char *name, *params, *result;
    } imports[] = {
        {"message_len", "", "i"},
        {"message_read", "iii", "i"},
        {"message_index", "", "l"},
        {"message_time", "", "l"},
        {"message_author", "ii", "i"},
        {"message_hash", "i", "i"},
        {"prepare", "ii", "i"},
        {"bind_null", "ii", "i"},
        {"bind_i64", "iil", "i"},
        {"bind_f64", "iid", "i"},
        {"bind_text", "iiii", "i"},
        {"bind_blob", "iiii", "i"},
        {"step", "i", "i"},
        {"step", "i", "i"},
        {"column_count", "i", "i"},
        {"column_type", "ii", "i"},
        {"column_i64", "ii", "l"},
        {"column_f64", "ii", "d"},
        {"column_len", "ii", "i"},
        {"column_read", "iiii", "i"},
        {"changes", "", "l"},
        {"reset", "i", "i"},
        {"error_len", "", "i"},
        {"error_read", "ii", "i"},
        {"sqlstate", "i", "i"},
        {"log", "iii", ""},
        {"reject", "iii", ""},
    };
    size_t which = roll(sizeof imports / sizeof imports[0]), used = 0;
    if (strcmp(imports[which].name, "reject") == 0 && roll(8) > 0)
        which = 0;
    if (roll(4) == 0) /* something that works */
        return (size_t)snprintf(out, cap, "%s", roll(2) == 0 ? SELECT : VALUES);
    used = (size_t)snprintf(out, cap, "%s(call $%s", imports[which].result[0] != '\0' ? "(drop " : "",
                            imports[which].name);
    for (const char *at = imports[which].params; *at != '\0'; at++)
        used += (size_t)snprintf(out + used, cap - used, " (%s.const %s)",
                                 *at == 'i'   ? "i32"
                                 : *at == 'l' ? "i64"
                                              : "f64",
                                 number());
    used += (size_t)snprintf(out + used, cap - used, ")%s", imports[which].result[0] != '\0' ? ")" : "");
    return used;
}

static void test_guests_made_by_dice(void **state)
{
    (void)state;
    const char *wanted = getenv("SOREX_REDUCER_ROUNDS");
    uint64_t rounds = wanted != NULL ? strtoull(wanted, NULL, 10) : 60;
    unsigned applied = 0, rejected = 0;
    log_watch();
    for (uint64_t round = 1; round <= rounds; round++) {
        char body[8192];
        size_t used = 0;
        dice = round * 0x9E3779B97F4A7C15u;
        for (uint32_t i = 0, count = 1 + roll(30); i < count; i++)
            used += call_add(body + used, sizeof body - used);
        (void)snprintf(body + used, sizeof body - used, "(i32.const %d)", roll(8) == 0 ? (int)roll(5) - 2 : 0);
        struct run run = open_body(body);
        for (int i = 0; i < 3; i++) {
            if (run_try(&run, "payload", &err) != SOREX_OK)
                fail_msg("seed %llu: %s\n%s", (unsigned long long)round, err.text, body);
            *(run.result.status == REDUCER_APPLIED ? &applied : &rejected) += 1;
        }
        assert_query(&run, "select count(*) from sorex.messages", "3");
        run_close(&run);
    }
    assert_true(applied >= rounds / 4 && rejected >= rounds / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modules_that_are_refused),
        cmocka_unit_test_setup_teardown(test_codes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guests_made_by_dice, setup, teardown),
    };
    traps_keep();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runs_program_close();
    return failed;
}
