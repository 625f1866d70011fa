/* Never returns. */
#include "sorex/indexer.h"

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    volatile uint32_t turns = 0;
    for (;;)
        turns++;
}
