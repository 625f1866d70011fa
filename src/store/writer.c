/* The writer's road: stage an entry, commit it to the group, write the group.
 *
 * Commit sorts the staged keys, computes the commitments, and puts each parked version on top of its node's chain. Nothing is
 * read from the database for that: what a key was before the group (its base) is needed only when the group is written, for
 * the undo and history records, and is then fetched for all keys at once, in key order.
 *
 * Writing a group: prune (prune.c), which says up to which height (`elide`) nothing needs to be undone or viewed any more; then
 * per key, in order, the newest version to state and the versions it buries to history, unless buried at or below `elide`;
 * then per entry its undo record (above `elide`), header and outbox record; then the head. One batch, one sync. */
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "store/commitment.h"
#include "store/fault.h"
#include "store/internal.h"

#define PRUNE_BUDGET_MIN 4096u

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

static enum sorex_status usable(const struct store *store, struct sorex_error *err)
{
    TRY(store_writable(store, err));
    if (store->broken)
        return sorex_error_set(err, SOREX_IO, "an earlier write to the store failed; close it and start again "
                                              "(what was durable is intact)");
    return SOREX_OK;
}

enum sorex_status store_begin(struct store *store, const struct entry *entry, struct sorex_error *err)
{
    TRY(usable(store, err));
    CHECK(!store->staging.active);
    if (entry->height == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_INVALID, "height %u is not a height", entry->height);
    if (!head_is_empty(&store->head)) {
        if (entry->height != store->head.tip + 1)
            return sorex_error_set(err, SOREX_INVALID, "height %u does not follow the tip %u", entry->height, store->head.tip);
        if (memcmp(entry->parent, store->tip.hash, HASH_BYTES) != 0) {
            char parent[HASH_HEX_SIZE], tip[HASH_HEX_SIZE];
            hash_display(entry->parent, parent);
            hash_display(store->tip.hash, tip);
            return sorex_error_set(err, SOREX_INVALID, "height %u: its parent %s is not the tip %s", entry->height, parent, tip);
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
    return staging_write(&store->staging, &store->group.current, full, kind, value, err);
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
    if (store->group.entry_count == 0 && store->group.current.arena.total > store->generation_bytes_max)
        group_forget(&store->group);
}

/* ---- reads ---- */

/* Copies a version found elsewhere into the current generation as a base. NULL when memory is gone: then it is not cached. */
static struct version *base_adopt(struct store *store, struct node *node, struct bytes record)
{
    if (node == NULL)
        return NULL;
    struct version *version = record.len == 0 ? &version_absent : version_copy(&store->group.current.arena, record);
    if (version == NULL)
        return NULL;
    node->newest = version;
    node->based = true;
    return version;
}

/* What the key is as of the last committed entry: a state record, empty when absent. Borrowed until the next call. */
static enum sorex_status newest_record(struct store *store, struct bytes key, uint64_t hash, struct bytes *out,
                                       struct sorex_error *err)
{
    struct generation *current = &store->group.current;
    struct node *node = generation_find(current, key, hash);
    if (node != NULL && node->newest != NULL) {
        *out = bytes_of(node->newest->record, node->newest->len);
        return SOREX_OK;
    }
    bool room = current->arena.total < 2 * store->generation_bytes_max;
    const struct node *old = generation_find(&store->group.old, key, hash);
    if (old != NULL && old->newest != NULL) {
        *out = bytes_of(old->newest->record, old->newest->len);
        if (room)
            base_adopt(store, generation_node(current, key, hash), *out);
        return SOREX_OK;
    }
    TRY(db_get(store->db, NULL, DB_STATE, key, &store->value, err));
    struct version_record decoded;
    if (store->value.found && !state_decode(store->value.bytes, &decoded))
        return store_corrupt(err, "state record of a key of", key.len);
    *out = store->value.found ? store->value.bytes : (struct bytes){0};
    if (room)
        base_adopt(store, generation_node(current, key, hash), *out);
    return SOREX_OK;
}

static void record_value(struct bytes record, struct bytes *out_value, bool *out_found)
{
    *out_found = record.len != 0 && record.data[STATE_HEAD_BYTES - 1] == VERSION_VALUE;
    *out_value = *out_found ? bytes_of(record.data + STATE_HEAD_BYTES, record.len - STATE_HEAD_BYTES) : (struct bytes){0};
}

enum sorex_status store_get(struct store *store, struct store_space space, struct bytes key, struct bytes *out_value,
                            bool *out_found, struct sorex_error *err)
{
    struct bytes full, record;
    TRY(state_key(&store->key, space, key, &full, err));
    TRY(newest_record(store, full, key_hash(full), &record, err));
    record_value(record, out_value, out_found);
    return SOREX_OK;
}

enum sorex_status store_get_staged(struct store *store, struct store_space space, struct bytes key, struct bytes *out_value,
                                   bool *out_found, struct sorex_error *err)
{
    struct bytes full, record;
    TRY(state_key(&store->key, space, key, &full, err));
    uint64_t hash = key_hash(full);
    const struct node *node = generation_find(&store->group.current, full, hash);
    if (node != NULL && node->pending != NULL)
        record = bytes_of(node->pending->record, node->pending->len);
    else
        TRY(newest_record(store, full, hash, &record, err));
    record_value(record, out_value, out_found);
    return SOREX_OK;
}

/* ---- commit ---- */

bool head_is_empty(const struct head *head)
{
    return head->tip == SOREX_HEIGHT_NONE;
}

static enum sorex_status commitments_compute(struct store *store, struct group_entry *entry, struct sorex_error *err)
{
    size_t count = store->program_count, first = 0;
    uint8_t *out = arena_alloc(&store->group.current.arena, count * COMMITMENT_BYTES);
    if (out == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "commitments");
    for (size_t i = 0; i < count; i++) {
        u16le_put(out + i * COMMITMENT_BYTES, (uint16_t)i);
        TRY(commitment_next(&store->hash, &store->scratch, &store->staging, &first, (uint16_t)i,
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
    struct arena *arena = &store->group.current.arena;
    TRY(node_list_sort(&staging->nodes, err));
    TRY(group_entries_reserve(&store->group, err));
    TRY(node_list_reserve(&store->group.dirty, staging->nodes.count, err));
    *entry = (struct group_entry){.entry = staging->entry, .change_count = staging->change_count};
    entry->touched = arena_alloc(arena, staging->nodes.count * sizeof *entry->touched);
    entry->touched_count = staging->nodes.count;
    entry->changes = arena_copy(arena, buf_view(&staging->stored));
    if (entry->touched == NULL || entry->changes.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "commit %zu keys", staging->nodes.count);
    entry->outbox_head = store->head.outbox_head + (staging->change_count != 0 ? 1 : 0);
    return commitments_compute(store, entry, err);
}

/* Puts the parked version on top of the node's chain. */
static void node_commit(struct store *store, struct node *node)
{
    if (node->newest == NULL) {
        const struct node *old = generation_find(&store->group.old, node_key(node), node->hash);
        if (old != NULL && old->newest != NULL)
            base_adopt(store, node, bytes_of(old->newest->record, old->newest->len));
    }
    node->pending->prev = node->newest;
    node->newest = node->pending;
    node->pending = NULL;
    if (node->dirty)
        return;
    node->dirty = true;
    store->group.dirty.items[store->group.dirty.count++] = node;
}

static void entry_admit(struct store *store, const struct group_entry *entry)
{
    struct group *group = &store->group;
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

static bool group_due(const struct store *store)
{
    const struct group *group = &store->group;
    return group->current.arena.total >= store->group_bytes_max || clock_ms() - group->started_ms >= store->group_ms_max;
}

enum sorex_status store_commit(struct store *store, bool durable, struct sorex_error *err)
{
    CHECK(store->staging.active && !store->staging.amending);
    TRY(usable(store, err));
    struct group_entry entry;
    TRY(entry_prepare(store, &entry, err));
    entry_admit(store, &entry);
    staging_end(&store->staging);
    return durable || group_due(store) ? store_flush(store, err) : SOREX_OK;
}

/* ---- writing the group ---- */

/* The lowest version of the chain that an entry of the group wrote. */
static struct version *lowest_written(const struct node *node, uint32_t group_first)
{
    struct version *version = node->newest;
    while (version->prev != NULL && version->prev->len != 0 && version_height(version->prev) >= group_first)
        version = version->prev;
    return version;
}

static enum sorex_status bases_fetch(struct store *store, struct node **nodes, size_t count, struct sorex_error *err)
{
    struct bytes keys[DB_GET_MANY_MAX] = {0};
    struct db_value values[DB_GET_MANY_MAX] = {0};
    for (size_t i = 0; i < count; i++)
        keys[i] = node_key(nodes[i]);
    enum sorex_status status = db_get_many(store->db, DB_STATE, count, keys, values, err);
    for (size_t i = 0; i < count; i++) {
        struct version_record decoded;
        struct version *base = &version_absent;
        if (status == SOREX_OK && values[i].found && !state_decode(values[i].bytes, &decoded))
            status = store_corrupt(err, "state record of a key of", keys[i].len);
        if (status == SOREX_OK && values[i].found && (base = version_copy(&store->group.current.arena, values[i].bytes)) == NULL)
            status = sorex_error_set(err, SOREX_NOMEM, "previous versions");
        if (status == SOREX_OK) {
            lowest_written(nodes[i], store->group.entries[0].entry.height)->prev = base;
            nodes[i]->based = true;
        }
        db_value_release(&values[i]);
    }
    return status;
}

/* Gives every chain its base. A tombstone that pruning has dropped counts as absent, also when the cache still has it. */
static enum sorex_status bases_resolve(struct store *store, struct sorex_error *err)
{
    struct group *group = &store->group;
    struct node *missing[DB_GET_MANY_MAX];
    size_t count = 0;
    for (size_t i = 0; i < group->dirty.count; i++) {
        struct node *node = group->dirty.items[i];
        if (!node->based)
            missing[count++] = node;
        if (count == DB_GET_MANY_MAX || (count != 0 && i + 1 == group->dirty.count)) {
            TRY(bases_fetch(store, missing, count, err));
            count = 0;
        }
    }
    if (head_is_empty(&store->durable))
        return SOREX_OK;
    for (size_t i = 0; i < group->dirty.count; i++) {
        struct version *lowest = lowest_written(group->dirty.items[i], group->entries[0].entry.height);
        if (version_deleted(lowest->prev) && version_height(lowest->prev) <= store->durable.pruned)
            lowest->prev = &version_absent;
    }
    return SOREX_OK;
}

static enum sorex_status node_write(struct store *store, const struct node *node, uint32_t elide, struct sorex_error *err)
{
    const struct version *newest = node->newest;
    struct bytes key = node_key(node);
    if (version_deleted(newest) && version_height(newest) <= elide)
        db_batch_delete(store->batch, DB_STATE, key);
    else
        db_batch_put(store->batch, DB_STATE, key, bytes_of(newest->record, newest->len));

    for (const struct version *above = newest; above->prev != NULL && above->prev->len != 0; above = above->prev) {
        const struct version *buried = above->prev;
        if (version_height(above) <= elide)
            break; /* and all below it were buried lower still */
        TRY(history_key(&store->history_key, key, version_height(buried), err));
        db_batch_put(store->batch, DB_HISTORY, buf_view(&store->history_key), bytes_of(buried->record + 4, buried->len - 4));
    }
    return SOREX_OK;
}

static struct bytes height_key(uint8_t out[4], uint32_t height)
{
    u32be_put(out, height);
    return bytes_of(out, 4);
}

static enum sorex_status undo_write(struct store *store, const struct group_entry *entry, struct sorex_error *err)
{
    TRY(undo_begin(&store->scratch, entry->touched_count, err));
    for (size_t i = 0; i < entry->touched_count; i++) {
        const struct version *version = entry->touched[i].version, *previous = version->prev;
        struct undo_item item = {.key = node_key(entry->touched[i].node), .had_previous = previous->len != 0,
                                 .deleted = version_deleted(version)};
        item.previous = item.had_previous ? version_height(previous) : 0;
        TRY(undo_append(&store->scratch, &item, err));
    }
    uint8_t key[4];
    db_batch_put(store->batch, DB_UNDO, height_key(key, entry->entry.height), buf_view(&store->scratch));
    return SOREX_OK;
}

static enum sorex_status entry_write(struct store *store, struct head *head, const struct group_entry *entry,
                                     uint32_t elide, struct sorex_error *err)
{
    uint8_t sequence[VARINT_BYTES_MAX], key[4];
    struct entry_record record = {.entry = entry->entry, .outbox_head = entry->outbox_head,
                                  .commitments = entry->commitments, .commitment_count = entry->commitment_count};
    if (entry->change_count != 0) {
        struct outbox_record outbox = {.kind = OUTBOX_APPLY, .height = entry->entry.height, .time_ms = entry->entry.time_ms,
                                       .change_count = entry->change_count, .changes = entry->changes};
        memcpy(outbox.hash, entry->entry.hash, HASH_BYTES);
        TRY(outbox_append(store, head, &outbox, err));
        record.sequences = bytes_of(sequence, varint_put(sequence, head->outbox_head));
        record.sequence_count = 1;
    }
    CHECK(head->outbox_head == entry->outbox_head);
    if (entry->entry.height > elide)
        TRY(undo_write(store, entry, err));
    if (entry->entry.height < elide && entry->entry.height != head->first)
        return SOREX_OK;
    TRY(entry_encode(&store->scratch, &record, err));
    db_batch_put(store->batch, DB_ENTRIES, height_key(key, entry->entry.height), buf_view(&store->scratch));
    return SOREX_OK;
}

static uint32_t horizon_of(const struct store *store)
{
    const struct head *head = &store->head;
    if (store->history == STORE_HISTORY_FULL || head->tip - head->horizon <= store->history)
        return head->horizon;
    return head->tip - store->history;
}

static enum sorex_status group_batch(struct store *store, struct head *head, struct sorex_error *err)
{
    struct group *group = &store->group;
    uint64_t budget = 2 * (uint64_t)group->dirty.count + store_fault_prune_budget_get(PRUNE_BUDGET_MIN);
    db_batch_clear(store->batch);
    head->horizon = horizon_of(store);
    TRY(prune_history(store, head, group->entries[0].entry.height, budget, err));
    uint32_t elide = head->pruned;

    TRY(node_list_sort(&group->dirty, err));
    TRY(bases_resolve(store, err));
    for (size_t i = 0; i < group->dirty.count; i++)
        TRY(node_write(store, group->dirty.items[i], elide, err));
    for (size_t i = 0; i < group->entry_count; i++)
        TRY(entry_write(store, head, &group->entries[i], elide, err));
    TRY(prune_outbox(store, head, budget, err));
    batch_head(store, head);
    return SOREX_OK;
}

enum sorex_status store_flush(struct store *store, struct sorex_error *err)
{
    if (store->group.entry_count == 0)
        return SOREX_OK;
    TRY(usable(store, err));
    CHECK(!store->staging.active);
    uint64_t start = clock_ns();
    struct head head = store->head;
    head.outbox_first = store->durable.outbox_first;
    head.outbox_head = store->durable.outbox_head;
    head.outbox_offset = store->durable.outbox_offset;
    enum sorex_status status = group_batch(store, &head, err);
    if (status == SOREX_OK)
        status = db_write(store->db, store->batch, store->sync, err);
    db_batch_clear(store->batch);
    if (status != SOREX_OK) {
        store->broken = true;
        return sorex_error_prefix(err, "write heights %u to %u", store->group.entries[0].entry.height, store->head.tip);
    }
    store->head = head;
    group_settle(&store->group, store->generation_bytes_max);
    prune_settle(store);
    store_publish(store, &head, true);
    pthread_mutex_lock(store->lock);
    store->figures.groups_written++;
    store->figures.write_ns += clock_ns() - start;
    pthread_mutex_unlock(store->lock);
    return SOREX_OK;
}
