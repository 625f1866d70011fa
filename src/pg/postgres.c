#include "pg/postgres.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/sha256.h"
#include "pg/guest.h"

/* PGlite 0.5.16, as deps/pglite/SHA256SUMS has it. */
static const uint8_t MODULE_SHA256[SHA256_BYTES] = {0x52, 0x56, 0xd9, 0xac, 0x37, 0x9f, 0x63, 0x13, 0x55, 0xf4, 0x1a,
                                                    0xb3, 0x02, 0x91, 0xe6, 0xa6, 0xd9, 0xf8, 0x54, 0x24, 0x2b, 0x5e,
                                                    0xe2, 0xa2, 0xd0, 0x94, 0x0e, 0x28, 0x04, 0x1d, 0x3f, 0xca};

struct library_code {
    uint8_t hash[SHA256_BYTES];
    struct buf wasm;
    struct machine_code *code;
    struct library_code *next;
};

struct postgres {
    struct machine_code *code;
    char *cache_dir;
    bool metered;
    pthread_mutex_t mutex; /* of libraries */
    struct library_code *libraries;
};

enum sorex_status postgres_open(struct bytes wasm, const struct postgres_options *options, struct postgres **out,
                                struct sorex_error *err)
{
    uint8_t hash[SHA256_BYTES];
    sha256_once(wasm, hash);
    if (memcmp(hash, MODULE_SHA256, SHA256_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "pglite.wasm is not that of PGlite 0.5.16");
    struct postgres *postgres = calloc(1, sizeof *postgres);
    if (postgres == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "postgres: out of memory");
    (void)pthread_mutex_init(&postgres->mutex, NULL);
    postgres->metered = options->metered;
    enum sorex_status status = SOREX_OK;
    if (options->cache_dir != NULL && (postgres->cache_dir = strdup(options->cache_dir)) == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "postgres: out of memory");
    struct machine_code_options code = {.name = "postgres",
                                        .metered = options->metered,
                                        .cache_dir = postgres->cache_dir,
                                        .imports = process_imports,
                                        .imports_count = process_imports_count,
                                        .exports = guest_postgres_exports,
                                        .exports_count = GUEST_POSTGRES_EXPORTS};
    if (status == SOREX_OK)
        status = machine_code_open(wasm, &code, &postgres->code, err);
    if (status != SOREX_OK) {
        postgres_close(postgres);
        return status;
    }
    *out = postgres;
    return SOREX_OK;
}

void postgres_close(struct postgres *postgres)
{
    if (postgres == NULL)
        return;
    while (postgres->libraries != NULL) {
        struct library_code *library = postgres->libraries;
        postgres->libraries = library->next;
        machine_code_close(library->code);
        buf_deinit(&library->wasm);
        free(library);
    }
    machine_code_close(postgres->code);
    (void)pthread_mutex_destroy(&postgres->mutex);
    free(postgres->cache_dir);
    free(postgres);
}

const uint8_t *postgres_module_hash(void) { return MODULE_SHA256; }

const struct machine_code *postgres_code(const struct postgres *postgres) { return postgres->code; }

bool postgres_metered(const struct postgres *postgres) { return postgres->metered; }

static struct library_code *library_by_hash(struct postgres *postgres, const uint8_t hash[SHA256_BYTES])
{
    struct library_code *library = postgres->libraries;
    while (library != NULL && memcmp(library->hash, hash, SHA256_BYTES) != 0)
        library = library->next;
    return library;
}

/* Under the mutex: two instances that load the same library at once compile it once. */
static enum sorex_status library_add(struct postgres *postgres, struct bytes wasm, const uint8_t hash[SHA256_BYTES],
                                     const struct machine_code **out, struct sorex_error *err)
{
    struct library_code *library = calloc(1, sizeof *library);
    if (library == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "library: out of memory");
    struct machine_code_options options = {.name = "library",
                                           .metered = postgres->metered,
                                           .cache_dir = postgres->cache_dir,
                                           .imports = process_imports,
                                           .imports_count = process_imports_count,
                                           .library = true};
    enum sorex_status status = buf_append(&library->wasm, wasm, err);
    if (status == SOREX_OK)
        status = machine_code_open(wasm, &options, &library->code, err);
    if (status != SOREX_OK) {
        buf_deinit(&library->wasm);
        free(library);
        return status;
    }
    memcpy(library->hash, hash, SHA256_BYTES);
    library->next = postgres->libraries;
    postgres->libraries = library;
    *out = library->code;
    return SOREX_OK;
}

enum sorex_status postgres_library(struct postgres *postgres, struct bytes wasm, const struct machine_code **out,
                                   struct sorex_error *err)
{
    uint8_t hash[SHA256_BYTES];
    sha256_once(wasm, hash);
    (void)pthread_mutex_lock(&postgres->mutex);
    const struct library_code *library = library_by_hash(postgres, hash);
    enum sorex_status status = SOREX_OK;
    if (library != NULL)
        *out = library->code;
    else
        status = library_add(postgres, wasm, hash, out, err);
    (void)pthread_mutex_unlock(&postgres->mutex);
    return status;
}

struct bytes postgres_library_bytes(struct postgres *postgres, const struct machine_code *code)
{
    (void)pthread_mutex_lock(&postgres->mutex);
    const struct library_code *library = postgres->libraries;
    while (library->code != code)
        library = library->next;
    (void)pthread_mutex_unlock(&postgres->mutex);
    return buf_view(&library->wasm);
}
