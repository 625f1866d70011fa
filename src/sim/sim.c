#include "sim/sim.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "sim/history.h"
#include "sim/real.h"

#define SHRINK_TRIES 2000
#define SHRINK_TRIES_REAL 60 /* a script on real blocks takes seconds */

struct sim {
    struct guests guests;
    struct history history;
    struct script script;
    uint32_t forget_undo;
    struct real *real; /* NULL: made-up histories */
    struct real_figures figures;
};

void sim_result_deinit(struct sim_result *result)
{
    buf_deinit(&result->why);
    buf_deinit(&result->script);
    *result = (struct sim_result){0};
}

static enum sorex_status play(struct sim *sim, const struct script *script, struct sorex_error *err)
{
    if (sim->real != NULL)
        return real_play(sim->real, script, &sim->figures, err);
    return history_play(&sim->history, &sim->guests, script, sim->forget_undo, err);
}

static bool still_fails(void *user_data, const struct script *script)
{
    struct sorex_error ignored;
    return play(user_data, script, &ignored) == SOREX_MISMATCH;
}

/* Makes the script as short as it goes and keeps it with what goes wrong in it. */
static enum sorex_status failure_keep(struct sim *sim, struct sim_result *out, struct sorex_error *err)
{
    struct sorex_error why = {0};
    out->failed = true;
    out->failed_seed = sim->script.seed;
    script_shrink(&sim->script, still_fails, sim, sim->real != NULL ? SHRINK_TRIES_REAL : SHRINK_TRIES);
    (void)play(sim, &sim->script, &why);
    out->script_steps = sim->script.count;
    TRY(buf_append_str(&out->why, why.text, err));
    for (size_t i = 0; i < sim->script.count; i++) {
        TRY(buf_printf(&out->script, err, "%zu. ", i + 1));
        TRY(script_say(&sim->script.steps[i], &out->script, err));
        TRY(buf_append_u8(&out->script, '\n', err));
    }
    return SOREX_OK;
}

static void figures_add(struct sim_result *out, const struct sim *sim)
{
    const struct history_figures *f = &sim->history.figures;
    const struct real_figures *r = &sim->figures;
    out->histories++;
    out->steps += f->steps + r->steps;
    out->entries += f->entries + r->entries;
    out->undone += f->undone + r->undone;
    out->refused += f->refused;
    out->crashes += f->crashes + r->crashes;
    out->hard_stops += f->hard_stops;
    out->deep_undos += f->deep_undos;
    out->torn_undos += f->torn_undos;
    out->amendments += f->amendments;
    out->upgrades += f->upgrades;
    out->batches += f->batches + r->batches;
    out->trace = (out->trace ^ sim->history.trace ^ r->trace) * 0x9e3779b97f4a7c15u;
}

static enum sorex_status histories_play(struct sim *sim, const struct sim_options *options, struct sim_result *out,
                                        struct sorex_error *err)
{
    bool real = options->pipeline != NULL;
    uint32_t runs = options->runs != 0 ? options->runs : real ? SIM_REAL_RUNS_DEFAULT : SIM_RUNS_DEFAULT;
    uint32_t steps = options->steps != 0 ? options->steps : real ? SIM_REAL_STEPS_DEFAULT : SIM_STEPS_DEFAULT;
    if (steps > SIM_STEPS_MAX)
        return sorex_error_set(err, SOREX_INVALID, "a history has at most %d steps; more runs make more of them",
                               SIM_STEPS_MAX);
    TRY(real ? real_open(options->pipeline, &sim->real, err) : guests_load(&sim->guests, err));
    sim->forget_undo = options->forget_undo;
    out->steps_each = steps;
    for (uint32_t i = 0; i < runs && !out->failed; i++) {
        script_make(&sim->script, options->seed + i, steps, real);
        enum sorex_status status = play(sim, &sim->script, err);
        figures_add(out, sim);
        if (status == SOREX_MISMATCH)
            TRY(failure_keep(sim, out, err));
        else
            TRY(status);
    }
    return SOREX_OK;
}

enum sorex_status sim_run(const struct sim_options *options, struct sim_result *out, struct sorex_error *err)
{
    *out = (struct sim_result){0};
    struct sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a simulation");
    int level = LOG_TRACE;
    while (level < LOG_OFF && !log_enabled((enum log_level)level))
        level++;
    log_level_set(LOG_OFF); /* crashes are what we are here for */
    enum sorex_status status = histories_play(sim, options, out, err);
    log_level_set((enum log_level)level);
    real_close(sim->real);
    history_deinit(&sim->history);
    guests_unload(&sim->guests);
    free(sim);
    return status;
}
