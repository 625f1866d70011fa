/* sorex sql: psql's way of asking a database that this process holds. */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "cli/exit_code.h"
#include "cli/shell.h"
#include "cli/verbs.h"

#define PIPELINE "pipeline.yaml"
#define DATA "data"

/* ---- which database, when none is named ---- */

static bool is_data(const char *dir)
{
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/db", dir) < (int)sizeof path && access(path, F_OK) == 0;
}

static int name_is_data(const struct dirent *entry)
{
    char path[PATH_MAX];
    return entry->d_name[0] != '.' && snprintf(path, sizeof path, DATA "/%s", entry->d_name) < (int)sizeof path &&
           is_data(path);
}

/* pipeline.yaml here; else the one data directory that is "data" or lies in it. Nothing is set when there is none. */
static void database_default(struct arguments *arguments)
{
    static char dir[PATH_MAX];
    struct dirent **names = NULL;
    if (access(PIPELINE, F_OK) == 0) {
        arguments->words[arguments->word_count++] = PIPELINE;
        return;
    }
    if (is_data(DATA)) {
        arguments->data = DATA;
        return;
    }
    int count = scandir(DATA, &names, name_is_data, alphasort);
    if (count == 1 && snprintf(dir, sizeof dir, DATA "/%s", names[0]->d_name) < (int)sizeof dir)
        arguments->data = dir;
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

static enum sorex_status session_begin(const struct arguments *arguments, struct sql_source *source,
                                       struct session *out, struct sorex_error *err)
{
    uint32_t height;
    out->source = source; /* which session_close closes, whatever happens here */
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
    if (arguments->word_count == 0 && arguments->data == NULL && arguments->image == NULL && !arguments->scratch)
        database_default(arguments);
    enum sorex_status status = sql_source_open(arguments, &source, &err);
    if (status == SOREX_OK)
        status = session_begin(arguments, source, &session, &err);
    if (status == SOREX_OK)
        inputs_run(arguments, &shell);
    session_close(&session);
    if (status != SOREX_OK)
        return cli_fail(&err);
    return shell.failed ? EXIT_USAGE_CODE : EXIT_OK_CODE;
}

const struct verb verb_sql = {
    .name = "sql",
    .summary = "ask the embedded database, at any retained height",
    .usage = "[PIPELINE | --data DIR | --image FILE | --scratch] [--at H] [-c SQL]... [-f FILE]...",
    .flags = "data at sink image scratch command file csv json expanded tuples-only quiet timing keep-going set",
    .words_max = 1,
    .letters = true,
    .about = "PostgreSQL on a copy of the database of a sink of type `database`, or of a reducer (--sink with its\n"
             "name, where there are both), beside a running `sorex run` too. The copy takes milliseconds and is this command's own: statements may change it, and what\n"
             "they changed ends with it. Without a name it takes pipeline.yaml here, else the one data directory\n"
             "that is `data` or lies in it.\n\n"
             "Without -c and -f: on a terminal a shell with history, in which \\? lists the commands; else\n"
             "statements come from standard input. Results look as psql's do. The first statement that fails\n"
             "ends it with exit code 2, but in the shell and with --keep-going.",
    .example = "sorex sql pipeline.yaml --at 14000 -c \"select * from balances order by balance desc limit 10\"",
    .run = sql_run,
};
