/* Cursors of sinks: lower bounds for trimming, in memory and in meta.
 *
 * Each knows the offset (bytes of all outbox records up to and including its sequence), so that "bytes waiting" is a
 * subtraction. */
#include <stdlib.h>

#include "base/check.h"
#include "store/internal.h"

#define CURSOR_RECORD_BYTES (8 + HASH_BYTES)
#define CURSOR_NAME_MAX 200u

/* Bytes of all records up to and including sequence. */
static enum sorex_status offset_after(struct store *store, uint64_t sequence, uint64_t *out, struct sorex_error *err)
{
    struct head head;
    pthread_mutex_lock(store->lock);
    head = store->durable;
    pthread_mutex_unlock(store->lock);
    *out = head.outbox_offset;
    uint64_t next = sequence + 1 > head.outbox_first ? sequence + 1 : head.outbox_first;
    if (next > head.outbox_head)
        return SOREX_OK;
    uint8_t key[8];
    u64be_put(key, next);
    struct db_value value = {0};
    TRY(db_get(store->db, NULL, DB_OUTBOX, bytes_of(key, 8), &value, err));
    if (value.found && value.bytes.len >= OUTBOX_RECORD_OFFSET_AT + 8)
        *out = u64le_get(value.bytes.data + OUTBOX_RECORD_OFFSET_AT);
    db_value_release(&value); /* not found: trimmed in this moment, so nobody waits for it */
    return SOREX_OK;
}

/* With the lock held. */
static struct cursor *cursor_find(const struct store *store, const char *name)
{
    for (size_t i = 0; i < store->cursor_count; i++) {
        if (strcmp(store->cursors[i].name, name) == 0)
            return &store->cursors[i];
    }
    return NULL;
}

/* Sets or adds it in memory. */
static enum sorex_status cursor_keep(struct store *store, const char *name, const struct cursor *cursor,
                                     struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    pthread_mutex_lock(store->lock);
    struct cursor *at = cursor_find(store, name);
    if (at == NULL) {
        struct cursor *cursors = realloc(store->cursors, (store->cursor_count + 1) * sizeof *cursors);
        char *copy = strdup(name);
        if (cursors != NULL)
            store->cursors = cursors;
        if (cursors == NULL || copy == NULL) {
            free(copy);
            status = sorex_error_set(err, SOREX_NOMEM, "out of memory: cursor of %s", name);
        } else {
            at = &store->cursors[store->cursor_count++];
            at->name = copy;
        }
    }
    if (at != NULL) {
        at->sequence = cursor->sequence;
        at->offset = cursor->offset;
        memcpy(at->hash, cursor->hash, HASH_BYTES);
    }
    pthread_mutex_unlock(store->lock);
    return status;
}

enum sorex_status store_cursor_set(struct store *store, const char *sink, uint64_t sequence,
                                   const uint8_t hash[HASH_BYTES], struct sorex_error *err)
{
    TRY(store_writable(store, err));
    size_t len = strlen(sink);
    if (len == 0 || len > CURSOR_NAME_MAX)
        return sorex_error_set(err, SOREX_INVALID, "the name of a sink must have 1 to %u bytes", CURSOR_NAME_MAX);
    uint64_t first = 0, head = 0;
    store_outbox_range(store, &first, &head);
    if (sequence > head)
        return sorex_error_set(err, SOREX_INVALID, "cursor of %s: sequence %llu is above the outbox's head %llu", sink,
                               (unsigned long long)sequence, (unsigned long long)head);

    struct cursor cursor = {.sequence = sequence};
    memcpy(cursor.hash, hash, HASH_BYTES);
    TRY(offset_after(store, sequence, &cursor.offset, err));
    uint8_t key[sizeof META_CURSOR - 1 + CURSOR_NAME_MAX], value[CURSOR_RECORD_BYTES];
    memcpy(key, META_CURSOR, sizeof META_CURSOR - 1);
    memcpy(key + sizeof META_CURSOR - 1, sink, len);
    u64le_put(value, sequence);
    memcpy(value + 8, hash, HASH_BYTES);
    struct db_batch *batch = db_batch_new(store->db);
    if (batch == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: cursor of %s", sink);
    db_batch_put(batch, DB_META, bytes_of(key, sizeof META_CURSOR - 1 + len), bytes_of(value, sizeof value));
    enum sorex_status status = db_write(store->db, batch, false, err);
    db_batch_free(batch);
    return status == SOREX_OK ? cursor_keep(store, sink, &cursor, err) : status;
}

enum sorex_status store_cursor_get(struct store *store, const char *sink, uint64_t *out_sequence,
                                   uint8_t out_hash[HASH_BYTES], struct sorex_error *err)
{
    pthread_mutex_lock(store->lock);
    const struct cursor *cursor = cursor_find(store, sink);
    if (cursor != NULL) {
        *out_sequence = cursor->sequence;
        memcpy(out_hash, cursor->hash, HASH_BYTES);
    }
    pthread_mutex_unlock(store->lock);
    return cursor != NULL ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "no cursor of a sink '%s' in this store", sink);
}

/* Takes it out of memory; the last one moves to its place. */
static void cursor_remove(struct store *store, const char *name)
{
    pthread_mutex_lock(store->lock);
    struct cursor *cursor = cursor_find(store, name);
    if (cursor != NULL) {
        free(cursor->name);
        *cursor = store->cursors[--store->cursor_count];
    }
    pthread_mutex_unlock(store->lock);
}

enum sorex_status store_cursor_forget(struct store *store, const char *sink, struct sorex_error *err)
{
    uint64_t sequence;
    uint8_t hash[HASH_BYTES], key[sizeof META_CURSOR - 1 + CURSOR_NAME_MAX];
    TRY(store_writable(store, err));
    TRY(store_cursor_get(store, sink, &sequence, hash, err));
    size_t len = strlen(sink);
    memcpy(key, META_CURSOR, sizeof META_CURSOR - 1);
    memcpy(key + sizeof META_CURSOR - 1, sink, len);
    struct db_batch *batch = db_batch_new(store->db);
    if (batch == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: cursor of %s", sink);
    db_batch_delete(batch, DB_META, bytes_of(key, sizeof META_CURSOR - 1 + len));
    enum sorex_status status = db_write(store->db, batch, true, err);
    db_batch_free(batch);
    if (status == SOREX_OK)
        cursor_remove(store, sink);
    return status;
}

void store_cursors(const struct store *store, void (*each)(void *user_data, const char *sink, uint64_t sequence),
                   void *user_data)
{
    pthread_mutex_lock(store->lock);
    for (size_t i = 0; i < store->cursor_count; i++)
        each(user_data, store->cursors[i].name, store->cursors[i].sequence);
    pthread_mutex_unlock(store->lock);
}

uint64_t cursor_lowest(struct store *store)
{
    uint64_t lowest = UINT64_MAX;
    pthread_mutex_lock(store->lock);
    for (size_t i = 0; i < store->cursor_count; i++)
        lowest = store->cursors[i].sequence < lowest ? store->cursors[i].sequence : lowest;
    pthread_mutex_unlock(store->lock);
    return lowest;
}

uint64_t store_outbox_bytes(const struct store *store)
{
    pthread_mutex_lock(store->lock);
    uint64_t offset = store->durable.outbox_offset;
    for (size_t i = 0; i < store->cursor_count; i++)
        offset = store->cursors[i].offset < offset ? store->cursors[i].offset : offset;
    uint64_t waiting = store->durable.outbox_offset - offset;
    pthread_mutex_unlock(store->lock);
    return waiting;
}

enum sorex_status cursors_load(struct store *store, struct sorex_error *err)
{
    struct db_iter *iter = db_iter_new(store->db, NULL, DB_META);
    if (iter == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: iterate");
    enum sorex_status status = SOREX_OK;
    struct bytes key, value;
    for (db_iter_seek(iter, bytes_str(META_CURSOR)); status == SOREX_OK && db_iter_at(iter, &key, &value);
         db_iter_next(iter)) {
        if (key.len < sizeof META_CURSOR - 1 || memcmp(key.data, META_CURSOR, sizeof META_CURSOR - 1) != 0)
            break;
        size_t len = key.len - (sizeof META_CURSOR - 1);
        char name[CURSOR_NAME_MAX + 1] = "";
        if (len == 0 || len > CURSOR_NAME_MAX || value.len != CURSOR_RECORD_BYTES) {
            status = store_corrupt(err, "meta record cursor, number", store->cursor_count);
            break;
        }
        memcpy(name, key.data + sizeof META_CURSOR - 1, len);
        struct cursor cursor = {.sequence = u64le_get(value.data)};
        memcpy(cursor.hash, value.data + 8, HASH_BYTES);
        status = offset_after(store, cursor.sequence, &cursor.offset, err);
        if (status == SOREX_OK)
            status = cursor_keep(store, name, &cursor, err);
    }
    if (status == SOREX_OK)
        status = db_iter_status(iter, err);
    db_iter_free(iter);
    return status;
}

void cursors_free(struct store *store)
{
    for (size_t i = 0; i < store->cursor_count; i++)
        free(store->cursors[i].name);
    free(store->cursors);
}
