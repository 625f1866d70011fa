#include "base/bytes.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/codec.h"
#include "base/hex.h"
#include "base/limits.h"

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

void buf_init(struct buf *buf, size_t max)
{
    *buf = (struct buf){.max = max};
}

void buf_deinit(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.max = buf->max};
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
}

enum sorex_status buf_reserve(struct buf *buf, size_t more, struct sorex_error *err)
{
    size_t max = buf->max != 0 ? buf->max : SOREX_BUF_BYTES_MAX;
    if (more > max || buf->len > max - more)
        return sorex_error_set(err, SOREX_LIMIT, "buffer of %zu bytes is over its ceiling of %zu", buf->len + more, max);
    size_t needed = buf->len + more;
    if (needed <= buf->cap)
        return SOREX_OK;
    size_t cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap < needed)
        cap = cap > max / 2 ? max : cap * 2;
    uint8_t *data = realloc(buf->data, cap);
    if (data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a buffer of %zu bytes", cap);
    buf->data = data;
    buf->cap = cap;
    return SOREX_OK;
}

enum sorex_status buf_append(struct buf *buf, struct bytes bytes, struct sorex_error *err)
{
    if (bytes.len == 0)
        return SOREX_OK;
    enum sorex_status status = buf_reserve(buf, bytes.len, err);
    if (status != SOREX_OK)
        return status;
    memcpy(buf->data + buf->len, bytes.data, bytes.len);
    buf->len += bytes.len;
    return SOREX_OK;
}

enum sorex_status buf_append_str(struct buf *buf, const char *text, struct sorex_error *err)
{
    return buf_append(buf, bytes_str(text), err);
}

enum sorex_status buf_append_u8(struct buf *buf, uint8_t value, struct sorex_error *err)
{
    return buf_append(buf, bytes_of(&value, 1), err);
}

enum sorex_status buf_append_u32le(struct buf *buf, uint32_t value, struct sorex_error *err)
{
    uint8_t bytes[4];
    u32le_put(bytes, value);
    return buf_append(buf, bytes_of(bytes, sizeof bytes), err);
}

enum sorex_status buf_append_u64le(struct buf *buf, uint64_t value, struct sorex_error *err)
{
    uint8_t bytes[8];
    u64le_put(bytes, value);
    return buf_append(buf, bytes_of(bytes, sizeof bytes), err);
}

enum sorex_status buf_append_varint(struct buf *buf, uint64_t value, struct sorex_error *err)
{
    uint8_t bytes[VARINT_BYTES_MAX];
    return buf_append(buf, bytes_of(bytes, varint_put(bytes, value)), err);
}

enum sorex_status buf_printf(struct buf *buf, struct sorex_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(length >= 0);
    enum sorex_status status = buf_reserve(buf, (size_t)length + 1, err);
    if (status != SOREX_OK)
        return status;
    va_start(args, format);
    (void)vsnprintf((char *)buf->data + buf->len, (size_t)length + 1, format, args);
    va_end(args);
    buf->len += (size_t)length;
    return SOREX_OK;
}

enum sorex_status buf_append_hex(struct buf *buf, struct bytes bytes, struct sorex_error *err)
{
    enum sorex_status status = buf_reserve(buf, bytes.len * 2, err);
    if (status != SOREX_OK)
        return status;
    hex_encode(bytes, (char *)buf->data + buf->len);
    buf->len += bytes.len * 2;
    return SOREX_OK;
}

uint8_t *buf_steal(struct buf *buf, size_t *out_len)
{
    uint8_t *data = buf->data;
    *out_len = buf->len;
    *buf = (struct buf){.max = buf->max};
    return data;
}
