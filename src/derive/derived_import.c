/* Archives becoming derivations and directories again. */
#include "derive/derived_private.h"

#include "base/check.h"
#include "config/node.h"

static enum sorex_status settings_read(struct bytes text, struct derive_settings *out, struct sorex_error *err)
{
    struct config_node *root = NULL;
    TRY(config_parse(text, "the snapshot's settings", &root, err));
    enum sorex_status status = options_read(derive_options, root, "", ".", out, err);
    config_free(root);
    return status;
}

/* What an archive says of itself, before its image is opened. */
static enum sorex_status claim_check(const struct archive *archive, const struct receipt_file *trusted,
                                     struct sorex_error *err)
{
    const struct receipt *is = &archive->receipt, *wanted = &trusted->receipt;
    if (!bytes_equal(archive->identity, buf_view(&trusted->identity)))
        return sorex_error_set(err, SOREX_MISMATCH, "the receipt is of another engine, reducer or settings");
    if (is->count != wanted->count || memcmp(is->key, wanted->key, SHA256_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "the receipt is of other messages");
    if (memcmp(is->trace, wanted->trace, SHA256_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "the receipt says that the messages did something else");
    if (!trusted->has_digest)
        return sorex_error_set(err, SOREX_INVALID, "the receipt has no digest of the database");
    return SOREX_OK;
}

static enum sorex_status digest_check(struct database *database, const struct receipt_file *trusted,
                                      struct sorex_error *err)
{
    uint8_t digest[SHA256_BYTES];
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
                                    const char *cache_dir, struct derive_settings *out_settings,
                                    struct derivation **out_derivation, struct database **out_database,
                                    struct sorex_error *err)
{
    struct derivation *derivation = NULL;
    struct database *database = NULL;
    if (archive->module.len == 0)
        return sorex_error_set(err, SOREX_INVALID, "the snapshot has no reducer: it is one of a cache");
    TRY(settings_read(archive->settings, out_settings, err));
    struct derivation_options options = derive_settings_derivation(out_settings);
    options.cache_dir = cache_dir;
    TRY(derivation_new(archive->module, &options, &derivation, err));
    enum sorex_status status = SOREX_OK;
    if (!bytes_equal(archive->identity, derivation_identity(derivation)))
        status = sorex_error_set(err, SOREX_MISMATCH, "the snapshot was made by another engine");
    if (status == SOREX_OK && trusted != NULL)
        status = claim_check(archive, trusted, err);
    if (status == SOREX_OK)
        status = database_open_image(derivation_program(derivation), derivation_database_options(derivation),
                                     archive->image, &database, err);
    if (status == SOREX_OK)
        status = derivation_continue(derivation, database, err);
    if (status == SOREX_OK && trusted != NULL)
        status = digest_check(database, trusted, err);
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
    TRY(derivation_import(&archive, trusted, NULL, &settings, &derivation, &database, err));
    enum sorex_status status = import_into(dir, &archive, &settings, database, err);
    database_close(database);
    derivation_free(derivation);
    return status;
}
