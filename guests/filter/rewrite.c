/* Sends events to another schema: `schema` becomes "masked", or what the configuration says: {"schema": "other"}. */
#include "sorex/filter.h"

static struct sx_bytes schema; /* with its quotes */

static enum sx_verdict rewrite(struct sx_bytes event, struct sx_buf *out)
{
    struct sx_bytes old;
    if (!sx_json_member(event, "schema", &old))
        return SX_FAIL; /* the host always writes it */
    struct sx_edit edit = sx_edit_of(event, out);
    sx_edit_replace(&edit, old, schema.len > 0 ? schema : sx_str("\"masked\""));
    sx_edit_end(&edit);
    return SX_CHANGED;
}
SOREX_FILTER(rewrite)

static int32_t configure(struct sx_bytes json)
{
    struct sx_bytes config;
    struct sx_buf copy = {0};
    if (!sx_json_member(json, "config", &config) || !sx_json_member(config, "schema", &schema))
        return 0;
    sx_buf_bytes(&copy, schema);
    schema = sx_buf_view(&copy);
    return 0;
}
SOREX_FILTER_INIT(configure)
