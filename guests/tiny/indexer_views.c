/* An indexer with every kind of view. */
#include "sorex/indexer.h"

static void index_block(uint32_t height, struct sx_bytes block)
{
    struct sx_key key;
    (void)height;
    sx_key_start(&key, 'b');
    sx_put(&key, block);
}
SOREX_INDEXER(index_block)

/* height, input */
static void view_echo(uint32_t height, struct sx_bytes input, struct sx_buf *out)
{
    sx_buf_u32(out, height);
    sx_buf_bytes(out, input);
}
SOREX_VIEW("echo", view_echo)

/* The value of the key that the input names. */
static void view_read(uint32_t height, struct sx_bytes input, struct sx_buf *out)
{
    struct sx_key key = {.len = 0};
    (void)height;
    sx_key_bytes(&key, input);
    sx_buf_bytes(out, sx_get(&key));
}
SOREX_VIEW("read", view_read)

static uint32_t calls;

/* How often it ran in this memory: always 1. A flush in a view does nothing, not even with a bad pointer. */
static void view_count(uint32_t height, struct sx_bytes input, struct sx_buf *out)
{
    (void)height;
    (void)input;
    sx_host_flush((const uint8_t *)0xfffffff0u);
    sx_buf_u32(out, ++calls);
}
SOREX_VIEW("count", view_count)

SOREX_EXPORT("explode") const uint8_t *view_explode(void);
const uint8_t *view_explode(void) { __builtin_trap(); }

SOREX_EXPORT("outside") const uint8_t *view_outside(void);
const uint8_t *view_outside(void) { return (const uint8_t *)0xfffffff0u; }

SOREX_EXPORT("null") const uint8_t *view_null(void);
const uint8_t *view_null(void) { return NULL; }

SOREX_EXPORT("spin") const uint8_t *view_spin(void);
const uint8_t *view_spin(void)
{
    volatile uint32_t turns = 0;
    for (;;)
        turns++;
}

/* A result of 64 KiB. */
SOREX_EXPORT("huge") const uint8_t *view_huge(void);
const uint8_t *view_huge(void)
{
    static struct {
        uint32_t len;
        uint8_t data[65536];
    } result;
    result.len = sizeof result.data;
    return result.data;
}

/* No view: another type. */
SOREX_EXPORT("add") uint32_t add(uint32_t a, uint32_t b);
uint32_t add(uint32_t a, uint32_t b) { return a + b; }
