/* Returns without a flush. */
#include "sorex/indexer.h"

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    uint32_t height;
    (void)sx_input(&height);
}
