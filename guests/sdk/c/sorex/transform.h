/* Contract 2: a guest that turns indexed state into row changes (debshrew's ABI).
 *
 *     static void transform_block(struct sx_context *context)
 *     {
 *         struct sx_bytes n = sx_view("count", sx_str(""));
 *         sx_change_begin(context, SX_CREATE, "counts", sx_str("k"));
 *         sx_json_name(&context->changes, "after");
 *         ...
 *         sx_change_end(context);
 *     }
 *     SOREX_TRANSFORM(transform_block)
 *
 * Pointers that cross the border point at the length, four bytes in front of the data. */
#ifndef SOREX_SDK_TRANSFORM_H
#define SOREX_SDK_TRANSFORM_H

#include "sorex/json.h"

#define SOREX_IMPORT(name) __attribute__((import_module("env"), import_name(name)))

SOREX_IMPORT("__height") uint32_t sx_host_height(void);
SOREX_IMPORT("__block_hash") int32_t sx_host_block_hash(void);
SOREX_IMPORT("__view") int32_t sx_host_view(const uint8_t *name, const uint8_t *input);
SOREX_IMPORT("__get_state") int32_t sx_host_get_state(const uint8_t *key);
SOREX_IMPORT("__set_state") int32_t sx_host_set_state(const uint8_t *key, const uint8_t *value);
SOREX_IMPORT("__delete_state") int32_t sx_host_delete_state(const uint8_t *key);
SOREX_IMPORT("__load") void sx_host_load(uint8_t *dst);
SOREX_IMPORT("__stdout") void sx_host_stdout(const uint8_t *text);
SOREX_IMPORT("__stderr") void sx_host_stderr(const uint8_t *text);
SOREX_IMPORT("__push_cdc_message") int32_t sx_host_push(const uint8_t *json);

/* A copy of the bytes behind their length, as this contract wants its arguments. */
static inline const uint8_t *sx_argument(struct sx_bytes bytes)
{
    struct sx_buf copy = {0};
    sx_buf_reserve(&copy, bytes.len == 0 ? 1 : bytes.len);
    sx_buf_bytes(&copy, bytes);
    return sx_buf_prefixed(&copy) - 4;
}

/* The pending result of the call before, which said how long it is. */
static inline struct sx_bytes sx_load(int32_t len)
{
    if (len <= 0)
        return sx_bytes_of(NULL, 0);
    uint8_t *data = sx_alloc((size_t)len);
    sx_host_load(data);
    return sx_bytes_of(data, (uint32_t)len);
}

static inline void sx_warn(const char *text) { sx_host_stderr(sx_argument(sx_str(text))); }

/* Ends the block with an error that the log explains. */
static inline _Noreturn void sx_fail(const char *why)
{
    sx_warn(why);
    __builtin_trap();
}

/* Calls a view of the indexer at this height; a view that fails ends the block. */
static inline struct sx_bytes sx_view(const char *name, struct sx_bytes input)
{
    int32_t len = sx_host_view(sx_argument(sx_str(name)), sx_argument(input));
    if (len < 0)
        sx_fail("a view of the indexer failed");
    return sx_load(len);
}

/* The program's own keys. An absent one has len 0. */
static inline struct sx_bytes sx_state_get(struct sx_bytes key) { return sx_load(sx_host_get_state(sx_argument(key))); }
static inline void sx_state_set(struct sx_bytes key, struct sx_bytes value)
{
    if (sx_host_set_state(sx_argument(key), sx_argument(value)) != 1)
        sx_fail("the state could not be set");
}
static inline bool sx_state_delete(struct sx_bytes key) { return sx_host_delete_state(sx_argument(key)) == 1; }

/* ---- changes ---- */

enum sx_operation { SX_CREATE, SX_UPDATE, SX_DELETE };

struct sx_context {
    uint32_t height;
    uint8_t hash[32];       /* of the block, in display order */
    const char *source;     /* goes into the header of changes; set it at the start of the block */
    uint64_t timestamp_ms;  /* the same */
    struct sx_json changes; /* the array that the block returns */
};

/* Opens a change; write "before" (update, delete) and "after" (create, update) as members, then sx_change_end. */
static inline void sx_change_begin(struct sx_context *context, enum sx_operation operation, const char *table,
                                   struct sx_bytes key)
{
    static const char *const names[] = {"create", "update", "delete"};
    struct sx_json *json = &context->changes;
    sx_json_begin(json, '{');
    sx_json_name(json, "header");
    sx_json_begin(json, '{');
    sx_json_name(json, "source");
    sx_json_text(json, context->source);
    sx_json_name(json, "timestamp");
    sx_json_uint(json, context->timestamp_ms);
    sx_json_name(json, "block_height");
    sx_json_uint(json, context->height);
    sx_json_name(json, "block_hash");
    sx_json_hex(json, sx_bytes_of(context->hash, 32));
    sx_json_end(json, '}');
    sx_json_name(json, "payload");
    sx_json_begin(json, '{');
    sx_json_name(json, "operation");
    sx_json_text(json, names[operation]);
    sx_json_name(json, "table");
    sx_json_text(json, table);
    sx_json_name(json, "key");
    sx_json_string(json, key);
}
static inline void sx_change_end(struct sx_context *context)
{
    sx_json_end(&context->changes, '}');
    sx_json_end(&context->changes, '}');
}

static inline void sx_context_init(struct sx_context *context)
{
    *context = (struct sx_context){.height = sx_host_height(), .source = "sorex"};
    if (sx_host_block_hash() != 32)
        sx_fail("the block hash has not 32 bytes");
    sx_host_load(context->hash);
    sx_json_begin(&context->changes, '[');
}

#define SOREX_TRANSFORM(function)                                        \
    SOREX_EXPORT("process_block") const uint8_t *sx_process_block(void); \
    const uint8_t *sx_process_block(void)                                \
    {                                                                    \
        struct sx_context context;                                       \
        sx_context_init(&context);                                       \
        function(&context);                                              \
        sx_json_end(&context.changes, ']');                              \
        return sx_buf_prefixed(&context.changes.text) - 4;               \
    }

#endif
