/* What begins with a backslash: \d, \x, \q and so on. A table has them all, of which \? is made.
 * Thread: the shell's. */
#ifndef SOREX_CLI_COMMAND_H
#define SOREX_CLI_COMMAND_H

#include "cli/shell.h"

enum command_end {
    COMMAND_DONE,
    COMMAND_FAILED,    /* that was shown */
    COMMAND_STATEMENT, /* the statement that was begun is to be executed */
    COMMAND_RESET,     /* it is to be forgotten */
};

/* Does what *line begins with, behind the backslash, and takes it and its words from there.
 * statement: what was begun, for those that are about it. */
enum command_end command_run(struct shell *shell, struct bytes *line, const struct buf *statement);

#endif
