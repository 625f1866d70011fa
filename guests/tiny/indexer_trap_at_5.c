/* Puts its height under one key; traps at height 5. */
#include "sorex/indexer.h"

static void index_block(uint32_t height, struct sx_bytes block)
{
    struct sx_key key;
    (void)block;
    sx_key_start(&key, 'h');
    sx_put_u64(&key, height);
    if (height == 5)
        sx_fail("this is height 5");
}

SOREX_INDEXER(index_block)
