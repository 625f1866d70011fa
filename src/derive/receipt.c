#include "derive/receipt.h"

#include "base/check.h"
#include "base/codec.h"

#define TRACE_CHAIN "sorex trace 1\n"
#define RECEIPT_MAGIC "SOREXRC1"
#define RECEIPT_MAGIC_BYTES 8u

void receipt_init(struct receipt *receipt, const uint8_t key_0[SHA256_BYTES])
{
    memset(receipt, 0, sizeof *receipt);
    receipt->step = 1;
    chain_begin(LOG_CHAIN, receipt->log);
    chain_begin(TRACE_CHAIN, receipt->trace);
    memcpy(receipt->key, key_0, SHA256_BYTES);
}

void receipt_init_from(struct receipt *receipt, const struct receipt *end)
{
    *receipt = *end;
    receipt->from = end->count;
    receipt->step = 1;
    receipt->points_count = receipt->digests_count = 0;
}

/* Every second point goes. */
static void points_thin(struct receipt *receipt)
{
    receipt->step *= 2;
    receipt->points_count /= 2;
    for (uint32_t i = 0; i < receipt->points_count; i++)
        receipt->points[i] = receipt->points[2 * i + 1];
}

void receipt_add(struct receipt *receipt, const struct logged *logged, const uint8_t effect[SHA256_BYTES],
                 bool rejected)
{
    CHECK(logged->index == receipt->count);
    receipt->count++;
    receipt->rejected += rejected;
    receipt->time_ms = logged->message.time_ms;
    memcpy(receipt->log, logged->log, SHA256_BYTES);
    chain_add(receipt->key, logged->hash);
    chain_add(receipt->trace, effect);
    if (receipt->points_count == RECEIPT_POINTS_MAX)
        points_thin(receipt);
    if ((receipt->count - receipt->from) % receipt->step != 0)
        return;
    struct receipt_point *point = &receipt->points[receipt->points_count++];
    memcpy(point->key, receipt->key, SHA256_BYTES);
    memcpy(point->trace, receipt->trace, SHA256_BYTES);
}

bool receipt_wants_digest(uint64_t count)
{
    if (count < RECEIPT_DIGEST_FIRST)
        return false;
    while (count % 2 == 0)
        count /= 2;
    return count == 1 || count == 3;
}

void receipt_digest_add(struct receipt *receipt, const uint8_t digest[SHA256_BYTES])
{
    CHECK(receipt->digests_count < RECEIPT_DIGESTS_MAX);
    struct receipt_digest *out = &receipt->digests[receipt->digests_count++];
    out->count = receipt->count;
    memcpy(out->digest, digest, SHA256_BYTES);
}

const struct receipt_point *receipt_point_at(const struct receipt *receipt, uint64_t count)
{
    if (count <= receipt->from || (count - receipt->from) % receipt->step != 0)
        return NULL;
    uint64_t at = (count - receipt->from) / receipt->step - 1;
    return at < receipt->points_count ? &receipt->points[at] : NULL;
}

/* ---- bytes ---- */

static enum sorex_status append_hash(struct buf *out, const uint8_t hash[SHA256_BYTES], struct sorex_error *err)
{
    return buf_append(out, bytes_of(hash, SHA256_BYTES), err);
}

enum sorex_status receipt_encode(const struct receipt *receipt, struct buf *out, struct sorex_error *err)
{
    const uint64_t head[] = {receipt->from, receipt->count, receipt->rejected, (uint64_t)receipt->time_ms};
    TRY(buf_append(out, bytes_of(RECEIPT_MAGIC, RECEIPT_MAGIC_BYTES), err));
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
        TRY(buf_append_u64le(out, head[i], err));
    TRY(append_hash(out, receipt->log, err));
    TRY(append_hash(out, receipt->key, err));
    TRY(append_hash(out, receipt->trace, err));
    TRY(buf_append_u64le(out, receipt->step, err));
    TRY(buf_append_u32le(out, receipt->points_count, err));
    TRY(buf_append(out, bytes_of(receipt->points, receipt->points_count * sizeof receipt->points[0]), err));
    TRY(buf_append_u32le(out, receipt->digests_count, err));
    for (uint32_t i = 0; i < receipt->digests_count; i++) {
        TRY(buf_append_u64le(out, receipt->digests[i].count, err));
        TRY(append_hash(out, receipt->digests[i].digest, err));
    }
    return SOREX_OK;
}

static bool take_hash(struct reader *reader, uint8_t out[SHA256_BYTES])
{
    struct bytes bytes;
    if (!reader_take(reader, SHA256_BYTES, &bytes))
        return false;
    memcpy(out, bytes.data, SHA256_BYTES);
    return true;
}

static bool take_lists(struct reader *reader, struct receipt *out)
{
    if (!reader_u32le(reader, &out->points_count) || out->points_count > RECEIPT_POINTS_MAX)
        return false;
    for (uint32_t i = 0; i < out->points_count; i++)
        if (!take_hash(reader, out->points[i].key) || !take_hash(reader, out->points[i].trace))
            return false;
    if (!reader_u32le(reader, &out->digests_count) || out->digests_count > RECEIPT_DIGESTS_MAX)
        return false;
    for (uint32_t i = 0; i < out->digests_count; i++)
        if (!reader_u64le(reader, &out->digests[i].count) || !take_hash(reader, out->digests[i].digest))
            return false;
    return reader_left(reader) == 0;
}

/* Whether the numbers fit together: what follows relies on it. */
static bool sound(const struct receipt *receipt)
{
    uint64_t covered = receipt->count - receipt->from;
    if (receipt->from > receipt->count || receipt->rejected > receipt->count || receipt->step == 0 ||
        (receipt->step & (receipt->step - 1)) != 0 || receipt->points_count != covered / receipt->step)
        return false;
    for (uint32_t i = 0; i < receipt->digests_count; i++)
        if (receipt->digests[i].count > receipt->count ||
            receipt->digests[i].count <= (i > 0 ? receipt->digests[i - 1].count : receipt->from))
            return false;
    return true;
}

enum sorex_status receipt_decode(struct bytes bytes, struct receipt *out, struct sorex_error *err)
{
    struct reader reader = reader_of(bytes);
    struct bytes magic;
    uint64_t time;
    memset(out, 0, sizeof *out);
    if (!reader_take(&reader, RECEIPT_MAGIC_BYTES, &magic) ||
        memcmp(magic.data, RECEIPT_MAGIC, RECEIPT_MAGIC_BYTES) != 0 || !reader_u64le(&reader, &out->from) ||
        !reader_u64le(&reader, &out->count) || !reader_u64le(&reader, &out->rejected) ||
        !reader_u64le(&reader, &time) || !take_hash(&reader, out->log) || !take_hash(&reader, out->key) ||
        !take_hash(&reader, out->trace) || !reader_u64le(&reader, &out->step) || !take_lists(&reader, out))
        return sorex_error_set(err, SOREX_CORRUPT, "the receipt does not decode");
    out->time_ms = (int64_t)time;
    return sound(out) ? SOREX_OK : sorex_error_set(err, SOREX_CORRUPT, "the receipt's numbers do not fit together");
}
