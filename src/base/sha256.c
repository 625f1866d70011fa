#include "base/sha256.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/codec.h"
#include "base/check.h"

enum sorex_status sha256_init(struct sha256 *hash, struct sorex_error *err)
{
    hash->context = EVP_MD_CTX_new();
    if (hash->context == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a SHA-256 context");
    sha256_start(hash);
    return SOREX_OK;
}

void sha256_deinit(struct sha256 *hash)
{
    EVP_MD_CTX_free(hash->context);
    hash->context = NULL;
}

void sha256_start(struct sha256 *hash)
{
    CHECK(EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) == 1);
}

void sha256_update(struct sha256 *hash, struct bytes bytes)
{
    if (bytes.len != 0)
        CHECK(EVP_DigestUpdate(hash->context, bytes.data, bytes.len) == 1);
}

void sha256_update_u32le(struct sha256 *hash, uint32_t value)
{
    uint8_t bytes[4];
    u32le_put(bytes, value);
    sha256_update(hash, bytes_of(bytes, sizeof bytes));
}

void sha256_finish(struct sha256 *hash, uint8_t out[SHA256_BYTES])
{
    unsigned length = SHA256_BYTES;
    CHECK(EVP_DigestFinal_ex(hash->context, out, &length) == 1);
}

void sha256_once(struct bytes bytes, uint8_t out[SHA256_BYTES])
{
    static const uint8_t none;
    (void)SHA256(bytes.len == 0 ? &none : bytes.data, bytes.len, out);
}

void sha256_double(struct bytes bytes, uint8_t out[SHA256_BYTES])
{
    uint8_t inner[SHA256_BYTES];
    sha256_once(bytes, inner);
    sha256_once(bytes_of(inner, sizeof inner), out);
}
