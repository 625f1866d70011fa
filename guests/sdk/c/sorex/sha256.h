/* SHA-256 (FIPS 180-4), incremental, for guests. */
#ifndef SOREX_SDK_SHA256_H
#define SOREX_SDK_SHA256_H

#include "sorex/bytes.h"

struct sx_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
};

static inline uint32_t sx_rotr(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static inline void sx_sha256_compress(uint32_t state[8], const uint8_t *block)
{
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[16], s[8];
    __builtin_memcpy(s, state, sizeof s);
    for (unsigned i = 0; i < 16; i++)
        w[i] = __builtin_bswap32(sx_u32_get(block + 4 * i));
    for (unsigned i = 0; i < 64; i += 8) {
/* One round; the eight variables change places instead of being moved. */
#define SX_ROUND(a, b, c, d, e, f, g, h, j)                                                                          \
    do {                                                                                                             \
        uint32_t t1 = (h) + (sx_rotr(e, 6) ^ sx_rotr(e, 11) ^ sx_rotr(e, 25)) + (((e) & (f)) ^ (~(e) & (g))) +       \
                      k[i + (j)] + w[(i + (j)) & 15];                                                                \
        uint32_t t2 = (sx_rotr(a, 2) ^ sx_rotr(a, 13) ^ sx_rotr(a, 22)) + (((a) & (b)) ^ ((a) & (c)) ^ ((b) & (c))); \
        (d) += t1;                                                                                                   \
        (h) = t1 + t2;                                                                                               \
    } while (0)
        SX_ROUND(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], 0);
        SX_ROUND(s[7], s[0], s[1], s[2], s[3], s[4], s[5], s[6], 1);
        SX_ROUND(s[6], s[7], s[0], s[1], s[2], s[3], s[4], s[5], 2);
        SX_ROUND(s[5], s[6], s[7], s[0], s[1], s[2], s[3], s[4], 3);
        SX_ROUND(s[4], s[5], s[6], s[7], s[0], s[1], s[2], s[3], 4);
        SX_ROUND(s[3], s[4], s[5], s[6], s[7], s[0], s[1], s[2], 5);
        SX_ROUND(s[2], s[3], s[4], s[5], s[6], s[7], s[0], s[1], 6);
        SX_ROUND(s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[0], 7);
#undef SX_ROUND
        if (i != 8 && i != 24 && i != 40)
            continue; /* else the 16 words are used up: make the next 16 in their place */
        for (unsigned j = 0; j < 16; j++) {
            uint32_t x = w[(j + 1) & 15], y = w[(j + 14) & 15];
            w[j] += (sx_rotr(x, 7) ^ sx_rotr(x, 18) ^ x >> 3) + w[(j + 9) & 15] +
                    (sx_rotr(y, 17) ^ sx_rotr(y, 19) ^ y >> 10);
        }
    }
    for (unsigned i = 0; i < 8; i++)
        state[i] += s[i];
}

static inline void sx_sha256_init(struct sx_sha256 *hash)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    __builtin_memcpy(hash->state, start, sizeof start);
    hash->bytes = 0;
}

static inline void sx_sha256_update(struct sx_sha256 *hash, struct sx_bytes bytes)
{
    const uint8_t *p = bytes.data;
    uint32_t left = bytes.len, used = (uint32_t)(hash->bytes & 63);
    hash->bytes += left;
    if (used + left < 64) {
        memcpy(hash->block + used, p, left);
        return;
    }
    if (used > 0) {
        memcpy(hash->block + used, p, 64 - used);
        sx_sha256_compress(hash->state, hash->block);
        p += 64 - used;
        left -= 64 - used;
    }
    for (; left >= 64; left -= 64, p += 64)
        sx_sha256_compress(hash->state, p);
    memcpy(hash->block, p, left);
}

static inline void sx_sha256_finish(struct sx_sha256 *hash, uint8_t out[32])
{
    uint32_t used = (uint32_t)(hash->bytes & 63);
    uint64_t bits = __builtin_bswap64(hash->bytes * 8);
    hash->block[used++] = 0x80;
    if (used > 56) {
        memset(hash->block + used, 0, 64 - used);
        sx_sha256_compress(hash->state, hash->block);
        used = 0;
    }
    memset(hash->block + used, 0, 56 - used);
    sx_u64_put(hash->block + 56, bits);
    sx_sha256_compress(hash->state, hash->block);
    for (unsigned i = 0; i < 8; i++)
        sx_u32_put(out + 4 * i, __builtin_bswap32(hash->state[i]));
}

static inline void sx_sha256(struct sx_bytes bytes, uint8_t out[32])
{
    struct sx_sha256 hash;
    sx_sha256_init(&hash);
    sx_sha256_update(&hash, bytes);
    sx_sha256_finish(&hash, out);
}

/* Finishes, then hashes the hash: Bitcoin's double SHA-256. */
static inline void sx_sha256_finish_double(struct sx_sha256 *hash, uint8_t out[32])
{
    sx_sha256_finish(hash, out);
    sx_sha256(sx_bytes_of(out, 32), out);
}

#endif
