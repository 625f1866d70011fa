/* Byte views and growing buffers.
 *
 * A view (struct bytes) borrows; a buffer (struct buf) owns and has a ceiling. Text from guests, sockets and files is never
 * assumed to end in NUL: it travels as a view. */
#ifndef SOREX_BASE_BYTES_H
#define SOREX_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sorex/status.h"

struct bytes {
    const uint8_t *data; /* may be NULL when len is 0 */
    size_t len;
};

static inline struct bytes bytes_of(const void *data, size_t len)
{
    struct bytes bytes = {(const uint8_t *)data, len};
    return bytes;
}

/* A view of a NUL-terminated string, without the NUL. */
static inline struct bytes bytes_str(const char *text)
{
    return bytes_of(text, strlen(text));
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* True when the view holds exactly this string. */
static inline bool bytes_is(struct bytes a, const char *text)
{
    return bytes_equal(a, bytes_str(text));
}

/* Unsigned byte order, shorter first on a common prefix: < 0, 0, > 0. */
int bytes_compare(struct bytes a, struct bytes b);

/* printf helper: printf("%.*s", BYTES_FMT(view)). */
#define BYTES_FMT(view) (int)((view).len > 4096 ? 4096 : (view).len), (const char *)(view).data

/* An owner. Zero-initialise, or buf_init to set a ceiling; then append; then buf_deinit.
 * Every append either takes everything or leaves the buffer unchanged. */
struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max; /* ceiling in bytes; 0 = SOREX_BUF_BYTES_MAX */
};

void buf_init(struct buf *buf, size_t max);
void buf_deinit(struct buf *buf);
void buf_reset(struct buf *buf); /* len = 0, memory kept */

/* Makes room for `more` bytes after len. Errors: SOREX_LIMIT above the ceiling, SOREX_NOMEM. */
enum sorex_status buf_reserve(struct buf *buf, size_t more, struct sorex_error *err);
enum sorex_status buf_append(struct buf *buf, struct bytes bytes, struct sorex_error *err);
enum sorex_status buf_append_str(struct buf *buf, const char *text, struct sorex_error *err);
enum sorex_status buf_append_u8(struct buf *buf, uint8_t value, struct sorex_error *err);
enum sorex_status buf_append_u32le(struct buf *buf, uint32_t value, struct sorex_error *err);
enum sorex_status buf_append_u64le(struct buf *buf, uint64_t value, struct sorex_error *err);
/* LEB128, at most 10 bytes. */
enum sorex_status buf_append_varint(struct buf *buf, uint64_t value, struct sorex_error *err);
enum sorex_status buf_printf(struct buf *buf, struct sorex_error *err, const char *format, ...) SOREX_PRINTF(3, 4);
/* Lower-case hex of bytes. */
enum sorex_status buf_append_hex(struct buf *buf, struct bytes bytes, struct sorex_error *err);

static inline struct bytes buf_view(const struct buf *buf)
{
    return bytes_of(buf->data, buf->len);
}

/* Hands the memory to the caller (free()), leaving the buffer empty. */
uint8_t *buf_steal(struct buf *buf, size_t *out_len);

#endif
