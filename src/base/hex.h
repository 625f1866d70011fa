/* Hexadecimal text. Lower case out, either case in. */
#ifndef SOREX_BASE_HEX_H
#define SOREX_BASE_HEX_H

#include "base/bytes.h"

/* Writes 2 * bytes.len characters, no NUL. */
void hex_encode(struct bytes bytes, char *out);
/* Decodes text (an optional 0x in front is skipped) into out. Errors: SOREX_INVALID on an odd length or a bad digit. */
enum sorex_status hex_decode(struct bytes text, struct buf *out, struct sorex_error *err);

#define HASH_BYTES 32
#define HASH_HEX_SIZE 65

/* 32 bytes as 64 digits and a NUL, in the order given. */
void hash_hex(const uint8_t hash[HASH_BYTES], char out[HASH_HEX_SIZE]);
/* 32 bytes as nodes print block hashes: last byte first. */
void hash_display(const uint8_t hash[HASH_BYTES], char out[HASH_HEX_SIZE]);
/* The other way: 64 digits in display order to internal order. */
enum sorex_status hash_parse_display(struct bytes text, uint8_t out[HASH_BYTES], struct sorex_error *err);

#endif
