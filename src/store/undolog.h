/* What an entry touched, as written to and read from the undo family: records of about 16 KiB, in ascending order of
 * keys, so that one version is found without reading all of a large entry. */
#ifndef SOREX_STORE_UNDOLOG_H
#define SOREX_STORE_UNDOLOG_H

#include "store/db.h"
#include "store/record.h"

/* Writes an entry's records. Zero-initialise; usable again after undo_writer_end. */
struct undo_writer {
    struct db_batch *batch;
    uint32_t height;
    uint64_t at, total;
    struct buf key, record; /* in the making */
};

void undo_writer_deinit(struct undo_writer *writer);
/* total: how many items will be added, in ascending order of their keys. */
enum sorex_status undo_writer_start(struct undo_writer *writer, struct db_batch *batch, uint32_t height, uint64_t total,
                                    struct sorex_error *err);
enum sorex_status undo_writer_add(struct undo_writer *writer, const struct undo_item *item, struct sorex_error *err);
void undo_writer_end(struct undo_writer *writer);

/* Walks all items of an entry and takes its records out: adds their deletion to the batch. */
struct undo_walk {
    struct db_iter *iter;
    struct db_batch *batch;
    uint32_t height;
    struct undo_reader record;
};

/* *out_found: false when the entry has no records. Close it also after an error. Errors: SOREX_CORRUPT, SOREX_IO. */
enum sorex_status undo_walk_open(struct undo_walk *walk, struct db *db, struct db_batch *batch, uint32_t height,
                                 bool *out_found, struct sorex_error *err);
/* *out_more: false at the end. The item is borrowed until the next call. */
enum sorex_status undo_walk_next(struct undo_walk *walk, struct undo_item *out, bool *out_more,
                                 struct sorex_error *err);
void undo_walk_close(struct undo_walk *walk);

/* The version of a state key that the entry at `height` buried; the item is borrowed from the iterator (of DB_UNDO).
 * key: scratch. Errors: SOREX_CORRUPT, also when there is none. */
enum sorex_status undo_find(struct db_iter *iter, struct buf *key, uint32_t height, struct bytes state_key,
                            struct undo_item *out, struct sorex_error *err);

#endif
