/* Where two chains part: ours and the source's. */
#ifndef SOREX_CHAIN_ANCESTOR_H
#define SOREX_CHAIN_ANCESTOR_H

#include "chain/chain.h"

struct ancestor {
    bool found;
    uint32_t height; /* found: highest height where both have the same hash; else: lowest of ours that is retained */
    uint8_t hash[HASH_BYTES]; /* found: at that height */
};

/* options->own_hash with its failures, other than SOREX_GONE, turned into SOREX_FATAL: they are not the source's. */
enum sorex_status ancestor_own_hash(const struct chain_options *options, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                    struct sorex_error *err);

/* Looks at heights from `from` down to options->start_height; about 2 log2(depth) hashes are asked of the source.
 * Errors: SOREX_GONE the source's chain became shorter meanwhile; SOREX_AGAIN `from` is not retained; what own_hash and
 * the source return otherwise. */
enum sorex_status ancestor_find(struct source *source, const struct chain_options *options, uint32_t from,
                                struct ancestor *out, struct sorex_error *err);

#endif
