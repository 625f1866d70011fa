/* Grows its memory page by page until that fails, touches the last page and flushes the number of pages: "pages" ->
 * u32le. */
#include "sorex/indexer.h"

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    static uint8_t message[] = {18, 0, 0, 0, 0x0a, 5, 'p', 'a', 'g', 'e', 's', 0x0a, 4, 0, 0, 0, 0, 0};
    while (__builtin_wasm_memory_grow(0, 1) != (size_t)-1)
        continue;
    uint32_t pages = (uint32_t)__builtin_wasm_memory_size(0);
    volatile uint8_t *last = (volatile uint8_t *)(pages * 65536u - 1u);
    *last = 1;
    message[0] = 13;
    sx_u32_put(message + 13, pages);
    sx_host_flush(message + 4);
}
