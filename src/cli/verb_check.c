/* sorex check: a pipeline file and everything that it names, without running anything. */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "pipeline/program.h"

static enum sorex_status program_check(enum program_contract contract, const struct program_settings *settings,
                                       struct sorex_error *err)
{
    struct program program;
    struct program_context context = {0};
    enum sorex_status status = program_load(&program, contract, settings, &context, err);
    char hash[HASH_HEX_SIZE];
    hash_hex(program.module_hash, hash);
    program_unload(&program);
    if (status == SOREX_OK)
        printf("ok    %s %s: %s, module %s\n", contract == PROGRAM_INDEXER ? "indexer" : "transform", settings->name,
               settings->wasm, hash);
    return status;
}

/* An unreachable source is worth a word, not a failure: `run` waits for it. */
static enum sorex_status source_check(const struct pipeline_settings *settings, struct sorex_error *err)
{
    struct source *source;
    uint32_t height = 0;
    uint8_t hash[HASH_BYTES];
    enum sorex_status status = settings->source_type->open(settings->source, &source, err);
    if (status != SOREX_OK)
        return sorex_error_prefix(err, "source %s", settings->source_type->name);
    status = settings->source_type->tip(source, &height, hash, err);
    settings->source_type->close(source);
    char hex[HASH_HEX_SIZE];
    hash_display(hash, hex);
    if (status == SOREX_OK)
        printf("ok    source %s: tip %u, block %s\n", settings->source_type->name, height, hex);
    else if (status == SOREX_AGAIN || status == SOREX_GONE)
        printf("wait  source %s: %s\n", settings->source_type->name, err->text);
    else
        return sorex_error_prefix(err, "source %s", settings->source_type->name);
    return SOREX_OK;
}

static enum sorex_status check(const struct pipeline_settings *settings, const char *file, struct sorex_error *err)
{
    printf("ok    pipeline %s: %s\n", settings->top.name, file);
    enum sorex_status status = SOREX_OK;
    if (settings->has_indexer)
        status = program_check(PROGRAM_INDEXER, &settings->indexer, err);
    for (size_t i = 0; i < settings->transform_count && status == SOREX_OK; i++)
        status = program_check(PROGRAM_TRANSFORM, &settings->transforms[i], err);
    if (status == SOREX_OK)
        status = source_check(settings, err);
    for (size_t i = 0; i < settings->sink_count && status == SOREX_OK; i++) {
        struct sink_context context = {
            .name = settings->sinks[i].name, .pipeline = settings->top.name, .base_dir = settings->base_dir};
        struct sink *sink;
        status = settings->sinks[i].type->open(settings->sinks[i].options, &context, &sink, err);
        if (status != SOREX_OK)
            return sorex_error_prefix(err, "sink %s", settings->sinks[i].name);
        settings->sinks[i].type->close(sink);
        printf("ok    sink %s: type %s\n", settings->sinks[i].name, settings->sinks[i].type->name);
    }
    return status;
}

static int run(const struct arguments *arguments)
{
    static struct pipeline_settings settings;
    static struct arguments copy;
    struct sorex_error err = {0};
    copy = *arguments;
    log_level_set(LOG_WARN);
    enum sorex_status status =
        pipeline_settings_read(copy.words[0], copy.overrides, copy.override_count, &settings, &err);
    if (status == SOREX_OK)
        status = check(&settings, copy.words[0], &err);
    pipeline_settings_deinit(&settings);
    return status == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
}

const struct verb verb_check = {
    .name = "check",
    .summary = "check a pipeline file and everything that it names",
    .usage = "PIPELINE [flags]",
    .flags = "set *",
    .words_min = 1,
    .words_max = 1,
    .about = "Reads the file, compiles every module and checks it against its contract, looks at the source, opens the sinks' settings.\n"
             "Nothing is executed and nothing is written. A source that is not reachable now is reported, not refused.",
    .example = "sorex check pipeline.yaml",
    .run = run,
};
