/* Lines typed on a terminal, edited and remembered. Only this file uses libedit.
 * Thread: one at a time; one in a process. */
#ifndef SOREX_CLI_LINE_H
#define SOREX_CLI_LINE_H

#include "base/bytes.h"

struct line_editor;

enum line_end {
    LINE_TYPED,
    LINE_CANCELLED, /* Ctrl-C: what was typed is nothing */
    LINE_EOF        /* Ctrl-D on an empty line, or the terminal is gone */
};

/* history: a file, read now and written by line_editor_close; NULL: nothing is remembered longer. Errors: SOREX_NOMEM,
 * SOREX_IO the terminal is none that lines can be edited on. */
enum sorex_status line_editor_open(const char *history, struct line_editor **out, struct sorex_error *err);
void line_editor_close(struct line_editor *editor); /* NULL is fine */

/* Reads one line. *out, without its newline, is the editor's until the next call. */
enum line_end line_read(struct line_editor *editor, const char *prompt, struct bytes *out);
/* Remembers a text as one entry; the same as the one before is not remembered again. */
void line_remember(struct line_editor *editor, struct bytes text);

#endif
