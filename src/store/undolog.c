#include "store/undolog.h"

#include "base/check.h"

/* A record ends after the item that takes it over this: about what the database reads at a time, and small beside what
 * decoding it costs a view of an old height. */
#define UNDO_RECORD_BYTES 16384u

#define HEIGHT_BYTES 4u

static enum sorex_status record_corrupt(struct sorex_error *err, uint32_t height, const char *what)
{
    return sorex_error_set(err, SOREX_CORRUPT,
                           "the store is damaged: undo record of height %u %s; restore a copy or index again into a "
                           "new data directory",
                           height, what);
}

/* ---- writing ---- */

void undo_writer_deinit(struct undo_writer *writer)
{
    buf_deinit(&writer->key);
    buf_deinit(&writer->record);
}

/* The first record of an entry is found by the height alone, the others by their first key. */
static enum sorex_status key_make(struct buf *out, uint32_t height, struct bytes state_key, struct sorex_error *err)
{
    uint8_t be[HEIGHT_BYTES];
    u32be_put(be, height);
    buf_reset(out);
    TRY(buf_append(out, bytes_of(be, sizeof be), err));
    return buf_append(out, state_key, err);
}

enum sorex_status undo_writer_start(struct undo_writer *writer, struct db_batch *batch, uint32_t height, uint64_t total,
                                    struct sorex_error *err)
{
    writer->batch = batch;
    writer->height = height;
    writer->at = 0;
    writer->total = total;
    TRY(key_make(&writer->key, height, (struct bytes){0}, err));
    return undo_begin(&writer->record, 0, total, err);
}

enum sorex_status undo_writer_add(struct undo_writer *writer, const struct undo_item *item, struct sorex_error *err)
{
    CHECK(writer->at < writer->total);
    if (writer->record.len >= UNDO_RECORD_BYTES) {
        db_batch_put(writer->batch, DB_UNDO, buf_view(&writer->key), buf_view(&writer->record));
        TRY(key_make(&writer->key, writer->height, item->key, err));
        TRY(undo_begin(&writer->record, writer->at, writer->total, err));
    }
    writer->at++;
    return undo_append(&writer->record, item, err);
}

void undo_writer_end(struct undo_writer *writer)
{
    CHECK(writer->at == writer->total);
    db_batch_put(writer->batch, DB_UNDO, buf_view(&writer->key), buf_view(&writer->record));
}

/* ---- walking ---- */

static bool key_is_of(struct bytes key, uint32_t height)
{
    return key.len >= HEIGHT_BYTES && u32be_get(key.data) == height;
}

enum sorex_status undo_walk_open(struct undo_walk *walk, struct db *db, struct db_batch *batch, uint32_t height,
                                 bool *out_found, struct sorex_error *err)
{
    uint8_t be[HEIGHT_BYTES];
    struct bytes key, record;
    u32be_put(be, height);
    *walk = (struct undo_walk){.iter = db_iter_new(db, NULL, DB_UNDO), .batch = batch, .height = height};
    if (walk->iter == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: read undo records");
    db_iter_seek(walk->iter, bytes_of(be, sizeof be));
    *out_found = db_iter_at(walk->iter, &key, &record) && key_is_of(key, height);
    if (!*out_found)
        return db_iter_status(walk->iter, err);
    if (key.len != HEIGHT_BYTES || !undo_open(&walk->record, record) || walk->record.at != 0)
        return record_corrupt(err, height, "does not decode");
    db_batch_delete(batch, DB_UNDO, key);
    return SOREX_OK;
}

static enum sorex_status record_next(struct undo_walk *walk, struct sorex_error *err)
{
    struct bytes key, record;
    struct undo_reader next;
    db_iter_next(walk->iter);
    bool there = db_iter_at(walk->iter, &key, &record) && key_is_of(key, walk->height);
    if (!there)
        TRY(db_iter_status(walk->iter, err));
    if (!there || !undo_open(&next, record) || next.at != walk->record.at || next.total != walk->record.total ||
        reader_left(&next.reader) == 0)
        return record_corrupt(err, walk->height, there ? "does not decode" : "is missing");
    walk->record = next;
    db_batch_delete(walk->batch, DB_UNDO, key);
    return SOREX_OK;
}

enum sorex_status undo_walk_next(struct undo_walk *walk, struct undo_item *out, bool *out_more, struct sorex_error *err)
{
    bool ok = true;
    *out_more = undo_next(&walk->record, out, &ok);
    if (ok && !*out_more && walk->record.at != walk->record.total) {
        TRY(record_next(walk, err));
        *out_more = undo_next(&walk->record, out, &ok);
    }
    return ok ? SOREX_OK : record_corrupt(err, walk->height, "does not decode");
}

void undo_walk_close(struct undo_walk *walk) { db_iter_free(walk->iter); }

enum sorex_status undo_find(struct db_iter *iter, struct buf *key, uint32_t height, struct bytes state_key,
                            struct undo_item *out, struct sorex_error *err)
{
    struct bytes at, record;
    struct undo_reader undo;
    TRY(key_make(key, height, state_key, err));
    db_iter_seek_back(iter, buf_view(key));
    if (!db_iter_at(iter, &at, &record) || !key_is_of(at, height)) {
        TRY(db_iter_status(iter, err));
        return record_corrupt(err, height, "is missing");
    }
    bool ok = undo_open(&undo, record);
    while (ok && undo_next(&undo, out, &ok)) {
        if (bytes_equal(out->key, state_key))
            return out->had_previous ? SOREX_OK : record_corrupt(err, height, "contradicts history");
    }
    return record_corrupt(err, height, ok ? "contradicts history" : "does not decode");
}
