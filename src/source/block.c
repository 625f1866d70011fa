/* A raw Bitcoin block, read just far enough to know that it is what its hash says.
 *
 *   block        header, CompactSize number of transactions, transactions
 *   header       version u32, parent hash 32, Merkle root 32, time u32, bits u32, nonce u32: 80 bytes, little-endian
 *   transaction  version u32, [marker 00, flag 01], inputs, outputs, [a witness per input], lock time u32
 *   input        outpoint 36, CompactSize script length, script, sequence u32
 *   output       value u64, CompactSize script length, script
 *   witness      CompactSize number of items, each CompactSize length and bytes
 *
 * The id of a transaction is the double SHA-256 of it without marker, flag and witnesses. The Merkle root pairs
 * neighbours level by level, the last one with itself when their number is odd. Two equal neighbours that are not that
 * last one would give the same root for another list of transactions (CVE-2012-2459), so they are refused as Bitcoin
 * Core refuses them. Source: Bitcoin protocol, "Block Headers", "Raw Transaction Format"; BIP 144. */
#include <stdlib.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/sha256.h"
#include "source/source.h"

#define HEADER_BYTES 80
#define HEADER_PARENT 4
#define HEADER_MERKLE 36
#define HEADER_TIME 68
#define OUTPOINT_BYTES 36
#define INPUT_BYTES_MIN 41       /* outpoint, empty script, sequence */
#define OUTPUT_BYTES_MIN 9       /* value, empty script */
#define TRANSACTION_BYTES_MIN 10 /* version, no inputs, no outputs, lock time */

enum sorex_status block_header_parse(struct bytes block, struct entry *out, struct sorex_error *err)
{
    if (block.len < HEADER_BYTES)
        return sorex_error_set(err, SOREX_CORRUPT, "block of %zu bytes is shorter than its header", block.len);
    *out = (struct entry){.time_ms = (uint64_t)u32le_get(block.data + HEADER_TIME) * 1000, .payload = block};
    memcpy(out->parent, block.data + HEADER_PARENT, HASH_BYTES);
    sha256_double(bytes_of(block.data, HEADER_BYTES), out->hash);
    return SOREX_OK;
}

static bool skip(struct reader *r, uint64_t len)
{
    struct bytes skipped;
    return len <= reader_left(r) && reader_take(r, (size_t)len, &skipped);
}

static bool skip_script(struct reader *r)
{
    uint64_t len;
    return reader_compact_size(r, &len) && skip(r, len);
}

static bool skip_inputs(struct reader *r, uint64_t count)
{
    if (count > reader_left(r) / INPUT_BYTES_MIN)
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!skip(r, OUTPOINT_BYTES) || !skip_script(r) || !skip(r, 4))
            return false;
    }
    return true;
}

static bool skip_outputs(struct reader *r)
{
    uint64_t count;
    if (!reader_compact_size(r, &count) || count > reader_left(r) / OUTPUT_BYTES_MIN)
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!skip(r, 8) || !skip_script(r))
            return false;
    }
    return true;
}

static bool skip_witnesses(struct reader *r, uint64_t inputs)
{
    for (uint64_t i = 0; i < inputs; i++) {
        uint64_t items;
        if (!reader_compact_size(r, &items) || items > reader_left(r))
            return false;
        for (uint64_t j = 0; j < items; j++) {
            if (!skip_script(r))
                return false;
        }
    }
    return true;
}

/* A transaction's bytes: all of it, and the part that its id covers when it carries witnesses. */
struct transaction {
    struct bytes whole;
    struct bytes body; /* inputs and outputs with their counts */
    bool witnesses;
};

static bool take_transaction(struct reader *r, struct transaction *out)
{
    const uint8_t *start = r->at;
    uint64_t inputs;
    if (!skip(r, 4))
        return false;
    const uint8_t *body = r->at;
    if (!reader_compact_size(r, &inputs))
        return false;
    out->witnesses = inputs == 0 && reader_left(r) != 0 && *r->at == 1;
    if (out->witnesses) {
        body = r->at + 1;
        if (!skip(r, 1) || !reader_compact_size(r, &inputs) || inputs == 0)
            return false;
    }
    if (!skip_inputs(r, inputs) || !skip_outputs(r))
        return false;
    out->body = bytes_of(body, (size_t)(r->at - body));
    if ((out->witnesses && !skip_witnesses(r, inputs)) || !skip(r, 4))
        return false;
    out->whole = bytes_of(start, (size_t)(r->at - start));
    return true;
}

static enum sorex_status transaction_id(const struct transaction *tx, struct buf *scratch, uint8_t out[HASH_BYTES],
                                        struct sorex_error *err)
{
    if (!tx->witnesses) {
        sha256_double(tx->whole, out);
        return SOREX_OK;
    }
    buf_reset(scratch);
    TRY(buf_append(scratch, bytes_of(tx->whole.data, 4), err));
    TRY(buf_append(scratch, tx->body, err));
    TRY(buf_append(scratch, bytes_of(tx->whole.data + tx->whole.len - 4, 4), err));
    sha256_double(buf_view(scratch), out);
    return SOREX_OK;
}

/* Folds count ids in place; false when two neighbours are equal. */
static bool merkle_fold(uint8_t (*hashes)[HASH_BYTES], size_t count)
{
    while (count > 1) {
        for (size_t i = 0; i + 1 < count; i += 2) {
            if (memcmp(hashes[i], hashes[i + 1], HASH_BYTES) == 0)
                return false;
        }
        size_t pairs = (count + 1) / 2;
        for (size_t i = 0; i < pairs; i++) {
            uint8_t pair[2 * HASH_BYTES];
            size_t right = 2 * i + 1 < count ? 2 * i + 1 : 2 * i;
            memcpy(pair, hashes[2 * i], HASH_BYTES);
            memcpy(pair + HASH_BYTES, hashes[right], HASH_BYTES);
            sha256_double(bytes_of(pair, sizeof pair), hashes[i]);
        }
        count = pairs;
    }
    return true;
}

static enum sorex_status read_ids(struct reader *r, struct bytes block, uint8_t (*ids)[HASH_BYTES], uint64_t count,
                                  struct buf *scratch, struct sorex_error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        struct transaction tx;
        size_t at = (size_t)(r->at - block.data);
        if (!take_transaction(r, &tx))
            return sorex_error_set(err, SOREX_CORRUPT, "transaction %llu at byte %zu does not decode",
                                   (unsigned long long)i, at);
        TRY(transaction_id(&tx, scratch, ids[i], err));
    }
    return SOREX_OK;
}

enum sorex_status block_check(struct bytes block, struct sorex_error *err)
{
    struct reader r = reader_of(block);
    uint64_t count;
    if (!skip(&r, HEADER_BYTES))
        return sorex_error_set(err, SOREX_CORRUPT, "block of %zu bytes is shorter than its header", block.len);
    if (!reader_compact_size(&r, &count) || count == 0 || count > reader_left(&r) / TRANSACTION_BYTES_MIN)
        return sorex_error_set(err, SOREX_CORRUPT, "number of transactions does not fit a block of %zu bytes",
                               block.len);

    uint8_t(*ids)[HASH_BYTES] = malloc((size_t)count * HASH_BYTES);
    if (ids == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for %llu transaction ids", (unsigned long long)count);
    struct buf scratch = {0};
    enum sorex_status status = read_ids(&r, block, ids, count, &scratch, err);
    if (status != SOREX_OK)
        goto done;
    if (reader_left(&r) != 0)
        status = sorex_error_set(err, SOREX_CORRUPT, "%zu bytes follow the last transaction", reader_left(&r));
    else if (!merkle_fold(ids, (size_t)count))
        status =
            sorex_error_set(err, SOREX_CORRUPT, "transactions are repeated so that the Merkle root stays the same");
    else if (memcmp(ids[0], block.data + HEADER_MERKLE, HASH_BYTES) != 0)
        status = sorex_error_set(err, SOREX_CORRUPT, "transactions do not have the Merkle root of the header");
done:
    buf_deinit(&scratch);
    free(ids);
    return status;
}
