/* libFuzzer: each stored record's decoder. The first byte chooses it. What decodes lies inside the record, and where an
 * encoder stands beside the decoder, encoding it again and decoding that gives the same. */
#include "base/check.h"
#include "store/lineage.h"
#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct bytes part, struct bytes whole)
{
    CHECK(part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len));
}

static void versions(struct bytes record)
{
    struct version_record version = {0};
    if (!state_decode(record, &version))
        return;
    inside(version.value, record);
    inside(version.lineage, record);
    struct buf again = {0};
    CHECK(buf_reserve(&again, state_len(&version), NULL) == SOREX_OK);
    state_encode(again.data, &version);
    CHECK(bytes_equal(bytes_of(again.data, state_len(&version)), record));
    buf_deinit(&again);
    if (version.height == 0 || version.height == UINT32_MAX - 1)
        return;
    uint32_t above = lineage_above(version.lineage, version.height, version.height / 2);
    CHECK(above > version.height / 2 && above <= version.height);
    uint8_t next[LINEAGE_BYTES_MAX];
    size_t len = lineage_next(next, version.lineage, version.height, version.height + 1, version.height / 2);
    struct reader r = reader_of(bytes_of(next, len));
    struct bytes read;
    uint64_t number = 0;
    struct reader n = reader_of(version.lineage);
    if (version.lineage.len == 0 || (reader_varint(&n, &number) && number < UINT32_MAX))
        CHECK(lineage_read(&r, version.height + 1, &read) && read.len == len);
}

static void undo(struct bytes record)
{
    struct undo_reader undo;
    struct undo_item item;
    struct buf key = {0};
    enum sorex_status status = SOREX_OK;
    struct undo_builder again = {0};
    if (!undo_open(&undo, record, &key))
        return;
    uint64_t at = undo.at, total = undo.total, count = 0;
    CHECK(undo_begin(&again, at, total, NULL) == SOREX_OK);
    for (; undo_next(&undo, &item, &status); count++) {
        inside(item.buried.value, record);
        inside(item.buried.lineage, record);
        CHECK(undo_append(&again, &item, NULL) == SOREX_OK);
    }
    CHECK(count <= total && count <= record.len);
    if (status == SOREX_OK) {
        struct undo_reader second;
        CHECK(undo_open(&second, buf_view(&again.record), &key));
        while (undo_next(&second, &item, &status))
            count--;
        CHECK(status == SOREX_OK && count == 0);
    }
    buf_deinit(&key);
    undo_builder_deinit(&again);
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
