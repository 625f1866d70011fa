/* sorex sql: psql's way of asking a database that this process holds. */
#include <unistd.h>

#include "base/check.h"
#include "cli/exit_code.h"
#include "cli/shell.h"
#include "cli/verbs.h"

static enum sorex_status session_begin(const struct arguments *arguments, struct sql_source *source,
                                       struct session *out, struct sorex_error *err)
{
    uint32_t height;
    TRY(height_parse("at", arguments->at, &height, err));
    if (arguments->csv + arguments->json + arguments->expanded > 1)
        return sorex_error_set(err, SOREX_INVALID, "one of --csv, --json, --expanded");
    TRY(session_open(out, source, height, err));
    out->table.null = bytes_str("");
    out->table.rows_only = arguments->tuples_only;
    out->table.format = arguments->csv        ? TABLE_CSV
                        : arguments->json     ? TABLE_JSON
                        : arguments->expanded ? TABLE_EXPANDED
                                              : TABLE_ALIGNED;
    out->timing = arguments->timing;
    out->quiet = arguments->quiet;
    return SOREX_OK;
}

static void inputs_run(const struct arguments *arguments, struct shell *shell)
{
    bool good = true;
    for (size_t i = 0; i < arguments->input_count && good && !shell->quit; i++) {
        const struct arguments_input *input = &arguments->inputs[i];
        good = input->file ? shell_file(shell, input->text) : shell_text(shell, input->text);
    }
    if (arguments->input_count > 0)
        return;
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        (void)shell_talk(shell);
        shell->failed = false; /* somebody has seen it */
    } else
        (void)shell_file(shell, "-");
}

static int sql_run(struct arguments *arguments)
{
    struct sorex_error err = {0};
    struct sql_source *source = NULL;
    struct session session = {0};
    struct shell shell = {.session = &session, .keep_going = arguments->keep_going};
    enum sorex_status status = sql_source_open(arguments, &source, &err);
    if (status == SOREX_OK)
        status = session_begin(arguments, source, &session, &err);
    if (status == SOREX_OK)
        inputs_run(arguments, &shell);
    session_close(&session);
    sql_source_close(source);
    if (status != SOREX_OK)
        return cli_fail(&err);
    return shell.failed ? EXIT_USAGE_CODE : EXIT_OK_CODE;
}

const struct verb verb_sql = {
    .name = "sql",
    .summary = "ask the embedded database, at any retained height",
    .usage = "(PIPELINE | --data DIR | --image FILE | --scratch) [--at H] [-c SQL]... [-f FILE]...",
    .flags = "data at sink image scratch command file csv json expanded tuples-only quiet timing keep-going set",
    .words_max = 1,
    .letters = true,
    .about = "PostgreSQL on a copy of the database of a sink of type `database`, beside a running `sorex run` too. The "
             "copy takes\n"
             "milliseconds and is this command's own: statements may change it, and what they changed ends with it.\n\n"
             "Without -c and -f: on a terminal a shell with history, in which \\? lists the commands; else statements "
             "come from\n"
             "standard input. Results look as psql's do. The first statement that fails ends it with exit code 2, but "
             "in the shell\n"
             "and with --keep-going.",
    .example = "sorex sql pipeline.yaml --at 14000 -c \"select * from balances order by balance desc limit 10\"",
    .run = sql_run,
};
