#include "store/commitment.h"

#include "base/check.h"

/* Bytes gathered before they are hashed: calls into the library cost more than the bytes of a small key. */
#define COMMITMENT_CHUNK ((size_t)32 << 10)

static void drain(struct sha256 *hash, struct buf *scratch, size_t above)
{
    if (scratch->len <= above)
        return;
    sha256_update(hash, buf_view(scratch));
    buf_reset(scratch);
}

static enum sorex_status add_write(struct sha256 *hash, struct buf *scratch, const struct node *node,
                                   struct sorex_error *err)
{
    const struct version *version = node->pending;
    bool present = !version_deleted(version);
    struct bytes key = bytes_of(node->key + SPACE_BYTES, node->key_len - SPACE_BYTES);
    struct bytes value = present ? version_value(version) : (struct bytes){0};
    TRY(buf_reserve(scratch, 10 + key.len, err));
    uint8_t *to = scratch->data + scratch->len;
    to[0] = node->key[SPACE_BYTES - 1];
    u32le_put(to + 1, (uint32_t)key.len);
    memcpy(to + 5, key.data, key.len);
    to += 5 + key.len;
    to[0] = present ? 1 : 0;
    u32le_put(to + 1, (uint32_t)value.len);
    scratch->len += 10 + key.len;
    if (value.len < COMMITMENT_CHUNK)
        TRY(buf_append(scratch, value, err));
    drain(hash, scratch, value.len < COMMITMENT_CHUNK ? COMMITMENT_CHUNK : 0);
    if (value.len >= COMMITMENT_CHUNK)
        sha256_update(hash, value);
    return SOREX_OK;
}

static enum sorex_status add_changes(struct sha256 *hash, struct buf *scratch, const struct staging *staging,
                                     uint16_t program, struct sorex_error *err)
{
    uint32_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        struct reader r = reader_of(buf_view(&staging->emitted));
        struct bytes id, bytes;
        uint32_t len = 0;
        while (reader_take(&r, 2, &id) && reader_u32le(&r, &len) && reader_take(&r, len, &bytes)) {
            if (u16le_get(id.data) != program)
                continue;
            if (pass == 0) {
                count++;
                continue;
            }
            TRY(buf_append_u32le(scratch, len, err));
            TRY(buf_append(scratch, bytes, err));
            drain(hash, scratch, COMMITMENT_CHUNK);
        }
        if (pass == 0)
            TRY(buf_append_u32le(scratch, count, err));
    }
    return SOREX_OK;
}

enum sorex_status commitment_next(struct sha256 *hash, struct buf *scratch, const struct staging *staging,
                                  size_t *first, uint16_t program, const uint8_t before[HASH_BYTES],
                                  uint8_t out[HASH_BYTES], struct sorex_error *err)
{
    struct node *const *nodes = staging->nodes.items;
    size_t end = *first;
    while (end < staging->nodes.count && u16be_get(nodes[end]->key) == program)
        end++;

    sha256_start(hash);
    buf_reset(scratch);
    TRY(buf_append(scratch, bytes_of(before, HASH_BYTES), err));
    TRY(buf_append(scratch, bytes_of(staging->entry.hash, HASH_BYTES), err));
    TRY(buf_append(scratch, bytes_of(staging->entry.parent, HASH_BYTES), err));
    TRY(buf_append_u32le(scratch, (uint32_t)(end - *first), err));
    for (size_t i = *first; i < end; i++)
        TRY(add_write(hash, scratch, nodes[i], err));
    TRY(add_changes(hash, scratch, staging, program, err));
    drain(hash, scratch, 0);
    sha256_finish(hash, out);
    *first = end;
    return SOREX_OK;
}
