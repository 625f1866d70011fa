/* Contract 1: metashrew indexers and views. docs/abi/indexer.md has the whole contract. */
#ifndef SOREX_GUEST_INDEXER_H
#define SOREX_GUEST_INDEXER_H

#include "guest/host.h"

struct indexer;

struct indexer_options {
    const char *name;       /* program name, for errors and logs; copied */
    struct guest_limits limits;
    const char *cache_dir;  /* compiled modules; NULL = no cache; copied */
    bool interruptible;     /* stop ends a run or a view at any moment, not only between calls: costs 13 to 20 % */
    guest_stop_fn *stop;    /* may be NULL; asked from the watchdog's thread */
    void *stop_user_data;
};

/* Compiles (or takes from the cache) and links; nothing runs yet.
 * Errors: SOREX_INVALID: no module, no exported memory, no _start, an unknown non-function import, more than one memory ...;
 *         SOREX_NOMEM; SOREX_IO. */
enum sorex_status indexer_new(struct bytes wasm, const struct indexer_options *options, struct indexer **out,
                              struct sorex_error *err);
void indexer_free(struct indexer *indexer);
/* Whether the contract has this import. One that it does not have is linked, and a call of it traps. */
bool indexer_has_import(struct bytes module, struct bytes name);

struct indexer_result {
    uint64_t pairs;    /* pairs flushed, repetitions counted */
    uint64_t flushes;
    struct guest_cost cost;
};

/* Runs _start on one block in a fresh instance.
 *
 * state      reads as of height - 1 (at height 0: the empty state).
 * writes     gets every pair, in flush order, only when the whole run succeeded; never called for a failed block.
 * Errors:    SOREX_GUEST   trap, abort, no flush ("indexer exited unexpectedly"), undecodable flush, bad pointer; text has the
 *                          program, height, reason and, where the module has names, the function.
 *            SOREX_LIMIT   memory, fuel or stack limit; text names it.
 *            SOREX_STOPPED the stop function said so.
 *            SOREX_FATAL   no fresh instance could be made ("Failed to refresh memory after block execution: ...").
 *            what state->get or writes->put returned.
 * Thread:    any; views and previews may run beside it. */
enum sorex_status indexer_run(struct indexer *indexer, uint32_t height, struct bytes block, const struct state_reader *state,
                              const struct state_writer *writes, struct indexer_result *out_result, struct sorex_error *err);

/* Runs the export `name` in a fresh instance and appends its result to out.
 *
 * height     what the view is told; state must read as of that height.
 * Errors:    SOREX_GONE no such view, naming those that there are; otherwise as indexer_run. *out_deterministic (may be
 *            NULL) says whether the failure would happen on every machine (trap, unknown name): a transform's __view
 *            then returns a negative length.
 * Thread:    any, several at once. */
enum sorex_status indexer_view(struct indexer *indexer, struct bytes name, uint32_t height, struct bytes input,
                               const struct state_reader *state, struct buf *out, struct guest_cost *out_cost,
                               bool *out_deterministic, struct sorex_error *err);

/* Names of exports that can be views, NULL-terminated, borrowed. */
const char *const *indexer_views(const struct indexer *indexer);

#endif
