/* libcrypto's functions of SHA-256 itself: those above them (EVP) look the algorithm up for every hash, which takes
 * longer than to hash the few bytes that chains and keys have. They are there as long as there is an OpenSSL 3. */
#define OPENSSL_API_COMPAT 0x10100000L
#include "base/sha256.h"

#include <stdlib.h>

#include <openssl/sha.h>

#include "base/check.h"
#include "base/codec.h"

enum sorex_status sha256_init(struct sha256 *hash, struct sorex_error *err)
{
    hash->context = malloc(sizeof(SHA256_CTX));
    if (hash->context == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a SHA-256 context");
    sha256_start(hash);
    return SOREX_OK;
}

void sha256_deinit(struct sha256 *hash)
{
    free(hash->context);
    hash->context = NULL;
}

void sha256_start(struct sha256 *hash) { CHECK(SHA256_Init(hash->context) == 1); }

void sha256_update(struct sha256 *hash, struct bytes bytes)
{
    if (bytes.len != 0)
        CHECK(SHA256_Update(hash->context, bytes.data, bytes.len) == 1);
}

void sha256_update_u32le(struct sha256 *hash, uint32_t value)
{
    uint8_t bytes[4];
    u32le_put(bytes, value);
    sha256_update(hash, bytes_of(bytes, sizeof bytes));
}

void sha256_finish(struct sha256 *hash, uint8_t out[SHA256_BYTES]) { CHECK(SHA256_Final(out, hash->context) == 1); }

void sha256_peek(const struct sha256 *hash, uint8_t out[SHA256_BYTES])
{
    SHA256_CTX context = *(const SHA256_CTX *)hash->context;
    CHECK(SHA256_Final(out, &context) == 1);
}

void sha256_once(struct bytes bytes, uint8_t out[SHA256_BYTES])
{
    SHA256_CTX context;
    struct sha256 hash = {&context};
    sha256_start(&hash);
    sha256_update(&hash, bytes);
    sha256_finish(&hash, out);
}

void sha256_double(struct bytes bytes, uint8_t out[SHA256_BYTES])
{
    uint8_t inner[SHA256_BYTES];
    sha256_once(bytes, inner);
    sha256_once(bytes_of(inner, sizeof inner), out);
}
