/* libFuzzer: each stored record's decoder. The first byte chooses it. What decodes lies inside the record, and where an
 * encoder stands beside the decoder, encoding it again and decoding that gives the same. */
#include "base/check.h"
#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct bytes part, struct bytes whole)
{
    CHECK(part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len));
}

static void versions(struct bytes record)
{
    struct version_record version = {0};
    uint32_t buried_by;
    if (state_decode(record, &version))
        inside(version.value, record);
    if (buried_decode(record, &version))
        inside(version.value, record);
    if (history_decode(record, 7, &buried_by))
        CHECK(buried_by >= 7);
}

static void undo(struct bytes record)
{
    struct undo_reader undo;
    struct undo_item item;
    bool ok = true;
    if (!undo_open(&undo, record))
        return;
    uint64_t at = undo.at, total = undo.total;
    struct buf again = {0};
    CHECK(undo_begin(&again, at, total, NULL) == SOREX_OK);
    uint64_t count = 0;
    for (; undo_next(&undo, &item, &ok); count++) {
        inside(item.key, record);
        inside(item.buried, record);
        CHECK(undo_append(&again, &item, NULL) == SOREX_OK);
    }
    CHECK(count <= total && count <= record.len);
    if (ok) {
        struct undo_reader second;
        bool second_ok = true;
        CHECK(undo_open(&second, buf_view(&again)));
        while (undo_next(&second, &item, &second_ok))
            count--;
        CHECK(second_ok && count == 0);
    }
    buf_deinit(&again);
}

static void entry(struct bytes record)
{
    struct entry_record entry = {0}, second = {0};
    if (!entry_decode(record, 7, &entry))
        return;
    inside(entry.sequences, record);
    inside(entry.commitments, record);
    for (uint32_t id = 0; id < 4; id++) {
        const uint8_t *commitment = entry_commitment(&entry, (uint16_t)id);
        if (commitment != NULL)
            inside(bytes_of(commitment, HASH_BYTES), record);
    }
    struct buf again = {0};
    CHECK(entry_encode(&again, &entry, NULL) == SOREX_OK);
    CHECK(entry_decode(buf_view(&again), 7, &second));
    CHECK(bytes_equal(entry.commitments, second.commitments) && entry.outbox_head == second.outbox_head);
    buf_deinit(&again);
}

static void outbox(struct bytes record)
{
    struct outbox_record out = {0};
    uint64_t offset;
    if (!outbox_decode(record, 9, &out, &offset))
        return;
    CHECK(out.sequence == 9 && (out.kind == OUTBOX_APPLY || out.kind == OUTBOX_UNDO));
    inside(out.changes, record);
    struct bytes changes = out.changes, json;
    uint16_t program;
    bool ok = true;
    for (uint32_t i = 0; i < out.change_count && outbox_change_next(&changes, &program, &json, &ok); i++)
        inside(json, record);
}

static void head(struct bytes record)
{
    struct head head, second;
    uint8_t again[HEAD_BYTES];
    if (!head_decode(record, &head))
        return;
    head_encode(again, &head);
    CHECK(head_decode(bytes_of(again, sizeof again), &second) && memcmp(&head, &second, sizeof head) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const decoders[])(struct bytes record) = {versions, undo, entry, outbox, head};
    if (size > 0)
        decoders[data[0] % (sizeof decoders / sizeof *decoders)](bytes_of(data + 1, size - 1));
    return 0;
}
