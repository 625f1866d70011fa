/* Random changes, by the block's hash: 12 a block, of 16 rows in the tables "a" and "b", each with a rule for filter_rules (0 to 6), a key
 * of its own for it, and a value. A row that is there is updated or deleted, one that is not is created. */
#include "sorex/transform.h"

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

static void change(struct sx_context *context, uint32_t row)
{
    uint8_t key[1] = {(uint8_t)('a' + row)};
    struct sx_bytes name = sx_bytes_of(key, 1);
    bool there = sx_state_get(name).len != 0;
    enum sx_operation operation = !there ? SX_CREATE : draw(4) == 0 ? SX_DELETE : SX_UPDATE;
    struct sx_json *json = &context->changes;
    sx_change_begin(context, operation, row % 2 == 0 ? "a" : "b", name);
    if (operation != SX_DELETE) {
        uint8_t other[2] = {'k', key[0]};
        sx_json_name(json, "after");
        sx_json_begin(json, '{');
        sx_json_name(json, "v");
        sx_json_uint(json, draw(3));
        sx_json_name(json, "n");
        sx_json_uint(json, draw(7));
        sx_json_name(json, "k");
        sx_json_string(json, sx_bytes_of(other, 2));
        sx_json_end(json, '}');
    }
    sx_change_end(context);
    if (operation == SX_DELETE)
        sx_state_delete(name);
    else
        sx_state_set(name, sx_str("1"));
}

static void process(struct sx_context *context)
{
    for (uint32_t i = 0; i < 8; i++)
        state = state << 8 | context->hash[i];
    context->timestamp_ms = 1 + context->height;
    for (uint32_t i = 0; i < 12; i++)
        change(context, draw(16));
}
SOREX_TRANSFORM(process)
