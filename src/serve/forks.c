#include "serve/forks.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#undef W_OK /* of access(2); pg's system calls have another */

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "pg/place.h"
#include "pipeline/kept_database.h"
#include "store/lockfile.h"

#define FORKS_NAME_MAX 128u /* of a sink */
#define HELD_MAX 8u         /* databases that are kept open */
/* How long a pipeline that is starting is waited for, and how often it is asked. */
#define BESIDE_MS 10000
#define PAUSE_MS 20

/* One sink's or reducer's database as it was durable at some moment. */
struct held {
    char sink[FORKS_NAME_MAX + 1]; /* "": the only one */
    uint64_t state;                /* of the files */
    struct store *store;
    struct kept_database kept;
    unsigned users; /* and the list, which counts as one */
};

struct forks {
    struct forks_options options;
    char *name, *sink, *dir;
    struct database_program *program;
    pthread_mutex_t lock; /* of held; opening is under it too: who comes meanwhile wants the same */
    struct held *held[HELD_MAX];
};

/* ---- stores ---- */

static void held_drop(struct held *held)
{
    if (held == NULL || --held->users > 0)
        return;
    kept_database_close(&held->kept);
    if (held->store != NULL)
        store_close(held->store);
    free(held);
}

/* Changes when a file of the store does: names, lengths and times, in any order. Logs say nothing. */
static enum sorex_status state_read(const char *dir, uint64_t *out, struct sorex_error *err)
{
    char path[PATH_MAX];
    *out = 0;
    (void)snprintf(path, sizeof path, "%s/db", dir);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return sorex_error_set_errno(err, errno == ENOENT ? SOREX_GONE : SOREX_IO, errno, "%s", path);
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        struct stat file;
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, "LOG", 3) == 0 ||
            fstatat(dirfd(folder), entry->d_name, &file, 0) != 0)
            continue;
        uint64_t hash = 14695981039346656037u; /* FNV-1a */
        for (const char *p = entry->d_name; *p != '\0'; p++)
            hash = (hash ^ (uint8_t)*p) * 1099511628211u;
        hash = (hash ^ (uint64_t)file.st_size) * 1099511628211u;
        hash = (hash ^ (uint64_t)file.st_mtim.tv_sec) * 1099511628211u;
        hash = (hash ^ (uint64_t)file.st_mtim.tv_nsec) * 1099511628211u;
        *out += hash;
    }
    (void)closedir(folder);
    return SOREX_OK;
}

static enum sorex_status held_try(struct forks *forks, const char *sink, struct held **out, struct sorex_error *err)
{
    struct store_options options = {.dir = forks->dir, .read_only = true, .history = STORE_HISTORY_FULL};
    struct held *held = calloc(1, sizeof *held);
    if (held == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a database");
    held->users = 1;
    (void)snprintf(held->sink, sizeof held->sink, "%s", sink);
    enum sorex_status status = state_read(forks->dir, &held->state, err);
    if (status == SOREX_OK)
        status = store_open(&options, &held->store, err);
    if (status == SOREX_OK)
        status = kept_database_open(held->store, forks->program, sink[0] != '\0' ? sink : NULL, forks->options.settings,
                                    &held->kept, err);
    if (status != SOREX_OK) {
        held_drop(held);
        return status;
    }
    *out = held;
    return SOREX_OK;
}

/* A pipeline that starts or ends takes files away from under who reads its store beside it: that is tried again. */
static enum sorex_status held_open(struct forks *forks, const char *sink, struct held **out, struct sorex_error *err)
{
    for (uint64_t until = clock_ms() + BESIDE_MS;;) {
        bool beside = lockfile_owner_alive(forks->dir);
        enum sorex_status status = held_try(forks, sink, out, err);
        bool by_chance = status == SOREX_AGAIN || status == SOREX_IO || status == SOREX_CORRUPT;
        if (status == SOREX_OK || !by_chance || clock_ms() >= until || (!beside && !lockfile_owner_alive(forks->dir)))
            return status;
        (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
    }
}

/* Where that sink's database is in the list, or is to be. */
static struct held **held_place(struct forks *forks, const char *sink)
{
    size_t at = 0;
    while (at < HELD_MAX && forks->held[at] != NULL && strcmp(forks->held[at]->sink, sink) != 0)
        at++;
    return &forks->held[at % HELD_MAX];
}

/* Under the lock. *out counts the caller as a user. */
static enum sorex_status held_take(struct forks *forks, const char *sink, struct held **out, struct sorex_error *err)
{
    uint64_t state;
    struct held **place = held_place(forks, sink);
    TRY(state_read(forks->dir, &state, err));
    if (*place == NULL || strcmp((*place)->sink, sink) != 0 || (*place)->state != state) {
        struct held *newer = NULL;
        TRY(held_open(forks, sink, &newer, err));
        held_drop(*place);
        *place = newer;
    }
    *out = *place;
    (*out)->users++;
    return SOREX_OK;
}

static enum sorex_status held_fork(struct forks *forks, const char *sink, uint32_t height, struct database **out,
                                   struct sorex_error *err)
{
    struct held *held = NULL;
    (void)pthread_mutex_lock(&forks->lock);
    enum sorex_status status = held_take(forks, sink, &held, err);
    (void)pthread_mutex_unlock(&forks->lock);
    TRY(status);
    status = kept_database_fork(&held->kept, height, out, NULL, err);
    (void)pthread_mutex_lock(&forks->lock);
    held_drop(held);
    (void)pthread_mutex_unlock(&forks->lock);
    return status;
}

/* ---- forks ---- */

static enum sorex_status pipeline_fork(struct pipeline *pipeline, const char *sink, uint32_t height,
                                       struct database **out, struct sorex_error *err)
{
    struct kept_database kept;
    if (!kept_database_of(pipeline, sink[0] != '\0' ? sink : NULL, &kept))
        return sorex_error_set(err, SOREX_GONE, "database \"%s\" does not exist", sink[0] != '\0' ? sink : "postgres");
    return kept_database_fork(&kept, height, out, NULL, err);
}

static enum sorex_status sink_fork(struct forks *forks, const char *sink, uint32_t height, struct database **out,
                                   struct sorex_error *err)
{
    return forks->options.pipeline != NULL ? pipeline_fork(forks->options.pipeline, sink, height, out, err)
                                           : held_fork(forks, sink, height, out, err);
}

static enum sorex_status name_fork(void *user_data, struct bytes name, uint32_t height, struct database **out,
                                   struct sorex_error *err)
{
    struct forks *forks = user_data;
    char sink[FORKS_NAME_MAX + 1];
    if (bytes_is(name, "postgres") || (forks->name != NULL && bytes_is(name, forks->name)))
        return sink_fork(forks, forks->sink != NULL ? forks->sink : "", height, out, err);
    if (name.len > FORKS_NAME_MAX || memchr(name.data, 0, name.len) != NULL)
        return sorex_error_set(err, SOREX_GONE, "database \"%.*s\" does not exist", BYTES_FMT(name));
    (void)snprintf(sink, sizeof sink, "%.*s", BYTES_FMT(name));
    struct sorex_error why = {0};
    enum sorex_status status = sink_fork(forks, sink, height, out, &why);
    if (status == SOREX_GONE && height == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_GONE, "database \"%s\" does not exist: it is called postgres%s%s", sink,
                               forks->name != NULL ? " or " : "", forks->name != NULL ? forks->name : "");
    return status == SOREX_OK ? status : sorex_error_set(err, status, "%s", why.text);
}

struct postgres_states forks_states(struct forks *forks)
{
    return (struct postgres_states){.user_data = forks, .fork = name_fork};
}

/* ---- open and close ---- */

static enum sorex_status forks_begin(struct forks *forks, struct sorex_error *err)
{
    char cache[PATH_MAX];
    struct held *held = NULL;
    if (access(forks->dir, F_OK) != 0 && errno == ENOENT)
        return sorex_error_set(err, SOREX_GONE, "no store in %s: nothing ran there yet (`sorex run PIPELINE` makes it)",
                               forks->dir);
    if (snprintf(cache, sizeof cache, "%s/cache", forks->dir) >= (int)sizeof cache)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", forks->dir);
    TRY(place_program_take(cache, false, &forks->program, err));
    TRY(held_take(forks, forks->sink != NULL ? forks->sink : "", &held, err));
    held_drop(held);
    return SOREX_OK;
}

static bool text_copy(char **out, const char *text)
{
    *out = text != NULL ? strdup(text) : NULL;
    return text == NULL || *out != NULL;
}

enum sorex_status forks_open(const struct forks_options *options, struct forks **out, struct sorex_error *err)
{
    struct kept_database kept;
    struct forks *forks = calloc(1, sizeof *forks);
    if (forks == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for databases");
    forks->options = *options;
    (void)pthread_mutex_init(&forks->lock, NULL);
    enum sorex_status status = SOREX_OK;
    if (!text_copy(&forks->name, options->name) || !text_copy(&forks->sink, options->sink) ||
        !text_copy(&forks->dir, options->dir))
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory for databases");
    else if (options->pipeline == NULL)
        status = forks_begin(forks, err);
    else if (!kept_database_of(options->pipeline, options->sink, &kept))
        status =
            sorex_error_set(err, SOREX_GONE, "postgres: the pipeline has no sink of type database, and no reducer");
    if (status != SOREX_OK) {
        forks_close(forks);
        return status;
    }
    *out = forks;
    return SOREX_OK;
}

void forks_close(struct forks *forks)
{
    if (forks == NULL)
        return;
    for (size_t i = 0; i < HELD_MAX; i++)
        held_drop(forks->held[i]);
    place_program_give(forks->program);
    (void)pthread_mutex_destroy(&forks->lock);
    free(forks->name);
    free(forks->sink);
    free(forks->dir);
    free(forks);
}
