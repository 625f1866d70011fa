/* The writer's road: stage an entry, read, commit it to the group. Writing the group: flush.c.
 *
 * Commit sorts the staged keys, computes the commitments, and puts each parked version on top of its node's chain.
 * Nothing is read from the database for that: what a key was before the group (its base) is needed only when the group
 * is written, for the undo records and lineages, and is then fetched for all keys at once, in key order. */
#include "base/check.h"
#include "base/clock.h"
#include "store/internal.h"

/* ---- staging ---- */

enum sorex_status state_key(struct buf *out, struct store_space space, struct bytes key, struct bytes *out_key,
                            struct sorex_error *err)
{
    if (key.len > SOREX_KEY_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "a key of %zu bytes; the limit is %zu", key.len, SOREX_KEY_BYTES_MAX);
    buf_reset(out);
    TRY(buf_reserve(out, SPACE_BYTES + key.len, err));
    space_put(out->data, space);
    if (key.len != 0)
        memcpy(out->data + SPACE_BYTES, key.data, key.len);
    out->len = SPACE_BYTES + key.len;
    *out_key = buf_view(out);
    return SOREX_OK;
}

enum sorex_status store_usable(const struct store *store, struct sorex_error *err)
{
    TRY(store_writable(store, err));
    if (store->broken)
        return sorex_error_set(err, SOREX_IO,
                               "an earlier write to the store failed; close it and start again "
                               "(what was durable is intact)");
    return SOREX_OK;
}

enum sorex_status store_begin(struct store *store, const struct entry *entry, struct sorex_error *err)
{
    TRY(store_usable(store, err));
    CHECK(!store->staging.active);
    if (entry->height == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_INVALID, "height %u is not a height", entry->height);
    if (!head_is_empty(&store->head)) {
        if (entry->height != store->head.tip + 1)
            return sorex_error_set(err, SOREX_INVALID, "height %u does not follow the tip %u", entry->height,
                                   store->head.tip);
        if (memcmp(entry->parent, store->tip.hash, HASH_BYTES) != 0) {
            char parent[HASH_HEX_SIZE], tip[HASH_HEX_SIZE];
            hash_display(entry->parent, parent);
            hash_display(store->tip.hash, tip);
            return sorex_error_set(err, SOREX_INVALID, "height %u: its parent %s is not the tip %s", entry->height,
                                   parent, tip);
        }
    }
    pthread_mutex_lock(store->lock);
    store->writer = pthread_self();
    store->writer_known = true;
    pthread_mutex_unlock(store->lock);
    staging_start(&store->staging, entry, false);
    return SOREX_OK;
}

static enum sorex_status stage(struct store *store, struct store_space space, struct bytes key, enum version_kind kind,
                               struct bytes value, struct sorex_error *err)
{
    CHECK(store->staging.active && space.program < store->program_count && space.kind <= STORE_PAGES);
    struct bytes full;
    TRY(state_key(&store->key, space, key, &full, err));
    return staging_write(&store->staging, &store->current.generation, full, kind, value, err);
}

enum sorex_status store_put(struct store *store, struct store_space space, struct bytes key, struct bytes value,
                            struct sorex_error *err)
{
    return stage(store, space, key, VERSION_VALUE, value, err);
}

enum sorex_status store_delete(struct store *store, struct store_space space, struct bytes key, struct sorex_error *err)
{
    return stage(store, space, key, VERSION_DELETED, (struct bytes){0}, err);
}

enum sorex_status store_emit(struct store *store, uint16_t program, struct bytes emitted, struct bytes stored,
                             struct sorex_error *err)
{
    CHECK(store->staging.active && program < store->program_count);
    return staging_emit(&store->staging, program, emitted, stored, err);
}

void store_abort(struct store *store)
{
    if (!store->staging.active)
        return;
    staging_drop(&store->staging);
    /* What was staged stays in the arena; an entry that is tried over and over must not fill it. */
    if (store->current.entry_count == 0 && store->current.generation.arena.total > store->generation_bytes_max)
        group_reset(&store->current);
}

/* ---- reads ---- */

/* Keeps what was found elsewhere in the current generation; `based`: it is the durable version, lineage and all.
 * Without memory it is not kept. */
static void base_adopt(struct store *store, struct node *node, const struct version_record *record, bool based)
{
    struct version *version = &version_absent;
    if (node == NULL ||
        (record->kind != VERSION_ABSENT && (version = version_new(&store->current.generation.arena, record)) == NULL))
        return;
    node->newest = version;
    node->based = based;
}

/* From the group before this one. While that is being written, the lineages of its versions belong to the writing
 * thread: then the version serves reads only, and is read again from the database when this group is written. */
static struct version_record old_record(const struct store *store, const struct node *old)
{
    if (store->old_settled)
        return version_record(old->newest);
    return (struct version_record){.height = old->newest->height,
                                   .kind = (enum version_kind)old->newest->kind,
                                   .value = version_value(old->newest)};
}

/* What the key is as of the last committed entry. Borrowed until the next call. */
static enum sorex_status newest_record(struct store *store, struct bytes key, uint64_t hash, struct version_record *out,
                                       struct sorex_error *err)
{
    struct generation *current = &store->current.generation;
    bool room = current->arena.total < 2 * store->generation_bytes_max;
    struct node *node = room ? generation_node(current, key, hash) : generation_find(current, key, hash);
    if (node != NULL && node->newest != NULL) {
        *out = version_record(node->newest);
        return SOREX_OK;
    }
    const struct node *old = generation_find(&store->old.generation, key, hash);
    if (old != NULL && old->newest != NULL) {
        *out = old_record(store, old);
        if (room)
            base_adopt(store, node, out, store->old_settled && old->based);
        return SOREX_OK;
    }
    TRY(db_get(store->db, NULL, DB_STATE, key, &store->value, err));
    *out = (struct version_record){0};
    if (store->value.found &&
        (!state_decode(store->value.bytes, out) || head_is_empty(&store->head) || out->height > store->head.tip))
        return store_corrupt(err, "state record of a key of", key.len);
    if (room)
        base_adopt(store, node, out, true);
    return SOREX_OK;
}

static void record_value(const struct version_record *record, struct bytes *out_value, bool *out_found)
{
    *out_found = record->kind == VERSION_VALUE;
    *out_value = *out_found ? record->value : (struct bytes){0};
}

enum sorex_status store_get(struct store *store, struct store_space space, struct bytes key, struct bytes *out_value,
                            bool *out_found, struct sorex_error *err)
{
    struct bytes full;
    struct version_record record;
    TRY(state_key(&store->key, space, key, &full, err));
    TRY(newest_record(store, full, key_hash(full), &record, err));
    record_value(&record, out_value, out_found);
    return SOREX_OK;
}

enum sorex_status store_get_staged(struct store *store, struct store_space space, struct bytes key,
                                   struct bytes *out_value, bool *out_found, struct sorex_error *err)
{
    struct bytes full;
    struct version_record record;
    TRY(state_key(&store->key, space, key, &full, err));
    uint64_t hash = key_hash(full);
    const struct node *node = generation_find(&store->current.generation, full, hash);
    if (node != NULL && node->pending != NULL)
        record = version_record(node->pending);
    else
        TRY(newest_record(store, full, hash, &record, err));
    record_value(&record, out_value, out_found);
    return SOREX_OK;
}

/* ---- commit ---- */

bool head_is_empty(const struct head *head) { return head->tip == SOREX_HEIGHT_NONE; }

static enum sorex_status commitments_compute(struct store *store, struct group_entry *entry, struct sorex_error *err)
{
    size_t count = store->program_count, first = 0;
    uint8_t *out = arena_alloc(&store->current.generation.arena, count * COMMITMENT_BYTES);
    if (out == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: commitments");
    for (size_t i = 0; i < count; i++) {
        u16le_put(out + i * COMMITMENT_BYTES, (uint16_t)i);
        TRY(staging_commitment(&store->staging, &store->hash, &store->preimage, &first, (uint16_t)i,
                               store->programs[i].commitment, out + i * COMMITMENT_BYTES + 2, err));
    }
    CHECK(first == store->staging.nodes.count);
    entry->commitments = bytes_of(out, count * COMMITMENT_BYTES);
    entry->commitment_count = count;
    return SOREX_OK;
}

/* Everything of a commit that can fail, none of it visible. */
static enum sorex_status entry_prepare(struct store *store, struct group_entry *entry, struct sorex_error *err)
{
    struct staging *staging = &store->staging;
    struct arena *arena = &store->current.generation.arena;
    TRY(node_list_sort(&staging->nodes, err));
    TRY(group_entries_reserve(&store->current, err));
    TRY(node_list_reserve(&store->current.dirty, staging->nodes.count, err));
    *entry = (struct group_entry){.entry = staging->entry, .change_count = staging->change_count};
    entry->touched = arena_alloc(arena, staging->nodes.count * sizeof *entry->touched);
    entry->touched_count = staging->nodes.count;
    entry->changes = arena_copy(arena, buf_view(&staging->stored));
    if (entry->touched == NULL || entry->changes.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: commit %zu keys", staging->nodes.count);
    entry->outbox_head = store->head.outbox_head + (staging->change_count != 0 ? 1 : 0);
    return commitments_compute(store, entry, err);
}

/* Puts the parked version on top of the node's chain. */
static void node_commit(struct store *store, struct node *node)
{
    if (node->newest == NULL) {
        const struct node *old = generation_find(&store->old.generation, node_key(node), node->hash);
        if (old != NULL && old->newest != NULL) {
            struct version_record record = old_record(store, old);
            base_adopt(store, node, &record, store->old_settled && old->based);
        }
    }
    node->pending->prev = node->newest;
    node->newest = node->pending;
    node->pending = NULL;
    if (node->dirty)
        return;
    node->dirty = true;
    store->current.dirty.items[store->current.dirty.count++] = node;
}

static void entry_admit(struct store *store, const struct group_entry *entry)
{
    struct group *group = &store->current;
    if (group->entry_count == 0)
        group->started_ms = clock_ms();
    group->entries[group->entry_count++] = *entry;
    for (size_t i = 0; i < entry->touched_count; i++) {
        struct node *node = store->staging.nodes.items[i];
        entry->touched[i] = (struct touch){node, node->pending};
        node_commit(store, node);
    }
    for (size_t i = 0; i < store->program_count; i++)
        memcpy(store->programs[i].commitment, entry->commitments.data + i * COMMITMENT_BYTES + 2, HASH_BYTES);
    group->bytes += store->staging.bytes + entry->changes.len;

    uint32_t height = entry->entry.height;
    if (head_is_empty(&store->head))
        store->head.first = store->head.horizon = store->head.pruned = height;
    store->head.tip = height;
    store->head.outbox_head = entry->outbox_head;
    store->tip = entry->entry;
    store_publish(store, &store->head, false);
}

enum sorex_status store_commit(struct store *store, bool durable, struct sorex_error *err)
{
    CHECK(store->staging.active && !store->staging.amending);
    TRY(store_usable(store, err));
    struct group_entry entry;
    TRY(entry_prepare(store, &entry, err));
    entry_admit(store, &entry);
    staging_end(&store->staging);
    return durable ? store_flush(store, err) : group_advance(store, err);
}
