/* Every event as it came. */
#include "sorex/filter.h"

static enum sx_verdict pass(struct sx_bytes event, struct sx_buf *out)
{
    (void)event;
    (void)out;
    return SX_PASS;
}
SOREX_FILTER(pass)
