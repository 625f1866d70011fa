#include "cli/home.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

/* $VARIABLE/sorex, or ~/FALLBACK/sorex. The specification wants absolute paths and has others ignored. */
static bool folder(const char *variable, const char *fallback, char out[PATH_MAX])
{
    struct sorex_error unused;
    const char *base = getenv(variable), *home = getenv("HOME");
    int len = 0;
    if (base != NULL && base[0] == '/')
        len = snprintf(out, PATH_MAX, "%s/sorex", base);
    else if (home != NULL && home[0] == '/')
        len = snprintf(out, PATH_MAX, "%s/%s/sorex", home, fallback);
    return len > 0 && len < PATH_MAX && file_mkdirs(out, &unused) == SOREX_OK;
}

bool home_cache(char out[PATH_MAX]) { return folder("XDG_CACHE_HOME", ".cache", out); }

bool home_history(char out[PATH_MAX])
{
    char dir[PATH_MAX];
    return folder("XDG_STATE_HOME", ".local/state", dir) && snprintf(out, PATH_MAX, "%s/sql_history", dir) < PATH_MAX;
}
