/* Reads the key that the block names, twice, in every way: __get_len and __get, __get alone, __get_len again. Flushes
 * key -> u32le length, value; the buffer is filled with '#' before, so that an absent key shows. */
#include "sorex/indexer.h"

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    static uint8_t value[64];
    static uint8_t again[64];
    struct sx_key key;
    struct sx_buf result = {0};
    uint32_t height;
    struct sx_bytes block = sx_input(&height);
    key.len = 0;
    sx_key_bytes(&key, block);
    for (uint32_t i = 0; i < sizeof value; i++)
        value[i] = again[i] = '#';
    uint32_t len = sx_host_get_len(key.data);
    sx_host_get(key.data, value);
    sx_host_get(key.data, again);
    if (sx_host_get_len(key.data) != len)
        __builtin_trap();
    for (uint32_t i = 0; i < sizeof value; i++)
        if (value[i] != again[i])
            __builtin_trap();
    sx_buf_u32(&result, len);
    sx_buf_bytes(&result, sx_bytes_of(value, 8));
    sx_put(&key, sx_bytes_of(result.data, result.len));
    sx_flush();
}
