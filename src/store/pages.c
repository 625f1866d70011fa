#include "store/pages.h"

#include <stdlib.h>

#include "base/check.h"
#include "store/internal.h"

struct pages_batch {
    struct store *store;
    struct db_batch *records;
};

static bool begins(struct bytes key, struct bytes prefix)
{
    return key.len >= prefix.len && memcmp(key.data, prefix.data, prefix.len) == 0;
}

enum sorex_status pages_scan(struct store *store, struct bytes prefix, store_pair_fn *fn, void *user_data,
                             struct sorex_error *err)
{
    struct bytes key, value;
    struct db_iter *iter = db_iter_new(store->db, NULL, DB_PAGES);
    if (iter == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: read the store");
    enum sorex_status status = SOREX_OK;
    db_iter_seek(iter, prefix);
    for (; status == SOREX_OK && db_iter_at(iter, &key, &value) && begins(key, prefix); db_iter_next(iter))
        status = fn(user_data, key, value, err);
    if (status == SOREX_OK)
        status = db_iter_status(iter, err);
    db_iter_free(iter);
    return status;
}

struct pages_batch *pages_batch_new(struct store *store)
{
    struct pages_batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        return NULL;
    batch->store = store;
    batch->records = db_batch_new(store->db);
    if (batch->records != NULL)
        return batch;
    free(batch);
    return NULL;
}

void pages_batch_free(struct pages_batch *batch)
{
    if (batch == NULL)
        return;
    db_batch_free(batch->records);
    free(batch);
}

void pages_batch_put(struct pages_batch *batch, struct bytes key, struct bytes value)
{
    db_batch_put(batch->records, DB_PAGES, key, value);
}

void pages_batch_delete(struct pages_batch *batch, struct bytes key) { db_batch_delete(batch->records, DB_PAGES, key); }

enum sorex_status pages_batch_write(struct pages_batch *batch, struct sorex_error *err)
{
    TRY(store_writable(batch->store, err));
    return db_write(batch->store->db, batch->records, batch->store->sync, err);
}
