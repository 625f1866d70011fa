/* Where entries come from. A source knows one best chain at a time and may change its mind; chain/ follows it. */
#ifndef SOREX_SOURCE_SOURCE_H
#define SOREX_SOURCE_SOURCE_H

#include "base/bytes.h"
#include "base/entry.h"
#include "config/option.h"

struct source; /* an opened source */

/* A kind of source. Every function may be called from any thread, several at once, unless it says otherwise.
 * Outcome: SOREX_OK; SOREX_AGAIN: unreachable or busy now, wait and ask again; SOREX_GONE: no such height or block (any
 * more); SOREX_CORRUPT: the bytes are not what they claim to be; SOREX_STOPPED: interrupted, ask again if you like;
 * SOREX_MISMATCH: another network; anything else: stop. */
struct source_type {
    const char *name; /* "blockfiles", "bitcoind", "blocks", "memory" */
    const char *summary;
    const struct option *options; /* see config/option.h; ends with a NULL name */
    size_t settings_size;         /* of the struct that options fill in: what the caller allocates, zeroed */
    /* settings: filled from options by config/; borrowed for the call. Does not connect (bitcoind), scans (block
     * files). */
    enum sorex_status (*open)(const void *settings, struct source **out, struct sorex_error *err);
    void (*close)(struct source *source);
    /* The best tip now. May block for one round trip. SOREX_GONE: the source has nothing yet. */
    enum sorex_status (*tip)(struct source *source, uint32_t *out_height, uint8_t out_hash[HASH_BYTES],
                             struct sorex_error *err);
    /* Hash at a height of the best chain. SOREX_GONE above the tip. */
    enum sorex_status (*hash_at)(struct source *source, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                 struct sorex_error *err);
    /* The raw block of a hash, appended to out (which is empty). hash and parent are checked by chain/, not here. */
    enum sorex_status (*fetch)(struct source *source, uint32_t height, const uint8_t hash[HASH_BYTES], struct buf *out,
                               struct sorex_error *err);
    /* Writes where this block is kept, for messages ("blk00003.dat, offset 4711"); nothing when it is not known. NULL:
     * its hash is all there is to say. */
    void (*place)(struct source *source, uint32_t height, const uint8_t hash[HASH_BYTES], char *out, size_t size);
    /* Blocks at most timeout_ms, less when there is reason to look again (a new block file, a long poll); may be NULL.
     */
    void (*wait)(struct source *source, uint32_t timeout_ms);
    /* Ends the calls that are under way in other threads soon (within a second): they return SOREX_STOPPED. Later calls
     * work as ever. NULL when no call blocks for long. */
    void (*interrupt)(struct source *source);
};

struct source {
    const struct source_type *type; /* first member of every source */
};

/* Ends with NULL. */
extern const struct source_type *const source_types[];
const struct source_type *source_type_find(const char *name);

/* Bitcoin's 80-byte header, read from the front of a raw block: hash (double SHA-256, internal order), parent, time.
 * Errors: SOREX_CORRUPT when shorter. Source: Bitcoin protocol, "Block Headers". */
enum sorex_status block_header_parse(struct bytes block, struct entry *out, struct sorex_error *err);
/* Checks that the transactions parse to exactly the end of the block and that their Merkle root is the header's.
 * Errors: SOREX_CORRUPT. */
enum sorex_status block_check(struct bytes block, struct sorex_error *err);

#endif
