#include "pg/database.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "pg/image.h"
#include "pg/protocol.h"
#include "pg/snapshot_codec.h"

#define PATH_BYTES_MAX 4096
#define SQLSTATE_LIMIT "54000" /* program_limit_exceeded */

struct database_program {
    struct postgres *postgres;
    struct snapshot *base;
};

struct database {
    struct instance *instance;
    struct snapshot *good; /* the state to go back to when the instance broke */
    uint64_t memory_bytes_max;
    uint64_t statement_fuel;
    uint64_t mark;
    struct buf messages, replies; /* of the exchange under way */
};

/* -- programs */

static enum sorex_status file_take(const char *dir, const char *name, struct buf *out, struct sorex_error *err)
{
    char path[PATH_BYTES_MAX];
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", dir);
    return file_read(path, SOREX_MODULE_BYTES_MAX, out, err);
}

enum sorex_status database_program_open(const struct database_program_options *options, struct database_program **out,
                                        struct sorex_error *err)
{
    struct postgres_options postgres = {.cache_dir = options->cache_dir, .metered = options->metered};
    struct buf wasm = {0}, image = {0};
    struct database_program *program = calloc(1, sizeof *program);
    if (program == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "database: out of memory");
    enum sorex_status status = file_take(options->dir, "pglite.wasm", &wasm, err);
    if (status == SOREX_OK)
        status = file_take(options->dir, "cluster.image", &image, err);
    if (status == SOREX_OK)
        status = postgres_open(buf_view(&wasm), &postgres, &program->postgres, err);
    if (status == SOREX_OK)
        status = image_read(program->postgres, buf_view(&image), &program->base, err);
    buf_deinit(&wasm);
    buf_deinit(&image);
    if (status != SOREX_OK) {
        database_program_close(program);
        return status;
    }
    *out = program;
    return SOREX_OK;
}

void database_program_close(struct database_program *program)
{
    if (program == NULL)
        return;
    snapshot_drop(program->base);
    postgres_close(program->postgres);
    free(program);
}

struct postgres *database_program_postgres(const struct database_program *program) { return program->postgres; }

/* -- open and close */

static void mark_next(struct database *database)
{
    static _Atomic uint64_t last;
    database->mark = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

static void good_set(struct database *database, const struct snapshot *snapshot)
{
    struct snapshot *before = database->good;
    database->good = snapshot_keep(snapshot);
    snapshot_drop(before);
}

static enum sorex_status database_make(const struct snapshot *snapshot, uint64_t memory_bytes_max,
                                       uint64_t statement_fuel, struct database **out, struct sorex_error *err)
{
    if (statement_fuel != 0 && !postgres_metered(snapshot->postgres))
        return sorex_error_set(err, SOREX_INVALID, "database: fuel is for metered programs");
    struct database *database = calloc(1, sizeof *database);
    if (database == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "database: out of memory");
    database->memory_bytes_max = memory_bytes_max;
    database->statement_fuel = statement_fuel;
    mark_next(database);
    enum sorex_status status = instance_fork(snapshot, memory_bytes_max, &database->instance, err);
    if (status != SOREX_OK) {
        free(database);
        return status;
    }
    good_set(database, snapshot);
    *out = database;
    return SOREX_OK;
}

enum sorex_status database_open_snapshot(const struct snapshot *snapshot, const struct database_options *options,
                                         struct database **out, struct sorex_error *err)
{
    static const struct database_options none;
    struct snapshot *start = NULL; /* the snapshot, as the options want it */
    if (options == NULL)
        options = &none;
    TRY(snapshot_copy(snapshot, &start, err));
    if (options->time_us != 0)
        start->state.clock_ns = options->time_us * 1000;
    if (options->seed != 0)
        start->state.random = options->seed;
    tree_limit_set(&start->tree, options->file_bytes_max);
    enum sorex_status status = database_make(start, options->memory_bytes_max, options->statement_fuel, out, err);
    snapshot_drop(start);
    return status;
}

enum sorex_status database_open(struct database_program *program, const struct database_options *options,
                                struct database **out, struct sorex_error *err)
{
    return database_open_snapshot(program->base, options, out, err);
}

enum sorex_status database_open_image(struct database_program *program, const struct database_options *options,
                                      struct bytes image, struct database **out, struct sorex_error *err)
{
    struct snapshot *snapshot = NULL;
    TRY(image_read(program->postgres, image, &snapshot, err));
    enum sorex_status status = database_open_snapshot(snapshot, options, out, err);
    snapshot_drop(snapshot);
    return status;
}

void database_close(struct database *database)
{
    if (database == NULL)
        return;
    instance_close(database->instance);
    snapshot_drop(database->good);
    buf_deinit(&database->messages);
    buf_deinit(&database->replies);
    free(database);
}

struct instance *database_instance(struct database *database) { return database->instance; }

bool database_broken(const struct database *database) { return instance_broken(database->instance); }

void database_time_set(struct database *database, uint64_t time_us)
{
    instance_process(database->instance)->state->clock_ns = time_us * 1000;
    mark_next(database);
}

void database_seed_set(struct database *database, uint64_t seed)
{
    instance_process(database->instance)->state->random = seed;
    mark_next(database);
}

bool database_metered(const struct database *database)
{
    return postgres_metered(instance_postgres(database->instance));
}

static void fuel_give(const struct database *database)
{
    if (database_metered(database))
        instance_fuel_set(database->instance, database->statement_fuel != 0 ? database->statement_fuel : UINT64_MAX);
}

enum sorex_status database_fuel_set(struct database *database, uint64_t fuel, struct sorex_error *err)
{
    if (fuel != 0 && !database_metered(database))
        return sorex_error_set(err, SOREX_INVALID, "database: fuel is for metered programs");
    database->statement_fuel = fuel;
    return SOREX_OK;
}

enum sorex_status database_role_set(struct database *database, uint32_t role, bool confined, struct sorex_error *err)
{
    mark_next(database);
    fuel_give(database);
    return instance_role_set(database->instance, role, confined, err);
}

uint64_t database_mark(const struct database *database) { return database->mark; }

/* -- statements */

/* What a backend said last, in front of why it is gone. */
static void last_words_add(struct bytes replies, struct sorex_error *err)
{
    struct protocol_message message;
    struct sorex_error unused;
    struct bytes sqlstate = {NULL, 0}, text = {NULL, 0};
    bool whole = true;
    while (whole && replies.len > 0 && protocol_take(&replies, &message, &whole, &unused) == SOREX_OK)
        if (whole && message.type == PROTOCOL_ERROR) {
            sqlstate = message.notice.fields[PROTOCOL_FIELD_SQLSTATE];
            text = message.notice.fields[PROTOCOL_FIELD_MESSAGE];
        }
    if (sqlstate.data != NULL)
        (void)sorex_error_prefix(err, "%.*s: %.*s", BYTES_FMT(sqlstate), BYTES_FMT(text));
}

/* After an error of an exchange: back to the last good state. Says so behind the error's text. */
static enum sorex_status recover(struct database *database, enum sorex_status status, const struct sorex_error *why,
                                 struct sorex_error *err)
{
    struct sorex_error failed = {0};
    if (database_restore(database, database->good, &failed) != SOREX_OK)
        return sorex_error_set(err, status, "%s; the database could not be restored: %s", why->text, failed.text);
    return sorex_error_set(err, status, "%s; the database is back in the state that was saved last", why->text);
}

enum sorex_status database_exchange(struct database *database, struct bytes messages, struct buf *out,
                                    struct sorex_error *err)
{
    struct sorex_error why = {0};
    size_t before = out->len;
    mark_next(database);
    fuel_give(database);
    enum sorex_status status = instance_exchange(database->instance, messages, out, &why);
    if (status == SOREX_OK)
        return SOREX_OK;
    last_words_add(bytes_of(out->data + before, out->len - before), &why);
    if (status == SOREX_LIMIT)
        (void)sorex_error_prefix(&why, SQLSTATE_LIMIT);
    return recover(database, status, &why, err);
}

static enum sorex_status exchange(struct database *database, struct bytes messages, struct results *results,
                                  struct sorex_error *err)
{
    struct sorex_error why = {0};
    TRY(database_exchange(database, messages, &database->replies, err));
    enum sorex_status status = results_collect(results, buf_view(&database->replies), &why);
    return status == SOREX_OK ? SOREX_OK : recover(database, status, &why, err);
}

/* Sends what is in database->messages; status is of making these. */
static enum sorex_status messages_send(struct database *database, enum sorex_status status, struct results *results,
                                       struct sorex_error *err)
{
    if (status == SOREX_OK)
        status = exchange(database, buf_view(&database->messages), results, err);
    buf_reset(&database->messages);
    buf_reset(&database->replies);
    return status;
}

/* Behind a statement that may be COPY FROM STDIN, whose end of input would end the backend; others do not see it. */
static enum sorex_status copy_refuse(struct buf *out, struct sorex_error *err)
{
    return protocol_copy_fail(out, bytes_str("there is no standard input"), err);
}

enum sorex_status database_exec(struct database *database, const char *sql, struct results *results,
                                struct sorex_error *err)
{
    enum sorex_status status = protocol_query(&database->messages, bytes_str(sql), err);
    if (status == SOREX_OK)
        status = copy_refuse(&database->messages, err);
    return messages_send(database, status, results, err);
}

enum sorex_status database_copy_in(struct database *database, const char *sql, struct bytes data,
                                   struct results *results, struct sorex_error *err)
{
    enum { PART_BYTES = 1 << 20 };
    struct buf *out = &database->messages;
    enum sorex_status status = protocol_query(out, bytes_str(sql), err);
    for (size_t at = 0; at < data.len && status == SOREX_OK; at += PART_BYTES) {
        size_t len = data.len - at < PART_BYTES ? data.len - at : PART_BYTES;
        status = protocol_copy_data(out, bytes_of(data.data + at, len), err);
    }
    if (status == SOREX_OK)
        status = protocol_copy_done(out, err);
    return messages_send(database, status, results, err);
}

static enum sorex_status prepare_write(struct buf *out, struct bytes name, const char *sql, struct sorex_error *err)
{
    TRY(protocol_parse(out, name, bytes_str(sql), NULL, 0, err));
    TRY(protocol_describe(out, PROTOCOL_STATEMENT, name, err));
    return protocol_sync(out, err);
}

enum sorex_status database_prepare(struct database *database, const char *name, const char *sql,
                                   struct results *results, struct sorex_error *err)
{
    return messages_send(database, prepare_write(&database->messages, bytes_str(name), sql, err), results, err);
}

static enum sorex_status parameters_make(const uint32_t *types, const struct value *values, size_t count,
                                         struct buf *bytes, struct protocol_parameter *out, struct sorex_error *err)
{
    size_t *places = malloc((count + 1) * sizeof *places);
    enum sorex_status status =
        places != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "statement: out of memory");
    for (size_t i = 0; i < count && status == SOREX_OK; i++)
        status = value_parameter(&values[i], types[i], bytes, &places[i], &out[i], err);
    for (size_t i = 0; i < count && status == SOREX_OK; i++)
        out[i].bytes.data = bytes->data + places[i];
    free(places);
    return status;
}

static enum sorex_status execute_write(struct buf *out, const struct protocol_bind *bind, struct sorex_error *err)
{
    TRY(protocol_bind(out, bind, err));
    TRY(protocol_describe(out, PROTOCOL_PORTAL, bytes_str(""), err));
    TRY(protocol_execute(out, bytes_str(""), 0, err));
    if (bind->parameters_count == 0) /* COPY takes none */
        TRY(copy_refuse(out, err));
    return protocol_sync(out, err);
}

enum sorex_status database_execute(struct database *database, const char *name, const uint32_t *types,
                                   const struct value *values, size_t count, struct results *results,
                                   struct sorex_error *err)
{
    return database_execute_as(database, name, types, values, count, PROTOCOL_BINARY, results, err);
}

enum sorex_status database_execute_as(struct database *database, const char *name, const uint32_t *types,
                                      const struct value *values, size_t count, enum protocol_format format,
                                      struct results *results, struct sorex_error *err)
{
    struct buf bytes = {0};
    struct protocol_parameter *parameters = calloc(count + 1, sizeof *parameters);
    enum sorex_status status =
        parameters != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "statement: out of memory");
    if (status == SOREX_OK)
        status = parameters_make(types, values, count, &bytes, parameters, err);
    struct protocol_bind bind = {
        .statement = bytes_str(name), .parameters = parameters, .parameters_count = count, .results = format};
    if (status == SOREX_OK)
        status = execute_write(&database->messages, &bind, err);
    status = messages_send(database, status, results, err);
    buf_deinit(&bytes);
    free(parameters);
    return status;
}

enum sorex_status database_query(struct database *database, const char *sql, const struct value *parameters,
                                 size_t count, struct results *results, struct sorex_error *err)
{
    TRY(database_prepare(database, "", sql, results, err));
    if (results->error != NULL)
        return SOREX_OK;
    if (results->parameters_count != count)
        return sorex_error_set(err, SOREX_INVALID, "statement: it has %zu parameters, %zu were given",
                               results->parameters_count, count);
    uint32_t *types = malloc((count + 1) * sizeof *types);
    if (types == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "statement: out of memory");
    if (count > 0)
        memcpy(types, results->parameters, count * sizeof *types);
    enum sorex_status status = database_execute(database, "", types, parameters, count, results, err);
    free(types);
    return status;
}

/* -- states */

enum sorex_status database_save(struct database *database, struct snapshot **out, struct sorex_error *err)
{
    TRY(instance_save(database->instance, out, err));
    good_set(database, *out);
    return SOREX_OK;
}

enum sorex_status database_restore(struct database *database, const struct snapshot *snapshot, struct sorex_error *err)
{
    mark_next(database);
    TRY(instance_restore(database->instance, snapshot, err));
    good_set(database, snapshot);
    return SOREX_OK;
}

enum sorex_status database_fork(const struct database *database, const struct snapshot *snapshot, struct database **out,
                                struct sorex_error *err)
{
    return database_make(snapshot, database->memory_bytes_max, database->statement_fuel, out, err);
}

enum sorex_status database_export(struct database *database, struct buf *out, struct sorex_error *err)
{
    enum { LEVEL = 3 };
    struct snapshot *snapshot = NULL;
    TRY(database_save(database, &snapshot, err));
    enum sorex_status status = image_write(snapshot, LEVEL, out, err);
    snapshot_drop(snapshot);
    return status;
}
