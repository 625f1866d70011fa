#include "store/commitment.h"

#include "base/check.h"
#include "base/codec.h"

/* Bytes gathered before they are hashed: calls into the library cost more than the bytes of a small key. */
#define COMMITMENT_CHUNK ((size_t)32 << 10)

static void drain(struct commitment *commitment, size_t above)
{
    if (commitment->scratch->len <= above)
        return;
    sha256_update(commitment->hash, buf_view(commitment->scratch));
    buf_reset(commitment->scratch);
}

enum sorex_status commitment_start(struct commitment *commitment, const uint8_t before[HASH_BYTES], const struct entry *entry,
                                   uint32_t writes, struct sorex_error *err)
{
    sha256_start(commitment->hash);
    buf_reset(commitment->scratch);
    TRY(buf_append(commitment->scratch, bytes_of(before, HASH_BYTES), err));
    TRY(buf_append(commitment->scratch, bytes_of(entry->hash, HASH_BYTES), err));
    TRY(buf_append(commitment->scratch, bytes_of(entry->parent, HASH_BYTES), err));
    return buf_append_u32le(commitment->scratch, writes, err);
}

enum sorex_status commitment_write(struct commitment *commitment, uint8_t kind, struct bytes key, const struct bytes *value,
                                   struct sorex_error *err)
{
    struct buf *scratch = commitment->scratch;
    struct bytes content = value != NULL ? *value : (struct bytes){0};
    TRY(buf_reserve(scratch, 10 + key.len, err));
    uint8_t *to = scratch->data + scratch->len;
    to[0] = kind;
    u32le_put(to + 1, (uint32_t)key.len);
    if (key.len != 0)
        memcpy(to + 5, key.data, key.len);
    to += 5 + key.len;
    to[0] = value != NULL ? 1 : 0;
    u32le_put(to + 1, (uint32_t)content.len);
    scratch->len += 10 + key.len;
    if (content.len < COMMITMENT_CHUNK)
        TRY(buf_append(scratch, content, err));
    drain(commitment, content.len < COMMITMENT_CHUNK ? COMMITMENT_CHUNK : 0);
    if (content.len >= COMMITMENT_CHUNK)
        sha256_update(commitment->hash, content);
    return SOREX_OK;
}

enum sorex_status commitment_changes(struct commitment *commitment, uint32_t changes, struct sorex_error *err)
{
    return buf_append_u32le(commitment->scratch, changes, err);
}

enum sorex_status commitment_change(struct commitment *commitment, struct bytes emitted, struct sorex_error *err)
{
    TRY(buf_append_u32le(commitment->scratch, (uint32_t)emitted.len, err));
    TRY(buf_append(commitment->scratch, emitted, err));
    drain(commitment, COMMITMENT_CHUNK);
    return SOREX_OK;
}

void commitment_finish(struct commitment *commitment, uint8_t out[HASH_BYTES])
{
    drain(commitment, 0);
    sha256_finish(commitment->hash, out);
}
