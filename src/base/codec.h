/* Fixed-width little- and big-endian integers and LEB128 varints: the one place where numbers become bytes. */
#ifndef SOREX_BASE_CODEC_H
#define SOREX_BASE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

static inline uint16_t u16le_get(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t u32le_get(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t u64le_get(const uint8_t *p) { return (uint64_t)u32le_get(p) | (uint64_t)u32le_get(p + 4) << 32; }
static inline void u16le_put(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void u32le_put(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline void u64le_put(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline uint16_t u16be_get(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t u32be_get(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}
static inline uint64_t u64be_get(const uint8_t *p) { return (uint64_t)u32be_get(p) << 32 | (uint64_t)u32be_get(p + 4); }
static inline void u16be_put(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void u32be_put(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[3 - i] = (uint8_t)(v >> (8 * i));
}
static inline void u64be_put(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[7 - i] = (uint8_t)(v >> (8 * i));
}

#define VARINT_BYTES_MAX 10

/* Writes LEB128; returns the number of bytes (1 to 10). */
size_t varint_put(uint8_t *out, uint64_t value);

/* A reader over a view: every take_ returns false, and leaves the output alone, when the bytes run out or do not decode. */
struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct reader reader_of(struct bytes bytes)
{
    return (struct reader){bytes.data, bytes.len == 0 ? bytes.data : bytes.data + bytes.len};
}
static inline size_t reader_left(const struct reader *r) { return (size_t)(r->end - r->at); }
bool reader_take(struct reader *r, size_t len, struct bytes *out);
bool reader_u8(struct reader *r, uint8_t *out);
bool reader_u32le(struct reader *r, uint32_t *out);
bool reader_u64le(struct reader *r, uint64_t *out);
bool reader_varint(struct reader *r, uint64_t *out);
/* varint length, then that many bytes. */
bool reader_bytes(struct reader *r, struct bytes *out);
/* Bitcoin's CompactSize: 1, 3, 5 or 9 bytes. Source: Bitcoin protocol, "Variable length integer". */
bool reader_compact_size(struct reader *r, uint64_t *out);

#endif
