/* Contract 1: a guest that folds blocks into keys and values (metashrew's ABI), and views over them.
 *
 *     static void index_block(uint32_t height, struct sx_bytes block) { ... sx_get(key) ... sx_put(key, value) ... }
 *     SOREX_INDEXER(index_block)
 *     static void view_count(uint32_t height, struct sx_bytes input, struct sx_buf *out) { ... sx_buf_u32(out, n) ... }
 *     SOREX_VIEW("count", view_count)
 *
 * sx_get answers as of the block before, whatever was put since; in a view, as of the view's height. An absent key and
 * an empty value look alike (len 0), and there is no delete: put an empty value instead.
 * Pointers that cross the border point at the data, with the length in the four bytes in front. */
#ifndef SOREX_SDK_INDEXER_H
#define SOREX_SDK_INDEXER_H

#include "sorex/bytes.h"

#define SOREX_IMPORT(name) __attribute__((import_module("env"), import_name(name)))

SOREX_IMPORT("__host_len") uint32_t sx_host_len(void);
SOREX_IMPORT("__load_input") void sx_host_load_input(uint8_t *dst);
SOREX_IMPORT("__get_len") uint32_t sx_host_get_len(const uint8_t *key);
SOREX_IMPORT("__get") void sx_host_get(const uint8_t *key, uint8_t *dst);
SOREX_IMPORT("__flush") void sx_host_flush(const uint8_t *message);
SOREX_IMPORT("__log") void sx_host_log(const uint8_t *text);

/* ---- keys ---- built on the stack, with the length in front as the host wants it */

#define SX_KEY_BYTES_MAX 16380

struct sx_key {
    uint32_t len;
    uint8_t data[SX_KEY_BYTES_MAX];
};

static inline void sx_key_start(struct sx_key *key, char prefix)
{
    key->len = 1;
    key->data[0] = (uint8_t)prefix;
}
/* Traps when the key gets longer than SX_KEY_BYTES_MAX. */
static inline void sx_key_bytes(struct sx_key *key, struct sx_bytes bytes)
{
    if (bytes.len > SX_KEY_BYTES_MAX - key->len)
        __builtin_trap();
    memcpy(key->data + key->len, bytes.data, bytes.len);
    key->len += bytes.len;
}
static inline void sx_key_u32(struct sx_key *key, uint32_t v)
{
    uint8_t bytes[4];
    sx_u32_put(bytes, v);
    sx_key_bytes(key, sx_bytes_of(bytes, 4));
}
static inline struct sx_bytes sx_key_view(const struct sx_key *key) { return sx_bytes_of(key->data, key->len); }

/* ---- reading and writing ---- */

/* The value of a key, in memory of its own; len 0 when absent. */
static inline struct sx_bytes sx_get(const struct sx_key *key)
{
    uint32_t len = sx_host_get_len(key->data);
    if (len == 0)
        return sx_bytes_of(NULL, 0);
    uint8_t *value = sx_alloc(len);
    sx_host_get(key->data, value);
    return sx_bytes_of(value, len);
}

/* A value of exactly 8 bytes as a number; anything else (absent) is 0. */
static inline uint64_t sx_get_u64(const struct sx_key *key)
{
    uint8_t value[8];
    if (sx_host_get_len(key->data) != sizeof value)
        return 0;
    sx_host_get(key->data, value);
    return sx_u64_get(value);
}

/* What was put so far: protobuf KeyValueFlush { repeated bytes list = 1; }, key and value in turn. */
__attribute__((weak)) struct sx_buf sx_pairs;

static inline void sx_put_element(struct sx_bytes bytes)
{
    sx_buf_reserve(&sx_pairs, 11 + bytes.len);
    sx_buf_u8(&sx_pairs, 0x0a);
    sx_buf_varint(&sx_pairs, bytes.len);
    sx_buf_bytes(&sx_pairs, bytes);
}
static inline void sx_put(const struct sx_key *key, struct sx_bytes value)
{
    sx_put_element(sx_key_view(key));
    sx_put_element(value);
}
static inline void sx_put_u64(const struct sx_key *key, uint64_t v)
{
    uint8_t value[8];
    sx_u64_put(value, v);
    sx_put(key, sx_bytes_of(value, sizeof value));
}

/* Hands over what was put. SOREX_INDEXER does it at the end of every block; a block without it fails. */
static inline void sx_flush(void)
{
    sx_host_flush(sx_buf_prefixed(&sx_pairs));
    sx_pairs.len = 0;
}

static inline void sx_log(const char *text)
{
    struct sx_buf line = {0};
    sx_buf_str(&line, text);
    sx_host_log(sx_buf_prefixed(&line));
}

/* Ends the block, or the view, with an error that the log explains. */
static inline _Noreturn void sx_fail(const char *why)
{
    sx_log(why);
    __builtin_trap();
}

/* ---- entry points ---- */

/* The block, or a view's argument, without the height in front. */
static inline struct sx_bytes sx_input(uint32_t *out_height)
{
    uint32_t len = sx_host_len();
    uint8_t *input = sx_alloc(len);
    sx_host_load_input(input);
    *out_height = sx_u32_get(input);
    return sx_bytes_of(input + 4, len - 4);
}

#define SOREX_INDEXER(function)                    \
    SOREX_EXPORT("_start") void sx_start(void);    \
    void sx_start(void)                            \
    {                                              \
        uint32_t height;                           \
        struct sx_bytes block = sx_input(&height); \
        function(height, block);                   \
        sx_flush();                                \
    }

#define SOREX_VIEW(name, function)                                \
    SOREX_EXPORT(name) const uint8_t *sx_export_##function(void); \
    const uint8_t *sx_export_##function(void)                     \
    {                                                             \
        uint32_t height;                                          \
        struct sx_bytes input = sx_input(&height);                \
        struct sx_buf out = {0};                                  \
        function(height, input, &out);                            \
        return sx_buf_prefixed(&out);                             \
    }

#endif
