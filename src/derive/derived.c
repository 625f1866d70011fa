/* Opening and closing a directory. */
#include "derive/derived_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "config/node.h"
#include "derive/verify.h"

#define DATABASE "derived"
#define STORE_CACHE_BYTES ((uint64_t)16 << 20)

static void path_of(const char *dir, const char *name, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/%s", dir, name);
}

bool derived_is(const char *dir)
{
    char path[PATH_MAX];
    path_of(dir, "derivation.json", path);
    return access(path, F_OK) == 0;
}

/* ---- derivation.json ---- */

static enum sorex_status description_read(const char *dir, struct config_node **out, struct sorex_error *err)
{
    char path[PATH_MAX];
    path_of(dir, "derivation.json", path);
    return config_read_file(path, out, err);
}

enum sorex_status derived_settings(const char *dir, struct derive_settings *out, bool *out_found,
                                   struct sorex_error *err)
{
    struct config_node *root = NULL;
    *out_found = derived_is(dir);
    if (*out_found)
        TRY(description_read(dir, &root, err));
    enum sorex_status status = options_read(derive_options, config_get(root, "settings"), "settings", ".", out, err);
    config_free(root);
    return status;
}

static enum sorex_status description_write(const char *dir, const struct derived *derived, struct sorex_error *err)
{
    char path[PATH_MAX];
    struct buf text = {0};
    struct json_writer w;
    json_writer_init(&w, &text, true, err);
    json_object_begin(&w);
    json_name(&w, "format");
    json_uint(&w, 1);
    json_name(&w, "identity");
    json_string(&w, derivation_identity(derived->derivation));
    json_name(&w, "settings");
    derive_settings_write(&derived->settings, &w);
    json_object_end(&w);
    enum sorex_status status = json_writer_finish(&w);
    if (status == SOREX_OK) {
        path_of(dir, "derivation.json", path);
        status = file_replace(path, buf_view(&text), err);
    }
    buf_deinit(&text);
    return status;
}

static enum sorex_status description_check(const char *dir, const struct derived *derived, struct sorex_error *err)
{
    struct config_node *root = NULL;
    TRY(description_read(dir, &root, err));
    const struct config_node *identity = config_get(root, "identity");
    struct bytes now = derivation_identity(derived->derivation);
    enum sorex_status status = SOREX_OK;
    if (identity == NULL || identity->kind != CONFIG_SCALAR)
        status = sorex_error_set(err, SOREX_CORRUPT, "%s/derivation.json has no identity", dir);
    else if (identity_compare(bytes_str(identity->text), now, err) != SOREX_OK)
        status = sorex_error_prefix(err, "%s (what it was made with, or another directory, will do)", dir);
    config_free(root);
    return status;
}

/* ---- making one ---- */

static enum sorex_status directory_make(const char *dir, struct derived *derived, struct sorex_error *err)
{
    char path[PATH_MAX];
    TRY(file_mkdirs(dir, err));
    path_of(dir, "reducer.wasm", path);
    TRY(file_replace(path, derivation_wasm(derived->derivation), err));
    if (access(derived->messages, F_OK) != 0)
        TRY(file_replace(derived->messages, bytes_str(MESSAGES_MAGIC), err));
    return description_write(dir, derived, err);
}

static enum sorex_status reducer_open(const struct derived_options *options, struct derived *derived,
                                      struct sorex_error *err)
{
    char path[PATH_MAX], cache[PATH_MAX];
    struct buf own = {0};
    struct bytes wasm = options->wasm;
    struct derivation_options derivation = derive_settings_derivation(&derived->settings);
    path_of(options->dir, "cache", cache);
    derivation.cache_dir = cache;
    enum sorex_status status = SOREX_OK;
    if (wasm.len == 0) {
        path_of(options->dir, "reducer.wasm", path);
        status = file_read(path, SOREX_MODULE_BYTES_MAX, &own, err);
        wasm = buf_view(&own);
    }
    if (status == SOREX_OK)
        status = derivation_new(wasm, &derivation, &derived->derivation, err);
    buf_deinit(&own);
    return status;
}

/* ---- the state ---- */

static enum sorex_status note_read(struct derived *derived, struct sorex_error *err)
{
    struct reader reader = reader_of(saved_note(derived->saved));
    uint32_t len;
    struct bytes identity;
    if (!reader_u32le(&reader, &len) || !reader_take(&reader, len, &identity))
        return sorex_error_set(err, SOREX_CORRUPT, "the state's note does not decode");
    if (!bytes_equal(identity, derivation_identity(derived->derivation)))
        return sorex_error_set(err, SOREX_CORRUPT, "the state is that of another derivation");
    TRY(receipt_decode(bytes_of(reader.at, reader_left(&reader)), &derived->receipt, err));
    derived->begun = true;
    return derivation_continue(derived->derivation, saved_database(derived->saved), err);
}

enum sorex_status derived_commit(struct derived *derived, struct sorex_error *err)
{
    struct buf note = {0};
    struct bytes identity = derivation_identity(derived->derivation);
    enum sorex_status status = buf_append_u32le(&note, (uint32_t)identity.len, err);
    if (status == SOREX_OK)
        status = buf_append(&note, identity, err);
    if (status == SOREX_OK)
        status = receipt_encode(&derived->receipt, &note, err);
    if (status == SOREX_OK)
        status = saved_commit(derived->saved, buf_view(&note), NULL, err);
    buf_deinit(&note);
    if (status == SOREX_OK)
        derived->dirty = false;
    return status;
}

static enum sorex_status state_open(struct derived *derived, struct sorex_error *err)
{
    enum sorex_status status = saved_open(derived->store, derivation_program(derived->derivation), DATABASE,
                                          derivation_database_options(derived->derivation), &derived->saved, err);
    if (status == SOREX_GONE && derived->read_only)
        return SOREX_OK; /* nothing was derived yet */
    TRY(status);
    return saved_version(derived->saved) != 0 ? note_read(derived, err) : SOREX_OK;
}

enum sorex_status derived_begin(struct derived *derived, struct sorex_error *err)
{
    bool had = saved_version(derived->saved) != 0;
    derived->begun = false;
    saved_close(derived->saved);
    derived->saved = NULL;
    if (had)
        TRY(saved_drop(derived->store, DATABASE, err));
    TRY(state_open(derived, err));
    TRY(derivation_begin(derived->derivation, saved_database(derived->saved), &derived->receipt, err));
    derived->begun = true;
    return derived_commit(derived, err);
}

static enum sorex_status store_begin_here(const struct derived_options *options, struct derived *derived,
                                          struct sorex_error *err)
{
    const struct store_options store = {.dir = options->dir,
                                        .create = !options->read_only,
                                        .read_only = options->read_only,
                                        .history = STORE_HISTORY_FULL,
                                        .cache_bytes = STORE_CACHE_BYTES};
    char snapshots[PATH_MAX];
    path_of(options->dir, "snapshots", snapshots);
    TRY(store_open(&store, &derived->store, err));
    TRY(cache_open(snapshots, derived->settings.cache_bytes, !options->read_only, &derived->cache, err));
    TRY(state_open(derived, err));
    return derived->begun || options->read_only ? SOREX_OK : derived_begin(derived, err);
}

static enum sorex_status open_all(const struct derived_options *options, struct derived *derived,
                                  struct sorex_error *err)
{
    bool found;
    TRY(derived_settings(options->dir, &derived->settings, &found, err));
    if (options->settings != NULL)
        derived->settings = *options->settings;
    if (!found && (options->read_only || options->wasm.len == 0))
        return sorex_error_set(err, SOREX_GONE, "nothing was derived in %s", options->dir);
    TRY(reducer_open(options, derived, err));
    TRY(found ? description_check(options->dir, derived, err) : directory_make(options->dir, derived, err));
    return store_begin_here(options, derived, err);
}

enum sorex_status derived_open(const struct derived_options *options, struct derived **out, struct sorex_error *err)
{
    struct derived *derived = calloc(1, sizeof *derived);
    if (derived == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a derived database");
    if (strlen(options->dir) > PATH_MAX - 128) {
        free(derived);
        return sorex_error_set(err, SOREX_INVALID, "the path of the directory is too long");
    }
    derived->read_only = options->read_only;
    path_of(options->dir, "messages.log", derived->messages);
    enum sorex_status status = open_all(options, derived, err);
    if (status != SOREX_OK) {
        derived_close(derived);
        return status;
    }
    *out = derived;
    return SOREX_OK;
}

void derived_close(struct derived *derived)
{
    if (derived == NULL)
        return;
    saved_close(derived->saved);
    cache_close(derived->cache);
    if (derived->store != NULL)
        store_close(derived->store);
    derivation_free(derived->derivation);
    free(derived);
}

struct derivation *derived_derivation(const struct derived *derived) { return derived->derivation; }

const char *derived_log(const struct derived *derived) { return derived->messages; }

const struct receipt *derived_receipt(const struct derived *derived) { return &derived->receipt; }
