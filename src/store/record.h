/* The records of docs/formats/store.md: the one place where they become bytes and come back.
 *
 * Decoders take a record apart to its last byte and return false when anything is left over, missing or out of range;
 * the caller turns that into SOREX_CORRUPT with the record's place. */
#ifndef SOREX_STORE_RECORD_H
#define SOREX_STORE_RECORD_H

#include "base/bytes.h"
#include "base/codec.h"
#include "base/entry.h"
#include "base/limits.h"
#include "store/store.h"

#define SPACE_BYTES 3

void space_put(uint8_t out[SPACE_BYTES], struct store_space space);

/* ---- versions: state and history records ---- */

enum version_kind { VERSION_DELETED = 1, VERSION_VALUE = 2 };
#define STATE_HEAD_BYTES 5 /* height, kind */

struct version_record {
    uint32_t height;
    enum version_kind kind;
    struct bytes value;
};

bool state_decode(struct bytes record, struct version_record *out);
/* A version as undo keeps it: the state record without its height, which is left alone. */
bool buried_decode(struct bytes buried, struct version_record *out);

/* Replaces out by the history key of a state key at a height. */
enum sorex_status history_key(struct buf *out, struct bytes state_key, uint32_t height, struct sorex_error *err);
/* The height at the end of a history key whose beginning is known to be right. */
static inline uint32_t history_key_height(struct bytes key) { return u32be_get(key.data + key.len - 4); }

/* A history record says which entry buried the version: its undo records hold the bytes. */
static inline struct bytes history_encode(uint8_t out[VARINT_BYTES_MAX], uint32_t height, uint32_t buried_by)
{
    return bytes_of(out, varint_put(out, buried_by - height));
}
bool history_decode(struct bytes record, uint32_t height, uint32_t *out_buried_by);

/* ---- undo ---- */

struct undo_item {
    struct bytes key; /* a state key */
    bool had_previous;
    bool deleted;        /* the entry deleted the key */
    uint32_t previous;   /* height of the previous version */
    struct bytes buried; /* the previous version: its state record without the height */
};

/* Starts a record whose first item is number `at` of the entry's `total`. */
enum sorex_status undo_begin(struct buf *out, uint64_t at, uint64_t total, struct sorex_error *err);
enum sorex_status undo_append(struct buf *out, const struct undo_item *item, struct sorex_error *err);

struct undo_reader {
    struct reader reader;
    uint64_t at, total; /* number of the next item, items of the entry */
};
bool undo_open(struct undo_reader *undo, struct bytes record);
/* True with an item; false at the end, or when it does not decode: then *out_ok is false. */
bool undo_next(struct undo_reader *undo, struct undo_item *out, bool *out_ok);

/* ---- entries ---- */

struct entry_record {
    struct entry entry; /* no payload */
    uint64_t outbox_head;
    struct bytes sequences; /* varints */
    uint64_t sequence_count;
    struct bytes commitments; /* count times u16le id, 32 bytes */
    uint64_t commitment_count;
};

#define COMMITMENT_BYTES (2 + HASH_BYTES)

enum sorex_status entry_encode(struct buf *out, const struct entry_record *record, struct sorex_error *err);
/* Views into the record. */
bool entry_decode(struct bytes record, uint32_t height, struct entry_record *out);
/* The program's commitment in it, or NULL. */
const uint8_t *entry_commitment(const struct entry_record *record, uint16_t program);

/* ---- outbox ---- */

#define OUTBOX_RECORD_OFFSET_AT (1 + 1 + 4 + HASH_BYTES + 8)

/* offset: bytes of all records before this one. */
enum sorex_status outbox_encode(struct buf *out, const struct outbox_record *record, uint64_t offset,
                                struct sorex_error *err);
bool outbox_decode(struct bytes bytes, uint64_t sequence, struct outbox_record *out, uint64_t *out_offset);

/* ---- meta ---- */

#define STORE_FORMAT 2u

struct head {
    uint32_t first, tip, horizon, pruned;
    uint64_t outbox_first, outbox_head, outbox_offset;
};

#define HEAD_BYTES (1 + 4 * 4 + 3 * 8)

void head_encode(uint8_t out[HEAD_BYTES], const struct head *head);
bool head_decode(struct bytes record, struct head *out);

#endif
