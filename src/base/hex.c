#include "base/hex.h"

static const char hex_digits[] = "0123456789abcdef";

void hex_encode(struct bytes bytes, char *out)
{
    for (size_t i = 0; i < bytes.len; i++) {
        out[2 * i] = hex_digits[bytes.data[i] >> 4];
        out[2 * i + 1] = hex_digits[bytes.data[i] & 15];
    }
}

static int digit_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

enum sorex_status hex_decode(struct bytes text, struct buf *out, struct sorex_error *err)
{
    if (text.len >= 2 && text.data[0] == '0' && (text.data[1] == 'x' || text.data[1] == 'X'))
        text = bytes_of(text.data + 2, text.len - 2);
    if (text.len % 2 != 0)
        return sorex_error_set(err, SOREX_INVALID, "hex text has an odd number of digits (%zu)", text.len);
    enum sorex_status status = buf_reserve(out, text.len / 2, err);
    if (status != SOREX_OK)
        return status;
    for (size_t i = 0; i < text.len; i += 2) {
        int high = digit_value(text.data[i]), low = digit_value(text.data[i + 1]);
        if (high < 0 || low < 0)
            return sorex_error_set(err, SOREX_INVALID, "hex text has a bad digit at offset %zu", high < 0 ? i : i + 1);
        out->data[out->len + i / 2] = (uint8_t)(high << 4 | low);
    }
    out->len += text.len / 2;
    return SOREX_OK;
}

void hash_hex(const uint8_t hash[HASH_BYTES], char out[HASH_HEX_SIZE])
{
    hex_encode(bytes_of(hash, HASH_BYTES), out);
    out[HASH_HEX_SIZE - 1] = '\0';
}

void hash_display(const uint8_t hash[HASH_BYTES], char out[HASH_HEX_SIZE])
{
    uint8_t reversed[HASH_BYTES];
    for (size_t i = 0; i < HASH_BYTES; i++)
        reversed[i] = hash[HASH_BYTES - 1 - i];
    hash_hex(reversed, out);
}

enum sorex_status hash_parse_display(struct bytes text, uint8_t out[HASH_BYTES], struct sorex_error *err)
{
    if (text.len != 2 * HASH_BYTES)
        return sorex_error_set(err, SOREX_INVALID, "a hash has 64 hex digits, not %zu", text.len);
    for (size_t i = 0; i < HASH_BYTES; i++) {
        int high = digit_value(text.data[2 * i]), low = digit_value(text.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return sorex_error_set(err, SOREX_INVALID, "a hash has a bad hex digit at offset %zu", 2 * i);
        out[HASH_BYTES - 1 - i] = (uint8_t)(high << 4 | low);
    }
    return SOREX_OK;
}
