/* The input of `sorex sql`: texts, files, a terminal; lines of which become statements and commands.
 * Thread: one at a time. */
#ifndef SOREX_CLI_SHELL_H
#define SOREX_CLI_SHELL_H

#include "cli/script.h"
#include "cli/session.h"

/* Files that read files: how deep. */
#define SHELL_DEPTH_MAX 16u

struct shell {
    struct session *session; /* borrowed */
    bool keep_going;         /* after what failed, where nobody types */
    bool talks;              /* somebody types */
    bool quit;               /* \q */
    bool failed;             /* something did, sometime */
    unsigned depth;
};

/* Each executes what it is given and returns false when something failed and nothing more is to be done. */
bool shell_text(struct shell *shell, const char *text);
/* path: "-" is standard input. */
bool shell_file(struct shell *shell, const char *path);
/* Standard input, which is a terminal, until it ends. */
bool shell_talk(struct shell *shell);

#endif
