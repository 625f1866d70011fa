/* Touches 250,000 keys in one entry: height 1 puts keys 0 to 150,000, height 2 those from 50,000 to 300,000, every other one a single key.
 * The value is the height. */
#include "sorex/indexer.h"

#define KEYS 300000

static struct sx_key key;

static void key_make(uint32_t number)
{
    sx_key_start(&key, 'm');
    sx_key_u32(&key, number);
}

static void put_range(uint32_t from, uint32_t to, uint32_t height)
{
    for (uint32_t i = from; i < to; i++) {
        key_make(i);
        sx_put_u64(&key, height);
    }
}

static void index_block(uint32_t height, struct sx_bytes block)
{
    (void)block;
    if (height == 1)
        put_range(0, 150000, height);
    else if (height == 2)
        put_range(50000, KEYS, height);
    else
        put_range(KEYS, KEYS + 1, height);
}
SOREX_INDEXER(index_block)

/* Of every tenth key: how many were written by height 1, how many by height 2. */
static void view_written(uint32_t height, struct sx_bytes input, struct sx_buf *out)
{
    uint32_t counts[3] = {0};
    (void)height;
    (void)input;
    for (uint32_t i = 0; i < KEYS; i += 10) {
        key_make(i);
        uint64_t by = sx_get_u64(&key);
        if (by < 3)
            counts[by]++;
    }
    sx_buf_u32(out, counts[1]);
    sx_buf_u32(out, counts[2]);
}
SOREX_VIEW("written", view_written)
