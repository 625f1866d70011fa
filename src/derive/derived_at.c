/* States other than the newest, and what leaves a directory: receipts, exports. */
#include "derive/derived_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "config/node.h"

enum sorex_status derived_messages(const struct derived *derived, uint64_t count, struct messages **out,
                                   struct sorex_error *err)
{
    struct messages *messages = NULL;
    TRY(messages_open(derived->messages, &(struct messages_options){.torn_end = true}, &messages, err));
    enum sorex_status status = messages_skip(messages, count, err);
    if (status != SOREX_OK) {
        messages_close(messages);
        return status;
    }
    *out = messages;
    return SOREX_OK;
}

/* ---- states ---- */

static enum sorex_status fork_newest(const struct derived *derived, struct database **out, struct receipt *out_receipt,
                                     struct sorex_error *err)
{
    struct database *database = saved_database(derived->saved);
    struct snapshot *snapshot = NULL;
    TRY(database_save(database, &snapshot, err));
    enum sorex_status status = database_fork(database, snapshot, out, err);
    snapshot_drop(snapshot);
    *out_receipt = derived->receipt;
    return status;
}

static enum sorex_status open_begin(const struct derived *derived, struct database **out, struct receipt *out_receipt,
                                    struct sorex_error *err)
{
    TRY(database_open(derivation_program(derived->derivation), derivation_database_options(derived->derivation), out,
                      err));
    enum sorex_status status = derivation_begin(derived->derivation, *out, out_receipt, err);
    if (status != SOREX_OK)
        database_close(*out);
    return status;
}

/* The newest known state that is not above count. */
static enum sorex_status open_known(struct derived *derived, uint64_t count, struct database **out,
                                    struct receipt *out_receipt, struct sorex_error *err)
{
    struct known known;
    struct log_place end;
    for (;;) {
        TRY(derived_scan(derived, count, &known, &end, err));
        if (known.tip)
            return fork_newest(derived, out, out_receipt, err);
        if (!known.cached)
            return open_begin(derived, out, out_receipt, err);
        enum sorex_status status = derived_open_cached(derived, known.point.key, out, out_receipt, err);
        if (status != SOREX_GONE)
            return status;
    }
}

/* Derives on, up to count, in a database of its own. */
static enum sorex_status replay(const struct derived *derived, struct database *database, struct receipt *receipt,
                                uint64_t count, struct sorex_error *err)
{
    struct messages *messages = NULL;
    if (receipt->count == count)
        return SOREX_OK;
    TRY(derived_messages(derived, receipt->count, &messages, err));
    enum sorex_status status = derivation_replay(derived->derivation, database, receipt, messages, count, err);
    messages_close(messages);
    return status;
}

enum sorex_status derived_at(struct derived *derived, uint64_t count, struct database **out,
                             struct receipt *out_receipt, struct sorex_error *err)
{
    struct receipt *receipt = malloc(sizeof *receipt);
    if (receipt == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a receipt");
    enum sorex_status status = SOREX_OK;
    if (!derived->begun)
        status = sorex_error_set(err, SOREX_GONE, "nothing was derived yet");
    else if (count == DERIVED_NEWEST || count == derived->receipt.count)
        status = fork_newest(derived, out, receipt, err);
    else if (count > derived->receipt.count)
        status = sorex_error_set(err, SOREX_GONE, "%llu messages were derived, %llu were asked for",
                                 (unsigned long long)derived->receipt.count, (unsigned long long)count);
    else {
        status = open_known(derived, count, out, receipt, err);
        if (status == SOREX_OK) {
            status = replay(derived, *out, receipt, count, err);
            if (status != SOREX_OK)
                database_close(*out);
        }
    }
    if (status == SOREX_OK && out_receipt != NULL)
        *out_receipt = *receipt;
    free(receipt);
    return status;
}

enum sorex_status derived_receipt_of(struct derived *derived, uint64_t from, uint64_t count, struct receipt *out,
                                     struct sorex_error *err)
{
    struct database *database = NULL;
    struct receipt at;
    if (from > count || count > derived->receipt.count)
        return sorex_error_set(err, SOREX_GONE, "%llu messages were derived: %llu to %llu are not among them",
                               (unsigned long long)derived->receipt.count, (unsigned long long)from,
                               (unsigned long long)count);
    if (from == 0 && count == derived->receipt.count) {
        *out = derived->receipt;
        return SOREX_OK;
    }
    TRY(derived_at(derived, from, &database, &at, err));
    if (from > 0)
        receipt_init_from(out, &at);
    else
        *out = at;
    enum sorex_status status = replay(derived, database, out, count, err);
    database_close(database);
    return status;
}

enum sorex_status derived_prove(struct derived *derived, uint64_t from, uint64_t count, const char *query,
                                struct receipt_file *out, struct sorex_error *err)
{
    struct database *database = NULL;
    uint64_t to = count == DERIVED_NEWEST ? derived->receipt.count : count;
    TRY(derived_receipt_of(derived, from, to, &out->receipt, err));
    TRY(buf_append(&out->identity, derivation_identity(derived->derivation), err));
    TRY(derived_at(derived, to, &database, NULL, err));
    enum sorex_status status = database_digest(database, out->digest, err);
    out->has_digest = status == SOREX_OK;
    if (status == SOREX_OK && query != NULL)
        status = buf_append_str(&out->query, query, err);
    if (status == SOREX_OK && query != NULL)
        status = derivation_query(database, query, &out->result, err);
    database_close(database);
    return status;
}

/* ---- export, import ---- */

static enum sorex_status settings_text(const struct derived *derived, struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    derive_settings_write(&derived->settings, &w);
    return json_writer_finish(&w);
}

enum sorex_status derived_export(struct derived *derived, struct buf *out, struct sorex_error *err)
{
    struct buf image = {0}, settings = {0};
    struct database *database = NULL;
    struct receipt receipt;
    TRY(derived_at(derived, DERIVED_NEWEST, &database, &receipt, err));
    enum sorex_status status = database_export(database, &image, err);
    if (status == SOREX_OK)
        status = settings_text(derived, &settings, err);
    if (status == SOREX_OK) {
        struct archive archive = {.identity = derivation_identity(derived->derivation),
                                  .settings = buf_view(&settings),
                                  .module = derivation_wasm(derived->derivation),
                                  .image = buf_view(&image),
                                  .receipt = receipt};
        status = archive_write(&archive, out, err);
    }
    buf_deinit(&image);
    buf_deinit(&settings);
    database_close(database);
    return status;
}

static enum sorex_status settings_read(struct bytes text, struct derive_settings *out, struct sorex_error *err)
{
    struct config_node *root = NULL;
    TRY(config_parse(text, "the snapshot's settings", &root, err));
    enum sorex_status status = options_read(derive_options, root, "", ".", out, err);
    config_free(root);
    return status;
}

/* Whether a database is that of a receipt which is trusted. */
static enum sorex_status proof_check(const struct archive *archive, const struct receipt_file *trusted,
                                     struct database *database, struct sorex_error *err)
{
    uint8_t digest[SHA256_BYTES];
    const struct receipt *is = &archive->receipt, *wanted = &trusted->receipt;
    if (!bytes_equal(archive->identity, buf_view(&trusted->identity)))
        return sorex_error_set(err, SOREX_MISMATCH, "the receipt is of another engine, reducer or settings");
    if (is->count != wanted->count || memcmp(is->key, wanted->key, SHA256_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "the receipt is of other messages");
    if (memcmp(is->trace, wanted->trace, SHA256_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "the receipt says that the messages did something else");
    if (!trusted->has_digest)
        return sorex_error_set(err, SOREX_INVALID, "the receipt has no digest of the database");
    TRY(database_digest(database, digest, err));
    if (memcmp(digest, trusted->digest, SHA256_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "the database is not the one that the receipt has the digest of");
    return SOREX_OK;
}

static enum sorex_status import_into(const char *dir, const struct archive *archive,
                                     const struct derive_settings *settings, struct database *database,
                                     struct sorex_error *err)
{
    struct derived *derived = NULL;
    const struct derived_options options = {.dir = dir, .wasm = archive->module, .settings = settings};
    if (derived_is(dir))
        return sorex_error_set(err, SOREX_INVALID, "%s has a derived database already", dir);
    TRY(derived_open(&options, &derived, err));
    enum sorex_status status = derived_become(derived, database, &archive->receipt, err);
    derived_close(derived);
    return status;
}

enum sorex_status derivation_import(const struct archive *archive, const struct receipt_file *trusted,
                                    struct derive_settings *out_settings, struct derivation **out_derivation,
                                    struct database **out_database, struct sorex_error *err)
{
    struct derivation *derivation = NULL;
    struct database *database = NULL;
    if (archive->module.len == 0)
        return sorex_error_set(err, SOREX_INVALID, "the snapshot has no reducer: it is one of a cache");
    TRY(settings_read(archive->settings, out_settings, err));
    struct derivation_options options = derive_settings_derivation(out_settings);
    TRY(derivation_new(archive->module, &options, &derivation, err));
    enum sorex_status status = SOREX_OK;
    if (!bytes_equal(archive->identity, derivation_identity(derivation)))
        status = sorex_error_set(err, SOREX_MISMATCH, "the snapshot was made by another engine");
    if (status == SOREX_OK)
        status = database_open_image(derivation_program(derivation), derivation_database_options(derivation),
                                     archive->image, &database, err);
    if (status == SOREX_OK)
        status = derivation_continue(derivation, database, err);
    if (status == SOREX_OK && trusted != NULL)
        status = proof_check(archive, trusted, database, err);
    if (status != SOREX_OK) {
        database_close(database);
        derivation_free(derivation);
        return status;
    }
    *out_derivation = derivation;
    *out_database = database;
    return SOREX_OK;
}

enum sorex_status derived_import(const char *dir, struct bytes bytes, const struct receipt_file *trusted,
                                 struct sorex_error *err)
{
    struct archive archive;
    struct derive_settings settings = {0};
    struct derivation *derivation = NULL;
    struct database *database = NULL;
    TRY(archive_read(bytes, &archive, err));
    TRY(derivation_import(&archive, trusted, &settings, &derivation, &database, err));
    enum sorex_status status = import_into(dir, &archive, &settings, database, err);
    database_close(database);
    derivation_free(derivation);
    return status;
}
