/* A filter for the tests of pipelines: what it does is the row's member `n`, plus `shift` of the configuration.
 *
 *     0, 5   passes                         3   moves the row: the table becomes "moved_TABLE"
 *     1      drops the row                  4   gives it another key, by the column `k` (or `n`, where there is none)
 *     2      hides the member `v` or `n`    6   sets only `schema`
 *     7 truncate, 8 fails, 9 never ends, 10 recurses until the stack is gone; 11 moves the row to the table "one", 12 to "block"
 *
 * A delete in the table "block" of a row whose `n` was 0 becomes an update, so that the row stays; other deletes pass. */
#include "sorex/filter.h"

static uint64_t shift;

static uint64_t number(struct sx_bytes text)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < text.len && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        n = n * 10 + (uint64_t)(text.data[i] - '0');
    return n;
}

static struct sx_bytes member(struct sx_bytes object, const char *name)
{
    struct sx_bytes value = {0};
    (void)(object.len > 0 && object.data[0] == '{' && sx_json_member(object, name, &value));
    return value;
}

static enum sx_verdict replaced(struct sx_bytes event, struct sx_bytes part, const char *with, struct sx_buf *out)
{
    struct sx_edit edit = sx_edit_of(event, out);
    sx_edit_replace(&edit, part, sx_str(with));
    sx_edit_end(&edit);
    return SX_CHANGED;
}

static enum sx_verdict to_table(struct sx_bytes event, const char *table, struct sx_buf *out)
{
    return replaced(event, member(event, "table"), table, out);
}

static enum sx_verdict moved(struct sx_bytes event, struct sx_buf *out)
{
    struct sx_bytes table = member(event, "table");
    struct sx_edit edit = sx_edit_of(event, out);
    sx_edit_replace(&edit, sx_bytes_of(table.data, 1), sx_str("\"moved_"));
    sx_edit_end(&edit);
    return SX_CHANGED;
}

/* A row that is deleted stays, as {"n":"gone"}. */
static enum sx_verdict kept(struct sx_bytes event, struct sx_buf *out)
{
    struct sx_edit edit = sx_edit_of(event, out);
    sx_edit_replace(&edit, member(event, "after"), sx_str("{\"n\":\"gone\"}"));
    sx_edit_replace(&edit, member(event, "op"), sx_str("\"update\""));
    sx_edit_end(&edit);
    return SX_CHANGED;
}

static enum sx_verdict emptied(struct sx_bytes event, struct sx_buf *out)
{
    struct sx_edit edit = sx_edit_of(event, out);
    if (member(event, "before").data[0] != 'n')
        sx_edit_replace(&edit, member(event, "before"), sx_str("null"));
    sx_edit_replace(&edit, member(event, "after"), sx_str("null"));
    sx_edit_replace(&edit, member(event, "op"), sx_str("\"truncate\""));
    sx_edit_end(&edit);
    return SX_CHANGED;
}

static volatile uint32_t sink;
static uint32_t deep(uint32_t n) { return sink == 1 ? n : deep(n + 1) + sink; }

static enum sx_verdict rules(struct sx_bytes event, struct sx_buf *out)
{
    struct sx_bytes after = member(event, "after");
    if (after.data[0] != '{') {
        bool stays = sx_json_is(member(event, "table"), "block") && number(member(member(event, "before"), "n")) == 0;
        return stays ? kept(event, out) : SX_PASS;
    }
    struct sx_bytes v = member(after, "v"), n = member(after, "n");
    switch (number(n) + shift) {
    case 1:
        return SX_DROP;
    case 2:
        return replaced(event, v.len > 0 ? v : n, "\"***\"", out);
    case 3:
        return moved(event, out);
    case 4:
        return replaced(event, member(event, "primary_key"), member(after, "k").len > 0 ? "[\"k\"]" : "[\"n\"]", out);
    case 6:
        return replaced(event, member(event, "schema"), "\"six\"", out);
    case 7:
        return emptied(event, out);
    case 8:
        return SX_FAIL;
    case 9:
        while (sink == 0) {
        }
        return SX_FAIL;
    case 10:
        return deep(0) == 0 ? SX_PASS : SX_DROP;
    case 11:
        return to_table(event, "\"one\"", out);
    case 12:
        return to_table(event, "\"block\"", out);
    default:
        return SX_PASS;
    }
}
SOREX_FILTER(rules)

static int32_t configure(struct sx_bytes json)
{
    shift = number(member(member(json, "config"), "shift"));
    return 0;
}
SOREX_FILTER_INIT(configure)
