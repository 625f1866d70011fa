#include "sink/memory.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"

struct memory_position {
    char *partition;
    struct position at;
};

struct memory {
    struct sink sink;
    pthread_mutex_t lock;           /* everything below */
    struct memory_change **changes; /* each its own block, so that one that was handed out stays where it is */
    size_t count, cap;
    bool has_cursor;
    struct sink_cursor cursor;
    struct memory_position *positions;
    size_t position_count;
    size_t dead_count;
    uint32_t fail_before, fail_after;
    enum sorex_status fail_status;
    uint64_t calls, calls_empty;
};

static const struct option memory_options[] = {{.name = "fail_next",
                                                .type = OPTION_U32,
                                                .offset = offsetof(struct memory_settings, fail_next),
                                                .fallback = "0",
                                                .text = "how many of the first batches fail, to be tried again"},
                                               {0}};

static enum sorex_status memory_open(const void *settings, const struct sink_context *context, struct sink **out,
                                     struct sorex_error *err)
{
    (void)context;
    struct memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    CHECK(pthread_mutex_init(&memory->lock, NULL) == 0);
    memory->sink.type = &sink_memory;
    if (settings != NULL)
        memory->fail_before = ((const struct memory_settings *)settings)->fail_next;
    memory->fail_status = SOREX_AGAIN;
    *out = &memory->sink;
    return SOREX_OK;
}

static void memory_close(struct sink *sink)
{
    struct memory *memory = (struct memory *)sink;
    for (size_t i = 0; i < memory->count; i++) {
        free(memory->changes[i]->raw);
        free(memory->changes[i]);
    }
    free(memory->changes);
    for (size_t i = 0; i < memory->position_count; i++)
        free(memory->positions[i].partition);
    free(memory->positions);
    (void)pthread_mutex_destroy(&memory->lock);
    free(memory);
}

static enum sorex_status memory_cursor(struct sink *sink, struct sink_cursor *out, struct sorex_error *err)
{
    struct memory *memory = (struct memory *)sink;
    (void)pthread_mutex_lock(&memory->lock);
    bool has = memory->has_cursor;
    *out = memory->cursor;
    (void)pthread_mutex_unlock(&memory->lock);
    return has ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "no cursor yet");
}

static struct memory_change *change_copy(const struct sink_change *item)
{
    struct memory_change *copy = malloc(sizeof *copy);
    char *raw = malloc(item->change.raw.len + 1);
    if (copy == NULL || raw == NULL) {
        free(copy);
        free(raw);
        return NULL;
    }
    if (item->change.raw.len > 0)
        memcpy(raw, item->change.raw.data, item->change.raw.len);
    raw[item->change.raw.len] = '\0';
    *copy = (struct memory_change){raw, item->change.raw.len, item->sequence, item->height, item->undo};
    return copy;
}

static enum sorex_status keep(struct memory *memory, const struct sink_batch *batch, struct sorex_error *err)
{
    if (memory->count + batch->count > memory->cap) {
        size_t cap = (memory->count + batch->count) * 2;
        struct memory_change **grown = realloc(memory->changes, cap * sizeof(struct memory_change *));
        if (grown == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory");
        memory->changes = grown;
        memory->cap = cap;
    }
    size_t before = memory->count;
    for (size_t i = 0; i < batch->count; i++) {
        struct memory_change *copy = change_copy(&batch->changes[i]);
        if (copy == NULL) {
            while (memory->count > before) {
                memory->count--;
                free(memory->changes[memory->count]->raw);
                free(memory->changes[memory->count]);
            }
            return sorex_error_set(err, SOREX_NOMEM, "out of memory");
        }
        memory->changes[memory->count++] = copy;
    }
    memory->cursor = batch->cursor;
    memory->has_cursor = batch->position_count == 0;
    memory->dead_count += batch->dead_count;
    return SOREX_OK;
}

static struct memory_position *position_find(struct memory *memory, const char *partition)
{
    for (size_t i = 0; i < memory->position_count; i++)
        if (strcmp(memory->positions[i].partition, partition) == 0)
            return &memory->positions[i];
    return NULL;
}

static void position_set(struct memory *memory, const char *partition, const struct position *at)
{
    struct memory_position *known = position_find(memory, partition);
    if (known == NULL) {
        struct memory_position *grown = realloc(memory->positions, (memory->position_count + 1) * sizeof *grown);
        CHECK(grown != NULL);
        memory->positions = grown;
        known = &grown[memory->position_count++];
        known->partition = strdup(partition);
        CHECK(known->partition != NULL);
    }
    known->at = *at;
}

static enum sorex_status positions_compare(struct memory *memory, const struct sink_batch *batch,
                                           struct sorex_error *err)
{
    for (size_t i = 0; i < batch->position_count; i++) {
        const struct sink_position *position = &batch->positions[i];
        const struct memory_position *known = position_find(memory, position->partition);
        if (position->first ? known != NULL : known == NULL || !position_equal(&known->at, &position->from))
            return sorex_error_set(err, SOREX_AGAIN, "somebody else moved the position of %s", position->partition);
    }
    return SOREX_OK;
}

static enum sorex_status memory_position(struct sink *sink, const char *partition, void *group, struct position *out,
                                         struct sorex_error *err)
{
    (void)group;
    struct memory *memory = (struct memory *)sink;
    (void)pthread_mutex_lock(&memory->lock);
    const struct memory_position *known = position_find(memory, partition);
    if (known != NULL)
        *out = known->at;
    (void)pthread_mutex_unlock(&memory->lock);
    return known != NULL ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "nothing of %s yet", partition);
}

static enum sorex_status apply_locked(struct memory *memory, const struct sink_batch *batch, struct sorex_error *err)
{
    memory->calls++;
    if (batch->count == 0)
        memory->calls_empty++;
    if (memory->fail_before > 0) {
        memory->fail_before--;
        return sorex_error_set(err, memory->fail_status, "told to fail");
    }
    TRY(positions_compare(memory, batch, err));
    TRY(keep(memory, batch, err));
    for (size_t i = 0; i < batch->position_count; i++)
        position_set(memory, batch->positions[i].partition, &batch->positions[i].to);
    if (memory->fail_after > 0) {
        memory->fail_after--;
        return sorex_error_set(err, SOREX_AGAIN, "told to fail after the batch was applied");
    }
    return SOREX_OK;
}

static enum sorex_status memory_apply(struct sink *sink, const struct sink_batch *batch, struct sorex_error *err)
{
    struct memory *memory = (struct memory *)sink;
    (void)pthread_mutex_lock(&memory->lock);
    enum sorex_status status = apply_locked(memory, batch, err);
    (void)pthread_mutex_unlock(&memory->lock);
    return status;
}

static struct memory *locked(struct sink *sink)
{
    CHECK(sink->type == &sink_memory);
    struct memory *memory = (struct memory *)sink;
    (void)pthread_mutex_lock(&memory->lock);
    return memory;
}

void memory_sink_fail_next(struct sink *sink, uint32_t count, enum sorex_status status)
{
    struct memory *memory = locked(sink);
    memory->fail_before = count;
    memory->fail_status = status;
    (void)pthread_mutex_unlock(&memory->lock);
}

void memory_sink_fail_after_applied(struct sink *sink, uint32_t count)
{
    struct memory *memory = locked(sink);
    memory->fail_after = count;
    (void)pthread_mutex_unlock(&memory->lock);
}

void memory_sink_set_cursor(struct sink *sink, const struct sink_cursor *cursor)
{
    struct memory *memory = locked(sink);
    memory->cursor = *cursor;
    memory->has_cursor = true;
    (void)pthread_mutex_unlock(&memory->lock);
}

void memory_sink_cursor(struct sink *sink, struct sink_cursor *out)
{
    struct memory *memory = locked(sink);
    *out = memory->cursor;
    (void)pthread_mutex_unlock(&memory->lock);
}

void memory_sink_set_position(struct sink *sink, const char *partition, const struct position *position)
{
    struct memory *memory = locked(sink);
    position_set(memory, partition, position);
    (void)pthread_mutex_unlock(&memory->lock);
}

size_t memory_sink_dead(struct sink *sink)
{
    struct memory *memory = locked(sink);
    size_t count = memory->dead_count;
    (void)pthread_mutex_unlock(&memory->lock);
    return count;
}

size_t memory_sink_count(struct sink *sink)
{
    struct memory *memory = locked(sink);
    size_t count = memory->count;
    (void)pthread_mutex_unlock(&memory->lock);
    return count;
}

const struct memory_change *memory_sink_at(struct sink *sink, size_t index)
{
    struct memory *memory = locked(sink);
    CHECK(index < memory->count);
    const struct memory_change *change = memory->changes[index];
    (void)pthread_mutex_unlock(&memory->lock);
    return change;
}

void memory_sink_calls(struct sink *sink, uint64_t *out_apply, uint64_t *out_empty)
{
    struct memory *memory = locked(sink);
    *out_apply = memory->calls;
    *out_empty = memory->calls_empty;
    (void)pthread_mutex_unlock(&memory->lock);
}

const struct sink_type sink_memory = {
    .name = "memory",
    .summary = "changes to memory, for tests",
    .options = memory_options,
    .settings_size = sizeof(struct memory_settings),
    .holds_cursor = true,
    .open = memory_open,
    .close = memory_close,
    .cursor = memory_cursor,
    .apply = memory_apply,
    .position = memory_position,
};
