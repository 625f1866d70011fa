/* Calls the view that the state names under "name", with its input under "input"; notes the result under "len" and
 * "result". */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    uint8_t noted[4];
    struct sx_bytes name = sx_state_get(sx_str("name"));
    struct sx_bytes input = sx_state_get(sx_str("input"));
    int32_t len = sx_host_view(sx_argument(name), sx_argument(input));
    sx_u32_put(noted, (uint32_t)len);
    sx_state_set(sx_str("result"), sx_load(len));
    sx_state_set(sx_str("len"), sx_bytes_of(noted, 4));
    return 0;
}
