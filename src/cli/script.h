/* Text that somebody types or a file holds, cut into statements and commands, as psql does it.
 *
 * A statement ends with a semicolon outside of quotes, dollar quotes, comments, parentheses and BEGIN ATOMIC ... END. A
 * command begins with a backslash anywhere else and ends with its line. Source: PostgreSQL, src/fe_utils/psqlscan.l.
 * Thread: one at a time. */
#ifndef SOREX_CLI_SCRIPT_H
#define SOREX_CLI_SCRIPT_H

#include "base/bytes.h"

#define SCRIPT_TAG_SIZE 64

struct script {
    struct buf statement;      /* what there is of it */
    char quote;                /* ' or " or $ or * (a comment); 0: outside of all */
    bool escapes;              /* in ': a backslash escapes */
    char tag[SCRIPT_TAG_SIZE]; /* of a dollar quote, with its dollars */
    unsigned comments, parentheses, blocks;
    char words[4]; /* how the first words of the statement begin, as far as they matter */
    unsigned words_count;
    enum script_copy { SCRIPT_COPY_NO, SCRIPT_COPY, SCRIPT_COPY_FROM, SCRIPT_COPY_STDIN } copy;
};

enum script_step { SCRIPT_LINE_END, SCRIPT_STATEMENT, SCRIPT_COMMAND };

void script_init(struct script *script);
void script_deinit(struct script *script);
/* Forgets what was begun. */
void script_reset(struct script *script);

/* Takes from *line, which has no newline, up to where something happens, and says what:
 *   SCRIPT_LINE_END   nothing is left of it; a newline was added to a statement that has begun;
 *   SCRIPT_STATEMENT  script->statement is complete, with its semicolon; script_reset before the next step. When
 *                     script->copy is SCRIPT_COPY_STDIN, lines of data follow, up to one that is \\.
 *   SCRIPT_COMMAND    *line begins behind a backslash. */
enum sorex_status script_step(struct script *script, struct bytes *line, enum script_step *out,
                              struct sorex_error *err);

/* Whether something but white space and comments was begun. */
bool script_begun(const struct script *script);
/* What a prompt shows of where it is: '=' at the beginning of a statement, '-' in one, or what has to be closed:
 * ' " $ ( *. */
char script_place(const struct script *script);

#endif
