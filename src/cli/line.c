/* Ctrl-C is a key here, not a signal: the terminal makes none while a line is edited. */
#include "cli/line.h"

#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define HISTORY_ENTRIES 1000

struct line_editor {
    EditLine *edit;
    History *history;
    const char *file, *prompt;
    bool cancelled;
};

static char *prompt_get(EditLine *edit)
{
    struct line_editor *self = NULL;
    (void)el_get(edit, EL_CLIENTDATA, &self);
    return (char *)(uintptr_t)self->prompt;
}

static unsigned char on_cancel(EditLine *edit, int character)
{
    struct line_editor *self = NULL;
    (void)character;
    (void)el_get(edit, EL_CLIENTDATA, &self);
    self->cancelled = true;
    (void)fputs("^C\n", stdout);
    return CC_NEWLINE;
}

static enum sorex_status edit_begin(struct line_editor *self, struct sorex_error *err)
{
    HistEvent event;
    self->history = history_init();
    self->edit = el_init("sorex", stdin, stdout, stderr);
    if (self->history == NULL || self->edit == NULL)
        return sorex_error_set(err, SOREX_IO, "lines cannot be edited on this terminal");
    (void)history(self->history, &event, H_SETSIZE, HISTORY_ENTRIES);
    (void)history(self->history, &event, H_SETUNIQUE, 1);
    (void)el_set(self->edit, EL_CLIENTDATA, self);
    (void)el_set(self->edit, EL_PROMPT, prompt_get);
    (void)el_set(self->edit, EL_HIST, history, self->history);
    (void)el_set(self->edit, EL_EDITOR, "emacs");
    (void)el_wset(self->edit, EL_ADDFN, L"sorex-cancel", L"Forget what was typed", on_cancel); /* el_set loses copies */
    (void)el_set(self->edit, EL_BIND, "^C", "sorex-cancel", NULL);
    (void)el_set(self->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_set(self->edit, EL_BIND, "^W", "ed-delete-prev-word", NULL);
    (void)el_set(self->edit, EL_SETTY, "-d", "-isig", NULL);
    (void)el_source(self->edit, NULL); /* ~/.editrc */
    if (self->file != NULL)
        (void)history(self->history, &event, H_LOAD, self->file);
    return SOREX_OK;
}

enum sorex_status line_editor_open(const char *file, struct line_editor **out, struct sorex_error *err)
{
    struct line_editor *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a line");
    self->file = file;
    (void)setlocale(LC_CTYPE, "C.UTF-8"); /* what the keys' bytes mean */
    enum sorex_status status = edit_begin(self, err);
    if (status != SOREX_OK) {
        line_editor_close(self);
        return status;
    }
    *out = self;
    return SOREX_OK;
}

void line_editor_close(struct line_editor *self)
{
    HistEvent event;
    if (self == NULL)
        return;
    if (self->history != NULL && self->file != NULL) {
        mode_t before = umask(077); /* statements may hold what others must not read */
        (void)history(self->history, &event, H_SAVE, self->file);
        (void)umask(before);
    }
    if (self->edit != NULL)
        el_end(self->edit);
    if (self->history != NULL)
        history_end(self->history);
    free(self);
}

enum line_end line_read(struct line_editor *self, const char *prompt, struct bytes *out)
{
    int count = 0;
    self->prompt = prompt;
    self->cancelled = false;
    const char *text = el_gets(self->edit, &count);
    if (self->cancelled)
        return LINE_CANCELLED;
    if (text == NULL || count <= 0)
        return LINE_EOF;
    *out = bytes_of(text, strlen(text));
    if (out->len > 0 && out->data[out->len - 1] == '\n')
        out->len--;
    return LINE_TYPED;
}

void line_remember(struct line_editor *self, struct bytes text)
{
    HistEvent event;
    struct buf line = {0};
    while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == ' '))
        text.len--;
    if (text.len > 0 && buf_append(&line, text, NULL) == SOREX_OK && buf_append_u8(&line, '\0', NULL) == SOREX_OK)
        (void)history(self->history, &event, H_ENTER, (const char *)line.data);
    buf_deinit(&line);
}
