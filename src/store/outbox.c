/* The outbox: appended by the writer with its batches, read by sinks on their own threads. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "store/internal.h"

static struct bytes sequence_key(uint8_t out[8], uint64_t sequence)
{
    u64be_put(out, sequence);
    return bytes_of(out, 8);
}

static struct bytes undone_key(uint8_t out[sizeof META_UNDONE - 1 + 8], uint64_t sequence)
{
    memcpy(out, META_UNDONE, sizeof META_UNDONE - 1);
    u64be_put(out + sizeof META_UNDONE - 1, sequence);
    return bytes_of(out, sizeof META_UNDONE - 1 + 8);
}

enum sorex_status outbox_append(struct store *store, struct head *head, const struct outbox_record *record,
                                struct sorex_error *err)
{
    uint8_t key[8], meta[sizeof META_UNDONE - 1 + 8], undone[8];
    TRY(outbox_encode(&store->scratch, record, head->outbox_offset, err));
    head->outbox_head++;
    head->outbox_offset += store->scratch.len;
    db_batch_put(store->batch, DB_OUTBOX, sequence_key(key, head->outbox_head), buf_view(&store->scratch));
    if (record->kind == OUTBOX_UNDO) {
        u64le_put(undone, record->undone);
        db_batch_put(store->batch, DB_META, undone_key(meta, head->outbox_head), bytes_of(undone, 8));
    }
    return SOREX_OK;
}

enum sorex_status undone_reserve(struct store *store, size_t more, struct sorex_error *err)
{
    if (store->undone_cap - store->undone_count >= more)
        return SOREX_OK;
    size_t cap = store->undone_cap * 2 + more + 16;
    struct undone *undone = realloc(store->undone, cap * sizeof *undone);
    if (undone == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: undo records of the outbox");
    store->undone = undone;
    store->undone_cap = cap;
    return SOREX_OK;
}

enum sorex_status undone_load(struct store *store, struct sorex_error *err)
{
    struct db_iter *iter = db_iter_new(store->db, NULL, DB_META);
    if (iter == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: iterate");
    enum sorex_status status = SOREX_OK;
    struct bytes key, value;
    uint8_t from[sizeof META_UNDONE - 1 + 8];
    for (db_iter_seek(iter, undone_key(from, 0)); status == SOREX_OK && db_iter_at(iter, &key, &value);
         db_iter_next(iter)) {
        if (key.len < sizeof META_UNDONE - 1 || memcmp(key.data, META_UNDONE, sizeof META_UNDONE - 1) != 0)
            break;
        if (key.len != sizeof from || value.len != 8)
            status = store_corrupt(err, "meta record undone, number", store->undone_count);
        else
            status = undone_reserve(store, 1, err);
        if (status == SOREX_OK)
            store->undone[store->undone_count++] =
                (struct undone){u64be_get(key.data + sizeof META_UNDONE - 1), u64le_get(value.data)};
    }
    if (status == SOREX_OK)
        status = db_iter_status(iter, err);
    db_iter_free(iter);
    return status;
}

void store_outbox_range(const struct store *store, uint64_t *out_first, uint64_t *out_head)
{
    pthread_mutex_lock(store->lock);
    *out_first = store->durable.outbox_first;
    *out_head = store->durable.outbox_head;
    pthread_mutex_unlock(store->lock);
}

enum sorex_status store_outbox_read(struct store *store, uint64_t sequence, struct buf *out,
                                    struct outbox_record *record, struct sorex_error *err)
{
    uint64_t first = 0, head = 0, offset = 0;
    store_outbox_range(store, &first, &head);
    if (sequence > head)
        return sorex_error_set(err, SOREX_GONE, "outbox sequence %llu is above the head %llu",
                               (unsigned long long)sequence, (unsigned long long)head);
    uint8_t key[8];
    struct db_value value = {0};
    TRY(db_get(store->db, NULL, DB_OUTBOX, sequence_key(key, sequence), &value, err));
    if (!value.found) {
        store_outbox_range(store, &first, &head);
        if (sequence >= first)
            return store_corrupt(err, "outbox record (missing)", sequence);
        return sorex_error_set(err, SOREX_GONE, "outbox sequence %llu has been trimmed; the lowest one kept is %llu",
                               (unsigned long long)sequence, (unsigned long long)first);
    }
    buf_reset(out);
    enum sorex_status status = buf_append(out, value.bytes, err);
    db_value_release(&value);
    if (status == SOREX_OK && !outbox_decode(buf_view(out), sequence, record, &offset))
        status = store_corrupt(err, "outbox record", sequence);
    return status;
}

void store_outbox_wait(struct store *store, uint64_t sequence, uint32_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(store->lock);
    uint64_t wakes = store->outbox_wakes;
    while (store->durable.outbox_head <= sequence && wakes == store->outbox_wakes && !store->closing) {
        if (pthread_cond_timedwait(&store->outbox_changed, store->lock, &until) == ETIMEDOUT)
            break;
    }
    pthread_mutex_unlock(store->lock);
}

void store_outbox_wake(struct store *store)
{
    pthread_mutex_lock(store->lock);
    store->outbox_wakes++;
    pthread_cond_broadcast(&store->outbox_changed);
    pthread_mutex_unlock(store->lock);
}
