#include "store/record.h"

#include "base/check.h"
#include "store/lineage.h"

#define RECORD_VERSION 1

void space_put(uint8_t out[SPACE_BYTES], struct store_space space)
{
    u16be_put(out, space.program);
    out[2] = space.kind;
}

bool state_decode(struct bytes record, struct version_record *out)
{
    if (record.len < STATE_HEAD_BYTES)
        return false;
    struct reader r = {record.data + STATE_HEAD_BYTES, record.data + record.len};
    uint8_t kind = record.data[STATE_HEAD_BYTES - 1];
    *out = (struct version_record){.height = u32le_get(record.data)};
    if (out->height == SOREX_HEIGHT_NONE ||
        ((kind & STATE_KIND_LINEAGE) != 0 && !lineage_read(&r, out->height, &out->lineage)))
        return false;
    out->kind = (enum version_kind)(kind & ~STATE_KIND_LINEAGE);
    out->value = bytes_of(r.at, reader_left(&r));
    return out->kind == VERSION_VALUE || (out->kind == VERSION_DELETED && out->value.len == 0);
}

void state_encode(uint8_t *out, const struct version_record *version)
{
    u32le_put(out, version->height);
    out[STATE_HEAD_BYTES - 1] =
        (uint8_t)((unsigned)version->kind | (version->lineage.len != 0 ? STATE_KIND_LINEAGE : 0u));
    out += STATE_HEAD_BYTES;
    if (version->lineage.len != 0)
        memcpy(out, version->lineage.data, version->lineage.len);
    out += version->lineage.len;
    if (version->value.len != 0)
        memcpy(out, version->value.data, version->value.len);
}

/* ---- undo ---- */

#define UNDO_VERSION 2
#define UNDO_FLAGS_AT 1
#define UNDO_DELETES 1u

void undo_builder_deinit(struct undo_builder *builder)
{
    buf_deinit(&builder->record);
    buf_deinit(&builder->key);
}

enum sorex_status undo_begin(struct undo_builder *builder, uint64_t at, uint64_t total, struct sorex_error *err)
{
    buf_reset(&builder->record);
    buf_reset(&builder->key);
    TRY(buf_append_u8(&builder->record, UNDO_VERSION, err));
    TRY(buf_append_u8(&builder->record, 0, err));
    TRY(buf_append_varint(&builder->record, at, err));
    return buf_append_varint(&builder->record, total, err);
}

static size_t shared_len(struct bytes a, struct bytes b)
{
    size_t most = a.len < b.len ? a.len : b.len, shared = 0;
    while (shared < most && a.data[shared] == b.data[shared])
        shared++;
    return shared;
}

enum sorex_status undo_append(struct undo_builder *builder, const struct undo_item *item, struct sorex_error *err)
{
    struct buf *record = &builder->record, *key = &builder->key;
    size_t buried_len = item->buried.kind != VERSION_ABSENT ? state_len(&item->buried) : 0;
    size_t shared = shared_len(buf_view(key), item->key), rest = item->key.len - shared;
    TRY(buf_reserve(record, rest + buried_len + 3 * VARINT_BYTES_MAX, err));
    key->len = shared;
    TRY(buf_append(key, bytes_of(item->key.data + shared, rest), err));
    uint8_t *to = record->data + record->len;
    to += varint_put(to, shared);
    to += varint_put(to, rest);
    memcpy(to, item->key.data + shared, rest);
    to += rest;
    to += varint_put(to, (uint64_t)buried_len << 1 | (item->deleted ? 1 : 0));
    if (buried_len != 0)
        state_encode(to, &item->buried);
    record->len = (size_t)(to + buried_len - record->data);
    if (item->deleted)
        record->data[UNDO_FLAGS_AT] |= UNDO_DELETES;
    return SOREX_OK;
}

bool undo_open(struct undo_reader *undo, struct bytes record, struct buf *key)
{
    uint8_t version = 0, flags = 0;
    undo->reader = reader_of(record);
    undo->key = key;
    buf_reset(key);
    if (!reader_u8(&undo->reader, &version) || version != UNDO_VERSION || !reader_u8(&undo->reader, &flags) ||
        (flags & ~UNDO_DELETES) != 0 || !reader_varint(&undo->reader, &undo->at) ||
        !reader_varint(&undo->reader, &undo->total))
        return false;
    undo->deletes = (flags & UNDO_DELETES) != 0;
    return undo->at <= undo->total;
}

static enum sorex_status undo_read(struct undo_reader *undo, struct undo_item *out)
{
    uint64_t shared = 0, word = 0;
    struct bytes rest, buried;
    if (undo->at >= undo->total || !reader_varint(&undo->reader, &shared) || shared > undo->key->len ||
        !reader_bytes(&undo->reader, &rest) || !reader_varint(&undo->reader, &word) ||
        word >> 1 > reader_left(&undo->reader) || !reader_take(&undo->reader, (size_t)(word >> 1), &buried))
        return SOREX_CORRUPT;
    undo->key->len = (size_t)shared;
    enum sorex_status status = buf_append(undo->key, rest, NULL);
    if (status != SOREX_OK)
        return status;
    out->key = buf_view(undo->key);
    out->deleted = (word & 1) != 0;
    out->buried = (struct version_record){0};
    undo->at++;
    bool ok = out->key.len >= SPACE_BYTES && (buried.len == 0 || state_decode(buried, &out->buried)) &&
              (undo->deletes || !out->deleted);
    return ok ? SOREX_OK : SOREX_CORRUPT;
}

bool undo_next(struct undo_reader *undo, struct undo_item *out, enum sorex_status *out_status)
{
    *out_status = SOREX_OK;
    if (reader_left(&undo->reader) == 0)
        return false;
    *out_status = undo_read(undo, out);
    return *out_status == SOREX_OK;
}

/* ---- entries ---- */

enum sorex_status entry_encode(struct buf *out, const struct entry_record *record, struct sorex_error *err)
{
    buf_reset(out);
    TRY(buf_append_u8(out, RECORD_VERSION, err));
    TRY(buf_append(out, bytes_of(record->entry.hash, HASH_BYTES), err));
    TRY(buf_append(out, bytes_of(record->entry.parent, HASH_BYTES), err));
    TRY(buf_append_u64le(out, record->entry.time_ms, err));
    TRY(buf_append_u64le(out, record->outbox_head, err));
    TRY(buf_append_varint(out, record->sequence_count, err));
    TRY(buf_append(out, record->sequences, err));
    TRY(buf_append_varint(out, record->commitment_count, err));
    return buf_append(out, record->commitments, err);
}

bool entry_decode(struct bytes bytes, uint32_t height, struct entry_record *out)
{
    struct reader r = reader_of(bytes);
    uint8_t version = 0;
    struct bytes hash, parent;
    *out = (struct entry_record){.entry.height = height};
    if (!reader_u8(&r, &version) || version != RECORD_VERSION || !reader_take(&r, HASH_BYTES, &hash) ||
        !reader_take(&r, HASH_BYTES, &parent) || !reader_u64le(&r, &out->entry.time_ms) ||
        !reader_u64le(&r, &out->outbox_head) || !reader_varint(&r, &out->sequence_count))
        return false;
    memcpy(out->entry.hash, hash.data, HASH_BYTES);
    memcpy(out->entry.parent, parent.data, HASH_BYTES);

    const uint8_t *start = r.at;
    uint64_t before = 0;
    for (uint64_t i = 0; i < out->sequence_count; i++) {
        uint64_t sequence = 0;
        if (!reader_varint(&r, &sequence) || sequence <= before || sequence > out->outbox_head)
            return false;
        before = sequence;
    }
    out->sequences = bytes_of(start, (size_t)(r.at - start));
    return reader_varint(&r, &out->commitment_count) && out->commitment_count <= UINT16_MAX + (uint64_t)1 &&
           reader_take(&r, (size_t)out->commitment_count * COMMITMENT_BYTES, &out->commitments) && reader_left(&r) == 0;
}

const uint8_t *entry_commitment(const struct entry_record *record, uint16_t program)
{
    for (uint64_t i = 0; i < record->commitment_count; i++) {
        const uint8_t *at = record->commitments.data + i * COMMITMENT_BYTES;
        if (u16le_get(at) == program)
            return at + 2;
    }
    return NULL;
}

/* ---- outbox ---- */

enum sorex_status outbox_encode(struct buf *out, const struct outbox_record *record, uint64_t offset,
                                struct sorex_error *err)
{
    buf_reset(out);
    TRY(buf_append_u8(out, RECORD_VERSION, err));
    TRY(buf_append_u8(out, (uint8_t)record->kind, err));
    TRY(buf_append_u32le(out, record->height, err));
    TRY(buf_append(out, bytes_of(record->hash, HASH_BYTES), err));
    TRY(buf_append_u64le(out, record->time_ms, err));
    TRY(buf_append_u64le(out, offset, err));
    if (record->kind == OUTBOX_UNDO)
        return buf_append_u64le(out, record->undone, err);
    TRY(buf_append_varint(out, record->change_count, err));
    return buf_append(out, record->changes, err);
}

static bool changes_check(struct bytes changes, uint32_t count)
{
    bool ok = true;
    uint16_t program = 0;
    struct bytes json;
    while (count > 0 && outbox_change_next(&changes, &program, &json, &ok))
        count--;
    return ok && count == 0 && changes.len == 0;
}

bool outbox_decode(struct bytes bytes, uint64_t sequence, struct outbox_record *out, uint64_t *out_offset)
{
    struct reader r = reader_of(bytes);
    uint8_t version = 0, kind = 0;
    struct bytes hash;
    *out = (struct outbox_record){.sequence = sequence};
    if (!reader_u8(&r, &version) || version != RECORD_VERSION || !reader_u8(&r, &kind) ||
        !reader_u32le(&r, &out->height) || !reader_take(&r, HASH_BYTES, &hash) || !reader_u64le(&r, &out->time_ms) ||
        !reader_u64le(&r, out_offset))
        return false;
    memcpy(out->hash, hash.data, HASH_BYTES);
    if (kind == OUTBOX_UNDO) {
        out->kind = OUTBOX_UNDO;
        return reader_u64le(&r, &out->undone) && out->undone != 0 && out->undone < sequence && reader_left(&r) == 0;
    }
    uint64_t count = 0;
    if (kind != OUTBOX_APPLY || !reader_varint(&r, &count) || count > SOREX_ENTRY_CHANGES_MAX)
        return false;
    out->kind = OUTBOX_APPLY;
    out->change_count = (uint32_t)count;
    out->changes = bytes_of(r.at, reader_left(&r));
    return changes_check(out->changes, out->change_count);
}

bool outbox_change_next(struct bytes *changes, uint16_t *out_program, struct bytes *out_json, bool *out_ok)
{
    *out_ok = true;
    if (changes->len == 0)
        return false;
    struct reader r = reader_of(*changes);
    struct bytes program;
    if (!reader_take(&r, 2, &program) || !reader_bytes(&r, out_json)) {
        *out_ok = false;
        return false;
    }
    *out_program = u16le_get(program.data);
    *changes = bytes_of(r.at, reader_left(&r));
    return true;
}

/* ---- meta ---- */

void head_encode(uint8_t out[HEAD_BYTES], const struct head *head)
{
    out[0] = RECORD_VERSION;
    u32le_put(out + 1, head->first);
    u32le_put(out + 5, head->tip);
    u32le_put(out + 9, head->horizon);
    u32le_put(out + 13, head->pruned);
    u64le_put(out + 17, head->outbox_first);
    u64le_put(out + 25, head->outbox_head);
    u64le_put(out + 33, head->outbox_offset);
}

bool head_decode(struct bytes record, struct head *out)
{
    if (record.len != HEAD_BYTES || record.data[0] != RECORD_VERSION)
        return false;
    const uint8_t *at = record.data;
    *out = (struct head){.first = u32le_get(at + 1),
                         .tip = u32le_get(at + 5),
                         .horizon = u32le_get(at + 9),
                         .pruned = u32le_get(at + 13),
                         .outbox_first = u64le_get(at + 17),
                         .outbox_head = u64le_get(at + 25),
                         .outbox_offset = u64le_get(at + 33)};
    bool empty = out->first == SOREX_HEIGHT_NONE && out->tip == SOREX_HEIGHT_NONE &&
                 out->horizon == SOREX_HEIGHT_NONE && out->pruned == SOREX_HEIGHT_NONE;
    bool ordered = out->first <= out->pruned && out->pruned <= out->horizon && out->horizon <= out->tip &&
                   out->tip != SOREX_HEIGHT_NONE;
    return (empty || ordered) && out->outbox_first >= 1 && out->outbox_first <= out->outbox_head + 1;
}
