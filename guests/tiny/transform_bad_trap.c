/* Traps when a push is refused. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    if (sx_host_push(sx_argument(sx_str("{\"bad\":1}"))) < 0)
        __builtin_trap();
    return 0;
}
