/* Every block that the block files hold, linked by parent, and the best chain through them.
 *
 * The best tip is the connected block with the most cumulative work; among equals the one that was added first. Blocks
 * may come before their parents. Memory: about 100 bytes a block. Not thread-safe: the owner locks. */
#ifndef SOREX_SOURCE_TREE_H
#define SOREX_SOURCE_TREE_H

#include "base/bytes.h"
#include "base/hex.h"
#include "source/work.h"

struct tree;

/* Where a raw block lies. */
struct tree_place {
    uint64_t offset;
    uint32_t file; /* the owner's number */
    uint32_t len;
};

enum sorex_status tree_new(struct tree **out, struct sorex_error *err);
void tree_free(struct tree *tree);

/* Adds a block; one that is there already is left as it is.
 * Errors: SOREX_NOMEM, SOREX_LIMIT (2^32 blocks). */
enum sorex_status tree_add(struct tree *tree, const uint8_t hash[HASH_BYTES], const uint8_t parent[HASH_BYTES],
                           struct work work, struct tree_place place, struct sorex_error *err);
/* Recomputes the best chain after additions. Errors: SOREX_NOMEM. */
enum sorex_status tree_settle(struct tree *tree, struct sorex_error *err);

/* False when no chain starts at a genesis block (parent all zero) yet. As of the last tree_settle. */
bool tree_tip(const struct tree *tree, uint32_t *out_height, uint8_t out_hash[HASH_BYTES]);
/* False above the tip. */
bool tree_hash_at(const struct tree *tree, uint32_t height, uint8_t out_hash[HASH_BYTES]);
/* False when there is no such block. */
bool tree_find(const struct tree *tree, const uint8_t hash[HASH_BYTES], struct tree_place *out);

uint32_t tree_count(const struct tree *tree);     /* blocks */
uint32_t tree_connected(const struct tree *tree); /* of these: with all their ancestors */
/* A hash that blocks name as their parent and that is not there; false when nothing is missing. */
bool tree_missing(const struct tree *tree, uint8_t out_hash[HASH_BYTES]);

#endif
