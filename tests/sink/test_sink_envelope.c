/* A chain's changes in other envelopes: through a real store's outbox and the file sink, inverses included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <ftw.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "change/envelope.h"
#include "sink/file.h"
#include "sink/outbox.h"
#include "sink/runner.h"

#define PATIENCE_MS 20000

static struct sorex_error err;
static char directory[64], path[128];

static int entry_remove(const char *name, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(name);
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/sorex-file-XXXXXX");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/out.jsonl", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(directory, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* Delivers the outbox to the file in this envelope; what came of it. */
static void delivered(struct outbox *outbox, const char *envelope, struct buf *out, struct sink_status *out_status)
{
    struct file_settings settings = {.path = path, .append = false};
    struct sink_context context = {.name = "file", .pipeline = "test", .base_dir = "."};
    struct sink_runner_options options = {.name = "file",
                                          .envelope = envelope == NULL ? NULL : envelope_find(envelope)};
    struct sink *sink;
    struct sink_runner *runner;
    bool drained;
    assert_true(envelope == NULL || options.envelope != NULL);
    assert_int_equal(sink_file.open(&settings, &context, &sink, &err), SOREX_OK);
    assert_int_equal(sink_runner_start(sink, outbox->store, &options, &runner, &err), SOREX_OK);
    sink_runner_drain(runner, PATIENCE_MS, &drained);
    sink_runner_status(runner, out_status);
    assert_int_equal(drained, out_status->state != SINK_FAILED);
    sink_runner_stop(runner);
    sink_file.close(sink);
    buf_reset(out);
    assert_int_equal(file_read(path, 1 << 20, out, &err), SOREX_OK);
}

/* A row is made, changed, and the change taken back. */
static void history_make(struct outbox *outbox)
{
    outbox_open(outbox);
    outbox_single(outbox, "create", "t", "a", NULL, "{\"v\":1.0}");
    outbox_single(outbox, "update", "t", "a", "{\"v\":1.0}", "{\"v\":2}");
    outbox_undo(outbox);
    outbox_single(outbox, "delete", "t", "a", "{\"v\":1.0}", NULL);
}

static void every_envelope_holds_the_same(void **state)
{
    (void)state;
    static const struct {
        enum event_op op;
        const char *before, *after;
    } wanted[] = {{EVENT_INSERT, NULL, "{\"v\":1.0}"},
                  {EVENT_UPDATE, "{\"v\":1.0}", "{\"v\":2}"},
                  {EVENT_UPDATE, "{\"v\":2}", "{\"v\":1.0}"}, /* the inverse */
                  {EVENT_DELETE, "{\"v\":1.0}", NULL}};
    struct outbox outbox;
    struct sink_status status;
    struct buf text = {0};
    struct json_parser *parser;
    struct arena arena;
    arena_init(&arena, 0);
    assert_int_equal(json_parser_new(&parser, &err), SOREX_OK);
    for (size_t e = 0; envelopes[e] != NULL; e++) {
        history_make(&outbox);
        delivered(&outbox, envelopes[e]->name, &text, &status);
        assert_int_equal(status.state, SINK_IDLE);
        struct bytes rest = buf_view(&text);
        for (size_t i = 0; i < 4; i++) {
            struct event event;
            bool tombstone;
            const uint8_t *end = memchr(rest.data, '\n', rest.len);
            assert_non_null(end);
            struct bytes line = bytes_of(rest.data, (size_t)(end - rest.data));
            rest = bytes_of(end + 1, rest.len - line.len - 1);
            if (envelope_read(envelopes[e], parser, line, &arena, &event, &tombstone, &err) != SOREX_OK)
                fail_msg("%s: %s", envelopes[e]->name, err.text);
            assert_false(tombstone);
            assert_int_equal(event.op, wanted[i].op);
            assert_true(bytes_is(event.table, "t"));
            assert_int_equal(event.before.data == NULL, wanted[i].before == NULL);
            assert_int_equal(event.after.data == NULL, wanted[i].after == NULL);
            if (wanted[i].before != NULL)
                assert_true(bytes_is(event.before, wanted[i].before));
            if (wanted[i].after != NULL)
                assert_true(bytes_is(event.after, wanted[i].after));
        }
        assert_int_equal(rest.len, 0);
        outbox_close(&outbox);
        assert_int_equal(teardown(NULL), 0);
        assert_int_equal(setup(NULL), 0);
    }
    json_parser_free(parser);
    arena_deinit(&arena);
    buf_deinit(&text);
}

static void without_one_changes_stay_as_they_are(void **state)
{
    (void)state;
    struct outbox outbox;
    struct sink_status status;
    struct buf text = {0};
    outbox_open(&outbox);
    /* Not the order in which any envelope writes. */
    static const char *const odd[] = {"{\"payload\":{\"after\":{\"v\":1e0},\"key\":\"k\",\"table\":\"t\",\"operation\":"
                                      "\"create\"},\"header\":{\"x\":1}}"};
    outbox_entry(&outbox, odd, 1);
    delivered(&outbox, NULL, &text, &status);
    assert_int_equal(status.state, SINK_IDLE);
    assert_int_equal(text.len, strlen(odd[0]) + 1);
    assert_memory_equal(text.data, odd[0], strlen(odd[0]));
    outbox_close(&outbox);
    buf_deinit(&text);
}

/* The sink stops before it, nothing of the batch is there, and the text says where. */
static void what_an_envelope_cannot_hold_stops_the_sink(void **state)
{
    (void)state;
    struct outbox outbox;
    struct sink_status status;
    struct buf text = {0};
    outbox_open(&outbox);
    outbox_single(&outbox, "create", "t", "a", NULL, "{\"v\":1}");
    outbox_single(&outbox, "create", "t", "b", NULL, "{\"v\":[1]}");
    delivered(&outbox, "debezium-schema", &text, &status);
    assert_int_equal(status.state, SINK_FAILED);
    if (strstr(status.why, "outbox sequence 2, change 0: ") == NULL)
        fail_msg("%s", status.why);
    outbox_close(&outbox);
    buf_deinit(&text);
}

int main(void)
{
    log_level_set(LOG_OFF);
#define FILED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FILED(every_envelope_holds_the_same),
        FILED(without_one_changes_stay_as_they_are),
        FILED(what_an_envelope_cannot_hold_stops_the_sink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
