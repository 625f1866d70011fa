/* The event transform of guests/sdk/c/README.md: drops truncates. */
#include "sorex/filter.h"

static enum sx_verdict no_truncates(struct sx_bytes event, struct sx_buf *out)
{
    struct sx_bytes op;
    (void)out;
    return sx_json_member(event, "op", &op) && sx_json_is(op, "truncate") ? SX_DROP : SX_PASS;
}
SOREX_FILTER(no_truncates)
