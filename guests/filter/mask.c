/* Replaces the values of some columns by "***", in both images. Configuration: {"columns": ["email"]}; none: email. */
#include "sorex/filter.h"

static struct sx_bytes columns; /* a JSON array */

static bool is_masked(struct sx_bytes name)
{
    struct sx_json_walk walk = sx_json_walk_of(columns);
    if (columns.len == 0)
        return sx_json_is(name, "email");
    while (sx_json_next(&walk))
        if (sx_bytes_equal(walk.value, name))
            return true;
    return false;
}

static bool row_mask(struct sx_edit *edit, struct sx_bytes row)
{
    bool changed = false;
    struct sx_json_walk walk = sx_json_walk_of(row);
    if (row.data[0] != '{')
        return false;
    while (sx_json_next(&walk))
        if (walk.value.data[0] != 'n' && is_masked(walk.name)) { /* a null stays one */
            sx_edit_replace(edit, walk.value, sx_str("\"***\""));
            changed = true;
        }
    return changed;
}

static enum sx_verdict mask(struct sx_bytes event, struct sx_buf *out)
{
    struct sx_edit edit = sx_edit_of(event, out);
    struct sx_json_walk walk = sx_json_walk_of(event);
    bool changed = false;
    while (sx_json_next(&walk) && (sx_json_is(walk.name, "before") || sx_json_is(walk.name, "after")))
        changed |= row_mask(&edit, walk.value); /* the images stand in front */
    sx_edit_end(&edit);
    return changed ? SX_CHANGED : SX_PASS;
}
SOREX_FILTER(mask)

static int32_t configure(struct sx_bytes json)
{
    struct sx_bytes config;
    if (!sx_json_member(json, "config", &config) || !sx_json_member(config, "columns", &columns))
        return 0;
    struct sx_buf copy = {0}; /* what the host gave is not ours to keep */
    sx_buf_bytes(&copy, columns);
    columns = sx_buf_view(&copy);
    return columns.data[0] == '[' ? 0 : 1;
}
SOREX_FILTER_INIT(configure)
