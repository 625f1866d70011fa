/* sorex check: a pipeline file and everything that it names, without running anything. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "derive/derivation.h"
#include "pipeline/filters.h"
#include "pipeline/program.h"
#include "serve/metrics.h"
#include "serve/postgres.h"

/* One line for each thing that was looked at, or with --json one object a line. */
static enum sorex_status say(bool json, const char *state, const char *what, const char *name, struct bytes detail,
                             struct sorex_error *err)
{
    if (!json) {
        printf("%-5s %s %s: %.*s\n", state, what, name, BYTES_FMT(detail));
        return SOREX_OK;
    }
    const char *const members[] = {"state", state, "what", what, "name", name};
    struct json_out out;
    json_out_begin(&out, false, err);
    json_object_begin(&out.w);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i += 2) {
        json_name(&out.w, members[i]);
        json_string_z(&out.w, members[i + 1]);
    }
    json_name(&out.w, "detail");
    json_string(&out.w, detail);
    json_object_end(&out.w);
    return json_out_end(&out, stdout);
}

/* What was found so far. */
struct findings {
    bool json;
    struct sorex_error first; /* failure; status SOREX_OK: none */
};

/* Says how one thing is. A failure is kept, and the next thing is looked at. */
static enum sorex_status found(struct findings *findings, enum sorex_status status, const char *what, const char *name,
                               struct bytes detail, struct sorex_error *err)
{
    if (status == SOREX_OK)
        return say(findings->json, "ok", what, name, detail, err);
    struct sorex_error failure = *err;
    if (findings->first.status == SOREX_OK)
        findings->first = failure;
    return say(findings->json, "fail", what, name, bytes_str(failure.text), err);
}

static enum sorex_status program_check(struct findings *findings, enum program_contract contract,
                                       const struct program_settings *settings, struct sorex_error *err)
{
    struct program program;
    struct program_context context = {0};
    enum sorex_status status = program_load(&program, contract, settings, &context, err);
    char hash[HASH_HEX_SIZE];
    hash_hex(program.module_hash, hash);
    program_unload(&program);
    struct buf detail = {0};
    if (status == SOREX_OK)
        status = buf_printf(&detail, err, "%s, module %s", settings->wasm, hash);
    status = found(findings, status, contract == PROGRAM_INDEXER ? "indexer" : "transform", settings->name, buf_view(&detail), err);
    buf_deinit(&detail);
    return status;
}

/* Its identity names the settings too. */
static enum sorex_status reducer_check(struct findings *findings, const struct reducer_settings *settings, struct sorex_error *err)
{
    struct buf wasm = {0}, detail = {0};
    struct reducer *reducer = NULL;
    char hash[HASH_HEX_SIZE];
    struct derivation_options options = derive_settings_derivation(&settings->derive);
    options.reducer.name = settings->name;
    enum sorex_status loaded = file_read(settings->wasm, SOREX_MODULE_BYTES_MAX, &wasm, err);
    if (loaded == SOREX_OK)
        loaded = reducer_load(buf_view(&wasm), &options.reducer, &reducer, err);
    if (loaded != SOREX_OK)
        (void)sorex_error_prefix(err, "reducer %s: %s", settings->name, settings->wasm);
    enum sorex_status status = SOREX_OK;
    if (loaded == SOREX_OK) {
        hash_hex(reducer_hash(reducer), hash);
        status = buf_printf(&detail, err, "%s, module %s", settings->wasm, hash);
    }
    if (status == SOREX_OK)
        status = found(findings, loaded, "reducer", settings->name, buf_view(&detail), err);
    reducer_free(reducer);
    buf_deinit(&wasm);
    buf_deinit(&detail);
    return status;
}

/* The list as a whole is loaded, up to the first one that fails. */
static enum sorex_status filters_check(struct findings *findings, const struct pipeline_settings *settings, struct sorex_error *err)
{
    struct filters filters;
    enum sorex_status loaded = filters_load(&filters, settings->filters, settings->filter_count, NULL, err);
    enum sorex_status status = SOREX_OK;
    for (size_t i = 0; i < filters.count && status == SOREX_OK; i++) {
        const struct filters_stage *stage = &filters.stages[i];
        struct buf detail = {0};
        char hash[HASH_HEX_SIZE];
        hash_hex(stage->module_hash, hash);
        enum sorex_status one = i + 1 == filters.count ? loaded : SOREX_OK;
        if (one == SOREX_OK)
            status = buf_printf(&detail, err, "%s, version %u of the contract, module %s", stage->settings->wasm,
                                filter_version(stage->filter), hash);
        if (status == SOREX_OK)
            status = found(findings, one, "filter", stage->settings->name, buf_view(&detail), err);
        buf_deinit(&detail);
    }
    filters_unload(&filters);
    return status;
}

/* An unreachable source is worth a word, not a failure: `run` waits for it. */
static enum sorex_status source_check(struct findings *findings, const struct pipeline_settings *settings, struct sorex_error *err)
{
    const struct source_type *type = settings->source_type;
    struct source *source;
    uint32_t height = 0;
    uint8_t hash[HASH_BYTES];
    enum sorex_status status = type->open(settings->source, &source, err);
    if (status == SOREX_OK) {
        status = type->tip(source, &height, hash, err);
        type->close(source);
    }
    if (status == SOREX_AGAIN || status == SOREX_GONE) {
        char why[sizeof err->text];
        memcpy(why, err->text, sizeof why);
        return say(findings->json, "wait", "source", type->name, bytes_str(why), err);
    }
    char hex[HASH_HEX_SIZE], detail[HASH_HEX_SIZE + 40] = "";
    if (status == SOREX_OK) {
        hash_display(hash, hex);
        (void)snprintf(detail, sizeof detail, "tip %u, block %s", height, hex);
    } else
        (void)sorex_error_prefix(err, "source %s", type->name);
    return found(findings, status, "source", type->name, bytes_str(detail), err);
}

/* Opens the settings; Kafka is not connected to. */
static enum sorex_status event_source_check(struct findings *findings, const struct pipeline_settings *settings,
                                            struct sorex_error *err)
{
    const struct event_source_type *type = settings->event_source_type;
    const struct event_source_context context = {.pipeline = settings->top.name, .ordered = settings->has_reducer};
    struct event_source *source;
    enum sorex_status status = type->open(settings->source, &context, &source, err);
    if (status == SOREX_OK)
        type->close(source);
    return found(findings, status, "source", type->name, bytes_str("events"), err);
}

static enum sorex_status sink_check(struct findings *findings, const struct pipeline_settings *settings,
                                    const struct sink_settings *sink_settings, struct sorex_error *err)
{
    struct sink_context context = {.name = sink_settings->name, .pipeline = settings->top.name, .base_dir = settings->base_dir,
                                   .stream = settings->event_source_type != NULL};
    struct sink *sink;
    char detail[64];
    enum sorex_status status = sink_settings->type->open(sink_settings->options, &context, &sink, err);
    if (status == SOREX_OK)
        sink_settings->type->close(sink);
    else
        (void)sorex_error_prefix(err, "sink %s", sink_settings->name);
    (void)snprintf(detail, sizeof detail, "type %s", sink_settings->type->name);
    return found(findings, status, "sink", sink_settings->name, bytes_str(detail), err);
}

static enum sorex_status metrics_check(struct findings *findings, const char *address, struct sorex_error *err)
{
    return found(findings, metrics_address_check(address, err), "metrics", address, bytes_str("an address; not listened at yet"), err);
}

static enum sorex_status postgres_check(struct findings *findings, const struct pipeline_settings *settings, struct sorex_error *err)
{
    enum sorex_status status = postgres_address_check(settings->top.postgres, settings->top.postgres_remote, err);
    bool database = settings->has_reducer;
    for (size_t i = 0; i < settings->sink_count; i++)
        database |= strcmp(settings->sinks[i].type->name, "database") == 0;
    if (status == SOREX_OK && !database)
        status = sorex_error_set(err, SOREX_INVALID, "the pipeline has no sink of type database, and no reducer");
    return found(findings, status, "postgres", settings->top.postgres, bytes_str("an address; not listened at yet"), err);
}

static enum sorex_status check(const struct arguments *arguments, const struct pipeline_settings *settings, int *out_code,
                               struct sorex_error *err)
{
    struct findings findings = {.json = arguments->json};
    (void)out_code;
    TRY(found(&findings, SOREX_OK, "pipeline", settings->top.name, bytes_str(arguments->words[0]), err));
    if (settings->has_indexer)
        TRY(program_check(&findings, PROGRAM_INDEXER, &settings->indexer, err));
    if (settings->has_reducer)
        TRY(reducer_check(&findings, &settings->reducer, err));
    for (size_t i = 0; i < settings->transform_count; i++)
        TRY(program_check(&findings, PROGRAM_TRANSFORM, &settings->transforms[i], err));
    if (settings->filter_count != 0)
        TRY(filters_check(&findings, settings, err));
    if (settings->event_source_type != NULL)
        TRY(event_source_check(&findings, settings, err));
    else
        TRY(source_check(&findings, settings, err));
    for (size_t i = 0; i < settings->sink_count; i++)
        TRY(sink_check(&findings, settings, &settings->sinks[i], err));
    if (settings->top.metrics != NULL)
        TRY(metrics_check(&findings, settings->top.metrics, err));
    if (settings->top.postgres != NULL)
        TRY(postgres_check(&findings, settings, err));
    *err = findings.first;
    return findings.first.status;
}

static int run(struct arguments *arguments)
{
    return pipeline_file_use(arguments, check);
}

const struct verb verb_check = {
    .name = "check",
    .summary = "check a pipeline file and everything that it names",
    .usage = "PIPELINE [flags]",
    .flags = "json set",
    .options = pipeline_options,
    .options_title = PIPELINE_OPTIONS_TITLE,
    .words_min = 1,
    .words_max = 1,
    .about = "Reads the file, compiles every module and checks it against its contract, looks at the source, opens the sinks' settings.\n"
             "Nothing is executed, but for the init of filters, and nothing is written. A source that is not reachable now is reported, not refused. All that is wrong is\n"
             "told; the exit code is that of the first thing.",
    .example = "sorex check pipeline.yaml",
    .run = run,
};
