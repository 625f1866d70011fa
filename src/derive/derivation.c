#include "derive/derivation.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hex.h"
#include "base/limits.h"
#include "pg/place.h"
#include "pg/postgres.h"

/* Raised when the same messages give another database, or another trace. */
#define IDENTITY "sorex derivation 1\n"

struct derivation {
    struct database_program *program;
    struct reducer *reducer;
    uint64_t maintenance;
    struct database_options database;
    struct buf identity, wasm;
};

/* The hash of cluster.image stands in its head: docs/formats/database-image.md. */
static enum sorex_status cluster_hash(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    char dir[PATH_MAX], path[PATH_MAX + 16];
    uint8_t head[8 + SHA256_BYTES];
    TRY(place_find(dir, err));
    (void)snprintf(path, sizeof path, "%s/cluster.image", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, head, sizeof head) : -1;
    if (fd >= 0)
        (void)close(fd);
    if (n != (ssize_t)sizeof head)
        return sorex_error_set(err, SOREX_IO, "%s could not be read", path);
    memcpy(out, head + 8, SHA256_BYTES);
    return SOREX_OK;
}

static enum sorex_status identity_make(struct derivation *self, struct sorex_error *err)
{
    uint8_t cluster[SHA256_BYTES];
    char postgres_hex[HASH_HEX_SIZE], cluster_hex[HASH_HEX_SIZE];
    TRY(cluster_hash(cluster, err));
    hash_hex(postgres_module_hash(), postgres_hex);
    hash_hex(cluster, cluster_hex);
    TRY(buf_printf(&self->identity, err, IDENTITY "postgres=%s\ncluster=%s\nwasmtime=%s\nmaintenance=%llu\n",
                   postgres_hex, cluster_hex, wasm_version(), (unsigned long long)self->maintenance));
    return reducer_identity(self->reducer, &self->identity, err);
}

enum sorex_status derivation_new(struct bytes wasm, const struct derivation_options *options, struct derivation **out,
                                 struct sorex_error *err)
{
    struct derivation *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a derivation");
    self->maintenance = options->maintenance;
    buf_init(&self->wasm, SOREX_MODULE_BYTES_MAX);
    struct reducer_options reducer = options->reducer;
    reducer.cache_dir = options->cache_dir;
    enum sorex_status status = buf_append(&self->wasm, wasm, err);
    if (status == SOREX_OK)
        status = reducer_load(wasm, &reducer, &self->reducer, err);
    if (status == SOREX_OK)
        status = place_program_take(options->cache_dir, true, &self->program, err);
    if (status == SOREX_OK)
        status = identity_make(self, err);
    if (status != SOREX_OK) {
        derivation_free(self);
        return status;
    }
    *out = self;
    return SOREX_OK;
}

void derivation_free(struct derivation *derivation)
{
    if (derivation == NULL)
        return;
    reducer_free(derivation->reducer);
    place_program_give(derivation->program);
    buf_deinit(&derivation->identity);
    buf_deinit(&derivation->wasm);
    free(derivation);
}

struct database_program *derivation_program(const struct derivation *derivation) { return derivation->program; }

struct bytes derivation_identity(const struct derivation *derivation) { return buf_view(&derivation->identity); }

struct bytes derivation_wasm(const struct derivation *derivation) { return buf_view(&derivation->wasm); }

const struct database_options *derivation_database_options(const struct derivation *derivation)
{
    return &derivation->database;
}

/* ---- the fold ---- */

enum sorex_status derivation_begin(struct derivation *derivation, struct database *database, struct receipt *out,
                                   struct sorex_error *err)
{
    uint8_t key[SHA256_BYTES];
    sha256_once(buf_view(&derivation->identity), key);
    TRY(reducer_schema(derivation->reducer, database, err));
    receipt_init(out, key);
    return SOREX_OK;
}

enum sorex_status derivation_continue(struct derivation *derivation, struct database *database, struct sorex_error *err)
{
    return reducer_schema(derivation->reducer, database, err);
}

/* Runs a statement of the host's own. */
static enum sorex_status own(struct database *database, const char *sql, struct sorex_error *err)
{
    struct results results;
    results_init(&results, 0);
    enum sorex_status status = database_exec(database, sql, &results, err);
    if (status == SOREX_OK && results.error != NULL)
        status = result_error(results.error, err);
    results_deinit(&results);
    return status == SOREX_OK ? SOREX_OK : sorex_error_prefix(err, "%s", sql);
}

static enum sorex_status maintain(const struct derivation *self, struct database *database, uint64_t count,
                                  struct sorex_error *err)
{
    if (self->maintenance == 0 || count % self->maintenance != 0)
        return SOREX_OK;
    TRY(own(database, "VACUUM", err));
    return own(database, "CHECKPOINT", err);
}

static enum sorex_status step(struct derivation *self, struct database *database, const struct receipt *receipt,
                              const struct logged *logged, reducer_trace_fn *trace, void *user_data,
                              struct reducer_result *result, uint8_t digest[SHA256_BYTES], struct sorex_error *err)
{
    struct reducer_message message = {.index = logged->index,
                                      .time_ms = logged->message.time_ms,
                                      .author = logged->message.author,
                                      .payload = logged->message.payload};
    memcpy(message.hash, logged->hash, SHA256_BYTES);
    memcpy(message.key, receipt->key, SHA256_BYTES);
    chain_add(message.key, logged->hash);
    TRY(reducer_apply(self->reducer, database, &message, trace, user_data, result, err));
    TRY(maintain(self, database, logged->index + 1, err));
    if (receipt->from == 0 && receipt_wants_digest(logged->index + 1))
        TRY(database_digest(database, digest, err));
    return SOREX_OK;
}

enum sorex_status derivation_step(struct derivation *derivation, struct database *database, struct receipt *receipt,
                                  const struct logged *logged, reducer_trace_fn *trace, void *user_data,
                                  struct reducer_result *out, struct sorex_error *err)
{
    struct reducer_result result;
    uint8_t digest[SHA256_BYTES];
    CHECK(logged->index == receipt->count);
    enum sorex_status status = step(derivation, database, receipt, logged, trace, user_data, &result, digest, err);
    if (status != SOREX_OK)
        return sorex_error_prefix(err, "message %llu", (unsigned long long)logged->index + 1);
    receipt_add(receipt, logged, result.trace, result.status == REDUCER_REJECTED);
    if (receipt->from == 0 && receipt_wants_digest(receipt->count))
        receipt_digest_add(receipt, digest);
    if (out != NULL)
        *out = result;
    return SOREX_OK;
}

enum sorex_status derivation_replay(struct derivation *derivation, struct database *database, struct receipt *receipt,
                                    struct messages *messages, uint64_t count, struct sorex_error *err)
{
    struct logged logged;
    enum messages_state state;
    while (receipt->count < count) {
        TRY(messages_next(messages, INT32_MAX, &state, &logged, err));
        if (state != MESSAGES_ONE)
            return sorex_error_set(err, SOREX_GONE, "the log has %llu messages, %llu were wanted",
                                   (unsigned long long)receipt->count, (unsigned long long)count);
        TRY(derivation_step(derivation, database, receipt, &logged, NULL, NULL, NULL, err));
    }
    return SOREX_OK;
}

/* ---- queries ---- */

enum sorex_status derivation_query(struct database *database, const char *sql, struct buf *out, struct sorex_error *err)
{
    struct results results;
    struct buf copy = {0};
    size_t len = strlen(sql);
    while (len > 0 && strchr("; \t\r\n", sql[len - 1]) != NULL)
        len--;
    results_init(&results, 0);
    enum sorex_status status =
        buf_printf(&copy, err, "COPY (%.*s\n) TO STDOUT (FORMAT csv, HEADER)%c", (int)len, sql, '\0');
    if (status == SOREX_OK)
        status = database_exec(database, (const char *)copy.data, &results, err);
    if (status == SOREX_OK && results.error != NULL) {
        (void)result_error(results.error, err);
        status = err != NULL ? (err->status = SOREX_INVALID) : SOREX_INVALID;
    }
    if (status == SOREX_OK && (results.first == NULL || results.first->next != NULL))
        status = sorex_error_set(err, SOREX_INVALID, "one query was wanted");
    if (status == SOREX_OK)
        status = buf_append(out, results.first->copy_out, err);
    results_deinit(&results);
    buf_deinit(&copy);
    return status == SOREX_OK ? SOREX_OK : sorex_error_prefix(err, "%s", sql);
}

enum sorex_status derivation_prove(struct database *database, const char *query, struct receipt_file *out,
                                   struct sorex_error *err)
{
    TRY(database_digest(database, out->digest, err));
    out->has_digest = true;
    if (query == NULL)
        return SOREX_OK;
    TRY(buf_append_str(&out->query, query, err));
    return derivation_query(database, query, &out->result, err);
}
