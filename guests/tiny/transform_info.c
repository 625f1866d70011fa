/* Notes what it is told: "height" -> u32le, "hash" -> 32 bytes. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    uint8_t height[4], hash[32];
    sx_u32_put(height, sx_host_height());
    if (sx_host_block_hash() != 32)
        return -1;
    sx_host_load(hash);
    sx_host_load(hash); /* a result stays pending */
    sx_state_set(sx_str("height"), sx_bytes_of(height, 4));
    sx_state_set(sx_str("hash"), sx_bytes_of(hash, 32));
    return 0;
}
