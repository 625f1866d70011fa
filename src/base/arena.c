#include "base/arena.h"

#include <stdalign.h>
#include <stdlib.h>

#include "base/limits.h"

#define ARENA_BLOCK_BYTES ((size_t)64 << 10)
#define ARENA_ALIGN 16u
#define ARENA_KEEP_BYTES ((size_t)8 << 20) /* what a quiet arena may hold on to */

struct arena_block {
    struct arena_block *next;
    size_t cap;
    alignas(16) uint8_t data[];
};

void arena_init(struct arena *arena, size_t max)
{
    *arena = (struct arena){.max = max != 0 ? max : SOREX_BUF_BYTES_MAX};
}

static void blocks_free(struct arena_block *block)
{
    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_deinit(struct arena *arena)
{
    blocks_free(arena->first);
    *arena = (struct arena){.max = arena->max};
}

void arena_reset(struct arena *arena)
{
    if (arena->total > ARENA_KEEP_BYTES) {
        arena_deinit(arena);
        return;
    }
    arena->current = arena->first;
    arena->used = 0;
}

static struct arena_block *block_add(struct arena *arena, size_t len)
{
    size_t cap = len > ARENA_BLOCK_BYTES ? len : ARENA_BLOCK_BYTES;
    if (arena->total > arena->max || cap > arena->max - arena->total)
        return NULL;
    struct arena_block *block = malloc(sizeof *block + cap);
    if (block == NULL)
        return NULL;
    block->cap = cap;
    if (arena->current != NULL) {
        block->next = arena->current->next;
        arena->current->next = block;
    } else {
        block->next = arena->first;
        arena->first = block;
    }
    arena->total += cap;
    arena->current = block;
    arena->used = 0;
    return block;
}

void *arena_alloc(struct arena *arena, size_t len)
{
    if (len > SIZE_MAX - ARENA_ALIGN)
        return NULL;
    len = (len + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    struct arena_block *block = arena->current;
    while (block != NULL && block->cap - arena->used < len) {
        if (block->next == NULL || block->next->cap < len) {
            block = NULL;
            break;
        }
        block = arena->current = block->next;
        arena->used = 0;
    }
    if (block == NULL && (block = block_add(arena, len)) == NULL)
        return NULL;
    void *data = block->data + arena->used;
    arena->used += len;
    return data;
}

struct bytes arena_copy(struct arena *arena, struct bytes bytes)
{
    uint8_t *data = arena_alloc(arena, bytes.len + 1);
    if (data == NULL)
        return bytes_of(NULL, 0);
    if (bytes.len != 0)
        memcpy(data, bytes.data, bytes.len);
    data[bytes.len] = '\0';
    return bytes_of(data, bytes.len);
}
