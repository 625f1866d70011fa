#include "store/staging.h"

#include <stdlib.h>

#include "base/check.h"

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
    struct node *node = generation_node(generation, key, key_hash(key));
    struct version *version = node == NULL ? NULL : version_new(&generation->arena, staging->entry.height, kind, value);
    if (version == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "stage a value of %zu bytes", value.len);
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
    TRY(buf_append(&staging->emitted, bytes_of(id, 2), err));
    TRY(buf_append_u32le(&staging->emitted, (uint32_t)emitted.len, err));
    TRY(buf_append(&staging->emitted, emitted, err));
    if (stored.len == 0)
        return SOREX_OK;
    TRY(buf_append(&staging->stored, bytes_of(id, 2), err));
    TRY(buf_append_varint(&staging->stored, stored.len, err));
    TRY(buf_append(&staging->stored, stored, err));
    staging->change_count++;
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
