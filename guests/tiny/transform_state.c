/* Sets, reads, deletes: every result goes into the state under "results", one byte each; __load after each __get_state.
 */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    const uint8_t *key = sx_argument(sx_str("key"));
    const uint8_t *other = sx_argument(sx_str("other"));
    uint8_t results[10];
    uint8_t loaded[4] = "....";
    results[0] = (uint8_t)sx_host_get_state(key);
    results[1] = (uint8_t)sx_host_set_state(key, sx_argument(sx_str("abc")));
    results[2] = (uint8_t)sx_host_get_state(key); /* its own write */
    sx_host_load(loaded);
    results[3] = loaded[0];
    results[4] = loaded[2];
    results[5] = loaded[3]; /* not touched: nothing but the value is copied */
    results[6] = (uint8_t)sx_host_delete_state(key);
    results[7] = (uint8_t)sx_host_delete_state(key);
    results[8] = (uint8_t)sx_host_get_state(key);
    results[9] = (uint8_t)sx_host_set_state(other, sx_argument(sx_str("")));
    sx_state_set(sx_str("results"), sx_bytes_of(results, sizeof results));
    return 0;
}
