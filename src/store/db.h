/* The database engine behind the store. db.c alone knows that it is RocksDB.
 *
 * Families are RocksDB's column families; a batch is atomic over all of them. Every function may be called from any
 * thread; a batch and an iterator belong to one thread at a time. */
#ifndef SOREX_STORE_DB_H
#define SOREX_STORE_DB_H

#include "base/bytes.h"

/* DB_PAGES is last: stores that were made before it was there lack it until they are opened for writing. */
enum db_family { DB_META, DB_STATE, DB_UNDO, DB_OUTBOX, DB_ENTRIES, DB_PAGES, DB_FAMILIES };

struct db;
struct db_batch;
struct db_view;
struct db_iter;

struct disk;

struct db_options {
    const char *path;
    struct disk *disk; /* in memory instead of at path (store/disk.h); borrowed */
    bool create;
    bool read_only;
    bool no_sync; /* tests */
    uint64_t cache_bytes;
};

/* Errors: SOREX_BUSY (locked by another process), SOREX_MISMATCH (a RocksDB database with other families),
 * SOREX_CORRUPT, SOREX_IO. */
enum sorex_status db_open(const struct db_options *options, struct db **out, struct sorex_error *err);
/* Writes memtables out first when there is much in them, so that the next start need not replay the log. */
void db_close(struct db *db);

/* A record, pinned in the engine's memory until db_value_release. Zero-initialise. */
struct db_value {
    void *pin;
    void *copy; /* of a record that is in memory anyway */
    struct bytes bytes;
    bool found;
};

void db_value_release(struct db_value *value);

/* view: NULL = now. An absent key is SOREX_OK with found == false. Releases what *out held. */
enum sorex_status db_get(struct db *db, const struct db_view *view, enum db_family family, struct bytes key,
                         struct db_value *out, struct sorex_error *err);

#define DB_GET_MANY_MAX 128
/* count <= DB_GET_MANY_MAX keys in ascending order; out[i] must be zero or released and is to be released by the
 * caller, also after an error. */
enum sorex_status db_get_many(struct db *db, enum db_family family, size_t count, const struct bytes *keys,
                              struct db_value *out, struct sorex_error *err);

/* A consistent view of everything at one moment. NULL: out of memory. */
struct db_view *db_view_new(struct db *db);
void db_view_free(struct db_view *view);

/* Iteration. The key and value are borrowed until the iterator moves. */
struct db_iter *db_iter_new(struct db *db, const struct db_view *view, enum db_family family);
void db_iter_free(struct db_iter *iter);
void db_iter_seek(struct db_iter *iter, struct bytes key);      /* first key >= key */
void db_iter_seek_back(struct db_iter *iter, struct bytes key); /* last key <= key */
void db_iter_next(struct db_iter *iter);
void db_iter_prev(struct db_iter *iter);
/* False at the end and after an error; db_iter_status tells them apart. */
bool db_iter_at(const struct db_iter *iter, struct bytes *out_key, struct bytes *out_value);
enum sorex_status db_iter_status(const struct db_iter *iter, struct sorex_error *err);

/* NULL: out of memory. */
struct db_batch *db_batch_new(struct db *db);
void db_batch_free(struct db_batch *batch);
void db_batch_clear(struct db_batch *batch);
size_t db_batch_bytes(const struct db_batch *batch);
void db_batch_put(struct db_batch *batch, enum db_family family, struct bytes key, struct bytes value);
void db_batch_delete(struct db_batch *batch, enum db_family family, struct bytes key);

/* Writes the batch atomically. sync: it is on disk when this returns. Errors: SOREX_IO, SOREX_CORRUPT. */
enum sorex_status db_write(struct db *db, struct db_batch *batch, bool sync, struct sorex_error *err);

/* Bytes of live table files, about. */
uint64_t db_disk_bytes(struct db *db);

#endif
