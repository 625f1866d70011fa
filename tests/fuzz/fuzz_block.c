/* libFuzzer: any bytes are a block or are refused; a block that passes the check has a header. The first byte, when
 * even: the rest is the block. When odd, the rest says how a block is built: it is accepted, unless two transactions
 * side by side in its tree are equal; and with one bit flipped in the root, or in what a transaction's id covers, it is
 * not. */
#include "base/check.h"
#include "base/codec.h"
#include "base/sha256.h"
#include "source/source.h"

#define HEADER_BYTES 80
#define MERKLE_AT 36
#define TRANSACTIONS_MAX 13

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void any_check(struct bytes block)
{
    struct entry header;
    bool has_header = block_header_parse(block, &header, NULL) == SOREX_OK;
    CHECK(has_header == (block.len >= HEADER_BYTES));
    CHECK(block_check(block, NULL) != SOREX_OK || has_header);
}

/* ---- building ---- */

/* Zeros when the input is used up. */
static uint8_t next(struct reader *input)
{
    uint8_t value = 0;
    (void)reader_u8(input, &value);
    return value;
}

static void put_u8(struct buf *out, uint8_t value) { CHECK(buf_append_u8(out, value, NULL) == SOREX_OK); }

static void put_bytes(struct buf *out, struct reader *input, size_t len)
{
    for (size_t i = 0; i < len; i++)
        put_u8(out, next(input));
}

/* Lengths are a byte of the input; the largest take the three bytes' form. */
static void put_script(struct buf *out, struct reader *input)
{
    size_t len = next(input);
    if (len >= 0xf8) {
        len *= 3;
        put_u8(out, 0xfd);
        put_u8(out, (uint8_t)len);
        put_u8(out, (uint8_t)(len >> 8));
    } else {
        len %= 64;
        put_u8(out, (uint8_t)len);
    }
    put_bytes(out, input, len);
}

static void put_inputs_and_outputs(struct buf *out, struct reader *input, size_t inputs, size_t outputs)
{
    put_u8(out, (uint8_t)inputs);
    for (size_t i = 0; i < inputs; i++) {
        put_bytes(out, input, 36);
        put_script(out, input);
        put_bytes(out, input, 4);
    }
    put_u8(out, (uint8_t)outputs);
    for (size_t i = 0; i < outputs; i++) {
        put_bytes(out, input, 8);
        put_script(out, input);
    }
}

static void put_witnesses(struct buf *out, struct reader *input, size_t inputs)
{
    for (size_t i = 0; i < inputs; i++) {
        size_t items = next(input) % 4;
        put_u8(out, (uint8_t)items);
        for (size_t j = 0; j < items; j++)
            put_script(out, input);
    }
}

static void put(struct buf *out, const struct buf *from) { CHECK(buf_append(out, buf_view(from), NULL) == SOREX_OK); }

/* Appends one transaction to the block; its id; *out_covered: the place of a byte that the id covers. */
static void put_transaction(struct buf *out, struct reader *input, uint8_t id[HASH_BYTES], size_t *out_covered)
{
    uint8_t shape = next(input);
    size_t inputs = 1 + (shape & 3), outputs = shape >> 2 & 3;
    struct buf version = {0}, body = {0}, lock_time = {0}, covered = {0};
    put_bytes(&version, input, 4);
    put_inputs_and_outputs(&body, input, inputs, outputs);
    put_bytes(&lock_time, input, 4);
    put(&covered, &version);
    put(&covered, &body);
    put(&covered, &lock_time);
    sha256_double(buf_view(&covered), id);
    *out_covered = out->len + (shape >> 4) % 4; /* in its version */
    put(out, &version);
    if ((shape & 0x80) != 0)
        CHECK(buf_append(out, bytes_of("\0\1", 2), NULL) == SOREX_OK);
    put(out, &body);
    if ((shape & 0x80) != 0)
        put_witnesses(out, input, inputs);
    put(out, &lock_time);
    buf_deinit(&version);
    buf_deinit(&body);
    buf_deinit(&lock_time);
    buf_deinit(&covered);
}

/* The root of the tree; false when two nodes side by side are equal. */
static bool root_of(uint8_t (*level)[HASH_BYTES], size_t count, uint8_t out[HASH_BYTES])
{
    bool unique = true;
    for (; count > 1; count = (count + 1) / 2) {
        for (size_t i = 0; i < count; i += 2) {
            bool alone = i + 1 == count;
            uint8_t pair[2 * HASH_BYTES];
            memcpy(pair, level[i], HASH_BYTES);
            memcpy(pair + HASH_BYTES, level[alone ? i : i + 1], HASH_BYTES);
            unique = unique && (alone || memcmp(pair, pair + HASH_BYTES, HASH_BYTES) != 0);
            sha256_double(bytes_of(pair, sizeof pair), level[i / 2]);
        }
    }
    memcpy(out, level[0], HASH_BYTES);
    return unique;
}

static void built_check(struct bytes bytes)
{
    uint8_t ids[TRANSACTIONS_MAX][HASH_BYTES];
    size_t covered[TRANSACTIONS_MAX];
    struct reader input = reader_of(bytes);
    struct buf block = {0};
    size_t count = 1 + next(&input) % TRANSACTIONS_MAX;
    uint8_t flip = next(&input);
    put_bytes(&block, &input, HEADER_BYTES);
    put_u8(&block, (uint8_t)count);
    for (size_t i = 0; i < count; i++)
        put_transaction(&block, &input, ids[i], &covered[i]);
    size_t flipped = covered[flip % count];
    bool unique = root_of(ids, count, block.data + MERKLE_AT);
    CHECK((block_check(buf_view(&block), NULL) == SOREX_OK) == unique);
    any_check(bytes_of(block.data, block.len - 1));
    CHECK(block_check(bytes_of(block.data, block.len - 1), NULL) == SOREX_CORRUPT);
    block.data[flipped] ^= (uint8_t)(1u << (flip & 7));
    CHECK(block_check(buf_view(&block), NULL) == SOREX_CORRUPT);
    block.data[flipped] ^= (uint8_t)(1u << (flip & 7));
    block.data[MERKLE_AT + flip % HASH_BYTES] ^= 1;
    CHECK(block_check(buf_view(&block), NULL) == SOREX_CORRUPT);
    buf_deinit(&block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct bytes rest = bytes_of(data + 1, size - 1);
    if ((data[0] & 1) == 0)
        any_check(rest);
    else
        built_check(rest);
    return 0;
}
