/* The step: one entry in, one commit out; or the tip entry back out. No thread, no clock, no I/O of its own: the same entry on the
 * same state gives the same bytes, anywhere. */
#ifndef SOREX_PIPELINE_STEP_H
#define SOREX_PIPELINE_STEP_H

#include "pipeline/program.h"

/* Where a step reads and writes: the store's staged entry, or, to execute one again, memory over its history. */
struct ledger {
    /* As of the entry before; or with the writes of this one. *out_value is borrowed until the next call. */
    enum sorex_status (*get)(void *user_data, struct store_space space, bool staged, struct bytes key, struct bytes *out_value,
                             bool *out_found, struct sorex_error *err);
    /* value NULL: the key is deleted. */
    enum sorex_status (*write)(void *user_data, struct store_space space, struct bytes key, const struct bytes *value,
                               struct sorex_error *err);
    enum sorex_status (*emit)(void *user_data, uint16_t program, struct bytes emitted, struct bytes stored,
                              struct sorex_error *err);
    void *user_data;
};

struct step {
    struct store *store;            /* borrowed; NULL: step_execute only */
    struct ledger ledger;
    struct program *indexer;        /* borrowed; NULL: none */
    struct program *transforms;     /* borrowed */
    size_t transform_count;
    struct json_parser *parsers[2];
    struct arena arena;             /* reset for every change */
    struct buf before, completed;
};

struct step_result {
    uint64_t pairs;    /* flushed by the indexer */
    uint64_t changes;  /* of all transforms */
    uint64_t fuel;     /* of all metered programs */
    uint64_t guest_ns; /* in guests, host calls included */
    uint64_t commit_ns;
};

enum sorex_status step_init(struct step *step, struct store *store, struct program *indexer, struct program *transforms,
                            size_t transform_count, struct sorex_error *err);
/* The same over another ledger, for step_execute. */
enum sorex_status step_init_ledger(struct step *step, const struct ledger *ledger, struct program *indexer,
                                   struct program *transforms, size_t transform_count, struct sorex_error *err);
void step_deinit(struct step *step);

/* Runs every program on the entry and commits, or leaves the store as it was.
 *
 * durable    the entry is on disk when this returns; otherwise with its group.
 * Errors:    SOREX_GUEST, SOREX_LIMIT: a program failed; text has height, program and cause; nothing of the entry is visible.
 *            SOREX_STOPPED; SOREX_FATAL; what the store returned. */
enum sorex_status step_apply(struct step *step, const struct entry *entry, bool durable, struct step_result *out,
                             struct sorex_error *err);

/* Runs every program on the entry; what they write and emit goes to the ledger, and stays there after a failure.
 * Errors: of the programs, as step_apply; of the ledger. */
enum sorex_status step_execute(struct step *step, const struct entry *entry, struct step_result *out, struct sorex_error *err);

/* Undoes the tip entry and calls the transforms' rollback exports. out_entry gets the undone header. Errors: as store_undo. */
enum sorex_status step_undo(struct step *step, struct entry *out_entry, struct sorex_error *err);

#endif
