/* Pointers that cross the border between guest and host, checked. All of them are unsigned 32-bit offsets into the
 * guest's memory, and the u32 little-endian length of the payload lies beside it:
 *
 *   contract 1 (indexers)    [length][payload]   the pointer is the payload's: the length is at pointer - 4
 *   contract 2 (transforms)  [length][payload]   the pointer is the length's: the payload is at pointer + 4
 *
 * A view into the memory is valid until the guest runs again: it may write there, or grow the memory and so move it. */
#ifndef SOREX_GUEST_BUFFERS_H
#define SOREX_GUEST_BUFFERS_H

#include "base/bytes.h"
#include "base/codec.h"

struct guest_memory {
    uint8_t *data;
    size_t len;
};

/* len bytes at pointer. False when any of them lies outside. */
static inline bool buffer_at(struct guest_memory memory, uint32_t pointer, uint64_t len, struct bytes *out)
{
    if (pointer > memory.len || len > memory.len - pointer)
        return false;
    *out = bytes_of(memory.data + pointer, (size_t)len);
    return true;
}

/* As buffer_at, to be written to. */
static inline uint8_t *buffer_target(struct guest_memory memory, uint32_t pointer, uint64_t len)
{
    return pointer > memory.len || len > memory.len - pointer ? NULL : memory.data + pointer;
}

/* The payload of contract 1. */
static inline bool buffer_payload(struct guest_memory memory, uint32_t pointer, struct bytes *out)
{
    struct bytes prefix;
    return pointer >= 4 && buffer_at(memory, pointer - 4, 4, &prefix) &&
           buffer_at(memory, pointer, u32le_get(prefix.data), out);
}

/* The payload of contract 2. */
static inline bool buffer_prefixed(struct guest_memory memory, uint32_t pointer, struct bytes *out)
{
    struct bytes prefix;
    if (!buffer_at(memory, pointer, 4, &prefix) || memory.len - pointer - 4 < u32le_get(prefix.data))
        return false;
    *out = bytes_of(prefix.data + 4, u32le_get(prefix.data));
    return true;
}

#endif
