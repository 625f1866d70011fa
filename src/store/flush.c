/* Writing a group.
 *
 * Prune first (prune.c), which says up to which height (`elide`) nothing needs to be undone or viewed any more; then
 * per entry, in order, its undo records (above `elide`), header and outbox record, which gives every version its
 * lineage; then per key, in order, the newest version to state; then the head. One batch, one sync.
 *
 * Who writes: the writer itself when it must be durable now, or when the group is small. Else the group is handed to a
 * thread of the store's own and the next entries go on; the writer waits for it before it hands over another one, and
 * before anything that needs the database to be complete (flush, undo, amend, programs). So at most one group is being
 * written, in order, and `batch`, `scratch`, `history_key` and `undone` have one user at a time. */
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "store/fault.h"
#include "store/internal.h"

#define PRUNE_BUDGET_MIN 4096u

/* Below this a group is written in place: handing over costs the warm cache, and the write takes milliseconds. */
#define BACKGROUND_BYTES_MIN ((size_t)4 << 20)

/* So many keys ahead the next one is fetched into the processor's cache. */
#define AHEAD 8

/* Nodes lie in the order in which they were first written, and are visited in that of their keys. */
static inline void nodes_prefetch(const struct node_list *list, size_t i)
{
    if (i + 2 * AHEAD < list->count)
        __builtin_prefetch(list->items[i + 2 * AHEAD]);
    if (i + AHEAD < list->count)
        __builtin_prefetch(list->items[i + AHEAD]->newest);
}

/* The lowest version of the chain that an entry of the group wrote. */
static struct version *lowest_written(const struct node *node, uint32_t group_first)
{
    struct version *version = node->newest;
    while (version->prev != NULL && version->prev->kind != VERSION_ABSENT && version->prev->height >= group_first)
        version = version->prev;
    return version;
}

static enum sorex_status bases_fetch(struct store *store, struct group *group, struct version **lowest,
                                     struct node **nodes, size_t count, struct sorex_error *err)
{
    struct bytes keys[DB_GET_MANY_MAX] = {0};
    struct db_value values[DB_GET_MANY_MAX] = {0};
    for (size_t i = 0; i < count; i++)
        keys[i] = node_key(nodes[i]);
    enum sorex_status status = db_get_many(store->db, DB_STATE, count, keys, values, err);
    for (size_t i = 0; i < count; i++) {
        struct version_record decoded;
        struct version *base = &version_absent;
        bool ok = !values[i].found || (state_decode(values[i].bytes, &decoded) && decoded.height < lowest[i]->height);
        if (status == SOREX_OK && !ok)
            status = store_corrupt(err, "state record of a key of", keys[i].len);
        if (status == SOREX_OK && values[i].found && (base = version_new(&group->generation.arena, &decoded)) == NULL)
            status = sorex_error_set(err, SOREX_NOMEM, "out of memory: previous versions");
        if (status == SOREX_OK) {
            lowest[i]->prev = base;
            nodes[i]->based = true;
        }
        db_value_release(&values[i]);
    }
    return status;
}

/* Gives every chain its base, where it is needed: nobody asks for what was before a version at or below `elide`. A
 * tombstone that pruning has dropped counts as absent, also when the cache still has it. */
static enum sorex_status bases_resolve(struct store *store, struct group *group, uint32_t elide,
                                       struct sorex_error *err)
{
    struct node *missing[DB_GET_MANY_MAX];
    struct version *lowest[DB_GET_MANY_MAX];
    size_t count = 0;
    uint32_t group_first = group->entries[0].entry.height;
    for (size_t i = 0; i < group->dirty.count; i++) {
        nodes_prefetch(&group->dirty, i);
        struct node *node = group->dirty.items[i];
        struct version *version = lowest_written(node, group_first);
        if (version->height <= elide) {
            version->prev = &version_absent;
        } else if (!node->based) {
            missing[count] = node;
            lowest[count++] = version;
        } else if (version_deleted(version->prev) && version->prev->height <= elide) {
            version->prev = &version_absent;
        }
        if (count == DB_GET_MANY_MAX || (count != 0 && i + 1 == group->dirty.count)) {
            TRY(bases_fetch(store, group, lowest, missing, count, err));
            count = 0;
        }
    }
    return SOREX_OK;
}

static enum sorex_status node_write(struct store *store, const struct node *node, uint32_t elide,
                                    struct sorex_error *err)
{
    const struct version *newest = node->newest;
    if (version_deleted(newest) && newest->height <= elide) {
        db_batch_delete(store->batch, DB_STATE, node_key(node));
        return SOREX_OK;
    }
    return batch_state(store, node, newest, err);
}

static struct bytes height_key(uint8_t out[4], uint32_t height)
{
    u32be_put(out, height);
    return bytes_of(out, 4);
}

static enum sorex_status undo_write(struct store *store, struct group *group, const struct group_entry *entry,
                                    uint32_t horizon, struct sorex_error *err)
{
    TRY(undo_writer_start(&store->undo, store->batch, entry->entry.height, entry->touched_count, err));
    for (size_t i = 0; i < entry->touched_count; i++) {
        if (i + AHEAD < entry->touched_count) {
            __builtin_prefetch(entry->touched[i + AHEAD].node->key);
            __builtin_prefetch(entry->touched[i + AHEAD].version, 1);
        }
        struct version *version = entry->touched[i].version;
        struct undo_item item = {.key = node_key(entry->touched[i].node),
                                 .deleted = version_deleted(version),
                                 .buried = version_record(version->prev)};
        if (!version_follow(&group->generation.arena, version, version->prev, horizon))
            return sorex_error_set(err, SOREX_NOMEM, "out of memory: versions of a key");
        TRY(undo_writer_add(&store->undo, &item, err));
    }
    undo_writer_end(&store->undo);
    return SOREX_OK;
}

static enum sorex_status entry_write(struct store *store, struct group *group, struct head *head,
                                     const struct group_entry *entry, uint32_t elide, struct sorex_error *err)
{
    uint8_t sequence[VARINT_BYTES_MAX], key[4];
    struct entry_record record = {.entry = entry->entry,
                                  .outbox_head = entry->outbox_head,
                                  .commitments = entry->commitments,
                                  .commitment_count = entry->commitment_count};
    if (entry->change_count != 0) {
        struct outbox_record outbox = {.kind = OUTBOX_APPLY,
                                       .height = entry->entry.height,
                                       .time_ms = entry->entry.time_ms,
                                       .change_count = entry->change_count,
                                       .changes = entry->changes};
        memcpy(outbox.hash, entry->entry.hash, HASH_BYTES);
        TRY(outbox_append(store, head, &outbox, err));
        record.sequences = bytes_of(sequence, varint_put(sequence, head->outbox_head));
        record.sequence_count = 1;
    }
    CHECK(head->outbox_head == entry->outbox_head);
    if (entry->entry.height > elide)
        TRY(undo_write(store, group, entry, head->horizon, err));
    if (entry->entry.height < elide && entry->entry.height != head->first)
        return SOREX_OK;
    TRY(entry_encode(&store->scratch, &record, err));
    db_batch_put(store->batch, DB_ENTRIES, height_key(key, entry->entry.height), buf_view(&store->scratch));
    return SOREX_OK;
}

static uint32_t horizon_of(const struct store *store, const struct head *head)
{
    if (store->history == STORE_HISTORY_FULL || head->tip - head->horizon <= store->history)
        return head->horizon;
    return head->tip - store->history;
}

static enum sorex_status group_batch(struct store *store, struct group *group, struct head *head,
                                     struct sorex_error *err)
{
    uint64_t budget = 2 * (uint64_t)group->dirty.count + store_fault_prune_budget_get(PRUNE_BUDGET_MIN);
    db_batch_clear(store->batch);
    head->horizon = horizon_of(store, head);
    TRY(prune_history(store, head, group->entries[0].entry.height, budget, err));
    uint32_t elide = head->pruned;

    TRY(node_list_sort(&group->dirty, err));
    TRY(bases_resolve(store, group, elide, err));
    for (size_t i = 0; i < group->entry_count; i++)
        TRY(entry_write(store, group, head, &group->entries[i], elide, err));
    for (size_t i = 0; i < group->dirty.count; i++) {
        nodes_prefetch(&group->dirty, i);
        TRY(node_write(store, group->dirty.items[i], elide, err));
    }
    TRY(prune_outbox(store, group, head, budget, err));
    batch_head(store, head);
    return SOREX_OK;
}

/* Writes the group, makes it durable and visible. head: the store's head with the group's last entry; becomes what was
 * written. */
static enum sorex_status group_write(struct store *store, struct group *group, struct head *head,
                                     struct sorex_error *err)
{
    uint64_t start = clock_ns();
    uint32_t tip = head->tip;
    enum sorex_status status = group_batch(store, group, head, err);
    if (status == SOREX_OK)
        status = db_write(store->db, store->batch, store->sync, err);
    db_batch_clear(store->batch);
    if (status != SOREX_OK)
        return sorex_error_prefix(err, "write heights %u to %u", group->entries[0].entry.height, tip);
    prune_settle(store, head);
    pthread_mutex_lock(store->lock);
    store->durable = *head;
    store->seen.horizon = head->horizon;
    store->figures.groups_written++;
    store->figures.write_ns += clock_ns() - start;
    pthread_cond_broadcast(&store->outbox_changed);
    pthread_mutex_unlock(store->lock);
    return SOREX_OK;
}

/* The head to write a group with: heights of the writer, the outbox and pruning as they are on disk. */
static struct head head_to_write(const struct store *store)
{
    struct head head = store->head;
    head.outbox_first = store->durable.outbox_first;
    head.outbox_head = store->durable.outbox_head;
    head.outbox_offset = store->durable.outbox_offset;
    return head;
}

/* Takes over what a written group moved besides the tip. */
static void head_merge(struct store *store, const struct head *written)
{
    store->head.horizon = written->horizon;
    store->head.pruned = written->pruned;
    store->head.outbox_first = written->outbox_first;
    store->head.outbox_offset = written->outbox_offset;
}

/* ---- behind the next entries ---- */

static void *background_main(void *user_data)
{
    struct store *store = user_data;
    struct background *background = &store->background;
    pthread_mutex_lock(store->lock);
    while (true) {
        while (background->state != BACKGROUND_WORK && !background->end)
            pthread_cond_wait(&background->changed, store->lock);
        if (background->state != BACKGROUND_WORK)
            break;
        pthread_mutex_unlock(store->lock);
        background->status = group_write(store, &store->old, &background->head, &background->err);
        pthread_mutex_lock(store->lock);
        background->state = BACKGROUND_DONE;
        pthread_cond_broadcast(&background->changed);
    }
    pthread_mutex_unlock(store->lock);
    return NULL;
}

static bool background_busy(struct store *store)
{
    pthread_mutex_lock(store->lock);
    bool busy = store->background.state == BACKGROUND_WORK;
    pthread_mutex_unlock(store->lock);
    return busy;
}

/* Waits for the group that is being written, if any, and takes over its outcome. */
static enum sorex_status background_collect(struct store *store, struct sorex_error *err)
{
    struct background *background = &store->background;
    pthread_mutex_lock(store->lock);
    while (background->state == BACKGROUND_WORK)
        pthread_cond_wait(&background->changed, store->lock);
    bool done = background->state == BACKGROUND_DONE;
    background->state = BACKGROUND_IDLE;
    pthread_mutex_unlock(store->lock);
    if (!done)
        return SOREX_OK;
    if (background->status != SOREX_OK) {
        store->broken = true;
        if (err != NULL)
            *err = background->err;
        return background->status;
    }
    store->old_settled = true;
    group_settle(&store->old);
    head_merge(store, &background->head);
    return SOREX_OK;
}

/* Hands the current group over and starts a new one. */
static enum sorex_status background_submit(struct store *store, struct sorex_error *err)
{
    struct background *background = &store->background;
    if (!background->started) {
        int native = pthread_create(&background->thread, NULL, background_main, store);
        if (native != 0)
            return sorex_error_set_errno(err, SOREX_IO, native, "start the store's writing thread");
        background->started = true;
    }
    struct group spare = store->old;
    store->old = store->current;
    store->current = spare;
    store->old_settled = false;
    group_reset(&store->current);
    background->head = head_to_write(store);
    pthread_mutex_lock(store->lock);
    background->state = BACKGROUND_WORK;
    pthread_cond_broadcast(&background->changed);
    pthread_mutex_unlock(store->lock);
    return SOREX_OK;
}

void background_end(struct store *store)
{
    struct background *background = &store->background;
    if (!background->started)
        return;
    pthread_mutex_lock(store->lock);
    background->end = true;
    pthread_cond_broadcast(&background->changed);
    pthread_mutex_unlock(store->lock);
    pthread_join(background->thread, NULL);
    background->started = false;
}

/* ---- when ---- */

enum sorex_status group_advance(struct store *store, struct sorex_error *err)
{
    const struct group *group = &store->current;
    size_t bytes = group->generation.arena.total;
    bool full = bytes >= store->group_bytes_max;
    if (!full && clock_ms() - group->started_ms < store->group_ms_max)
        return SOREX_OK;
    if (!full && bytes < BACKGROUND_BYTES_MIN)
        return store_flush(store, err);
    if (!full && background_busy(store))
        return SOREX_OK; /* old enough, but there is room */
    TRY(background_collect(store, err));
    return background_submit(store, err);
}

enum sorex_status store_flush(struct store *store, struct sorex_error *err)
{
    CHECK(!store->staging.active);
    TRY(background_collect(store, err));
    struct group *group = &store->current;
    if (group->entry_count == 0 && !store->broken)
        return SOREX_OK;
    TRY(store_usable(store, err));
    struct head head = head_to_write(store);
    enum sorex_status status = group_write(store, group, &head, err);
    if (status != SOREX_OK) {
        store->broken = true;
        return status;
    }
    head_merge(store, &head);
    group_settle(group);
    if (group->generation.arena.total > store->generation_bytes_max) {
        struct group spare = store->old;
        store->old = store->current;
        store->current = spare;
        group_reset(&store->current);
    }
    return SOREX_OK;
}
