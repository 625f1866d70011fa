#include "cli/sql_source.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/home.h"
#include "derive/derived.h"
#include "pg/image.h"
#include "pg/place.h"
#include "pipeline/kept_database.h"
#include "store/lockfile.h"
#include "store/store.h"

/* How long a pipeline that is starting is waited for, and how often it is asked. */
#define BESIDE_MS 10000
#define PAUSE_MS 20
#define NAME_SIZE 64

struct sql_source {
    char name[NAME_SIZE];
    struct database_program *program;
    struct store *store;
    struct kept_database kept; /* of a store */
    struct derived *derived;   /* of messages */
    struct database *origin;   /* of an image, or a new one */
    struct snapshot *state;    /* of origin */
    bool scratch;
    struct arguments *arguments;
    struct pipeline_settings settings;
};

/* ---- stores ---- */

static enum sorex_status data_try(struct sql_source *self, const char *dir, const char *sink, struct sorex_error *err)
{
    struct store_options options = {.dir = dir, .read_only = true, .history = STORE_HISTORY_FULL};
    TRY(store_open(&options, &self->store, err));
    enum sorex_status status = kept_database_open(self->store, self->program, sink, self->settings.root != NULL ? &self->settings : NULL, &self->kept, err);
    if (status != SOREX_OK) {
        store_close(self->store);
        self->store = NULL;
    }
    return status;
}

/* A pipeline that starts or ends takes files away from under who reads its store beside it: that is tried again. */
static enum sorex_status data_begin(struct sql_source *self, const char *dir, const char *sink, struct sorex_error *err)
{
    char cache[PATH_MAX];
    if (derived_is(dir))
        return derived_open(&(struct derived_options){.dir = dir, .read_only = true}, &self->derived, err);
    if (access(dir, F_OK) != 0 && errno == ENOENT)
        return sorex_error_set(err, SOREX_GONE, "no store in %s: nothing ran there yet (`sorex run PIPELINE` makes it)",
                               dir);
    if (snprintf(cache, sizeof cache, "%s/cache", dir) >= (int)sizeof cache)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", dir);
    TRY(place_program_take(cache, false, &self->program, err));
    for (uint64_t until = clock_ms() + BESIDE_MS;;) {
        bool beside = lockfile_owner_alive(dir);
        enum sorex_status status = data_try(self, dir, sink, err);
        bool by_chance = status == SOREX_AGAIN || status == SOREX_IO || status == SOREX_CORRUPT;
        if (status == SOREX_OK || !by_chance || clock_ms() >= until || (!beside && !lockfile_owner_alive(dir)))
            return status;
        (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
    }
}

static enum sorex_status pipeline_begin(struct sql_source *self, struct arguments *arguments, struct sorex_error *err)
{
    TRY(pipeline_settings_read(arguments->words[0], arguments->overrides, arguments->override_count, &self->settings,
                               err));
    (void)snprintf(self->name, NAME_SIZE, "%s", self->settings.top.name);
    return data_begin(self, self->settings.top.data, arguments->sink, err);
}

/* ---- images, and none ---- */

static enum sorex_status origin_begin(struct sql_source *self, const char *image, struct sorex_error *err)
{
    char cache[PATH_MAX];
    struct buf bytes = {0};
    TRY(place_program_take(home_cache(cache) ? cache : NULL, false, &self->program, err));
    enum sorex_status status = SOREX_OK;
    if (image == NULL)
        status = database_open(self->program, NULL, &self->origin, err);
    else
        status = file_read(image, SOREX_BUF_BYTES_MAX, &bytes, err);
    if (status == SOREX_OK && image != NULL) {
        status = database_open_image(self->program, NULL, buf_view(&bytes), &self->origin, err);
        if (status != SOREX_OK)
            status = sorex_error_prefix(err, "%s", image);
    }
    buf_deinit(&bytes);
    return status == SOREX_OK ? database_save(self->origin, &self->state, err) : status;
}

/* ---- derived databases: heights are numbers of messages ---- */

static enum sorex_status derived_fork(struct derived *derived, uint32_t height, struct database **out,
                                      uint32_t *out_height, struct sorex_error *err)
{
    static struct receipt receipt;
    TRY(derived_at(derived, height == SOREX_HEIGHT_NONE ? DERIVED_NEWEST : height, out, &receipt, err));
    *out_height = receipt.count < SOREX_HEIGHT_NONE ? (uint32_t)receipt.count : SOREX_HEIGHT_NONE;
    return SOREX_OK;
}

/* ---- names ---- */

/* The last part of a path that is one, without its ending. */
static void name_set(struct sql_source *self, const char *path)
{
    size_t end = strlen(path), begin;
    while (end > 0 && path[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && path[begin - 1] != '/'; begin--)
        ;
    for (size_t dot = begin + 1; dot < end; dot++)
        if (path[dot] == '.')
            end = dot;
    (void)snprintf(self->name, NAME_SIZE, "%.*s", (int)(end - begin), path + begin);
    if (self->name[0] == '\0' || self->name[0] == '.')
        (void)snprintf(self->name, NAME_SIZE, "sorex");
}

static enum sorex_status source_begin(struct sql_source *self, struct arguments *arguments, struct sorex_error *err)
{
    int named =
        (arguments->word_count > 0) + (arguments->data != NULL) + (arguments->image != NULL) + arguments->scratch;
    if (named != 1)
        return sorex_error_set(err, SOREX_INVALID,
                               "which database? give %s: a pipeline file, --data DIR, --image FILE or --scratch",
                               named == 0 ? "one" : "only one");
    if (arguments->image != NULL || arguments->scratch) {
        self->scratch = arguments->scratch;
        name_set(self, arguments->scratch ? "scratch" : arguments->image);
        return origin_begin(self, arguments->image, err);
    }
    name_set(self, arguments->data != NULL ? arguments->data : arguments->words[0]);
    return arguments->data != NULL ? data_begin(self, arguments->data, arguments->sink, err)
                                   : pipeline_begin(self, arguments, err);
}

enum sorex_status sql_source_open(struct arguments *arguments, struct sql_source **out, struct sorex_error *err)
{
    struct sql_source *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a database");
    self->arguments = arguments;
    enum sorex_status status = source_begin(self, arguments, err);
    if (status != SOREX_OK) {
        sql_source_close(self);
        return status;
    }
    *out = self;
    return SOREX_OK;
}

void sql_source_close(struct sql_source *self)
{
    if (self == NULL)
        return;
    kept_database_close(&self->kept);
    derived_close(self->derived);
    if (self->store != NULL)
        store_close(self->store);
    snapshot_drop(self->state);
    database_close(self->origin);
    place_program_give(self->program);
    pipeline_settings_deinit(&self->settings);
    free(self);
}

enum sorex_status sql_source_fork(struct sql_source *self, uint32_t height, struct database **out, uint32_t *out_height,
                                  struct sorex_error *err)
{
    if (kept_database_is(&self->kept))
        return kept_database_fork(&self->kept, height, out, out_height, err);
    if (self->derived != NULL)
        return derived_fork(self->derived, height, out, out_height, err);
    if (height != SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_INVALID, "%s has no heights: only the database of a pipeline has",
                               self->name);
    *out_height = SOREX_HEIGHT_NONE;
    return database_fork(self->origin, self->state, out, err);
}

enum sorex_status sql_source_renew(const struct sql_source *self, struct sql_source **out, struct sorex_error *err)
{
    *out = NULL;
    return kept_database_is(&self->kept) ? sql_source_open(self->arguments, out, err) : SOREX_OK;
}

enum sorex_status sql_source_prove(struct sql_source *self, const char *query, struct receipt_file *out,
                                   struct sorex_error *err)
{
    if (self->kept.chained == NULL)
        return sorex_error_set(err, SOREX_INVALID, "%s: this is no database of a reducer", self->name);
    return chained_prove(self->kept.chained, query, out, err);
}

const char *sql_source_name(const struct sql_source *self) { return self->name; }

bool sql_source_is_copy(const struct sql_source *self) { return !self->scratch; }
