#include "pipeline/chain_blocks.h"

#include <string.h>

#include "base/check.h"

/* The chain's hash at a height that is reached: the store's, and below what it retains the source's, whose blocks are
 * checked to follow one another. Errors: SOREX_AGAIN. */
static enum sorex_status hash_at(struct chain_blocks *blocks, uint32_t height, uint8_t out[HASH_BYTES],
                                 struct sorex_error *err)
{
    struct entry entry;
    struct source *source = blocks->source;
    enum sorex_status status = blocks->store != NULL ? store_entry(blocks->store, height, &entry, err) : SOREX_GONE;
    if (status == SOREX_OK)
        memcpy(out, entry.hash, HASH_BYTES);
    if (status != SOREX_GONE)
        return status;
    status = source->type->hash_at(source, height, out, err);
    return status == SOREX_GONE ? sorex_error_set(err, SOREX_AGAIN, "the source has no block at height %u now", height)
                                : status;
}

enum sorex_status chain_blocks_has(struct chain_blocks *blocks, const struct chained_place *place, bool *out,
                                   struct sorex_error *err)
{
    struct store_heights heights;
    uint8_t hash[HASH_BYTES];
    CHECK(blocks->store != NULL);
    store_heights(blocks->store, &heights);
    *out = false;
    if (heights.durable == SOREX_HEIGHT_NONE || place->height > heights.durable)
        return SOREX_OK;
    TRY(hash_at(blocks, place->height, hash, err));
    *out = memcmp(hash, place->hash, HASH_BYTES) == 0;
    return SOREX_OK;
}

/* After SOREX_GONE: a source that was only just opened has to look first. A block that it does not have then, although
 * it is on its chain, will not come back. */
static enum sorex_status block_again(struct chain_blocks *blocks, uint32_t height, const uint8_t hash[HASH_BYTES],
                                     struct sorex_error *err)
{
    struct source *source = blocks->source;
    uint8_t now[HASH_BYTES];
    if (source->type->hash_at(source, height, now, NULL) != SOREX_OK || memcmp(now, hash, HASH_BYTES) != 0)
        return sorex_error_set(err, SOREX_AGAIN, "height %u: the source is on another chain now", height);
    buf_reset(&blocks->block);
    enum sorex_status status = source->type->fetch(source, height, hash, &blocks->block, err);
    if (status != SOREX_GONE)
        return status;
    return sorex_error_set(
        err, SOREX_GONE,
        "height %u: the source has this block no more, and the reducer needs it to derive on: give a "
        "source that has it (a node that does not prune)",
        height);
}

enum sorex_status chain_blocks_fetch(struct chain_blocks *blocks, uint32_t height, struct entry *out,
                                     struct sorex_error *err)
{
    struct source *source = blocks->source;
    uint8_t hash[HASH_BYTES];
    TRY(hash_at(blocks, height, hash, err));
    buf_reset(&blocks->block);
    enum sorex_status status = source->type->fetch(source, height, hash, &blocks->block, err);
    if (status == SOREX_GONE)
        status = block_again(blocks, height, hash, err);
    TRY(status);
    TRY(block_header_parse(buf_view(&blocks->block), out, err));
    if (memcmp(out->hash, hash, HASH_BYTES) != 0)
        return sorex_error_set(err, SOREX_CORRUPT, "height %u: the bytes that came are another block", height);
    TRY(block_check(buf_view(&blocks->block), err));
    out->height = height;
    out->payload = buf_view(&blocks->block);
    return SOREX_OK;
}

void chain_blocks_deinit(struct chain_blocks *blocks) { buf_deinit(&blocks->block); }
