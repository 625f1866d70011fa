/* Where this user's files are that no data directory holds: a cache, a history. From the XDG variables, else from HOME.
 * Thread: any, while nobody changes the environment. */
#ifndef SOREX_CLI_HOME_H
#define SOREX_CLI_HOME_H

#include <limits.h>
#include <stdbool.h>

/* The folder for compiled code, made where it is not there. False: there is no place for it. */
bool home_cache(char out[PATH_MAX]);
/* The file for what was typed, in a folder that is made where it is not there. False: as above. */
bool home_history(char out[PATH_MAX]);

#endif
