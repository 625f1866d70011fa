/* sorex check: a pipeline file and everything that it names, without running anything. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "json/writer.h"
#include "pipeline/program.h"

/* One line for each thing that was looked at, or with --json one object a line. */
static enum sorex_status say(bool json, const char *state, const char *what, const char *name, struct bytes detail,
                             struct sorex_error *err)
{
    if (!json) {
        printf("%-5s %s %s: %.*s\n", state, what, name, BYTES_FMT(detail));
        return SOREX_OK;
    }
    const char *const members[] = {"state", state, "what", what, "name", name};
    struct buf out = {0};
    struct json_writer w;
    json_writer_init(&w, &out, false, err);
    json_object_begin(&w);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i += 2) {
        json_name(&w, members[i]);
        json_string_z(&w, members[i + 1]);
    }
    json_name(&w, "detail");
    json_string(&w, detail);
    json_object_end(&w);
    enum sorex_status status = json_writer_finish(&w);
    if (status == SOREX_OK)
        printf("%.*s\n", BYTES_FMT(buf_view(&out)));
    buf_deinit(&out);
    return status;
}

static enum sorex_status program_check(bool json, enum program_contract contract, const struct program_settings *settings,
                                       struct sorex_error *err)
{
    struct program program;
    struct program_context context = {0};
    enum sorex_status status = program_load(&program, contract, settings, &context, err);
    char hash[HASH_HEX_SIZE];
    hash_hex(program.module_hash, hash);
    program_unload(&program);
    if (status != SOREX_OK)
        return status;
    struct buf detail = {0};
    status = buf_printf(&detail, err, "%s, module %s", settings->wasm, hash);
    if (status == SOREX_OK)
        status = say(json, "ok", contract == PROGRAM_INDEXER ? "indexer" : "transform", settings->name, buf_view(&detail), err);
    buf_deinit(&detail);
    return status;
}

/* An unreachable source is worth a word, not a failure: `run` waits for it. */
static enum sorex_status source_check(bool json, const struct pipeline_settings *settings, struct sorex_error *err)
{
    struct source *source;
    uint32_t height = 0;
    uint8_t hash[HASH_BYTES];
    enum sorex_status status = settings->source_type->open(settings->source, &source, err);
    if (status != SOREX_OK)
        return sorex_error_prefix(err, "source %s", settings->source_type->name);
    status = settings->source_type->tip(source, &height, hash, err);
    settings->source_type->close(source);
    if (status == SOREX_AGAIN || status == SOREX_GONE) {
        char why[sizeof err->text];
        memcpy(why, err->text, sizeof why);
        return say(json, "wait", "source", settings->source_type->name, bytes_str(why), err);
    }
    if (status != SOREX_OK)
        return sorex_error_prefix(err, "source %s", settings->source_type->name);
    char hex[HASH_HEX_SIZE], detail[HASH_HEX_SIZE + 40];
    hash_display(hash, hex);
    (void)snprintf(detail, sizeof detail, "tip %u, block %s", height, hex);
    return say(json, "ok", "source", settings->source_type->name, bytes_str(detail), err);
}

static enum sorex_status check(const struct arguments *arguments, const struct pipeline_settings *settings, int *out_code,
                               struct sorex_error *err)
{
    bool json = arguments->json;
    (void)out_code;
    enum sorex_status status = say(json, "ok", "pipeline", settings->top.name, bytes_str(arguments->words[0]), err);
    if (settings->has_indexer && status == SOREX_OK)
        status = program_check(json, PROGRAM_INDEXER, &settings->indexer, err);
    for (size_t i = 0; i < settings->transform_count && status == SOREX_OK; i++)
        status = program_check(json, PROGRAM_TRANSFORM, &settings->transforms[i], err);
    if (status == SOREX_OK)
        status = source_check(json, settings, err);
    for (size_t i = 0; i < settings->sink_count && status == SOREX_OK; i++) {
        struct sink_context context = {
            .name = settings->sinks[i].name, .pipeline = settings->top.name, .base_dir = settings->base_dir};
        struct sink *sink;
        status = settings->sinks[i].type->open(settings->sinks[i].options, &context, &sink, err);
        if (status != SOREX_OK)
            return sorex_error_prefix(err, "sink %s", settings->sinks[i].name);
        settings->sinks[i].type->close(sink);
        char detail[64];
        (void)snprintf(detail, sizeof detail, "type %s", settings->sinks[i].type->name);
        status = say(json, "ok", "sink", settings->sinks[i].name, bytes_str(detail), err);
    }
    return status;
}

static int run(struct arguments *arguments)
{
    return pipeline_file_use(arguments, check);
}

const struct verb verb_check = {
    .name = "check",
    .summary = "check a pipeline file and everything that it names",
    .usage = "PIPELINE [flags]",
    .flags = "json set *",
    .words_min = 1,
    .words_max = 1,
    .about = "Reads the file, compiles every module and checks it against its contract, looks at the source, opens the sinks' settings.\n"
             "Nothing is executed and nothing is written. A source that is not reachable now is reported, not refused.",
    .example = "sorex check pipeline.yaml",
    .run = run,
};
