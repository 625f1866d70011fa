/* sorex run: signals, the socket, the pipeline, a summary. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "pipeline/flow.h"
#include "pipeline/pipeline.h"
#include "serve/control.h"
#include "serve/forks.h"
#include "serve/metrics.h"

#define STOP_MS 1800         /* the process ends within two seconds */
#define SECOND_SIGNAL_MS 500 /* sooner than that it is the same one: timeout(1) signals the process, then its group */

/* The thread that takes SIGTERM and SIGINT: asks the pipeline to stop, and ends the process when the entry in hand does
 * not end in time. Nothing of that entry was committed, so nothing is lost. */
struct stopper {
    struct pipeline *pipeline; /* one of the two */
    struct flow *flow;
    pthread_t thread;
    sigset_t signals;
    _Atomic bool ended;
};

static void *stopper_thread(void *user_data)
{
    struct stopper *stopper = user_data;
    int number = 0;
    (void)sigwait(&stopper->signals, &number);
    if (atomic_load(&stopper->ended))
        return NULL;
    log_line(LOG_INFO, "run", "%s: finishing the %s in hand", number == SIGINT ? "SIGINT" : "SIGTERM",
             stopper->flow != NULL ? "batch" : "entry");
    if (stopper->flow != NULL)
        flow_stop(stopper->flow);
    else
        pipeline_stop(stopper->pipeline);
    uint64_t start = clock_ms(), passed = 0;
    bool again = false; /* a second signal, or the end of the run, ends the wait */
    while (!atomic_load(&stopper->ended) && !again && passed < STOP_MS) {
        uint64_t left = STOP_MS - passed;
        struct timespec patience = {.tv_sec = (time_t)(left / 1000), .tv_nsec = (long)(left % 1000) * 1000000};
        bool came = sigtimedwait(&stopper->signals, NULL, &patience) > 0;
        passed = clock_ms() - start;
        again = came && passed >= SECOND_SIGNAL_MS;
    }
    if (!atomic_load(&stopper->ended)) {
        log_line(LOG_WARN, "run", "%s: what is in hand is abandoned; the next run executes it again",
                 again ? "a second signal" : "it did not end in time");
        _exit(EXIT_OK_CODE);
    }
    return NULL;
}

static void signals_block(struct stopper *stopper)
{
    (void)sigemptyset(&stopper->signals);
    (void)sigaddset(&stopper->signals, SIGTERM);
    (void)sigaddset(&stopper->signals, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &stopper->signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

static void stopper_start(struct stopper *stopper)
{
    CHECK(pthread_create(&stopper->thread, NULL, stopper_thread, stopper) == 0);
}

static void stopper_end(struct stopper *stopper)
{
    atomic_store(&stopper->ended, true);
    (void)pthread_kill(stopper->thread, SIGTERM);
    (void)pthread_join(stopper->thread, NULL);
}

/* Where the summary goes: standard output, unless a console sink has it for the changes. */
static FILE *summary_file(const struct pipeline_settings *settings)
{
    for (size_t i = 0; i < settings->sink_count; i++)
        if (strcmp(settings->sinks[i].type->name, "console") == 0)
            return stderr;
    return stdout;
}

static void summary_print(const struct pipeline_summary *s, const struct pipeline_settings *settings)
{
    double seconds = (double)s->run_ns / 1e9;
    FILE *out = summary_file(settings);
    if (s->tip == SOREX_HEIGHT_NONE) {
        fprintf(out, "%s: nothing indexed yet\n", settings->top.name);
        return;
    }
    if (s->from != SOREX_HEIGHT_NONE)
        fprintf(out, "%s: continued after height %u\n", settings->top.name, s->from);
    if (s->entries == 0 && s->undone == 0)
        fprintf(out, "%s: nothing new, the tip is height %u\n", settings->top.name, s->tip);
    else {
        char fuel[32] = "";
        if (s->fuel != 0)
            (void)snprintf(fuel, sizeof fuel, ", %llu fuel", (unsigned long long)s->fuel);
        fprintf(out,
                "%s: %llu blocks indexed, %llu undone, %llu pairs, %llu changes%s in %.2f s (%.0f blocks/s); the tip "
                "is height %u\n",
                settings->top.name, (unsigned long long)s->entries, (unsigned long long)s->undone,
                (unsigned long long)s->pairs, (unsigned long long)s->changes, fuel, seconds,
                seconds > 0 ? (double)s->entries / seconds : 0, s->tip);
    }
}

static void summary_number(struct json_writer *w, const char *name, uint64_t value)
{
    json_name(w, name);
    if (value == SOREX_HEIGHT_NONE)
        json_null(w);
    else
        json_uint(w, value);
}

static enum sorex_status summary_json(const struct pipeline_summary *s, const struct pipeline_settings *settings,
                                      struct sorex_error *err)
{
    struct json_out out;
    json_out_begin(&out, false, err);
    json_object_begin(&out.w);
    json_name(&out.w, "pipeline");
    json_string_z(&out.w, settings->top.name);
    summary_number(&out.w, "from", s->from);
    summary_number(&out.w, "tip", s->tip);
    json_name(&out.w, "entries");
    json_uint(&out.w, s->entries);
    json_name(&out.w, "undone");
    json_uint(&out.w, s->undone);
    json_name(&out.w, "pairs");
    json_uint(&out.w, s->pairs);
    json_name(&out.w, "changes");
    json_uint(&out.w, s->changes);
    json_name(&out.w, "fuel");
    json_uint(&out.w, s->fuel);
    json_name(&out.w, "seconds");
    json_double(&out.w, (double)s->run_ns / 1e9);
    json_object_end(&out.w);
    return json_out_end(&out, summary_file(settings));
}

/* What others may ask while it runs: the socket in the data directory, figures over HTTP, and the database at PostgreSQL's port. */
struct serving {
    struct service service;
    struct control *control;
    struct metrics *metrics;
    struct forks *forks;
    struct postgres_port *postgres;
};

static enum sorex_status serving_status(void *user_data, struct buf *out, struct sorex_error *err)
{
    return service_status(user_data, out, err);
}

static void serving_end(struct serving *serving)
{
    metrics_stop(serving->metrics);
    if (serving->control != NULL)
        control_stop(serving->control);
    postgres_port_stop(serving->postgres);
    forks_close(serving->forks);
    service_deinit(&serving->service);
}

static enum sorex_status postgres_open(struct serving *serving, const struct pipeline_settings *settings, struct pipeline *pipeline,
                                       struct sorex_error *err)
{
    const struct forks_options forks = {.name = settings->top.name, .pipeline = pipeline};
    TRY(forks_open(&forks, &serving->forks, err));
    const struct postgres_port_options options = {.address = settings->top.postgres,
                                                    .remote = settings->top.postgres_remote,
                                                    .connections_max = settings->top.postgres_connections,
                                                    .statement_timeout_ms = settings->top.postgres_statement_timeout,
                                                    .states = forks_states(serving->forks)};
    TRY(postgres_port_start(&options, &serving->postgres, err));
    serving->service.postgres = serving->postgres;
    return SOREX_OK;
}

/* pipeline or flow is NULL. Pair with serving_end, also after a failure. */
static enum sorex_status serving_start(struct serving *serving, const struct pipeline_settings *settings, struct pipeline *pipeline,
                                       struct flow *flow, struct sorex_error *err)
{
    *serving = (struct serving){0};
    service_init(&serving->service, pipeline != NULL ? pipeline_store(pipeline) : NULL, settings->top.data, pipeline);
    serving->service.flow = flow;
    if (settings->top.postgres != NULL)
        TRY(postgres_open(serving, settings, pipeline, err));
    TRY(control_start(&serving->service, settings->top.data, &serving->control, err));
    if (settings->top.metrics == NULL)
        return SOREX_OK;
    return metrics_start(settings->top.metrics, serving_status, &serving->service, &serving->metrics, err);
}

static enum sorex_status pipeline_serve(struct pipeline *pipeline, const struct pipeline_settings *settings,
                                        uint32_t until, bool json, struct sorex_error *err)
{
    struct serving serving;
    struct pipeline_summary summary = {.tip = SOREX_HEIGHT_NONE};
    enum sorex_status status = serving_start(&serving, settings, pipeline, NULL, err);
    bool ran = status == SOREX_OK;
    if (ran)
        status = pipeline_run(pipeline, until, &summary, err);
    serving_end(&serving);
    struct sorex_error json_err = {0}; /* a summary that cannot be printed is less than why the run ended */
    if (ran && !json)
        summary_print(&summary, settings);
    else if (ran && summary_json(&summary, settings, &json_err) != SOREX_OK)
        log_line(LOG_WARN, "run", "no summary: %s", json_err.text);
    return status;
}

/* ---- a stream ---- */

static enum sorex_status stream_summary_json(const struct flow_summary *s, const struct pipeline_settings *settings,
                                             struct sorex_error *err)
{
    struct json_out out;
    json_out_begin(&out, false, err);
    json_object_begin(&out.w);
    json_name(&out.w, "pipeline");
    json_string_z(&out.w, settings->top.name);
    json_name(&out.w, "in");
    json_uint(&out.w, s->counts.in);
    json_name(&out.w, "out");
    json_uint(&out.w, s->counts.out);
    json_name(&out.w, "filtered");
    json_uint(&out.w, s->counts.filtered);
    json_name(&out.w, "failed");
    json_uint(&out.w, s->counts.failed);
    json_name(&out.w, "seconds");
    json_double(&out.w, (double)s->run_ns / 1e9);
    json_object_end(&out.w);
    return json_out_end(&out, summary_file(settings));
}

static void stream_summary_print(const struct flow_summary *s, const struct pipeline_settings *settings)
{
    double seconds = (double)s->run_ns / 1e9;
    fprintf(summary_file(settings),
            "%s: %llu events in, %llu out, %llu filtered, %llu failed; %llu batches in %.2f s (%.0f events/s)\n", settings->top.name,
            (unsigned long long)s->counts.in, (unsigned long long)s->counts.out, (unsigned long long)s->counts.filtered,
            (unsigned long long)s->counts.failed, (unsigned long long)s->batches, seconds,
            seconds > 0 ? (double)s->counts.in / seconds : 0);
}

static enum sorex_status flow_serve(struct flow *flow, const struct pipeline_settings *settings, bool json, struct sorex_error *err)
{
    struct serving serving;
    struct flow_summary summary = {0};
    enum sorex_status status = serving_start(&serving, settings, NULL, flow, err);
    bool ran = status == SOREX_OK;
    if (ran)
        status = flow_run(flow, &summary, err);
    serving_end(&serving);
    struct sorex_error json_err = {0};
    if (ran && !json)
        stream_summary_print(&summary, settings);
    else if (ran && stream_summary_json(&summary, settings, &json_err) != SOREX_OK)
        log_line(LOG_WARN, "run", "no summary: %s", json_err.text);
    return status;
}

static enum sorex_status run_stream(const struct arguments *arguments, const struct pipeline_settings *settings,
                                    struct sorex_error *err)
{
    struct stopper stopper = {0};
    const struct flow_options options = {.until_end = arguments->until != NULL};
    if (options.until_end && strcmp(arguments->until, "tip") != 0)
        return sorex_error_set(err, SOREX_INVALID, "--until %s: a stream has no heights; --until tip ends where it ends now",
                               arguments->until);
    signals_block(&stopper);
    log_level_set((enum log_level)settings->top.log_level);
    TRY(flow_new(settings, &options, &stopper.flow, err));
    stopper_start(&stopper);
    enum sorex_status status = flow_serve(stopper.flow, settings, arguments->json, err);
    stopper_end(&stopper);
    flow_free(stopper.flow);
    return status == SOREX_STOPPED && !options.until_end ? SOREX_OK : status;
}

/* ---- the verb ---- */

static enum sorex_status run_settings(const struct arguments *arguments, const struct pipeline_settings *settings,
                                      int *out_code, struct sorex_error *err)
{
    struct stopper stopper = {0};
    struct pipeline_options options = {0};
    uint32_t until = PIPELINE_UNTIL_TIP;
    (void)out_code;
    if (settings->event_source_type != NULL)
        return run_stream(arguments, settings, err);
    if (arguments->until == NULL || strcmp(arguments->until, "tip") != 0)
        TRY(height_parse("until", arguments->until, &until, err));
    signals_block(&stopper);
    log_level_set((enum log_level)settings->top.log_level);
    TRY(pipeline_new(settings, &options, &stopper.pipeline, err));
    stopper_start(&stopper);
    enum sorex_status status = pipeline_serve(stopper.pipeline, settings, until, arguments->json, err);
    stopper_end(&stopper);
    pipeline_free(stopper.pipeline);
    return status;
}

static int run(struct arguments *arguments)
{
    return pipeline_file_use(arguments, run_settings);
}

const struct verb verb_run = {
    .name = "run",
    .summary = "run a pipeline: index, transform, deliver",
    .usage = "PIPELINE [--until H] [--json] [flags]",
    .flags = "until json set",
    .options = pipeline_options,
    .options_title = PIPELINE_OPTIONS_TITLE,
    .words_min = 1,
    .words_max = 1,
    .about = "Follows the source, runs the guests on every block, commits each block whole or not at all, and feeds "
             "the sinks.\n"
             "A reorganisation undoes what it must, downstream too. It can be stopped, or killed, at any time: the "
             "next run continues.\n"
             "While it runs, the other verbs ask it through a socket in the data directory.\n"
             "\n"
             "With a source of events (lines, kafka) it is a stream (docs/streams.md): events through filters into a sink, exactly once\n"
             "where the sink holds positions. --until tip ends at what is there now; without it a stream runs until it is stopped.",
    .example = "sorex run pipeline.yaml --until 100000 --set source.url=http://127.0.0.1:8332",
    .run = run,
};
