/* sorex upgrade: adopt a changed module. sorex reference: the pipeline file's reference, from the option tables. */
#include <stdio.h>

#include "base/check.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "derive/chained.h"
#include "pipeline/fold.h"
#include "pipeline/pipeline.h"
#include "sink/embedded.h"

static enum sorex_status adopted_json(const struct store_program *stored, struct sorex_error *err)
{
    struct json_out out;
    json_out_begin(&out, false, err);
    json_object_begin(&out.w);
    json_name(&out.w, "program");
    json_string_z(&out.w, stored->name);
    json_name(&out.w, "module");
    json_hex(&out.w, bytes_of(stored->module_hash, sizeof stored->module_hash));
    json_name(&out.w, "from_height");
    json_uint(&out.w, stored->from_height);
    json_object_end(&out.w);
    return json_out_end(&out, stdout);
}

/* A reducer begins at the first block, or message, again. */
static enum sorex_status anew_say(const struct pipeline_settings *settings, bool json, struct sorex_error *err)
{
    struct json_out out;
    if (!json && settings->event_source_type != NULL) {
        printf("reducer %s: derived anew from the first message on, by the next run\n", settings->reducer.name);
        return SOREX_OK;
    }
    if (!json) {
        printf("reducer %s: derived anew from height %u on, by the next run\n", settings->reducer.name, settings->top.start_height);
        return SOREX_OK;
    }
    json_out_begin(&out, false, err);
    json_object_begin(&out.w);
    json_name(&out.w, "reducer");
    json_string_z(&out.w, settings->reducer.name);
    if (settings->event_source_type == NULL) {
        json_name(&out.w, "from_height");
        json_uint(&out.w, settings->top.start_height);
    }
    json_object_end(&out.w);
    return json_out_end(&out, stdout);
}

/* Of a stream, which has no other program that is kept. */
static enum sorex_status stream_upgrade(const struct pipeline_settings *settings, const char *program, bool json, struct sorex_error *err)
{
    if (!settings->has_reducer)
        return pipeline_settings_chain(settings, err);
    if (strcmp(program, settings->reducer.name) != 0)
        return sorex_error_set(err, SOREX_INVALID, "no program \"%s\" in this stream whose state is kept", program);
    enum sorex_status status = fold_drop(settings, err);
    return status == SOREX_OK || status == SOREX_GONE ? anew_say(settings, json, err) : status;
}

static enum sorex_status upgrade(const struct pipeline_settings *settings, const char *program, bool json, struct sorex_error *err)
{
    struct pipeline *pipeline;
    struct pipeline_options options = {.upgrade = program, .no_network = true};
    if (settings->event_source_type != NULL)
        return stream_upgrade(settings, program, json, err);
    enum sorex_status status = pipeline_new(settings, &options, &pipeline, err);
    if (status != SOREX_OK)
        return status;
    if (settings->has_reducer && strcmp(program, settings->reducer.name) == 0) {
        pipeline_free(pipeline);
        return anew_say(settings, json, err);
    }
    struct store_program stored;
    status = store_program_find(pipeline_store(pipeline), program, &stored, err);
    char hash[HASH_HEX_SIZE];
    if (status == SOREX_OK && json) {
        status = adopted_json(&stored, err);
    } else if (status == SOREX_OK) {
        hash_hex(stored.module_hash, hash);
        printf("program %s: module %s from height %u on\n", program, hash, stored.from_height);
    }
    pipeline_free(pipeline);
    return status;
}

/* The outbox is no longer kept for a sink that will not come back. */
static enum sorex_status forget(const struct pipeline_settings *settings, const char *sink, struct sorex_error *err)
{
    struct pipeline *pipeline;
    struct pipeline_options options = {.no_network = true};
    TRY(pipeline_new(settings, &options, &pipeline, err));
    enum sorex_status status = SOREX_OK, derived = SOREX_GONE;
    if (settings->has_reducer && strcmp(settings->reducer.name, sink) == 0)
        status = sorex_error_set(err, SOREX_INVALID, "reducer %s is still in the pipeline file: take it out first", sink);
    for (size_t i = 0; i < settings->sink_count && status == SOREX_OK; i++)
        if (strcmp(settings->sinks[i].name, sink) == 0)
            status = sorex_error_set(err, SOREX_INVALID, "sink %s is still in the pipeline file: take it out first", sink);
    if (status == SOREX_OK)
        status = embedded_drop(pipeline_store(pipeline), sink, err);
    if (status == SOREX_OK || status == SOREX_GONE)
        status = store_cursor_forget(pipeline_store(pipeline), sink, err);
    if (status == SOREX_GONE) /* no sink of this name; what is not a reducer's either is told as a sink's */
        derived = chained_drop(pipeline_store(pipeline), settings->top.data, sink, NULL);
    if (derived == SOREX_OK) {
        status = SOREX_OK;
        printf("reducer %s: its database is gone\n", sink);
    } else if (status == SOREX_OK)
        printf("sink %s: nothing is kept for it any more\n", sink);
    pipeline_free(pipeline);
    return status;
}

static enum sorex_status upgrade_or_forget(const struct arguments *arguments, const struct pipeline_settings *settings,
                                           int *out_code, struct sorex_error *err)
{
    (void)out_code;
    return arguments->program != NULL ? upgrade(settings, arguments->program, arguments->json, err)
                                      : forget(settings, arguments->forget_sink, err);
}

static int upgrade_run(struct arguments *arguments)
{
    struct sorex_error err = {0};
    if ((arguments->program == NULL) != (arguments->forget_sink == NULL))
        return pipeline_file_use(arguments, upgrade_or_forget);
    (void)sorex_error_set(&err, SOREX_INVALID, "which program, or which sink? usage: sorex upgrade %s", verb_upgrade.usage);
    return cli_fail(&err);
}

const struct verb verb_upgrade = {
    .name = "upgrade",
    .summary = "adopt a changed module from the next entry on",
    .usage = "PIPELINE (--program NAME [--json] | --forget-sink NAME)",
    .flags = "program forget-sink json set",
    .words_min = 1,
    .words_max = 1,
    .about = "`run` refuses a program whose module, limits or modes are not those that the store was written with. This verb takes the\n"
             "ones in the pipeline file over, from the next entry on; what was indexed before stays. Memory that a guest kept is dropped.\n"
             "A reducer's database is let go of, and derived anew: it is to be that of one module over all blocks.\n"
             "--forget-sink: changes wait in the outbox for every sink that ever was in the pipeline; this lets go of one that left it.\n"
             "An embedded database of its own goes, too, and so does that of a reducer of this name.",
    .example = "sorex upgrade pipeline.yaml --program balances",
    .run = upgrade_run,
};

static int reference_run(struct arguments *arguments)
{
    (void)arguments;
    struct buf out = {0};
    struct sorex_error err = {0};
    enum sorex_status status = pipeline_reference(&out, &err);
    if (status == SOREX_OK)
        (void)fwrite(out.data, 1, out.len, stdout);
    buf_deinit(&out);
    return status == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
}

const struct verb verb_reference = {
    .name = "reference",
    .summary = "print the reference of the pipeline file (Markdown)",
    .usage = "",
    .flags = "",
    .about = "Every setting with its type, default and meaning, made from the tables that the parser uses.",
    .example = "sorex reference > docs/reference.md",
    .run = reference_run,
};
