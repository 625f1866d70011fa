/* Simulation: many histories from seeds, each compared with a model after every step. docs/sim.md says what is covered.
 */
#ifndef SOREX_SIM_SIM_H
#define SOREX_SIM_SIM_H

#include "base/bytes.h"
#include "json/writer.h"

#define SIM_RUNS_DEFAULT 1000
#define SIM_STEPS_DEFAULT 25
#define SIM_REAL_RUNS_DEFAULT 1
#define SIM_REAL_STEPS_DEFAULT 100
#define SIM_STEPS_MAX 1000

struct sim_options {
    uint64_t seed;        /* of the first history; the next one has the next seed */
    uint32_t runs;        /* 0: the default */
    uint32_t steps;       /* of a history; 0: the default */
    uint32_t forget_undo; /* tests: at this undo of a history, counted from 1, the model forgets to restore rows */
    const char *pipeline; /* a pipeline file: its programs on its blocks (real.h); NULL: made-up histories */
};

struct sim_result {
    uint64_t histories, steps, entries, undone, refused, crashes, hard_stops, batches;
    uint64_t deep_undos, torn_undos, amendments, upgrades; /* of made-up histories */
    uint64_t trace; /* of all histories: the same options give the same number */
    bool failed;
    uint64_t failed_seed;
    uint32_t steps_each; /* of every script, before shrinking */
    size_t script_steps; /* of the shrunken script */
    struct buf why;      /* what was wrong, after shrinking; text */
    struct buf script;   /* the shrunken script, one step a line */
};

/* Plays histories until one fails. *out: pair with sim_result_deinit, also after a failure.
 * Errors: SOREX_INVALID: more than SIM_STEPS_MAX steps, a bad pipeline file; SOREX_GUEST: a pipeline's guest fails;
 * SOREX_IO, SOREX_NOMEM and the like. A history that fails is not an error here: out->failed says so. Thread: one
 * simulation at a time in a process; time is virtual for all of it meanwhile. */
enum sorex_status sim_run(const struct sim_options *options, struct sim_result *out, struct sorex_error *err);
void sim_result_deinit(struct sim_result *result);

/* Appends the result as text, or as one JSON object. */
enum sorex_status sim_report(const struct sim_options *options, const struct sim_result *result, bool json,
                             struct buf *out, struct sorex_error *err);

#endif
