/* The guest of guests/sdk/c/README.md: counts transactions. */
#include "sorex/bitcoin.h"
#include "sorex/indexer.h"

static struct sx_key key;

static void index_block(uint32_t height, struct sx_bytes raw)
{
    struct sx_block block;
    (void)height;
    if (!sx_block_open(&block, raw))
        sx_fail("count: no Bitcoin block");
    sx_key_start(&key, 'n');
    sx_put_u64(&key, sx_get_u64(&key) + block.tx_count);
}
SOREX_INDEXER(index_block)

static void view_count(uint32_t height, struct sx_bytes input, struct sx_buf *out)
{
    (void)height;
    (void)input;
    sx_key_start(&key, 'n');
    sx_buf_u64(out, sx_get_u64(&key));
}
SOREX_VIEW("count", view_count)
