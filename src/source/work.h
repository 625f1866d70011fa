/* Proof of work: what a header's `bits` ask for, and how much work they stand for. */
#ifndef SOREX_SOURCE_WORK_H
#define SOREX_SOURCE_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hex.h"

/* Expected number of hashes. 128 bits: all that was ever computed for Bitcoin is below 2^97. */
struct work {
    uint64_t high, low;
};

/* The work of one block, 2^256 / (target + 1), saturating; zero when bits are negative, zero or over 256 bits. */
struct work work_of_bits(uint32_t bits);
struct work work_add(struct work a, struct work b); /* saturating */
/* < 0, 0, > 0. */
int work_compare(struct work a, struct work b);

/* True when the block hash (internal order) is at or below the target of bits. */
bool work_proven(const uint8_t hash[HASH_BYTES], uint32_t bits);

#endif
