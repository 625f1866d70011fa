/* A pipeline's own programs on real blocks of its own source: applied, undone to random depths, applied again.
 *
 * There is no model of somebody else's guests. What is known is what the first execution gave: at every height the
 * state, the commitments and the rows that a sink has. An undo has to lead back to exactly that, and so has another
 * execution. */
#ifndef SOREX_SIM_REAL_H
#define SOREX_SIM_REAL_H

#include "pipeline/settings.h"
#include "sim/script.h"

struct real;

struct real_figures {
    uint64_t steps, entries, undone, crashes, batches, trace;
};

/* Reads the pipeline file, compiles its programs, opens its source; neither its data directory nor its sinks are
 * touched. Pair with real_close, also after a failure. */
enum sorex_status real_open(const char *pipeline, struct real **out, struct sorex_error *err);
void real_close(struct real *real);

/* Plays a script from an empty store.
 * Errors: SOREX_MISMATCH: something is not what it was; text says what. Others: a guest failed, the source has no
 * block, ... */
enum sorex_status real_play(struct real *real, const struct script *script, struct real_figures *out,
                            struct sorex_error *err);

#endif
