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

/* The image that begins at *at of the event; *at is behind it afterwards. */
static bool image_mask(struct sx_edit *edit, struct sx_bytes event, uint32_t *at)
{
    bool changed = false;
    if (event.data[*at] != '{') {
        *at += sx_json_value(event, *at).len;
        return false;
    }
    struct sx_json_walk walk = sx_json_walk_at(event, *at);
    while (sx_json_next(&walk))
        if (walk.value.data[0] != 'n' && is_masked(walk.name)) { /* a null stays one */
            sx_edit_replace(edit, walk.value, sx_str("\"***\""));
            changed = true;
        }
    *at = walk.at + 1;
    return changed;
}

/* An event begins with {"before":IMAGE,"after":IMAGE */
static enum sx_verdict mask(struct sx_bytes event, struct sx_buf *out)
{
    struct sx_edit edit = sx_edit_of(event, out);
    uint32_t at = 10;
    bool changed = image_mask(&edit, event, &at);
    at += 9;
    changed |= image_mask(&edit, event, &at);
    if (!changed)
        return SX_PASS;
    sx_edit_end(&edit);
    return SX_CHANGED;
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
