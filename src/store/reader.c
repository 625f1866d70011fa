/* Readers: a view of the database at one moment, asked about one height.
 *
 * The head comes out of the view itself, so heights and records always fit. A key whose state record is at or below the
 * height is answered by it; one that was written later, by the greatest history height <= H: that names the
 * entry which buried the version, whose undo records hold it. Every key that exists at a
 * height still to be asked for has a state record (deleted ones keep a tombstone), so a scan walks state and looks
 * aside into history. */
#include <stdlib.h>

#include "base/check.h"
#include "store/internal.h"

struct store_reader {
    struct store *store;
    struct db_view *view;
    uint32_t height; /* SOREX_HEIGHT_NONE: the store is empty */
    struct buf key;
    struct buf history_key, undo_key;
    struct db_value value;
    struct db_iter *history, *undo; /* made when first needed */
};

static enum sorex_status reader_place(struct store_reader *reader, uint32_t height, struct sorex_error *err)
{
    struct head head;
    TRY(head_read(reader->store, reader->view, &head, err));
    reader->height = head.tip;
    if (head_is_empty(&head) || height >= head.tip)
        return SOREX_OK;
    if (height < head.horizon)
        return sorex_error_set(err, SOREX_GONE, "height %u is below the horizon %u: it has been pruned%s", height,
                               head.horizon, head.horizon == head.first ? " or was never indexed" : "");
    reader->height = height;
    return SOREX_OK;
}

enum sorex_status store_reader_open(struct store *store, uint32_t height, struct store_reader **out,
                                    struct sorex_error *err)
{
    struct store_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: reader");
    reader->store = store;
    reader->view = db_view_new(store->db);
    enum sorex_status status = reader->view == NULL ? sorex_error_set(err, SOREX_NOMEM, "out of memory: reader")
                                                    : reader_place(reader, height, err);
    if (status != SOREX_OK) {
        store_reader_close(reader);
        return status;
    }
    *out = reader;
    return SOREX_OK;
}

void store_reader_close(struct store_reader *reader)
{
    if (reader == NULL)
        return;
    db_value_release(&reader->value);
    db_iter_free(reader->history);
    db_iter_free(reader->undo);
    db_view_free(reader->view);
    buf_deinit(&reader->key);
    buf_deinit(&reader->history_key);
    buf_deinit(&reader->undo_key);
    free(reader);
}

uint32_t store_reader_height(const struct store_reader *reader) { return reader->height; }

/* The greatest version <= the reader's height among the superseded ones. The value is borrowed from the iterator. */
static enum sorex_status history_find(struct store_reader *reader, struct bytes key, struct bytes *out_value,
                                      bool *out_found, struct sorex_error *err)
{
    *out_found = false;
    if (reader->history == NULL)
        reader->history = db_iter_new(reader->store->db, reader->view, DB_HISTORY);
    if (reader->undo == NULL)
        reader->undo = db_iter_new(reader->store->db, reader->view, DB_UNDO);
    if (reader->history == NULL || reader->undo == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: reader");
    TRY(history_key(&reader->history_key, key, reader->height, err));
    struct bytes wanted = buf_view(&reader->history_key), at, record;
    db_iter_seek_back(reader->history, wanted);
    if (!db_iter_at(reader->history, &at, &record))
        return db_iter_status(reader->history, err);
    if (at.len != wanted.len || memcmp(at.data, wanted.data, wanted.len - 4) != 0)
        return SOREX_OK;
    uint32_t height = history_key_height(at), buried_by = 0;
    if (!history_decode(record, height, &buried_by) || buried_by <= reader->height)
        return store_corrupt(err, "history record of height", height);
    struct undo_item item;
    struct version_record version;
    TRY(undo_find(reader->undo, &reader->undo_key, buried_by, key, &item, err));
    if (item.previous != height || !buried_decode(item.buried, &version))
        return store_corrupt(err, "undo record of height", buried_by);
    *out_found = version.kind == VERSION_VALUE;
    *out_value = version.value;
    return SOREX_OK;
}

/* What a state record says at the reader's height. */
static enum sorex_status version_find(struct store_reader *reader, struct bytes key, struct bytes record,
                                      struct bytes *out_value, bool *out_found, struct sorex_error *err)
{
    struct version_record version;
    if (!state_decode(record, &version))
        return store_corrupt(err, "state record of a key of", key.len);
    if (version.height > reader->height)
        return history_find(reader, key, out_value, out_found, err);
    *out_found = version.kind == VERSION_VALUE;
    *out_value = version.value;
    return SOREX_OK;
}

enum sorex_status store_reader_get(struct store_reader *reader, struct store_space space, struct bytes key,
                                   struct bytes *out_value, bool *out_found, struct sorex_error *err)
{
    struct bytes full;
    *out_found = false;
    *out_value = (struct bytes){0};
    TRY(state_key(&reader->key, space, key, &full, err));
    TRY(db_get(reader->store->db, reader->view, DB_STATE, full, &reader->value, err));
    return reader->value.found ? version_find(reader, full, reader->value.bytes, out_value, out_found, err) : SOREX_OK;
}

enum sorex_status store_reader_scan(struct store_reader *reader, struct store_space space, struct bytes prefix,
                                    store_pair_fn *each, void *user_data, struct sorex_error *err)
{
    struct bytes from, key, record;
    struct buf start = {0}; /* the callback may use the reader */
    struct db_iter *iter = db_iter_new(reader->store->db, reader->view, DB_STATE);
    enum sorex_status status = iter == NULL ? sorex_error_set(err, SOREX_NOMEM, "out of memory: scan")
                                            : state_key(&start, space, prefix, &from, err);
    if (status != SOREX_OK)
        goto done;
    for (db_iter_seek(iter, from); status == SOREX_OK && db_iter_at(iter, &key, &record); db_iter_next(iter)) {
        if (key.len < from.len || memcmp(key.data, from.data, from.len) != 0)
            break;
        struct bytes value = {0};
        bool found = false;
        status = version_find(reader, key, record, &value, &found, err);
        if (status == SOREX_OK && found)
            status = each(user_data, bytes_of(key.data + SPACE_BYTES, key.len - SPACE_BYTES), value, err);
    }
    if (status == SOREX_OK)
        status = db_iter_status(iter, err);
done:
    db_iter_free(iter);
    buf_deinit(&start);
    return status;
}
