#include "store/model.h"

static void check_value(const struct model_value *value, struct bytes found, bool is)
{
    assert_int_equal(is, value->present);
    if (is)
        assert_true(bytes_equal(found, bytes_of(value->bytes, value->len)));
}

struct scan {
    const struct model_state *state;
    uint32_t space;
    struct bytes prefix;
    uint32_t next; /* index of the next key that may come */
};

static bool has_prefix(struct bytes key, struct bytes prefix)
{
    return key.len >= prefix.len && memcmp(key.data, prefix.data, prefix.len) == 0;
}

/* Moves on to the next key that the scan must give. */
static bool scan_wanted(struct scan *scan)
{
    while (scan->next < MODEL_KEYS) {
        if (scan->state->values[scan->space][scan->next].present && has_prefix(model_key(scan->next), scan->prefix))
            return true;
        scan->next++;
    }
    return false;
}

static enum sorex_status scan_each(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    (void)err;
    struct scan *scan = user_data;
    assert_true(scan_wanted(scan));
    assert_true(bytes_equal(key, model_key(scan->next)));
    check_value(&scan->state->values[scan->space][scan->next], value, true);
    scan->next++;
    return SOREX_OK;
}

void model_check_reader(const struct model_state *state, struct store_reader *reader)
{
    static const char *const prefixes[] = {"", "a", "ab", "zz"};
    struct sorex_error err;
    for (uint32_t s = 0; s < MODEL_SPACES; s++) {
        for (uint32_t k = 0; k < MODEL_KEYS; k++) {
            struct bytes value;
            bool found = false;
            OK(store_reader_get(reader, model_space(s), model_key(k), &value, &found, &err));
            check_value(&state->values[s][k], value, found);
        }
        for (size_t p = 0; p < sizeof prefixes / sizeof prefixes[0]; p++) {
            struct scan scan = {.state = state, .space = s, .prefix = bytes_str(prefixes[p])};
            OK(store_reader_scan(reader, model_space(s), scan.prefix, scan_each, &scan, &err));
            assert_false(scan_wanted(&scan));
        }
    }
}

static void check_heights(const struct model *model, const struct model *durable, struct store *store)
{
    struct sorex_error err;
    struct store_heights heights;
    store_heights(store, &heights);
    assert_int_equal(heights.tip, model->count == 0 ? SOREX_HEIGHT_NONE : model_tip(model));
    assert_int_equal(heights.durable, durable->count == 0 ? SOREX_HEIGHT_NONE : model_tip(durable));
    assert_int_equal(heights.first, model->count == 0 ? SOREX_HEIGHT_NONE : model->first);
    if (durable->count == 0)
        return;
    assert_int_equal(heights.horizon, durable->horizon);
    struct store_reader *reader = NULL;
    if (durable->horizon > 0)
        assert_int_equal(store_reader_open(store, durable->horizon - 1, &reader, &err), SOREX_GONE);
    for (uint32_t h = durable->horizon; h <= model_tip(durable); h++) {
        const struct model_height *height = &durable->heights[h - durable->first];
        OK(store_reader_open(store, h, &reader, &err));
        assert_int_equal(store_reader_height(reader), h);
        model_check_reader(&height->state, reader);
        store_reader_close(reader);
        struct entry entry;
        OK(store_entry(store, h, &entry, &err));
        assert_memory_equal(entry.hash, height->entry.hash, HASH_BYTES);
        assert_memory_equal(entry.parent, height->entry.parent, HASH_BYTES);
        assert_int_equal(entry.time_ms, height->entry.time_ms);
        for (uint16_t p = 0; p < MODEL_PROGRAMS; p++) {
            uint8_t commitment[HASH_BYTES];
            OK(store_commitment(store, h, p, commitment, &err));
            assert_memory_equal(commitment, height->commitments[p], HASH_BYTES);
        }
    }
    struct entry entry;
    assert_int_equal(store_entry(store, model_tip(model) + 1, &entry, &err), SOREX_GONE);
}

void model_check_writer(const struct model *model, struct store *store)
{
    struct sorex_error err;
    for (uint32_t s = 0; s < MODEL_SPACES && model->count != 0; s++) {
        for (uint32_t k = 0; k < MODEL_KEYS; k++) {
            struct bytes value;
            bool found = false;
            OK(store_get(store, model_space(s), model_key(k), &value, &found, &err));
            check_value(&model->heights[model->count - 1].state.values[s][k], value, found);
        }
    }
}

static void check_record(const struct model_record *wanted, const struct outbox_record *record)
{
    assert_int_equal(record->kind, wanted->kind);
    assert_int_equal(record->height, wanted->entry.height);
    assert_int_equal(record->time_ms, wanted->entry.time_ms);
    assert_memory_equal(record->hash, wanted->entry.hash, HASH_BYTES);
    if (record->kind == OUTBOX_UNDO) {
        assert_int_equal(record->undone, wanted->undone);
        return;
    }
    assert_int_equal(record->change_count, wanted->change_count);
    assert_true(bytes_equal(record->changes, bytes_of(wanted->changes, wanted->changes_len)));
}

static void check_outbox(const struct model *durable, struct store *store, bool trimmed_late)
{
    struct sorex_error err;
    uint64_t first = 0, head = 0;
    store_outbox_range(store, &first, &head);
    assert_int_equal(head, durable->outbox_head);
    if (trimmed_late)
        assert_true(first <= durable->outbox_first);
    else
        assert_int_equal(first, durable->outbox_first);
    struct buf bytes = {0};
    struct outbox_record record;
    uint64_t waiting = 0;
    for (uint64_t s = first; s <= head; s++) {
        OK(store_outbox_read(store, s, &bytes, &record, &err));
        check_record(&durable->outbox[s], &record);
        if (durable->cursor != UINT64_MAX && s > durable->cursor)
            waiting += bytes.len;
    }
    assert_int_equal(store_outbox_bytes(store), waiting);
    assert_int_equal(store_outbox_read(store, first - 1, &bytes, &record, &err), SOREX_GONE);
    assert_int_equal(store_outbox_read(store, head + 1, &bytes, &record, &err), SOREX_GONE);
    buf_deinit(&bytes);
}

void model_check(const struct model *model, const struct model *durable, struct store *store, bool trimmed_late)
{
    check_heights(model, durable, store);
    model_check_writer(model, store);
    check_outbox(durable, store, trimmed_late);
}
