#include "store/model.h"

#include <stdio.h>

#include "base/codec.h"
#include "base/sha256.h"

struct store_space model_space(uint32_t index)
{
    static const struct store_space spaces[MODEL_SPACES] = {
        {0, STORE_KEYS}, {0, STORE_IMAGES}, {1, STORE_KEYS}, {1, STORE_PAGES}};
    return spaces[index];
}

/* Ascending; prefixes of each other, zero bytes, 0xff, empty. */
struct bytes model_key(uint32_t index)
{
    static const struct {
        const char *data;
        size_t len;
    } keys[MODEL_KEYS] = {{"", 0},   {"\0", 1},     {"\0\0", 2},          {"\0\0\0", 3},  {"\0\xff", 2},
                          {"a", 1},  {"a\0", 2},    {"a\0\0b", 4},        {"a\0\xff", 3}, {"a\1", 2},
                          {"ab", 2}, {"ab\xff", 3}, {"b-longer-key", 12}, {"\xff\xff", 2}};
    return bytes_of(keys[index].data, keys[index].len);
}

uint32_t model_random(struct model *model, uint32_t below)
{
    model->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = model->random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % below);
}

void model_init(struct model *model, uint64_t seed, uint32_t history, uint32_t first)
{
    memset(model, 0, sizeof *model);
    model->random = seed;
    model->history = history;
    model->first = first;
    model->cursor = UINT64_MAX;
    model->outbox_first = 1;
}

uint32_t model_tip(const struct model *model) { return model->first + model->count - 1; }

static struct model_height *at(struct model *model, uint32_t height) { return &model->heights[height - model->first]; }

static bool may_trim(const struct model *model, uint64_t sequence)
{
    if (model->horizon == model->first || sequence > model->heights[model->horizon - model->first].outbox_head)
        return false;
    if (model->cursor == UINT64_MAX)
        return true;
    if (sequence > model->cursor)
        return false;
    for (uint64_t u = model->cursor + 1; u <= model->outbox_head; u++) {
        if (model->outbox[u].kind == OUTBOX_UNDO && model->outbox[u].undone <= sequence)
            return false;
    }
    return true;
}

static void moment(struct model *model)
{
    if (model->moment != NULL)
        model->moment(model, model->user_data);
}

void model_flush(struct model *model)
{
    if (!model->unwritten)
        return;
    model->unwritten = false;
    uint32_t tip = model_tip(model);
    if (model->history != STORE_HISTORY_FULL && tip - model->horizon > model->history)
        model->horizon = tip - model->history;
    while (model->outbox_first <= model->outbox_head && may_trim(model, model->outbox_first))
        model->outbox_first++;
    moment(model);
}

/* ---- one entry ---- */

/* What is staged, for the commitment: the writes per space and key, and the changes. */
struct staged {
    struct {
        bool written;
        struct model_value value;
    } writes[MODEL_SPACES][MODEL_KEYS];
    uint8_t emitted[MODEL_PROGRAMS][MODEL_CHANGES_MAX];
    uint32_t emitted_len[MODEL_PROGRAMS], emitted_count[MODEL_PROGRAMS];
    struct model_record record;
};

static void stage_write(struct model *model, struct staged *staged, struct store *store)
{
    struct sorex_error err;
    uint32_t space = model_random(model, MODEL_SPACES), key = model_random(model, MODEL_KEYS);
    struct model_value value = {0};
    value.present = model_random(model, 4) != 0;
    if (value.present) {
        value.len = (uint8_t)model_random(model, MODEL_VALUE_MAX + 1);
        for (uint32_t i = 0; i < value.len; i++)
            value.bytes[i] = (uint8_t)model_random(model, 3);
        if (store != NULL)
            OK(store_put(store, model_space(space), model_key(key), bytes_of(value.bytes, value.len), &err));
    } else if (store != NULL) {
        OK(store_delete(store, model_space(space), model_key(key), &err));
    }
    staged->writes[space][key].written = true;
    staged->writes[space][key].value = value;
    if (store == NULL)
        return;
    struct bytes found;
    bool is = false;
    OK(store_get_staged(store, model_space(space), model_key(key), &found, &is, &err));
    assert_int_equal(is, value.present);
    if (is)
        assert_true(bytes_equal(found, bytes_of(value.bytes, value.len)));
}

static void stage_change(struct model *model, struct staged *staged, struct store *store)
{
    struct sorex_error err;
    uint16_t program = (uint16_t)model_random(model, MODEL_PROGRAMS);
    char emitted[32], stored[32];
    uint32_t number = model_random(model, 1000);
    int emitted_len = snprintf(emitted, sizeof emitted, "{\"e\":%u}", number);
    int stored_len = snprintf(stored, sizeof stored, "{\"s\":%u}", number + 1);
    if (store != NULL)
        OK(store_emit(store, program, bytes_of(emitted, (size_t)emitted_len), bytes_of(stored, (size_t)stored_len),
                      &err));

    uint8_t *to = staged->emitted[program] + staged->emitted_len[program];
    u32le_put(to, (uint32_t)emitted_len);
    memcpy(to + 4, emitted, (size_t)emitted_len);
    staged->emitted_len[program] += 4 + (uint32_t)emitted_len;
    staged->emitted_count[program]++;

    struct model_record *record = &staged->record;
    to = record->changes + record->changes_len;
    u16le_put(to, program);
    to[2] = (uint8_t)stored_len;
    memcpy(to + 3, stored, (size_t)stored_len);
    record->changes_len += 3 + (uint32_t)stored_len;
    record->change_count++;
}

/* docs/formats/commitment.md, by the letter. */
static void commitment(const struct staged *staged, const struct entry *entry, uint16_t program,
                       const uint8_t before[HASH_BYTES], uint8_t out[HASH_BYTES])
{
    struct sorex_error err;
    struct buf preimage = {0};
    uint32_t writes = 0;
    OK(buf_append(&preimage, bytes_of(before, HASH_BYTES), &err));
    OK(buf_append(&preimage, bytes_of(entry->hash, HASH_BYTES), &err));
    OK(buf_append(&preimage, bytes_of(entry->parent, HASH_BYTES), &err));
    size_t count_at = preimage.len;
    OK(buf_append_u32le(&preimage, 0, &err));
    for (uint32_t s = 0; s < MODEL_SPACES; s++) {
        for (uint32_t k = 0; k < MODEL_KEYS; k++) {
            if (model_space(s).program != program || !staged->writes[s][k].written)
                continue;
            const struct model_value *value = &staged->writes[s][k].value;
            OK(buf_append_u8(&preimage, model_space(s).kind, &err));
            OK(buf_append_u32le(&preimage, (uint32_t)model_key(k).len, &err));
            OK(buf_append(&preimage, model_key(k), &err));
            OK(buf_append_u8(&preimage, value->present, &err));
            OK(buf_append_u32le(&preimage, value->len, &err));
            OK(buf_append(&preimage, bytes_of(value->bytes, value->len), &err));
            writes++;
        }
    }
    u32le_put(preimage.data + count_at, writes);
    OK(buf_append_u32le(&preimage, staged->emitted_count[program], &err));
    OK(buf_append(&preimage, bytes_of(staged->emitted[program], staged->emitted_len[program]), &err));
    sha256_once(buf_view(&preimage), out);
    buf_deinit(&preimage);
}

static void stage_some(struct model *model, struct staged *staged, struct store *store, uint32_t writes_max)
{
    memset(staged, 0, sizeof *staged);
    uint32_t writes = model_random(model, writes_max + 1);
    for (uint32_t i = 0; i < writes; i++)
        stage_write(model, staged, store);
    uint32_t changes = model_random(model, 3) == 0 ? 0 : model_random(model, 5);
    for (uint32_t i = 0; i < changes; i++)
        stage_change(model, staged, store);
}

/* Puts the staged writes into a state and the changes into the outbox, noted at the height. */
static void apply(struct model *model, const struct staged *staged, struct model_height *height)
{
    for (uint32_t s = 0; s < MODEL_SPACES; s++) {
        for (uint32_t k = 0; k < MODEL_KEYS; k++) {
            if (staged->writes[s][k].written)
                height->state.values[s][k] = staged->writes[s][k].value;
        }
    }
    if (staged->record.change_count == 0)
        return;
    assert_true(model->outbox_head < MODEL_OUTBOX && height->sequence_count < MODEL_SEQUENCES);
    struct model_record *record = &model->outbox[++model->outbox_head];
    *record = staged->record;
    record->kind = OUTBOX_APPLY;
    record->entry = height->entry;
    height->sequences[height->sequence_count++] = model->outbox_head;
}

static void step_entry(struct model *model, struct store *store, bool durable)
{
    struct sorex_error err;
    struct staged staged;
    uint32_t height = model->first + model->count;
    struct model_height next = {0};
    if (model->count != 0)
        next.state = at(model, height - 1)->state;
    next.entry = entry_make(height, ++model->branch, 0);
    if (model->count != 0)
        memcpy(next.entry.parent, at(model, height - 1)->entry.hash, HASH_BYTES);

    if (model_random(model, 8) == 0 && store != NULL) { /* one that fails first */
        OK(store_begin(store, &next.entry, &err));
        OK(store_put(store, model_space(0), model_key(3), bytes_str("never"), &err));
        OK(store_emit(store, 0, bytes_str("{}"), bytes_str("{}"), &err));
        store_abort(store);
    }
    if (store != NULL)
        OK(store_begin(store, &next.entry, &err));
    stage_some(model, &staged, store, 20);
    if (store != NULL)
        OK(store_commit(store, durable, &err));

    static const uint8_t zero[HASH_BYTES];
    for (uint16_t p = 0; p < MODEL_PROGRAMS; p++)
        commitment(&staged, &next.entry, p, model->count != 0 ? at(model, height - 1)->commitments[p] : zero,
                   next.commitments[p]);
    apply(model, &staged, &next);
    next.outbox_head = model->outbox_head;
    assert_true(model->count < MODEL_HEIGHTS);
    if (model->count == 0)
        model->horizon = height;
    model->heights[model->count++] = next;
    model->unwritten = true;
    if (durable || model->group_always)
        model_flush(model);
}

/* ---- undo and amend ---- */

static void step_undo(struct model *model, struct store *store)
{
    struct sorex_error err;
    struct entry undone;
    model_flush(model);
    if (model->count == 0 || model_tip(model) == model->horizon) {
        if (store != NULL)
            assert_int_equal(store_undo(store, NULL, &err), SOREX_GONE);
        return;
    }
    struct model_height *tip = at(model, model_tip(model));
    if (store != NULL) {
        OK(store_undo(store, &undone, &err));
        assert_int_equal(undone.height, tip->entry.height);
        assert_memory_equal(undone.hash, tip->entry.hash, HASH_BYTES);
    }
    for (uint32_t i = tip->sequence_count; i-- > 0;) {
        assert_true(model->outbox_head < MODEL_OUTBOX);
        struct model_record *record = &model->outbox[++model->outbox_head];
        *record = (struct model_record){.kind = OUTBOX_UNDO, .undone = tip->sequences[i], .entry = tip->entry};
    }
    model->count--;
    moment(model);
}

static void step_amend(struct model *model, struct store *store)
{
    struct sorex_error err;
    struct staged staged;
    model_flush(model);
    if (model->count == 0)
        return;
    struct model_height *tip = at(model, model_tip(model));
    if (tip->sequence_count + 1 >= MODEL_SEQUENCES)
        return;
    if (store != NULL)
        OK(store_amend_begin(store, &err));
    stage_some(model, &staged, store, 8);
    if (store != NULL)
        OK(store_amend_commit(store, &err));
    apply(model, &staged, tip);
    if (staged.record.change_count != 0)
        tip->outbox_head = model->outbox_head;
    moment(model);
}

static void step_cursor(struct model *model, struct store *store)
{
    struct sorex_error err;
    if (model->unwritten)
        return; /* the durable head is not the model's */
    if (store != NULL)
        OK(store_flush(store, &err));
    uint64_t from = model->cursor == UINT64_MAX ? 0 : model->cursor;
    if (from > model->outbox_head)
        return;
    model->cursor = from + model_random(model, (uint32_t)(model->outbox_head - from) + 1);
    uint8_t hash[HASH_BYTES] = {(uint8_t)model->cursor};
    if (store != NULL)
        OK(store_cursor_set(store, "sink", model->cursor, hash, &err));
    moment(model);
}

void model_flush_store(struct model *model, struct store *store)
{
    struct sorex_error err;
    if (store != NULL)
        OK(store_flush(store, &err));
    model_flush(model);
}

void model_step(struct model *model, struct store *store, bool durable_always)
{
    uint32_t choice = model_random(model, 100);
    bool durable = model_random(model, 3) == 0 || durable_always;
    if (choice < 68 || model->count == 0) {
        step_entry(model, store, durable);
    } else if (choice < 84) {
        for (uint32_t n = 1 + model_random(model, 5); n > 0; n--)
            step_undo(model, store);
    } else if (choice < 90) {
        step_amend(model, store);
    } else if (choice < 95) {
        step_cursor(model, store);
    } else {
        model_flush_store(model, store);
    }
}
