#include "store/disk.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"

struct record {
    uint32_t refs; /* tables and batches that hold it */
    size_t key_len, value_len;
    uint8_t bytes[]; /* key, value */
};

struct table {
    uint32_t refs; /* the disk, its synced state, views, iterators */
    size_t count;
    struct record *records[]; /* ascending */
};

struct disk {
    pthread_mutex_t lock; /* everything below, and all refs */
    struct table *now[DB_FAMILIES];
    struct table *synced[DB_FAMILIES];
    uint64_t writes;
};

struct disk_view {
    struct disk *disk;
    struct table *tables[DB_FAMILIES];
};

struct disk_iter {
    struct disk *disk;
    struct table *table;
    size_t at;
};

struct operation {
    enum db_family family;
    size_t order;
    bool put;
    struct record *record;
};

struct disk_batch {
    struct operation *operations;
    size_t count, cap, bytes;
    bool failed;
};

static struct bytes record_key(const struct record *record) { return bytes_of(record->bytes, record->key_len); }
static struct bytes record_value(const struct record *record)
{
    return bytes_of(record->bytes + record->key_len, record->value_len);
}

static void record_drop(struct record *record)
{
    if (--record->refs == 0)
        free(record);
}

/* The lock is held (also below, where tables are handled). */
static void table_drop(struct table *table)
{
    if (table == NULL || --table->refs != 0)
        return;
    for (size_t i = 0; i < table->count; i++)
        record_drop(table->records[i]);
    free(table);
}

static struct table *table_keep(struct table *table)
{
    if (table != NULL)
        table->refs++;
    return table;
}

static void tables_drop(struct table *tables[DB_FAMILIES])
{
    for (size_t i = 0; i < DB_FAMILIES; i++) {
        table_drop(tables[i]);
        tables[i] = NULL;
    }
}

static void tables_keep(struct table *out[DB_FAMILIES], struct table *const tables[DB_FAMILIES])
{
    for (size_t i = 0; i < DB_FAMILIES; i++)
        out[i] = table_keep(tables[i]);
}

struct disk *disk_new(void)
{
    struct disk *disk = calloc(1, sizeof *disk);
    if (disk != NULL)
        CHECK(pthread_mutex_init(&disk->lock, NULL) == 0);
    return disk;
}

void disk_free(struct disk *disk)
{
    if (disk == NULL)
        return;
    tables_drop(disk->now);
    tables_drop(disk->synced);
    pthread_mutex_destroy(&disk->lock);
    free(disk);
}

void disk_crash(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    tables_drop(disk->now);
    tables_keep(disk->now, disk->synced);
    pthread_mutex_unlock(&disk->lock);
}

uint64_t disk_writes(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    uint64_t writes = disk->writes;
    pthread_mutex_unlock(&disk->lock);
    return writes;
}

/* ---- reading ---- */

/* The first record with a key >= key. */
static size_t lower_bound(const struct table *table, struct bytes key)
{
    size_t low = 0, high = table != NULL ? table->count : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(record_key(table->records[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

enum sorex_status disk_get(struct disk *disk, const struct disk_view *view, enum db_family family, struct bytes key,
                           struct db_value *out, struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    pthread_mutex_lock(&disk->lock);
    const struct table *table = view != NULL ? view->tables[family] : disk->now[family];
    size_t at = lower_bound(table, key);
    if (table != NULL && at < table->count && bytes_equal(record_key(table->records[at]), key)) {
        struct bytes value = record_value(table->records[at]);
        out->copy = malloc(value.len + 1);
        if (out->copy == NULL) {
            status = sorex_error_set(err, SOREX_NOMEM, "out of memory: read a record");
        } else {
            memcpy(out->copy, value.data, value.len);
            out->bytes = bytes_of(out->copy, value.len);
            out->found = true;
        }
    }
    pthread_mutex_unlock(&disk->lock);
    return status;
}

struct disk_view *disk_view_new(struct disk *disk)
{
    struct disk_view *view = calloc(1, sizeof *view);
    if (view == NULL)
        return NULL;
    view->disk = disk;
    pthread_mutex_lock(&disk->lock);
    tables_keep(view->tables, disk->now);
    pthread_mutex_unlock(&disk->lock);
    return view;
}

void disk_view_free(struct disk_view *view)
{
    if (view == NULL)
        return;
    pthread_mutex_lock(&view->disk->lock);
    tables_drop(view->tables);
    pthread_mutex_unlock(&view->disk->lock);
    free(view);
}

struct disk_iter *disk_iter_new(struct disk *disk, const struct disk_view *view, enum db_family family)
{
    struct disk_iter *iter = calloc(1, sizeof *iter);
    if (iter == NULL)
        return NULL;
    iter->disk = disk;
    pthread_mutex_lock(&disk->lock);
    iter->table = table_keep(view != NULL ? view->tables[family] : disk->now[family]);
    pthread_mutex_unlock(&disk->lock);
    iter->at = SIZE_MAX;
    return iter;
}

void disk_iter_free(struct disk_iter *iter)
{
    if (iter == NULL)
        return;
    pthread_mutex_lock(&iter->disk->lock);
    table_drop(iter->table);
    pthread_mutex_unlock(&iter->disk->lock);
    free(iter);
}

void disk_iter_seek(struct disk_iter *iter, struct bytes key) { iter->at = lower_bound(iter->table, key); }

void disk_iter_seek_back(struct disk_iter *iter, struct bytes key)
{
    size_t at = lower_bound(iter->table, key);
    bool exact =
        iter->table != NULL && at < iter->table->count && bytes_equal(record_key(iter->table->records[at]), key);
    iter->at = exact ? at : at == 0 ? SIZE_MAX : at - 1;
}

void disk_iter_next(struct disk_iter *iter) { iter->at++; }

void disk_iter_prev(struct disk_iter *iter) { iter->at = iter->at == 0 ? SIZE_MAX : iter->at - 1; }

bool disk_iter_at(const struct disk_iter *iter, struct bytes *out_key, struct bytes *out_value)
{
    if (iter->table == NULL || iter->at >= iter->table->count)
        return false;
    *out_key = record_key(iter->table->records[iter->at]);
    *out_value = record_value(iter->table->records[iter->at]);
    return true;
}

/* ---- writing ---- */

struct disk_batch *disk_batch_new(void) { return calloc(1, sizeof(struct disk_batch)); }

void disk_batch_clear(struct disk_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        free(batch->operations[i].record); /* what a write took, it took as a copy */
    batch->count = 0;
    batch->bytes = 0;
    batch->failed = false;
}

void disk_batch_free(struct disk_batch *batch)
{
    if (batch == NULL)
        return;
    disk_batch_clear(batch);
    free(batch->operations);
    free(batch);
}

size_t disk_batch_bytes(const struct disk_batch *batch) { return batch->bytes; }

static struct record *record_make(struct bytes key, struct bytes value)
{
    struct record *record = malloc(sizeof *record + key.len + value.len);
    if (record == NULL)
        return NULL;
    record->refs = 1;
    record->key_len = key.len;
    record->value_len = value.len;
    if (key.len != 0)
        memcpy(record->bytes, key.data, key.len);
    if (value.len != 0)
        memcpy(record->bytes + key.len, value.data, value.len);
    return record;
}

static void batch_add(struct disk_batch *batch, enum db_family family, bool put, struct bytes key, struct bytes value)
{
    if (batch->count == batch->cap) {
        size_t cap = batch->cap == 0 ? 64 : batch->cap * 2;
        struct operation *grown = realloc(batch->operations, cap * sizeof *grown);
        if (grown == NULL) {
            batch->failed = true;
            return;
        }
        batch->operations = grown;
        batch->cap = cap;
    }
    struct record *record = record_make(key, value);
    if (record == NULL) {
        batch->failed = true;
        return;
    }
    batch->operations[batch->count] =
        (struct operation){.family = family, .order = batch->count, .put = put, .record = record};
    batch->count++;
    batch->bytes += key.len + value.len;
}

void disk_batch_put(struct disk_batch *batch, enum db_family family, struct bytes key, struct bytes value)
{
    batch_add(batch, family, true, key, value);
}

void disk_batch_delete(struct disk_batch *batch, enum db_family family, struct bytes key)
{
    batch_add(batch, family, false, key, bytes_of(NULL, 0));
}

/* By family, key, and the later one first: that is the one that counts. */
static int operation_order(const void *left, const void *right)
{
    const struct operation *a = left, *b = right;
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    int order = bytes_compare(record_key(a->record), record_key(b->record));
    if (order != 0)
        return order;
    return a->order > b->order ? -1 : 1;
}

/* A table with the operations, sorted and of one family, merged in; they lose their records. NULL: out of memory,
 * nothing happened. */
static struct table *table_merge(const struct table *old, struct operation *operations, size_t count)
{
    size_t old_count = old != NULL ? old->count : 0, from = 0;
    struct table *table = malloc(sizeof *table + (old_count + count) * sizeof(struct record *));
    if (table == NULL)
        return NULL;
    table->refs = 1;
    table->count = 0;
    for (size_t i = 0; i < count; i++) {
        struct bytes key = record_key(operations[i].record);
        int order = -1;
        while (from < old_count && (order = bytes_compare(record_key(old->records[from]), key)) < 0) {
            old->records[from]->refs++;
            table->records[table->count++] = old->records[from++];
        }
        if (from < old_count && order == 0)
            from++;
        if (operations[i].put) {
            table->records[table->count++] = operations[i].record;
            operations[i].record = NULL;
        }
        while (i + 1 < count && bytes_equal(record_key(operations[i + 1].record), key))
            i++;
    }
    for (; from < old_count; from++) {
        old->records[from]->refs++;
        table->records[table->count++] = old->records[from];
    }
    return table;
}

/* Merges family by family. All or nothing: the new tables replace the old ones at the end only. */
static bool operations_merge(struct disk *disk, struct operation *operations, size_t count,
                             struct table *out[DB_FAMILIES])
{
    for (size_t begin = 0, end = 0; begin < count; begin = end) {
        enum db_family family = operations[begin].family;
        while (end < count && operations[end].family == family)
            end++;
        out[family] = table_merge(disk->now[family], operations + begin, end - begin);
        if (out[family] == NULL)
            return false;
    }
    return true;
}

static enum sorex_status write_locked(struct disk *disk, struct operation *operations, size_t count, bool sync,
                                      struct sorex_error *err)
{
    struct table *merged[DB_FAMILIES] = {0};
    disk->writes++;
    if (!operations_merge(disk, operations, count, merged)) {
        tables_drop(merged);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: write to a disk in memory");
    }
    for (size_t i = 0; i < DB_FAMILIES; i++) {
        if (merged[i] == NULL)
            continue;
        table_drop(disk->now[i]);
        disk->now[i] = merged[i];
    }
    if (sync) {
        tables_drop(disk->synced);
        tables_keep(disk->synced, disk->now);
    }
    return SOREX_OK;
}

enum sorex_status disk_write(struct disk *disk, const struct disk_batch *batch, bool sync, struct sorex_error *err)
{
    if (batch->failed)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: write to a disk in memory");
    struct operation *copies = calloc(batch->count + 1, sizeof *copies);
    bool ok = copies != NULL;
    for (size_t i = 0; ok && i < batch->count; i++) {
        const struct operation *from = &batch->operations[i];
        copies[i] = *from;
        copies[i].record = record_make(record_key(from->record), record_value(from->record));
        ok = copies[i].record != NULL;
    }
    enum sorex_status status =
        ok ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory: write to a disk in memory");
    if (ok) {
        qsort(copies, batch->count, sizeof *copies, operation_order);
        pthread_mutex_lock(&disk->lock);
        status = write_locked(disk, copies, batch->count, sync, err);
        pthread_mutex_unlock(&disk->lock);
    }
    for (size_t i = 0; copies != NULL && i < batch->count; i++)
        free(copies[i].record);
    free(copies);
    return status;
}
