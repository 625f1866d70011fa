/* sorex: one verb a file; this one finds it, prints help, and turns a status into an exit code. */
#include <stdio.h>

#include "base/log.h"
#include "cli/arguments.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "sorex/version.h"

const struct verb *const verbs[] = {&verb_run,  &verb_try,     &verb_inspect,  &verb_check,   &verb_status,    &verb_view, &verb_preview,
                                    &verb_rows, &verb_state,   &verb_rollback, &verb_upgrade, &verb_replay, &verb_sim, &verb_pipe, &verb_sql, &verb_serve, &verb_derive, &verb_verify, &verb_bisect, &verb_messages, &verb_reference, NULL};

static void help_print(FILE *out)
{
    (void)fprintf(out, "sorex " SOREX_VERSION ": deterministic WebAssembly over reorderable logs\n\n"
                       "usage: sorex VERB [arguments]; sorex VERB --help tells more\n\n");
    for (size_t i = 0; verbs[i] != NULL; i++)
        (void)fprintf(out, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    (void)fprintf(out, "\nexit codes:\n");
#define PRINT(code, name, text) (void)fprintf(out, "  %-3d %s\n", code, text);
    EXIT_CODE_LIST(PRINT)
#undef PRINT
    (void)fprintf(out, "\nfirst steps:\n"
                       "  sorex try guest.wasm --block block.bin@0     see what a guest does with a block\n"
                       "  sorex check pipeline.yaml                    check a pipeline and all that it names\n"
                       "  sorex run pipeline.yaml                      run it\n"
                       "  sorex status pipeline.yaml                   what is it doing, and why is it waiting\n"
                       "  sorex sql pipeline.yaml                      ask its database\n");
}

int cli_fail(const struct sorex_error *err)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "sorex: %s\n", err->text);
    if (err->status == SOREX_CORRUPT)
        (void)fprintf(stderr, "sorex: restore what is damaged from a backup, or index again into a new data directory\n");
    return exit_code_of(err->status);
}

void json_out_begin(struct json_out *out, bool pretty, struct sorex_error *err)
{
    *out = (struct json_out){0};
    json_writer_init(&out->w, &out->text, pretty, err);
}

enum sorex_status json_out_end(struct json_out *out, FILE *file)
{
    enum sorex_status status = json_writer_finish(&out->w);
    if (status == SOREX_OK) {
        (void)fwrite(out->text.data, 1, out->text.len, file);
        (void)fputc('\n', file);
    }
    buf_deinit(&out->text);
    return status;
}

int pipeline_file_use(struct arguments *arguments, pipeline_file_fn *use)
{
    static struct pipeline_settings settings;
    struct sorex_error err = {0};
    int code = EXIT_OK_CODE;
    enum sorex_status status =
        pipeline_settings_read(arguments->words[0], arguments->overrides, arguments->override_count, &settings, &err);
    if (status == SOREX_OK)
        status = use(arguments, &settings, &code, &err);
    pipeline_settings_deinit(&settings);
    return status == SOREX_OK ? code : cli_fail(&err);
}

static int unknown_verb(const char *word)
{
    const char *names[32];
    size_t n = 0;
    for (; verbs[n] != NULL && n < 31; n++)
        names[n] = verbs[n]->name;
    names[n] = NULL;
    const char *near = nearest_name(bytes_str(word), names);
    (void)fprintf(stderr, "sorex: no verb \"%s\"%s%s%s; `sorex --help` lists them\n", word, near != NULL ? "; did you mean \"" : "",
                  near != NULL ? near : "", near != NULL ? "\"?" : "");
    return EXIT_USAGE_CODE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help_print(stderr);
        return EXIT_USAGE_CODE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help_print(stdout);
        return EXIT_OK_CODE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("sorex " SOREX_VERSION);
        return EXIT_OK_CODE;
    }
    const struct verb *verb = NULL;
    for (size_t i = 0; verbs[i] != NULL && verb == NULL; i++)
        if (strcmp(argv[1], verbs[i]->name) == 0)
            verb = verbs[i];
    if (verb == NULL)
        return unknown_verb(argv[1]);
    static struct arguments arguments;
    struct sorex_error err = {0};
    if (arguments_parse(verb, argc - 2, argv + 2, &arguments, &err) != SOREX_OK)
        return cli_fail(&err);
    if (arguments.help)
        return arguments_help(verb, &err) == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
    log_level_set(LOG_WARN); /* `run` sets what the pipeline file says; the others tell trouble only */
    int code = verb->run(&arguments);
    if (fflush(stdout) != 0 && code == EXIT_OK_CODE) {
        (void)fprintf(stderr, "sorex: standard output could not be written\n");
        return EXIT_IO_CODE;
    }
    return code;
}
