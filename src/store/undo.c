/* Undo of entries at the tip, by their undo records: exact puts and deletes, no search.
 *
 * The group is written first, so everything is in the database. Entries go in pieces of a bounded size, each one synced
 * batch: the undo records, history records, headers and commitments of its entries go; each key gets back what it was
 * before the lowest of them; for each outbox record of an entry, last first, the outbox gets one that takes it back. So
 * the database is always at the end of some entry.
 *
 * What the keys become is parked in the cache's nodes, as if it were staged, and shown when the batch is written: the
 * entries of the other branch find it there. */
#include "base/check.h"
#include "store/fault.h"
#include "store/internal.h"

/* Bounds of a piece; one entry always fits. */
#define PIECE_BYTES_MAX ((size_t)16 << 20)
#define PIECE_ENTRIES_MAX 128u

struct piece {
    struct head head;                        /* after what is in the batch */
    struct entry entries[PIECE_ENTRIES_MAX]; /* undone, tip first */
    size_t entry_count;
    size_t undone_count; /* new pairs, behind store->undone_count */
};

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

/* Parks what the key becomes, on top of what higher entries of the piece parked. */
static enum sorex_status key_restore(struct store *store, const struct undo_item *item, struct sorex_error *err)
{
    struct generation *generation = &store->current.generation;
    struct node_list *keys = &store->staging.nodes;
    struct version_record version;
    struct node *node = generation_node(generation, item->key, key_hash(item->key));
    struct version *parked = NULL;
    if (item->had_previous) {
        CHECK(buried_decode(item->buried, &version)); /* undo_next has */
        parked = version_new(&generation->arena, item->previous, version.kind, version.value);
    } else {
        parked = version_copy(&generation->arena, bytes_of("", 0));
    }
    if (node == NULL || parked == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: undo");
    if (node->pending == NULL) {
        TRY(node_list_reserve(keys, 1, err));
        keys->items[keys->count++] = node;
    }
    parked->prev = node->pending;
    node->pending = parked;
    store->staging.bytes += 2 * item->key.len + item->buried.len;
    return SOREX_OK;
}

static enum sorex_status items_undo(struct store *store, struct undo_walk *walk, struct sorex_error *err)
{
    struct undo_item item;
    bool more = true;
    while (true) {
        TRY(undo_walk_next(walk, &item, &more, err));
        if (!more)
            return SOREX_OK;
        TRY(key_restore(store, &item, err));
    }
}

static enum sorex_status state_undo(struct store *store, uint32_t height, struct sorex_error *err)
{
    struct undo_walk walk;
    bool found = false;
    enum sorex_status status = undo_walk_open(&walk, store->db, store->batch, height, &found, err);
    if (status == SOREX_OK)
        status = found ? items_undo(store, &walk, err) : store_corrupt(err, "undo record (missing) of height", height);
    undo_walk_close(&walk);
    return status;
}

/* Appends one undo record per apply record of the entry, last first. */
static enum sorex_status outbox_undo(struct store *store, struct piece *piece, const struct entry_record *entry,
                                     struct sorex_error *err)
{
    TRY(undone_reserve(store, piece->undone_count + (size_t)entry->sequence_count, err));
    for (uint64_t left = entry->sequence_count; left > 0; left--) {
        struct reader r = reader_of(entry->sequences);
        uint64_t sequence = 0;
        for (uint64_t i = 0; i < left; i++)
            CHECK(reader_varint(&r, &sequence)); /* entry_decode has read them */
        struct outbox_record record = {
            .kind = OUTBOX_UNDO, .undone = sequence, .height = entry->entry.height, .time_ms = entry->entry.time_ms};
        memcpy(record.hash, entry->entry.hash, HASH_BYTES);
        TRY(outbox_append(store, &piece->head, &record, err));
        store->undone[store->undone_count + piece->undone_count++] = (struct undone){piece->head.outbox_head, sequence};
    }
    return SOREX_OK;
}

static enum sorex_status entry_undo(struct store *store, struct piece *piece, struct sorex_error *err)
{
    uint8_t key[4];
    uint32_t height = piece->head.tip;
    struct db_value value = {0};
    struct entry_record record;
    u32be_put(key, height);
    TRY(entry_read(store, NULL, height, &value, &record, err));
    enum sorex_status status = state_undo(store, height, err);
    if (status == SOREX_OK)
        status = outbox_undo(store, piece, &record, err);
    piece->entries[piece->entry_count++] = record.entry;
    db_value_release(&value);
    if (status != SOREX_OK)
        return sorex_error_prefix(err, "undo height %u", height);
    db_batch_delete(store->batch, DB_ENTRIES, bytes_of(key, 4));
    piece->head.tip--;
    return SOREX_OK;
}

/* The versions that the piece dug out are not superseded any more. */
static enum sorex_status history_undo(struct store *store, const struct node *node, struct sorex_error *err)
{
    for (const struct version *version = node->pending; version != NULL; version = version->prev) {
        if (version->len == 0)
            continue;
        TRY(history_key(&store->history_key, node_key(node), version_height(version), err));
        db_batch_delete(store->batch, DB_HISTORY, buf_view(&store->history_key));
    }
    return SOREX_OK;
}

static enum sorex_status piece_fill(struct store *store, struct piece *piece, uint32_t goal, struct sorex_error *err)
{
    uint32_t entries_max = store_fault_undo_entries_get(PIECE_ENTRIES_MAX);
    db_batch_clear(store->batch);
    while (piece->head.tip > goal && piece->entry_count < entries_max &&
           (piece->entry_count == 0 || store->staging.bytes < PIECE_BYTES_MAX))
        TRY(entry_undo(store, piece, err));

    struct node_list *keys = &store->staging.nodes;
    TRY(node_list_sort(keys, err));
    for (size_t i = 0; i < keys->count; i++) {
        const struct node *node = keys->items[i];
        if (node->pending->len == 0)
            db_batch_delete(store->batch, DB_STATE, node_key(node));
        else
            db_batch_put(store->batch, DB_STATE, node_key(node), bytes_of(node->pending->record, node->pending->len));
    }
    for (size_t i = 0; i < keys->count; i++)
        TRY(history_undo(store, keys->items[i], err));
    batch_head(store, &piece->head);
    return SOREX_OK;
}

/* Shows what the batch has made durable. */
static void piece_settle(struct store *store, const struct piece *piece, const struct entry_record *tip)
{
    struct node_list *keys = &store->staging.nodes;
    for (size_t i = 0; i < keys->count; i++) {
        struct node *node = keys->items[i];
        node->newest = node->pending;
        node->pending = NULL;
        node->newest->prev = NULL;
        node->based = true;
    }
    staging_end(&store->staging);
    if (store->current.generation.arena.total > store->generation_bytes_max) {
        group_reset(&store->current);
        group_reset(&store->old);
    }
    store->undone_count += piece->undone_count;
    store->head = piece->head;
    store->tip = tip->entry;
    programs_commitments(store, tip);
    store_publish(store, &piece->head, true);
}

static enum sorex_status piece_undo(struct store *store, struct piece *piece, uint32_t goal, struct sorex_error *err)
{
    struct db_value value = {0};
    struct entry_record tip;
    *piece = (struct piece){.head = store->head};
    enum sorex_status status = piece_fill(store, piece, goal, err);
    if (status == SOREX_OK)
        status = entry_read(store, NULL, piece->head.tip, &value, &tip, err);
    if (status == SOREX_OK && (status = db_write(store->db, store->batch, store->sync, err)) != SOREX_OK)
        store->broken = true;
    db_batch_clear(store->batch);
    if (status == SOREX_OK)
        piece_settle(store, piece, &tip);
    else
        staging_drop(&store->staging);
    db_value_release(&value);
    return status;
}

enum sorex_status store_undo_to(struct store *store, uint32_t height, store_undone_fn *each, void *user_data,
                                struct sorex_error *err)
{
    CHECK(!store->staging.active);
    TRY(store_writable(store, err));
    TRY(store_flush(store, err));
    if (!head_is_empty(&store->head) && store->head.tip > height && height < store->head.horizon) {
        TRY(undo_allowed(store, err));
        return sorex_error_set(err, SOREX_GONE,
                               "height %u is below the horizon of this store, %u, and cannot be restored; nothing was "
                               "undone",
                               height, store->head.horizon);
    }
    struct piece piece;
    while (!head_is_empty(&store->head) && store->head.tip > height) {
        TRY(undo_allowed(store, err));
        TRY(piece_undo(store, &piece, height > store->head.horizon ? height : store->head.horizon, err));
        for (size_t i = 0; i < piece.entry_count; i++)
            if (each != NULL)
                each(user_data, &piece.entries[i]);
    }
    return SOREX_OK;
}

static void entry_take(void *user_data, const struct entry *entry)
{
    if (user_data != NULL)
        *(struct entry *)user_data = *entry;
}

enum sorex_status store_undo(struct store *store, struct entry *out_entry, struct sorex_error *err)
{
    CHECK(!store->staging.active);
    TRY(store_writable(store, err));
    TRY(store_flush(store, err));
    TRY(undo_allowed(store, err));
    return store_undo_to(store, store->head.tip - 1, entry_take, out_entry, err);
}
