/* Drops the events of one table. Configuration: {"table": "sessions"}; none: drops every event. */
#include "sorex/filter.h"

static struct sx_bytes table; /* with its quotes */

static enum sx_verdict drop(struct sx_bytes event, struct sx_buf *out)
{
    struct sx_bytes name;
    (void)out;
    if (table.len == 0)
        return SX_DROP;
    return sx_json_member(event, "table", &name) && sx_bytes_equal(name, table) ? SX_DROP : SX_PASS;
}
SOREX_FILTER(drop)

static int32_t configure(struct sx_bytes json)
{
    struct sx_bytes config;
    struct sx_buf copy = {0};
    if (!sx_json_member(json, "config", &config) || !sx_json_member(config, "table", &table))
        return 0;
    sx_buf_bytes(&copy, table);
    table = sx_buf_view(&copy);
    return 0;
}
SOREX_FILTER_INIT(configure)
