/* Logs the block as text. */
#include "sorex/indexer.h"

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    uint32_t height;
    struct sx_bytes block = sx_input(&height);
    struct sx_buf line = {0};
    sx_buf_reserve(&line, block.len == 0 ? 1 : block.len);
    sx_buf_bytes(&line, block);
    sx_host_log(sx_buf_prefixed(&line));
    sx_flush();
}
