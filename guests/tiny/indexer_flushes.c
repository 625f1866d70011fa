/* Flushes three times, "n" each time as one more than what it reads then: reads stay at the height before, so all three
 * say the same. */
#include "sorex/indexer.h"

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    struct sx_key n, mark;
    for (uint32_t i = 0; i < 3; i++) {
        sx_key_start(&n, 'n');
        sx_put_u64(&n, sx_get_u64(&n) + 1);
        sx_key_start(&mark, (char)('0' + i));
        sx_put(&mark, sx_str("flushed"));
        sx_flush();
    }
}
