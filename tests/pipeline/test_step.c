/* The step as a golden trace: entries applied, failing and undone, and after each what the store and the outbox hold.
 * The trace reads like a story; when it changes, so did what the engine does. */
#include <stdio.h>
#include <stdlib.h>

#include "store/scratch.h" /* cmocka with it */

#include "base/check.h"
#include "pipeline/query.h"
#include "pipeline/step.h"

struct world {
    char dir[SCRATCH_PATH_MAX], wasm[2][512];
    char indexer_name[16], transform_name[16];
    struct program_settings settings[2];
    struct program indexer, transform;
    struct store *store;
    struct step step;
    struct buf trace;
};

static struct sorex_error err;

static void guest_path(char out[512], const char *name)
{
    const char *dir = getenv("SOREX_GUESTS");
    assert_non_null(dir);
    (void)snprintf(out, 512, "%s/%s.wasm", dir, name);
}

static void world_open(struct world *w, const char *indexer, enum program_inverse inverse)
{
    *w = (struct world){.indexer_name = "indexer", .transform_name = "rows"};
    scratch_make(w->dir);
    guest_path(w->wasm[0], indexer);
    guest_path(w->wasm[1], "tiny_transform_rows");
    w->settings[0] = (struct program_settings){.name = w->indexer_name, .wasm = w->wasm[0]};
    w->settings[1] = (struct program_settings){.name = w->transform_name, .wasm = w->wasm[1], .inverse = (int)inverse};
    struct store_options options = {.dir = w->dir, .create = true, .history = STORE_HISTORY_FULL};
    struct program_context context = {0};
    OK(store_open(&options, &w->store, &err));
    OK(program_load(&w->indexer, PROGRAM_INDEXER, &w->settings[0], &context, &err));
    OK(program_load(&w->transform, PROGRAM_TRANSFORM, &w->settings[1], &context, &err));
    OK(program_register(&w->indexer, w->store, w->dir, false, &err));
    OK(program_register(&w->transform, w->store, w->dir, false, &err));
    OK(step_init(&w->step, w->store, &w->indexer, &w->transform, 1, &err));
}

static void world_close(struct world *w)
{
    step_deinit(&w->step);
    program_unload(&w->transform);
    program_unload(&w->indexer);
    store_close(w->store);
    scratch_remove(w->dir);
    buf_deinit(&w->trace);
}

static void say(struct world *w, const char *text) { OK(buf_append_str(&w->trace, text, &err)); }

static enum sorex_status line_say(void *user_data, struct bytes line, struct sorex_error *error)
{
    struct world *w = user_data;
    TRY(buf_append_str(&w->trace, " ", error));
    return buf_append(&w->trace, bytes_of(line.data, line.len - 1), error);
}

/* Only what a reader wants to see of a change: operation, table, key and images. */
static void changes_say(struct world *w, struct bytes changes)
{
    struct json_parser *parser;
    struct arena arena;
    uint16_t program;
    struct bytes json;
    bool ok = true;
    OK(json_parser_new(&parser, &err));
    arena_init(&arena, 0);
    while (outbox_change_next(&changes, &program, &json, &ok)) {
        struct change change;
        OK(change_parse(parser, json, &arena, &change, &err));
        OK(buf_printf(&w->trace, &err, "\n    %s %.*s/%.*s %.*s -> %.*s", change_operation_name(change.operation),
                      BYTES_FMT(change.table), BYTES_FMT(change.key), (int)change.before.len,
                      (const char *)change.before.data, (int)change.after.len, (const char *)change.after.data));
    }
    assert_true(ok);
    arena_deinit(&arena);
    json_parser_free(parser);
}

static void outbox_say(struct world *w, uint64_t after)
{
    uint64_t first, head;
    struct buf bytes = {0};
    store_outbox_range(w->store, &first, &head);
    for (uint64_t sequence = after + 1; sequence <= head; sequence++) {
        struct outbox_record record;
        OK(store_outbox_read(w->store, sequence, &bytes, &record, &err));
        if (record.kind == OUTBOX_UNDO)
            OK(buf_printf(&w->trace, &err, "\n  outbox %llu: undo of %llu", (unsigned long long)sequence,
                          (unsigned long long)record.undone));
        else
            OK(buf_printf(&w->trace, &err, "\n  outbox %llu: height %u", (unsigned long long)sequence, record.height));
        if (record.kind == OUTBOX_APPLY)
            changes_say(w, record.changes);
    }
    buf_deinit(&bytes);
}

static void state_say(struct world *w)
{
    uint32_t height;
    static const char *const names[] = {"indexer", "rows"};
    for (int i = 0; i < 2; i++) {
        OK(buf_printf(&w->trace, &err, "\n  %s:", names[i]));
        OK(query_dump(w->store, names[i], SOREX_HEIGHT_NONE, bytes_of(NULL, 0), line_say, w, &height, &err));
        uint8_t commitment[HASH_BYTES];
        char hex[HASH_HEX_SIZE];
        OK(store_commitment(w->store, height, (uint16_t)i, commitment, &err));
        hash_hex(commitment, hex);
        OK(buf_printf(&w->trace, &err, " commitment %.8s", hex));
    }
    say(w, "\n");
}

static uint64_t head_of(struct world *w)
{
    uint64_t first, head;
    store_outbox_range(w->store, &first, &head);
    return head;
}

static void apply(struct world *w, uint32_t height, uint32_t branch, uint32_t parent_branch)
{
    struct entry entry = entry_make(height, branch, parent_branch);
    struct step_result result;
    uint64_t before = head_of(w);
    enum sorex_status status = step_apply(&w->step, &entry, true, &result, &err);
    OK(buf_printf(&w->trace, &err, "apply %u of branch %u: ", height, branch));
    if (status != SOREX_OK)
        OK(buf_printf(&w->trace, NULL, "%s", err.text));
    else
        OK(buf_printf(&w->trace, &err, "%llu pairs, %llu changes", (unsigned long long)result.pairs,
                      (unsigned long long)result.changes));
    outbox_say(w, before);
    state_say(w);
}

static void undo(struct world *w)
{
    struct entry entry;
    uint64_t before = head_of(w);
    OK(step_undo(&w->step, &entry, &err));
    OK(buf_printf(&w->trace, &err, "undo of %u", entry.height));
    outbox_say(w, before);
    state_say(w);
}

static void trace_is(struct world *w, const char *want)
{
    if (!bytes_is(buf_view(&w->trace), want)) {
        print_error("the trace is\n");
        (void)fwrite(w->trace.data, 1, w->trace.len, stderr);
        fail_msg("and not\n%s", want);
    }
}

static void test_story(void **unused)
{
    (void)unused;
    struct world w;
    world_open(&w, "tiny_indexer_trap_at_5", INVERSE_HOST);
    apply(&w, 0, 0, 0);
    apply(&w, 1, 0, 0);
    apply(&w, 2, 0, 0);
    undo(&w);
    undo(&w);
    apply(&w, 1, 1, 0);
    trace_is(&w, "apply 0 of branch 0: 1 pairs, 2 changes\n"
                 "  outbox 1: height 0\n"
                 "    create counter/0  -> {\"n\":0}\n"
                 "    create block/0  -> {\"n\":0}\n"
                 "  indexer: 68:0000000000000000 commitment d01ddd58\n"
                 "  rows: 6c617374:00000000 commitment 50eafec5\n"
                 "apply 1 of branch 0: 1 pairs, 2 changes\n"
                 "  outbox 2: height 1\n"
                 "    update counter/0 {\"n\":0} -> {\"n\":1}\n"
                 "    create block/1  -> {\"n\":1}\n"
                 "  indexer: 68:0100000000000000 commitment f0914f60\n"
                 "  rows: 6c617374:01000000 commitment e52cd5de\n"
                 "apply 2 of branch 0: 1 pairs, 3 changes\n"
                 "  outbox 3: height 2\n"
                 "    update counter/0 {\"n\":1} -> {\"n\":2}\n"
                 "    create block/2  -> {\"n\":2}\n"
                 "    delete block/0 {\"n\":0} -> \n"
                 "  indexer: 68:0200000000000000 commitment 071d163b\n"
                 "  rows: 6c617374:02000000 commitment cb5025ee\n"
                 "undo of 2\n"
                 "  outbox 4: undo of 3\n"
                 "  indexer: 68:0100000000000000 commitment f0914f60\n"
                 "  rows: 6c617374:01000000 commitment e52cd5de\n"
                 "undo of 1\n"
                 "  outbox 5: undo of 2\n"
                 "  indexer: 68:0000000000000000 commitment d01ddd58\n"
                 "  rows: 6c617374:00000000 commitment 50eafec5\n"
                 "apply 1 of branch 1: 1 pairs, 2 changes\n"
                 "  outbox 6: height 1\n"
                 "    update counter/0 {\"n\":0} -> {\"n\":1}\n"
                 "    create block/1  -> {\"n\":1}\n"
                 "  indexer: 68:0100000000000000 commitment 1ff4b837\n"
                 "  rows: 6c617374:01000000 commitment 0104219b\n");
    world_close(&w);
}

/* Height 5: the indexer traps. Height 6 on another indexer: the transform contradicts its rows. Nothing of them is
 * visible. */
static void test_failures(void **unused)
{
    (void)unused;
    struct world w;
    world_open(&w, "tiny_indexer_trap_at_5", INVERSE_HOST);
    for (uint32_t h = 0; h < 5; h++)
        apply(&w, h, 0, 0);
    buf_reset(&w.trace);
    apply(&w, 5, 0, 0);
    undo(&w);
    apply(&w, 4, 0, 0);
    trace_is(&w, "apply 5 of branch 0: program indexer: height 5: trap: unreachable executed in sx_fail\n"
                 "  indexer: 68:0400000000000000 commitment 33a220ff\n"
                 "  rows: 6c617374:04000000 commitment d0383ef0\n"
                 "undo of 4\n"
                 "  outbox 6: undo of 5\n"
                 "  indexer: 68:0300000000000000 commitment b2612c0b\n"
                 "  rows: 6c617374:03000000 commitment 9b4605b6\n"
                 "apply 4 of branch 0: 1 pairs, 3 changes\n"
                 "  outbox 7: height 4\n"
                 "    update counter/0 {\"n\":3} -> {\"n\":4}\n"
                 "    create block/4  -> {\"n\":4}\n"
                 "    delete block/2 {\"n\":2} -> \n"
                 "  indexer: 68:0400000000000000 commitment 33a220ff\n"
                 "  rows: 6c617374:04000000 commitment d0383ef0\n");
    world_close(&w);
}

static void test_contradiction(void **unused)
{
    (void)unused;
    struct world w;
    world_open(&w, "tiny_indexer_static", INVERSE_HOST);
    for (uint32_t h = 0; h < 6; h++)
        apply(&w, h, 0, 0);
    buf_reset(&w.trace);
    apply(&w, 6, 0, 0);
    trace_is(&w, "apply 6 of branch 0: program rows: height 6: change 0: create of counter/0, which exists\n"
                 "  indexer: 72:0100000001000000 commitment eaf34a2b\n"
                 "  rows: 6c617374:05000000 commitment dd9e937e\n");
    world_close(&w);
}

/* inverse: guest: what rollback emits and writes stays. */
static void test_guest_inverse(void **unused)
{
    (void)unused;
    struct world w;
    world_open(&w, "tiny_indexer_static", INVERSE_GUEST);
    apply(&w, 0, 0, 0);
    apply(&w, 1, 0, 0);
    buf_reset(&w.trace);
    undo(&w);
    trace_is(&w, "undo of 1\n"
                 "  outbox 3: undo of 2\n"
                 "  outbox 4: height 0\n"
                 "    create undone/1  -> {\"n\":1}\n"
                 "  indexer: 72:0100000001000000 commitment 0c3b6a0b\n"
                 "  rows: 6c617374:00000000 756e646f6e65:01000000 commitment 50eafec5\n");
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_story), cmocka_unit_test(test_failures),
                                       cmocka_unit_test(test_contradiction), cmocka_unit_test(test_guest_inverse)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
