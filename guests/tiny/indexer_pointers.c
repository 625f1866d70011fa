/* Calls the import that the block's first byte names with the two pointers that follow (u32le each), then flushes
 * nothing. */
#include "sorex/indexer.h"

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    uint32_t height;
    struct sx_bytes block = sx_input(&height);
    const uint8_t *a = (const uint8_t *)sx_u32_get(block.data + 1);
    uint8_t *b = (uint8_t *)sx_u32_get(block.data + 5);
    switch (block.data[0]) {
    case 'i':
        sx_host_load_input(b);
        break;
    case 'l':
        (void)sx_host_get_len(a);
        break;
    case 'g':
        sx_host_get(a, b);
        break;
    case 'k': { /* a good key, the other pointer for its value */
        static const uint8_t key[] = {1, 0, 0, 0, 'k'};
        sx_host_get(key + 4, b);
        break;
    }
    case 'f':
        sx_host_flush(a);
        break;
    case 'o':
        sx_host_log(a);
        break;
    default:
        break;
    }
    sx_flush();
}
