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
    struct buf key; /* of the record in the making */
    struct undo_builder builder;
};

void undo_writer_deinit(struct undo_writer *writer);
/* total: how many items will be added, in ascending order of their keys. */
enum sorex_status undo_writer_start(struct undo_writer *writer, struct db_batch *batch, uint32_t height, uint64_t total,
                                    struct sorex_error *err);
enum sorex_status undo_writer_add(struct undo_writer *writer, const struct undo_item *item, struct sorex_error *err);
void undo_writer_end(struct undo_writer *writer);

/* Walks the items of entries, one entry after another, and takes their records out: adds their deletion to the batch.
 */
struct undo_walk {
    struct db_iter *iter;
    struct db_batch *batch;
    bool down;         /* from the highest entry, and in each from the last record; keys ascend within a record only */
    bool deletes_only; /* records in which nothing is deleted are taken out unread */
    uint32_t height;   /* of the entry in hand */
    uint64_t records;  /* of it, so far */
    uint64_t edge;     /* down: the lowest item so far; up: one more than the highest */
    uint64_t start;    /* first item of the record in hand */
    bool open, taken;  /* a record is in hand; the iterator stands on one that was taken */
    struct buf item_key;
    struct undo_reader reader;
};

/* Starts with the entry at `height`. Close it also after an error. Errors of all: SOREX_CORRUPT, SOREX_IO, SOREX_NOMEM.
 */
enum sorex_status undo_walk_open(struct undo_walk *walk, struct db *db, struct db_batch *batch, uint32_t height,
                                 bool down, struct sorex_error *err);
/* *out_more: false at the end of the entry; walk->records tells whether it had any. The item is borrowed until the next
 * call. */
enum sorex_status undo_walk_next(struct undo_walk *walk, struct undo_item *out, bool *out_more,
                                 struct sorex_error *err);
/* Goes on with the entry at `height`, the next one in the walk's direction that is wanted. */
void undo_walk_entry(struct undo_walk *walk, uint32_t height);
void undo_walk_close(struct undo_walk *walk);

/* What the entry at `height` did with a state key; the item is borrowed from the iterator (of DB_UNDO) and item_key.
 * key: scratch. Errors: SOREX_CORRUPT, also when it did nothing with it. */
enum sorex_status undo_find(struct db_iter *iter, struct buf *key, struct buf *item_key, uint32_t height,
                            struct bytes state_key, struct undo_item *out, struct sorex_error *err);

#endif
