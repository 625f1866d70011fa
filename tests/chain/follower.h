/* Follows a memory source as the pipeline would and writes down what happens, one line an event:
 *
 *   entry 0..5       six entries in a row, each linked to the one before
 *   undo 3           undone down to height 3
 *   idle at the tip  waiting, with the reason (what depends on time is cut off; repeated lines are written once) */
#ifndef SOREX_TESTS_CHAIN_FOLLOWER_H
#define SOREX_TESTS_CHAIN_FOLLOWER_H

#include "chain/chain.h"
#include "source/memory.h"

struct follower {
    struct source *source;
    struct chain *chain;
    uint8_t (*own)[HASH_BYTES]; /* by height */
    uint32_t own_count;         /* 0: nothing; heights below the start are not filled in */
    uint32_t own_cap;
    uint32_t horizon; /* lowest height that is retained */
    struct chain_options options;
    struct buf trace;
    uint32_t run_from, run_to; /* entries not yet written down */
    bool in_run;
    char last[300];
    struct sorex_error error; /* of the chain_next that failed */
};

/* With a source of `blocks` blocks on branch 0 and nothing of our own. Options: quick polling; change them before
 * follower_start. */
void follower_init(struct follower *follower, uint32_t blocks);
void follower_deinit(struct follower *follower);
/* Starts (again), as after a restart of the program. */
void follower_start(struct follower *follower);

/* One chain_next, written down. */
enum sorex_status follower_take(struct follower *follower, struct chain_event *event, uint32_t timeout_ms);
/* Takes events until one is CHAIN_IDLE with a reason that begins with `reason`. Fails the test when that takes too
 * long. */
void follower_run(struct follower *follower, const char *reason);
/* follower_run until "at the tip". */
void follower_catch_up(struct follower *follower);
/* Takes events until chain_next fails; returns its status. */
enum sorex_status follower_run_to_error(struct follower *follower);

/* Our chain is the source's. */
void follower_assert_same(struct follower *follower);
/* The trace since the last time is this text. */
void follower_assert_trace(struct follower *follower, const char *expected);

#endif
