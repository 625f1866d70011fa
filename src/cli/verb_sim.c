/* sorex sim: histories from seeds, compared with a model. */
#include <stdio.h>

#include "base/check.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "sim/sim.h"

static enum sorex_status options_parse(const struct arguments *arguments, struct sim_options *out,
                                       struct sorex_error *err)
{
    static const struct option table[] = {
        {.name = "seed", .type = OPTION_U64, .offset = offsetof(struct sim_options, seed), .text = "seed"},
        {.name = "runs", .type = OPTION_U32, .offset = offsetof(struct sim_options, runs), .text = "histories"},
        {.name = "steps", .type = OPTION_U32, .offset = offsetof(struct sim_options, steps), .text = "steps"},
    };
    static const char *const places[] = {"command line: --seed", "command line: --runs", "command line: --steps"};
    const char *values[] = {arguments->seed, arguments->runs, arguments->steps};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i] != NULL)
            TRY(option_set(&table[i], bytes_str(values[i]), places[i], NULL, out, err));
    return SOREX_OK;
}

static enum sorex_status play(const struct arguments *arguments, struct sim_result *result, struct buf *text,
                              struct sorex_error *err)
{
    struct sim_options options = {.seed = 1, .pipeline = arguments->pipeline};
    TRY(options_parse(arguments, &options, err));
    TRY(sim_run(&options, result, err));
    return sim_report(&options, result, arguments->json, text, err);
}

static int run(struct arguments *arguments)
{
    struct sorex_error err = {0};
    struct sim_result result = {0};
    struct buf text = {0};
    enum sorex_status status = play(arguments, &result, &text, &err);
    int code = status != SOREX_OK ? cli_fail(&err) : result.failed ? EXIT_DIFFERS_CODE : EXIT_OK_CODE;
    if (text.len != 0)
        (void)fwrite(text.data, 1, text.len, stdout);
    buf_deinit(&text);
    sim_result_deinit(&result);
    return code;
}

const struct verb verb_sim = {
    .name = "sim",
    .summary = "play histories with forks, lies and crashes, and compare with a model",
    .usage = "[--pipeline FILE] [--seed N] [--runs N] [--steps N] [--json]",
    .flags = "pipeline seed runs steps json",
    .words_min = 0,
    .words_max = 0,
    .about = "Without --pipeline: made-up chains that fork, grow, shrink, come back, stall and lie, followed by the "
             "real pipeline step with\n"
             "small guests of its own on a store in memory; sinks that are slow and fail; crashes at any write of the "
             "store and any call of\n"
             "a sink. After every step state, views, outbox, commitments and what the sinks hold are compared with a "
             "small model.\n"
             "With --pipeline: does my transform survive reorganisations? The pipeline's own guests run on the first "
             "blocks of its own\n"
             "source; blocks are undone to random depths and done again. Checked: state and rows after an undo are "
             "those before, the\n"
             "inverses restore every table, every `before` is true, the same block gives the same commitment. Nothing "
             "is written: neither\n"
             "the pipeline's data directory nor its sinks are touched.\n"
             "The same seed plays the same history. A failure prints its seed and the shortest script of steps that "
             "was found; exit code 9.",
    .example = "sorex sim --seed 1 --runs 10000",
    .run = run,
};
