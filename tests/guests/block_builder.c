#include "guests/block_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/sha256.h"

static void put(struct buf *out, struct bytes bytes) { assert_int_equal(buf_append(out, bytes, NULL), SOREX_OK); }
static void put_u8(struct buf *out, uint8_t v) { assert_int_equal(buf_append_u8(out, v, NULL), SOREX_OK); }
static void put_u32(struct buf *out, uint32_t v) { assert_int_equal(buf_append_u32le(out, v, NULL), SOREX_OK); }
static void put_u64(struct buf *out, uint64_t v) { assert_int_equal(buf_append_u64le(out, v, NULL), SOREX_OK); }

static void put_script(struct buf *out, struct bytes script)
{
    if (script.len < 0xfd) {
        put_u8(out, (uint8_t)script.len);
    } else {
        assert_true(script.len <= 0xffff);
        put_u8(out, 0xfd);
        put_u8(out, (uint8_t)script.len);
        put_u8(out, (uint8_t)(script.len >> 8));
    }
    put(out, script);
}

static void put_tx(struct buf *out, const struct made_tx *tx, bool witness)
{
    put_u32(out, 2);
    if (witness)
        put(out, bytes_of("\x00\x01", 2));
    put_u8(out, (uint8_t)tx->input_count);
    for (size_t i = 0; i < tx->input_count; i++) {
        put(out, bytes_of(tx->inputs[i].txid, 32));
        put_u32(out, tx->inputs[i].number);
        put_script(out, bytes_str("sig"));
        put_u32(out, UINT32_MAX);
    }
    put_u8(out, (uint8_t)tx->output_count);
    for (size_t i = 0; i < tx->output_count; i++) {
        put_u64(out, tx->outputs[i].value);
        put_script(out, tx->outputs[i].script);
    }
    for (size_t i = 0; witness && i < tx->input_count; i++) {
        put_u8(out, 2);
        put_script(out, bytes_str("signature"));
        put_script(out, bytes_of(NULL, 0));
    }
    put_u32(out, tx->salt);
}

void made_txid(struct made_tx *tx)
{
    struct buf text = {0};
    put_tx(&text, tx, false);
    sha256_double(buf_view(&text), tx->txid);
    buf_deinit(&text);
}

void block_make(struct buf *out, uint32_t time, struct made_tx *txs, size_t count)
{
    static const uint8_t zeros[80];
    buf_reset(out);
    put(out, bytes_of(zeros, 68));
    put_u32(out, time);
    put(out, bytes_of(zeros, 8));
    put_u8(out, (uint8_t)count);
    for (size_t i = 0; i < count; i++) {
        made_txid(&txs[i]);
        put_tx(out, &txs[i], txs[i].witness);
    }
}

struct made_tx made_coinbase(uint32_t salt, uint64_t value, struct bytes script)
{
    struct made_tx tx = {.input_count = 1, .output_count = 1, .salt = salt};
    tx.inputs[0].number = UINT32_MAX;
    tx.outputs[0] = (struct made_output){value, script};
    return tx;
}
