/* Bytes, memory and numbers for guests without libc.
 *
 * Memory is taken by moving a pointer up from the end of the data and growing the module's memory when it runs out.
 * Nothing is freed: the instance lives for one entry. A buffer that is the last thing on the heap grows in place.
 * The headers that need no host (this one, map.h, sha256.h, bitcoin.h, json.h) also compile natively, for tests. */
#ifndef SOREX_SDK_BYTES_H
#define SOREX_SDK_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes a function visible to the host under a name. */
#define SOREX_EXPORT(name) __attribute__((export_name(name)))

/* ---- memory ---- */

#if defined(__wasm__)

/* The compiler calls these by name. Weak: every source file of a guest may include this header. */
__attribute__((weak)) void *memcpy(void *restrict dst, const void *restrict src, size_t n);
__attribute__((weak)) void *memmove(void *dst, const void *src, size_t n);
__attribute__((weak)) void *memset(void *dst, int value, size_t n);
__attribute__((weak)) int memcmp(const void *a, const void *b, size_t n);

__attribute__((weak)) void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
    uint8_t *d = dst;
    const uint8_t *s = src;
    for (; n >= 8; n -= 8, d += 8, s += 8)
        __builtin_memcpy(d, s, 8);
    while (n-- > 0)
        *d++ = *s++;
    return dst;
}

__attribute__((weak)) void *memmove(void *dst, const void *src, size_t n)
{
    uint8_t *d = dst;
    const uint8_t *s = src;
    if (d <= s || d >= s + n)
        return memcpy(dst, src, n);
    while (n-- > 0)
        d[n] = s[n];
    return dst;
}

__attribute__((weak)) void *memset(void *dst, int value, size_t n)
{
    uint8_t *d = dst;
    uint64_t word = 0x0101010101010101u * (uint8_t)value;
    for (; n >= 8; n -= 8, d += 8)
        __builtin_memcpy(d, &word, 8);
    while (n-- > 0)
        *d++ = (uint8_t)value;
    return dst;
}

__attribute__((weak)) int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (; n > 0; n--, x++, y++)
        if (*x != *y)
            return *x < *y ? -1 : 1;
    return 0;
}

extern uint8_t __heap_base; /* made by the linker: the first byte after the data */
__attribute__((weak)) uint8_t *sx_heap_end = &__heap_base;

/* Makes [sx_heap_end, sx_heap_end + more) usable; traps when the host gives no more memory. */
static inline void sx_heap_reserve(size_t more)
{
    size_t have = __builtin_wasm_memory_size(0) << 16, want = (size_t)sx_heap_end + more;
    if (want < more)
        __builtin_trap();
    if (want <= have)
        return;
    size_t pages = (want - have + 0xffff) >> 16;
    if (__builtin_wasm_memory_grow(0, pages < 16 ? 16 : pages) == (size_t)-1 &&
        __builtin_wasm_memory_grow(0, pages) == (size_t)-1)
        __builtin_trap();
}

/* 8-byte aligned; not cleared (fresh memory is zero, and nothing is used twice). Never NULL. */
static inline void *sx_alloc(size_t n)
{
    size_t pad = -(size_t)sx_heap_end & 7;
    sx_heap_reserve(n + pad);
    uint8_t *p = sx_heap_end + pad;
    sx_heap_end = p + n;
    return p;
}

/* Grows the last allocation in place; false when it is not the last. */
static inline bool sx_extend(uint8_t *end, size_t more)
{
    if (end != sx_heap_end)
        return false;
    sx_heap_reserve(more);
    sx_heap_end += more;
    return true;
}

#else /* native, for tests: never freed either */

#include <stdlib.h>
#include <string.h>

/* Everything hangs on one list, so that leak checkers see that it is still reachable. */
static union sx_native {
    union sx_native *next;
    max_align_t align;
} *sx_native_list;

static inline void *sx_alloc(size_t n)
{
    union sx_native *p = calloc(1, sizeof *p + n);
    if (p == NULL)
        abort();
    p->next = sx_native_list;
    sx_native_list = p;
    return p + 1;
}

static inline bool sx_extend(uint8_t *end, size_t more)
{
    (void)end;
    (void)more;
    return false;
}

#endif

/* ---- a view of bytes ---- */

struct sx_bytes {
    const uint8_t *data;
    uint32_t len;
};

static inline struct sx_bytes sx_bytes_of(const void *data, uint32_t len) { return (struct sx_bytes){data, len}; }

static inline struct sx_bytes sx_str(const char *text)
{
    uint32_t len = 0;
    while (text[len] != 0)
        len++;
    return sx_bytes_of(text, len);
}

static inline bool sx_bytes_equal(struct sx_bytes a, struct sx_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* ---- little-endian numbers (wasm is little-endian and reads at any address) ---- */

static inline uint32_t sx_u32_get(const uint8_t *p)
{
    uint32_t v;
    __builtin_memcpy(&v, p, 4);
    return v;
}
static inline uint64_t sx_u64_get(const uint8_t *p)
{
    uint64_t v;
    __builtin_memcpy(&v, p, 8);
    return v;
}
static inline void sx_u32_put(uint8_t *p, uint32_t v) { __builtin_memcpy(p, &v, 4); }
static inline void sx_u64_put(uint8_t *p, uint64_t v) { __builtin_memcpy(p, &v, 8); }

/* ---- a buffer that grows ----
 * Four bytes in front of the data are kept for the length that both guest contracts want there. */

struct sx_buf {
    uint8_t *data;
    uint32_t len, cap;
};

/* Room for `more` bytes after len. */
static inline uint8_t *sx_buf_reserve(struct sx_buf *buf, uint32_t more)
{
    if (buf->cap - buf->len >= more)
        return buf->data + buf->len;
    uint32_t need = buf->len + more, cap = buf->cap < 64 ? 64 : buf->cap;
    if (need < more)
        __builtin_trap();
    while (cap < need)
        cap = cap > UINT32_MAX / 2 ? need : cap * 2;
    if (buf->data == NULL || !sx_extend(buf->data + buf->cap, cap - buf->cap)) {
        uint8_t *data = (uint8_t *)sx_alloc((size_t)cap + 8) + 8;
        if (buf->len > 0)
            memcpy(data, buf->data, buf->len);
        buf->data = data;
    }
    buf->cap = cap;
    return buf->data + buf->len;
}

static inline void sx_buf_u8(struct sx_buf *buf, uint8_t v)
{
    *sx_buf_reserve(buf, 1) = v;
    buf->len++;
}
static inline void sx_buf_u32(struct sx_buf *buf, uint32_t v)
{
    sx_u32_put(sx_buf_reserve(buf, 4), v);
    buf->len += 4;
}
static inline void sx_buf_u64(struct sx_buf *buf, uint64_t v)
{
    sx_u64_put(sx_buf_reserve(buf, 8), v);
    buf->len += 8;
}
static inline void sx_buf_bytes(struct sx_buf *buf, struct sx_bytes bytes)
{
    uint8_t *at = sx_buf_reserve(buf, bytes.len);
    if (bytes.len > 0)
        memcpy(at, bytes.data, bytes.len);
    buf->len += bytes.len;
}
static inline void sx_buf_str(struct sx_buf *buf, const char *text) { sx_buf_bytes(buf, sx_str(text)); }

/* LEB128. */
static inline void sx_buf_varint(struct sx_buf *buf, uint64_t v)
{
    uint8_t *at = sx_buf_reserve(buf, 10);
    uint32_t n = 0;
    for (; v >= 0x80; v >>= 7)
        at[n++] = (uint8_t)(v | 0x80);
    at[n++] = (uint8_t)v;
    buf->len += n;
}

/* Two lower-case hex digits a byte. */
static inline void sx_buf_hex(struct sx_buf *buf, struct sx_bytes bytes)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *at = sx_buf_reserve(buf, bytes.len * 2);
    for (uint32_t i = 0; i < bytes.len; i++) {
        at[2 * i] = (uint8_t)digits[bytes.data[i] >> 4];
        at[2 * i + 1] = (uint8_t)digits[bytes.data[i] & 15];
    }
    buf->len += bytes.len * 2;
}

static inline void sx_buf_decimal(struct sx_buf *buf, uint64_t v)
{
    char text[20];
    uint32_t at = sizeof text;
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    sx_buf_bytes(buf, sx_bytes_of(text + at, (uint32_t)sizeof text - at));
}

static inline struct sx_bytes sx_buf_view(const struct sx_buf *buf) { return sx_bytes_of(buf->data, buf->len); }

/* Writes the length in front of the data and returns the address of the data. */
static inline uint8_t *sx_buf_prefixed(struct sx_buf *buf)
{
    sx_buf_reserve(buf, 0);
    if (buf->data == NULL)
        sx_buf_reserve(buf, 1);
    sx_u32_put(buf->data - 4, buf->len);
    return buf->data;
}

/* ---- reading ---- every call returns false, and takes nothing, when the bytes run out. */

struct sx_reader {
    const uint8_t *at, *end;
};

static inline struct sx_reader sx_reader_of(struct sx_bytes bytes)
{
    return (struct sx_reader){bytes.data, bytes.data + bytes.len};
}
static inline uint32_t sx_left(const struct sx_reader *r) { return (uint32_t)(r->end - r->at); }

static inline bool sx_take(struct sx_reader *r, uint64_t len, struct sx_bytes *out)
{
    if (sx_left(r) < len)
        return false;
    *out = sx_bytes_of(r->at, (uint32_t)len);
    r->at += len;
    return true;
}
static inline bool sx_take_u8(struct sx_reader *r, uint8_t *out)
{
    if (sx_left(r) < 1)
        return false;
    *out = *r->at++;
    return true;
}
static inline bool sx_take_u32(struct sx_reader *r, uint32_t *out)
{
    if (sx_left(r) < 4)
        return false;
    *out = sx_u32_get(r->at);
    r->at += 4;
    return true;
}
static inline bool sx_take_u64(struct sx_reader *r, uint64_t *out)
{
    if (sx_left(r) < 8)
        return false;
    *out = sx_u64_get(r->at);
    r->at += 8;
    return true;
}
static inline bool sx_take_varint(struct sx_reader *r, uint64_t *out)
{
    uint64_t v = 0;
    const uint8_t *at = r->at;
    for (unsigned shift = 0; shift < 64 && at < r->end; shift += 7) {
        uint8_t byte = *at++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            r->at = at;
            *out = v;
            return true;
        }
    }
    return false;
}

#endif
