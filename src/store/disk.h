/* A disk in memory, for simulation: what db.h needs of an engine, without files. A store on it opens in microseconds,
 * and the disk remains when the store is closed, so that a crash and a restart can be played.
 *
 * Per family an immutable sorted table; a write merges into a new one. Simple, exact, linear in the size of a family:
 * for small stores. Every function may be called from any thread; a batch and an iterator belong to one thread at a
 * time. */
#ifndef SOREX_STORE_DISK_H
#define SOREX_STORE_DISK_H

#include "store/db.h"

struct disk;

/* NULL: out of memory. */
struct disk *disk_new(void);
void disk_free(struct disk *disk);
/* The power fails: what was written since the last synced write is lost. No store is open on the disk. */
void disk_crash(struct disk *disk);
/* Writes so far, empty ones included. */
uint64_t disk_writes(struct disk *disk);

/* ---- for db.c ---- */

struct disk_view;
struct disk_iter;
struct disk_batch;

enum sorex_status disk_get(struct disk *disk, const struct disk_view *view, enum db_family family, struct bytes key,
                           struct db_value *out, struct sorex_error *err);
struct disk_view *disk_view_new(struct disk *disk);
void disk_view_free(struct disk_view *view);
struct disk_iter *disk_iter_new(struct disk *disk, const struct disk_view *view, enum db_family family);
void disk_iter_free(struct disk_iter *iter);
void disk_iter_seek(struct disk_iter *iter, struct bytes key);
void disk_iter_seek_back(struct disk_iter *iter, struct bytes key);
void disk_iter_next(struct disk_iter *iter);
void disk_iter_prev(struct disk_iter *iter);
bool disk_iter_at(const struct disk_iter *iter, struct bytes *out_key, struct bytes *out_value);
struct disk_batch *disk_batch_new(void);
void disk_batch_free(struct disk_batch *batch);
void disk_batch_clear(struct disk_batch *batch);
size_t disk_batch_bytes(const struct disk_batch *batch);
/* Memory that is missing is reported by the write. */
void disk_batch_put(struct disk_batch *batch, enum db_family family, struct bytes key, struct bytes value);
void disk_batch_delete(struct disk_batch *batch, enum db_family family, struct bytes key);
enum sorex_status disk_write(struct disk *disk, const struct disk_batch *batch, bool sync, struct sorex_error *err);

#endif
