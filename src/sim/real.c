#include "sim/real.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/sha256.h"
#include "pipeline/query.h"
#include "pipeline/step.h"
#include "sim/twin.h"
#include "sink/feed.h"
#include "store/disk.h"
#include "store/fault.h"

#define PROGRAMS_MAX (1 + PIPELINE_TRANSFORMS_MAX)
#define PAIRS_SMALL 20000 /* up to here the whole state is hashed at every height, above it at the end of a step */

/* What the first execution gave at a height. */
struct known {
    bool executed, hashed;
    uint8_t entry[HASH_BYTES];
    uint8_t commitments[PROGRAMS_MAX][HASH_BYTES];
    uint8_t state[HASH_BYTES]; /* when hashed: all keys, images and pages of programs whose inverse is the host's */
    uint8_t rows[HASH_BYTES];  /* ... and what the sink has */
};

struct real {
    struct pipeline_settings settings;
    struct program indexer, transforms[PIPELINE_TRANSFORMS_MAX];
    struct filters filters;
    struct source *source;
    uint32_t source_tip;
    struct known *known; /* from start_height on */
    uint32_t known_cap;
    /* of one play */
    struct disk *disk;
    struct store *store;
    struct step step;
    struct feed *feed;
    struct twin twin;
    uint64_t pairs; /* of the last hash */
    struct buf block;
    struct real_figures figures;
};

static uint32_t start_height(const struct real *real) { return real->settings.top.start_height; }

static uint32_t tip_of(const struct real *real)
{
    struct store_heights heights;
    store_heights(real->store, &heights);
    return heights.tip;
}

static size_t program_count(const struct real *real) { return 1 + real->settings.transform_count; }

/* The nth program, NULL when the pipeline has no indexer and n is 0. */
static struct program *program_at(struct real *real, size_t n)
{
    if (n != 0)
        return &real->transforms[n - 1];
    return real->settings.has_indexer ? &real->indexer : NULL;
}

/* ---- opening ---- */

static enum sorex_status programs_load(struct real *real, struct sorex_error *err)
{
    struct program_context context = {.start_height = start_height(real)};
    if (real->settings.has_indexer)
        TRY(program_load(&real->indexer, PROGRAM_INDEXER, &real->settings.indexer, &context, err));
    for (size_t i = 0; i < real->settings.transform_count; i++)
        TRY(program_load(&real->transforms[i], PROGRAM_TRANSFORM, &real->settings.transforms[i], &context, err));
    return filters_load(&real->filters, real->settings.filters, real->settings.filter_count, NULL, err);
}

enum sorex_status real_open(const char *pipeline, struct real **out, struct sorex_error *err)
{
    uint8_t hash[HASH_BYTES];
    struct real *real = calloc(1, sizeof *real);
    *out = real;
    if (real == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a pipeline");
    TRY(pipeline_settings_read(pipeline, NULL, 0, &real->settings, err));
    TRY(programs_load(real, err));
    TRY(real->settings.source_type->open(real->settings.source, &real->source, err));
    return real->source->type->tip(real->source, &real->source_tip, hash, err);
}

void real_close(struct real *real)
{
    if (real == NULL)
        return;
    if (real->source != NULL)
        real->source->type->close(real->source);
    for (size_t i = 0; i < real->settings.transform_count; i++)
        program_unload(&real->transforms[i]);
    program_unload(&real->indexer);
    filters_unload(&real->filters);
    pipeline_settings_deinit(&real->settings);
    buf_deinit(&real->block);
    free(real->known);
    free(real);
}

/* ---- one play: starting and ending ---- */

static uint64_t guest_inverse_bits(const struct real *real)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < real->settings.transform_count; i++)
        if (real->settings.transforms[i].inverse == INVERSE_GUEST)
            bits |= (uint64_t)1 << real->transforms[i].stored.id;
    return bits;
}

static enum sorex_status start(struct real *real, struct sorex_error *err)
{
    static const uint8_t zero[HASH_BYTES];
    struct store_options options = {.dir = "sim",
                                    .disk = real->disk,
                                    .create = true,
                                    .history = STORE_HISTORY_FULL,
                                    .group_ms_max = UINT64_MAX / 2};
    TRY(store_open(&options, &real->store, err));
    for (size_t i = 0; i < program_count(real); i++) {
        struct program *program = program_at(real, i);
        if (program != NULL)
            TRY(store_program(real->store, program->settings->name, program->identity, program->module_hash, false,
                              &program->stored, err));
    }
    TRY(step_init(&real->step, real->store, program_at(real, 0), real->transforms, real->settings.transform_count,
                  err));
    if (real->filters.count != 0) {
        TRY(filters_register(&real->filters, real->store, false, err));
        step_filters(&real->step, &real->filters);
    }
    TRY(store_cursor_set(real->store, "sim", real->twin.cursor.sequence, zero, err));
    struct feed_options feed = {.changes_max = 1000, .bytes_max = 8 << 20, .guest_inverse = guest_inverse_bits(real)};
    TRY(feed_new(real->store, &feed, &real->feed, err));
    feed_seek(real->feed, real->twin.cursor.sequence);
    return SOREX_OK;
}

static void stop(struct real *real)
{
    feed_free(real->feed);
    real->feed = NULL;
    if (real->step.store != NULL)
        step_deinit(&real->step);
    if (real->store != NULL)
        store_crash(real->store);
    real->store = NULL;
}

/* ---- what is compared ---- */

static void trace(struct real *real, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        real->figures.trace = (real->figures.trace ^ bytes.data[i]) * 0x100000001b3u;
}

static enum sorex_status known_at(struct real *real, uint32_t height, struct known **out, struct sorex_error *err)
{
    uint32_t index = height - start_height(real);
    if (index >= real->known_cap) {
        uint32_t cap = index < 512 ? 1024 : index * 2;
        struct known *grown = realloc(real->known, cap * sizeof *grown);
        if (grown == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for %u heights", cap);
        (void)memset(grown + real->known_cap, 0, (cap - real->known_cap) * sizeof *grown);
        real->known = grown;
        real->known_cap = cap;
    }
    *out = &real->known[index];
    return SOREX_OK;
}

struct hashing {
    struct sha256 hash;
    uint64_t pairs;
};

static enum sorex_status pair_hash(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct hashing *hashing = user_data;
    (void)err;
    sha256_update_u32le(&hashing->hash, (uint32_t)key.len);
    sha256_update(&hashing->hash, key);
    sha256_update_u32le(&hashing->hash, (uint32_t)value.len);
    sha256_update(&hashing->hash, value);
    hashing->pairs++;
    return SOREX_OK;
}

static enum sorex_status program_hash(uint16_t program, struct store_reader *reader, struct hashing *hashing,
                                      struct sorex_error *err)
{
    static const uint8_t kinds[] = {STORE_KEYS, STORE_IMAGES, STORE_PAGES};
    for (size_t k = 0; k < sizeof kinds; k++) {
        struct store_space space = {.program = program, .kind = kinds[k]};
        sha256_update_u32le(&hashing->hash, (uint32_t)(program << 8 | kinds[k]));
        TRY(store_reader_scan(reader, space, bytes_of(NULL, 0), pair_hash, hashing, err));
    }
    return SOREX_OK;
}

static enum sorex_status spaces_hash(struct real *real, struct store_reader *reader, struct hashing *hashing,
                                     struct sorex_error *err)
{
    for (size_t i = 0; i < program_count(real); i++) {
        struct program *program = program_at(real, i);
        if (program == NULL || program->settings->inverse == INVERSE_GUEST)
            continue; /* what such a guest does to its state after an undo is its own affair; its rows are looked at */
        TRY(program_hash(program->stored.id, reader, hashing, err));
    }
    return real->filters.count != 0 ? program_hash(real->filters.stored.id, reader, hashing, err) : SOREX_OK;
}

/* Of the whole state as a reader at the height sees it. */
static enum sorex_status state_hash(struct real *real, uint32_t height, uint8_t out[HASH_BYTES],
                                    struct sorex_error *err)
{
    struct store_reader *reader;
    struct hashing hashing = {0};
    TRY(store_reader_open(real->store, height, &reader, err));
    enum sorex_status status = sha256_init(&hashing.hash, err);
    if (status == SOREX_OK)
        status = spaces_hash(real, reader, &hashing, err);
    if (status == SOREX_OK)
        sha256_finish(&hashing.hash, out);
    sha256_deinit(&hashing.hash);
    store_reader_close(reader);
    real->pairs = hashing.pairs;
    return status;
}

struct row_walk {
    struct real *real;
    const char *program;
    uint64_t count;
};

static enum sorex_status row_compare(void *user_data, struct bytes table, struct bytes key, struct bytes image,
                                     struct sorex_error *err)
{
    struct row_walk *walk = user_data;
    struct bytes row;
    TRY(twin_row(&walk->real->twin, walk->program, table, key, &row, err));
    walk->count++;
    if (row.data != NULL && bytes_equal(row, image))
        return SOREX_OK;
    return sorex_error_set(err, SOREX_MISMATCH, "program %s: row %.*s/%.*s is not in the sink as the engine has it",
                           walk->program, BYTES_FMT(table), BYTES_FMT(key));
}

/* With `before: engine` everywhere, and without filters, the engine's images and the sink's rows are the same. */
static enum sorex_status rows_compare(struct real *real, struct sorex_error *err)
{
    uint64_t images = 0, rows;
    uint32_t height;
    if (real->filters.count != 0)
        return SOREX_OK;
    for (size_t i = 0; i < real->settings.transform_count; i++) {
        struct row_walk walk = {.real = real, .program = real->settings.transforms[i].name};
        if (real->settings.transforms[i].before != BEFORE_ENGINE)
            return SOREX_OK;
        TRY(query_rows(real->store, walk.program, SOREX_HEIGHT_NONE, row_compare, &walk, &height, err));
        images += walk.count;
    }
    TRY(twin_count(&real->twin, &rows, err));
    if (rows != images)
        return sorex_error_set(err, SOREX_MISMATCH, "the sink has %llu rows, the engine's images are %llu",
                               (unsigned long long)rows, (unsigned long long)images);
    return SOREX_OK;
}

static enum sorex_status same(const uint8_t before[HASH_BYTES], const uint8_t now[HASH_BYTES], uint32_t height,
                              const char *what, struct sorex_error *err)
{
    if (memcmp(before, now, HASH_BYTES) == 0)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_MISMATCH, "height %u: %s not what the first execution of this block gave", height,
                           what);
}

static enum sorex_status commitments_check(struct real *real, uint32_t height, struct known *known, bool first,
                                           struct sorex_error *err)
{
    for (size_t i = 0; i < program_count(real); i++) {
        struct program *program = program_at(real, i);
        uint8_t now[HASH_BYTES];
        if (program == NULL)
            continue;
        TRY(store_commitment(real->store, height, program->stored.id, now, err));
        trace(real, bytes_of(now, sizeof now));
        if (first)
            memcpy(known->commitments[i], now, HASH_BYTES);
        else if (same(known->commitments[i], now, height, "the commitment is", err) != SOREX_OK)
            return sorex_error_prefix(err, "program %s", program->settings->name);
    }
    return SOREX_OK;
}

/* The state and the rows at the tip, with what is known of the height. */
static enum sorex_status tip_check(struct real *real, struct sorex_error *err)
{
    uint8_t state[HASH_BYTES], rows[HASH_BYTES];
    struct known *known;
    uint32_t tip = tip_of(real);
    if (tip == SOREX_HEIGHT_NONE)
        return SOREX_OK;
    TRY(known_at(real, tip, &known, err));
    TRY(rows_compare(real, err));
    TRY(state_hash(real, tip, state, err));
    TRY(twin_hash(&real->twin, rows, err));
    if (known->hashed) {
        TRY(same(known->state, state, tip, "the state is", err));
        return same(known->rows, rows, tip, "what the sink has is", err);
    }
    memcpy(known->state, state, HASH_BYTES);
    memcpy(known->rows, rows, HASH_BYTES);
    known->hashed = true;
    return SOREX_OK;
}

/* ---- steps ---- */

static enum sorex_status sink_drain(struct real *real, struct sorex_error *err)
{
    uint64_t first, head;
    store_outbox_range(real->store, &first, &head);
    for (;;) {
        struct feed_answer answer;
        feed_next(real->feed, head, tip_of(real), &answer);
        if (answer.status != SOREX_OK) {
            *err = answer.err;
            return answer.status;
        }
        if (!answer.moved)
            return SOREX_OK;
        TRY(twin_apply(&real->twin, &answer.batch, err));
        real->figures.batches++;
        TRY(store_cursor_set(real->store, "sim", answer.batch.cursor.sequence, answer.batch.cursor.hash, err));
    }
}

static enum sorex_status block_read(struct real *real, uint32_t height, struct entry *out, struct sorex_error *err)
{
    uint8_t hash[HASH_BYTES];
    const struct source_type *type = real->source->type;
    TRY(type->hash_at(real->source, height, hash, err));
    buf_reset(&real->block);
    TRY(type->fetch(real->source, height, hash, &real->block, err));
    TRY(block_header_parse(buf_view(&real->block), out, err));
    out->height = height;
    out->payload = buf_view(&real->block);
    return SOREX_OK;
}

static enum sorex_status apply_one(struct real *real, struct sorex_error *err)
{
    struct entry entry;
    struct step_result result;
    struct known *known;
    uint32_t tip = tip_of(real), height = tip == SOREX_HEIGHT_NONE ? start_height(real) : tip + 1;
    TRY(block_read(real, height, &entry, err));
    TRY(known_at(real, height, &known, err));
    bool first = !known->executed;
    if (!first && memcmp(known->entry, entry.hash, HASH_BYTES) != 0)
        return sorex_error_set(err, SOREX_AGAIN, "height %u: the source has changed its mind meanwhile", height);
    TRY(step_apply(&real->step, &entry, true, &result, err));
    real->figures.entries++;
    memcpy(known->entry, entry.hash, HASH_BYTES);
    TRY(commitments_check(real, height, known, first, err));
    known->executed = true;
    TRY(sink_drain(real, err));
    return real->pairs <= PAIRS_SMALL ? tip_check(real, err) : SOREX_OK;
}

static enum sorex_status apply(struct real *real, uint32_t count, struct sorex_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t tip = tip_of(real);
        if (tip == SOREX_HEIGHT_NONE ? start_height(real) > real->source_tip : tip >= real->source_tip)
            break;
        TRY(apply_one(real, err));
    }
    return tip_check(real, err);
}

static bool undo_calls_guests(const struct real *real)
{
    for (size_t i = 0; i < real->settings.transform_count; i++)
        if (transform_has_rollback(real->transforms[i].transform))
            return true;
    return false;
}

/* As the pipeline does it. */
static enum sorex_status undo_down(struct real *real, uint32_t target, struct sorex_error *err)
{
    real->figures.undone += tip_of(real) - target;
    if (!undo_calls_guests(real))
        TRY(store_undo_to(real->store, target, NULL, NULL, err));
    while (tip_of(real) > target) {
        struct entry undone;
        TRY(step_undo(&real->step, &undone, err));
    }
    return sink_drain(real, err);
}

/* Before an undo the target is read back from history, when nothing is known of it; so there is always something to
 * compare. */
static enum sorex_status undo(struct real *real, uint32_t count, struct sorex_error *err)
{
    uint8_t before[HASH_BYTES], after[HASH_BYTES];
    uint32_t tip = tip_of(real);
    if (tip == SOREX_HEIGHT_NONE || tip == start_height(real))
        return SOREX_OK;
    uint32_t target = tip - start_height(real) > count ? tip - count : start_height(real);
    TRY(state_hash(real, target, before, err));
    TRY(undo_down(real, target, err));
    TRY(state_hash(real, target, after, err));
    if (memcmp(before, after, HASH_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "height %u: the state after the undo is not what history said",
                               target);
    return tip_check(real, err);
}

static enum sorex_status kill_and_start(struct real *real, struct sorex_error *err)
{
    real->figures.crashes++;
    stop(real);
    disk_crash(real->disk);
    TRY(start(real, err));
    return tip_check(real, err);
}

static enum sorex_status step_play(struct real *real, const struct script_step *step, struct sorex_error *err)
{
    if (step->kind == STEP_APPLY)
        return apply(real, step->a, err);
    if (step->kind == STEP_UNDO)
        return undo(real, step->a, err);
    return kill_and_start(real, err);
}

static enum sorex_status play(struct real *real, const struct script *script, struct sorex_error *err)
{
    TRY(start(real, err));
    for (size_t i = 0; i < script->count; i++) {
        if (step_play(real, &script->steps[i], err) != SOREX_OK)
            return sorex_error_prefix(err, "step %zu", i + 1);
        real->figures.steps++;
    }
    enum sorex_status status = undo(real, UINT32_MAX, err);
    return status == SOREX_OK ? status : sorex_error_prefix(err, "at the end, with everything undone");
}

enum sorex_status real_play(struct real *real, const struct script *script, struct real_figures *out,
                            struct sorex_error *err)
{
    real->figures = (struct real_figures){.trace = 0xcbf29ce484222325u};
    real->pairs = 0;
    if (real->known != NULL)
        (void)memset(real->known, 0, real->known_cap * sizeof *real->known);
    real->disk = disk_new();
    if (real->disk == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a disk");
    enum sorex_status status = twin_init(&real->twin, err);
    if (status == SOREX_OK)
        status = play(real, script, err);
    stop(real);
    twin_deinit(&real->twin);
    disk_free(real->disk);
    real->disk = NULL;
    *out = real->figures;
    return status;
}
