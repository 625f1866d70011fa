/* SHA-256 over libcrypto. Incremental, for commitments and content hashes. */
#ifndef SOREX_BASE_SHA256_H
#define SOREX_BASE_SHA256_H

#include "base/bytes.h"

#define SHA256_BYTES 32

struct sha256 {
    void *context; /* SHA256_CTX */
};

/* Errors: SOREX_NOMEM. Pair with sha256_deinit. A hash can be started again with sha256_start. */
enum sorex_status sha256_init(struct sha256 *hash, struct sorex_error *err);
void sha256_deinit(struct sha256 *hash);
void sha256_start(struct sha256 *hash);
void sha256_update(struct sha256 *hash, struct bytes bytes);
void sha256_update_u32le(struct sha256 *hash, uint32_t value);
void sha256_finish(struct sha256 *hash, uint8_t out[SHA256_BYTES]);
/* Of what came so far; more may come. */
void sha256_peek(const struct sha256 *hash, uint8_t out[SHA256_BYTES]);

/* One shot, and Bitcoin's double hash. */
void sha256_once(struct bytes bytes, uint8_t out[SHA256_BYTES]);
void sha256_double(struct bytes bytes, uint8_t out[SHA256_BYTES]);

#endif
