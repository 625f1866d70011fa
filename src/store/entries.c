/* Entry headers, commitments and heights, for any thread. */
#include "base/check.h"
#include "store/internal.h"

enum sorex_status entry_read(struct store *store, const struct db_view *view, uint32_t height, struct db_value *value,
                             struct entry_record *out, struct sorex_error *err)
{
    uint8_t key[4];
    u32be_put(key, height);
    TRY(db_get(store->db, view, DB_ENTRIES, bytes_of(key, 4), value, err));
    if (value->found && entry_decode(value->bytes, height, out))
        return SOREX_OK;
    enum sorex_status status = store_corrupt(err, value->found ? "entry" : "entry (missing)", height);
    db_value_release(value);
    return status;
}

enum sorex_status head_read(struct store *store, const struct db_view *view, struct head *out, struct sorex_error *err)
{
    struct db_value value = {0};
    TRY(db_get(store->db, view, DB_META, bytes_str(META_HEAD), &value, err));
    *out = (struct head){.first = SOREX_HEIGHT_NONE,
                         .tip = SOREX_HEIGHT_NONE,
                         .horizon = SOREX_HEIGHT_NONE,
                         .pruned = SOREX_HEIGHT_NONE,
                         .outbox_first = 1};
    enum sorex_status status = SOREX_OK;
    if (value.found && !head_decode(value.bytes, out))
        status = store_corrupt(err, "meta record head of bytes", value.bytes.len);
    db_value_release(&value);
    return status;
}

void store_heights(const struct store *store, struct store_heights *out)
{
    pthread_mutex_lock(store->lock);
    *out = (struct store_heights){.first = store->seen.first,
                                  .tip = store->seen.tip,
                                  .durable = store->durable.tip,
                                  .horizon = store->seen.horizon};
    pthread_mutex_unlock(store->lock);
}

/* The entry of an unwritten group, when the calling thread is the one that writes. */
static bool group_entry_find(const struct store *store, uint32_t height, struct entry *out)
{
    pthread_mutex_lock(store->lock);
    bool writer = store->writer_known && pthread_equal(store->writer, pthread_self());
    pthread_mutex_unlock(store->lock);
    const struct group *groups[] = {&store->current, &store->old};
    for (size_t g = 0; writer && g < 2; g++) {
        for (size_t i = 0; i < groups[g]->entry_count; i++) {
            if (groups[g]->entries[i].entry.height != height)
                continue;
            *out = groups[g]->entries[i].entry;
            return true;
        }
    }
    return false;
}

/* Reads an entry record through one view of the database, with its head. */
static enum sorex_status entry_retained(struct store *store, uint32_t height, struct db_value *value,
                                        struct entry_record *out, struct sorex_error *err)
{
    struct db_view *view = db_view_new(store->db);
    if (view == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: view of the store");
    struct head head;
    enum sorex_status status = head_read(store, view, &head, err);
    if (status != SOREX_OK)
        goto done;
    if (head_is_empty(&head))
        status = sorex_error_set(err, SOREX_GONE, "height %u: the store is empty", height);
    else if (height > head.tip)
        status = sorex_error_set(err, SOREX_GONE, "height %u is above the tip %u", height, head.tip);
    else if (height < head.horizon && height != head.first)
        status = sorex_error_set(err, SOREX_GONE, "height %u is below the horizon %u", height, head.horizon);
    else
        status = entry_read(store, view, height, value, out, err);
done:
    db_view_free(view);
    return status;
}

enum sorex_status store_entry(struct store *store, uint32_t height, struct entry *out, struct sorex_error *err)
{
    if (group_entry_find(store, height, out))
        return SOREX_OK;
    struct db_value value = {0};
    struct entry_record record;
    TRY(entry_retained(store, height, &value, &record, err));
    *out = record.entry;
    db_value_release(&value);
    return SOREX_OK;
}

enum sorex_status store_commitment(struct store *store, uint32_t height, uint16_t program, uint8_t out[HASH_BYTES],
                                   struct sorex_error *err)
{
    struct db_value value = {0};
    struct entry_record record;
    TRY(entry_retained(store, height, &value, &record, err));
    const uint8_t *commitment = entry_commitment(&record, program);
    if (commitment != NULL)
        memcpy(out, commitment, HASH_BYTES);
    db_value_release(&value);
    return commitment != NULL ? SOREX_OK
                              : sorex_error_set(err, SOREX_GONE, "program %u has no commitment at height %u",
                                                (unsigned)program, height);
}
