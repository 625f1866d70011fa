#include "cli/shell.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/limits.h"
#include "cli/command.h"
#include "cli/home.h"
#include "cli/line.h"

#define PROMPT_SIZE 128

/* Where lines come from: one of the three. */
struct input {
    struct bytes text;
    FILE *file;
    struct line_editor *editor;
    struct session_place place;
    char *line; /* of a file */
    size_t line_cap;
    struct script script;
    size_t began; /* the line where the statement in hand began */
};

/* ---- lines ---- */

static bool text_line(struct input *in, struct bytes *out)
{
    if (in->text.len == 0)
        return false;
    const uint8_t *end = memchr(in->text.data, '\n', in->text.len);
    size_t len = end != NULL ? (size_t)(end - in->text.data) : in->text.len, taken = len + (end != NULL);
    *out = bytes_of(in->text.data, len);
    in->text = bytes_of(in->text.data + taken, in->text.len - taken);
    return true;
}

static bool file_line(struct input *in, struct bytes *out)
{
    ssize_t len = getline(&in->line, &in->line_cap, in->file);
    if (len <= 0)
        return false;
    *out = bytes_of(in->line, (size_t)len);
    if (out->data[out->len - 1] == '\n')
        out->len--;
    if (out->len > 0 && out->data[out->len - 1] == '\r')
        out->len--;
    return true;
}

/* As psql's: name, where in a statement, whether in a transaction. */
static void prompt_make(const struct shell *shell, const struct script *script, char out[PROMPT_SIZE])
{
    const struct session *session = shell->session;
    const char *transaction = session->transaction == 'T' ? "*" : session->transaction == 'E' ? "!" : "";
    char height[16] = "";
    if (session->height != SOREX_HEIGHT_NONE)
        (void)snprintf(height, sizeof height, "@%u", session->height);
    (void)snprintf(out, PROMPT_SIZE, "%s%s%c%s# ", sql_source_name(session->source), height, script_place(script),
                   transaction);
}

/* LINE_CANCELLED: what was begun is forgotten. */
static enum line_end input_line(struct shell *shell, struct input *in, const char *prompt, struct bytes *out)
{
    char made[PROMPT_SIZE];
    if (in->editor != NULL) {
        if (prompt == NULL) {
            prompt_make(shell, &in->script, made);
            prompt = made;
        }
        (void)fflush(shell->session->out);
        return line_read(in->editor, prompt, out);
    }
    in->place.line++;
    return (in->file != NULL ? file_line(in, out) : text_line(in, out)) ? LINE_TYPED : LINE_EOF;
}

/* ---- statements ---- */

/* Lines of COPY's data up to one that is \. */
static bool copy_read(struct shell *shell, struct input *in, struct buf *out, struct sorex_error *err)
{
    struct bytes line;
    if (in->editor != NULL)
        (void)fputs("Enter data to be copied followed by a newline.\nEnd with a backslash and a period on a line by "
                    "itself, or an EOF signal.\n",
                    shell->session->out);
    for (;;) {
        enum line_end end = input_line(shell, in, ">> ", &line);
        if (end != LINE_TYPED)
            return end == LINE_EOF;
        if (bytes_is(line, "\\."))
            return true;
        if (buf_append(out, line, err) != SOREX_OK || buf_append_u8(out, '\n', err) != SOREX_OK)
            return session_complain(shell->session, NULL, err->text);
    }
}

static bool statement_run(struct shell *shell, struct input *in)
{
    struct sorex_error err = {0};
    struct buf data = {0};
    struct session_place place = {in->place.name, in->began};
    struct bytes sql = buf_view(&in->script.statement), copied;
    bool copies = in->script.copy == SCRIPT_COPY_STDIN, good = true;
    if (in->editor != NULL)
        line_remember(in->editor, sql);
    if (copies)
        good = copy_read(shell, in, &data, &err);
    copied = buf_view(&data);
    if (good)
        good = session_run(shell->session, sql, copies ? &copied : NULL, &place);
    buf_deinit(&data);
    script_reset(&in->script);
    return good;
}

static bool command_do(struct shell *shell, struct input *in, struct bytes *line)
{
    bool typed = in->editor != NULL;
    struct bytes whole = bytes_of(line->data - 1, line->len + 1);
    if (typed && in->script.statement.len == 0)
        line_remember(in->editor, whole);
    enum command_end end = command_run(shell, line, &in->script.statement);
    if (end == COMMAND_RESET)
        script_reset(&in->script);
    if (end == COMMAND_STATEMENT && script_begun(&in->script))
        return statement_run(shell, in);
    return end != COMMAND_FAILED;
}

/* What a line says. False: something failed. */
static bool line_do(struct shell *shell, struct input *in, struct bytes line)
{
    struct sorex_error err = {0};
    bool good = true;
    for (enum script_step step = SCRIPT_STATEMENT; good && step != SCRIPT_LINE_END && !shell->quit;) {
        if (in->script.statement.len == 0)
            in->began = in->place.line;
        if (script_step(&in->script, &line, &step, &err) != SOREX_OK)
            return session_complain(shell->session, &in->place, err.text);
        if (step == SCRIPT_STATEMENT)
            good = statement_run(shell, in);
        else if (step == SCRIPT_COMMAND)
            good = command_do(shell, in, &line);
        shell->failed = shell->failed || !good;
        good = good || shell->keep_going || in->editor != NULL;
    }
    return good;
}

/* ---- inputs ---- */

static bool input_run(struct shell *shell, struct input *in)
{
    struct bytes line;
    bool good = true;
    script_init(&in->script);
    while (good && !shell->quit) {
        enum line_end end = input_line(shell, in, NULL, &line);
        if (end == LINE_EOF)
            break;
        if (end == LINE_CANCELLED)
            script_reset(&in->script);
        else
            good = line_do(shell, in, line);
    }
    if (good && !shell->quit && in->editor == NULL && script_begun(&in->script)) {
        good = statement_run(shell, in); /* the last one needs no semicolon */
        shell->failed = shell->failed || !good;
        good = good || shell->keep_going;
    }
    script_deinit(&in->script);
    free(in->line);
    return good;
}

bool shell_text(struct shell *shell, const char *text)
{
    struct input in = {.text = bytes_str(text)};
    return input_run(shell, &in);
}

static bool file_refuse(struct shell *shell, const struct sorex_error *err)
{
    shell->failed = true;
    return session_complain(shell->session, NULL, err->text);
}

bool shell_file(struct shell *shell, const char *path)
{
    struct sorex_error err = {0};
    bool standard = strcmp(path, "-") == 0;
    if (shell->depth == SHELL_DEPTH_MAX) {
        (void)sorex_error_set(&err, SOREX_LIMIT, "%s: files that execute files, %u deep", path, SHELL_DEPTH_MAX);
        return file_refuse(shell, &err);
    }
    struct input in = {.file = standard ? stdin : fopen(path, "re"), .place = {.name = standard ? NULL : path}};
    if (in.file == NULL) {
        (void)sorex_error_set_errno(&err, SOREX_IO, errno, "%s", path);
        return file_refuse(shell, &err);
    }
    shell->depth++;
    bool good = input_run(shell, &in);
    shell->depth--;
    if (ferror(in.file) != 0) {
        (void)sorex_error_set(&err, SOREX_IO, "%s could not be read", path);
        good = file_refuse(shell, &err);
    }
    if (!standard)
        (void)fclose(in.file);
    return good;
}

/* ---- a terminal ---- */

struct watch {
    struct session *session;
    sigset_t signals;
    _Atomic bool ends;
};

/* Ctrl-C while a statement runs. SIGUSR1 of its own process ends the thread. */
static void *watch_run(void *user_data)
{
    struct watch *watch = user_data;
    int number;
    while (sigwait(&watch->signals, &number) == 0 && !watch->ends)
        if (number == SIGINT)
            session_interrupt(watch->session);
    return NULL;
}

static void greet(const struct session *session)
{
    (void)printf("sorex sql: PostgreSQL 18 in this process, on %s%s",
                 sql_source_is_copy(session->source) ? "a copy of " : "", sql_source_name(session->source));
    if (session->height != SOREX_HEIGHT_NONE)
        (void)printf(" at height %u", session->height);
    (void)printf(".\nType \\? for help, \\q to leave.\n\n");
}

static bool talk(struct shell *shell, struct sorex_error *err)
{
    char history[PATH_MAX];
    struct input in = {0};
    if (line_editor_open(home_history(history) ? history : NULL, &in.editor, err) != SOREX_OK)
        return session_complain(shell->session, NULL, err->text);
    shell->talks = true;
    greet(shell->session);
    bool good = input_run(shell, &in);
    if (!shell->quit)
        (void)fputs("\\q\n", stdout);
    line_editor_close(in.editor);
    return good;
}

bool shell_talk(struct shell *shell)
{
    struct sorex_error err = {0};
    struct watch watch = {.session = shell->session};
    pthread_t thread;
    sigset_t before;
    (void)sigemptyset(&watch.signals);
    (void)sigaddset(&watch.signals, SIGINT);
    (void)sigaddset(&watch.signals, SIGUSR1);
    (void)pthread_sigmask(SIG_BLOCK, &watch.signals, &before);
    bool watched = pthread_create(&thread, NULL, watch_run, &watch) == 0;
    bool good = watched ? talk(shell, &err) : session_complain(shell->session, NULL, "out of memory for a thread");
    watch.ends = true;
    if (watched) {
        (void)pthread_kill(thread, SIGUSR1);
        (void)pthread_join(thread, NULL);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return good;
}
