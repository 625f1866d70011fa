/* A commit is the difference between two snapshots: that of the last commit, which is kept, and one that is taken now.
 * Both sides know what they share, so it costs what was written in between. */
#include "pg/saved.h"

#include <stdlib.h>

#include "base/check.h"
#include "pg/saved_record.h"
#include "pg/snapshot_codec.h"
#include "store/pages.h"

#define NOTE_BYTES_MAX ((size_t)65536)

struct saved {
    struct store *store;
    struct record_name name;
    struct database *database;
    struct snapshot *last; /* of the last commit; of a new database: its beginning */
    struct saved_head head;
    struct buf note;
    bool lost; /* a write failed: what is in the store is not known */
};

/* -- reading */

struct load {
    struct saved *saved;
    struct postgres *postgres;
    struct snapshot *snapshot; /* NULL: no record was there */
    struct saved_head seen;    /* how many records there are */
    struct sha256 hash;
    bool table;
};

static enum sorex_status head_load(struct load *load, struct bytes content, struct sorex_error *err)
{
    struct saved *saved = load->saved;
    struct bytes note;
    load->snapshot = snapshot_make(load->postgres);
    if (load->snapshot == NULL || tree_init(&load->snapshot->tree, 0, err) != SOREX_OK)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    trie_clear(&load->snapshot->tree.inodes); /* the root comes with the others */
    TRY(saved_head_decode(content, &saved->head, load->snapshot, &note, err));
    return buf_append(&saved->note, note, err);
}

static enum sorex_status content_load(struct load *load, const struct record_key *key, struct bytes content,
                                      struct sorex_error *err)
{
    struct snapshot *snapshot = load->snapshot;
    struct reader r = reader_of(content);
    if (key->kind == RECORD_HEAD)
        return head_load(load, content, err);
    if (snapshot == NULL)
        return sorex_error_set(err, SOREX_CORRUPT, "there is no head");
    switch (key->kind) {
    case RECORD_TABLE:
        load->table = true;
        TRY(snapshot_table_decode(snapshot, &r, err));
        break;
    case RECORD_PAGE:
        load->seen.pages++;
        if (content.len != LINEAR_PAGE_BYTES ||
            key->number >= linear_image_size(snapshot->machine.memory) / content.len)
            return sorex_error_set(err, SOREX_CORRUPT, "it does not fit");
        return linear_image_put(snapshot->machine.memory, key->number, content.data, err);
    case RECORD_INODE:
        load->seen.inodes++;
        TRY(tree_inode_decode(&snapshot->tree, key->number, &r, err));
        break;
    case RECORD_EXTENT:
        load->seen.extents++;
        if (content.len != TREE_EXTENT_BYTES)
            return sorex_error_set(err, SOREX_CORRUPT, "it does not fit");
        return tree_extent_decode(&snapshot->tree, key->number, key->index, content.data, err);
    case RECORD_HEAD:
        break;
    }
    return reader_left(&r) == 0 ? SOREX_OK : sorex_error_set(err, SOREX_CORRUPT, "it is longer than its content");
}

static enum sorex_status record_load(void *user_data, struct bytes key_bytes, struct bytes value,
                                     struct sorex_error *err)
{
    struct load *load = user_data;
    struct record_key key;
    struct bytes content;
    enum sorex_status status = record_key_decode(&load->saved->name, key_bytes, &key, err);
    if (status == SOREX_OK)
        status = record_decode(&load->hash, key_bytes, value, &content, err);
    if (status == SOREX_OK)
        status = content_load(load, &key, content, err);
    return status == SOREX_OK ? SOREX_OK : record_error(&key, err);
}

static enum sorex_status load_check(const struct load *load, struct sorex_error *err)
{
    const struct saved_head *head = &load->saved->head, *seen = &load->seen;
    if (!load->table)
        return sorex_error_set(err, SOREX_CORRUPT, "the table is missing");
    if (seen->pages != head->pages || seen->inodes != head->inodes || seen->extents != head->extents)
        return sorex_error_set(err, SOREX_CORRUPT, "there are %u pages, %u inodes and %llu extents of %u, %u and %llu",
                               (unsigned)seen->pages, (unsigned)seen->inodes, (unsigned long long)seen->extents,
                               (unsigned)head->pages, (unsigned)head->inodes, (unsigned long long)head->extents);
    return snapshot_check(load->snapshot, err);
}

/* *out is NULL when there is no such database. */
static enum sorex_status snapshot_load(struct saved *saved, struct postgres *postgres, struct snapshot **out,
                                       struct sorex_error *err)
{
    struct load load = {.saved = saved, .postgres = postgres};
    TRY(sha256_init(&load.hash, err));
    enum sorex_status status = pages_scan(saved->store, record_name_prefix(&saved->name), record_load, &load, err);
    if (status == SOREX_OK && load.snapshot != NULL)
        status = load_check(&load, err);
    sha256_deinit(&load.hash);
    if (status != SOREX_OK) {
        snapshot_drop(load.snapshot);
        return status;
    }
    *out = load.snapshot;
    return SOREX_OK;
}

/* -- opening */

static enum sorex_status saved_begin(struct saved *saved, struct database_program *program,
                                     const struct database_options *options, struct sorex_error *err)
{
    static const struct database_options none;
    struct database_options limits = options != NULL ? *options : none;
    TRY(snapshot_load(saved, database_program_postgres(program), &saved->last, err));
    if (saved->last == NULL) {
        if (store_read_only(saved->store))
            return sorex_error_set(err, SOREX_GONE, "there is none in the store");
        TRY(database_open(program, &limits, &saved->database, err));
        return database_save(saved->database, &saved->last, err);
    }
    limits.time_us = limits.seed = 0;
    tree_limit_set(&saved->last->tree, limits.file_bytes_max);
    return database_open_snapshot(saved->last, &limits, &saved->database, err);
}

enum sorex_status saved_open(struct store *store, struct database_program *program, const char *name,
                             const struct database_options *options, struct saved **out, struct sorex_error *err)
{
    struct saved *saved = calloc(1, sizeof *saved);
    if (saved == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "database: out of memory");
    saved->store = store;
    enum sorex_status status = record_name_set(&saved->name, name, err);
    if (status == SOREX_OK)
        status = saved_begin(saved, program, options, err);
    if (status != SOREX_OK) {
        saved_close(saved);
        return sorex_error_prefix(err, "database %s", name);
    }
    *out = saved;
    return SOREX_OK;
}

void saved_close(struct saved *saved)
{
    if (saved == NULL)
        return;
    database_close(saved->database);
    snapshot_drop(saved->last);
    buf_deinit(&saved->note);
    free(saved);
}

struct database *saved_database(struct saved *saved) { return saved->database; }

uint64_t saved_version(const struct saved *saved) { return saved->head.version; }

struct bytes saved_note(const struct saved *saved) { return buf_view(&saved->note); }

/* The head is the first record; SOREX_STOPPED: it was there. */
static enum sorex_status note_load(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    TRY(record_load(user_data, key, value, err));
    return SOREX_STOPPED;
}

enum sorex_status saved_note_read(struct store *store, const char *name, struct buf *out, struct sorex_error *err)
{
    struct saved saved = {.store = store};
    struct load load = {.saved = &saved};
    TRY(record_name_set(&saved.name, name, err));
    TRY(sha256_init(&load.hash, err));
    enum sorex_status status = pages_scan(store, record_name_prefix(&saved.name), note_load, &load, err);
    if (status == SOREX_STOPPED)
        status = buf_append(out, buf_view(&saved.note), err);
    else if (status == SOREX_OK)
        status = sorex_error_set(err, SOREX_GONE, "there is none in the store");
    sha256_deinit(&load.hash);
    snapshot_drop(load.snapshot);
    buf_deinit(&saved.note);
    return status == SOREX_OK ? SOREX_OK : sorex_error_prefix(err, "database %s", name);
}

/* -- committing */

struct commit {
    struct record_writer writer;
    struct saved_head head; /* of the new version */
    uint32_t inode;         /* whose extents are compared */
};

static enum sorex_status page_changed(void *user_data, uint32_t page, const uint8_t *before, const uint8_t *after,
                                      struct sorex_error *err)
{
    struct commit *commit = user_data;
    struct record_key key = {.kind = RECORD_PAGE, .number = page};
    commit->head.pages += (uint32_t)(after != NULL) - (uint32_t)(before != NULL);
    return record_write(&commit->writer, &key, after, LINEAR_PAGE_BYTES, err);
}

static enum sorex_status extent_changed(void *user_data, uint32_t index, const struct leaf *before,
                                        const struct leaf *after, struct sorex_error *err)
{
    struct commit *commit = user_data;
    struct record_key key = {.kind = RECORD_EXTENT, .number = commit->inode, .index = index};
    const uint8_t *old = tree_extent_data(before), *new = tree_extent_data(after);
    if (old == NULL && new == NULL)
        return SOREX_OK;
    commit->head.extents += (uint64_t)(new != NULL) - (uint64_t)(old != NULL);
    return record_write(&commit->writer, &key, new, TREE_EXTENT_BYTES, err);
}

static enum sorex_status collect(void *user_data, struct bytes bytes, struct sorex_error *err)
{
    return buf_append(user_data, bytes, err);
}

static enum sorex_status inode_changed(void *user_data, uint32_t number, const struct leaf *before,
                                       const struct leaf *after, struct sorex_error *err)
{
    static const struct trie none;
    struct commit *commit = user_data;
    struct record_key key = {.kind = RECORD_INODE, .number = number};
    const struct inode *old = (const struct inode *)before, *new = (const struct inode *)after;
    struct buf content = {0};
    enum sorex_status status = SOREX_OK;
    commit->head.inodes += (uint32_t)(new != NULL) - (uint32_t)(old != NULL);
    if (new != NULL)
        status = tree_inode_encode(new, collect, &content, err);
    if (status == SOREX_OK)
        status = record_write(&commit->writer, &key, content.data, content.len, err);
    buf_deinit(&content);
    commit->inode = number;
    return status != SOREX_OK ? status
                              : trie_diff(old != NULL ? &old->extents : &none, new != NULL ? &new->extents : &none,
                                          extent_changed, commit, err);
}

static enum sorex_status table_write(struct commit *commit, const struct snapshot *to, struct sorex_error *err)
{
    struct record_key key = {.kind = RECORD_TABLE};
    struct buf content = {0};
    enum sorex_status status = snapshot_table_encode(to, &content, err);
    if (status == SOREX_OK)
        status = record_write(&commit->writer, &key, content.data, content.len, err);
    buf_deinit(&content);
    return status;
}

static enum sorex_status head_write(struct commit *commit, const struct snapshot *to, struct bytes note,
                                    struct sorex_error *err)
{
    struct record_key key = {.kind = RECORD_HEAD};
    struct buf content = {0};
    enum sorex_status status = saved_head_encode(&commit->head, to, note, &content, err);
    if (status == SOREX_OK)
        status = record_write(&commit->writer, &key, content.data, content.len, err);
    buf_deinit(&content);
    return status;
}

/* from NULL: nothing is there yet. */
static enum sorex_status changes_write(struct commit *commit, const struct snapshot *from, const struct snapshot *to,
                                       struct bytes note, struct sorex_error *err)
{
    static const struct trie none;
    TRY(linear_image_diff(from != NULL ? from->machine.memory : NULL, to->machine.memory, page_changed, commit, err));
    TRY(trie_diff(from != NULL ? &from->tree.inodes : &none, &to->tree.inodes, inode_changed, commit, err));
    if (from == NULL || !snapshot_table_equal(from, to))
        TRY(table_write(commit, to, err));
    return head_write(commit, to, note, err);
}

static enum sorex_status snapshot_commit(struct saved *saved, const struct snapshot *to, struct bytes note,
                                         struct saved_head *out, struct sorex_error *err)
{
    struct commit commit = {.head = saved->head};
    const struct snapshot *from = saved->head.version > 0 ? saved->last : NULL;
    commit.head.version++;
    TRY(record_writer_init(&commit.writer, saved->store, &saved->name, err));
    enum sorex_status status = changes_write(&commit, from, to, note, err);
    if (status == SOREX_OK) {
        status = pages_batch_write(commit.writer.batch, err);
        saved->lost = status == SOREX_IO || status == SOREX_CORRUPT;
    }
    record_writer_deinit(&commit.writer);
    *out = commit.head;
    return status;
}

enum sorex_status saved_commit(struct saved *saved, struct bytes note, struct snapshot **out_snapshot,
                               struct sorex_error *err)
{
    struct snapshot *snapshot = NULL;
    struct saved_head head;
    struct buf kept = {0};
    if (saved->lost)
        return sorex_error_set(err, SOREX_IO, "database: a write failed: close it and open it again");
    if (note.len > NOTE_BYTES_MAX)
        return sorex_error_set(err, SOREX_INVALID, "database: a note of %zu bytes", note.len);
    enum sorex_status status = buf_append(&kept, note, err);
    if (status == SOREX_OK)
        status = database_save(saved->database, &snapshot, err);
    if (status == SOREX_OK)
        status = snapshot_commit(saved, snapshot, note, &head, err);
    if (status != SOREX_OK) {
        snapshot_drop(snapshot);
        buf_deinit(&kept);
        return status;
    }
    buf_deinit(&saved->note);
    saved->note = kept;
    snapshot_drop(saved->last);
    saved->last = snapshot;
    saved->head = head;
    if (out_snapshot != NULL)
        *out_snapshot = snapshot_keep(snapshot);
    return SOREX_OK;
}

enum sorex_status saved_restore(struct saved *saved, struct sorex_error *err)
{
    return database_restore(saved->database, saved->last, err);
}

/* -- dropping */

struct drop {
    struct pages_batch *batch;
    size_t count;
};

static enum sorex_status record_drop(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct drop *drop = user_data;
    (void)value;
    (void)err;
    pages_batch_delete(drop->batch, key);
    drop->count++;
    return SOREX_OK;
}

enum sorex_status saved_drop(struct store *store, const char *name, struct sorex_error *err)
{
    struct record_name prefix;
    TRY(record_name_set(&prefix, name, err));
    struct drop drop = {.batch = pages_batch_new(store)};
    if (drop.batch == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "database: out of memory");
    enum sorex_status status = pages_scan(store, record_name_prefix(&prefix), record_drop, &drop, err);
    if (status == SOREX_OK && drop.count == 0)
        status = sorex_error_set(err, SOREX_GONE, "database %s: there is none in the store", name);
    if (status == SOREX_OK)
        status = pages_batch_write(drop.batch, err);
    pages_batch_free(drop.batch);
    return status;
}
