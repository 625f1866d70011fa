/* Contract 2: debshrew transforms. docs/abi/transform.md has the whole contract. */
#ifndef SOREX_GUEST_TRANSFORM_H
#define SOREX_GUEST_TRANSFORM_H

#include "guest/host.h"

struct transform;

enum guest_memory_mode { GUEST_MEMORY_FRESH, GUEST_MEMORY_KEPT };

struct transform_options {
    const char *name;
    struct guest_limits limits;
    const char *cache_dir;
    enum guest_memory_mode memory;
    guest_stop_fn *stop;
    void *stop_user_data;
};

/* memory kept: the module is rewritten so that its mutable globals are exported; a module that writes tables or drops segments
 * (table.set/grow/fill/copy/init, elem.drop, data.drop) is refused with SOREX_INVALID. */
enum sorex_status transform_new(struct bytes wasm, const struct transform_options *options, struct transform **out,
                                struct sorex_error *err);
void transform_free(struct transform *transform);
/* Whether the contract has this import. One that it does not have is linked, and a call of it traps. */
bool transform_has_import(struct bytes module, struct bytes name);
bool transform_has_rollback(const struct transform *transform);

/* Everything the guest reaches during one call. */
struct transform_host {
    struct state_reader state;  /* the program's own keys, this entry's writes included */
    struct state_writer writes; /* staged at once (so that state sees them); the pipeline drops them when the call fails */
    struct state_reader pages;  /* memory: kept; keys are page indexes and names of the guest room's own; else unused */
    struct state_writer page_writes;
    /* A view of the indexer at this height; appends the result to out. SOREX_OK with *out_failed = true is a deterministic
     * failure (the guest sees a negative length); any other status stops the pipeline. NULL: the pipeline has no indexer. */
    enum sorex_status (*view)(void *user_data, struct bytes name, struct bytes input, struct buf *out, bool *out_failed,
                              struct sorex_error *err);
    /* One change as JSON text, pushed first, then returned ones, in order. SOREX_INVALID = a bad change: the guest's
     * __push_cdc_message gets a negative result and the block fails with "change INDEX: REASON". */
    enum sorex_status (*change)(void *user_data, struct bytes json, struct sorex_error *err);
    void *user_data; /* of view and change */
};

struct transform_result {
    uint64_t changes;
    struct guest_cost cost;
};

/* Runs process_block in a fresh instance (memory: kept: with the pages and globals of the last successful block restored, and what
 * changed written to page_writes afterwards).
 * Errors and thread: as indexer_run. */
enum sorex_status transform_run(struct transform *transform, const struct entry *entry, const struct transform_host *host,
                                struct transform_result *out_result, struct sorex_error *err);

/* Runs rollback for an undone entry; only when transform_has_rollback. Same rules. A failure never blocks the undo: the caller
 * logs it. */
enum sorex_status transform_rollback(struct transform *transform, const struct entry *entry, const struct transform_host *host,
                                     struct transform_result *out_result, struct sorex_error *err);

#endif
