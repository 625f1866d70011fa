/* Returns an array of two changes. The pointer is where the length is. At height 2 it returns an empty array, at 3 an
 * object, at 4 text that is no JSON, at 5 a pointer outside its memory, at 6 an array whose second change is bad. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") const uint8_t *process_block(void);
const uint8_t *process_block(void)
{
    switch (sx_host_height()) {
    case 2:
        return sx_argument(sx_str(" [ ] "));
    case 3:
        return sx_argument(sx_str("{\"n\":1}"));
    case 4:
        return sx_argument(sx_str("[{\"n\":1},"));
    case 5:
        return (const uint8_t *)0x7ffffff0u;
    case 6:
        return sx_argument(sx_str("[{\"n\":1},{\"bad\":2},{\"n\":3}]"));
    default:
        return sx_argument(sx_str("[ {\"n\" : 3.50}, {\"n\":4} ]"));
    }
}
