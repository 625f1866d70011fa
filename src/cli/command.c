#include "cli/command.h"

#include <errno.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "cli/arguments.h"
#include "cli/describe.h"

#define WORDS_MAX 8u
#define WORD_SIZE 1024u

/* What a command is given. */
struct call {
    struct shell *shell;
    struct session *session;
    const struct buf *statement;
    const char *name;
    size_t count;
    char words[WORDS_MAX][WORD_SIZE];
};

typedef enum command_end command_fn(struct call *call);

struct command {
    const char *name;
    const char *usage; /* behind the name */
    const char *text;  /* NULL: not in \? */
    size_t words_max;
    command_fn *run;
};

static enum command_end ended(bool good) { return good ? COMMAND_DONE : COMMAND_FAILED; }

static enum command_end complain(struct call *call, const char *text)
{
    char line[WORD_SIZE + 64];
    (void)snprintf(line, sizeof line, "\\%s: %s", call->name, text);
    return ended(session_complain(call->session, NULL, line));
}

/* What people are told, but not programs that read the output. */
static bool talks(const struct call *call)
{
    return call->shell->talks && !call->session->quiet && call->shell->depth == 0;
}

/* The word, or data NULL. */
static struct bytes word(const struct call *call, size_t i)
{
    return i < call->count ? bytes_str(call->words[i]) : (struct bytes){NULL, 0};
}

/* on, off or, without a word, the other one. */
static enum command_end toggle(struct call *call, bool *value, const char *what)
{
    struct bytes w = word(call, 0);
    if (w.data == NULL)
        *value = !*value;
    else if (bytes_is(w, "on") || bytes_is(w, "off"))
        *value = bytes_is(w, "on");
    else
        return complain(call, "on or off");
    if (talks(call))
        (void)fprintf(call->session->out, "%s is %s.\n", what, *value ? "on" : "off");
    return COMMAND_DONE;
}

/* ---- relations ---- */

static enum command_end run_d(struct call *call)
{
    if (call->count > 0)
        return ended(describe_relations(call->session, word(call, 0)));
    return ended(describe_list(call->session, "tvms", word(call, 0)));
}

/* \dt and the others: the letters behind the d are the kinds. */
static enum command_end run_dx(struct call *call)
{
    return ended(describe_list(call->session, call->name + 1, word(call, 0)));
}

static enum command_end run_dn(struct call *call) { return ended(describe_schemas(call->session, word(call, 0))); }

static enum command_end run_df(struct call *call) { return ended(describe_functions(call->session, word(call, 0))); }

/* ---- how results are shown ---- */

static enum command_end run_x(struct call *call)
{
    struct table_options *table = &call->session->table;
    call->session->fits = bytes_is(word(call, 0), "auto");
    if (call->session->fits) {
        table->format = table->format == TABLE_EXPANDED ? TABLE_ALIGNED : table->format;
        if (talks(call))
            (void)fputs("Expanded display is used automatically.\n", call->session->out);
        return COMMAND_DONE;
    }
    bool on = table->format == TABLE_EXPANDED;
    enum command_end end = toggle(call, &on, "Expanded display");
    if (table->format != TABLE_EXPANDED)
        call->session->plain = table->format;
    table->format = on ? TABLE_EXPANDED : call->session->plain == TABLE_EXPANDED ? TABLE_ALIGNED : call->session->plain;
    return end;
}

static enum command_end run_t(struct call *call)
{
    return toggle(call, &call->session->table.rows_only, "Tuples only");
}

static enum command_end run_timing(struct call *call) { return toggle(call, &call->session->timing, "Timing"); }

static const char *const formats[] = {
    [TABLE_ALIGNED] = "aligned", [TABLE_EXPANDED] = "expanded", [TABLE_CSV] = "csv", [TABLE_JSON] = "json", NULL};

static enum command_end format_set(struct call *call)
{
    for (size_t i = 0; formats[i] != NULL; i++)
        if (bytes_is(word(call, 1), formats[i])) {
            call->session->table.format = (enum table_format)i;
            if (talks(call))
                (void)fprintf(call->session->out, "Output format is %s.\n", formats[i]);
            return COMMAND_DONE;
        }
    return complain(call, "format is aligned, expanded, csv or json");
}

static enum command_end null_set(struct call *call)
{
    static char text[WORD_SIZE];
    memcpy(text, call->words[1], sizeof text);
    call->session->table.null = bytes_str(text);
    if (talks(call))
        (void)fprintf(call->session->out, "Null display is \"%s\".\n", text);
    return COMMAND_DONE;
}

static enum command_end run_pset(struct call *call)
{
    const struct table_options *table = &call->session->table;
    if (call->count == 0) {
        (void)fprintf(call->session->out, "format       %s\nnull         '%.*s'\ntuples_only  %s\n",
                      formats[table->format], BYTES_FMT(table->null), table->rows_only ? "on" : "off");
        return COMMAND_DONE;
    }
    if (bytes_is(word(call, 0), "format") && call->count > 1)
        return format_set(call);
    if (bytes_is(word(call, 0), "null") && call->count > 1)
        return null_set(call);
    if (bytes_is(word(call, 0), "tuples_only") || bytes_is(word(call, 0), "expanded")) {
        bool tuples = bytes_is(word(call, 0), "tuples_only");
        memmove(call->words[0], call->words[1], WORD_SIZE);
        call->count--;
        return tuples ? run_t(call) : run_x(call);
    }
    return complain(call, "format aligned|expanded|csv|json, null TEXT, tuples_only [on|off], expanded [on|off]");
}

/* ---- input and output ---- */

static enum command_end run_i(struct call *call)
{
    if (call->count == 0)
        return complain(call, "which file?");
    return ended(shell_file(call->shell, call->words[0]));
}

static enum command_end run_o(struct call *call)
{
    FILE *out = call->count > 0 ? fopen(call->words[0], "we") : stdout;
    struct sorex_error err = {0};
    if (out == NULL) {
        (void)sorex_error_set_errno(&err, SOREX_IO, errno, "%s", call->words[0]);
        return complain(call, err.text);
    }
    if (call->session->out != stdout && fclose(call->session->out) != 0)
        (void)complain(call, "the file that is closed could not be written");
    call->session->out = out;
    return COMMAND_DONE;
}

static enum command_end run_echo(struct call *call)
{
    for (size_t i = 0; i < call->count; i++)
        (void)fprintf(call->session->out, "%s%s", i > 0 ? " " : "", call->words[i]);
    (void)fputc('\n', call->session->out);
    return COMMAND_DONE;
}

static enum command_end run_save(struct call *call)
{
    struct sorex_error err = {0};
    struct buf image = {0};
    if (call->count == 0)
        return complain(call, "into which file?");
    enum sorex_status status = database_export(call->session->database, &image, &err);
    if (status == SOREX_OK)
        status = file_replace(call->words[0], buf_view(&image), &err);
    if (status == SOREX_OK && talks(call))
        (void)fprintf(call->session->out, "Saved %zu bytes; sorex sql --image %s opens them.\n", image.len,
                      call->words[0]);
    buf_deinit(&image);
    return status == SOREX_OK ? COMMAND_DONE : complain(call, err.text);
}

/* ---- the statement, the state ---- */

static enum command_end run_g(struct call *call)
{
    (void)call;
    return COMMAND_STATEMENT;
}

static enum command_end run_r(struct call *call)
{
    if (talks(call))
        (void)fputs("Query buffer reset (cleared).\n", call->session->out);
    return COMMAND_RESET;
}

static enum command_end run_p(struct call *call)
{
    struct bytes text = buf_view(call->statement);
    (void)fprintf(call->session->out, "%.*s%s", BYTES_FMT(text), text.len > 0 ? "\n" : "Query buffer is empty.\n");
    return COMMAND_DONE;
}

static enum command_end run_at(struct call *call)
{
    struct sorex_error err = {0};
    uint32_t height;
    enum sorex_status status = height_parse("at", call->count > 0 ? call->words[0] : NULL, &height, &err);
    if (status == SOREX_OK)
        status = session_move(call->session, height, &err);
    if (status != SOREX_OK)
        return complain(call, err.text);
    if (talks(call) && call->session->height != SOREX_HEIGHT_NONE)
        (void)fprintf(call->session->out, "This is the state after height %u.\n", call->session->height);
    return COMMAND_DONE;
}

static enum command_end run_q(struct call *call)
{
    call->shell->quit = true;
    return COMMAND_DONE;
}

static enum command_end run_h(struct call *call)
{
    FILE *out = call->session->out;
    if (call->count == 0) {
        (void)fputs("https://www.postgresql.org/docs/18/sql-commands.html has all statements.\n", out);
        return COMMAND_DONE;
    }
    (void)fputs("https://www.postgresql.org/docs/18/sql-", out);
    for (size_t i = 0; i < call->count; i++)
        for (const char *c = call->words[i]; *c != '\0'; c++)
            if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z'))
                (void)fputc(*c | 0x20, out);
    (void)fputs(".html\n", out);
    return COMMAND_DONE;
}

static enum command_end run_help(struct call *call);

static const struct command commands[] = {
    {"q", "", "leave", 0, run_q},
    {"?", "", "this list", 0, run_help},
    {"h", "[STATEMENT]", "where a statement is described", 4, run_h},
    {"d", "[NAME]", "tables, views, sequences; or one of them, or an index, in full", 1, run_d},
    {"dt", "[NAME]", "tables", 1, run_dx},
    {"di", "[NAME]", "indexes", 1, run_dx},
    {"dv", "[NAME]", "views", 1, run_dx},
    {"dm", "[NAME]", "materialized views", 1, run_dx},
    {"ds", "[NAME]", "sequences", 1, run_dx},
    {"df", "[NAME]", "functions", 1, run_df},
    {"dn", "[NAME]", "schemas", 1, run_dn},
    {"at", "[HEIGHT]", "start again in the state after a height; without it, the newest", 1, run_at},
    {"x", "[on|off|auto]", "one line for each value; auto: where tables are wider than the terminal", 1, run_x},
    {"t", "[on|off]", "rows only: no headers, no counts", 1, run_t},
    {"pset", "[NAME VALUE]", "format aligned|expanded|csv|json, null TEXT, tuples_only on|off", 2, run_pset},
    {"timing", "[on|off]", "how long statements take", 1, run_timing},
    {"i", "FILE", "execute a file", 1, run_i},
    {"o", "[FILE]", "results go to a file; without it, back to the terminal", 1, run_o},
    {"save", "FILE", "write the whole database into a file, which --image opens", 1, run_save},
    {"echo", "TEXT", "print it", WORDS_MAX, run_echo},
    {"g", "", "execute the statement, as a semicolon does", 0, run_g},
    {"p", "", "show the statement that was begun", 0, run_p},
    {"r", "", "forget it (Ctrl-C does too)", 0, run_r},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static enum command_end run_help(struct call *call)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        char left[32];
        (void)snprintf(left, sizeof left, "\\%s %s", commands[i].name, commands[i].usage);
        (void)fprintf(call->session->out, "  %-20s %s\n", left, commands[i].text);
    }
    return COMMAND_DONE;
}

/* ---- words ---- */

static bool is_space(uint8_t c) { return c == ' ' || c == '\t'; }

/* Takes the next word, in which single quotes hold spaces together. Double quotes stay: names have them. False: the
 * line ends here, or another command begins. */
static bool word_take(struct bytes *line, char out[WORD_SIZE])
{
    size_t i = 0, len = 0;
    uint8_t quote = 0;
    while (i < line->len && is_space(line->data[i]))
        i++;
    *line = bytes_of(line->data + i, line->len - i);
    if (line->len == 0 || line->data[0] == '\\')
        return false;
    for (i = 0; i < line->len && (quote != 0 || !is_space(line->data[i])); i++) {
        uint8_t c = line->data[i];
        if (quote == 0 && (c == '\'' || c == '"'))
            quote = c;
        else if (c == quote)
            quote = 0;
        if (c != '\'' && len + 1 < WORD_SIZE)
            out[len++] = (char)c;
    }
    out[len] = '\0';
    *line = bytes_of(line->data + i, line->len - i);
    return true;
}

/* The name ends where letters do: \q; is \q. */
static void name_take(struct bytes *line, char out[WORD_SIZE])
{
    size_t len = 0;
    while (len < line->len && len + 1 < WORD_SIZE && !is_space(line->data[len]) && line->data[len] != '\\' &&
           line->data[len] != ';')
        len++;
    memcpy(out, line->data, len);
    out[len] = '\0';
    *line = bytes_of(line->data + len, line->len - len);
    while (line->len > 0 && line->data[0] == ';')
        *line = bytes_of(line->data + 1, line->len - 1);
}

enum command_end command_run(struct shell *shell, struct bytes *line, const struct buf *statement)
{
    char name[WORD_SIZE], surplus[WORD_SIZE];
    const struct command *command = NULL;
    name_take(line, name);
    struct call call = {.shell = shell, .session = shell->session, .statement = statement, .name = name};
    for (size_t i = 0; i < COMMANDS && command == NULL; i++)
        if (strcmp(commands[i].name, name) == 0)
            command = &commands[i];
    if (command == NULL) {
        *line = bytes_of(line->data + line->len, 0);
        return complain(&call, "no such command; \\? lists them");
    }
    while (call.count < command->words_max && call.count < WORDS_MAX && word_take(line, call.words[call.count]))
        call.count++;
    while (word_take(line, surplus))
        (void)fprintf(stderr, "\\%s: extra argument \"%s\" ignored\n", name, surplus);
    return command->run(&call);
}
