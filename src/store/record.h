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

/* ---- versions: state records, and what undo keeps of them ---- */

enum version_kind { VERSION_ABSENT, VERSION_DELETED, VERSION_VALUE }; /* absent is never stored */
#define STATE_HEAD_BYTES 5                                            /* height, kind */
#define STATE_KIND_LINEAGE 0x80u

struct version_record {
    uint32_t height;
    enum version_kind kind;
    struct bytes lineage; /* empty: the key's first version */
    struct bytes value;
};

/* Views into the record. */
bool state_decode(struct bytes record, struct version_record *out);
static inline size_t state_len(const struct version_record *version)
{
    return STATE_HEAD_BYTES + version->lineage.len + version->value.len;
}
/* Writes state_len bytes. */
void state_encode(uint8_t *out, const struct version_record *version);

/* ---- undo ---- */

struct undo_item {
    struct bytes key;             /* a state key */
    bool deleted;                 /* the entry deleted the key */
    struct version_record buried; /* the version before; VERSION_ABSENT: there was none */
};

/* Makes the records of one entry. Zero-initialise. */
struct undo_builder {
    struct buf record, key; /* in the making; the last item's key */
};

void undo_builder_deinit(struct undo_builder *builder);
/* Starts a record whose first item is number `at` of the entry's `total`. */
enum sorex_status undo_begin(struct undo_builder *builder, uint64_t at, uint64_t total, struct sorex_error *err);
/* Adds an item; keys ascend. */
enum sorex_status undo_append(struct undo_builder *builder, const struct undo_item *item, struct sorex_error *err);

struct undo_reader {
    struct reader reader;
    struct buf *key;    /* borrowed; the item's key is here */
    bool deletes;       /* some item has `deleted` */
    uint64_t at, total; /* number of the next item, items of the entry */
};
bool undo_open(struct undo_reader *undo, struct bytes record, struct buf *key);
/* True with an item, borrowed until the next call; false at the end, or when it does not decode (SOREX_CORRUPT) or
 * memory is gone: then *out_status says so. */
bool undo_next(struct undo_reader *undo, struct undo_item *out, enum sorex_status *out_status);

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

#define STORE_FORMAT 3u

struct head {
    uint32_t first, tip, horizon, pruned;
    uint64_t outbox_first, outbox_head, outbox_offset;
};

#define HEAD_BYTES (1 + 4 * 4 + 3 * 8)

void head_encode(uint8_t out[HEAD_BYTES], const struct head *head);
bool head_decode(struct bytes record, struct head *out);

#endif
