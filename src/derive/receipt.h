/* What was derived from which messages, in few bytes: hashes at the end and at points on the way.
 * docs/formats/derivation.md has the bytes, and the JSON form. */
#ifndef SOREX_DERIVE_RECEIPT_H
#define SOREX_DERIVE_RECEIPT_H

#include "derive/logged.h"

#define RECEIPT_POINTS_MAX 256u
#define RECEIPT_DIGESTS_MAX 112u /* two for each power of two from 2^10 on */
#define RECEIPT_DIGEST_FIRST 1024u

struct receipt_point {
    uint8_t key[SHA256_BYTES], trace[SHA256_BYTES];
};

struct receipt_digest {
    uint64_t count;
    uint8_t digest[SHA256_BYTES];
};

/* Of messages from + 1 to count. A plain value: copied by assignment. */
struct receipt {
    uint64_t from, count;
    uint64_t rejected; /* of 1 to count */
    int64_t time_ms;
    uint8_t log[SHA256_BYTES], key[SHA256_BYTES], trace[SHA256_BYTES];
    uint64_t step;
    uint32_t points_count, digests_count;
    struct receipt_point points[RECEIPT_POINTS_MAX]; /* at from + step, from + 2 step, ... */
    struct receipt_digest digests[RECEIPT_DIGESTS_MAX];
};

/* Of no message. key_0: SHA-256 of the identity. */
void receipt_init(struct receipt *receipt, const uint8_t key_0[SHA256_BYTES]);
/* Another one that begins where this one ends. */
void receipt_init_from(struct receipt *receipt, const struct receipt *end);
/* One message more. effect: reducer_result.trace. */
void receipt_add(struct receipt *receipt, const struct logged *logged, const uint8_t effect[SHA256_BYTES],
                 bool rejected);
/* Whether a digest belongs into a receipt after that many messages. */
bool receipt_wants_digest(uint64_t count);
void receipt_digest_add(struct receipt *receipt, const uint8_t digest[SHA256_BYTES]);
/* The point after `count` messages; NULL: it has none. */
const struct receipt_point *receipt_point_at(const struct receipt *receipt, uint64_t count);

enum sorex_status receipt_encode(const struct receipt *receipt, struct buf *out, struct sorex_error *err);
/* Errors: SOREX_CORRUPT, out is undefined then. */
enum sorex_status receipt_decode(struct bytes bytes, struct receipt *out, struct sorex_error *err);

/* -- as a file ---------------------------------------------------------------------------------------------------- */

/* A receipt with what was asked for at its end. Zero-initialise; pair with receipt_file_deinit. */
struct receipt_file {
    struct receipt receipt;
    struct buf identity;
    bool has_digest;
    uint8_t digest[SHA256_BYTES];
    struct buf query, result; /* query empty: none */
};
void receipt_file_deinit(struct receipt_file *file);
/* Appends the JSON text. */
enum sorex_status receipt_file_write(const struct receipt_file *file, struct buf *out, struct sorex_error *err);
/* Errors: SOREX_INVALID what is wrong with it. */
enum sorex_status receipt_file_read(struct bytes text, struct receipt_file *out, struct sorex_error *err);

#endif
