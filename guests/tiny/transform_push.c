/* Pushes two changes and returns nothing. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    if (sx_host_push(sx_argument(sx_str("{\"n\": 1.0}"))) != 0)
        return -1;
    if (sx_host_push(sx_argument(sx_str("{\"n\":2}"))) != 0)
        return -2;
    return 0;
}
