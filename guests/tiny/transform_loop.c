/* Never returns. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    volatile uint32_t turns = 0;
    for (;;)
        turns++;
}
