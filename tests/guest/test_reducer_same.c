/* Contract 4: a database is a function of its messages. Time and chance come from the message; a run that is
 * interrupted, forked or repeated gives the same bytes and the same traces. */
#include "guest/reducer_base.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "guest/map.h"

static struct sorex_error err;

static void test_time(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    run_ok(&run, "select now()\nselect date_trunc('milliseconds', clock_timestamp())\nselect current_date\nselect "
                 "statement_timestamp() - now() < interval '1 millisecond'\nselect localtime(3)");
    assert_query(&run, "select value from out order by line",
                 "2023-11-14 22:13:20+00;2023-11-14 22:13:20+00;2023-11-14;1;22:13:20");
    /* Time may go back, and stand at both of its ends. */
    struct reducer_message message = run_message(1, "select now()");
    static const int64_t times[] = {0, REDUCER_TIME_MS_MAX};
    for (size_t i = 0; i < 2; i++) {
        message.time_ms = times[i];
        message.index = 1 + i;
        assert_ok(reducer_apply(run.reducer, run.database, &message, NULL, NULL, &run.result, &err));
        assert_int_equal(run.result.status, REDUCER_APPLIED);
    }
    assert_query(&run, "select value from out where message > 0 order by message",
                 "1970-01-01 00:00:00+00;2261-12-31 23:59:59.999+00");
    assert_query(&run, "select time from sorex.messages where index > 0 order by index",
                 "1970-01-01 00:00:00+00;2261-12-31 23:59:59.999+00");
    message.index = 3;
    message.time_ms = REDUCER_TIME_MS_MAX + 1;
    assert_int_equal(reducer_apply(run.reducer, run.database, &message, NULL, NULL, &run.result, &err), SOREX_INVALID);
    message.time_ms = -1;
    assert_int_equal(reducer_apply(run.reducer, run.database, &message, NULL, NULL, &run.result, &err), SOREX_INVALID);
    message.time_ms = 1;
    message.author = bytes_of("a\0b", 3);
    assert_int_equal(reducer_apply(run.reducer, run.database, &message, NULL, NULL, &run.result, &err), SOREX_INVALID);
    message.author = bytes_str("\xff");
    assert_int_equal(reducer_apply(run.reducer, run.database, &message, NULL, NULL, &run.result, &err), SOREX_INVALID);
    message.author = bytes_str("a\\b\tc\nd\re \\. \\N");
    assert_ok(reducer_apply(run.reducer, run.database, &message, NULL, NULL, &run.result, &err));
    assert_query(&run, "select author = E'a\\\\b\\tc\\nd\\re \\\\. \\\\N' from sorex.messages where index = 3", "t");
    run_close(&run);
}

/* Chance follows the key, and nothing else: not what ran before. */
static void test_chance(void **state)
{
    (void)state;
    static const char script[] = "select random()\nselect gen_random_uuid()\nselect random(1, 1000000)\nselect "
                                 "random_normal()";
    static const char values[] = "select value from out where message = 5 order by line";
    char first[1024];
    struct run a = run_open("script", NULL), b = run_open("script", NULL);
    a.index = b.index = 5;
    run_ok(&a, script);
    (void)snprintf(first, sizeof first, "%s", run_query(&a, values));
    b.index = 4;
    run_ok(&b, "select random(), gen_random_uuid()\nselect setseed(0.5)");
    run_ok(&b, script);
    assert_query(&b, values, first);
    run_ok(&b, "select random()");
    assert_string_not_equal(run_query(&b, "select value from out where message = 6"), first);
    assert_query(&b, "select count(distinct value) from out where message in (5, 6)", "5");
    run_close(&a);
    run_close(&b);
}

/* Everything that leaves something in a session, beside tables. */
static const char *const scripts[] = {
    "insert into t values (1, 'a')\nselect count(*) from t",
    "insert into t values (2, random()::text)\nselect note from t order by id",
    "!trap",
    "select 1 / 0",
    "create table u (a int)\n!i64 7 insert into u values ($1)\nselect * from u",
    "select * from u",
    "alter table u add column b text",
    "select * from u", /* its columns have changed: rejected, and prepared again */
    "select * from u",
    "do $$ begin execute 'deallocate all'; end $$",
    "select count(*) from t", /* gone: rejected, and prepared again */
    "select count(*) from t",
    "do $$ begin execute 'prepare sorex_9 as select 1'; execute 'prepare sorex_12 as select 1'; end $$",
    "select 11\nselect 12\nselect 13\nselect 14\nselect 15",
    "select 15\nselect 14",
    "!many 100",
    "select sum(i) from generate_series(1, 1000000000) i", /* out of fuel: the state is made again */
    "insert into t values (3, gen_random_uuid()::text)",
    "!many 300",
    "!many 10\n!reject 4 no",
    "set work_mem = '1MB'\ncreate sequence s\nselect nextval('s')\nlisten x\nnotify x",
    "drop table u\nselect count(*) from t",
    "select * from u",
    "create table u (a text)",
    "select * from u",
    "select repeat('x', 1000000) from generate_series(1, 100)",
    "insert into t select 100 + i, 'many' from generate_series(1, 3000) i",
    "delete from t where id > 2000",
    "select pg_current_xact_id()\nselect txid_current_snapshot()",
};
#define SCRIPTS (sizeof scripts / sizeof scripts[0])

struct history {
    uint8_t traces[SCRIPTS][SHA256_BYTES];
    char images[SCRIPTS][HASH_HEX_SIZE];
};

static const struct reducer_options options = {.name = "test", .sql_fuel = 200000000};

static void play(struct run *run, size_t i, struct history *out)
{
    assert_ok(run_try(run, scripts[i], &err));
    memcpy(out->traces[i], run->result.trace, SHA256_BYTES);
    if (i % 6 == 4 || i == SCRIPTS - 1 || getenv("SOREX_REDUCER_IMAGES") != NULL) /* 0.2 seconds each */
        (void)snprintf(out->images[i], HASH_HEX_SIZE, "%s", run_image(run));
}

static void assert_same(const struct history *a, const struct history *b, size_t i)
{
    if (memcmp(a->traces[i], b->traces[i], SHA256_BYTES) != 0)
        fail_msg("message %zu, %s: another trace", i, scripts[i]);
    if (strcmp(a->images[i], b->images[i]) != 0)
        fail_msg("message %zu, %s: another image", i, scripts[i]);
}

static struct history whole, parts;

static void whole_play(void)
{
    struct run run = run_open("script", &options);
    for (size_t i = 0; i < SCRIPTS; i++)
        play(&run, i, &whole);
    assert_query(&run,
                 "select string_agg(index::text, ',' order by index) from sorex.messages where status = 'rejected'",
                 "2,3,7,10,11,16,19,22,25");
    run_close(&run);
}

/* -- interruptions */

static uint64_t dice;

static uint32_t roll(uint32_t sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (uint32_t)(dice % sides);
}

/* The process ends, and another one goes on from an image. */
static void process_change(struct run *run)
{
    struct buf image = {0};
    struct run next = {.reducer = run_reducer("script", &options), .index = run->index};
    assert_ok(database_export(run->database, &image, &err));
    assert_ok(database_open_image(runs_program(), NULL, buf_view(&image), &next.database, &err));
    buf_deinit(&image);
    run_close(run);
    *run = next;
}

/* A message is tried on a fork, or done and taken back. */
static void message_try(struct run *run, const char *script)
{
    struct snapshot *before = NULL;
    struct run preview = *run;
    assert_ok(database_save(run->database, &before, &err));
    if (roll(2) == 0) {
        assert_ok(database_fork(run->database, before, &preview.database, &err));
        assert_ok(run_try(&preview, script, &err));
        database_close(preview.database);
    } else {
        assert_ok(run_try(&preview, script, &err));
        assert_ok(database_restore(run->database, before, &err));
    }
    snapshot_drop(before);
}

static void test_repeated(void **state)
{
    (void)state;
    whole_play();
    struct run run = run_open("script", &options);
    for (size_t i = 0; i < SCRIPTS; i++) {
        play(&run, i, &parts);
        assert_same(&whole, &parts, i);
    }
    run_close(&run);
}

/* Between messages the process ends: image, new reducer, new database. */
static void test_interrupted(void **state)
{
    (void)state;
    struct run run = run_open("script", &options);
    for (size_t i = 0; i < SCRIPTS; i++) {
        play(&run, i, &parts);
        assert_same(&whole, &parts, i);
        process_change(&run);
        assert_ok(reducer_schema(run.reducer, run.database, &err)); /* nothing to be done */
    }
    run_close(&run);
}

/* The same reducer goes on with a fork now and then, and back; messages are tried on forks, and forgotten. */
static void test_forked(void **state)
{
    (void)state;
    struct run run = run_open("script", &options);
    for (size_t i = 0; i < SCRIPTS; i++) {
        struct snapshot *before = NULL;
        assert_ok(database_save(run.database, &before, &err));
        struct run preview = run;
        assert_ok(database_fork(run.database, before, &preview.database, &err));
        assert_ok(run_try(&preview, scripts[(i * 7 + 3) % SCRIPTS], &err));
        database_close(preview.database);
        if (i % 3 == 1) { /* once for nothing */
            assert_ok(run_try(&run, scripts[i], &err));
            assert_ok(database_restore(run.database, before, &err));
            run.index--;
        }
        snapshot_drop(before);
        play(&run, i, &parts);
        assert_same(&whole, &parts, i);
    }
    run_close(&run);
}

static void test_interruptions_by_dice(void **state)
{
    (void)state;
    enum { MESSAGES = 12 };
    const char *wanted = getenv("SOREX_REDUCER_ROUNDS");
    uint64_t rounds = wanted != NULL ? strtoull(wanted, NULL, 10) : 3;
    for (uint64_t round = 1; round <= rounds; round++) {
        const char *chosen[MESSAGES];
        uint8_t traces[MESSAGES][SHA256_BYTES];
        dice = round * 0x9E3779B97F4A7C15u;
        struct run run = run_open("script", &options);
        for (size_t i = 0; i < MESSAGES; i++) {
            chosen[i] = scripts[roll(SCRIPTS)];
            assert_ok(run_try(&run, chosen[i], &err));
            memcpy(traces[i], run.result.trace, SHA256_BYTES);
        }
        char image[HASH_HEX_SIZE];
        (void)snprintf(image, sizeof image, "%s", run_image(&run));
        run_close(&run);
        run = run_open("script", &options);
        for (size_t i = 0; i < MESSAGES; i++) {
            uint32_t event = roll(5);
            if (event == 0)
                process_change(&run);
            else if (event == 1)
                message_try(&run, scripts[roll(SCRIPTS)]);
            assert_ok(run_try(&run, chosen[i], &err));
            if (memcmp(traces[i], run.result.trace, SHA256_BYTES) != 0)
                fail_msg("seed %llu, message %zu, %s: another trace", (unsigned long long)round, i, chosen[i]);
        }
        if (strcmp(image, run_image(&run)) != 0)
            fail_msg("seed %llu: another image", (unsigned long long)round);
        run_close(&run);
    }
}

/* -- traces that can be read */

static enum sorex_status line_take(void *user_data, struct bytes text, struct sorex_error *out)
{
    struct buf *lines = user_data;
    assert_ok(buf_append(lines, text, &err));
    return buf_append_str(lines, "\n", out);
}

static void test_readable(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    struct buf lines = {0};
    uint8_t quiet[SHA256_BYTES];
    static const char script[] = "!i64 -5 select $1::int2 + 1\n?42P01 select * from nothing";
    struct reducer_message message = run_message(0, script);
    assert_ok(run_try(&run, script, &err));
    memcpy(quiet, run.result.trace, SHA256_BYTES);
    run_close(&run);
    run = run_open("script", NULL);
    assert_ok(reducer_apply(run.reducer, run.database, &message, line_take, &lines, &run.result, &err));
    assert_memory_equal(quiet, run.result.trace, SHA256_BYTES);
    static const char want[] = "statement:  select $1::int2 + 1 with $1 = -5\nrow: -4\nend: SELECT 1\n"
                               "statement: insert into out values ($1, $2, $3) with $1 = 0, $2 = 1, $3 = '-4'\n"
                               "end: INSERT 0 1\n"
                               "error: 42P01: relation \"nothing\" does not exist; of: select * from nothing\n"
                               "rejected: 42P01: relation \"nothing\" does not exist\n";
    if (!bytes_is(buf_view(&lines), want))
        fail_msg("%.*s", BYTES_FMT(buf_view(&lines)));
    buf_deinit(&lines);
    run_close(&run);
}

static enum sorex_status line_refuse(void *user_data, struct bytes text, struct sorex_error *out)
{
    (void)user_data, (void)text;
    return sorex_error_set(out, SOREX_IO, "no room for a trace");
}

static void test_a_trace_that_fails(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    struct reducer_message message = run_message(0, "select 1");
    assert_int_equal(reducer_apply(run.reducer, run.database, &message, line_refuse, NULL, &run.result, &err),
                     SOREX_IO);
    assert_non_null(strstr(err.text, "message 0: no room for a trace"));
    run_close(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time),     cmocka_unit_test(test_chance),
        cmocka_unit_test(test_repeated), cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_forked),   cmocka_unit_test(test_interruptions_by_dice),
        cmocka_unit_test(test_readable), cmocka_unit_test(test_a_trace_that_fails),
    };
    traps_keep();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runs_program_close();
    return failed;
}
