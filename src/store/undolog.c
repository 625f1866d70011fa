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

static enum sorex_status record_failed(struct sorex_error *err, uint32_t height, enum sorex_status status)
{
    if (status == SOREX_NOMEM)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: read undo records");
    return record_corrupt(err, height, "does not decode");
}

/* ---- writing ---- */

void undo_writer_deinit(struct undo_writer *writer)
{
    buf_deinit(&writer->key);
    undo_builder_deinit(&writer->builder);
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
    return undo_begin(&writer->builder, 0, total, err);
}

enum sorex_status undo_writer_add(struct undo_writer *writer, const struct undo_item *item, struct sorex_error *err)
{
    CHECK(writer->at < writer->total);
    if (writer->builder.record.len >= UNDO_RECORD_BYTES) {
        db_batch_put(writer->batch, DB_UNDO, buf_view(&writer->key), buf_view(&writer->builder.record));
        TRY(key_make(&writer->key, writer->height, item->key, err));
        TRY(undo_begin(&writer->builder, writer->at, writer->total, err));
    }
    writer->at++;
    return undo_append(&writer->builder, item, err);
}

void undo_writer_end(struct undo_writer *writer)
{
    CHECK(writer->at == writer->total);
    db_batch_put(writer->batch, DB_UNDO, buf_view(&writer->key), buf_view(&writer->builder.record));
}

/* ---- walking ---- */

static bool key_is_of(struct bytes key, uint32_t height)
{
    return key.len >= HEIGHT_BYTES && u32be_get(key.data) == height;
}

enum sorex_status undo_walk_open(struct undo_walk *walk, struct db *db, struct db_batch *batch, uint32_t height,
                                 bool down, struct sorex_error *err)
{
    uint8_t be[HEIGHT_BYTES];
    *walk = (struct undo_walk){.iter = db_iter_new(db, NULL, DB_UNDO), .batch = batch, .down = down, .height = height};
    if (walk->iter == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: read undo records");
    u32be_put(be, down ? height + 1 : height);
    if (down)
        db_iter_seek_back(walk->iter, bytes_of(be, sizeof be)); /* nothing is there above the tip */
    else
        db_iter_seek(walk->iter, bytes_of(be, sizeof be));
    return SOREX_OK;
}

void undo_walk_entry(struct undo_walk *walk, uint32_t height)
{
    walk->height = height;
    walk->records = walk->edge = 0;
}

/* Takes the next record of the entry, if there is one. */
static enum sorex_status record_take(struct undo_walk *walk, bool *out_more, struct sorex_error *err)
{
    struct bytes key, record;
    if (walk->taken)
        (walk->down ? db_iter_prev : db_iter_next)(walk->iter);
    walk->taken = false;
    *out_more = db_iter_at(walk->iter, &key, &record) && key_is_of(key, walk->height);
    if (!*out_more)
        return db_iter_status(walk->iter, err);
    if (!undo_open(&walk->reader, record, &walk->item_key))
        return record_corrupt(err, walk->height, "does not decode");
    walk->start = walk->reader.at;
    if (!walk->deletes_only &&
        ((walk->start == 0) != (key.len == HEIGHT_BYTES) || (!walk->down && walk->start != walk->edge)))
        return record_corrupt(err, walk->height, "is missing");
    db_batch_delete(walk->batch, DB_UNDO, key);
    walk->taken = true;
    walk->open = !walk->deletes_only || walk->reader.deletes;
    walk->records++;
    return SOREX_OK;
}

/* All items of the record were read: it must end where the one behind it starts. */
static enum sorex_status record_leave(struct undo_walk *walk, struct sorex_error *err)
{
    uint64_t end = walk->records == 1 ? walk->reader.total : walk->edge;
    walk->open = false;
    if (walk->down && walk->reader.at != end && !walk->deletes_only)
        return record_corrupt(err, walk->height, "is missing");
    walk->edge = walk->down ? walk->start : walk->reader.at;
    return SOREX_OK;
}

enum sorex_status undo_walk_next(struct undo_walk *walk, struct undo_item *out, bool *out_more, struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    while (true) {
        *out_more = walk->open && undo_next(&walk->reader, out, &status);
        if (status != SOREX_OK)
            return record_failed(err, walk->height, status);
        if (*out_more)
            return SOREX_OK;
        if (walk->open)
            TRY(record_leave(walk, err));
        TRY(record_take(walk, out_more, err));
        if (*out_more)
            continue;
        bool whole = walk->records == 0 || walk->edge == (walk->down ? 0 : walk->reader.total);
        return whole || walk->deletes_only ? SOREX_OK : record_corrupt(err, walk->height, "is missing");
    }
}

void undo_walk_close(struct undo_walk *walk)
{
    db_iter_free(walk->iter);
    buf_deinit(&walk->item_key);
}

enum sorex_status undo_find(struct db_iter *iter, struct buf *key, struct buf *item_key, uint32_t height,
                            struct bytes state_key, struct undo_item *out, struct sorex_error *err)
{
    struct bytes at, record;
    struct undo_reader undo;
    enum sorex_status status = SOREX_OK;
    TRY(key_make(key, height, state_key, err));
    db_iter_seek_back(iter, buf_view(key));
    if (!db_iter_at(iter, &at, &record) || !key_is_of(at, height)) {
        TRY(db_iter_status(iter, err));
        return record_corrupt(err, height, "is missing");
    }
    if (!undo_open(&undo, record, item_key))
        return record_corrupt(err, height, "does not decode");
    while (undo_next(&undo, out, &status)) {
        if (bytes_equal(out->key, state_key))
            return SOREX_OK;
    }
    return status == SOREX_OK ? record_corrupt(err, height, "contradicts the state")
                              : record_failed(err, height, status);
}
