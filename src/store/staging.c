#include "store/staging.h"

#include <stdlib.h>

#include "base/check.h"
#include "store/commitment.h"

#define STAGING_KEEP_BYTES ((size_t)8 << 20)

void staging_init(struct staging *staging) { *staging = (struct staging){0}; }

void staging_deinit(struct staging *staging)
{
    free(staging->nodes.items);
    buf_deinit(&staging->emitted);
    buf_deinit(&staging->stored);
    *staging = (struct staging){0};
}

static void buf_empty(struct buf *buf)
{
    if (buf->cap > STAGING_KEEP_BYTES)
        buf_deinit(buf);
    else
        buf_reset(buf);
}

void staging_start(struct staging *staging, const struct entry *entry, bool amending)
{
    staging->active = true;
    staging->amending = amending;
    staging->entry = *entry;
    staging->entry.payload = (struct bytes){0};
}

enum sorex_status staging_write(struct staging *staging, struct generation *generation, struct bytes key,
                                enum version_kind kind, struct bytes value, struct sorex_error *err)
{
    const struct version_record record = {.height = staging->entry.height, .kind = kind, .value = value};
    struct node *node = generation_node(generation, key, key_hash(key));
    struct version *version = node == NULL ? NULL : version_new(&generation->arena, &record);
    if (version == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: stage a value of %zu bytes", value.len);
    if (node->pending == NULL) {
        TRY(node_list_reserve(&staging->nodes, 1, err));
        staging->nodes.items[staging->nodes.count++] = node;
        staging->bytes += key.len;
    }
    node->pending = version;
    staging->bytes += value.len;
    return SOREX_OK;
}

enum sorex_status staging_emit(struct staging *staging, uint16_t program, struct bytes emitted, struct bytes stored,
                               struct sorex_error *err)
{
    if (staging->change_count >= SOREX_ENTRY_CHANGES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "more than %zu changes in one entry", SOREX_ENTRY_CHANGES_MAX);
    uint8_t id[2];
    u16le_put(id, program);
    TRY(buf_reserve(&staging->emitted, 2 + 4 + emitted.len, err));
    TRY(buf_reserve(&staging->stored, 2 + VARINT_BYTES_MAX + stored.len, err));
    if (emitted.len != 0) {
        TRY(buf_append(&staging->emitted, bytes_of(id, 2), err));
        TRY(buf_append_u32le(&staging->emitted, (uint32_t)emitted.len, err));
        TRY(buf_append(&staging->emitted, emitted, err));
    }
    if (stored.len == 0)
        return SOREX_OK;
    TRY(buf_append(&staging->stored, bytes_of(id, 2), err));
    TRY(buf_append_varint(&staging->stored, stored.len, err));
    TRY(buf_append(&staging->stored, stored, err));
    staging->change_count++;
    return SOREX_OK;
}

/* Takes the next change off the emitted ones. */
static bool emitted_next(struct reader *reader, uint16_t *out_program, struct bytes *out)
{
    struct bytes id;
    uint32_t len = 0;
    if (!reader_take(reader, 2, &id) || !reader_u32le(reader, &len) || !reader_take(reader, len, out))
        return false;
    *out_program = u16le_get(id.data);
    return true;
}

static enum sorex_status changes_commit(const struct staging *staging, struct commitment *commitment, uint16_t program,
                                        struct sorex_error *err)
{
    uint32_t count = 0;
    uint16_t of = 0;
    struct bytes change;
    for (struct reader r = reader_of(buf_view(&staging->emitted)); emitted_next(&r, &of, &change);)
        count += of == program;
    TRY(commitment_changes(commitment, count, err));
    for (struct reader r = reader_of(buf_view(&staging->emitted)); emitted_next(&r, &of, &change);)
        if (of == program)
            TRY(commitment_change(commitment, change, err));
    return SOREX_OK;
}

enum sorex_status staging_commitment(const struct staging *staging, struct sha256 *hash, struct buf *scratch,
                                     size_t *first, uint16_t program, const uint8_t before[HASH_BYTES],
                                     uint8_t out[HASH_BYTES], struct sorex_error *err)
{
    struct node *const *nodes = staging->nodes.items;
    struct commitment commitment = {.hash = hash, .scratch = scratch};
    size_t end = *first;
    while (end < staging->nodes.count && u16be_get(nodes[end]->key) == program)
        end++;
    TRY(commitment_start(&commitment, before, &staging->entry, (uint32_t)(end - *first), err));
    for (size_t i = *first; i < end; i++) {
        const struct node *node = nodes[i];
        bool present = !version_deleted(node->pending);
        struct bytes key = bytes_of(node->key + SPACE_BYTES, node->key_len - SPACE_BYTES);
        struct bytes value = present ? version_value(node->pending) : (struct bytes){0};
        TRY(commitment_write(&commitment, node->key[SPACE_BYTES - 1], key, present ? &value : NULL, err));
    }
    TRY(changes_commit(staging, &commitment, program, err));
    commitment_finish(&commitment, out);
    *first = end;
    return SOREX_OK;
}

void staging_drop(struct staging *staging)
{
    for (size_t i = 0; i < staging->nodes.count; i++)
        staging->nodes.items[i]->pending = NULL;
    staging_end(staging);
}

void staging_end(struct staging *staging)
{
    staging->active = false;
    staging->amending = false;
    staging->nodes.count = 0;
    buf_empty(&staging->emitted);
    buf_empty(&staging->stored);
    staging->change_count = 0;
    staging->bytes = 0;
}
