/* Rows as delivered. Filters drop rows, mask them and send them elsewhere; what was delivered of a row is known at any
 * height, so that every change says truly what was there before, and its inverse restores exactly that.
 *
 * Kept is only what differs. Key and value are docs/formats/data-directory.md, "Rows as delivered". A row without a
 * record was delivered as its transform made it: so filters may be added to a store, changed and removed at any height.
 * The records are keys of the store like any others: undone, pruned and read at old heights with everything else. */
#ifndef SOREX_PIPELINE_DELIVERED_H
#define SOREX_PIPELINE_DELIVERED_H

#include "base/arena.h"
#include "pipeline/ledger.h"

/* A row at its place: `image` is canonical JSON; data NULL: there is no row. */
struct delivered_row {
    struct bytes table, key, image;
};

static inline bool row_present(const struct delivered_row *row) { return row->image.data != NULL; }
/* Both are there, at the same place. */
bool row_stays(const struct delivered_row *before, const struct delivered_row *after);
/* The same row at the same place, or none twice. */
bool row_equal(const struct delivered_row *a, const struct delivered_row *b);

struct delivered {
    const struct ledger *ledger;
    struct store_space rows;   /* row of a program -> as delivered, where that differs */
    struct store_space places; /* place of a row that was moved -> the row that is there */
    const uint16_t *programs;  /* borrowed: those that keep images (before: engine) */
    size_t program_count;
    struct buf key, value;
};

/* One change of one row of a program. */
struct delivered_change {
    uint16_t program;
    struct delivered_row own; /* after the change, as the transform made it; table and key are set in any case */
    struct bytes own_before;  /* the image before it; data NULL: there was no row */
};

struct delivered_was {
    struct delivered_row row;
    bool recorded; /* it differs from what the transform made */
};

/* What was delivered of the row before the change. *out: slices of change, or copies in arena.
 * Errors: SOREX_CORRUPT a record does not decode; SOREX_NOMEM; of the ledger. */
enum sorex_status delivered_get(struct delivered *delivered, const struct delivered_change *change, struct arena *arena,
                                struct delivered_was *out, struct sorex_error *err);

/* From now on `now` is what is delivered of the row.
 *
 * was        as delivered_get gave it.
 * Errors:    SOREX_INVALID the place of `now` is taken by another row, or the row is moved and its program keeps no
 *            images; as delivered_get. */
enum sorex_status delivered_put(struct delivered *delivered, const struct delivered_change *change,
                                const struct delivered_was *was, const struct delivered_row *now,
                                struct sorex_error *err);
void delivered_deinit(struct delivered *delivered);

#endif
