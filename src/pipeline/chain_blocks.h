/* The blocks of a chain again, for a reducer: which they are says the store, their bytes come from the source.
 *
 * Thread: one at a time. */
#ifndef SOREX_PIPELINE_CHAIN_BLOCKS_H
#define SOREX_PIPELINE_CHAIN_BLOCKS_H

#include "derive/chained.h"
#include "source/source.h"

struct chain_blocks {
    struct store *store; /* these two are borrowed; NULL: the source alone says */
    struct source *source;
    struct buf block; /* zero at first */
};

/* Whether a place is on the chain, as far as that is durable; one that waits for confirmations again is, too. Errors:
 * SOREX_AGAIN the source does not say now. */
enum sorex_status chain_blocks_has(struct chain_blocks *blocks, const struct chained_place *place, bool *out,
                                   struct sorex_error *err);
/* The block of a height that is durable (that the source has, when there is no store); its payload is borrowed until
 * the next call.
 * Errors: SOREX_AGAIN the source is elsewhere now, or does not answer; SOREX_CORRUPT it gave something else;
 *         SOREX_GONE it has the block no more. */
enum sorex_status chain_blocks_fetch(struct chain_blocks *blocks, uint32_t height, struct entry *out,
                                     struct sorex_error *err);
void chain_blocks_deinit(struct chain_blocks *blocks);

#endif
