/* Pushes and returns in rollback, and writes state there. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void) { return 0; }

SOREX_EXPORT("rollback") const uint8_t *rollback(void);
const uint8_t *rollback(void)
{
    uint8_t height[4];
    sx_u32_put(height, sx_host_height());
    sx_state_set(sx_str("undone"), sx_bytes_of(height, 4));
    (void)sx_host_push(sx_argument(sx_str("{\"undo\":1}")));
    return sx_argument(sx_str("[{\"undo\":2}]"));
}
