/* Undo of entries at the tip, by their undo records: puts and deletes, no search.
 *
 * The group is written first, so everything is in the database. Entries go in pieces of a bounded size, each one synced
 * batch: the undo records, headers and commitments of its entries go; each key gets back what it was before the lowest
 * of them, byte for byte; for each outbox record of an entry, last first, the outbox gets one that takes it back. So
 * the database is always at the end of some entry. Undo records and headers are read by one iterator each, from the tip
 * down.
 *
 * What the keys become is parked in the cache's nodes, as if it were staged, and shown when the batch is written: the
 * entries of the other branch find it there. */
#include <stdlib.h>

#include "base/check.h"
#include "store/fault.h"
#include "store/internal.h"

/* Bounds of a piece; one entry always fits. */
#define PIECE_BYTES_MAX ((size_t)16 << 20)
#define PIECE_ENTRIES_MAX 1024u

struct piece {
    struct head head;                        /* after what is in the batch */
    struct entry entries[PIECE_ENTRIES_MAX]; /* undone, tip first */
    size_t entry_count;
    size_t undone_count; /* new pairs, behind store->undone_count */
    struct undo_walk walk;
    struct db_iter *headers; /* entry records, at head.tip */
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

/* Parks what the key becomes, in place of what a higher entry of the piece parked. */
static enum sorex_status key_restore(struct store *store, const struct undo_item *item, struct sorex_error *err)
{
    struct generation *generation = &store->current.generation;
    struct node_list *keys = &store->staging.nodes;
    struct node *node = generation_node(generation, item->key, key_hash(item->key));
    struct version *parked = &version_absent;
    if (node == NULL ||
        (item->buried.kind != VERSION_ABSENT && (parked = version_new(&generation->arena, &item->buried)) == NULL))
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: undo");
    if (node->pending == NULL) {
        TRY(node_list_reserve(keys, 1, err));
        keys->items[keys->count++] = node;
    }
    node->pending = parked;
    store->staging.bytes += item->key.len + state_len(&item->buried);
    return SOREX_OK;
}

static enum sorex_status state_undo(struct store *store, struct undo_walk *walk, uint32_t height,
                                    struct sorex_error *err)
{
    struct undo_item item;
    bool more = true;
    undo_walk_entry(walk, height);
    while (true) {
        TRY(undo_walk_next(walk, &item, &more, err));
        if (!more)
            return walk->records != 0 ? SOREX_OK : store_corrupt(err, "undo record (missing) of height", height);
        TRY(key_restore(store, &item, err));
    }
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

/* The entry record at `height`, where the iterator stands. */
static enum sorex_status entry_at(const struct db_iter *entries, uint32_t height, struct entry_record *out,
                                  struct sorex_error *err)
{
    struct bytes key, value;
    if (!db_iter_at(entries, &key, &value)) {
        TRY(db_iter_status(entries, err));
        return store_corrupt(err, "entry (missing)", height);
    }
    if (key.len != 4 || u32be_get(key.data) != height)
        return store_corrupt(err, "entry (missing)", height);
    return entry_decode(value, height, out) ? SOREX_OK : store_corrupt(err, "entry", height);
}

static enum sorex_status entry_undo(struct store *store, struct piece *piece, struct sorex_error *err)
{
    uint8_t key[4];
    uint32_t height = piece->head.tip;
    struct entry_record record;
    TRY(entry_at(piece->headers, height, &record, err));
    enum sorex_status status = state_undo(store, &piece->walk, height, err);
    if (status == SOREX_OK)
        status = outbox_undo(store, piece, &record, err);
    if (status != SOREX_OK)
        return sorex_error_prefix(err, "undo height %u", height);
    piece->entries[piece->entry_count++] = record.entry;
    u32be_put(key, height);
    db_batch_delete(store->batch, DB_ENTRIES, bytes_of(key, 4));
    piece->head.tip--;
    db_iter_prev(piece->headers);
    return SOREX_OK;
}

static enum sorex_status piece_fill(struct store *store, struct piece *piece, uint32_t goal, struct sorex_error *err)
{
    uint32_t entries_max = store_fault_undo_entries_get(PIECE_ENTRIES_MAX);
    while (piece->head.tip > goal && piece->entry_count < entries_max &&
           (piece->entry_count == 0 || store->staging.bytes < PIECE_BYTES_MAX))
        TRY(entry_undo(store, piece, err));

    struct node_list *keys = &store->staging.nodes;
    TRY(node_list_sort(keys, err));
    for (size_t i = 0; i < keys->count; i++) {
        const struct version *restored = keys->items[i]->pending;
        if (restored->kind != VERSION_ABSENT && restored->height > piece->head.tip)
            return store_corrupt(err, "undo record (of a key) of height", restored->height);
        TRY(batch_state(store, keys->items[i], restored, err));
    }
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

static enum sorex_status piece_write(struct store *store, struct piece *piece, uint32_t goal, struct sorex_error *err)
{
    uint8_t key[4];
    struct entry_record tip;
    u32be_put(key, piece->head.tip);
    piece->headers = db_iter_new(store->db, NULL, DB_ENTRIES);
    if (piece->headers == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: undo");
    db_iter_seek_back(piece->headers, bytes_of(key, 4));
    TRY(piece_fill(store, piece, goal, err));
    TRY(entry_at(piece->headers, piece->head.tip, &tip, err));
    enum sorex_status status = db_write(store->db, store->batch, store->sync, err);
    if (status == SOREX_OK)
        piece_settle(store, piece, &tip);
    else
        store->broken = true;
    return status;
}

static enum sorex_status piece_undo(struct store *store, struct piece *piece, uint32_t goal, struct sorex_error *err)
{
    piece->head = store->head;
    piece->entry_count = piece->undone_count = 0;
    piece->headers = NULL;
    db_batch_clear(store->batch);
    enum sorex_status status = undo_walk_open(&piece->walk, store->db, store->batch, store->head.tip, true, err);
    if (status == SOREX_OK)
        status = piece_write(store, piece, goal, err);
    db_iter_free(piece->headers);
    undo_walk_close(&piece->walk);
    db_batch_clear(store->batch);
    if (status != SOREX_OK)
        staging_drop(&store->staging);
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
    struct piece *piece = calloc(1, sizeof *piece);
    if (piece == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: undo");
    enum sorex_status status = SOREX_OK;
    while (status == SOREX_OK && !head_is_empty(&store->head) && store->head.tip > height) {
        status = undo_allowed(store, err);
        if (status == SOREX_OK)
            status = piece_undo(store, piece, height > store->head.horizon ? height : store->head.horizon, err);
        for (size_t i = 0; status == SOREX_OK && each != NULL && i < piece->entry_count; i++)
            each(user_data, &piece->entries[i]);
    }
    free(piece);
    return status;
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
