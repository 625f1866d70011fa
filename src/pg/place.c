#include "pg/place.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

#define VARIABLE "SOREX_POSTGRES_DIR"
/* BUILD/tests/ROOM/PROGRAM, PREFIX/lib/TRIPLE/LIBRARY: the folder of the object and two above it. */
#define FOLDERS_MAX 3

/* ---- files ---- */

static bool path_join(char out[PATH_MAX], const char *dir, const char *name)
{
    return snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX;
}

static bool files_in(const char *dir)
{
    char path[PATH_MAX];
    return path_join(path, dir, "cluster.image") && access(path, R_OK) == 0;
}

/* The file that this function was loaded from. */
static bool object_find(char out[PATH_MAX])
{
    static const char here;
    Dl_info info;
    struct link_map *map = NULL;
    if (dladdr1(&here, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 || map == NULL)
        return false;
    return realpath(map->l_name[0] == '\0' ? "/proc/self/exe" : map->l_name, out) != NULL;
}

/* From "DIR/NAME" to "DIR". */
static bool name_cut(char path[PATH_MAX])
{
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return true;
}

static bool beside(char folder[PATH_MAX], char out[PATH_MAX])
{
    for (int i = 0; i < FOLDERS_MAX && name_cut(folder); i++)
        if ((path_join(out, folder, "postgres") && files_in(out)) ||
            (path_join(out, folder, SOREX_DATADIR "/sorex/postgres") && files_in(out)))
            return true;
    return false;
}

enum sorex_status place_find(char out[PATH_MAX], struct sorex_error *err)
{
    char object[PATH_MAX];
    const char *dir = getenv(VARIABLE);
    if (dir != NULL && dir[0] != '\0') {
        if (strlen(dir) >= PATH_MAX || !files_in(dir))
            return sorex_error_set(err, SOREX_GONE, "%s: there is no cluster.image in %s", VARIABLE, dir);
        memcpy(out, dir, strlen(dir) + 1);
        return SOREX_OK;
    }
    if (!object_find(object))
        return sorex_error_set(err, SOREX_GONE, "where this program is cannot be found out: set %s", VARIABLE);
    char folder[PATH_MAX];
    memcpy(folder, object, sizeof folder);
    if (beside(folder, out))
        return SOREX_OK;
    return sorex_error_set(err, SOREX_GONE,
                           "the files of the embedded PostgreSQL (postgres/cluster.image, pglite.wasm) are not where "
                           "they belong, from %s on: install them with it, or set %s",
                           object, VARIABLE);
}

/* ---- programs ---- */

struct held {
    struct database_program *program; /* NULL: not loaded */
    size_t takers;
};
static struct held held[2]; /* by metered */
static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER;

/* Compiled code beside the files. Whether it can be trusted, wasm/cache.c looks at itself. */
static bool cache_beside(const char *dir, char out[PATH_MAX])
{
    struct stat info;
    return snprintf(out, PATH_MAX, "%s-cache", dir) < PATH_MAX && lstat(out, &info) == 0 && S_ISDIR(info.st_mode) &&
           info.st_uid == geteuid() && access(out, W_OK) == 0;
}

static enum sorex_status program_load(const char *cache_dir, bool metered, struct database_program **out,
                                      struct sorex_error *err)
{
    char dir[PATH_MAX];
    char cache[PATH_MAX];
    TRY(place_find(dir, err));
    struct database_program_options options = {
        .dir = dir, .cache_dir = cache_beside(dir, cache) ? cache : cache_dir, .metered = metered};
    return database_program_open(&options, out, err);
}

enum sorex_status place_program_take(const char *cache_dir, bool metered, struct database_program **out,
                                     struct sorex_error *err)
{
    struct held *one = &held[metered];
    enum sorex_status status = SOREX_OK;
    (void)pthread_mutex_lock(&held_lock);
    if (one->program == NULL)
        status = program_load(cache_dir, metered, &one->program, err);
    if (status == SOREX_OK) {
        one->takers++;
        *out = one->program;
    }
    (void)pthread_mutex_unlock(&held_lock);
    return status;
}

void place_program_give(struct database_program *program)
{
    if (program == NULL)
        return;
    (void)pthread_mutex_lock(&held_lock);
    struct held *one = program == held[false].program ? &held[false] : &held[true];
    CHECK(one->program == program && one->takers > 0);
    if (--one->takers == 0) {
        database_program_close(one->program);
        one->program = NULL;
    }
    (void)pthread_mutex_unlock(&held_lock);
}
