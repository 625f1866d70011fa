/* A region for the data of one step: allocate forward, free all at once with arena_reset. */
#ifndef SOREX_BASE_ARENA_H
#define SOREX_BASE_ARENA_H

#include "base/bytes.h"

struct arena_block;

struct arena {
    struct arena_block *first;   /* blocks are kept over a reset, up to keep_bytes */
    struct arena_block *current;
    size_t used;                 /* in current */
    size_t total;                /* bytes in all blocks */
    size_t max;                  /* ceiling over all blocks */
};

/* max: ceiling in bytes, 0 = SOREX_BUF_BYTES_MAX. */
void arena_init(struct arena *arena, size_t max);
void arena_deinit(struct arena *arena);
void arena_reset(struct arena *arena);

/* 16-byte aligned, not cleared; NULL above the ceiling or when memory is gone. */
void *arena_alloc(struct arena *arena, size_t len);
/* A copy of bytes, with a NUL behind it that is not counted. data is NULL on failure. */
struct bytes arena_copy(struct arena *arena, struct bytes bytes);

#endif
