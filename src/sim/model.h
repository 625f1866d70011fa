/* What a pipeline has to be, small and obviously right: a whole state per height, an outbox that is a list, rules of
 * one line.
 *
 * It does what the guests of guests.c do, in C. A fault at the nth write is played here as in the store: what was not
 * written is forgotten by model_crash. */
#ifndef SOREX_SIM_MODEL_H
#define SOREX_SIM_MODEL_H

#include "base/arena.h"
#include "base/entry.h"
#include "sim/guests.h"

#define MODEL_KEYS 10
#define MODEL_ROWS 6
#define MODEL_TRANSFORMS 2
#define MODEL_PROGRAMS (1 + MODEL_TRANSFORMS)
#define MODEL_SINKS 2
#define MODEL_HEIGHTS 128
#define MODEL_RECORDS 16384

struct model_key {
    bool present, empty;
    uint32_t value;
};

struct model_row {
    bool present;
    uint32_t value;
};

/* What a transform keeps. */
struct model_rows {
    struct model_row rows[MODEL_ROWS];
    uint32_t blocks; /* where memory is kept: that this module has seen */
    uint32_t version; /* ... and which module that is */
};

struct model_state {
    struct model_key keys[MODEL_KEYS];
    uint8_t branch;
    struct model_rows transforms[MODEL_TRANSFORMS];
};

/* Outbox records of an entry, the last one first. */
struct model_sequence {
    uint64_t number;
    const struct model_sequence *below;
};

struct model_height {
    struct entry entry; /* its payload is the model's own */
    struct model_state state;
    uint8_t commitments[MODEL_PROGRAMS][HASH_BYTES];
    uint64_t path; /* the modules that executed the entries up to here, as a hash */
    const struct model_sequence *sequences;
    uint64_t outbox_head;
};

struct model_record {
    enum outbox_kind kind;
    uint64_t undone;
    struct entry entry;
    uint32_t change_count;
    struct bytes changes;                     /* as store.h says */
    struct model_row rows[MODEL_TRANSFORMS][MODEL_ROWS]; /* what a sink holds that has taken everything up to here */
};

struct model {
    struct arena arena;
    uint32_t transform_count;
    enum guests_kind kinds[MODEL_TRANSFORMS];
    uint32_t versions[MODEL_TRANSFORMS];
    uint32_t history;
    uint32_t sink_count;
    uint32_t undo_entries; /* that one write of an undo takes */

    struct model_height heights[MODEL_HEIGHTS]; /* 0 .. count - 1 */
    struct model_record outbox[MODEL_RECORDS + 1];
    uint32_t count, durable_count;
    uint32_t horizon;
    uint64_t outbox_first, outbox_head, durable_head;
    uint64_t cursors[MODEL_SINKS], synced_cursors[MODEL_SINKS];

    uint32_t fault_in; /* writes until one fails; 0: none does */
    bool fault_after;  /* it fails after it was done */
    bool crashed;
    uint32_t forget_undo; /* test hook: at this undo, counted from 1, rows are not restored */
    uint32_t undos;
    uint32_t amendments;
};

/* transforms: kinds in the order of the pipeline. The arena is kept over a second call. */
void model_start(struct model *model, const enum guests_kind *kinds, uint32_t kind_count, uint32_t history,
                 uint32_t sink_count);
void model_deinit(struct model *model);

static inline const struct model_height *model_tip(const struct model *model)
{
    return model->count == 0 ? NULL : &model->heights[model->count - 1];
}

/* What the step has to return. */
enum model_outcome { MODEL_DONE, MODEL_GUEST, MODEL_GONE, MODEL_CRASHED };

enum sorex_status model_apply(struct model *model, const struct entry *entry, bool durable, enum model_outcome *out,
                              struct sorex_error *err);
/* Undoes until `count` entries are left, undo_entries to a write; the guests are told. After a crash in what they write,
 * the undo itself is MODEL_DONE and model->crashed is set. */
enum model_outcome model_undo(struct model *model, uint32_t count);
enum model_outcome model_flush(struct model *model);
/* A transform's other module from the next entry on; with everything written and synced. */
void model_upgrade(struct model *model, uint32_t transform);
enum model_outcome model_cursor(struct model *model, uint32_t sink, uint64_t sequence);
/* The process ends now; what was not durable is gone. */
void model_crash(struct model *model);

/* What the view has to return at a height. */
enum sorex_status model_view(const struct model *model, uint32_t height, struct buf *out, struct sorex_error *err);
/* What a preview of that view has to return with the block at height + 1. */
enum sorex_status model_preview(const struct model *model, uint32_t height, struct bytes block, struct buf *out,
                                struct sorex_error *err);
/* Name of a key, one to three bytes. */
void model_key_name(uint32_t key, uint8_t out[3], size_t *out_len);
/* A row's image as text. */
enum sorex_status model_image(uint32_t value, struct buf *out, struct sorex_error *err);

#endif
