/* Fetches and checks blocks ahead of those who execute them: several requests in flight, delivery in order. */
#ifndef SOREX_CHAIN_AHEAD_H
#define SOREX_CHAIN_AHEAD_H

#include "base/entry.h"
#include "source/source.h"

struct ahead;

struct ahead_options {
    uint32_t window;    /* blocks fetched or in flight ahead of the next one to deliver; at least 1 */
    uint64_t bytes_max; /* of blocks that wait for delivery; the next one is fetched whatever its size */
    uint32_t threads;   /* 0: blocks are fetched inside ahead_take, and waiting passes virtual time (base/clock.h) */
};

/* source is borrowed. Nothing is fetched before ahead_aim. */
enum sorex_status ahead_new(struct source *source, const struct ahead_options *options, struct ahead **out,
                            struct sorex_error *err);
/* Interrupts the source and joins the threads. */
void ahead_free(struct ahead *ahead);

/* Blocks from height `from` (the next to deliver) to `last` are wanted. What was fetched stays when `from` is where we
 * are. */
void ahead_aim(struct ahead *ahead, uint32_t from, uint32_t last);
/* Forgets everything that was fetched or failed; requests in flight are ignored when they end. */
void ahead_discard(struct ahead *ahead);

/* The next block: its bytes hash to what the source said is at that height, its transactions to its Merkle root. Not
 * its parent.
 *
 * deadline_ms  on base/clock.h's clock.
 * Ownership: payload lies in *out_raw, which the caller deinits; it is empty on failure.
 * Errors:    SOREX_BUSY     not there by the deadline, or woken;
 *            otherwise what the source returned, SOREX_CORRUPT when a check failed: ahead_discard lets it be tried
 * again. */
enum sorex_status ahead_take(struct ahead *ahead, uint64_t deadline_ms, struct entry *out, struct buf *out_raw,
                             struct sorex_error *err);

/* Sleeps until the deadline or a wake. */
void ahead_pause(struct ahead *ahead, uint64_t deadline_ms);
/* Around calls of the source by the one who takes: begin says false, and nothing may be asked, when there was a wake.
 */
bool ahead_ask_begin(struct ahead *ahead);
void ahead_ask_end(struct ahead *ahead);
/* Makes the pause or take that blocks, or the next one, end, and interrupts what is asked of the source. Thread: any.
 */
void ahead_wake(struct ahead *ahead);
/* True when there was a wake since the last time; takes it back. */
bool ahead_woken(struct ahead *ahead);

#endif
