#include "mined.h"

#include "base/codec.h"
#include "base/sha256.h"
#include "source/work.h"

/* One transaction: version, one input without a script, one output with a script of one byte, lock time. */
#define TRANSACTION_BYTES (MINED_BYTES - 81)

void mined_make(struct mined *out, const struct mined *parent, uint32_t tag, uint32_t bits)
{
    uint8_t *header = out->data;
    uint8_t *tx = out->data + 81;
    memset(out->data, 0, MINED_BYTES);
    header[80] = 1;
    u32le_put(tx, 1);
    tx[4] = 1;
    u32le_put(tx + 5, tag);
    u32le_put(tx + 42, UINT32_MAX);
    tx[46] = 1;
    tx[55] = 1;
    tx[56] = 0x51;
    u32le_put(header, 1);
    if (parent != NULL)
        memcpy(header + 4, parent->hash, HASH_BYTES);
    sha256_double(bytes_of(tx, TRANSACTION_BYTES), header + 36);
    u32le_put(header + 68, 1300000000u + tag);
    u32le_put(header + 72, bits);
    for (uint32_t nonce = 0; nonce == 0 || !work_proven(out->hash, bits); nonce++) {
        u32le_put(header + 76, nonce);
        sha256_double(bytes_of(header, 80), out->hash);
    }
}

bool mined_proven(const struct mined *block)
{
    uint8_t hash[HASH_BYTES];
    sha256_double(bytes_of(block->data, 80), hash);
    return work_proven(hash, u32le_get(block->data + 72));
}

void mined_chain(struct mined *out, uint32_t count, const struct mined *parent, uint32_t tag)
{
    for (uint32_t i = 0; i < count; i++)
        mined_make(&out[i], i == 0 ? parent : &out[i - 1], tag + i, MINED_EASY);
}
