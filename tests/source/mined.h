/* Small valid blocks with proof of work at regtest's difficulty, for block files. */
#ifndef SOREX_TESTS_SOURCE_MINED_H
#define SOREX_TESTS_SOURCE_MINED_H

#include "base/bytes.h"
#include "base/hex.h"

#define MINED_BYTES 142
#define MINED_EASY 0x207fffffu /* work 2 */
#define MINED_HARD 0x200fffffu /* work 16 */

struct mined {
    uint8_t data[MINED_BYTES];
    uint8_t hash[HASH_BYTES];
};

/* parent: NULL for a genesis block. tag makes blocks differ. */
void mined_make(struct mined *out, const struct mined *parent, uint32_t tag, uint32_t bits);
/* True when the header as it is proves the work that it claims. */
bool mined_proven(const struct mined *block);
/* A chain of `count` blocks on `parent`. */
void mined_chain(struct mined *out, uint32_t count, const struct mined *parent, uint32_t tag);

#endif
