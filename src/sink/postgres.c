/* A batch is one transaction:
 *
 *   BEGIN; lock the cursor row and compare it; rows; move the cursor row; COMMIT
 *
 * Of a stream, in place of the cursor row those of the batch's partitions (postgres_position.c), and dead letters
 * before the rows.
 *
 * Whoever loses the connection, in COMMIT too, reads the cursor again and so learns whether the transaction happened.
 * Two sinks of the same name cannot interleave: the second one waits for the row lock and then finds a cursor that is
 * not the one it knew.
 *
 * A batch that fails for good is tried again with a fresh look at the catalog, then in halves that are rolled back,
 * until one row is left to be named. */
#include "sink/postgres.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "sink/postgres_libpq.h"
#include "sink/postgres_target.h"

const char *const postgres_mode_words[] = {"tables", "log", NULL};

static const struct option postgres_options[] = {
    {.name = "url",
     .type = OPTION_STRING,
     .offset = offsetof(struct postgres_settings, url),
     .required = true,
     .text = "connection URI or key=value string, as libpq takes them; PGPASSWORD and ~/.pgpass work"},
    {.name = "schema",
     .type = OPTION_STRING,
     .offset = offsetof(struct postgres_settings, schema),
     .fallback = "public",
     .text = "schema of the tables and of sorex_cursor or sorex_position; must exist"},
    POSTGRES_ROW_OPTIONS(0),
    {.name = "dead_letters",
     .type = OPTION_STRING,
     .offset = offsetof(struct postgres_settings, dead_letters),
     .text = "of a stream: table of the events that failed, with their errors, in the same transaction"},
    {0}};

/* ---- open, close ---- */

static void postgres_close(struct sink *sink)
{
    struct postgres *pg = (struct postgres *)sink;
    for (size_t i = 0; i < pg->table_count; i++)
        postgres_table_free(pg->tables[i]);
    free(pg->tables);
    net_deinit(&pg->net);
    json_parser_free(pg->parser);
    buf_deinit(&pg->out);
    buf_deinit(&pg->removal.array);
    postgres_session_free(pg->session);
    free(pg->pipeline);
    free(pg->name);
    free(pg->schema);
    free(pg->log_table);
    free(pg->dead_table);
    free(pg);
}

static enum sorex_status postgres_init(struct postgres *pg, const struct postgres_settings *settings,
                                       const struct sink_context *context, struct sorex_error *err)
{
    pg->log = settings->mode == POSTGRES_LOG;
    pg->stream = context->stream;
    pg->create = settings->create_tables;
    pg->config = settings->tables != NULL && settings->tables->kind == CONFIG_MAPPING ? settings->tables : NULL;
    pg->pipeline = strdup(context->pipeline);
    pg->name = strdup(context->name);
    pg->schema = strdup(settings->schema);
    pg->log_table = strdup(settings->log_table);
    if (pg->pipeline == NULL || pg->name == NULL || pg->schema == NULL || pg->log_table == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    if (settings->dead_letters != NULL && !pg->stream)
        return sorex_error_set(err, SOREX_INVALID,
                               "dead_letters: only a stream has dead letters (source: lines or kafka)");
    if (settings->dead_letters != NULL && (pg->dead_table = strdup(settings->dead_letters)) == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    TRY(postgres_tables_check(settings->tables, err));
    TRY(net_init(&pg->net, err));
    return json_parser_new(&pg->parser, err);
}

enum sorex_status postgres_new(const struct postgres_settings *settings, const struct sink_context *context,
                               struct postgres_session *session, struct sink **out, struct sorex_error *err)
{
    struct postgres *pg = calloc(1, sizeof *pg);
    if (pg == NULL) {
        postgres_session_free(session);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    pg->sink.type = &sink_postgres;
    pg->session = session;
    enum sorex_status status = postgres_init(pg, settings, context, err);
    if (status != SOREX_OK) {
        postgres_close(&pg->sink);
        return status;
    }
    *out = &pg->sink;
    return SOREX_OK;
}

static enum sorex_status postgres_open(const void *settings, const struct sink_context *context, struct sink **out,
                                       struct sorex_error *err)
{
    struct postgres_session *session;
    TRY(postgres_libpq_new(((const struct postgres_settings *)settings)->url, &session, err));
    return postgres_new(settings, context, session, out, err);
}

static void postgres_interrupt(struct sink *sink) { postgres_session_interrupt(((struct postgres *)sink)->session); }

/* ---- names ---- */

enum sorex_status postgres_row_name(struct postgres *pg, const struct sink_change *item, struct sorex_error *err)
{
    pg->named = true;
    const struct change *change = &item->change;
    if (pg->stream)
        return sorex_error_prefix(err, "table \"%.*s\", key \"%.*s\", record %" PRIu64, BYTES_FMT(change->table),
                                  (int)(change->key.len > 256 ? 256 : change->key.len), (const char *)change->key.data,
                                  item->sequence);
    return sorex_error_prefix(err, "program %s, table \"%.*s\", key \"%.*s\", height %u (%ssequence %" PRIu64 ")",
                              item->program, BYTES_FMT(change->table),
                              (int)(change->key.len > 256 ? 256 : change->key.len), (const char *)change->key.data,
                              item->height, item->undo ? "undo, " : "", item->sequence);
}

/* ---- batch ---- */

static enum sorex_status rows_write(struct postgres *pg, const struct sink_batch *batch,
                                    const struct postgres_scope *scope, bool fit, struct sorex_error *err)
{
    if (!pg->log)
        return postgres_tables_write(pg, batch, scope, fit, err);
    size_t to = scope == NULL || scope->to > batch->count ? batch->count : scope->to;
    return postgres_log_write(pg, batch, scope == NULL ? 0 : scope->from, to, err);
}

static void undo_attempt(struct postgres *pg)
{
    postgres_rollback(pg->session);
    postgres_tables_forget(pg);
    pg->log_checked = pg->dead_checked = 0;
}

/* Starts the transaction, and locks what the batch moves. */
static enum sorex_status begin(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err)
{
    TRY(postgres_session_open(pg->session, err));
    if (batch->count > 0)
        postgres_session_time_set(pg->session, batch->changes[batch->count - 1].time_ms);
    TRY(postgres_exec(pg->session, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", err));
    return pg->stream ? postgres_positions_lock(pg, batch, err) : postgres_cursor_lock(pg, err);
}

static enum sorex_status attempt(struct postgres *pg, const struct sink_batch *batch, bool fit, struct sorex_error *err)
{
    pg->in_rows = false;
    enum sorex_status status = begin(pg, batch, err);
    if (status == SOREX_OK)
        status = postgres_dead_write(pg, batch, err);
    if (status == SOREX_OK)
        status = rows_write(pg, batch, NULL, fit, err);
    if (status == SOREX_OK)
        status = pg->stream ? postgres_positions_move(pg, batch, err) : postgres_cursor_move(pg, &batch->cursor, err);
    if (status == SOREX_OK)
        status = postgres_exec(pg->session, "COMMIT", err);
    if (status != SOREX_OK) {
        undo_attempt(pg);
        return status;
    }
    pg->at = batch->cursor;
    pg->log_checked = pg->session->opened;
    if (pg->dead_table != NULL && batch->dead_count > 0)
        pg->dead_checked = pg->session->opened;
    return SOREX_OK;
}

/* Writes the scope and takes it back. */
static enum sorex_status probe(struct postgres *pg, const struct sink_batch *batch, const struct postgres_scope *scope,
                               struct sorex_error *err)
{
    enum sorex_status status = begin(pg, batch, err);
    if (status == SOREX_OK)
        status = rows_write(pg, batch, scope, true, err);
    if (status == SOREX_OK)
        status = postgres_exec(pg->session, "SET CONSTRAINTS ALL IMMEDIATE", err);
    undo_attempt(pg);
    return status;
}

/* How many rows the scope that was probed last has at most. */
static size_t scope_end(const struct postgres *pg, const struct sink_batch *batch)
{
    return pg->log ? batch->count : pg->net.count;
}

static const struct sink_change *scope_change(const struct postgres *pg, const struct sink_batch *batch,
                                              const struct postgres_scope *scope)
{
    return pg->log ? &batch->changes[scope->from] : pg->net.rows[scope->from].change;
}

/* Halves a scope that fails until one row is left. *out_found is false when none fails alone. */
static enum sorex_status bisect(struct postgres *pg, const struct sink_batch *batch, struct postgres_scope scope,
                                bool *out_found, struct sorex_error *err)
{
    while (scope.to - scope.from > 1) {
        struct postgres_scope half = scope;
        half.to = scope.from + (scope.to - scope.from) / 2;
        enum sorex_status status = probe(pg, batch, &half, err);
        if (status == SOREX_AGAIN)
            return status;
        if (status != SOREX_OK)
            scope.to = half.to;
        else
            scope.from = half.to;
    }
    enum sorex_status status = probe(pg, batch, &scope, err);
    *out_found = status != SOREX_OK;
    if (status == SOREX_OK || status == SOREX_AGAIN || pg->named)
        return status;
    return postgres_row_name(pg, scope_change(pg, batch, &scope), err);
}

static enum sorex_status scope_search(struct postgres *pg, const struct sink_batch *batch,
                                      const struct postgres_table *table, bool *out_found, struct sorex_error *err)
{
    struct postgres_scope scope = {table, 0, SIZE_MAX};
    enum sorex_status status = probe(pg, batch, &scope, err);
    if (status == SOREX_OK || status == SOREX_AGAIN)
        return status;
    *out_found = pg->named || !pg->in_rows;
    if (*out_found)
        return status;
    scope.to = scope_end(pg, batch);
    return bisect(pg, batch, scope, out_found, err);
}

/* Replaces err by one that names the row, when a single row is to blame. */
static enum sorex_status blame(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err)
{
    struct sorex_error found_err;
    bool found = false;
    enum sorex_status status = SOREX_OK;
    if (pg->log)
        status = scope_search(pg, batch, NULL, &found, &found_err);
    for (size_t i = 0; !pg->log && !found && status != SOREX_AGAIN && i < pg->table_count; i++)
        if (pg->tables[i]->change_count > 0)
            status = scope_search(pg, batch, pg->tables[i], &found, &found_err);
    if ((found || status == SOREX_AGAIN) && err != NULL)
        *err = found_err;
    return err == NULL ? SOREX_IO : err->status;
}

static enum sorex_status postgres_apply(struct sink *sink, const struct sink_batch *batch, struct sorex_error *err)
{
    struct postgres *pg = (struct postgres *)sink;
    TRY(postgres_session_open(pg->session, err));
    pg->named = false;
    if (!pg->log)
        TRY(postgres_tables_prepare(pg, batch, err));
    enum sorex_status status = attempt(pg, batch, false, err);
    if (status == SOREX_OK || status == SOREX_AGAIN)
        return status;
    bool misfit = pg->misfit;
    if (!misfit)
        log_line(LOG_DEBUG, pg->name, "batch up to sequence %" PRIu64 " failed, trying again: %s",
                 batch->cursor.sequence, err == NULL ? "" : err->text);
    status = attempt(pg, batch, true, err);
    if (status == SOREX_OK || status == SOREX_AGAIN || pg->named || !pg->in_rows)
        return status;
    return blame(pg, batch, err);
}

const struct sink_type sink_postgres = {
    .name = "postgres",
    .summary = "changes to PostgreSQL tables, exactly once; rows, undo and cursor or positions in one transaction",
    .options = postgres_options,
    .settings_size = sizeof(struct postgres_settings),
    .reads_images = true,
    .holds_cursor = true,
    .open = postgres_open,
    .close = postgres_close,
    .cursor = postgres_cursor_read,
    .position = postgres_position_read,
    .apply = postgres_apply,
    .interrupt = postgres_interrupt,
};
