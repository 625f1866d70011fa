/* Counts its runs in a static variable and in memory it grew; fresh memory makes both say 1 at every block. */
#include "sorex/indexer.h"

static uint32_t runs;

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    struct sx_key key;
    runs++;
    uint32_t *grown = (uint32_t *)(__builtin_wasm_memory_grow(0, 1) * 65536u);
    *grown += 1;
    sx_key_start(&key, 'r');
    sx_put_u64(&key, (uint64_t)*grown << 32 | runs);
    sx_flush();
    uint32_t height;
    if (sx_input(&height).len > 0)
        __builtin_trap(); /* a failed block leaves no trace either */
}
