/* Opening, closing, and what is shared between threads. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "store/fault.h"
#include "store/internal.h"

#define GROUP_BYTES_DEFAULT ((uint64_t)64 << 20)
#define GROUP_MS_DEFAULT 1000u
#define CACHE_BYTES_DEFAULT ((uint64_t)256 << 20)
#define CACHE_BYTES_MIN ((uint64_t)1 << 20)

enum sorex_status store_writable(const struct store *store, struct sorex_error *err)
{
    if (!store->read_only)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_INVALID, "the store was opened read-only");
}

enum sorex_status store_corrupt(struct sorex_error *err, const char *what, uint64_t number)
{
    return sorex_error_set(err, SOREX_CORRUPT,
                           "the store is damaged: %s %llu does not decode; restore a copy or index again "
                           "into a new data directory",
                           what, (unsigned long long)number);
}

void store_publish(struct store *store, const struct head *head, bool durable)
{
    pthread_mutex_lock(store->lock);
    store->seen = *head;
    if (durable)
        store->durable = *head;
    else if (!head_is_empty(&store->durable))
        store->seen.horizon =
            store->durable.horizon; /* a group that is being written may be ahead of the writer here */
    store->figures.group_entries = store->current.entry_count;
    store->figures.group_bytes = store->current.bytes;
    if (durable)
        pthread_cond_broadcast(&store->outbox_changed);
    pthread_mutex_unlock(store->lock);
}

void batch_head(struct store *store, const struct head *head)
{
    uint8_t record[HEAD_BYTES];
    head_encode(record, head);
    db_batch_put(store->batch, DB_META, bytes_str(META_HEAD), bytes_of(record, sizeof record));
}

enum sorex_status batch_state(struct store *store, const struct node *node, const struct version *version,
                              struct sorex_error *err)
{
    struct version_record record = version_record(version);
    if (record.kind == VERSION_ABSENT) {
        db_batch_delete(store->batch, DB_STATE, node_key(node));
        return SOREX_OK;
    }
    buf_reset(&store->scratch);
    TRY(buf_reserve(&store->scratch, state_len(&record), err));
    state_encode(store->scratch.data, &record);
    db_batch_put(store->batch, DB_STATE, node_key(node), bytes_of(store->scratch.data, state_len(&record)));
    return SOREX_OK;
}

/* ---- opening ---- */

static enum sorex_status meta_put(struct store *store, const char *key, struct bytes value)
{
    db_batch_put(store->batch, DB_META, bytes_str(key), value);
    return SOREX_OK;
}

/* A new store: everything that names it, in one batch. An interrupted creation leaves no format record and is made
 * again; a database with content but without one is not ours. */
static enum sorex_status store_create(struct store *store, const struct store_options *options, struct sorex_error *err)
{
    for (size_t i = 0; i < DB_FAMILIES; i++) {
        struct bytes key, value;
        struct db_iter *iter = db_iter_new(store->db, NULL, (enum db_family)i);
        if (iter == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory: open the store");
        db_iter_seek(iter, (struct bytes){0});
        bool any = db_iter_at(iter, &key, &value);
        db_iter_free(iter);
        if (any)
            return sorex_error_set(err, SOREX_MISMATCH,
                                   "%s/db holds a database that is not a sorex store; choose another data "
                                   "directory, or move that one away",
                                   options->dir);
    }
    if (!options->create || options->read_only)
        return sorex_error_set(err, SOREX_GONE, "no store in %s", options->dir);
    if (getrandom(store->id, sizeof store->id, 0) != (ssize_t)sizeof store->id)
        return sorex_error_set_errno(err, SOREX_IO, errno, "random store id");
    uint8_t format[4];
    u32le_put(format, STORE_FORMAT);
    db_batch_clear(store->batch);
    meta_put(store, META_FORMAT, bytes_of(format, sizeof format));
    meta_put(store, META_ID, bytes_of(store->id, sizeof store->id));
    if (options->network != NULL)
        meta_put(store, META_NETWORK, bytes_str(options->network));
    return db_write(store->db, store->batch, store->sync, err);
}

static enum sorex_status network_put(struct store *store, const char *network, struct sorex_error *err)
{
    struct db_batch *batch = db_batch_new(store->db); /* the store's own may be in use by a group on its way */
    if (batch == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: network of the store");
    db_batch_put(batch, DB_META, bytes_str(META_NETWORK), bytes_str(network));
    enum sorex_status status = db_write(store->db, batch, store->sync, err);
    db_batch_free(batch);
    return status;
}

static enum sorex_status network_check(struct store *store, const struct store_options *options,
                                       struct sorex_error *err)
{
    if (options->network == NULL)
        return SOREX_OK;
    struct db_value value = {0};
    TRY(db_get(store->db, NULL, DB_META, bytes_str(META_NETWORK), &value, err));
    enum sorex_status status = SOREX_OK;
    if (value.found && !bytes_is(value.bytes, options->network)) {
        status = sorex_error_set(
            err, SOREX_MISMATCH,
            "the store%s%s belongs to network %.*s, the pipeline's source to %s; correct the source, or "
            "use a new data directory",
            options->dir[0] != '\0' ? " in " : "", options->dir, BYTES_FMT(value.bytes), options->network);
    } else if (!value.found && !options->read_only) {
        status = network_put(store, options->network, err);
    }
    db_value_release(&value);
    return status;
}

enum sorex_status store_network(const struct store *store, struct buf *out, struct sorex_error *err)
{
    struct db_value value = {0};
    buf_reset(out);
    TRY(db_get(store->db, NULL, DB_META, bytes_str(META_NETWORK), &value, err));
    enum sorex_status status = value.found ? buf_append(out, value.bytes, err) : SOREX_OK;
    db_value_release(&value);
    return status;
}

enum sorex_status store_network_set(struct store *store, const char *network, struct sorex_error *err)
{
    return network_check(store, &(struct store_options){.dir = "", .network = network}, err);
}

static enum sorex_status format_check(const struct db_value *format, const struct store_options *options,
                                      struct sorex_error *err)
{
    if (format->bytes.len != 4)
        return store_corrupt(err, "meta record format of bytes", format->bytes.len);
    uint32_t version = u32le_get(format->bytes.data);
    if (version == STORE_FORMAT)
        return SOREX_OK;
    return sorex_error_set(
        err, SOREX_MISMATCH,
        "the store in %s has format %u, this sorex reads and writes format %u; use a %s sorex, or index again "
        "into a new data directory",
        options->dir, version, STORE_FORMAT, version > STORE_FORMAT ? "newer" : "matching older");
}

static enum sorex_status identity_load(struct store *store, const struct store_options *options,
                                       struct sorex_error *err)
{
    struct db_value value = {0};
    TRY(db_get(store->db, NULL, DB_META, bytes_str(META_FORMAT), &value, err));
    if (!value.found)
        return store_create(store, options, err);
    enum sorex_status status = format_check(&value, options, err);
    db_value_release(&value);
    TRY(status);
    TRY(db_get(store->db, NULL, DB_META, bytes_str(META_ID), &value, err));
    if (!value.found || value.bytes.len != STORE_ID_BYTES)
        status = store_corrupt(err, "meta record id of bytes", value.bytes.len);
    else
        memcpy(store->id, value.bytes.data, STORE_ID_BYTES);
    db_value_release(&value);
    return status == SOREX_OK ? network_check(store, options, err) : status;
}

static enum sorex_status tip_load(struct store *store, struct sorex_error *err)
{
    TRY(head_read(store, NULL, &store->head, err));
    store_publish(store, &store->head, true);
    if (head_is_empty(&store->head))
        return SOREX_OK;
    struct db_value value = {0};
    struct entry_record record;
    TRY(entry_read(store, NULL, store->head.tip, &value, &record, err));
    store->tip = record.entry;
    programs_commitments(store, &record);
    db_value_release(&value);
    return SOREX_OK;
}

static enum sorex_status directory_prepare(const struct store_options *options, struct sorex_error *err)
{
    if (options->create && !options->read_only)
        return file_mkdirs(options->dir, err);
    if (access(options->dir, F_OK) != 0)
        return sorex_error_set(err, SOREX_GONE, "no store in %s", options->dir);
    return SOREX_OK;
}

static enum sorex_status database_open(struct store *store, const struct store_options *options,
                                       struct sorex_error *err)
{
    if (options->disk == NULL)
        TRY(directory_prepare(options, err));
    if (options->disk == NULL && !options->read_only)
        TRY(lockfile_take(&store->lockfile, options->dir, err));
    char path[4096];
    int len = snprintf(path, sizeof path, "%s/db", options->dir);
    if (len < 0 || (size_t)len >= sizeof path)
        return sorex_error_set(err, SOREX_INVALID, "path of the store is too long");
    uint64_t cache = options->cache_bytes != 0 ? options->cache_bytes : CACHE_BYTES_DEFAULT;
    cache = cache < CACHE_BYTES_MIN ? CACHE_BYTES_MIN : cache;
    store->generation_bytes_max = cache / 4; /* two generations; the other half is the database's block cache */
    struct db_options db = {.path = path,
                            .disk = options->disk,
                            .create = options->create,
                            .read_only = options->read_only,
                            .no_sync = options->fail_fast_sync,
                            .cache_bytes = cache / 2};
    TRY(db_open(&db, &store->db, err));
    store->batch = db_batch_new(store->db);
    return store->batch != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory: open the store");
}

static struct store *store_alloc(const struct store_options *options)
{
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return NULL;
    store->lockfile.fd = -1;
    store->read_only = options->read_only;
    store->sync = !options->fail_fast_sync;
    store->history = options->history;
    store->group_bytes_max = options->group_bytes_max != 0 ? options->group_bytes_max : GROUP_BYTES_DEFAULT;
    store->group_ms_max = options->group_ms_max != 0 ? options->group_ms_max : GROUP_MS_DEFAULT;
    group_init(&store->current);
    group_init(&store->old);
    store->old_settled = true;
    staging_init(&store->staging);
    store->lock = &store->lock_storage;
    pthread_mutex_init(store->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&store->outbox_changed, &monotonic);
    pthread_cond_init(&store->background.changed, NULL);
    pthread_condattr_destroy(&monotonic);
    return store;
}

static void store_free(struct store *store)
{
    db_value_release(&store->value);
    db_batch_free(store->batch);
    db_close(store->db);
    lockfile_release(&store->lockfile);
    sha256_deinit(&store->hash);
    staging_deinit(&store->staging);
    group_deinit(&store->current);
    group_deinit(&store->old);
    buf_deinit(&store->preimage);
    buf_deinit(&store->key);
    buf_deinit(&store->scratch);
    undo_writer_deinit(&store->undo);
    programs_free(store);
    cursors_free(store);
    free(store->undone);
    pthread_cond_destroy(&store->background.changed);
    pthread_cond_destroy(&store->outbox_changed);
    pthread_mutex_destroy(store->lock);
    free(store);
}

enum sorex_status store_open(const struct store_options *options, struct store **out, struct sorex_error *err)
{
    struct store *store = store_alloc(options);
    if (store == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: open the store");
    enum sorex_status status = sha256_init(&store->hash, err);
    if (status == SOREX_OK)
        status = database_open(store, options, err);
    if (status == SOREX_OK)
        status = identity_load(store, options, err);
    if (status == SOREX_OK)
        status = programs_load(store, err);
    if (status == SOREX_OK)
        status = tip_load(store, err);
    if (status == SOREX_OK)
        status = undone_load(store, err);
    if (status == SOREX_OK)
        status = cursors_load(store, err);
    if (status != SOREX_OK) {
        store_free(store);
        return status;
    }
    *out = store;
    return SOREX_OK;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    struct sorex_error err;
    store_abort(store);
    if (!store->broken && store_flush(store, &err) != SOREX_OK)
        log_line(LOG_ERROR, "store", "close: %s", err.text);
    background_end(store);
    pthread_mutex_lock(store->lock);
    store->closing = true;
    pthread_cond_broadcast(&store->outbox_changed);
    pthread_mutex_unlock(store->lock);
    store_free(store);
}

void store_crash(struct store *store)
{
    store->broken = true;
    store_close(store);
}

bool store_read_only(const struct store *store) { return store->read_only; }

const uint8_t *store_id(const struct store *store) { return store->id; }

void store_figures(const struct store *store, struct store_figures *out)
{
    pthread_mutex_lock(store->lock);
    *out = store->figures;
    pthread_mutex_unlock(store->lock);
    out->disk_bytes = db_disk_bytes(store->db);
}
