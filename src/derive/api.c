/* include/sorex/derive.h: states in memory. */
#include "sorex/derive.h"

#include <stdlib.h>

#include "base/check.h"
#include "derive/derived.h"
#include "pg/api_private.h"

struct sorex_derivation {
    struct derivation *inner;
    struct derive_settings settings;
};

struct sorex_state {
    struct sorex_derivation *derivation; /* borrowed */
    struct database *database;
    struct receipt receipt;
};

/* ---- derivations ---- */

enum sorex_status sorex_derivation_load(const void *wasm, size_t wasm_len,
                                        const struct sorex_derivation_options *options,
                                        struct sorex_derivation **out_derivation, struct sorex_error *err)
{
    static const struct sorex_derivation_options defaults;
    const struct sorex_derivation_options *given = options != NULL ? options : &defaults;
    struct sorex_derivation *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a derivation");
    self->settings.memory_bytes_max = given->memory_bytes_max != 0 ? given->memory_bytes_max : (uint64_t)64 << 20;
    self->settings.fuel = given->fuel;
    self->settings.sql_fuel = given->sql_fuel;
    self->settings.on_error = given->halt != 0;
    self->settings.maintenance = given->maintenance != 0 ? given->maintenance : DERIVATION_MAINTENANCE_DEFAULT;
    struct derivation_options inner = derive_settings_derivation(&self->settings);
    inner.cache_dir = given->cache_dir;
    enum sorex_status status = derivation_new(bytes_of(wasm, wasm_len), &inner, &self->inner, err);
    if (status != SOREX_OK) {
        free(self);
        return status;
    }
    *out_derivation = self;
    return SOREX_OK;
}

void sorex_derivation_free(struct sorex_derivation *derivation)
{
    if (derivation == NULL)
        return;
    derivation_free(derivation->inner);
    free(derivation);
}

/* ---- messages ---- */

static struct bytes text_of(const void *data, size_t len)
{
    if (data == NULL)
        return (struct bytes){0};
    return bytes_of(data, len != 0 ? len : strlen(data));
}

/* Applies them; *out_done: how many. */
static enum sorex_status apply(struct sorex_state *state, const struct sorex_message *messages, size_t count,
                               size_t *out_done, struct sorex_error *err)
{
    struct log_end end = {.count = state->receipt.count, .time_ms = state->receipt.time_ms};
    struct buf canonical = {0};
    struct logged logged;
    enum sorex_status status = SOREX_OK;
    memcpy(end.log, state->receipt.log, SHA256_BYTES);
    for (*out_done = 0; *out_done < count; (*out_done)++) {
        const struct sorex_message *given = &messages[*out_done];
        const struct message message = {.time_ms = given->time_ms,
                                        .author = text_of(given->author, given->author_len),
                                        .payload = text_of(given->payload, given->payload_len)};
        buf_reset(&canonical);
        status = message_encode(&message, &canonical, err);
        if (status == SOREX_OK)
            status = log_end_add(&end, buf_view(&canonical), &logged, err);
        if (status != SOREX_OK) {
            (void)sorex_error_prefix(err, "message %llu", (unsigned long long)state->receipt.count + 1);
            break;
        }
        status =
            derivation_step(state->derivation->inner, state->database, &state->receipt, &logged, NULL, NULL, NULL, err);
        if (status != SOREX_OK)
            break;
    }
    buf_deinit(&canonical);
    return status;
}

/* After a message that stopped it the database is anything: back to where the call began, and up to that message. */
static enum sorex_status apply_again(struct sorex_state *state, const struct snapshot *before,
                                     const struct receipt *receipt, const struct sorex_message *messages, size_t count,
                                     struct sorex_error *err)
{
    size_t done;
    TRY(database_restore(state->database, before, err));
    state->receipt = *receipt;
    return apply(state, messages, count, &done, err);
}

enum sorex_status sorex_state_apply(struct sorex_state *state, const struct sorex_message *messages, size_t count,
                                    struct sorex_error *err)
{
    struct snapshot *before = NULL;
    struct receipt receipt = state->receipt;
    size_t done = 0;
    TRY(database_save(state->database, &before, err));
    enum sorex_status status = apply(state, messages, count, &done, err);
    if (status != SOREX_OK) {
        struct sorex_error again = {0};
        if (apply_again(state, before, &receipt, messages, done, &again) != SOREX_OK)
            status = sorex_error_set(err, SOREX_FATAL, "the state before message %llu could not be restored: %s",
                                     (unsigned long long)receipt.count + done + 1, again.text);
    }
    snapshot_drop(before);
    return status;
}

/* ---- states ---- */

static struct sorex_state *state_new(struct sorex_derivation *derivation, struct sorex_error *err)
{
    struct sorex_state *self = calloc(1, sizeof *self);
    if (self == NULL)
        (void)sorex_error_set(err, SOREX_NOMEM, "out of memory for a state");
    else
        self->derivation = derivation;
    return self;
}

enum sorex_status sorex_derive_state(struct sorex_derivation *derivation, const struct sorex_message *messages,
                                     size_t count, struct sorex_state **out_state, struct sorex_error *err)
{
    struct sorex_state *self = state_new(derivation, err);
    if (self == NULL)
        return SOREX_NOMEM;
    enum sorex_status status = database_open(derivation_program(derivation->inner),
                                             derivation_database_options(derivation->inner), &self->database, err);
    if (status == SOREX_OK)
        status = derivation_begin(derivation->inner, self->database, &self->receipt, err);
    if (status == SOREX_OK)
        status = sorex_state_apply(self, messages, count, err);
    if (status != SOREX_OK) {
        sorex_state_free(self);
        return status;
    }
    *out_state = self;
    return SOREX_OK;
}

static enum sorex_status inner_fork(const struct sorex_state *state, struct database **out, struct sorex_error *err)
{
    struct snapshot *snapshot = NULL;
    TRY(database_save(state->database, &snapshot, err));
    enum sorex_status status = database_fork(state->database, snapshot, out, err);
    snapshot_drop(snapshot);
    return status;
}

enum sorex_status sorex_state_fork(struct sorex_state *state, struct sorex_state **out_state, struct sorex_error *err)
{
    struct sorex_state *self = state_new(state->derivation, err);
    if (self == NULL)
        return SOREX_NOMEM;
    self->receipt = state->receipt;
    enum sorex_status status = inner_fork(state, &self->database, err);
    if (status != SOREX_OK) {
        sorex_state_free(self);
        return status;
    }
    *out_state = self;
    return SOREX_OK;
}

void sorex_state_free(struct sorex_state *state)
{
    if (state == NULL)
        return;
    database_close(state->database);
    free(state);
}

void sorex_state_info(const struct sorex_state *state, struct sorex_state_info *out_info)
{
    const struct receipt *receipt = &state->receipt;
    *out_info = (struct sorex_state_info){.messages = receipt->count, .rejected = receipt->rejected};
    memcpy(out_info->log, receipt->log, SHA256_BYTES);
    memcpy(out_info->key, receipt->key, SHA256_BYTES);
    memcpy(out_info->trace, receipt->trace, SHA256_BYTES);
}

enum sorex_status sorex_state_database(struct sorex_state *state, struct sorex_database **out_database,
                                       struct sorex_error *err)
{
    struct sorex_database *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a database");
    results_init(&self->failed, 0);
    self->transaction = 'I';
    enum sorex_status status = inner_fork(state, &self->inner, err);
    if (status != SOREX_OK) {
        sorex_database_close(self);
        return status;
    }
    *out_database = self;
    return SOREX_OK;
}

enum sorex_status sorex_state_query(struct sorex_state *state, const char *sql, struct sorex_result **out_result,
                                    struct sorex_error *err)
{
    struct sorex_database *database = NULL;
    TRY(sorex_state_database(state, &database, err));
    enum sorex_status status = sorex_database_exec(database, sql, out_result, err);
    sorex_database_close(database);
    return status;
}

enum sorex_status sorex_state_digest(struct sorex_state *state, uint8_t *out_digest, struct sorex_error *err)
{
    struct database *fork = NULL;
    TRY(inner_fork(state, &fork, err));
    enum sorex_status status = database_digest(fork, out_digest, err);
    database_close(fork);
    return status;
}

/* ---- receipts, export, import ---- */

enum sorex_status sorex_state_receipt(struct sorex_state *state, const char *query, char **out_text, size_t *out_len,
                                      struct sorex_error *err)
{
    struct receipt_file *file = calloc(1, sizeof *file);
    struct database *fork = NULL;
    struct buf text = {0};
    if (file == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a receipt");
    file->receipt = state->receipt;
    enum sorex_status status = inner_fork(state, &fork, err);
    if (status == SOREX_OK)
        status = buf_append(&file->identity, derivation_identity(state->derivation->inner), err);
    if (status == SOREX_OK)
        status = derivation_prove(fork, query, file, err);
    if (status == SOREX_OK)
        status = receipt_file_write(file, &text, err);
    database_close(fork);
    receipt_file_deinit(file);
    free(file);
    if (status == SOREX_OK)
        *out_text = (char *)buf_steal(&text, out_len);
    buf_deinit(&text);
    return status;
}

enum sorex_status sorex_state_export(struct sorex_state *state, void **out_bytes, size_t *out_len,
                                     struct sorex_error *err)
{
    struct buf out = {0};
    enum sorex_status status = archive_make(state->derivation->inner, &state->derivation->settings, state->database,
                                            &state->receipt, &out, err);
    if (status == SOREX_OK)
        *out_bytes = buf_steal(&out, out_len);
    buf_deinit(&out);
    return status;
}

static enum sorex_status import(struct bytes bytes, const struct receipt_file *trusted, const char *cache_dir,
                                struct sorex_derivation *derivation, struct sorex_state *state, struct sorex_error *err)
{
    struct archive archive;
    TRY(archive_read(bytes, &archive, err));
    state->derivation = derivation;
    state->receipt = archive.receipt;
    return derivation_import(&archive, trusted, cache_dir, &derivation->settings, &derivation->inner, &state->database,
                             err);
}

enum sorex_status sorex_state_import(const void *bytes, size_t len, const char *receipt, size_t receipt_len,
                                     const char *cache_dir, struct sorex_derivation **out_derivation,
                                     struct sorex_state **out_state, struct sorex_error *err)
{
    struct receipt_file *trusted = calloc(1, sizeof *trusted);
    struct sorex_derivation *derivation = calloc(1, sizeof *derivation);
    struct sorex_state *state = calloc(1, sizeof *state);
    enum sorex_status status = SOREX_OK;
    if (trusted == NULL || derivation == NULL || state == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory for a state");
    if (status == SOREX_OK && receipt != NULL)
        status = receipt_file_read(bytes_of(receipt, receipt_len), trusted, err);
    if (status == SOREX_OK)
        status = import(bytes_of(bytes, len), receipt != NULL ? trusted : NULL, cache_dir, derivation, state, err);
    if (trusted != NULL)
        receipt_file_deinit(trusted);
    free(trusted);
    if (status != SOREX_OK) {
        free(derivation);
        free(state);
        return status;
    }
    *out_derivation = derivation;
    *out_state = state;
    return SOREX_OK;
}
