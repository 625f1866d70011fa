/* Follows a source: link checks, ancestor search, read-ahead. Events come out in order; the pipeline executes them. */
#ifndef SOREX_CHAIN_CHAIN_H
#define SOREX_CHAIN_CHAIN_H

#include "base/entry.h"
#include "source/source.h"

struct chain;

struct chain_options {
    uint32_t start_height;     /* first height of an empty store */
    uint32_t read_ahead;       /* blocks fetched ahead; 0 = 64 (bounded by read_ahead_bytes too) */
    uint64_t read_ahead_bytes; /* 0 = 64 MiB */
    uint32_t fetch_threads;    /* requests in flight; 0 = 4 */
    bool synchronous;          /* simulation: fetches on the caller's thread; waiting passes virtual time (base/clock.h) */
    uint32_t poll_ms;          /* at the tip; 0 = 500 */
    uint32_t retry_ms;         /* first pause after a failure, doubled up to 50 times it; 0 = 200 */
    uint64_t seed;             /* of back-off jitter */
    const uint8_t
        *network; /* HASH_BYTES: hash at height 0 that the store belongs to; NULL when unknown. Borrowed for the call */
    /* The pipeline's own chain, for the ancestor search: hash of a committed entry. SOREX_GONE when it is not retained.
     */
    enum sorex_status (*own_hash)(void *user_data, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                  struct sorex_error *err);
    void *user_data;
};

enum chain_event_kind {
    CHAIN_ENTRY, /* execute it: its parent is the current position */
    CHAIN_UNDO,  /* undo down to `height`, which stays (SOREX_HEIGHT_NONE: everything); then ask again */
    CHAIN_IDLE,  /* nothing now: at the tip, or waiting for the source; `waiting` says why */
};

#define CHAIN_WAITING_BYTES 512

struct chain_event {
    enum chain_event_kind kind;
    struct entry entry;              /* CHAIN_ENTRY; payload is borrowed until the next chain_next */
    uint32_t height;                 /* CHAIN_UNDO */
    uint8_t height_hash[HASH_BYTES]; /* CHAIN_UNDO: hash at that height, on both branches */
    uint32_t source_tip;             /* the source's tip as last seen, or SOREX_HEIGHT_NONE */
    bool near_tip;                   /* CHAIN_ENTRY: few entries are left: commit durably */
    /* CHAIN_IDLE: "at the tip", "node 127.0.0.1:8332: Connection refused, retrying in 2 s (attempt 4)" */
    char waiting[CHAIN_WAITING_BYTES];
};

/* source is borrowed. position: last committed entry, or height SOREX_HEIGHT_NONE. */
enum sorex_status chain_new(struct source *source, const struct chain_options *options, uint32_t position_height,
                            const uint8_t position_hash[HASH_BYTES], struct chain **out, struct sorex_error *err);
void chain_free(struct chain *chain);

/* The next thing to do. Blocks at most timeout_ms (then CHAIN_IDLE); CHAIN_IDLE comes at once when `waiting` is news.
 * After CHAIN_ENTRY the chain assumes that the entry was committed; after CHAIN_UNDO that the undo was done. Defined
 * outcomes: a fork -> CHAIN_UNDO to the common ancestor, whatever its depth; a shorter chain with a different tip ->
 * the same, once the source says that it is its best; a shorter chain that is a prefix of ours -> CHAIN_IDLE ("source
 * is behind"); an unreachable source -> CHAIN_IDLE with back-off; a block with a wrong hash or parent link ->
 * refetched, then CHAIN_IDLE with the reason and retries. Errors: SOREX_GONE     the common ancestor is not retained
 * (beyond the horizon): hard stop, text names heights and ways out; SOREX_MISMATCH the source is on another network
 * (its hash at our lowest retained entry or genesis differs); what the source returned for "stop". */
enum sorex_status chain_next(struct chain *chain, uint32_t timeout_ms, struct chain_event *out,
                             struct sorex_error *err);

/* Ends a chain_next that blocks in another thread, or else the next one: it returns CHAIN_IDLE ("woken") within a
 * second. Thread: any. */
void chain_wake(struct chain *chain);

/* The source's hash at height 0, which names the network: for the store to keep and to pass as chain_options.network
 * next time. False as long as the source has not told it. Thread: the one of chain_next. */
bool chain_network(const struct chain *chain, uint8_t out_hash[HASH_BYTES]);

#endif
