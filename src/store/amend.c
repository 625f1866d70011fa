/* Amendments (`inverse: guest`): after an undo, further writes and changes of the entry that is the tip now.
 *
 * They must be undone with that entry. So a key that the entry did not touch buries its version as if the entry had
 * written it, and joins the entry's undo record; a key that it did touch is only overwritten. The changes become an
 * outbox record of their own, which joins the entry's sequences. Commitments stay as they are. At the horizon, where
 * the tip has no undo record, the writes just replace what was there. */
#include "base/check.h"
#include "store/internal.h"

enum sorex_status store_amend_begin(struct store *store, struct sorex_error *err)
{
    CHECK(!store->staging.active);
    TRY(store_writable(store, err));
    TRY(store_flush(store, err));
    if (head_is_empty(&store->head))
        return sorex_error_set(err, SOREX_GONE, "the store is empty: there is no entry to amend");
    staging_start(&store->staging, &store->tip, true);
    return SOREX_OK;
}

/* The state record of a node's key, decoded; *out_found is false when there is none. */
static enum sorex_status state_read(struct store *store, const struct node *node, struct version_record *out,
                                    bool *out_found, struct sorex_error *err)
{
    TRY(db_get(store->db, NULL, DB_STATE, node_key(node), &store->value, err));
    *out_found = store->value.found;
    if (*out_found && !state_decode(store->value.bytes, out))
        return store_corrupt(err, "state record of a key of", node->key_len);
    return SOREX_OK;
}

/* A key that the tip has not touched so far: buries its version, and says what undo needs. */
static enum sorex_status key_join(struct store *store, const struct node *node, struct undo_item *out,
                                  struct sorex_error *err)
{
    struct version_record before;
    bool found = false;
    TRY(state_read(store, node, &before, &found, err));
    *out = (struct undo_item){.key = node_key(node),
                              .had_previous = found,
                              .previous = found ? before.height : 0,
                              .deleted = version_deleted(node->pending)};
    if (!found)
        return SOREX_OK;
    TRY(history_key(&store->history_key, node_key(node), before.height, err));
    struct bytes record = store->value.bytes;
    db_batch_put(store->batch, DB_HISTORY, buf_view(&store->history_key), bytes_of(record.data + 4, record.len - 4));
    return SOREX_OK;
}

/* Merges the tip's undo record with the staged nodes, both in ascending order, into store->scratch. */
static enum sorex_status undo_merge(struct store *store, struct bytes record, struct sorex_error *err)
{
    struct undo_reader undo;
    struct undo_item item = {0};
    bool ok = undo_open(&undo, record);
    if (!ok)
        return store_corrupt(err, "undo record of height", store->head.tip);
    struct buf items = {0};
    uint64_t count = 0;
    size_t next = 0;
    enum sorex_status status = SOREX_OK;
    bool have = undo_next(&undo, &item, &ok);
    while (ok && status == SOREX_OK && (have || next < store->staging.nodes.count)) {
        const struct node *node = next < store->staging.nodes.count ? store->staging.nodes.items[next] : NULL;
        int order = node == NULL ? -1 : !have ? 1 : bytes_compare(item.key, node_key(node));
        struct undo_item out = item;
        if (order > 0)
            status = key_join(store, node, &out, err);
        else if (order == 0)
            out.deleted = version_deleted(node->pending);
        if (status == SOREX_OK)
            status = undo_append(&items, &out, err);
        count++;
        next += order >= 0 ? 1 : 0;
        if (order <= 0)
            have = undo_next(&undo, &item, &ok);
    }
    if (status == SOREX_OK && !ok)
        status = store_corrupt(err, "undo record of height", store->head.tip);
    if (status == SOREX_OK)
        status = undo_begin(&store->scratch, count, err);
    if (status == SOREX_OK)
        status = buf_append(&store->scratch, buf_view(&items), err);
    buf_deinit(&items);
    return status;
}

static enum sorex_status amend_undo(struct store *store, struct sorex_error *err)
{
    if (store->head.tip <= store->head.pruned)
        return SOREX_OK;
    uint8_t key[4];
    u32be_put(key, store->head.tip);
    struct db_value record = {0};
    TRY(db_get(store->db, NULL, DB_UNDO, bytes_of(key, 4), &record, err));
    enum sorex_status status = record.found ? undo_merge(store, record.bytes, err)
                                            : store_corrupt(err, "undo record (missing) of height", store->head.tip);
    db_value_release(&record);
    TRY(status);
    db_batch_put(store->batch, DB_UNDO, bytes_of(key, 4), buf_view(&store->scratch));
    return SOREX_OK;
}

static enum sorex_status amend_outbox(struct store *store, struct head *head, struct sorex_error *err)
{
    const struct staging *staging = &store->staging;
    if (staging->change_count == 0)
        return SOREX_OK;
    struct outbox_record outbox = {.kind = OUTBOX_APPLY,
                                   .height = store->head.tip,
                                   .time_ms = store->tip.time_ms,
                                   .change_count = staging->change_count,
                                   .changes = buf_view(&staging->stored)};
    memcpy(outbox.hash, store->tip.hash, HASH_BYTES);
    TRY(outbox_append(store, head, &outbox, err));

    struct db_value value = {0};
    struct entry_record record;
    struct buf sequences = {0};
    enum sorex_status status = entry_read(store, NULL, head->tip, &value, &record, err);
    if (status == SOREX_OK)
        status = buf_append(&sequences, record.sequences, err);
    if (status == SOREX_OK)
        status = buf_append_varint(&sequences, head->outbox_head, err);
    if (status == SOREX_OK) {
        record.sequences = buf_view(&sequences);
        record.sequence_count++;
        record.outbox_head = head->outbox_head;
        status = entry_encode(&store->scratch, &record, err);
    }
    if (status == SOREX_OK) {
        uint8_t key[4];
        u32be_put(key, head->tip);
        db_batch_put(store->batch, DB_ENTRIES, bytes_of(key, 4), buf_view(&store->scratch));
    }
    buf_deinit(&sequences);
    db_value_release(&value);
    return status;
}

static enum sorex_status amend_batch(struct store *store, struct head *head, struct sorex_error *err)
{
    db_batch_clear(store->batch);
    TRY(node_list_sort(&store->staging.nodes, err));
    TRY(amend_undo(store, err));
    for (size_t i = 0; i < store->staging.nodes.count; i++) {
        const struct node *node = store->staging.nodes.items[i];
        if (version_deleted(node->pending) && head->tip <= head->pruned)
            db_batch_delete(store->batch, DB_STATE, node_key(node));
        else
            db_batch_put(store->batch, DB_STATE, node_key(node), bytes_of(node->pending->record, node->pending->len));
    }
    TRY(amend_outbox(store, head, err));
    batch_head(store, head);
    return SOREX_OK;
}

enum sorex_status store_amend_commit(struct store *store, struct sorex_error *err)
{
    CHECK(store->staging.active && store->staging.amending);
    struct head head = store->head;
    TRY(amend_batch(store, &head, err));
    enum sorex_status status = db_write(store->db, store->batch, store->sync, err);
    db_batch_clear(store->batch);
    if (status != SOREX_OK) {
        store->broken = true;
        return sorex_error_prefix(err, "amend height %u", head.tip);
    }
    staging_drop(&store->staging);
    group_reset(&store->current);
    group_reset(&store->old);
    store->head = head;
    store_publish(store, &head, true);
    return SOREX_OK;
}
