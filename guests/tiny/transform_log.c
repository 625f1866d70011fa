/* Writes a line to each of the two logs. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    sx_host_stdout(sx_argument(sx_str("all is well")));
    sx_host_stderr(sx_argument(sx_str("or is it")));
    return 0;
}
