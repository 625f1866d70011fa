/* Readers: a view of the database at one moment, asked about one height.
 *
 * The head comes out of the view itself, so heights and records always fit. A key whose state record is at or below the
 * height is answered by it. One that was written later has a lineage (lineage.c), which leads in a few steps, each one
 * undo item, to the version at the height. Every key that exists at a height still to be asked for has a state record
 * (deleted ones keep a tombstone), so a scan walks state and looks aside into undo. */
#include <stdlib.h>

#include "base/check.h"
#include "store/internal.h"
#include "store/lineage.h"

struct store_reader {
    struct store *store;
    struct db_view *view;
    uint32_t height; /* SOREX_HEIGHT_NONE: the store is empty */
    struct buf key;
    struct buf undo_key, item_key;
    struct db_value value;
    struct db_iter *undo; /* made when first needed */
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
    db_iter_free(reader->undo);
    db_view_free(reader->view);
    buf_deinit(&reader->key);
    buf_deinit(&reader->item_key);
    buf_deinit(&reader->undo_key);
    free(reader);
}

uint32_t store_reader_height(const struct store_reader *reader) { return reader->height; }

/* Goes back from a version above the reader's height to the one at it: absent, or borrowed from the iterator. */
static enum sorex_status version_trace(struct store_reader *reader, struct bytes key, struct version_record *version,
                                       struct sorex_error *err)
{
    if (reader->undo == NULL)
        reader->undo = db_iter_new(reader->store->db, reader->view, DB_UNDO);
    if (reader->undo == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: reader");
    while (version->kind != VERSION_ABSENT && version->height > reader->height) {
        struct undo_item item = {0};
        uint32_t above = lineage_above(version->lineage, version->height, reader->height);
        if (version->lineage.len != 0)
            TRY(undo_find(reader->undo, &reader->undo_key, &reader->item_key, above, key, &item, err));
        *version = item.buried;
        if (version->kind != VERSION_ABSENT && version->height >= above)
            return store_corrupt(err, "undo record of height", above);
    }
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
        TRY(version_trace(reader, key, &version, err));
    *out_found = version.kind == VERSION_VALUE;
    *out_value = *out_found ? version.value : (struct bytes){0};
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
