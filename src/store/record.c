#include "store/record.h"

#include "base/check.h"

#define RECORD_VERSION 1

void space_put(uint8_t out[SPACE_BYTES], struct store_space space)
{
    u16be_put(out, space.program);
    out[2] = space.kind;
}

bool buried_decode(struct bytes buried, struct version_record *out)
{
    if (buried.len < 1)
        return false;
    uint8_t kind = buried.data[0];
    if (kind != VERSION_VALUE && !(kind == VERSION_DELETED && buried.len == 1))
        return false;
    out->kind = (enum version_kind)kind;
    out->value = bytes_of(buried.data + 1, buried.len - 1);
    return true;
}

bool state_decode(struct bytes record, struct version_record *out)
{
    if (record.len < STATE_HEAD_BYTES)
        return false;
    out->height = u32le_get(record.data);
    return out->height != SOREX_HEIGHT_NONE && buried_decode(bytes_of(record.data + 4, record.len - 4), out);
}

enum sorex_status history_key(struct buf *out, struct bytes state_key, uint32_t height, struct sorex_error *err)
{
    CHECK(state_key.len >= SPACE_BYTES);
    buf_reset(out);
    TRY(buf_reserve(out, 2 * state_key.len + 6, err));
    uint8_t *to = out->data;
    memcpy(to, state_key.data, SPACE_BYTES);
    to += SPACE_BYTES;
    for (size_t i = SPACE_BYTES; i < state_key.len; i++) {
        *to++ = state_key.data[i];
        if (state_key.data[i] == 0)
            *to++ = 0xff;
    }
    *to++ = 0;
    *to++ = 0;
    u32be_put(to, height);
    out->len = (size_t)(to + 4 - out->data);
    return SOREX_OK;
}

bool history_decode(struct bytes record, uint32_t height, uint32_t *out_buried_by)
{
    struct reader r = reader_of(record);
    uint64_t distance = 0;
    if (!reader_varint(&r, &distance) || reader_left(&r) != 0 || distance == 0 ||
        distance >= (uint64_t)SOREX_HEIGHT_NONE - height)
        return false;
    *out_buried_by = height + (uint32_t)distance;
    return true;
}

/* ---- undo ---- */

enum sorex_status undo_begin(struct buf *out, uint64_t at, uint64_t total, struct sorex_error *err)
{
    buf_reset(out);
    TRY(buf_append_u8(out, RECORD_VERSION, err));
    TRY(buf_append_varint(out, at, err));
    return buf_append_varint(out, total, err);
}

enum sorex_status undo_append(struct buf *out, const struct undo_item *item, struct sorex_error *err)
{
    TRY(buf_reserve(out, item->key.len + item->buried.len + 3 * VARINT_BYTES_MAX, err));
    uint8_t *to = out->data + out->len;
    to += varint_put(to, item->key.len);
    memcpy(to, item->key.data, item->key.len);
    to += item->key.len;
    uint64_t previous = item->had_previous ? (uint64_t)item->previous + 1 : 0;
    to += varint_put(to, previous << 1 | (item->deleted ? 1 : 0));
    if (item->had_previous) {
        to += varint_put(to, item->buried.len);
        memcpy(to, item->buried.data, item->buried.len);
        to += item->buried.len;
    }
    out->len = (size_t)(to - out->data);
    return SOREX_OK;
}

bool undo_open(struct undo_reader *undo, struct bytes record)
{
    uint8_t version = 0;
    undo->reader = reader_of(record);
    return reader_u8(&undo->reader, &version) && version == RECORD_VERSION && reader_varint(&undo->reader, &undo->at) &&
           reader_varint(&undo->reader, &undo->total) && undo->at <= undo->total;
}

bool undo_next(struct undo_reader *undo, struct undo_item *out, bool *out_ok)
{
    *out_ok = true;
    if (reader_left(&undo->reader) == 0)
        return false;
    uint64_t word = 0;
    struct version_record version;
    *out_ok = undo->at < undo->total && reader_bytes(&undo->reader, &out->key) && out->key.len >= SPACE_BYTES &&
              reader_varint(&undo->reader, &word) && (word >> 1) <= SOREX_HEIGHT_NONE;
    out->had_previous = *out_ok && (word >> 1) != 0;
    out->buried = (struct bytes){0};
    if (out->had_previous)
        *out_ok = reader_bytes(&undo->reader, &out->buried) && buried_decode(out->buried, &version);
    if (!*out_ok)
        return false;
    undo->at++;
    out->deleted = (word & 1) != 0;
    out->previous = out->had_previous ? (uint32_t)((word >> 1) - 1) : 0;
    return true;
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
