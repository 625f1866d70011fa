#include "base/codec.h"

size_t varint_put(uint8_t *out, uint64_t value)
{
    size_t n = 0;
    while (value >= 0x80) {
        out[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[n++] = (uint8_t)value;
    return n;
}

bool reader_take(struct reader *r, size_t len, struct bytes *out)
{
    if (reader_left(r) < len)
        return false;
    *out = bytes_of(r->at, len);
    if (len != 0)
        r->at += len;
    return true;
}

bool reader_u8(struct reader *r, uint8_t *out)
{
    struct bytes bytes;
    if (!reader_take(r, 1, &bytes))
        return false;
    *out = bytes.data[0];
    return true;
}

bool reader_u32le(struct reader *r, uint32_t *out)
{
    struct bytes bytes;
    if (!reader_take(r, 4, &bytes))
        return false;
    *out = u32le_get(bytes.data);
    return true;
}

bool reader_u64le(struct reader *r, uint64_t *out)
{
    struct bytes bytes;
    if (!reader_take(r, 8, &bytes))
        return false;
    *out = u64le_get(bytes.data);
    return true;
}

bool reader_varint(struct reader *r, uint64_t *out)
{
    uint64_t value = 0;
    const uint8_t *at = r->at;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (at == r->end)
            return false;
        uint8_t byte = *at++;
        if (shift == 63 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            r->at = at;
            *out = value;
            return true;
        }
    }
    return false;
}

bool reader_bytes(struct reader *r, struct bytes *out)
{
    struct reader ahead = *r;
    uint64_t len;
    if (!reader_varint(&ahead, &len) || len > reader_left(&ahead) || !reader_take(&ahead, (size_t)len, out))
        return false;
    *r = ahead;
    return true;
}

bool reader_compact_size(struct reader *r, uint64_t *out)
{
    struct reader ahead = *r;
    uint8_t first;
    struct bytes bytes;
    if (!reader_u8(&ahead, &first))
        return false;
    uint64_t value = first;
    if (first >= 0xfd) {
        size_t width = first == 0xfd ? 2 : first == 0xfe ? 4 : 8;
        if (!reader_take(&ahead, width, &bytes))
            return false;
        value = width == 2 ? u16le_get(bytes.data) : width == 4 ? u32le_get(bytes.data) : u64le_get(bytes.data);
    }
    *r = ahead;
    *out = value;
    return true;
}
