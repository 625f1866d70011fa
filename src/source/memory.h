/* Source "memory": a chain of small valid blocks that a test scripts: it grows, forks, shrinks, fails and stalls on
 * command.
 *
 * A block's content is a function of its parent, height and branch, so going back to an earlier branch number gives the
 * same blocks again. Branch 0 is the main one. Every function may be called from any thread. */
#ifndef SOREX_SOURCE_MEMORY_H
#define SOREX_SOURCE_MEMORY_H

#include "source/source.h"

enum memory_call { MEMORY_TIP, MEMORY_HASH_AT, MEMORY_FETCH, MEMORY_CALLS };

/* How a fetched block is spoilt. */
enum memory_damage {
    MEMORY_SOUND,
    MEMORY_WRONG_HASH,   /* another valid block than the one asked for */
    MEMORY_WRONG_PARENT, /* the chain's block at this height does not follow from the one below; its hash is right */
    MEMORY_BAD_MERKLE,   /* its last transaction byte is flipped */
    MEMORY_TORN,         /* its last ten bytes are missing */
    MEMORY_MISSING,      /* SOREX_GONE although the chain has it */
};

/* An empty source. Close through its type. */
enum sorex_status memory_open(struct source **out, struct sorex_error *err);

/* Appends `count` blocks of a branch to the chain. */
enum sorex_status memory_extend(struct source *source, uint32_t count, uint32_t branch, struct sorex_error *err);
/* Keeps heights 0 to `height` (SOREX_HEIGHT_NONE: nothing), then appends `count` blocks of a branch. One step for other
 * threads. */
enum sorex_status memory_fork(struct source *source, uint32_t height, uint32_t count, uint32_t branch,
                              struct sorex_error *err);
/* Appends a raw block as it is. */
enum sorex_status memory_push(struct source *source, struct bytes block, struct sorex_error *err);

/* After `skip` further calls of this kind, the next `count` return `status` with this text (borrowed; a literal). */
void memory_fail(struct source *source, enum memory_call call, uint32_t skip, uint32_t count, enum sorex_status status,
                 const char *text);
/* Spoils what fetch gives at a height from now on (MEMORY_SOUND ends it); one height at a time.
 * MEMORY_WRONG_PARENT replaces the chain's block at the height, which must be its last. */
enum sorex_status memory_spoil(struct source *source, uint32_t height, enum memory_damage damage,
                               struct sorex_error *err);
/* While stalled, calls of this kind block until released or interrupted. */
void memory_stall(struct source *source, enum memory_call call, bool stalled);
/* Waits until `count` calls of this kind are stalled; false after timeout_ms. */
bool memory_stalled(struct source *source, enum memory_call call, uint32_t count, uint32_t timeout_ms);
/* Calls of this kind so far. */
uint64_t memory_calls(struct source *source, enum memory_call call);

#endif
