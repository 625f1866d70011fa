/* The public library: include/sorex/database.h over database.h. Loading, opening, states; api_statement.c executes. */
#include <stdlib.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "pg/api_private.h"
#include "pg/image.h"
#include "pg/place.h"

/* Where the hash stands in an image: docs/formats/database-image.md. */
#define IMAGE_HASH_AT 8

_Static_assert(SOREX_HASH_BYTES == SHA256_BYTES, "one length");

static struct database_program *inner(struct sorex_postgres *postgres) { return (struct database_program *)postgres; }

/* ---- loading ---- */

enum sorex_status sorex_postgres_load(const struct sorex_postgres_options *options,
                                      struct sorex_postgres **out_postgres, struct sorex_error *err)
{
    static const struct sorex_postgres_options defaults;
    const struct sorex_postgres_options *o = options != NULL ? options : &defaults;
    struct database_program_options own = {.dir = o->dir, .cache_dir = o->cache_dir, .metered = o->metered != 0};
    struct database_program *program;
    char place[PATH_MAX];
    if (own.dir == NULL) {
        TRY(place_find(place, err));
        own.dir = place;
    }
    TRY(database_program_open(&own, &program, err));
    *out_postgres = (struct sorex_postgres *)program;
    return SOREX_OK;
}

void sorex_postgres_free(struct sorex_postgres *postgres) { database_program_close(inner(postgres)); }

/* ---- opening ---- */

/* What begins a database: one of these is given. */
struct origin {
    struct database_program *program;
    const struct sorex_database_options *options;
    struct bytes image;      /* data NULL: a new one */
    struct database *parent; /* of a fork */
    const struct snapshot *snapshot;
};

static enum sorex_status inner_open(const struct origin *origin, struct database **out, struct sorex_error *err)
{
    static const struct sorex_database_options defaults;
    const struct sorex_database_options *o = origin->options != NULL ? origin->options : &defaults;
    const struct database_options own = {.time_us = o->time_us,
                                         .seed = o->seed,
                                         .memory_bytes_max = o->memory_bytes_max,
                                         .file_bytes_max = o->file_bytes_max,
                                         .statement_fuel = o->statement_fuel};
    if (origin->parent != NULL)
        return database_fork(origin->parent, origin->snapshot, out, err);
    if (origin->image.data != NULL)
        return database_open_image(origin->program, &own, origin->image, out, err);
    return database_open(origin->program, &own, out, err);
}

static enum sorex_status origin_open(const struct origin *origin, struct sorex_database **out, struct sorex_error *err)
{
    struct sorex_database *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a database");
    results_init(&self->failed, 0);
    self->transaction = 'I';
    enum sorex_status status = inner_open(origin, &self->inner, err);
    if (status != SOREX_OK) {
        sorex_database_close(self);
        return status;
    }
    *out = self;
    return SOREX_OK;
}

enum sorex_status sorex_database_open(struct sorex_postgres *postgres, const struct sorex_database_options *options,
                                      struct sorex_database **out_database, struct sorex_error *err)
{
    return origin_open(&(struct origin){.program = inner(postgres), .options = options}, out_database, err);
}

enum sorex_status sorex_database_import(struct sorex_postgres *postgres, const struct sorex_database_options *options,
                                        const void *image, size_t image_len, const uint8_t *hash,
                                        struct sorex_database **out_database, struct sorex_error *err)
{
    struct bytes bytes = bytes_of(image, image_len);
    if (image_len < IMAGE_HASH_AT + SHA256_BYTES)
        return sorex_error_set(err, SOREX_CORRUPT, "database image: %zu bytes are too few", image_len);
    if (hash != NULL && memcmp(bytes.data + IMAGE_HASH_AT, hash, SHA256_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "database image: it has another hash than it must have");
    return origin_open(&(struct origin){.program = inner(postgres), .options = options, .image = bytes}, out_database,
                       err);
}

enum sorex_status sorex_database_import_file(struct sorex_postgres *postgres,
                                             const struct sorex_database_options *options, const char *path,
                                             const uint8_t *hash, struct sorex_database **out_database,
                                             struct sorex_error *err)
{
    struct buf image = {0};
    enum sorex_status status = file_read(path, SOREX_BUF_BYTES_MAX, &image, err);
    if (status == SOREX_OK)
        status = sorex_database_import(postgres, options, image.data, image.len, hash, out_database, err);
    if (status != SOREX_OK && status != SOREX_IO)
        status = sorex_error_prefix(err, "%s", path);
    buf_deinit(&image);
    return status;
}

void sorex_database_close(struct sorex_database *self)
{
    if (self == NULL)
        return;
    database_close(self->inner);
    results_deinit(&self->failed);
    free(self);
}

void sorex_database_time_set(struct sorex_database *self, uint64_t time_us) { database_time_set(self->inner, time_us); }

int sorex_database_broken(const struct sorex_database *self) { return database_broken(self->inner); }

/* ---- states ---- */

enum sorex_status sorex_database_snapshot(struct sorex_database *self, struct sorex_snapshot **out_snapshot,
                                          struct sorex_error *err)
{
    struct snapshot *snapshot;
    TRY(database_save(self->inner, &snapshot, err));
    *out_snapshot = (struct sorex_snapshot *)snapshot;
    return SOREX_OK;
}

void sorex_snapshot_free(struct sorex_snapshot *snapshot) { snapshot_drop((struct snapshot *)snapshot); }

enum sorex_status sorex_database_restore(struct sorex_database *self, const struct sorex_snapshot *snapshot,
                                         struct sorex_error *err)
{
    return database_restore(self->inner, (const struct snapshot *)snapshot, err);
}

enum sorex_status sorex_database_fork(struct sorex_database *self, const struct sorex_snapshot *snapshot,
                                      struct sorex_database **out_database, struct sorex_error *err)
{
    struct snapshot *now = NULL;
    struct origin origin = {.parent = self->inner, .snapshot = (const struct snapshot *)snapshot};
    if (snapshot == NULL) {
        TRY(database_save(self->inner, &now, err));
        origin.snapshot = now;
    }
    enum sorex_status status = origin_open(&origin, out_database, err);
    snapshot_drop(now);
    return status;
}

static enum sorex_status image_make(struct sorex_database *self, struct buf *out, uint8_t *out_hash,
                                    struct sorex_error *err)
{
    TRY(database_export(self->inner, out, err));
    if (out_hash != NULL)
        memcpy(out_hash, out->data + IMAGE_HASH_AT, SHA256_BYTES);
    return SOREX_OK;
}

enum sorex_status sorex_database_export(struct sorex_database *self, void **out_image, size_t *out_len,
                                        uint8_t *out_hash, struct sorex_error *err)
{
    struct buf image = {0};
    enum sorex_status status = image_make(self, &image, out_hash, err);
    if (status == SOREX_OK)
        *out_image = buf_steal(&image, out_len);
    buf_deinit(&image);
    return status;
}

enum sorex_status sorex_database_export_file(struct sorex_database *self, const char *path, uint8_t *out_hash,
                                             struct sorex_error *err)
{
    struct buf image = {0};
    enum sorex_status status = image_make(self, &image, out_hash, err);
    if (status == SOREX_OK)
        status = file_replace(path, buf_view(&image), err);
    buf_deinit(&image);
    return status;
}

enum sorex_status sorex_database_digest(struct sorex_database *self, uint8_t *out_digest, struct sorex_error *err)
{
    return database_digest(self->inner, out_digest, err);
}
