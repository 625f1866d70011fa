/* Counts its calls in a static variable; "calls" -> u32le. Fresh memory: always 1. Kept memory: the blocks so far. */
#include "sorex/transform.h"

static uint32_t calls;

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    uint8_t noted[4];
    calls++;
    sx_u32_put(noted, calls);
    sx_state_set(sx_str("calls"), sx_bytes_of(noted, 4));
    return 0;
}
