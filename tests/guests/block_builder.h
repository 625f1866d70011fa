/* Blocks made by hand, for the rules that real blocks break too seldom. No proof of work, no Merkle root: guests check
 * neither. */
#ifndef TEST_GUESTS_BLOCK_BUILDER_H
#define TEST_GUESTS_BLOCK_BUILDER_H

#include "base/bytes.h"

struct made_input {
    uint8_t txid[32];
    uint32_t number;
};

struct made_output {
    uint64_t value;
    struct bytes script;
};

struct made_tx {
    struct made_input inputs[4];
    size_t input_count;
    struct made_output outputs[4];
    size_t output_count;
    bool witness;     /* serialized with one; the txid does not depend on it */
    uint32_t salt;    /* lock time: makes txids differ */
    uint8_t txid[32]; /* set by block_make */
};

/* Puts header, count and transactions into out, which is emptied first, and sets the txids. */
void block_make(struct buf *out, uint32_t time, struct made_tx *txs, size_t count);
/* Sets the txid alone, for a transaction that a later one of the same block spends. */
void made_txid(struct made_tx *tx);
/* A coinbase that pays value to script. */
struct made_tx made_coinbase(uint32_t salt, uint64_t value, struct bytes script);

#endif
