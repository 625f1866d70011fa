/* Undo of the tip, by its undo record: exact gets and deletes, no search.
 *
 * The group is written first, so everything is in the database. Then one synced batch: every key gets its previous
 * version back from history, or goes; the undo record, the entry and its commitments go; for each outbox record of the
 * entry, last first, the outbox gets one that takes it back. The cache of hot keys is forgotten: reorganisations are
 * rare. */
#include "base/check.h"
#include "store/internal.h"

static enum sorex_status undo_allowed(const struct store *store, struct sorex_error *err)
{
    if (head_is_empty(&store->head))
        return sorex_error_set(err, SOREX_GONE, "the store is empty: there is nothing to undo");
    if (store->head.tip > store->head.horizon)
        return SOREX_OK;
    if (store->head.horizon == store->head.first)
        return sorex_error_set(
            err, SOREX_GONE,
            "height %u is the first entry of this store and cannot be undone; to start below it or on another "
            "branch, index into a new data directory",
            store->head.tip);
    return sorex_error_set(
        err, SOREX_GONE,
        "height %u is the horizon of this store: what was below it has been pruned and cannot be undone; index "
        "again into a new data directory, or restore a copy of this one from before; a larger `history` keeps "
        "more from then on",
        store->head.horizon);
}

/* Puts the previous versions of up to DB_GET_MANY_MAX keys back. */
static enum sorex_status versions_restore(struct store *store, const struct undo_item *items, size_t count,
                                          struct sorex_error *err)
{
    struct buf bytes = {0}; /* history keys, one after the other */
    size_t ends[DB_GET_MANY_MAX];
    struct bytes keys[DB_GET_MANY_MAX] = {0};
    struct db_value values[DB_GET_MANY_MAX] = {0};
    enum sorex_status status = SOREX_OK;
    for (size_t i = 0; i < count && status == SOREX_OK; i++) {
        status = history_key(&store->history_key, items[i].key, items[i].previous, err);
        if (status == SOREX_OK)
            status = buf_append(&bytes, buf_view(&store->history_key), err);
        ends[i] = bytes.len;
    }
    if (status != SOREX_OK)
        goto done;
    for (size_t i = 0; i < count; i++) {
        size_t start = i == 0 ? 0 : ends[i - 1];
        keys[i] = bytes_of(bytes.data + start, ends[i] - start);
    }
    status = db_get_many(store->db, DB_HISTORY, count, keys, values, err);
    for (size_t i = 0; i < count && status == SOREX_OK; i++) {
        struct version_record version;
        if (!values[i].found || !history_decode(values[i].bytes, &version)) {
            status = store_corrupt(err, "history record of height", items[i].previous);
            break;
        }
        buf_reset(&store->scratch);
        status = buf_append_u32le(&store->scratch, items[i].previous, err);
        if (status == SOREX_OK)
            status = buf_append(&store->scratch, values[i].bytes, err);
        if (status != SOREX_OK)
            break;
        db_batch_put(store->batch, DB_STATE, items[i].key, buf_view(&store->scratch));
        db_batch_delete(store->batch, DB_HISTORY, keys[i]);
    }
done:
    for (size_t i = 0; i < count; i++)
        db_value_release(&values[i]);
    buf_deinit(&bytes);
    return status;
}

static enum sorex_status state_undo(struct store *store, struct bytes record, struct sorex_error *err)
{
    struct undo_reader undo;
    struct undo_item items[DB_GET_MANY_MAX], item;
    size_t count = 0;
    bool ok = undo_open(&undo, record);
    while (ok && undo_next(&undo, &item, &ok)) {
        if (!item.had_previous) {
            db_batch_delete(store->batch, DB_STATE, item.key);
            continue;
        }
        items[count++] = item;
        if (count == DB_GET_MANY_MAX) {
            TRY(versions_restore(store, items, count, err));
            count = 0;
        }
    }
    if (!ok)
        return store_corrupt(err, "undo record of height", store->head.tip);
    return count != 0 ? versions_restore(store, items, count, err) : SOREX_OK;
}

/* Appends one undo record per apply record of the entry, last first. */
static enum sorex_status outbox_undo(struct store *store, struct head *head, const struct entry_record *entry,
                                     struct sorex_error *err)
{
    TRY(undone_reserve(store, (size_t)entry->sequence_count, err));
    for (uint64_t left = entry->sequence_count; left > 0; left--) {
        struct reader r = reader_of(entry->sequences);
        uint64_t sequence = 0;
        for (uint64_t i = 0; i < left; i++)
            CHECK(reader_varint(&r, &sequence)); /* entry_decode has read them */
        struct outbox_record record = {
            .kind = OUTBOX_UNDO, .undone = sequence, .height = entry->entry.height, .time_ms = entry->entry.time_ms};
        memcpy(record.hash, entry->entry.hash, HASH_BYTES);
        TRY(outbox_append(store, head, &record, err));
    }
    return SOREX_OK;
}

static enum sorex_status undo_batch(struct store *store, struct head *head, const struct entry_record *tip,
                                    struct sorex_error *err)
{
    uint8_t key[4];
    u32be_put(key, head->tip);
    struct db_value record = {0};
    db_batch_clear(store->batch);
    TRY(db_get(store->db, NULL, DB_UNDO, bytes_of(key, 4), &record, err));
    enum sorex_status status = record.found ? state_undo(store, record.bytes, err)
                                            : store_corrupt(err, "undo record (missing) of height", head->tip);
    db_value_release(&record);
    TRY(status);
    db_batch_delete(store->batch, DB_UNDO, bytes_of(key, 4));
    db_batch_delete(store->batch, DB_ENTRIES, bytes_of(key, 4));
    TRY(outbox_undo(store, head, tip, err));
    head->tip--;
    batch_head(store, head);
    return SOREX_OK;
}

static void undone_remember(struct store *store, uint64_t head_before, const struct entry_record *tip)
{
    uint64_t sequence = head_before + tip->sequence_count;
    struct reader r = reader_of(tip->sequences);
    for (uint64_t i = 0, undone = 0; i < tip->sequence_count; i++, sequence--) {
        CHECK(reader_varint(&r, &undone));
        store->undone[store->undone_count + tip->sequence_count - 1 - i] = (struct undone){sequence, undone};
    }
    store->undone_count += (size_t)tip->sequence_count;
}

static enum sorex_status undo_write(struct store *store, struct entry_record *tip, const struct entry_record *below,
                                    struct sorex_error *err)
{
    struct head head = store->head;
    TRY(undo_batch(store, &head, tip, err));
    enum sorex_status status = db_write(store->db, store->batch, store->sync, err);
    db_batch_clear(store->batch);
    if (status != SOREX_OK) {
        store->broken = true;
        return status;
    }
    undone_remember(store, store->head.outbox_head, tip);
    group_reset(&store->current);
    group_reset(&store->old);
    store->head = head;
    store->tip = below->entry;
    programs_commitments(store, below);
    store_publish(store, &head, true);
    return SOREX_OK;
}

enum sorex_status store_undo(struct store *store, struct entry *out_entry, struct sorex_error *err)
{
    CHECK(!store->staging.active);
    TRY(store_writable(store, err));
    TRY(store_flush(store, err));
    TRY(undo_allowed(store, err));

    struct db_value tip_value = {0}, below_value = {0};
    struct entry_record tip, below;
    uint32_t height = store->head.tip;
    enum sorex_status status = entry_read(store, NULL, height, &tip_value, &tip, err);
    if (status == SOREX_OK)
        status = entry_read(store, NULL, height - 1, &below_value, &below, err);
    if (status == SOREX_OK)
        status = undo_write(store, &tip, &below, err);
    if (status == SOREX_OK && out_entry != NULL)
        *out_entry = tip.entry;
    db_value_release(&tip_value);
    db_value_release(&below_value);
    return status == SOREX_OK ? SOREX_OK : sorex_error_prefix(err, "undo height %u", height);
}
