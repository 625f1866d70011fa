/* RocksDB through its C API.
 *
 * Tuning, by family. state: point lookups, many of them of absent keys, so ribbon filters (whole key), a hash index
 * inside data blocks, a filter over the memtable, LZ4. Its memtables are small and go to a table eight at a time: what
 * an insert of a random key costs is the way down a skip list, most of it cache misses, and a short list that stays in
 * the cache takes half as long as one of 16 MB; near the tip that is most of what a block and its undo cost. A large
 * group is one sorted batch in one memtable, whatever the size set here; that one does not wait for others. undo,
 * outbox, entries: appended in the order of their keys, sought and walked, hardly ever got, by reorganisations and
 * views of old heights, so no filters, and ZSTD or LZ4 from the first table on, so that a table moves down the levels
 * as it is. pages: of embedded databases, read from end to end when one is opened; the same pages are written again and
 * again, so a large memtable, in which most of them end. Two background jobs: the machines are small and the guest
 * wants the other core. One writer at a time, so concurrent memtable inserts are off: the skip list then keeps its
 * place between sorted inserts. */
#include "store/db.h"

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "store/disk.h"
#include "store/fault.h"

#define DB_WRITE_BUFFER_BYTES ((size_t)16 << 20)
#define DB_WRITE_BUFFER_SMALL ((size_t)8 << 20)
#define DB_PAGES_BUFFER_BYTES ((size_t)32 << 20)
#define DB_PAGES_BLOCK_BYTES ((size_t)64 << 10)
#define DB_READAHEAD_BYTES ((size_t)2 << 20)
#define DB_STATE_BUFFER_BYTES ((size_t)2 << 20)
#define DB_STATE_BUFFERS_MERGED 8 /* into one table */
#define DB_STATE_BUFFERS_MAX 14   /* then writes wait */
#define DB_LARGE_BATCH_BYTES ((size_t)8 << 20)
#define DB_WAL_BYTES_MAX ((uint64_t)512 << 20)
#define DB_FLUSH_AT_CLOSE ((uint64_t)4 << 20) /* below this, replaying the log at the next start is cheaper */

#define FAMILY_OF_FORMAT_2 "history"

static const char *const family_names[DB_FAMILIES] = {"default", "state", "undo", "outbox", "entries", "pages"};

struct db {
    rocksdb_t *rocks;
    rocksdb_options_t *options;
    rocksdb_options_t *family_options[DB_FAMILIES];
    rocksdb_column_family_handle_t *families[DB_FAMILIES]; /* pages: NULL in an older store that is read only */
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_readoptions_t *read_through; /* from end to end: ahead of the reader, and past the cache */
    rocksdb_writeoptions_t *write_sync;
    rocksdb_writeoptions_t *write_async;
    bool read_only;
    pthread_mutex_t write_lock; /* held over a write: none may come behind one that failed */
    char *failure;              /* of the first write that failed: at the next one the engine may end the process */
    uint64_t written_bytes;
    struct disk *disk; /* everything is there instead: nothing else is set */
};

struct db_view {
    struct db *db;
    struct disk_view *disk;
    const rocksdb_snapshot_t *snapshot; /* NULL on a read-only database, which does not move */
    rocksdb_readoptions_t *read;
};

struct db_iter {
    struct disk_iter *disk;
    rocksdb_iterator_t *rocks;
};

struct db_batch {
    struct db *db;
    struct disk_batch *disk;
    rocksdb_writebatch_t *rocks;
    bool state; /* it has records of that family */
};

static enum sorex_status engine_say(struct sorex_error *err, const char *what, const char *text)
{
    enum sorex_status status = SOREX_IO;
    if (strncmp(text, "Corruption", 10) == 0 || strncmp(text, "Invalid argument: Corrupt", 25) == 0)
        status = SOREX_CORRUPT;
    else if (strstr(text, "lock hold by current process") != NULL || strstr(text, "While lock file") != NULL)
        status = SOREX_BUSY;
    else if (strncmp(text, "Invalid argument: Column famil", 30) == 0)
        status = SOREX_MISMATCH;
    return sorex_error_set(err, status, "%s: %s", what, text);
}

/* Takes the engine's error text. */
static enum sorex_status engine_error(struct sorex_error *err, const char *what, char *text)
{
    enum sorex_status status = engine_say(err, what, text);
    rocksdb_free(text);
    return status;
}

static rocksdb_options_t *common_options(const struct db_options *options)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(o, options->create && !options->read_only);
    rocksdb_options_set_create_missing_column_families(o, options->create && !options->read_only);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_wal_recovery_mode(o, rocksdb_tolerate_corrupted_tail_records_recovery);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0);
    rocksdb_options_set_max_total_wal_size(o, DB_WAL_BYTES_MAX);
    rocksdb_options_set_max_open_files(o, 512);
    rocksdb_options_set_bytes_per_sync(o, 1 << 20);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_info_log_level(o, 4 /* fatal */); /* on a full disk its log file is an assertion that fails */
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    return o;
}

static rocksdb_options_t *family_options(struct db *db, enum db_family family)
{
    rocksdb_options_t *o = rocksdb_options_create_copy(db->options);
    bool big = family == DB_STATE || family == DB_UNDO || family == DB_PAGES;
    rocksdb_options_set_write_buffer_size(o, big ? DB_WRITE_BUFFER_BYTES : DB_WRITE_BUFFER_SMALL);
    rocksdb_options_set_max_write_buffer_number(o, 3);
    rocksdb_options_set_compression(o, family == DB_UNDO || family == DB_OUTBOX ? rocksdb_zstd_compression
                                                                                : rocksdb_lz4_compression);
    if (family == DB_STATE) {
        rocksdb_options_set_write_buffer_size(o, DB_STATE_BUFFER_BYTES);
        rocksdb_options_set_min_write_buffer_number_to_merge(o, DB_STATE_BUFFERS_MERGED);
        rocksdb_options_set_max_write_buffer_number(o, DB_STATE_BUFFERS_MAX);
        rocksdb_options_set_memtable_whole_key_filtering(o, 1);
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.05);
    }
    if (family == DB_PAGES)
        rocksdb_options_set_write_buffer_size(o, DB_PAGES_BUFFER_BYTES);
    if (big)
        rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, db->cache);
    rocksdb_block_based_options_set_format_version(table, 5);
    if (family == DB_PAGES)
        rocksdb_block_based_options_set_block_size(table, DB_PAGES_BLOCK_BYTES);
    if (family == DB_STATE || family == DB_ENTRIES)
        rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_ribbon_hybrid(10, 1));
    if (family == DB_STATE)
        rocksdb_block_based_options_set_data_block_index_type(
            table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_options_set_block_based_table_factory(o, table);
    rocksdb_block_based_options_destroy(table);
    return o;
}

/* An existing database must have our families and no others: it may be somebody else's. *out_count: how many it has. */
static enum sorex_status families_check(const struct db *db, const struct db_options *options, size_t *out_count,
                                        struct sorex_error *err)
{
    char current[4096];
    *out_count = DB_FAMILIES;
    int len = snprintf(current, sizeof current, "%s/CURRENT", options->path);
    if (len < 0 || (size_t)len >= sizeof current)
        return sorex_error_set(err, SOREX_INVALID, "path of the store is too long");
    if (access(current, F_OK) != 0)
        return options->create ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "no database in %s", options->path);

    char *text = NULL;
    size_t count = 0;
    char **names = rocksdb_list_column_families(db->options, options->path, &count, &text);
    enum sorex_status status = text == NULL ? SOREX_OK : engine_error(err, options->path, text);
    for (size_t i = 0; i < count && status == SOREX_OK; i++) {
        bool known = false;
        for (size_t f = 0; f < DB_FAMILIES; f++)
            known = known || strcmp(names[i], family_names[f]) == 0;
        if (!known && strcmp(names[i], FAMILY_OF_FORMAT_2) == 0)
            status = sorex_error_set(err, SOREX_MISMATCH,
                                     "%s is a store of format 2 or older; use a matching older sorex, or index again "
                                     "into a new data directory",
                                     options->path);
        else if (!known)
            status = sorex_error_set(err, SOREX_MISMATCH,
                                     "%s is a RocksDB database of another program (it has a family '%s')",
                                     options->path, names[i]);
    }
    rocksdb_list_column_families_destroy(names, count);
    *out_count = count;
    return status;
}

enum sorex_status db_open(const struct db_options *options, struct db **out, struct sorex_error *err)
{
    struct db *db = calloc(1, sizeof *db);
    if (db == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: open the database");
    db->read_only = options->read_only;
    db->disk = options->disk;
    if (db->disk != NULL) {
        *out = db;
        return SOREX_OK;
    }
    CHECK(pthread_mutex_init(&db->write_lock, NULL) == 0);
    db->cache = rocksdb_cache_create_lru((size_t)options->cache_bytes);
    db->options = common_options(options);
    db->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(db->read, 1);
    db->read_through = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(db->read_through, 1);
    rocksdb_readoptions_set_fill_cache(db->read_through, 0);
    rocksdb_readoptions_set_readahead_size(db->read_through, DB_READAHEAD_BYTES);
    db->write_sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(db->write_sync, !options->no_sync);
    db->write_async = rocksdb_writeoptions_create();
    for (size_t i = 0; i < DB_FAMILIES; i++)
        db->family_options[i] = family_options(db, (enum db_family)i);

    size_t count = DB_FAMILIES;
    enum sorex_status status = families_check(db, options, &count, err);
    char *text = NULL;
    if (status == SOREX_OK) {
        bool old = count == DB_PAGES; /* all but that one: made by a sorex that did not know it */
        if (old && !options->read_only)
            rocksdb_options_set_create_missing_column_families(db->options, 1);
        const rocksdb_options_t *const *all = (const rocksdb_options_t *const *)db->family_options;
        if (options->read_only)
            db->rocks = rocksdb_open_for_read_only_column_families(
                db->options, options->path, old ? DB_PAGES : DB_FAMILIES, family_names, all, db->families, 0, &text);
        else
            db->rocks = rocksdb_open_column_families(db->options, options->path, DB_FAMILIES, family_names, all,
                                                     db->families, &text);
        if (text != NULL) {
            db->rocks = NULL;
            status = engine_error(err, options->path, text);
        }
    }
    if (status != SOREX_OK) {
        db_close(db);
        return status;
    }
    *out = db;
    return SOREX_OK;
}

static void memtable_flush(struct db *db, enum db_family family, bool wait)
{
    char *text = NULL;
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(flush, wait);
    rocksdb_flush_cf(db->rocks, flush, db->families[family], &text);
    rocksdb_free(text); /* the log still has everything */
    rocksdb_flushoptions_destroy(flush);
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    if (db->disk != NULL) {
        free(db);
        return;
    }
    if (db->rocks != NULL) {
        if (!db->read_only && db->failure == NULL && db->written_bytes > DB_FLUSH_AT_CLOSE)
            for (size_t i = 0; i < DB_FAMILIES; i++)
                memtable_flush(db, (enum db_family)i, true);
        for (size_t i = 0; i < DB_FAMILIES && db->families[i] != NULL; i++)
            rocksdb_column_family_handle_destroy(db->families[i]);
        rocksdb_close(db->rocks);
    }
    for (size_t i = 0; i < DB_FAMILIES; i++)
        rocksdb_options_destroy(db->family_options[i]);
    rocksdb_options_destroy(db->options);
    rocksdb_cache_destroy(db->cache);
    rocksdb_readoptions_destroy(db->read);
    rocksdb_readoptions_destroy(db->read_through);
    rocksdb_writeoptions_destroy(db->write_sync);
    rocksdb_writeoptions_destroy(db->write_async);
    rocksdb_free(db->failure);
    (void)pthread_mutex_destroy(&db->write_lock);
    free(db);
}

void db_value_release(struct db_value *value)
{
    if (value->pin != NULL)
        rocksdb_pinnableslice_destroy(value->pin);
    free(value->copy);
    *value = (struct db_value){0};
}

static void value_take(struct db_value *out, rocksdb_pinnableslice_t *slice)
{
    *out = (struct db_value){.pin = slice};
    if (slice == NULL)
        return;
    size_t len = 0;
    const char *data = rocksdb_pinnableslice_value(slice, &len);
    out->bytes = bytes_of(data, len);
    out->found = data != NULL;
}

enum sorex_status db_get(struct db *db, const struct db_view *view, enum db_family family, struct bytes key,
                         struct db_value *out, struct sorex_error *err)
{
    db_value_release(out);
    if (db->disk != NULL)
        return disk_get(db->disk, view != NULL ? view->disk : NULL, family, key, out, err);
    if (db->families[family] == NULL)
        return SOREX_OK;
    char *text = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(
        db->rocks, view != NULL ? view->read : db->read, db->families[family], (const char *)key.data, key.len, &text);
    if (text != NULL)
        return engine_error(err, family_names[family], text);
    value_take(out, slice);
    return SOREX_OK;
}

enum sorex_status db_get_many(struct db *db, enum db_family family, size_t count, const struct bytes *keys,
                              struct db_value *out, struct sorex_error *err)
{
    CHECK(count <= DB_GET_MANY_MAX);
    if (db->disk != NULL) {
        for (size_t i = 0; i < count; i++)
            TRY(disk_get(db->disk, NULL, family, keys[i], &out[i], err));
        return SOREX_OK;
    }
    const char *data[DB_GET_MANY_MAX] = {0};
    size_t lens[DB_GET_MANY_MAX] = {0};
    rocksdb_pinnableslice_t *slices[DB_GET_MANY_MAX];
    char *texts[DB_GET_MANY_MAX];
    for (size_t i = 0; i < count; i++) {
        data[i] = (const char *)keys[i].data;
        lens[i] = keys[i].len;
        slices[i] = NULL;
        texts[i] = NULL;
    }
    rocksdb_batched_multi_get_cf(db->rocks, db->read, db->families[family], count, data, lens, slices, texts, true);
    enum sorex_status status = SOREX_OK;
    for (size_t i = 0; i < count; i++) {
        value_take(&out[i], slices[i]);
        if (texts[i] == NULL)
            continue;
        if (status == SOREX_OK)
            status = engine_error(err, family_names[family], texts[i]);
        else
            rocksdb_free(texts[i]);
    }
    return status;
}

struct db_view *db_view_new(struct db *db)
{
    struct db_view *view = calloc(1, sizeof *view);
    if (view == NULL)
        return NULL;
    view->db = db;
    if (db->disk != NULL) {
        view->disk = disk_view_new(db->disk);
        if (view->disk != NULL)
            return view;
        free(view);
        return NULL;
    }
    view->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(view->read, 1);
    if (!db->read_only) {
        view->snapshot = rocksdb_create_snapshot(db->rocks);
        rocksdb_readoptions_set_snapshot(view->read, view->snapshot);
    }
    return view;
}

void db_view_free(struct db_view *view)
{
    if (view == NULL)
        return;
    disk_view_free(view->disk);
    if (view->snapshot != NULL)
        rocksdb_release_snapshot(view->db->rocks, view->snapshot);
    if (view->read != NULL)
        rocksdb_readoptions_destroy(view->read);
    free(view);
}

struct db_iter *db_iter_new(struct db *db, const struct db_view *view, enum db_family family)
{
    struct db_iter *iter = calloc(1, sizeof *iter);
    if (iter != NULL && db->disk != NULL) {
        iter->disk = disk_iter_new(db->disk, view != NULL ? view->disk : NULL, family);
        if (iter->disk != NULL)
            return iter;
        free(iter);
        return NULL;
    }
    const rocksdb_readoptions_t *read = view != NULL ? view->read : family == DB_PAGES ? db->read_through : db->read;
    if (iter != NULL && db->families[family] != NULL)
        iter->rocks = rocksdb_create_iterator_cf(db->rocks, read, db->families[family]);
    return iter;
}

void db_iter_free(struct db_iter *iter)
{
    if (iter == NULL)
        return;
    disk_iter_free(iter->disk);
    if (iter->rocks != NULL)
        rocksdb_iter_destroy(iter->rocks);
    free(iter);
}

void db_iter_seek(struct db_iter *iter, struct bytes key)
{
    if (iter->disk != NULL)
        disk_iter_seek(iter->disk, key);
    else if (iter->rocks != NULL)
        rocksdb_iter_seek(iter->rocks, (const char *)key.data, key.len);
}

void db_iter_seek_back(struct db_iter *iter, struct bytes key)
{
    if (iter->disk != NULL)
        disk_iter_seek_back(iter->disk, key);
    else if (iter->rocks != NULL)
        rocksdb_iter_seek_for_prev(iter->rocks, (const char *)key.data, key.len);
}

void db_iter_next(struct db_iter *iter)
{
    if (iter->disk != NULL)
        disk_iter_next(iter->disk);
    else if (iter->rocks != NULL)
        rocksdb_iter_next(iter->rocks);
}

void db_iter_prev(struct db_iter *iter)
{
    if (iter->disk != NULL)
        disk_iter_prev(iter->disk);
    else if (iter->rocks != NULL)
        rocksdb_iter_prev(iter->rocks);
}

bool db_iter_at(const struct db_iter *iter, struct bytes *out_key, struct bytes *out_value)
{
    if (iter->disk != NULL)
        return disk_iter_at(iter->disk, out_key, out_value);
    if (iter->rocks == NULL || !rocksdb_iter_valid(iter->rocks))
        return false;
    size_t len = 0;
    const char *data = rocksdb_iter_key(iter->rocks, &len);
    *out_key = bytes_of(data, len);
    data = rocksdb_iter_value(iter->rocks, &len);
    *out_value = bytes_of(data, len);
    return true;
}

enum sorex_status db_iter_status(const struct db_iter *iter, struct sorex_error *err)
{
    char *text = NULL;
    if (iter->rocks == NULL)
        return SOREX_OK;
    rocksdb_iter_get_error(iter->rocks, &text);
    return text != NULL ? engine_error(err, "iterate", text) : SOREX_OK;
}

struct db_batch *db_batch_new(struct db *db)
{
    struct db_batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        return NULL;
    batch->db = db;
    if (db->disk != NULL) {
        batch->disk = disk_batch_new();
        if (batch->disk != NULL)
            return batch;
        free(batch);
        return NULL;
    }
    batch->rocks = rocksdb_writebatch_create();
    return batch;
}

void db_batch_free(struct db_batch *batch)
{
    if (batch == NULL)
        return;
    disk_batch_free(batch->disk);
    if (batch->rocks != NULL)
        rocksdb_writebatch_destroy(batch->rocks);
    free(batch);
}

void db_batch_clear(struct db_batch *batch)
{
    if (batch->disk != NULL)
        disk_batch_clear(batch->disk);
    else
        rocksdb_writebatch_clear(batch->rocks);
    batch->state = false;
}

size_t db_batch_bytes(const struct db_batch *batch)
{
    size_t len = 0;
    if (batch->disk != NULL)
        return disk_batch_bytes(batch->disk);
    rocksdb_writebatch_data(batch->rocks, &len);
    return len;
}

void db_batch_put(struct db_batch *batch, enum db_family family, struct bytes key, struct bytes value)
{
    if (batch->disk != NULL) {
        disk_batch_put(batch->disk, family, key, value);
        return;
    }
    batch->state = batch->state || family == DB_STATE;
    rocksdb_writebatch_put_cf(batch->rocks, batch->db->families[family], (const char *)key.data, key.len,
                              (const char *)value.data, value.len);
}

void db_batch_delete(struct db_batch *batch, enum db_family family, struct bytes key)
{
    if (batch->disk != NULL) {
        disk_batch_delete(batch->disk, family, key);
        return;
    }
    rocksdb_writebatch_delete_cf(batch->rocks, batch->db->families[family], (const char *)key.data, key.len);
}

static enum sorex_status batch_write(struct db *db, const struct db_batch *batch, bool sync, struct sorex_error *err)
{
    char *text = NULL;
    size_t bytes = db_batch_bytes(batch);
    (void)pthread_mutex_lock(&db->write_lock);
    bool failed = db->failure != NULL;
    if (!failed)
        rocksdb_write(db->rocks, sync ? db->write_sync : db->write_async, batch->rocks, &text);
    if (text != NULL)
        db->failure = text;
    db->written_bytes += text == NULL ? bytes : 0;
    (void)pthread_mutex_unlock(&db->write_lock);
    if (failed)
        return sorex_error_set(err, SOREX_IO, "nothing more is written after a write that failed: %s", db->failure);
    if (text != NULL)
        return engine_say(err, "write", text);
    if (batch->state && bytes >= DB_LARGE_BATCH_BYTES)
        memtable_flush(db, DB_STATE, false);
    return SOREX_OK;
}

enum sorex_status db_write(struct db *db, struct db_batch *batch, bool sync, struct sorex_error *err)
{
    enum fault_kind fault = store_fault_next();
    if (fault == FAULT_FAIL)
        return sorex_error_set(err, SOREX_IO, "write: injected fault");
    if (fault == FAULT_EXIT_BEFORE)
        _exit(FAULT_EXIT_CODE);
    if (db->disk != NULL) {
        TRY(disk_write(db->disk, batch->disk, sync, err));
        return fault != FAULT_FAIL_AFTER ? SOREX_OK : sorex_error_set(err, SOREX_IO, "write: injected fault after it");
    }
    enum sorex_status status = batch_write(db, batch, sync, err);
    if (fault == FAULT_EXIT_AFTER)
        _exit(FAULT_EXIT_CODE);
    if (status == SOREX_OK && fault == FAULT_FAIL_AFTER)
        return sorex_error_set(err, SOREX_IO, "write: injected fault after it");
    return status;
}

uint64_t db_disk_bytes(struct db *db)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < DB_FAMILIES && db->disk == NULL && db->families[i] != NULL; i++) {
        uint64_t bytes = 0;
        if (rocksdb_property_int_cf(db->rocks, db->families[i], "rocksdb.live-sst-files-size", &bytes) == 0)
            sum += bytes;
    }
    return sum;
}
