/* Amendments (`inverse: guest`): after an undo, further writes and changes of the entry that is the tip now.
 *
 * They must be undone with that entry. So a key that the entry did not touch buries its version as if the entry had
 * written it, and joins the entry's undo record; a key that it did touch is only overwritten. The changes become an
 * outbox record of their own, which joins the entry's sequences. Commitments stay as they are. At the horizon, where
 * the tip has no undo record, the writes just replace what was there. */
#include "base/check.h"
#include "store/internal.h"
#include "store/lineage.h"

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

/* What the node's key is now; absent when there is no record. Borrowed until the next read. */
static enum sorex_status state_read(struct store *store, const struct node *node, struct version_record *out,
                                    struct sorex_error *err)
{
    *out = (struct version_record){0};
    TRY(db_get(store->db, NULL, DB_STATE, node_key(node), &store->value, err));
    if (store->value.found && (!state_decode(store->value.bytes, out) || out->height > store->head.tip))
        return store_corrupt(err, "state record of a key of", node->key_len);
    return SOREX_OK;
}

/* The staged version's place among the versions of its key: that of the one which it replaces, or behind it. */
static enum sorex_status lineage_give(struct store *store, struct node *node, const struct version_record *before,
                                      struct sorex_error *err)
{
    struct arena *arena = &store->current.generation.arena;
    struct version_record version = version_record(node->pending);
    uint8_t lineage[LINEAGE_BYTES_MAX];
    if (before->kind == VERSION_ABSENT || store->head.tip <= store->head.pruned)
        return SOREX_OK;
    version.lineage = before->lineage;
    if (before->height != version.height)
        version.lineage = bytes_of(
            lineage, lineage_next(lineage, before->lineage, before->height, version.height, store->head.horizon));
    node->pending = version_new(arena, &version);
    return node->pending != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory: amend");
}

/* Merges the tip's undo items with the staged nodes, both in ascending order, into items: a key that the tip has not
 * touched so far buries its version. */
static enum sorex_status undo_merge(struct store *store, struct undo_walk *walk, struct undo_builder *items,
                                    uint64_t *out_count, struct sorex_error *err)
{
    struct undo_item item;
    size_t next = 0;
    bool more = true;
    TRY(undo_walk_next(walk, &item, &more, err));
    for (; more || next < store->staging.nodes.count; ++*out_count) {
        const struct node *node = next < store->staging.nodes.count ? store->staging.nodes.items[next] : NULL;
        int order = node == NULL ? -1 : !more ? 1 : bytes_compare(item.key, node_key(node));
        struct undo_item out = item;
        if (order > 0) {
            out = (struct undo_item){.key = node_key(node)};
            TRY(state_read(store, node, &out.buried, err));
        }
        if (order >= 0)
            out.deleted = version_deleted(node->pending);
        TRY(undo_append(items, &out, err));
        next += order >= 0 ? 1 : 0;
        if (order <= 0)
            TRY(undo_walk_next(walk, &item, &more, err));
    }
    return SOREX_OK;
}

static enum sorex_status undo_rewrite(struct store *store, const struct undo_builder *items, uint64_t count,
                                      struct sorex_error *err)
{
    struct buf key = {0};
    struct undo_reader undo;
    struct undo_item item;
    enum sorex_status status = SOREX_OK, added = SOREX_OK;
    CHECK(undo_open(&undo, buf_view(&items->record), &key));
    undo.total = count;
    added = undo_writer_start(&store->undo, store->batch, store->head.tip, count, err);
    while (added == SOREX_OK && undo_next(&undo, &item, &status))
        added = undo_writer_add(&store->undo, &item, err);
    buf_deinit(&key);
    if (status != SOREX_OK)
        return sorex_error_set(err, status, "out of memory: amend");
    TRY(added);
    undo_writer_end(&store->undo);
    return SOREX_OK;
}

static enum sorex_status amend_undo(struct store *store, struct sorex_error *err)
{
    if (store->head.tip <= store->head.pruned)
        return SOREX_OK;
    struct undo_walk walk;
    struct undo_builder items = {0};
    uint64_t count = 0;
    enum sorex_status status = undo_walk_open(&walk, store->db, store->batch, store->head.tip, false, err);
    if (status == SOREX_OK)
        status = undo_begin(&items, 0, UINT64_MAX, err);
    if (status == SOREX_OK)
        status = undo_merge(store, &walk, &items, &count, err);
    if (status == SOREX_OK && walk.records == 0)
        status = store_corrupt(err, "undo record (missing) of height", store->head.tip);
    undo_walk_close(&walk); /* its deletions come before what is put now */
    if (status == SOREX_OK)
        status = undo_rewrite(store, &items, count, err);
    undo_builder_deinit(&items);
    return status;
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
        struct node *node = store->staging.nodes.items[i];
        struct version_record before;
        TRY(state_read(store, node, &before, err));
        TRY(lineage_give(store, node, &before, err));
        bool gone = version_deleted(node->pending) && head->tip <= head->pruned;
        TRY(batch_state(store, node, gone ? &version_absent : node->pending, err));
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
