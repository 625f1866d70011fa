/* Executing retained entries again: each from the stored state before it, with the block fetched again by hash and
 * every write kept in memory; then its commitments are compared with the stored ones. The store is not written to. */
#ifndef SOREX_PIPELINE_REPLAY_H
#define SOREX_PIPELINE_REPLAY_H

#include "pipeline/settings.h"

/* The first entry and program whose commitment is not the stored one. */
struct replay_difference {
    uint32_t height;
    char program[64];
    uint8_t stored[HASH_BYTES], computed[HASH_BYTES];
    bool other_identity; /* the program's module or settings are not those that the entry was indexed with */
};

struct replay_report {
    uint32_t from, to;    /* what was compared; to: the entry with the difference, if there is one */
    uint64_t commitments; /* compared */
    uint64_t pairs, changes, fuel;
    bool differs;
    struct replay_difference difference;
};

/* Executes heights from..to again and stops at the first difference, which is not an error.
 *
 * from, to   SOREX_HEIGHT_NONE: the lowest one whose state before it is retained, the durable tip.
 * Errors:    SOREX_BUSY: another process has the store open for writing; meanwhile it cannot open it either.
 *            SOREX_GONE: beyond what is retained, or the source has such a block no more; SOREX_INVALID: from is above
 * to, or a program of the pipeline is not in the store; of the programs, the source and the store. */
enum sorex_status replay(const struct pipeline_settings *settings, uint32_t from, uint32_t to,
                         struct replay_report *out, struct sorex_error *err);

#endif
