#include "derive/archive.h"

#include "base/check.h"
#include "base/codec.h"

#define ARCHIVE_MAGIC "SOREXSN1"
#define HEAD_BYTES (8u + SHA256_BYTES + 8u)
#define RECEIPT_COUNT_OFFSET 16u /* in a receipt's bytes */

static enum sorex_status append_part(struct buf *out, struct bytes part, struct sorex_error *err)
{
    TRY(buf_append_u32le(out, (uint32_t)part.len, err));
    return buf_append(out, part, err);
}

static enum sorex_status write_content(const struct archive *archive, struct buf *out, struct sorex_error *err)
{
    struct buf receipt = {0};
    enum sorex_status status = receipt_encode(&archive->receipt, &receipt, err);
    if (status == SOREX_OK)
        status = append_part(out, archive->identity, err);
    if (status == SOREX_OK)
        status = append_part(out, bytes_of(archive->place, archive->place != NULL ? SHA256_BYTES : 0), err);
    if (status == SOREX_OK)
        status = append_part(out, buf_view(&receipt), err);
    if (status == SOREX_OK)
        status = append_part(out, archive->settings, err);
    if (status == SOREX_OK)
        status = append_part(out, archive->module, err);
    if (status == SOREX_OK)
        status = buf_append(out, archive->image, err);
    buf_deinit(&receipt);
    return status;
}

enum sorex_status archive_write(const struct archive *archive, struct buf *out, struct sorex_error *err)
{
    static const uint8_t none[HEAD_BYTES];
    size_t begin = out->len;
    TRY(buf_append(out, bytes_of(none, sizeof none), err));
    TRY(write_content(archive, out, err));
    struct bytes content = bytes_of(out->data + begin + HEAD_BYTES, out->len - begin - HEAD_BYTES);
    memcpy(out->data + begin, ARCHIVE_MAGIC, 8);
    sha256_once(content, out->data + begin + 8);
    u64le_put(out->data + begin + 8 + SHA256_BYTES, content.len);
    return SOREX_OK;
}

static bool take_part(struct reader *reader, struct bytes *out)
{
    uint32_t len;
    return reader_u32le(reader, &len) && reader_take(reader, len, out);
}

static bool take_head(struct reader *reader, uint8_t hash[SHA256_BYTES], uint64_t *out_len)
{
    struct bytes magic, sum;
    if (!reader_take(reader, 8, &magic) || memcmp(magic.data, ARCHIVE_MAGIC, 8) != 0 ||
        !reader_take(reader, SHA256_BYTES, &sum) || !reader_u64le(reader, out_len))
        return false;
    memcpy(hash, sum.data, SHA256_BYTES);
    return true;
}

/* The same, which has the length of a hash, or none. */
static bool take_place(struct reader *reader, struct bytes *out)
{
    return take_part(reader, out) && (out->len == 0 || out->len == SHA256_BYTES);
}

enum sorex_status archive_read(struct bytes bytes, struct archive *out, struct sorex_error *err)
{
    struct reader reader = reader_of(bytes);
    uint8_t wanted[SHA256_BYTES], hash[SHA256_BYTES];
    uint64_t len;
    struct bytes place, receipt;
    if (!take_head(&reader, wanted, &len))
        return sorex_error_set(err, SOREX_CORRUPT, "no snapshot of a derivation");
    if (len != reader_left(&reader))
        return sorex_error_set(err, SOREX_CORRUPT, "the snapshot is cut off, or something stands behind it");
    sha256_once(bytes_of(reader.at, reader_left(&reader)), hash);
    if (memcmp(hash, wanted, sizeof hash) != 0)
        return sorex_error_set(err, SOREX_CORRUPT, "the snapshot is damaged: its hash is another one");
    if (!take_part(&reader, &out->identity) || !take_place(&reader, &place) || !take_part(&reader, &receipt) ||
        !take_part(&reader, &out->settings) || !take_part(&reader, &out->module))
        return sorex_error_set(err, SOREX_CORRUPT, "the snapshot does not decode");
    out->place = place.len != 0 ? place.data : NULL;
    out->image = bytes_of(reader.at, reader_left(&reader));
    return receipt_decode(receipt, &out->receipt, err);
}

bool archive_head_read(struct bytes head, struct archive_head *out)
{
    struct reader reader = reader_of(head);
    uint8_t hash[SHA256_BYTES];
    uint64_t len;
    uint32_t receipt;
    struct bytes identity, place, skipped;
    *out = (struct archive_head){0};
    if (!take_head(&reader, hash, &len) || !take_part(&reader, &identity) || !take_place(&reader, &place) ||
        !reader_u32le(&reader, &receipt) || !reader_take(&reader, RECEIPT_COUNT_OFFSET, &skipped))
        return false;
    if (place.len != 0)
        memcpy(out->place, place.data, SHA256_BYTES);
    return reader_u64le(&reader, &out->count);
}
