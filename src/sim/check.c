/* After every step: the store, at every retained height, its outbox and what the sinks hold, against the model. */
#include "base/check.h"
#include "base/codec.h"
#include "pipeline/query.h"
#include "sim/history.h"

/* The pairs that a space must hold, ascending; a scan walks along. */
struct wanted {
    struct {
        uint8_t key[8], value[32];
        size_t key_len, value_len;
    } pairs[MODEL_KEYS + 1];
    size_t count, met;
    uint32_t height;
    const char *what;
};

static void wanted_add(struct wanted *wanted, struct bytes key, struct bytes value)
{
    CHECK(wanted->count < MODEL_KEYS + 1 && key.len <= 8 && value.len <= 32);
    memcpy(wanted->pairs[wanted->count].key, key.data, key.len);
    if (value.len != 0)
        memcpy(wanted->pairs[wanted->count].value, value.data, value.len);
    wanted->pairs[wanted->count].key_len = key.len;
    wanted->pairs[wanted->count++].value_len = value.len;
}

static enum sorex_status pair_meet(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct wanted *wanted = user_data;
    size_t i = wanted->met++;
    if (i >= wanted->count || !bytes_equal(key, bytes_of(wanted->pairs[i].key, wanted->pairs[i].key_len)))
        return WRONG(err, "height %u: %s have a key %.*s that should not be there", wanted->height, wanted->what,
                     BYTES_FMT(key));
    if (!bytes_equal(value, bytes_of(wanted->pairs[i].value, wanted->pairs[i].value_len)))
        return WRONG(err, "height %u: %s: key %.*s has another value than in the model", wanted->height, wanted->what,
                     BYTES_FMT(key));
    return SOREX_OK;
}

static enum sorex_status space_check(struct store_reader *reader, struct store_space space, struct wanted *wanted,
                                     struct sorex_error *err)
{
    TRY(store_reader_scan(reader, space, bytes_of(NULL, 0), pair_meet, wanted, err));
    if (wanted->met != wanted->count)
        return WRONG(err, "height %u: %s lack key %.*s", wanted->height, wanted->what,
                     (int)wanted->pairs[wanted->met].key_len, (const char *)wanted->pairs[wanted->met].key);
    return SOREX_OK;
}

static enum sorex_status indexer_check(struct history *h, const struct model_height *height,
                                       struct store_reader *reader, struct sorex_error *err)
{
    struct wanted wanted = {.height = height->entry.height, .what = "the indexer's keys"};
    wanted_add(&wanted, bytes_str("B"), bytes_of(&height->state.branch, 1));
    for (uint32_t i = 0; i < MODEL_KEYS; i++) {
        const struct model_key *key = &height->state.keys[i];
        uint8_t name[3], value[4];
        size_t len;
        model_key_name(i, name, &len);
        u32le_put(value, key->value);
        if (key->present)
            wanted_add(&wanted, bytes_of(name, len), bytes_of(value, key->empty ? 0 : 4));
    }
    return space_check(reader, program_space(&h->indexer, STORE_KEYS), &wanted, err);
}

static enum sorex_status rows_check(struct history *h, uint32_t transform, const struct model_height *height,
                                    struct store_reader *reader, struct sorex_error *err)
{
    const struct model_row *rows = height->state.transforms[transform].rows;
    struct wanted keys = {.height = height->entry.height, .what = "a transform's keys"};
    struct wanted images = {.height = height->entry.height, .what = "the images of rows"};
    for (uint32_t i = 0; i < MODEL_ROWS; i++) {
        uint8_t key[2] = {'r', (uint8_t)('0' + i)}, value[4];
        u32le_put(value, rows[i].value);
        if (rows[i].present)
            wanted_add(&keys, bytes_of(key, 2), bytes_of(value, 4));
    }
    TRY(space_check(reader, program_space(&h->transforms[transform], STORE_KEYS), &keys, err));
    for (uint32_t n = 0; n < MODEL_ROWS && guests_images(h->model.kinds[transform]); n++) {
        uint32_t i = n < MODEL_ROWS / 2 ? 2 * n : 2 * (n - MODEL_ROWS / 2) + 1;
        uint8_t key[] = {2, 't', (uint8_t)('0' + i % 2), 'r', (uint8_t)('0' + i)};
        if (!rows[i].present)
            continue;
        buf_reset(&h->wanted);
        TRY(model_image(rows[i].value, &h->wanted, err));
        wanted_add(&images, bytes_of(key, sizeof key), buf_view(&h->wanted));
    }
    return space_check(reader, program_space(&h->transforms[transform], STORE_IMAGES), &images, err);
}

static enum sorex_status state_check(struct history *h, uint32_t number, struct sorex_error *err)
{
    const struct model_height *height = &h->model.heights[number];
    struct store_reader *reader;
    TRY(store_reader_open(h->store, number, &reader, err));
    enum sorex_status status = SOREX_OK;
    if (store_reader_height(reader) != number)
        status = WRONG(err, "a reader at height %u stands at %u", number, store_reader_height(reader));
    if (status == SOREX_OK)
        status = indexer_check(h, height, reader, err);
    for (uint32_t i = 0; i < h->model.transform_count && status == SOREX_OK; i++)
        status = rows_check(h, i, height, reader, err);
    store_reader_close(reader);
    return status;
}

static struct history_seen *seen_find(struct history *h, const struct model_height *height, bool *out_found)
{
    const uint8_t *hash = height->entry.hash;
    *out_found = true;
    for (uint32_t i = 0; i < h->seen_count; i++)
        if (h->seen[i].path == height->path && memcmp(h->seen[i].hash, hash, HASH_BYTES) == 0)
            return &h->seen[i];
    *out_found = false;
    if (h->seen_count == HISTORY_SEEN)
        return NULL;
    struct history_seen *seen = &h->seen[h->seen_count++];
    memcpy(seen->hash, hash, HASH_BYTES);
    seen->path = height->path;
    return seen;
}

/* By the letter of the format where the model knows all writes; always the same ones for the same branch. */
static enum sorex_status commitments_check(struct history *h, uint32_t number, struct sorex_error *err)
{
    const struct model_height *height = &h->model.heights[number];
    bool known;
    struct history_seen *seen = seen_find(h, height, &known);
    for (uint32_t i = 0; i <= h->model.transform_count; i++) {
        uint8_t got[HASH_BYTES];
        const struct program *program = i == 0 ? &h->indexer : &h->transforms[i - 1];
        bool pages = i != 0 && h->model.kinds[i - 1] == GUESTS_KEPT;
        TRY(store_commitment(h->store, number, program->stored.id, got, err));
        if (!pages && memcmp(got, height->commitments[i], HASH_BYTES) != 0)
            return WRONG(err, "height %u: program %s has another commitment than the model", number,
                         program->settings->name);
        if (seen == NULL)
            continue;
        if (known && memcmp(got, seen->commitments[i], HASH_BYTES) != 0)
            return WRONG(err, "height %u: program %s has another commitment than when this block was first executed",
                         number, program->settings->name);
        memcpy(seen->commitments[i], got, HASH_BYTES);
    }
    return SOREX_OK;
}

static enum sorex_status entry_check(struct history *h, uint32_t number, struct sorex_error *err)
{
    const struct entry *wanted = &h->model.heights[number].entry;
    struct entry got;
    TRY(store_entry(h->store, number, &got, err));
    if (memcmp(got.hash, wanted->hash, HASH_BYTES) != 0 || memcmp(got.parent, wanted->parent, HASH_BYTES) != 0 ||
        got.time_ms != wanted->time_ms)
        return WRONG(err, "height %u: the store has another entry", number);
    return SOREX_OK;
}

/* Whatever was undone has left nothing behind. */
static enum sorex_status disk_check(struct history *h, struct sorex_error *err)
{
    static const enum db_family families[] = {DB_ENTRIES, DB_UNDO};
    for (size_t i = 0; i < sizeof families / sizeof *families && h->model.durable_count != 0; i++) {
        uint8_t above[4]; /* keys begin with the height */
        struct bytes key, value;
        struct disk_iter *iter = disk_iter_new(h->disk, NULL, families[i]);
        if (iter == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for a look at the disk");
        u32be_put(above, h->model.durable_count);
        disk_iter_seek(iter, bytes_of(above, sizeof above));
        bool found = disk_iter_at(iter, &key, &value);
        disk_iter_free(iter);
        if (found)
            return WRONG(err, "the disk has a record of an entry above the tip, %u", h->model.durable_count - 1);
    }
    return SOREX_OK;
}

static enum sorex_status heights_check(struct history *h, struct sorex_error *err)
{
    const struct model *m = &h->model;
    struct store_heights got;
    store_heights(h->store, &got);
    uint32_t tip = m->count == 0 ? SOREX_HEIGHT_NONE : m->count - 1;
    uint32_t durable = m->durable_count == 0 ? SOREX_HEIGHT_NONE : m->durable_count - 1;
    uint32_t horizon = m->durable_count == 0 ? got.horizon : m->horizon;
    if (got.tip != tip || got.durable != durable || got.horizon != horizon)
        return WRONG(err, "tip %d, durable %d, horizon %d; the model has %d, %d, %d", (int)got.tip, (int)got.durable,
                     (int)got.horizon, (int)tip, (int)durable, (int)horizon);
    struct store_reader *reader;
    if (m->durable_count != 0 && m->horizon > 0) {
        enum sorex_status status = store_reader_open(h->store, m->horizon - 1, &reader, err);
        if (status == SOREX_OK)
            store_reader_close(reader);
        if (status != SOREX_GONE)
            return WRONG(err, "height %u is below the horizon and can be read", m->horizon - 1);
    }
    return SOREX_OK;
}

static enum sorex_status record_check(struct history *h, uint64_t sequence, struct sorex_error *err)
{
    const struct model_record *wanted = &h->model.outbox[sequence];
    struct outbox_record got;
    TRY(store_outbox_read(h->store, sequence, &h->got, &got, err));
    bool same = got.kind == wanted->kind && got.height == wanted->entry.height &&
                got.time_ms == wanted->entry.time_ms && memcmp(got.hash, wanted->entry.hash, HASH_BYTES) == 0;
    if (same && got.kind == OUTBOX_UNDO)
        same = got.undone == wanted->undone;
    else if (same)
        same = got.change_count == wanted->change_count && bytes_equal(got.changes, wanted->changes);
    return same ? SOREX_OK : WRONG(err, "outbox sequence %llu is not what the model has", (unsigned long long)sequence);
}

static enum sorex_status outbox_check(struct history *h, struct sorex_error *err)
{
    uint64_t first = 0, head = 0;
    store_outbox_range(h->store, &first, &head);
    if (head != h->model.durable_head || first > h->model.outbox_first)
        return WRONG(err, "the outbox holds %llu to %llu; the model has up to %llu, and all from %llu on",
                     (unsigned long long)first, (unsigned long long)head, (unsigned long long)h->model.durable_head,
                     (unsigned long long)h->model.outbox_first);
    for (uint64_t sequence = first; sequence <= head; sequence++)
        TRY(record_check(h, sequence, err));
    return SOREX_OK;
}

static enum sorex_status sink_row_check(struct history *h, struct history_sink *sink, uint32_t transform,
                                        const struct model_row *rows, uint64_t *count, struct sorex_error *err)
{
    const char *program = h->transforms[transform].settings->name;
    for (uint32_t i = 0; i < MODEL_ROWS; i++) {
        const char table[] = {'t', (char)('0' + i % 2)}, key[] = {'r', (char)('0' + i)};
        struct bytes got;
        TRY(twin_row(&sink->twin, program, bytes_of(table, 2), bytes_of(key, 2), &got, err));
        if (!rows[i].present && got.data == NULL)
            continue;
        buf_reset(&h->wanted);
        TRY(model_image(rows[i].value, &h->wanted, err));
        if (!rows[i].present || got.data == NULL || !bytes_equal(got, buf_view(&h->wanted)))
            return WRONG(err, "sink %s at sequence %llu: row t%u/r%u of program %s is not what the model has",
                         sink->name, (unsigned long long)sink->twin.cursor.sequence, i % 2, i, program);
        ++*count;
    }
    return SOREX_OK;
}

static enum sorex_status sink_check(struct history *h, struct history_sink *sink, struct sorex_error *err)
{
    uint64_t sequence = sink->twin.cursor.sequence, rows = 0, there = 0;
    if (sequence > h->model.durable_head)
        return WRONG(err, "sink %s is ahead of the outbox", sink->name);
    for (uint32_t i = 0; i < h->model.transform_count; i++)
        TRY(sink_row_check(h, sink, i, h->model.outbox[sequence].rows[i], &rows, err));
    TRY(twin_count(&sink->twin, &there, err));
    if (there != rows)
        return WRONG(err, "sink %s has %llu rows, the model %llu", sink->name, (unsigned long long)there,
                     (unsigned long long)rows);
    return SOREX_OK;
}

/* The view at one height. */
static enum sorex_status view_check(struct history *h, uint32_t height, struct sorex_error *err)
{
    uint32_t at;
    buf_reset(&h->got);
    buf_reset(&h->wanted);
    TRY(query_view(h->store, &h->indexer, bytes_str("sum"), bytes_of(NULL, 0), height, &h->got, &at, err));
    TRY(model_view(&h->model, height, &h->wanted, err));
    if (at != height || !bytes_equal(buf_view(&h->got), buf_view(&h->wanted)))
        return WRONG(err, "height %u: the view says something else than the model", height);
    return SOREX_OK;
}

enum sorex_status history_check(struct history *h, struct sorex_error *err)
{
    const struct model *m = &h->model;
    h->figures.checks++;
    TRY(heights_check(h, err));
    TRY(disk_check(h, err));
    for (uint32_t i = m->horizon; i < m->durable_count; i++) {
        TRY(state_check(h, i, err));
        TRY(commitments_check(h, i, err));
        TRY(entry_check(h, i, err));
    }
    if (m->durable_count != 0) {
        uint32_t span = m->durable_count - m->horizon;
        TRY(view_check(h, m->horizon + (uint32_t)(h->figures.checks * 7 % span), err));
        TRY(view_check(h, m->durable_count - 1, err));
        history_trace(h, buf_view(&h->got));
    }
    TRY(outbox_check(h, err));
    for (uint32_t i = 0; i < m->sink_count; i++)
        TRY(sink_check(h, &h->sinks[i], err));
    return SOREX_OK;
}
