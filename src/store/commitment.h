/* Commitments: docs/formats/commitment.md. */
#ifndef SOREX_STORE_COMMITMENT_H
#define SOREX_STORE_COMMITMENT_H

#include "base/sha256.h"
#include "store/staging.h"

/* The next link of a program's chain from a staged entry whose nodes are sorted.
 * hash, scratch: working memory. first: index of the program's first node, or of the next program's; moved past its
 * nodes. Errors: SOREX_NOMEM, SOREX_LIMIT. */
enum sorex_status commitment_next(struct sha256 *hash, struct buf *scratch, const struct staging *staging,
                                  size_t *first, uint16_t program, const uint8_t before[HASH_BYTES],
                                  uint8_t out[HASH_BYTES], struct sorex_error *err);

#endif
