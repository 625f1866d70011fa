/* edit_state STORE FROM TO: damage that no checksum sees. Every latest value in the store that ends with the text FROM
 * ends with TO, of the same length, from then on. Fails when there is none. */
#include <stdio.h>

#include "store/db.h"

static unsigned values_edit(struct db *db, struct db_batch *batch, struct bytes from, struct bytes to,
                            struct sorex_error *err)
{
    unsigned edited = 0;
    struct bytes key, value;
    struct db_iter *iter = db_iter_new(db, NULL, DB_STATE);
    for (db_iter_seek(iter, bytes_of(NULL, 0)); db_iter_at(iter, &key, &value); db_iter_next(iter)) {
        struct buf changed = {0};
        if (value.len < from.len || memcmp(value.data + value.len - from.len, from.data, from.len) != 0)
            continue;
        if (buf_append(&changed, bytes_of(value.data, value.len - from.len), err) == SOREX_OK &&
            buf_append(&changed, to, err) == SOREX_OK) {
            db_batch_put(batch, DB_STATE, key, buf_view(&changed));
            edited++;
        }
        buf_deinit(&changed);
    }
    db_iter_free(iter);
    return edited;
}

int main(int argc, char **argv)
{
    struct sorex_error err = {0};
    struct db *db = NULL;
    if (argc != 4 || strlen(argv[2]) != strlen(argv[3])) {
        fprintf(stderr, "usage: edit_state STORE FROM TO\n");
        return 2;
    }
    struct db_options options = {.path = argv[1], .cache_bytes = (uint64_t)1 << 20};
    enum sorex_status status = db_open(&options, &db, &err);
    unsigned edited = 0;
    if (status == SOREX_OK) {
        struct db_batch *batch = db_batch_new(db);
        edited = values_edit(db, batch, bytes_str(argv[2]), bytes_str(argv[3]), &err);
        status = db_write(db, batch, true, &err);
        db_batch_free(batch);
        db_close(db);
    }
    if (status != SOREX_OK || edited == 0)
        fprintf(stderr, "%s: %s\n", argv[1], edited == 0 ? "no such value" : err.text);
    return status == SOREX_OK && edited != 0 ? 0 : 1;
}
