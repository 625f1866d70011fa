/* Commitments: docs/formats/commitment.md. The preimage in the order of that page, one call a part. */
#ifndef SOREX_STORE_COMMITMENT_H
#define SOREX_STORE_COMMITMENT_H

#include "base/entry.h"
#include "base/sha256.h"

struct commitment {
    struct sha256 *hash; /* borrowed */
    struct buf *scratch; /* borrowed; small parts are gathered before they are hashed */
};

/* Errors of all: SOREX_NOMEM, SOREX_LIMIT. */
enum sorex_status commitment_start(struct commitment *commitment, const uint8_t before[HASH_BYTES], const struct entry *entry,
                                   uint32_t writes, struct sorex_error *err);
/* One final write; value NULL: the key is deleted. In ascending order of (kind, key). */
enum sorex_status commitment_write(struct commitment *commitment, uint8_t kind, struct bytes key, const struct bytes *value,
                                   struct sorex_error *err);
enum sorex_status commitment_changes(struct commitment *commitment, uint32_t changes, struct sorex_error *err);
/* One change as the guest emitted it. */
enum sorex_status commitment_change(struct commitment *commitment, struct bytes emitted, struct sorex_error *err);
void commitment_finish(struct commitment *commitment, uint8_t out[HASH_BYTES]);

#endif
