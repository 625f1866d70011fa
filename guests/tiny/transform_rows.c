/* Rows, for the tests of the step. At height h: counter/c is created (height 0) or updated, without a before image; block/h is created;
 * block/h-2 is deleted; the state key "last" is set to h. At height 6 the change contradicts the rows: counter/c is created again.
 * rollback: creates undone/h, and sets the state key "undone". */
#include "sorex/transform.h"

static void height_state(const char *key, uint32_t height)
{
    uint8_t bytes[4];
    sx_u32_put(bytes, height);
    sx_state_set(sx_str(key), sx_bytes_of(bytes, 4));
}

static void change(struct sx_context *context, enum sx_operation operation, const char *table, uint32_t key)
{
    struct sx_buf text = {0};
    sx_buf_decimal(&text, key);
    sx_change_begin(context, operation, table, sx_buf_view(&text));
    if (operation != SX_DELETE) {
        sx_json_name(&context->changes, "after");
        sx_json_begin(&context->changes, '{');
        sx_json_name(&context->changes, "n");
        sx_json_uint(&context->changes, context->height);
        sx_json_end(&context->changes, '}');
    }
    sx_change_end(context);
}

static void process(struct sx_context *context)
{
    uint32_t h = context->height;
    change(context, h == 0 || h == 6 ? SX_CREATE : SX_UPDATE, "counter", 0);
    change(context, SX_CREATE, "block", h);
    if (h >= 2)
        change(context, SX_DELETE, "block", h - 2);
    height_state("last", h);
}

SOREX_TRANSFORM(process)

SOREX_EXPORT("rollback") const uint8_t *rollback(void);
const uint8_t *rollback(void)
{
    struct sx_context context;
    sx_context_init(&context);
    change(&context, SX_CREATE, "undone", context.height);
    height_state("undone", context.height);
    sx_json_end(&context.changes, ']');
    return sx_buf_prefixed(&context.changes.text) - 4;
}
