/* Pruning: walks the undo records upwards from `pruned`, a bounded piece with every group.
 *
 * The records of height h hold what h buried: nothing at or above h needs it once h is at or below the horizon. Where h
 * deleted a key, its tombstone goes too if it is still the last word on the key.
 *
 * Records of heights that were elided (never written) are simply missing. */
#include <stdlib.h>

#include "base/check.h"
#include "store/internal.h"

static enum sorex_status tombstone_drop(struct store *store, struct bytes key, uint32_t height, struct sorex_error *err)
{
    struct db_value value = {0};
    TRY(db_get(store->db, NULL, DB_STATE, key, &value, err));
    struct version_record version = {0};
    enum sorex_status status = SOREX_OK;
    if (value.found && !state_decode(value.bytes, &version))
        status = store_corrupt(err, "state record of a key of", key.len);
    else if (value.found && version.kind == VERSION_DELETED && version.height == height)
        db_batch_delete(store->batch, DB_STATE, key);
    db_value_release(&value);
    return status;
}

/* Adds what an entry leaves behind to the batch; *out_keys counts. */
static enum sorex_status height_prune(struct store *store, struct undo_walk *walk, const struct head *head,
                                      uint64_t *out_keys, struct sorex_error *err)
{
    struct undo_item item;
    bool more = true;
    for (*out_keys = 1;;) {
        TRY(undo_walk_next(walk, &item, &more, err));
        if (!more)
            break;
        ++*out_keys;
        if (item.deleted)
            TRY(tombstone_drop(store, item.key, walk->height, err));
    }
    *out_keys += walk->records;
    if (walk->records != 0 && walk->height - 1 != head->first) {
        uint8_t key[4];
        u32be_put(key, walk->height - 1);
        db_batch_delete(store->batch, DB_ENTRIES, bytes_of(key, 4));
    }
    return SOREX_OK;
}

static enum sorex_status heights_prune(struct store *store, struct head *head, uint32_t group_first, uint64_t budget,
                                       struct sorex_error *err)
{
    struct undo_walk walk;
    uint64_t spent = 0;
    enum sorex_status status = undo_walk_open(&walk, store->db, store->batch, head->pruned + 1, false, err);
    walk.deletes_only = true;
    while (status == SOREX_OK && spent < budget && head->pruned < head->horizon && head->pruned + 1 < group_first) {
        uint64_t keys = 0;
        undo_walk_entry(&walk, head->pruned + 1);
        status = height_prune(store, &walk, head, &keys, err);
        spent += keys;
        head->pruned += status == SOREX_OK;
    }
    undo_walk_close(&walk);
    return status;
}

enum sorex_status prune_history(struct store *store, struct head *head, uint32_t group_first, uint64_t budget,
                                struct sorex_error *err)
{
    if (head->pruned < head->horizon && head->pruned + 1 < group_first)
        TRY(heights_prune(store, head, group_first, budget, err));
    if (head->pruned == head->horizon || head->pruned + 1 < group_first)
        return SOREX_OK;
    /* Nothing below the group is left: the rest of the way is the group's own entries, which are elided. */
    if (head->pruned != head->first) {
        uint8_t key[4];
        u32be_put(key, head->pruned);
        db_batch_delete(store->batch, DB_ENTRIES, bytes_of(key, 4));
    }
    head->pruned = head->horizon;
    return SOREX_OK;
}

/* ---- outbox ---- */

/* The last sequence that the horizon lets go. */
static enum sorex_status horizon_sequence(struct store *store, const struct group *group, const struct head *head,
                                          uint64_t *out, struct sorex_error *err)
{
    for (size_t i = 0; i < group->entry_count; i++) {
        if (group->entries[i].entry.height == head->horizon) {
            *out = group->entries[i].outbox_head;
            return SOREX_OK;
        }
    }
    struct db_value value = {0};
    struct entry_record record;
    TRY(entry_read(store, NULL, head->horizon, &value, &record, err));
    *out = record.outbox_head;
    db_value_release(&value);
    return SOREX_OK;
}

enum sorex_status prune_outbox(struct store *store, const struct group *group, struct head *head, uint64_t budget,
                               struct sorex_error *err)
{
    if (head->outbox_first > head->outbox_head || head->horizon == head->first)
        return SOREX_OK;
    uint64_t last = 0, cursor = cursor_lowest(store);
    TRY(horizon_sequence(store, group, head, &last, err));
    last = cursor < last ? cursor : last;
    for (size_t i = 0; i < store->undone_count; i++) {
        if (store->undone[i].sequence > cursor && store->undone[i].undone <= last)
            last = store->undone[i].undone - 1;
    }
    for (; head->outbox_first <= last && budget > 0; head->outbox_first++, budget--) {
        uint8_t key[8];
        u64be_put(key, head->outbox_first);
        db_batch_delete(store->batch, DB_OUTBOX, bytes_of(key, 8));
    }
    for (size_t i = 0; i < store->undone_count && store->undone[i].sequence < head->outbox_first; i++) {
        uint8_t key[sizeof META_UNDONE - 1 + 8];
        memcpy(key, META_UNDONE, sizeof META_UNDONE - 1);
        u64be_put(key + sizeof META_UNDONE - 1, store->undone[i].sequence);
        db_batch_delete(store->batch, DB_META, bytes_of(key, sizeof key));
    }
    return SOREX_OK;
}

void prune_settle(struct store *store, const struct head *head)
{
    size_t gone = 0;
    while (gone < store->undone_count && store->undone[gone].sequence < head->outbox_first)
        gone++;
    if (gone == 0)
        return;
    store->undone_count -= gone;
    memmove(store->undone, store->undone + gone, store->undone_count * sizeof *store->undone);
}
