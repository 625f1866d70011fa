/* Passes events and counts them: in its own memory (metric `seen_by_instance`), and over all instances (metric `events`). Logs
 * the first one that an instance sees. */
#include "sorex/filter.h"

static int64_t seen;

static enum sx_verdict count(struct sx_bytes event, struct sx_buf *out)
{
    (void)event;
    (void)out;
    if (seen++ == 0)
        sx_log(SX_INFO, sx_str("first event"));
    sx_metric_set("seen_by_instance", seen);
    sx_metric_set("events", sx_metric_get("events") + 1);
    return SX_PASS;
}
SOREX_FILTER(count)
