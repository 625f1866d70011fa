/* The entry being staged: which nodes have a pending version, and its changes. */
#ifndef SOREX_STORE_STAGING_H
#define SOREX_STORE_STAGING_H

#include "base/sha256.h"
#include "store/group.h"

struct staging {
    bool active;
    bool amending;
    struct entry entry; /* amending: the tip's */
    struct node_list nodes;
    struct buf emitted;    /* u16le program, u32le length, bytes */
    struct buf stored;     /* as in the outbox record */
    uint32_t change_count; /* in stored */
    uint64_t bytes;        /* keys and values staged */
};

void staging_init(struct staging *staging);
void staging_deinit(struct staging *staging);
void staging_start(struct staging *staging, const struct entry *entry, bool amending);
/* Parks a version on the node. */
enum sorex_status staging_write(struct staging *staging, struct generation *generation, struct bytes key,
                                enum version_kind kind, struct bytes value, struct sorex_error *err);
enum sorex_status staging_emit(struct staging *staging, uint16_t program, struct bytes emitted, struct bytes stored,
                               struct sorex_error *err);
/* The next link of a program's commitment chain; the nodes must be sorted.
 * hash, scratch: working memory. first: index of the program's first node; moved to the next program's. */
enum sorex_status staging_commitment(const struct staging *staging, struct sha256 *hash, struct buf *scratch, size_t *first,
                                     uint16_t program, const uint8_t before[HASH_BYTES], uint8_t out[HASH_BYTES],
                                     struct sorex_error *err);
/* Takes the parked versions off their nodes and ends. */
void staging_drop(struct staging *staging);
/* Ends after a commit moved the versions. */
void staging_end(struct staging *staging);

#endif
