/* A Bitcoin block, read where it lies. Source: Bitcoin protocol, "Block Headers", "Transactions"; BIP 141, BIP 144.
 *
 *   block  = header (80 bytes), CompactSize n, n transactions
 *   header = version u32, parent 32, merkle root 32, time u32, bits u32, nonce u32
 *   tx     = version u32, [00 01], CompactSize n, n inputs, CompactSize m, m outputs, [n witnesses], lock time u32
 *   input  = txid 32, output number u32 (together the outpoint), CompactSize length, script, sequence u32
 *   output = value u64, CompactSize length, script
 *
 * What stands in brackets is there when the transaction has witnesses. The txid is the double SHA-256 of the rest. */
#ifndef SOREX_SDK_BITCOIN_H
#define SOREX_SDK_BITCOIN_H

#include "sorex/sha256.h"

#define SX_OUTPOINT_BYTES 36

struct sx_block {
    struct sx_bytes header;
    uint32_t time; /* seconds since 1970 */
    uint32_t tx_count;
    uint32_t tx_next; /* number of the transaction that comes next */
    struct sx_reader rest;
    bool bad; /* the bytes are no block */
};

struct sx_input {
    const uint8_t *outpoint; /* SX_OUTPOINT_BYTES: txid, output number u32le */
    struct sx_bytes script;
};

struct sx_output {
    uint64_t value; /* satoshis */
    struct sx_bytes script;
};

struct sx_tx {
    uint8_t txid[32]; /* internal order; explorers show it reversed */
    bool coinbase;
    uint32_t input_count, output_count;
    struct sx_reader inputs, outputs; /* what sx_tx_input and sx_tx_output have not handed out yet */
};

static inline bool sx_take_compact(struct sx_reader *r, uint64_t *out)
{
    const uint8_t *at = r->at;
    uint8_t first;
    struct sx_bytes wide;
    if (!sx_take_u8(r, &first))
        return false;
    if (first < 0xfd) {
        *out = first;
        return true;
    }
    if (!sx_take(r, 1u << (first - 0xfc), &wide)) {
        r->at = at;
        return false;
    }
    *out = 0;
    for (uint32_t i = 0; i < wide.len; i++)
        *out |= (uint64_t)wide.data[i] << (8 * i);
    return true;
}

static inline bool sx_take_script(struct sx_reader *r, struct sx_bytes *out)
{
    uint64_t len;
    return sx_take_compact(r, &len) && sx_take(r, len, out);
}

/* The next input or output of a transaction; false after the last. */
static inline bool sx_tx_input(struct sx_tx *tx, struct sx_input *out)
{
    struct sx_bytes outpoint, sequence;
    if (!sx_take(&tx->inputs, SX_OUTPOINT_BYTES, &outpoint) || !sx_take_script(&tx->inputs, &out->script) ||
        !sx_take(&tx->inputs, 4, &sequence))
        return false;
    out->outpoint = outpoint.data;
    return true;
}

static inline bool sx_tx_output(struct sx_tx *tx, struct sx_output *out)
{
    return sx_take_u64(&tx->outputs, &out->value) && sx_take_script(&tx->outputs, &out->script);
}

/* Reads the header; sx_block_next then hands out the transactions. False when the bytes are no block. */
static inline bool sx_block_open(struct sx_block *block, struct sx_bytes raw)
{
    uint64_t count;
    *block = (struct sx_block){.rest = sx_reader_of(raw)};
    if (!sx_take(&block->rest, 80, &block->header) || !sx_take_compact(&block->rest, &count) ||
        count > sx_left(&block->rest)) {
        block->bad = true;
        return false;
    }
    block->time = sx_u32_get(block->header.data + 68);
    block->tx_count = (uint32_t)count;
    return true;
}

/* Walks over a transaction and notes where its parts are; false when it does not parse. */
static inline bool sx_tx_read(struct sx_reader *r, struct sx_tx *tx)
{
    struct sx_bytes version, lock_time, skipped;
    struct sx_input input;
    struct sx_output output;
    struct sx_sha256 hash;
    uint64_t count, items;
    bool witness = false;

    if (!sx_take(r, 4, &version))
        return false;
    if (sx_left(r) >= 2 && r->at[0] == 0 && r->at[1] != 0) {
        witness = true;
        r->at += 2;
    }
    const uint8_t *body = r->at;
    if (!sx_take_compact(r, &count) || count > sx_left(r) / 41)
        return false;
    tx->input_count = (uint32_t)count;
    tx->inputs = *r;
    for (uint32_t i = 0; i < tx->input_count; i++)
        if (!sx_tx_input(tx, &input))
            return false;
    struct sx_reader inputs = {r->at, tx->inputs.at};
    r->at = inputs.end;
    if (!sx_take_compact(r, &count) || count > sx_left(r) / 9)
        return false;
    tx->output_count = (uint32_t)count;
    tx->outputs = *r;
    for (uint32_t i = 0; i < tx->output_count; i++)
        if (!sx_tx_output(tx, &output))
            return false;
    struct sx_reader outputs = {r->at, tx->outputs.at};
    r->at = outputs.end;
    for (uint32_t i = 0; witness && i < tx->input_count; i++) {
        if (!sx_take_compact(r, &items))
            return false;
        for (; items > 0; items--)
            if (!sx_take_script(r, &skipped))
                return false;
    }
    if (!sx_take(r, 4, &lock_time))
        return false;

    sx_sha256_init(&hash);
    sx_sha256_update(&hash, version);
    sx_sha256_update(&hash, sx_bytes_of(body, (uint32_t)(outputs.end - body)));
    sx_sha256_update(&hash, lock_time);
    sx_sha256_finish_double(&hash, tx->txid);
    tx->inputs = inputs;
    tx->outputs = outputs;
    return true;
}

/* The next transaction. False after the last one, and when the bytes are no block: then block->bad is set. */
static inline bool sx_block_next(struct sx_block *block, struct sx_tx *tx)
{
    if (block->bad)
        return false;
    if (block->tx_next == block->tx_count) {
        block->bad = sx_left(&block->rest) != 0;
        return false;
    }
    if (!sx_tx_read(&block->rest, tx)) {
        block->bad = true;
        return false;
    }
    tx->coinbase = block->tx_next++ == 0;
    return true;
}

#endif
