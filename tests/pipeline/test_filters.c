/* Filters in the step. A golden trace of all that they can do to a row; then random rows under random reorganisations,
 * where what was delivered has to be the filtered rows at any time; and what they do when they fail. */
#include <stdio.h>
#include <stdlib.h>

#include "store/scratch.h" /* cmocka with it */

#include "base/check.h"
#include "base/codec.h"
#include "base/sha256.h"
#include "pipeline/query.h"
#include "pipeline/step.h"
#include "store/disk.h"

#define ROWS_MAX 64

static struct sorex_error err;

/* ---- a sink: what was delivered, folded ---- */

struct folded_row {
    char place[64]; /* TABLE/KEY */
    char image[128];
};

struct folded {
    struct folded_row rows[ROWS_MAX]; /* sorted by place */
    size_t count;
    uint64_t cursor;
    struct json_parser *parsers[2];
    struct arena arena;
    struct buf trace; /* of the changes that came, when tracing */
    bool tracing;
};

static int row_compare(const void *a, const void *b)
{
    return strcmp(((const struct folded_row *)a)->place, ((const struct folded_row *)b)->place);
}

static struct folded_row *row_find(struct folded *f, const char *place)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->rows[i].place, place) == 0)
            return &f->rows[i];
    return NULL;
}

static bool image_is(struct folded *f, const char *text, struct bytes image)
{
    bool equal;
    OK(change_image_equal(f->parsers[0], bytes_str(text), f->parsers[1], image, &equal, &err));
    return equal;
}

/* As a sink that checks everything would. */
static void change_fold(struct folded *f, struct bytes json)
{
    struct change change;
    char place[64];
    OK(change_parse(f->parsers[0], json, &f->arena, &change, &err));
    (void)snprintf(place, sizeof place, "%.*s/%.*s", BYTES_FMT(change.table), BYTES_FMT(change.key));
    if (f->tracing)
        OK(buf_printf(&f->trace, &err, "  %s %s %.*s -> %.*s\n", change_operation_name(change.operation), place,
                      (int)change.before.len, (const char *)change.before.data, (int)change.after.len,
                      (const char *)change.after.data));
    struct folded_row *row = row_find(f, place);
    if ((row == NULL) != (change.operation == CHANGE_CREATE))
        fail_msg("%s of %s, which is %s", change_operation_name(change.operation), place,
                 row == NULL ? "not there" : "there");
    if (row != NULL && !image_is(f, row->image, change.before))
        fail_msg("before of %s: %.*s, and it is %s", place, BYTES_FMT(change.before), row->image);
    if (change.operation == CHANGE_DELETE) {
        *row = f->rows[--f->count];
    } else {
        assert_true(row != NULL || f->count < ROWS_MAX);
        row = row != NULL ? row : &f->rows[f->count++];
        (void)snprintf(row->place, sizeof row->place, "%s", place);
        (void)snprintf(row->image, sizeof row->image, "%.*s", BYTES_FMT(change.after));
    }
    qsort(f->rows, f->count, sizeof f->rows[0], row_compare);
}

static void record_fold(struct folded *f, struct bytes changes, bool undo)
{
    struct bytes list[256];
    struct buf inverse = {0};
    size_t count = 0;
    uint16_t program;
    bool ok = true;
    while (outbox_change_next(&changes, &program, &list[count], &ok))
        assert_true(++count < 256);
    assert_true(ok);
    for (size_t i = 0; i < count; i++) {
        struct bytes json = list[undo ? count - 1 - i : i];
        arena_reset(&f->arena);
        buf_reset(&inverse);
        if (undo)
            OK(change_invert(f->parsers[0], json, &inverse, &err));
        change_fold(f, undo ? buf_view(&inverse) : json);
    }
    buf_deinit(&inverse);
}

static void fold(struct folded *f, struct store *store)
{
    uint64_t first, head;
    struct buf bytes = {0};
    store_outbox_range(store, &first, &head);
    while (f->cursor < head) {
        struct outbox_record record;
        OK(store_outbox_read(store, ++f->cursor, &bytes, &record, &err));
        bool undo = record.kind == OUTBOX_UNDO;
        if (undo)
            OK(store_outbox_read(store, record.undone, &bytes, &record, &err));
        record_fold(f, record.changes, undo);
    }
    buf_deinit(&bytes);
}

/* ---- the world ---- */

struct world {
    char dir[SCRATCH_PATH_MAX], wasm[2][512];
    struct disk *disk;
    char name[16], filter_name[2][16];
    struct program_settings settings;
    struct filter_settings filter_settings[2];
    size_t filter_count;
    bool without; /* a pipeline that never heard of filters */
    struct config_node *config;
    struct program transform;
    struct filters filters;
    struct store *store;
    struct step step;
    struct folded folded;
};

static void guest_path(char out[512], const char *name)
{
    const char *dir = getenv("SOREX_GUESTS");
    assert_non_null(dir);
    (void)snprintf(out, 512, "%s/%s.wasm", dir, name);
}

/* adopt: another list of filters than the store's. */
static void world_start(struct world *w, bool adopt)
{
    struct store_options options = {.dir = w->dir, .disk = w->disk, .create = true, .history = STORE_HISTORY_FULL};
    struct program_context context = {.data_dir = w->dir};
    OK(store_open(&options, &w->store, &err));
    OK(program_load(&w->transform, PROGRAM_TRANSFORM, &w->settings, &context, &err));
    OK(program_register(&w->transform, w->store, w->dir, false, &err));
    OK(step_init(&w->step, w->store, NULL, &w->transform, 1, &err));
    if (w->without)
        return;
    OK(filters_load(&w->filters, w->filter_settings, w->filter_count, w->dir, &err));
    OK(filters_register(&w->filters, w->store, adopt, &err));
    step_filters(&w->step, &w->filters);
}

static void world_stop(struct world *w)
{
    step_deinit(&w->step);
    filters_unload(&w->filters);
    program_unload(&w->transform);
    store_close(w->store);
}

static void config_set(struct world *w, unsigned shift)
{
    char text[64];
    config_free(w->config);
    w->config = NULL;
    (void)snprintf(text, sizeof text, "{shift: %u}", shift);
    OK(config_parse(bytes_str(text), "test", &w->config, &err));
    w->filter_settings[0].config = w->config;
}

static void world_open(struct world *w, const char *transform, enum program_before before)
{
    *w = (struct world){.name = "rows", .filter_name = {"rules", "second"}, .filter_count = 1};
    scratch_make(w->dir);
    w->disk = disk_new();
    assert_non_null(w->disk);
    guest_path(w->wasm[0], transform);
    guest_path(w->wasm[1], "tiny_filter_rules");
    w->settings = (struct program_settings){.name = w->name, .wasm = w->wasm[0], .before = (int)before};
    for (size_t i = 0; i < 2; i++)
        w->filter_settings[i] = (struct filter_settings){
            .name = w->filter_name[i], .wasm = w->wasm[1], .memory_max = (uint64_t)16 << 20, .timeout_ms = 2000};
    config_set(w, 0);
    OK(json_parser_new(&w->folded.parsers[0], &err));
    OK(json_parser_new(&w->folded.parsers[1], &err));
    arena_init(&w->folded.arena, 0);
}

static void world_close(struct world *w)
{
    config_free(w->config);
    for (size_t i = 0; i < 2; i++)
        json_parser_free(w->folded.parsers[i]);
    arena_deinit(&w->folded.arena);
    buf_deinit(&w->folded.trace);
    disk_free(w->disk);
    scratch_remove(w->dir);
}

static enum sorex_status try_apply(struct world *w, uint32_t height, uint32_t branch, uint32_t parent_branch)
{
    struct entry entry = entry_make(height, branch, parent_branch);
    struct step_result result;
    enum sorex_status status = step_apply(&w->step, &entry, true, &result, &err);
    fold(&w->folded, w->store);
    return status;
}

static void apply(struct world *w, uint32_t height, uint32_t branch, uint32_t parent_branch)
{
    OK(buf_printf(&w->folded.trace, &err, "apply %u\n", height));
    if (try_apply(w, height, branch, parent_branch) != SOREX_OK)
        fail_msg("height %u: %s", height, err.text);
}

static void undo(struct world *w)
{
    struct entry entry;
    OK(step_undo(&w->step, &entry, &err));
    OK(buf_printf(&w->folded.trace, &err, "undo %u\n", entry.height));
    fold(&w->folded, w->store);
}

/* ---- golden ---- */

static void trace_is(struct world *w, const char *want)
{
    struct bytes got = buf_view(&w->folded.trace);
    if (!bytes_is(got, want)) {
        print_error("the trace is\n");
        (void)fwrite(got.data, 1, got.len, stderr);
        fail_msg("and not\n%s", want);
    }
}

/* The transform's own: counter/0 has n = height; block/h is created with n = h, block/h-2 deleted. */
static void test_story(void **unused)
{
    (void)unused;
    struct world w;
    world_open(&w, "tiny_transform_rows", BEFORE_ENGINE);
    w.folded.tracing = true;
    world_start(&w, false);
    for (uint32_t h = 0; h <= 5; h++)
        apply(&w, h, 0, 0);
    for (uint32_t h = 0; h < 5; h++)
        undo(&w);
    assert_int_equal(w.folded.count, 2); /* what height 0 delivered */
    trace_is(&w, "apply 0\n"
                 "  create counter/0  -> {\"n\":0}\n"
                 "  create block/0  -> {\"n\":0}\n"
                 "apply 1\n"
                 "  delete counter/0 {\"n\":0} -> \n"
                 "apply 2\n"
                 "  create counter/0  -> {\"n\":\"***\"}\n"
                 "  create block/2  -> {\"n\":\"***\"}\n"
                 "  update block/0 {\"n\":0} -> {\"n\":\"gone\"}\n"
                 "apply 3\n"
                 "  delete counter/0 {\"n\":\"***\"} -> \n"
                 "  create moved_counter/0  -> {\"n\":3}\n"
                 "  create moved_block/3  -> {\"n\":3}\n"
                 "apply 4\n"
                 "  delete moved_counter/0 {\"n\":3} -> \n"
                 "  create counter/4  -> {\"n\":4}\n"
                 "  create block/4  -> {\"n\":4}\n"
                 "  delete block/2 {\"n\":\"***\"} -> \n"
                 "apply 5\n"
                 "  delete counter/4 {\"n\":4} -> \n"
                 "  create counter/0  -> {\"n\":5}\n"
                 "  create block/5  -> {\"n\":5}\n"
                 "  delete moved_block/3 {\"n\":3} -> \n"
                 "undo 5\n"
                 "  create moved_block/3  -> {\"n\":3}\n"
                 "  delete block/5 {\"n\":5} -> \n"
                 "  delete counter/0 {\"n\":5} -> \n"
                 "  create counter/4  -> {\"n\":4}\n"
                 "undo 4\n"
                 "  create block/2  -> {\"n\":\"***\"}\n"
                 "  delete block/4 {\"n\":4} -> \n"
                 "  delete counter/4 {\"n\":4} -> \n"
                 "  create moved_counter/0  -> {\"n\":3}\n"
                 "undo 3\n"
                 "  delete moved_block/3 {\"n\":3} -> \n"
                 "  delete moved_counter/0 {\"n\":3} -> \n"
                 "  create counter/0  -> {\"n\":\"***\"}\n"
                 "undo 2\n"
                 "  update block/0 {\"n\":\"gone\"} -> {\"n\":0}\n"
                 "  delete block/2 {\"n\":\"***\"} -> \n"
                 "  delete counter/0 {\"n\":\"***\"} -> \n"
                 "undo 1\n"
                 "  create counter/0  -> {\"n\":0}\n");
    world_stop(&w);
    world_close(&w);
}

/* ---- random ---- */

/* What the rules make of a row of the random transform; false: nothing. */
static bool rule_apply(struct bytes table, struct bytes key, struct bytes image, struct folded_row *out)
{
    unsigned v, n;
    char k[8], text[128];
    (void)snprintf(text, sizeof text, "%.*s", BYTES_FMT(image));
    assert_int_equal(sscanf(text, "{\"v\":%u,\"n\":%u,\"k\":\"%7[a-z]\"}", &v, &n, k), 3);
    (void)snprintf(out->image, sizeof out->image, "%s", text);
    (void)snprintf(out->place, sizeof out->place, "%s%.*s/%.*s", n == 3 ? "moved_" : "", BYTES_FMT(table),
                   BYTES_FMT(key));
    if (n == 4)
        (void)snprintf(out->place, sizeof out->place, "%.*s/%s", BYTES_FMT(table), k);
    if (n == 2)
        (void)snprintf(out->image, sizeof out->image, "{\"v\":\"***\",\"n\":%u,\"k\":\"%s\"}", n, k);
    return n != 1;
}

static enum sorex_status row_expect(void *user_data, struct bytes table, struct bytes key, struct bytes image,
                                    struct sorex_error *error)
{
    struct folded *want = user_data;
    (void)error;
    if (rule_apply(table, key, image, &want->rows[want->count]))
        want->count++;
    return SOREX_OK;
}

/* What was delivered is what the filter makes of the transform's rows. */
static void filtered_fold_check(struct world *w)
{
    static struct folded want;
    uint32_t height;
    want.count = 0;
    OK(query_rows(w->store, "rows", SOREX_HEIGHT_NONE, row_expect, &want, &height, &err));
    qsort(want.rows, want.count, sizeof want.rows[0], row_compare);
    assert_int_equal(w->folded.count, want.count);
    for (size_t i = 0; i < want.count; i++) {
        assert_string_equal(w->folded.rows[i].place, want.rows[i].place);
        if (!image_is(&w->folded, w->folded.rows[i].image, bytes_str(want.rows[i].image)))
            fail_msg("%s: %s, and not %s", want.rows[i].place, w->folded.rows[i].image, want.rows[i].image);
    }
}

#define HEIGHTS_MAX 40

struct history {
    uint32_t branches[HEIGHTS_MAX];
    struct folded_row rows[HEIGHTS_MAX][ROWS_MAX];
    size_t counts[HEIGHTS_MAX];
    uint32_t tip, next_branch;
    uint64_t seed;
};

static uint32_t draw(struct history *h, uint32_t below)
{
    h->seed = h->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(h->seed >> 33) % below;
}

static void forward(struct world *w, struct history *h)
{
    uint32_t parent = h->branches[h->tip];
    h->branches[++h->tip] = h->next_branch++;
    apply(w, h->tip, h->branches[h->tip], parent);
    memcpy(h->rows[h->tip], w->folded.rows, sizeof h->rows[0]);
    h->counts[h->tip] = w->folded.count;
}

/* Undone, what was delivered is what it was. */
static void back(struct world *w, struct history *h)
{
    undo(w);
    h->tip--;
    assert_int_equal(w->folded.count, h->counts[h->tip]);
    for (size_t i = 0; i < w->folded.count; i++) {
        assert_string_equal(w->folded.rows[i].place, h->rows[h->tip][i].place);
        assert_true(image_is(&w->folded, w->folded.rows[i].image, bytes_str(h->rows[h->tip][i].image)));
    }
}

/* One list of filters when upgrades is false; else the list is another one, or empty, from time to time. */
static void history_run(uint64_t seed, enum program_before before, bool upgrades)
{
    static struct world w;
    static struct history h;
    world_open(&w, "tiny_transform_random", before);
    world_start(&w, false);
    h = (struct history){.seed = seed, .next_branch = (uint32_t)seed * 1000 + 1};
    apply(&w, 0, 0, 0);
    memcpy(h.rows[0], w.folded.rows, sizeof h.rows[0]);
    h.counts[0] = w.folded.count;
    for (int i = 0; i < 120; i++) {
        uint32_t what = draw(&h, 10);
        if (what < 6 && h.tip + 1 < HEIGHTS_MAX)
            forward(&w, &h);
        else if (what < 8)
            for (uint32_t depth = 1 + draw(&h, 6); depth > 0 && h.tip > 0; depth--)
                back(&w, &h);
        else {
            world_stop(&w);
            bool other = upgrades && draw(&h, 3) == 0;
            if (other) {
                w.filter_count = draw(&h, 3);
                config_set(&w, draw(&h, 2) * 20); /* 20: it passes everything */
            }
            world_start(&w, other);
        }
        if (!upgrades)
            filtered_fold_check(&w);
    }
    while (h.tip > 0)
        back(&w, &h);
    world_stop(&w);
    world_close(&w);
}

static void test_random(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 20; seed++)
        history_run(seed, BEFORE_ENGINE, false);
}

static void test_random_lists(void **unused)
{
    (void)unused;
    for (uint64_t seed = 11; seed <= 30; seed++)
        history_run(seed, BEFORE_ENGINE, true);
}

/* ---- failures ---- */

static void fails(unsigned shift, enum on_error policy, const char *want)
{
    struct world w;
    world_open(&w, "tiny_transform_rows", BEFORE_ENGINE);
    config_set(&w, shift);
    w.filter_settings[0].on_error = (int)policy;
    if (shift == 9)
        w.filter_settings[0].timeout_ms = 20;
    w.folded.tracing = true;
    world_start(&w, false);
    enum sorex_status status = try_apply(&w, 0, 0, 0);
    if (policy == ON_ERROR_HALT || shift >= 9) {
        assert_int_equal(status, SOREX_GUEST);
        assert_int_equal(w.folded.cursor, 0);
        if (strstr(err.text, want) == NULL)
            fail_msg("%s: not %s", err.text, want);
    } else {
        OK(status);
        trace_is(&w, want);
    }
    assert_int_equal(atomic_load(&w.filters.stages[0].failed), policy == ON_ERROR_HALT || shift >= 9 ? 1 : 2);
    world_stop(&w);
    world_close(&w);
}

static void test_failures(void **unused)
{
    (void)unused;
    fails(7, ON_ERROR_HALT, "height 0: change 0: table counter, key 0: program rules: the output is a truncate");
    fails(8, ON_ERROR_HALT, "height 0: change 0: table counter, key 0: program rules: transform: trap");
    fails(8, ON_ERROR_SKIP, "");
    fails(7, ON_ERROR_PASS, "  create counter/0  -> {\"n\":0}\n  create block/0  -> {\"n\":0}\n");
    fails(9, ON_ERROR_HALT, "timed out");
    fails(9, ON_ERROR_SKIP, "timed out");
    fails(9, ON_ERROR_PASS, "whatever on_error says");
    fails(10, ON_ERROR_SKIP, "whatever on_error says");
}

/* A row may not come to where another one is, whichever was there first. Nothing of the block is visible then. */
static void collides(uint32_t height, unsigned shift, enum program_before before, const char *want)
{
    struct world w;
    world_open(&w, "tiny_transform_rows", before);
    config_set(&w, 20);
    world_start(&w, false);
    for (uint32_t h = 0; h < height; h++)
        apply(&w, h, 0, 0);
    world_stop(&w);
    config_set(&w, shift);
    world_start(&w, true);
    uint64_t cursor = w.folded.cursor;
    assert_int_equal(try_apply(&w, height, 0, 0), SOREX_GUEST);
    assert_int_equal(w.folded.cursor, cursor);
    if (strstr(err.text, want) == NULL)
        fail_msg("%s: not %s", err.text, want);
    world_stop(&w);
    world_close(&w);
}

static void test_place_taken(void **unused)
{
    (void)unused;
    collides(0, 11, BEFORE_ENGINE,
             "change 1: filters: table block, key 0: its place one/0 is taken by another row"); /* both moved */
    collides(0, 12, BEFORE_ENGINE,
             "change 1: filters: table block, key 0: its place block/0 is taken"); /* comes home, one is there */
    collides(1, 11, BEFORE_ENGINE,
             "change 0: filters: table counter, key 0: its place block/0 is taken"); /* one is at home there */
    collides(0, 3, BEFORE_GUEST, "cannot be moved");
}

/* Before filters were added, after they were taken away: rows are followed all the same. */
static void test_added_and_removed(void **unused)
{
    (void)unused;
    struct world w;
    world_open(&w, "tiny_transform_rows", BEFORE_ENGINE);
    w.without = true;
    world_start(&w, false);
    apply(&w, 0, 0, 0);
    world_stop(&w);
    w.without = false;
    w.folded.tracing = true;
    buf_reset(&w.folded.trace);
    world_start(&w, false);
    apply(&w, 1, 0, 0);
    apply(&w, 2, 0, 0);
    world_stop(&w);
    w.filter_count = 0;
    world_start(&w, true);
    apply(&w, 3, 0, 0);
    undo(&w);
    undo(&w);
    undo(&w);
    trace_is(&w, "apply 1\n"
                 "  delete counter/0 {\"n\":0} -> \n"
                 "apply 2\n"
                 "  create counter/0  -> {\"n\":\"***\"}\n"
                 "  create block/2  -> {\"n\":\"***\"}\n"
                 "  update block/0 {\"n\":0} -> {\"n\":\"gone\"}\n"
                 "apply 3\n"
                 "  update counter/0 {\"n\":\"***\"} -> {\"n\":3}\n"
                 "  create block/3  -> {\"n\":3}\n"
                 "undo 3\n"
                 "  delete block/3 {\"n\":3} -> \n"
                 "  update counter/0 {\"n\":3} -> {\"n\":\"***\"}\n"
                 "undo 2\n"
                 "  update block/0 {\"n\":\"gone\"} -> {\"n\":0}\n"
                 "  delete block/2 {\"n\":\"***\"} -> \n"
                 "  delete counter/0 {\"n\":\"***\"} -> \n"
                 "undo 1\n"
                 "  create counter/0  -> {\"n\":0}\n");
    world_stop(&w);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_story),        cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_random_lists), cmocka_unit_test(test_failures),
                                       cmocka_unit_test(test_place_taken),  cmocka_unit_test(test_added_and_removed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
