/* sorex pipe: a Unix filter for events. Lines in, lines out; a summary on standard error. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "pipeline/stream.h"

#define STAGE_NAME_SIZE 64

struct pipe_settings {
    int from, to, on_error;
    char *dead_letters;
    uint32_t instances, timeout_ms;
    uint64_t memory_max;
    bool fresh;
};

#define AT(field) offsetof(struct pipe_settings, field)

static const struct option pipe_options[] = {
    {.name = "from", .type = OPTION_ENUM, .offset = AT(from), .fallback = "event", .choices = envelope_names, .text = "envelope of the lines in"},
    {.name = "to", .type = OPTION_ENUM, .offset = AT(to), .fallback = "event", .choices = envelope_names, .text = "envelope of the lines out"},
    {.name = "on_error", .type = OPTION_ENUM, .offset = AT(on_error), .fallback = "halt", .choices = on_error_words,
     .text = "a line that fails: end there, leave it out, or let it out as it came"},
    {.name = "dead_letters", .type = OPTION_PATH, .offset = AT(dead_letters), .text = "file that lines which failed are appended to, with their errors"},
    {.name = "instances", .type = OPTION_U32, .offset = AT(instances), .fallback = "0", .max = STREAM_INSTANCES_MAX,
     .text = "of each filter, working beside each other on batches of lines; 0: one for each processor"},
    {.name = "timeout", .type = OPTION_MS, .offset = AT(timeout_ms), .fallback = "50ms", .min = 1, .text = "for one event in one filter"},
    {.name = "memory_max", .type = OPTION_BYTES, .offset = AT(memory_max), .fallback = "16 MiB", .min = 65536, .text = "of an instance"},
    {.name = "fresh", .type = OPTION_BOOL, .offset = AT(fresh), .fallback = "false", .text = "a fresh instance for every event"},
    {.name = NULL},
};

/* ---- signals ---- */

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* They come through only while input is waited for, so that none is missed between looking and waiting. */
static void signals_take(sigset_t *out_before)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, out_before);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
}

/* ---- the summary ---- */

static double us_per_event(const struct stream_summary *sum)
{
    return sum->in == 0 ? 0 : (double)sum->work_ns / 1e3 / (double)sum->in;
}

static enum sorex_status summary_json(const struct stream_summary *sum, uint64_t ns, struct sorex_error *err)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {{"in", sum->in},
                   {"out", sum->out},
                   {"filtered", sum->filtered},
                   {"failed", sum->failed},
                   {"bytes_in", sum->bytes_in},
                   {"bytes_out", sum->bytes_out},
                   {"ms", ns / 1000000}};
    struct json_out out;
    json_out_begin(&out, false, err);
    json_object_begin(&out.w);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        json_name(&out.w, members[i].name);
        json_uint(&out.w, members[i].value);
    }
    json_name(&out.w, "us_per_event");
    json_double(&out.w, us_per_event(sum));
    json_object_end(&out.w);
    return json_out_end(&out, stderr);
}

static enum sorex_status summary_print(const struct stream_summary *sum, uint64_t ns, bool json, struct sorex_error *err)
{
    if (json)
        return summary_json(sum, ns, err);
    (void)fprintf(stderr, "sorex pipe: %llu events in, %llu out, %llu filtered, %llu failed; %.2f us an event, %.0f events/s\n",
                  (unsigned long long)sum->in, (unsigned long long)sum->out, (unsigned long long)sum->filtered,
                  (unsigned long long)sum->failed, us_per_event(sum), ns == 0 ? 0 : (double)sum->in * 1e9 / (double)ns);
    return SOREX_OK;
}

/* ---- the verb ---- */

/* A stage's name: the module's file name without its ending. */
static void stage_name(const char *path, char out[STAGE_NAME_SIZE])
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t len = strcspn(name, ".");
    (void)snprintf(out, STAGE_NAME_SIZE, "%.*s", (int)(len < STAGE_NAME_SIZE ? len : STAGE_NAME_SIZE - 1), name);
}

static enum sorex_status settings_read(const struct arguments *arguments, struct pipe_settings *out, struct sorex_error *err)
{
    TRY(options_read(pipe_options, NULL, "", ".", out, err));
    return arguments_override(arguments, pipe_options, out, err);
}

static enum sorex_status stages_load(const struct arguments *arguments, const struct pipe_settings *settings, struct stages **out,
                                     struct sorex_error *err)
{
    struct stage_settings stages[ARGUMENTS_STAGES_MAX];
    char names[ARGUMENTS_STAGES_MAX][STAGE_NAME_SIZE];
    for (size_t i = 0; i < arguments->wasm_count; i++) {
        stage_name(arguments->wasm[i], names[i]);
        stages[i] = (struct stage_settings){.name = names[i],
                                            .wasm = arguments->wasm[i],
                                            .config = arguments->config[i] != NULL ? bytes_str(arguments->config[i]) : (struct bytes){0},
                                            .on_error = (enum on_error)settings->on_error,
                                            .memory_bytes_max = settings->memory_max,
                                            .timeout_ms = settings->timeout_ms,
                                            .fresh = settings->fresh};
    }
    const struct stages_options options = {.stages = stages,
                                           .count = arguments->wasm_count,
                                           .from = envelopes[settings->from],
                                           .to = envelopes[settings->to],
                                           .on_bad_event = (enum on_error)settings->on_error};
    return stages_new(&options, out, err);
}

static enum sorex_status dead_letters_open(const char *path, int *out, struct sorex_error *err)
{
    *out = -1;
    if (path == NULL)
        return SOREX_OK;
    *out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    return *out >= 0 ? SOREX_OK : sorex_error_set_errno(err, SOREX_IO, errno, "%s", path);
}

static enum sorex_status pipe_run(const struct arguments *arguments, const struct pipe_settings *settings, struct sorex_error *err)
{
    struct stages *stages = NULL;
    sigset_t before;
    struct stream_options options = {.instances = settings->instances,
                                     .input = STDIN_FILENO,
                                     .output = STDOUT_FILENO,
                                     .stop = &stop,
                                     .wait_mask = &before};
    TRY(dead_letters_open(settings->dead_letters, &options.dead, err));
    enum sorex_status status = stages_load(arguments, settings, &stages, err);
    if (status == SOREX_OK) {
        struct stream_summary summary;
        uint64_t began = clock_ns();
        options.stages = stages;
        signals_take(&before);
        status = stream_run(&options, &summary, err);
        enum sorex_status said = summary_print(&summary, clock_ns() - began, arguments->json, status == SOREX_OK ? err : NULL);
        status = status == SOREX_OK ? said : status;
    }
    stages_free(stages);
    if (options.dead >= 0)
        (void)close(options.dead);
    return status;
}

static int run(struct arguments *arguments)
{
    struct sorex_error err = {0};
    struct pipe_settings settings = {0};
    enum sorex_status status = settings_read(arguments, &settings, &err);
    if (status == SOREX_OK)
        status = pipe_run(arguments, &settings, &err);
    options_free(pipe_options, &settings);
    return status == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
}

const struct verb verb_pipe = {
    .name = "pipe",
    .summary = "events from standard input through filters to standard output",
    .usage = "[--wasm FILE [--config JSON]]... [flags] <IN >OUT",
    .flags = "wasm config json",
    .options = pipe_options,
    .options_title = "Settings",
    .about = "Reads one event a line, gives each to the filters in turn (docs/abi/filter.md), writes what comes out, in the order in which\n"
             "it came in. Without --wasm it only converts from one envelope to the other. A summary goes to standard error; --json makes\n"
             "it one JSON object.\n"
             "\n"
             "With --on-error halt nothing of the line that failed, or after it, goes out. SIGTERM and SIGINT end it after the lines that\n"
             "were read.",
    .example = "sorex pipe --wasm mask.wasm <events.jsonl >masked.jsonl",
    .run = run,
};
