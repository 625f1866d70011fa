/* The loop of streams against a model, by seed: a source whose partitions come and go, a sink that fails before and after it applied,
 * somebody else who delivers too. Whatever happens, every record has its effect once, in the order of its partition. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/log.h"
#include "pipeline/flow.h"
#include "store/scratch.h"

#define PARTITIONS 3u
#define RECORDS 400u
#define SEEDS 150u

struct part {
    char name[16];
    size_t read;           /* the source's own place */
    bool ours, placed;
    size_t applied;        /* in the target */
    bool known;            /* the target has a position of it */
};

struct world {
    pthread_mutex_t lock; /* the sink has a thread of its own */
    uint64_t random;
    bool group;            /* positions are the group's, in the sink's transaction */
    bool quiet;            /* nothing goes wrong */
    unsigned bad_every;    /* every n-th record is no event */
    struct part parts[PARTITIONS];
    struct event_partition list[PARTITIONS];
    struct part *of_list[PARTITIONS];
    size_t list_count;
    bool changed;          /* the assignment, since the last poll */
    struct event_record records[64];
    char texts[64][320];
    size_t rows, dead;     /* in the target, ours and the rival's */
    unsigned again_before, again_after, rivals, assignments; /* that all of it happened */
};

static uint64_t draw(struct world *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % below;
}

static bool chance(struct world *w, unsigned percent) { return !w->quiet && draw(w, 100) < percent; }

static bool is_bad(const struct world *w, size_t number) { return w->bad_every != 0 && number % w->bad_every == 3; }

/* ---- the source ---- */

struct fake_source {
    struct event_source source;
    struct world *w;
};

static enum sorex_status source_open(const void *settings, const struct event_source_context *context, struct event_source **out,
                                     struct sorex_error *err);

static void source_close(struct event_source *source) { free(source); }

static void list_make(struct world *w)
{
    w->list_count = 0;
    for (size_t i = 0; i < PARTITIONS; i++)
        if (w->parts[i].ours) {
            w->of_list[w->list_count] = &w->parts[i];
            w->list[w->list_count++] = (struct event_partition){.name = w->parts[i].name, .placed = w->parts[i].placed,
                                                                .end = RECORDS};
        }
}

/* A rebalance: some partitions go, and somebody else delivers some of their records; others come. */
static void reassign(struct world *w)
{
    w->assignments++;
    for (size_t i = 0; i < PARTITIONS; i++) {
        struct part *part = &w->parts[i];
        if (part->ours && draw(w, 2) == 0)
            part->ours = part->placed = false;
        else if (!part->ours && draw(w, 3) != 0)
            part->ours = true;
    }
    w->changed = true;
}

static bool all_read(const struct world *w)
{
    bool all = true;
    for (size_t i = 0; i < PARTITIONS; i++)
        all = all && w->parts[i].ours && w->parts[i].placed && w->parts[i].read == RECORDS;
    return all;
}

static void record_make(struct world *w, size_t slot, uint32_t partition, size_t number)
{
    (void)snprintf(w->texts[slot], sizeof w->texts[slot],
                   is_bad(w, number) ? "no event %zu"
                                     : "{\"before\":null,\"after\":{\"n\":%zu},\"op\":\"insert\",\"source\":{\"source_name\":\"s\","
                                       "\"offset\":\"o\",\"timestamp\":1},\"ts\":1,\"schema\":null,\"table\":\"t\",\"primary_key\":null,"
                                       "\"snapshot\":null,\"transaction\":null,\"envelope_version\":1,\"before_is_key_only\":false}",
                   number);
    w->records[slot] = (struct event_record){.text = bytes_str(w->texts[slot]),
                                             .key = bytes_str(w->of_list[partition]->name),
                                             .partition = partition,
                                             .number = number,
                                             .next = {.offset = number + 1}};
}

static enum sorex_status poll_locked(struct world *w, const struct event_limits *limits, struct event_batch *out,
                                     struct sorex_error *err)
{
    size_t count = 0, most = 1 + draw(w, limits->records < 64 ? limits->records : 64);
    if (chance(w, 4))
        return sorex_error_set(err, SOREX_AGAIN, "the source is not there");
    if (chance(w, 5) || (w->list_count == 0 && !w->changed) || (draw(w, 40) == 0 && w->list_count < PARTITIONS))
        reassign(w);
    list_make(w);
    *out = (struct event_batch){.records = w->records, .partitions = w->list, .partition_count = w->list_count,
                                .assigned = w->changed};
    w->changed = false;
    if (out->assigned)
        return SOREX_OK;
    for (size_t tries = 0; count < most && tries < 3 * most; tries++) {
        uint32_t at = (uint32_t)draw(w, w->list_count);
        struct part *part = w->of_list[at];
        if (part->placed && part->read < RECORDS)
            record_make(w, count++, at, part->read++);
    }
    out->count = count;
    out->caught_up = count == 0;
    out->ended = count == 0 && all_read(w);
    return SOREX_OK;
}

static enum sorex_status source_poll(struct event_source *source, const struct event_limits *limits, struct event_batch *out,
                                     struct sorex_error *err)
{
    struct world *w = ((struct fake_source *)source)->w;
    (void)pthread_mutex_lock(&w->lock);
    enum sorex_status status = poll_locked(w, limits, out, err);
    (void)pthread_mutex_unlock(&w->lock);
    return status;
}

static struct part *part_find(struct world *w, const char *name)
{
    for (size_t i = 0; i < PARTITIONS; i++)
        if (strcmp(w->parts[i].name, name) == 0)
            return &w->parts[i];
    CHECK(!"a partition that there is not");
    return NULL;
}

static enum sorex_status source_seek(struct event_source *source, const char *partition, const struct position *position,
                                     struct sorex_error *err)
{
    struct world *w = ((struct fake_source *)source)->w;
    struct part *part = part_find(w, partition);
    if (chance(w, 3))
        return sorex_error_set(err, SOREX_AGAIN, "the source does not seek now");
    CHECK(part->ours);
    part->read = position != NULL ? position->offset : w->group ? part->applied : 0;
    part->placed = true;
    return SOREX_OK;
}

static void *source_group(struct event_source *source)
{
    struct world *w = ((struct fake_source *)source)->w;
    return w->group ? w : NULL;
}

static const struct event_source_type fake_source = {.name = "fake", .summary = "of this test", .open = source_open,
                                                     .close = source_close, .poll = source_poll, .seek = source_seek,
                                                     .group = source_group};

static enum sorex_status source_open(const void *settings, const struct event_source_context *context, struct event_source **out,
                                     struct sorex_error *err)
{
    struct fake_source *source = calloc(1, sizeof *source);
    (void)context;
    (void)err;
    source->source.type = &fake_source;
    (void)memcpy(&source->w, settings, sizeof source->w);
    *out = &source->source;
    return SOREX_OK;
}

/* ---- the sink ---- */

struct fake_sink {
    struct sink sink;
    struct world *w;
};

static enum sorex_status sink_open(const void *settings, const struct sink_context *context, struct sink **out,
                                   struct sorex_error *err);

static void sink_close(struct sink *sink) { free(sink); }

static enum sorex_status sink_position_get(struct sink *sink, const char *partition, void *group, struct position *out,
                                           struct sorex_error *err)
{
    struct world *w = ((struct fake_sink *)sink)->w;
    struct part *part = part_find(w, partition);
    CHECK((group != NULL) == w->group);
    if (chance(w, 5))
        return sorex_error_set(err, SOREX_AGAIN, "the sink is not there");
    *out = (struct position){.offset = part->applied};
    return part->known && !w->group ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "no position");
}

/* The rows and dead letters of a partition are exactly the records of [applied, to). */
static void batch_check(struct world *w, const struct sink_batch *batch, const struct sink_position *position)
{
    const struct part *part = part_find(w, position->partition);
    size_t row = 0, dead = 0;
    for (size_t number = part->applied; number < position->to.offset; number++) {
        if (is_bad(w, number)) {
            while (dead < batch->dead_count && strcmp(batch->dead[dead].partition, part->name) != 0)
                dead++;
            CHECK(dead < batch->dead_count);
            CHECK(batch->dead[dead].number == number);
            CHECK(strstr((const char *)batch->dead[dead].event.data, "no event") != NULL);
            dead++;
            continue;
        }
        char want[32];
        (void)snprintf(want, sizeof want, "{\"n\":%zu}", number);
        while (row < batch->count && !bytes_is(batch->changes[row].source_key, part->name))
            row++;
        CHECK(row < batch->count);
        CHECK(batch->changes[row].sequence == number);
        CHECK(memmem(batch->changes[row].change.raw.data, batch->changes[row].change.raw.len, want, strlen(want)) != NULL);
        row++;
    }
    for (; row < batch->count; row++)
        CHECK(!bytes_is(batch->changes[row].source_key, part->name));
    for (; dead < batch->dead_count; dead++)
        CHECK(strcmp(batch->dead[dead].partition, part->name) != 0);
}

/* Somebody else moves a partition on. */
static void rival(struct world *w)
{
    struct part *part = &w->parts[draw(w, PARTITIONS)];
    size_t more = 1 + draw(w, 5);
    if (part->applied + more > RECORDS || (w->group && part->ours))
        return;
    w->rivals++;
    for (size_t i = 0; i < more; i++)
        is_bad(w, part->applied + i) ? w->dead++ : w->rows++;
    part->applied += more;
    part->known = true;
}

static bool stale(struct world *w, const struct sink_position *position)
{
    const struct part *part = part_find(w, position->partition);
    if (w->group)
        return !part->ours; /* the broker's generation says so */
    return position->first ? part->known : !part->known || part->applied != position->from.offset;
}

static enum sorex_status apply_locked(struct world *w, const struct sink_batch *batch, struct sorex_error *err)
{
    CHECK(batch->position_count > 0);
    if (chance(w, 8))
        rival(w);
    if (chance(w, 8)) {
        w->again_before++;
        return sorex_error_set(err, SOREX_AGAIN, "nothing was done");
    }
    for (size_t i = 0; i < batch->position_count; i++)
        if (stale(w, &batch->positions[i]))
            return sorex_error_set(err, SOREX_AGAIN, "somebody else moved it");
    for (size_t i = 0; i < batch->position_count; i++) {
        struct part *part = part_find(w, batch->positions[i].partition);
        batch_check(w, batch, &batch->positions[i]);
        part->applied = batch->positions[i].to.offset;
        part->known = true;
    }
    w->rows += batch->count;
    w->dead += batch->dead_count;
    if (chance(w, 8)) {
        w->again_after++;
        return sorex_error_set(err, SOREX_AGAIN, "all was done");
    }
    return SOREX_OK;
}

static enum sorex_status sink_apply(struct sink *sink, const struct sink_batch *batch, struct sorex_error *err)
{
    struct world *w = ((struct fake_sink *)sink)->w;
    (void)pthread_mutex_lock(&w->lock);
    enum sorex_status status = apply_locked(w, batch, err);
    (void)pthread_mutex_unlock(&w->lock);
    return status;
}

static const struct sink_type fake_sink = {.name = "fake", .summary = "of this test", .uses_keys = true, .takes_group = true, .open = sink_open,
                                           .close = sink_close, .apply = sink_apply, .position = sink_position_get};

static enum sorex_status sink_open(const void *settings, const struct sink_context *context, struct sink **out,
                                   struct sorex_error *err)
{
    struct fake_sink *sink = calloc(1, sizeof *sink);
    (void)err;
    CHECK(context->stream);
    sink->sink.type = &fake_sink;
    (void)memcpy(&sink->w, settings, sizeof sink->w);
    *out = &sink->sink;
    return SOREX_OK;
}

/* ---- runs ---- */

static void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){.lock = PTHREAD_MUTEX_INITIALIZER, .random = seed * 0x9e3779b97f4a7c15u + 1, .bad_every = 11};
    for (size_t i = 0; i < PARTITIONS; i++) {
        (void)snprintf(w->parts[i].name, sizeof w->parts[i].name, "topic/%zu", i);
        w->parts[i].ours = true;
    }
    w->changed = true;
}

static enum sorex_status run(struct world *w, uint32_t instances, enum on_error on_error, struct sorex_error *err)
{
    static struct pipeline_settings settings;
    char scratch[SCRATCH_PATH_MAX];
    struct flow *flow;
    struct flow_summary summary;
    char name[] = "test", sink_name[] = "out";
    scratch_make(scratch);
    settings = (struct pipeline_settings){.event_source_type = &fake_source, .source = &w, .sink_count = 1};
    settings.top.name = name;
    settings.top.data = scratch;
    settings.top.instances = instances;
    settings.top.batch_events = 64;
    settings.top.batch_bytes = 1 << 20;
    settings.events.on_error = (int)on_error;
    settings.sinks[0] = (struct sink_settings){.name = sink_name, .type = &fake_sink, .options = &w};
    const struct flow_options options = {.until_end = true, .retry_base_ms = 1, .retry_max_ms = 1};
    enum sorex_status status = flow_new(&settings, &options, &flow, err);
    assert_int_equal(status, SOREX_OK);
    status = flow_run(flow, &summary, err);
    flow_free(flow);
    scratch_remove(scratch);
    return status;
}

static void test_exactly_once(void **state)
{
    unsigned before = 0, after = 0, rivals = 0, assignments = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world w;
        struct sorex_error err = {0};
        world_init(&w, seed);
        w.group = seed % 3 == 0;
        if (run(&w, (uint32_t)(1 + seed % 3), ON_ERROR_SKIP, &err) != SOREX_OK)
            fail_msg("seed %llu: %s", (unsigned long long)seed, err.text);
        size_t bad = 0;
        for (size_t n = 0; n < RECORDS; n++)
            bad += is_bad(&w, n);
        for (size_t i = 0; i < PARTITIONS; i++)
            assert_int_equal(w.parts[i].applied, RECORDS);
        assert_int_equal(w.dead, PARTITIONS * bad);
        assert_int_equal(w.rows, PARTITIONS * (RECORDS - bad));
        before += w.again_before;
        after += w.again_after;
        rivals += w.rivals;
        assignments += w.assignments;
    }
    assert_true(before > SEEDS && after > SEEDS && rivals > SEEDS && assignments > SEEDS);
}

/* What lies before the event that fails is delivered; the next run begins with it. */
static void test_halt(void **state)
{
    (void)state;
    for (uint32_t instances = 1; instances <= 3; instances += 2)
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct world w;
            struct sorex_error err = {0};
            world_init(&w, seed);
            w.quiet = seed % 2 == 0;
            for (unsigned round = 0; round < 2; round++) {
                assert_int_equal(run(&w, instances, ON_ERROR_HALT, &err), SOREX_INVALID);
                assert_non_null(strstr(err.text, ", record 3: "));
                bool there = false;
                for (size_t i = 0; i < PARTITIONS; i++) {
                    assert_true(w.quiet == false || w.parts[i].applied <= 3);
                    there = there || w.parts[i].applied == 3;
                    w.parts[i].placed = false;
                }
                assert_true(there || !w.quiet);
                w.changed = true;
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exactly_once), cmocka_unit_test(test_halt)};
    log_level_set(LOG_OFF);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
