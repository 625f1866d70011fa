/* States other than the newest, and what leaves a directory: receipts, exports. */
#include "derive/derived_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

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
        enum sorex_status status =
            cache_get_database(derived->cache, derived->derivation, known.point.key, out, out_receipt, err);
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
    enum sorex_status status = derivation_prove(database, query, out, err);
    database_close(database);
    return status;
}

/* ---- export ---- */

enum sorex_status archive_make(struct derivation *derivation, const struct derive_settings *settings,
                               struct database *database, const struct receipt *receipt, struct buf *out,
                               struct sorex_error *err)
{
    struct buf image = {0}, text = {0};
    struct json_writer w;
    json_writer_init(&w, &text, false, err);
    derive_settings_write(settings, &w);
    enum sorex_status status = json_writer_finish(&w);
    if (status == SOREX_OK)
        status = database_export(database, &image, err);
    if (status == SOREX_OK) {
        struct archive archive = {.identity = derivation_identity(derivation),
                                  .settings = buf_view(&text),
                                  .module = derivation_wasm(derivation),
                                  .image = buf_view(&image),
                                  .receipt = *receipt};
        status = archive_write(&archive, out, err);
    }
    buf_deinit(&image);
    buf_deinit(&text);
    return status;
}

enum sorex_status derived_export(struct derived *derived, struct buf *out, struct sorex_error *err)
{
    if (!derived->begun)
        return sorex_error_set(err, SOREX_GONE, "nothing was derived yet");
    return archive_make(derived->derivation, &derived->settings, saved_database(derived->saved), &derived->receipt, out,
                        err);
}
