/* Flushes the block itself, byte for byte: tests give it every encoding. */
#include "sorex/indexer.h"

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    uint32_t height;
    struct sx_bytes block = sx_input(&height);
    struct sx_buf message = {0};
    sx_buf_reserve(&message, block.len == 0 ? 1 : block.len);
    sx_buf_bytes(&message, block);
    sx_host_flush(sx_buf_prefixed(&message));
}
