/* Pushes a good change, a bad one and another good one, notes the results in its state, and claims success. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    uint8_t results[3];
    results[0] = (uint8_t)sx_host_push(sx_argument(sx_str("{\"n\":1}")));
    results[1] = (uint8_t)sx_host_push(sx_argument(sx_str("{\"bad\":2}")));
    results[2] = (uint8_t)sx_host_push(sx_argument(sx_str("{\"n\":3}")));
    sx_state_set(sx_str("results"), sx_bytes_of(results, 3));
    return 0;
}
