/* The C SDK, compiled natively: hashes against OpenSSL, blocks against their Merkle roots, JSON against the reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "sorex/bitcoin.h"
#include "sorex/json.h"
#include "sorex/map.h"

#include "base/bytes.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/sha256.h"
#include "json/json.h"

static void read_source_file(const char *name, struct buf *out)
{
    struct sorex_error err = {0};
    char path[4096];
    const char *dir = getenv("SOREX_SOURCE_DIR");
    assert_non_null(dir);
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(file_read(path, (size_t)1 << 30, out, &err), SOREX_OK);
}

static void hash_agrees_with_openssl_at_every_length(void **state)
{
    (void)state;
    uint8_t data[400], ours[32], theirs[32];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 167 + 13);
    for (uint32_t len = 0; len <= sizeof data; len++) {
        sx_sha256(sx_bytes_of(data, len), ours);
        sha256_once(bytes_of(data, len), theirs);
        assert_memory_equal(ours, theirs, 32);
        for (uint32_t cut = 0; cut <= len; cut += 37) {
            struct sx_sha256 hash;
            sx_sha256_init(&hash);
            sx_sha256_update(&hash, sx_bytes_of(data, cut));
            sx_sha256_update(&hash, sx_bytes_of(data + cut, len - cut));
            sx_sha256_finish(&hash, ours);
            assert_memory_equal(ours, theirs, 32);
        }
    }
}

/* Reads a whole block; checks its txids against the Merkle root in its header (an odd level repeats its last hash). */
static void check_block(struct bytes raw, uint64_t *out_inputs, uint64_t *out_outputs)
{
    struct sx_block block;
    struct sx_tx tx;
    struct sx_input input;
    struct sx_output output;
    uint64_t inputs = 0, outputs = 0;
    assert_true(sx_block_open(&block, sx_bytes_of(raw.data, (uint32_t)raw.len)));
    uint8_t *hashes = malloc((size_t)32 * (block.tx_count + 1));
    assert_non_null(hashes);
    size_t n = 0;
    while (sx_block_next(&block, &tx)) {
        uint32_t tx_inputs = 0, tx_outputs = 0;
        assert_int_equal(tx.coinbase, n == 0);
        while (sx_tx_input(&tx, &input))
            tx_inputs++;
        while (sx_tx_output(&tx, &output))
            tx_outputs++;
        assert_int_equal(tx_inputs, tx.input_count);
        assert_int_equal(tx_outputs, tx.output_count);
        inputs += tx_inputs;
        outputs += tx_outputs;
        memcpy(hashes + 32 * n++, tx.txid, 32);
    }
    assert_false(block.bad);
    assert_int_equal(n, block.tx_count);
    for (; n > 1; n = (n + 1) / 2) {
        if (n % 2 == 1)
            memcpy(hashes + 32 * n, hashes + 32 * (n - 1), 32);
        for (size_t i = 0; i < n; i += 2)
            sha256_double(bytes_of(hashes + 32 * i, 64), hashes + 16 * i);
    }
    assert_memory_equal(hashes, block.header.data + 36, 32);
    free(hashes);
    *out_inputs += inputs;
    *out_outputs += outputs;
}

static void txids_of_segwit_blocks_hash_to_the_merkle_root(void **state)
{
    (void)state;
    static const char *const files[] = {"tests/data/blocks/767430.bin", "tests/data/blocks/840243.bin"};
    for (size_t i = 0; i < 2; i++) {
        struct buf raw = {0};
        uint64_t inputs = 0, outputs = 0;
        read_source_file(files[i], &raw);
        check_block(buf_view(&raw), &inputs, &outputs);
        assert_true(inputs > 5000 && outputs > 5000);
        buf_deinit(&raw);
    }
}

/* Block 170 holds the first payment: txid f4184fc5...9e16, 10 BTC to Hal Finney, 40 back. */
static void check_first_payment(struct bytes raw)
{
    static const uint8_t txid[32] = {0x16, 0x9e, 0x1e, 0x83, 0xe9, 0x30, 0x85, 0x33, 0x91, 0xbc, 0x6f,
                                     0x35, 0xf6, 0x05, 0xc6, 0x75, 0x4c, 0xfe, 0xad, 0x57, 0xcf, 0x83,
                                     0x87, 0x63, 0x9d, 0x3b, 0x40, 0x96, 0xc5, 0x4f, 0x18, 0xf4};
    struct sx_block block;
    struct sx_tx tx;
    struct sx_output output;
    assert_true(sx_block_open(&block, sx_bytes_of(raw.data, (uint32_t)raw.len)));
    assert_true(sx_block_next(&block, &tx));
    assert_true(sx_block_next(&block, &tx));
    assert_memory_equal(tx.txid, txid, 32);
    assert_true(sx_tx_output(&tx, &output));
    assert_int_equal(output.value, 1000000000);
    assert_true(sx_tx_output(&tx, &output));
    assert_int_equal(output.value, 4000000000);
    assert_false(sx_tx_output(&tx, &output));
}

static void early_blocks_hash_to_their_merkle_roots(void **state)
{
    (void)state;
    struct buf file = {0};
    uint64_t inputs = 0, outputs = 0;
    uint32_t height = 0, magic, len;
    struct bytes raw;
    read_source_file("examples/blocks/blk00000.dat", &file);
    struct reader r = reader_of(buf_view(&file));
    for (; reader_left(&r) > 0; height++) {
        assert_true(reader_u32le(&r, &magic) && reader_u32le(&r, &len) && reader_take(&r, len, &raw));
        assert_int_equal(magic, 0xd9b4bef9);
        check_block(raw, &inputs, &outputs);
        if (height == 170)
            check_first_payment(raw);
    }
    assert_int_equal(height, 14132);
    buf_deinit(&file);
}

/* Every cut of a block is refused, and none is read past its end (the copy is exactly as long as the cut, for ASan to
 * see). */
static void cut_and_lengthened_blocks_are_bad(void **state)
{
    (void)state;
    struct buf file = {0};
    read_source_file("examples/blocks/blk00000.dat", &file);
    size_t at = 0;
    for (int i = 0; i < 170; i++)
        at += 8 + u32le_get(file.data + at + 4);
    uint32_t len = u32le_get(file.data + at + 4);
    assert_true(len > 400);
    for (uint32_t cut = 0; cut <= len + 1; cut++) {
        struct sx_block block;
        struct sx_tx tx;
        uint8_t *copy = malloc(cut == 0 ? 1 : cut);
        assert_non_null(copy);
        memcpy(copy, file.data + at + 8, cut);
        if (sx_block_open(&block, sx_bytes_of(copy, cut)))
            while (sx_block_next(&block, &tx))
                ;
        assert_int_equal(block.bad, cut != len);
        free(copy);
    }
    buf_deinit(&file);
}

static void map_keeps_order_and_finds_all(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static uint8_t keys[COUNT][13];
    struct sx_map map;
    sx_map_init(&map, 1);
    for (uint32_t i = 0; i < COUNT; i++) {
        u32le_put(keys[i], i * 2654435761u);
        assert_null(sx_map_find(&map, sx_bytes_of(keys[i], 4 + i % 10)));
        sx_map_at(&map, sx_bytes_of(keys[i], 4 + i % 10))->value = i;
    }
    assert_int_equal(map.count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(map.entries[i].value, i);
        assert_ptr_equal(sx_map_at(&map, sx_bytes_of(keys[i], 4 + i % 10)), &map.entries[i]);
    }
    assert_int_equal(map.count, COUNT);
    assert_null(sx_map_find(&map, sx_bytes_of(keys[1], 3)));
    assert_null(sx_map_find(&map, sx_bytes_of(NULL, 0)));
    sx_map_at(&map, sx_bytes_of(NULL, 0))->value = 7;
    const struct sx_map_entry *empty = sx_map_find(&map, sx_bytes_of(NULL, 0));
    assert_true(empty != NULL && empty->value == 7);
}

static void numbers_read_back(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, 127, 128, 300, 16383, 16384, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct sx_buf buf = {0};
        uint64_t value = 0, again = 0;
        sx_buf_varint(&buf, values[i]);
        struct reader theirs = reader_of(bytes_of(buf.data, buf.len));
        assert_true(reader_varint(&theirs, &again));
        assert_int_equal(reader_left(&theirs), 0);
        assert_true(again == values[i]);
        struct sx_reader ours = sx_reader_of(sx_buf_view(&buf));
        assert_true(sx_take_varint(&ours, &value));
        assert_true(value == values[i] && sx_left(&ours) == 0);
        ours = sx_reader_of(sx_bytes_of(buf.data, buf.len - 1));
        assert_false(sx_take_varint(&ours, &value));
        buf.len = 0;
        sx_buf_decimal(&buf, values[i]);
        sx_buf_u8(&buf, 0);
        assert_true(strtoull((const char *)buf.data, NULL, 10) == values[i]);
    }
}

static void prefixed_buffers_have_their_length_in_front(void **state)
{
    (void)state;
    struct sx_buf buf = {0};
    uint8_t *at = sx_buf_prefixed(&buf);
    assert_int_equal(u32le_get(at - 4), 0);
    for (uint32_t i = 0; i < 1000; i++)
        sx_buf_u8(&buf, (uint8_t)i);
    at = sx_buf_prefixed(&buf);
    assert_int_equal(u32le_get(at - 4), 1000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(at[i], (uint8_t)i);
}

static void json_parses_back(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct sx_json json = {0};
    struct json_parser *parser;
    struct json_doc doc;
    int64_t low;
    sx_json_begin(&json, '[');
    sx_json_begin(&json, '{');
    sx_json_name(&json, "a\"b\\c\n");
    sx_json_text(&json, "x\ty\x01");
    sx_json_name(&json, "list");
    sx_json_begin(&json, '[');
    sx_json_uint(&json, UINT64_MAX);
    sx_json_int(&json, INT64_MIN);
    sx_json_bool(&json, true);
    sx_json_hex(&json, sx_str("\xde\xad"));
    sx_json_begin(&json, '{');
    sx_json_end(&json, '}');
    sx_json_end(&json, ']');
    sx_json_end(&json, '}');
    sx_json_int(&json, 5);
    sx_json_end(&json, ']');
    assert_int_equal(json_parser_new(&parser, &err), SOREX_OK);
    assert_int_equal(json_parse(parser, bytes_of(json.text.data, json.text.len), &doc, &err), SOREX_OK);
    const struct json_node *object = json_first(&doc, &doc.nodes[0]);
    assert_int_equal(doc.nodes[0].children, 2);
    assert_true(bytes_is(json_first(&doc, object)->key, "a\"b\\c\n"));
    assert_true(bytes_is(json_first(&doc, object)->text, "x\ty\x01"));
    const struct json_node *item = json_first(&doc, json_member(&doc, object, "list"));
    assert_true(bytes_is(item->raw, "18446744073709551615"));
    item = json_next(&doc, item);
    assert_true(json_i64(item, &low) && low == INT64_MIN);
    item = json_next(&doc, json_next(&doc, item));
    assert_true(bytes_is(item->text, "dead"));
    json_parser_free(parser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_agrees_with_openssl_at_every_length),
        cmocka_unit_test(txids_of_segwit_blocks_hash_to_the_merkle_root),
        cmocka_unit_test(early_blocks_hash_to_their_merkle_roots),
        cmocka_unit_test(cut_and_lengthened_blocks_are_bad),
        cmocka_unit_test(map_keeps_order_and_finds_all),
        cmocka_unit_test(numbers_read_back),
        cmocka_unit_test(prefixed_buffers_have_their_length_in_front),
        cmocka_unit_test(json_parses_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
