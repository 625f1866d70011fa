/* Indexer for measuring: does what the block says. Block = mode u32le, count u32le, seed u32le.
 *
 *   mode 0  puts `count` keys of 32 bytes that depend on the seed, each with a value of 32 bytes
 *   mode 1  reads `count` of KEYS such keys (of seed 0), chosen by the seed; puts each with its first number one higher
 *   mode 2  reads one key `count` times */
#include "sorex/indexer.h"

#define KEYS 100000

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void fill(uint8_t *out, uint64_t seed)
{
    for (uint32_t i = 0; i < 4; i++)
        sx_u64_put(out + 8 * i, mix(seed * 4 + i + 1));
}

static struct sx_key key;

static void index_block(uint32_t height, struct sx_bytes block)
{
    uint8_t value[32];
    (void)height;
    if (block.len < 12)
        sx_fail("bench_pairs: a block is mode, count, seed");
    uint32_t mode = sx_u32_get(block.data), count = sx_u32_get(block.data + 4), seed = sx_u32_get(block.data + 8);
    key.len = 32;
    fill(value, seed);
    for (uint32_t i = 0; i < count; i++) {
        if (mode == 0)
            fill(key.data, (uint64_t)seed << 32 | i);
        else if (mode == 1)
            fill(key.data, mix((uint64_t)seed << 32 | i) % KEYS);
        else if (i == 0)
            fill(key.data, 0);
        if (mode > 0 && sx_host_get_len(key.data) == sizeof value)
            sx_host_get(key.data, value);
        if (mode == 2)
            continue;
        sx_u64_put(value, sx_u64_get(value) + 1);
        sx_put(&key, sx_bytes_of(value, sizeof value));
    }
}
SOREX_INDEXER(index_block)
