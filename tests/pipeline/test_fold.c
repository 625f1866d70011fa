/* A stream whose messages a reducer folds, against `derive` of the same messages from a file: a source that fails, is
 * assigned anew, gives what it likes; runs that end anywhere. */
#include "derive/story.h"

#include "base/log.h"
#include "derive/chained.h"
#include "pg/place.h"
#include "pipeline/flow.h"
#include "pipeline/fold.h"

#define COUNT (2 * MESSAGES)
#define SEEDS 3u
#define CHECK_WORD 77u

static struct database_program *program; /* held: it is loaded once */

struct world {
    uint64_t random;
    bool quiet;           /* nothing goes wrong */
    const char *names[2]; /* partitions, NULL: only one */
    size_t count, from;   /* messages that there are, that are there no more */
    size_t stop_at;       /* the poll that stops the flow; 0: none */
    size_t read, polls, placings;
    size_t delivered; /* that the source was told */
    bool placed;
    struct flow *flow;
    struct event_partition partitions[2];
    struct event_record records[COUNT];
    char data[PATH_MAX], wasm_path[PATH_MAX];
    struct pipeline_settings settings;
};

static uint64_t draw(struct world *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % below;
}

static bool chance(struct world *w, unsigned percent) { return !w->quiet && draw(w, 100) < percent; }

static const char *text_of(size_t i) { return i < MESSAGES ? story[i] : i % 3 == 0 ? "reject" : story[2 + i % 3]; }

/* Some are not known, some go back. */
static uint64_t given_ms(size_t i) { return i % 5 == 2 ? 0 : 1700000000000 + i * 1000 - (i % 7 == 3 ? 5000 : 0); }

/* What a message has then. */
static uint64_t time_of(size_t i)
{
    uint64_t most = 0;
    for (size_t at = 0; at <= i; at++)
        most = given_ms(at) > most ? given_ms(at) : most;
    return most;
}

/* ---- the source ---- */

struct fake_source {
    struct event_source source;
    struct world *w;
};

static enum sorex_status source_open(const void *settings, const struct event_source_context *context,
                                     struct event_source **out, struct sorex_error *err);

static void source_close(struct event_source *source) { free(source); }

static enum sorex_status source_poll(struct event_source *source, const struct event_limits *limits,
                                     struct event_batch *out, struct sorex_error *err)
{
    struct world *w = ((struct fake_source *)source)->w;
    size_t most = 1 + draw(w, 9);
    (void)limits;
    w->polls++;
    if (w->polls == w->stop_at)
        flow_stop(w->flow);
    if (chance(w, 10))
        return sorex_error_set(err, SOREX_AGAIN, "the source is not there");
    if (chance(w, 10))
        w->placed = false;
    *out = (struct event_batch){.records = w->records, .partitions = w->partitions, .assigned = !w->placed};
    for (; out->partition_count < 2 && w->names[out->partition_count] != NULL; out->partition_count++)
        w->partitions[out->partition_count] =
            (struct event_partition){.name = w->names[out->partition_count], .placed = w->placed, .end = w->count};
    for (; w->placed && out->count < most && w->read < w->count; out->count++, w->read++)
        w->records[out->count] = (struct event_record){.text = bytes_str(text_of(w->read)),
                                                       .number = w->read,
                                                       .time_ms = given_ms(w->read),
                                                       .next = {.offset = w->read + 1, .check = CHECK_WORD}};
    out->caught_up = out->count == 0 && w->placed;
    out->ended = out->caught_up;
    return SOREX_OK;
}

static enum sorex_status source_seek(struct event_source *source, const char *partition,
                                     const struct position *position, struct sorex_error *err)
{
    struct world *w = ((struct fake_source *)source)->w;
    (void)partition;
    assert_non_null(position);
    assert_true(position->offset == 0 || position->check == CHECK_WORD);
    w->placings++;
    if (chance(w, 10))
        return sorex_error_set(err, SOREX_AGAIN, "the source does not seek now");
    if (position->offset < w->from)
        return sorex_error_set(err, SOREX_GONE, "the beginning is there no more");
    w->read = position->offset;
    w->placed = true;
    return SOREX_OK;
}

static void source_delivered(struct event_source *source, const char *partition, const struct position *to)
{
    (void)partition;
    ((struct fake_source *)source)->w->delivered = to->offset;
}

static const struct event_source_type fake_source = {.name = "fake",
                                                     .timed = true,
                                                     .open = source_open,
                                                     .close = source_close,
                                                     .poll = source_poll,
                                                     .seek = source_seek,
                                                     .delivered = source_delivered};

static enum sorex_status source_open(const void *settings, const struct event_source_context *context,
                                     struct event_source **out, struct sorex_error *err)
{
    struct fake_source *source = calloc(1, sizeof *source);
    (void)err;
    assert_true(context->ordered);
    source->source.type = &fake_source;
    (void)memcpy(&source->w, settings, sizeof source->w);
    *out = &source->source;
    return SOREX_OK;
}

/* ---- runs ---- */

static void world_make(struct world *w, struct world **self, const char *dir, uint64_t seed)
{
    static char pipeline[] = "p", name[] = "game";
    *self = w;
    *w = (struct world){.random = seed, .count = COUNT, .names = {"log/0"}};
    (void)snprintf(w->data, sizeof w->data, "%s", in_scratch(dir));
    (void)snprintf(w->wasm_path, sizeof w->wasm_path, "%s/derive_sql.wasm", getenv("SOREX_GUESTS"));
    w->settings =
        (struct pipeline_settings){.top = {.name = pipeline, .data = w->data},
                                   .event_source_type = &fake_source,
                                   .source = self,
                                   .has_reducer = true,
                                   .reducer = {.name = name, .wasm = w->wasm_path, .derive = default_settings()}};
}

static enum sorex_status run_once(struct world *w, size_t stop_at, struct flow_summary *summary,
                                  struct sorex_error *err)
{
    const struct flow_options options = {.until_end = true, .retry_base_ms = 1, .retry_max_ms = 1};
    w->placed = false;
    w->polls = 0;
    w->stop_at = stop_at;
    enum sorex_status status = flow_new(&w->settings, &options, &w->flow, err);
    if (status != SOREX_OK)
        return status;
    status = flow_run(w->flow, summary, err);
    flow_free(w->flow);
    return status;
}

/* As another process sees it. */
static void kept_state(const struct world *w, struct state *out)
{
    struct sorex_error err = {0};
    const struct store_options options = {.dir = w->data, .read_only = true, .history = STORE_HISTORY_FULL};
    struct store *store = NULL;
    struct chained *chained = NULL, *note = NULL;
    struct database *database = NULL;
    assert_ok(store_open(&options, &store, &err));
    assert_ok(chained_open_copy(store, program, "game", &chained, &err));
    assert_ok(chained_open_note(store, "game", &note, &err));
    assert_int_equal(chained_receipt(note)->count, chained_receipt(chained)->count);
    assert_memory_equal(chained_place(note).hash, chained_place(chained).hash, HASH_BYTES);
    assert_ok(chained_fork(chained, SOREX_HEIGHT_NONE, &database, NULL, &err));
    state_of(database, chained_receipt(chained), false, out);
    database_close(database);
    chained_close(note);
    chained_close(chained);
    store_close(store);
}

/* What a file of the first `count` messages gives. */
static void straight(const struct derive_settings *settings, size_t count, struct state *out)
{
    static struct state states[COUNT + 1];
    struct sorex_error err = {0};
    struct buf lines = {0};
    struct json_writer w;
    for (size_t i = 0; i < count; i++) {
        json_writer_init(&w, &lines, false, &err);
        json_object_begin(&w);
        json_name(&w, "time");
        json_uint(&w, time_of(i));
        json_name(&w, "payload");
        json_string_z(&w, text_of(i));
        json_object_end(&w);
        assert_ok(json_writer_finish(&w));
        assert_ok(buf_append_str(&lines, "\n", &err));
    }
    write_file(in_scratch("log"), buf_view(&lines));
    buf_deinit(&lines);
    fold(in_scratch("log"), settings, false, states, count, count);
    *out = states[count];
}

static void however_it_comes_the_database_is_that_of_the_log(void **state)
{
    (void)state;
    const char *rounds = getenv("SOREX_ROUNDS");
    unsigned long seeds = rounds != NULL ? strtoul(rounds, NULL, 10) : SEEDS;
    static struct state wanted, is;
    size_t stops = 0, placings = 0;
    struct derive_settings settings = default_settings();
    straight(&settings, COUNT, &wanted);
    for (unsigned long seed = 1; seed <= seeds; seed++) {
        struct sorex_error err = {0};
        struct world w, *self;
        struct flow_summary summary;
        char dir[32];
        enum sorex_status status = SOREX_STOPPED;
        (void)snprintf(dir, sizeof dir, "random%lu", seed);
        world_make(&w, &self, dir, seed * 7919);
        w.settings.reducer.derive.checkpoint_messages = 1 + draw(&w, 9);
        for (unsigned runs = 0; status == SOREX_STOPPED; runs++, stops++)
            status = run_once(&w, runs < 5 ? 1 + draw(&w, 6) : 0, &summary, &err);
        assert_ok(status);
        kept_state(&w, &is);
        assert_states(&is, &wanted);
        assert_int_equal(w.delivered, COUNT);
        placings += w.placings;
    }
    assert_true(stops > seeds && placings > 2 * seeds);
}

/* Everything before it is derived and saved, also what was applied since the last save; the next run says it again. */
static void a_message_that_halts(void **state)
{
    (void)state;
    static struct state wanted, is;
    struct sorex_error err = {0};
    struct world w, *self;
    struct flow_summary summary;
    world_make(&w, &self, "halts", 5);
    w.quiet = true;
    w.settings.reducer.derive.on_error = 1;
    straight(&w.settings.reducer.derive, 3, &wanted);
    assert_fails(run_once(&w, 0, &summary, &err), SOREX_GUEST, "log/0, record 3: message 4: ");
    kept_state(&w, &is);
    assert_states(&is, &wanted);
    assert_int_equal(w.placings, 2);
    assert_fails(run_once(&w, 0, &summary, &err), SOREX_GUEST, "log/0, record 3: message 4: ");
    kept_state(&w, &is);
    assert_states(&is, &wanted);
}

static void what_is_no_one_log_is_refused(void **state)
{
    (void)state;
    static struct state before, is;
    struct sorex_error err = {0};
    struct world w, *self;
    struct flow_summary summary;
    world_make(&w, &self, "refused", 6);
    w.quiet = true;
    w.from = 1;
    assert_fails(run_once(&w, 0, &summary, &err), SOREX_GONE, "the beginning is there no more");
    w.from = 0;
    w.names[1] = "log/1";
    assert_fails(run_once(&w, 0, &summary, &err), SOREX_INVALID, "this source has 2, log/0 and others");
    w.names[1] = NULL;
    assert_ok(run_once(&w, 0, &summary, &err));
    assert_int_equal(summary.counts.in, COUNT);
    kept_state(&w, &before);
    w.names[0] = "other/0";
    assert_fails(run_once(&w, 0, &summary, &err), SOREX_MISMATCH, "its database is not that of other/0");
    kept_state(&w, &is);
    assert_states(&is, &before);
    assert_ok(fold_drop(&w.settings, &err));
    assert_fails(fold_drop(&w.settings, &err), SOREX_GONE, "none in the store");
    assert_ok(run_once(&w, 0, &summary, &err));
    kept_state(&w, &is);
    assert_states(&is, &before);
}

static int set_up(void **state)
{
    struct sorex_error err = {0};
    (void)state;
    folder_make();
    fold_setup();
    return place_program_take(NULL, true, &program, &err) == SOREX_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    place_program_give(program);
    buf_deinit(&wasm);
    folder_remove();
    return 0;
}

int main(void)
{
    log_level_set(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(however_it_comes_the_database_is_that_of_the_log),
        cmocka_unit_test(a_message_that_halts),
        cmocka_unit_test(what_is_no_one_log_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
