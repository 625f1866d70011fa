/* The step: one entry in, one commit out; or the tip entry back out. No thread, no clock, no I/O of its own: the same entry on the
 * same state gives the same bytes, anywhere. */
#ifndef SOREX_PIPELINE_STEP_H
#define SOREX_PIPELINE_STEP_H

#include "pipeline/delivered.h"
#include "pipeline/filters.h"
#include "pipeline/program.h"

struct step {
    struct store *store;            /* borrowed; NULL: step_execute only */
    struct ledger ledger;
    struct program *indexer;        /* borrowed; NULL: none */
    struct program *transforms;     /* borrowed */
    size_t transform_count;
    struct filters *filters;        /* borrowed; NULL: none */
    struct delivered delivered;     /* with filters */
    uint16_t images[PIPELINE_TRANSFORMS_MAX]; /* programs with before: engine, for delivered */
    struct json_parser *parsers[2];
    struct arena arena;             /* reset for every change */
    struct buf before, completed, key, filtered;
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
/* From the next entry on: filters (registered; borrowed), or NULL for none. */
void step_filters(struct step *step, struct filters *filters);
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
