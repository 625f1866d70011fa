/* Says that the block failed. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    (void)sx_host_push(sx_argument(sx_str("{\"n\":1}")));
    return -7;
}
