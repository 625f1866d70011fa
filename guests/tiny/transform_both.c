/* Pushes and returns: pushed changes come first. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") const uint8_t *process_block(void);
const uint8_t *process_block(void)
{
    const uint8_t *result = sx_argument(sx_str("[{\"returned\":1},{\"returned\":2}]"));
    (void)sx_host_push(sx_argument(sx_str("{\"pushed\":1}")));
    (void)sx_host_push(sx_argument(sx_str("{\"pushed\":2}")));
    return result;
}
