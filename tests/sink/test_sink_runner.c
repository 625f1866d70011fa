/* The runner over a real store and the memory sink. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "sink/memory.h"
#include "sink/outbox.h"
#include "sink/runner.h"

#define PATIENCE_MS 20000

static struct sorex_error err;

struct stage {
    struct outbox outbox;
    struct sink *sink;
    struct sink_runner *runner;
};

static void sink_make(struct stage *stage)
{
    struct memory_settings settings = {0};
    struct sink_context context = {.name = "out", .pipeline = "test", .base_dir = "."};
    assert_int_equal(sink_memory.open(&settings, &context, &stage->sink, &err), SOREX_OK);
}

static int setup(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    outbox_open(&stage->outbox);
    sink_make(stage);
    *state = stage;
    return 0;
}

static void runner_stop(struct stage *stage)
{
    sink_runner_stop(stage->runner);
    stage->runner = NULL;
}

static int teardown(void **state)
{
    struct stage *stage = *state;
    runner_stop(stage);
    sink_memory.close(stage->sink);
    outbox_close(&stage->outbox);
    free(stage);
    return 0;
}

static void runner_start(struct stage *stage, uint32_t batch, uint32_t finality)
{
    struct sink_runner_options options = {
        .name = "out", .batch_changes_max = batch, .finality = finality, .breaker = {.retry_base_ms = 1, .retry_max_ms = 5}};
    assert_int_equal(sink_runner_start(stage->sink, stage->outbox.store, &options, &stage->runner, &err), SOREX_OK);
}

static void drain(struct stage *stage)
{
    bool drained;
    sink_runner_drain(stage->runner, PATIENCE_MS, &drained);
    struct sink_status status;
    sink_runner_status(stage->runner, &status);
    if (!drained)
        fail_msg("not drained: %s %s at %llu", sink_state_name(status.state), status.why,
                 (unsigned long long)status.sequence);
}

/* What was delivered, as "+key" and "-key" per line of the operation, undo with "~" in front. */
static void trace(struct stage *stage, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < memory_sink_count(stage->sink); i++) {
        const struct memory_change *change = memory_sink_at(stage->sink, i);
        const char *key = strstr(change->raw, "\"key\":\"") + 7;
        const char *operation = strstr(change->raw, "\"operation\":\"") + 13;
        len += (size_t)snprintf(out + len, size - len, "%s%s%c%.*s", len == 0 ? "" : " ", change->undo ? "~" : "",
                                operation[0] == 'c'   ? '+'
                                : operation[0] == 'd' ? '-'
                                                      : '=',
                                (int)strcspn(key, "\""), key);
    }
}

static void expect_trace(struct stage *stage, const char *wanted)
{
    char text[4096];
    trace(stage, text, sizeof text);
    assert_string_equal(text, wanted);
}

/* One entry with one new row for each letter. */
static void create(struct stage *stage, const char *keys)
{
    for (; *keys != '\0'; keys++)
        outbox_single(&stage->outbox, "create", "t", (char[]){*keys, '\0'}, NULL, "{\"v\":1}");
}

static void undo(struct stage *stage, int count)
{
    while (count-- > 0)
        outbox_undo(&stage->outbox);
}

/* The height that finality counts from, then all that is final. */
static void drain_to(struct stage *stage, uint32_t tip)
{
    sink_runner_tip(stage->runner, tip);
    drain(stage);
}

/* A runner that gives up, with this in its text. */
static void expect_failure(struct stage *stage, const char *wanted)
{
    bool drained;
    struct sink_status status;
    runner_start(stage, 0, 0);
    sink_runner_drain(stage->runner, PATIENCE_MS, &drained);
    assert_false(drained);
    sink_runner_status(stage->runner, &status);
    assert_int_equal(status.state, SINK_FAILED);
    assert_non_null(strstr(status.why, wanted));
    assert_int_equal(memory_sink_count(stage->sink), 0);
}

static void expect_sequence(struct stage *stage, uint64_t sequence)
{
    struct sink_cursor cursor;
    memory_sink_cursor(stage->sink, &cursor);
    assert_int_equal(cursor.sequence, sequence);
}

/* The delivered changes, folded, are the model. */
static void expect_model(struct stage *stage)
{
    char rows[OUTBOX_KEYS][32] = {{0}};
    for (size_t i = 0; i < memory_sink_count(stage->sink); i++) {
        const char *raw = memory_sink_at(stage->sink, i)->raw;
        const char *key = strstr(raw, "\"key\":\"") + 7;
        const char *after = strstr(raw, "\"after\":{\"v\":\"");
        size_t k = strtoul(key + 1, NULL, 10);
        rows[k][0] = '\0';
        if (after != NULL)
            (void)snprintf(rows[k], sizeof rows[k], "%.*s", (int)strcspn(after + 14, "\""), after + 14);
    }
    for (size_t k = 0; k < OUTBOX_KEYS; k++)
        assert_string_equal(rows[k], outbox_row(&stage->outbox, k));
}

static void delivers_in_order(void **state)
{
    struct stage *stage = *state;
    create(stage, "ab");
    runner_start(stage, 0, 0);
    drain(stage);
    create(stage, "c");
    drain(stage);
    expect_trace(stage, "+a +b +c");
    struct sink_cursor cursor;
    memory_sink_cursor(stage->sink, &cursor);
    assert_int_equal(cursor.sequence, outbox_head(&stage->outbox));
    assert_memory_equal(cursor.store_id, store_id(stage->outbox.store), SINK_STORE_ID_BYTES);
    struct sink_status status;
    sink_runner_status(stage->runner, &status);
    assert_int_equal(status.height, 3);
    assert_int_equal(status.changes, 3);
}

static void undo_is_the_inverse_in_reverse(void **state)
{
    struct stage *stage = *state;
    create(stage, "a");
    char *changes[] = {outbox_change("create", "t", "b", NULL, "{\"v\":1}", 2),
                       outbox_change("update", "t", "a", "{\"v\":1}", "{\"v\":2}", 2),
                       outbox_change("delete", "t", "b", "{\"v\":1}", NULL, 2)};
    outbox_entry(&stage->outbox, (const char *const *)changes, 3);
    undo(stage, 1);
    for (size_t i = 0; i < 3; i++)
        free(changes[i]);
    runner_start(stage, 0, 0);
    drain(stage);
    expect_trace(stage, "+a +b =a -b ~+b ~=a ~-b");
    const struct memory_change *update = memory_sink_at(stage->sink, 5);
    assert_non_null(strstr(update->raw, "\"before\":{\"v\":2},\"after\":{\"v\":1}"));
    assert_int_equal(update->height, 2);
}

static void random_log_folds_to_the_model(void **state)
{
    struct stage *stage = *state;
    runner_start(stage, 7, 0);
    for (int i = 0; i < 300; i++) {
        if (stage->outbox.height > 1 && outbox_random(&stage->outbox, 5) == 0)
            for (uint64_t n = 1 + outbox_random(&stage->outbox, 3); n > 0 && stage->outbox.height > 1; n--)
                outbox_random_undo(&stage->outbox);
        else
            outbox_random_entry(&stage->outbox, (size_t)outbox_random(&stage->outbox, 6));
        if (i % 50 == 0)
            memory_sink_fail_next(stage->sink, 2, SOREX_AGAIN);
        if (i % 50 == 25)
            memory_sink_fail_after_applied(stage->sink, 1);
    }
    drain(stage);
    expect_model(stage);
}

static void retries_until_it_works(void **state)
{
    struct stage *stage = *state;
    create(stage, "a");
    memory_sink_fail_next(stage->sink, 5, SOREX_AGAIN);
    runner_start(stage, 0, 0);
    drain(stage);
    expect_trace(stage, "+a");
    uint64_t applies;
    uint64_t empty;
    memory_sink_calls(stage->sink, &applies, &empty);
    assert_int_equal(applies, 6);
}

static void applied_but_not_answered_is_not_repeated(void **state)
{
    struct stage *stage = *state;
    memory_sink_fail_after_applied(stage->sink, 1);
    runner_start(stage, 0, 0);
    create(stage, "a");
    drain(stage);
    create(stage, "b");
    drain(stage);
    expect_trace(stage, "+a +b");
}

static void permanent_failure_stops_with_its_text(void **state)
{
    struct stage *stage = *state;
    create(stage, "a");
    memory_sink_fail_next(stage->sink, 1, SOREX_INVALID);
    expect_failure(stage, "told to fail");
}

static void finality_holds_back(void **state)
{
    struct stage *stage = *state;
    create(stage, "abc");
    runner_start(stage, 0, 2);
    drain_to(stage, 3);
    expect_trace(stage, "+a");
    drain_to(stage, 4);
    expect_trace(stage, "+a +b");
    drain_to(stage, 5);
    expect_trace(stage, "+a +b +c");
}

static void finality_jumps_over_what_was_undone(void **state)
{
    struct stage *stage = *state;
    create(stage, "abc");
    runner_start(stage, 0, 2);
    drain_to(stage, 3);
    expect_sequence(stage, 1);
    undo(stage, 1);
    drain_to(stage, 2);
    expect_sequence(stage, 1);
    undo(stage, 1);
    drain_to(stage, 1);
    expect_sequence(stage, 5);
    uint64_t applies;
    uint64_t empty;
    memory_sink_calls(stage->sink, &applies, &empty);
    assert_int_equal(applies, 2);
    assert_int_equal(empty, 1);
    create(stage, "BC");
    drain_to(stage, 4);
    expect_trace(stage, "+a +B");
}

/* The sink was away while a branch came and went. */
static void finality_never_shows_an_orphan_to_a_late_sink(void **state)
{
    struct stage *stage = *state;
    create(stage, "ab");
    undo(stage, 1);
    create(stage, "Bcd");
    runner_start(stage, 1, 1);
    drain_to(stage, 4);
    expect_trace(stage, "+a +B +c");
}

static void undo_below_finality_is_delivered(void **state)
{
    struct stage *stage = *state;
    create(stage, "abc");
    runner_start(stage, 0, 1);
    drain_to(stage, 3);
    expect_trace(stage, "+a +b");
    undo(stage, 2);
    drain_to(stage, 1);
    expect_trace(stage, "+a +b ~-b");
}

static void starts_where_the_target_stands(void **state)
{
    struct stage *stage = *state;
    create(stage, "ab");
    runner_start(stage, 0, 0);
    drain(stage);
    runner_stop(stage);
    create(stage, "c");
    runner_start(stage, 0, 0);
    drain(stage);
    expect_trace(stage, "+a +b +c");
}

static void expect_refusal(struct stage *stage, const struct sink_cursor *cursor, const char *wanted)
{
    struct sink_status status;
    memory_sink_set_cursor(stage->sink, cursor);
    expect_failure(stage, wanted);
    sink_runner_status(stage->runner, &status);
    assert_non_null(strstr(status.why, "Choices:"));
}

static void cursor_of_this_store(struct stage *stage, uint64_t sequence, struct sink_cursor *out)
{
    *out = (struct sink_cursor){.sequence = sequence};
    memcpy(out->store_id, store_id(stage->outbox.store), SINK_STORE_ID_BYTES);
}

static void refuses_another_stores_cursor(void **state)
{
    struct stage *stage = *state;
    create(stage, "a");
    struct sink_cursor cursor;
    cursor_of_this_store(stage, 1, &cursor);
    cursor.store_id[0] ^= 1;
    expect_refusal(stage, &cursor, "another store");
}

static void refuses_a_cursor_beyond_the_head(void **state)
{
    struct stage *stage = *state;
    create(stage, "a");
    struct sink_cursor cursor;
    cursor_of_this_store(stage, 7, &cursor);
    expect_refusal(stage, &cursor, "the outbox ends at 1");
}

static void refuses_a_cursor_with_another_entry(void **state)
{
    struct stage *stage = *state;
    create(stage, "ab");
    struct sink_cursor cursor;
    cursor_of_this_store(stage, 1, &cursor);
    memset(cursor.hash, 7, HASH_BYTES);
    expect_refusal(stage, &cursor, "saw another entry");
}

static void stop_does_not_wait_for_a_long_back_off(void **state)
{
    struct stage *stage = *state;
    create(stage, "a");
    memory_sink_fail_next(stage->sink, UINT32_MAX, SOREX_AGAIN);
    struct sink_runner_options options = {.name = "out", .breaker = {.retry_base_ms = 3600000, .retry_max_ms = 3600000}};
    assert_int_equal(sink_runner_start(stage->sink, stage->outbox.store, &options, &stage->runner, &err), SOREX_OK);
    bool drained;
    struct sink_status status = {.state = SINK_STARTING};
    for (int left = PATIENCE_MS / 50; left > 0 && status.state != SINK_RETRYING; left--) {
        sink_runner_drain(stage->runner, 50, &drained);
        assert_false(drained);
        sink_runner_status(stage->runner, &status);
    }
    assert_int_equal(status.state, SINK_RETRYING);
    assert_int_equal(status.attempts, 1);
    assert_true(status.retry_in_ms > 60000); /* jitter takes a part of the hour */
    runner_stop(stage);
}

static void status_until(struct stage *stage, enum breaker_state wanted, struct sink_status *out)
{
    bool drained;
    sink_runner_status(stage->runner, out);
    for (int left = PATIENCE_MS / 50; left > 0 && out->breaker != wanted; left--) {
        sink_runner_drain(stage->runner, 50, &drained);
        sink_runner_status(stage->runner, out);
    }
    assert_int_equal(out->breaker, wanted);
}

static void many_failures_open_the_breaker(void **state)
{
    struct stage *stage = *state;
    struct sink_status status;
    create(stage, "a");
    memory_sink_fail_next(stage->sink, UINT32_MAX, SOREX_AGAIN);
    struct sink_runner_options options = {
        .name = "out", .breaker = {.retry_base_ms = 1, .retry_max_ms = 1, .failures = 5, .open_ms = 3600000}};
    assert_int_equal(sink_runner_start(stage->sink, stage->outbox.store, &options, &stage->runner, &err), SOREX_OK);
    status_until(stage, BREAKER_OPEN, &status);
    assert_int_equal(status.state, SINK_RETRYING);
    assert_int_equal(status.attempts, 5);
    assert_true(status.retry_in_ms > 60000);
    assert_string_equal(status.why, "told to fail");
    uint64_t calls;
    uint64_t empty;
    memory_sink_calls(stage->sink, &calls, &empty);
    assert_int_equal(calls, 5); /* left alone since */
    runner_stop(stage);
}

static void a_probe_closes_the_breaker(void **state)
{
    struct stage *stage = *state;
    create(stage, "a");
    memory_sink_fail_next(stage->sink, 12, SOREX_AGAIN);
    struct sink_runner_options options = {
        .name = "out", .breaker = {.retry_base_ms = 1, .retry_max_ms = 2, .failures = 3, .open_ms = 1}};
    assert_int_equal(sink_runner_start(stage->sink, stage->outbox.store, &options, &stage->runner, &err), SOREX_OK);
    drain(stage);
    struct sink_status status;
    sink_runner_status(stage->runner, &status);
    assert_int_equal(status.breaker, BREAKER_CLOSED);
    assert_int_equal(status.attempts, 0);
    assert_int_equal(memory_sink_count(stage->sink), 1);
    uint64_t calls;
    uint64_t empty;
    memory_sink_calls(stage->sink, &calls, &empty);
    assert_int_equal(calls, 13);
    runner_stop(stage);
}

int main(void)
{
    log_level_set(LOG_OFF);
#define STAGED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        STAGED(delivers_in_order),
        STAGED(undo_is_the_inverse_in_reverse),
        STAGED(random_log_folds_to_the_model),
        STAGED(retries_until_it_works),
        STAGED(applied_but_not_answered_is_not_repeated),
        STAGED(permanent_failure_stops_with_its_text),
        STAGED(finality_holds_back),
        STAGED(finality_jumps_over_what_was_undone),
        STAGED(finality_never_shows_an_orphan_to_a_late_sink),
        STAGED(undo_below_finality_is_delivered),
        STAGED(starts_where_the_target_stands),
        STAGED(refuses_another_stores_cursor),
        STAGED(refuses_a_cursor_beyond_the_head),
        STAGED(refuses_a_cursor_with_another_entry),
        STAGED(stop_does_not_wait_for_a_long_back_off),
        STAGED(many_failures_open_the_breaker),
        STAGED(a_probe_closes_the_breaker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
