/* A batch is one transaction:
 *
 *   BEGIN; lock the cursor row and compare it; rows; move the cursor row; COMMIT
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
#include "sink/postgres_target.h"

static const char *const mode_words[] = {"tables", "log", NULL};

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
     .text = "schema of the tables and of sorex_cursor; must exist"},
    {.name = "mode",
     .type = OPTION_ENUM,
     .offset = offsetof(struct postgres_settings, mode),
     .fallback = "tables",
     .choices = mode_words,
     .text = "tables: rows as they are now, one table for each name in the changes; log: every change as a row of one "
             "table"},
    {.name = "log_table",
     .type = OPTION_STRING,
     .offset = offsetof(struct postgres_settings, log_table),
     .fallback = "sorex_changes",
     .text = "the table of mode log"},
    {.name = "create_tables",
     .type = OPTION_BOOL,
     .offset = offsetof(struct postgres_settings, create_tables),
     .fallback = "true",
     .text = "make tables and columns that are missing, and widen those it made; false: a missing one is an error"},
    {.name = "tables",
     .type = OPTION_NODE,
     .offset = offsetof(struct postgres_settings, tables),
     .text = "TABLE: {key: COLUMN or [COLUMN, ...], columns: {COLUMN: TYPE}}, where values should not decide"},
    {0}};

/* ---- open, close
 * -------------------------------------------------------------------------------------------------------- */

static void postgres_close(struct sink *sink)
{
    struct postgres *pg = (struct postgres *)sink;
    for (size_t i = 0; i < pg->table_count; i++)
        postgres_table_free(pg->tables[i]);
    free(pg->tables);
    net_deinit(&pg->net);
    json_parser_free(pg->parser);
    buf_deinit(&pg->out);
    postgres_session_deinit(&pg->session);
    free(pg->pipeline);
    free(pg->name);
    free(pg->schema);
    free(pg->log_table);
    free(pg);
}

static enum sorex_status postgres_init(struct postgres *pg, const struct postgres_settings *settings,
                                       const struct sink_context *context, struct sorex_error *err)
{
    pg->log = settings->mode == POSTGRES_LOG;
    pg->create = settings->create_tables;
    pg->config = settings->tables != NULL && settings->tables->kind == CONFIG_MAPPING ? settings->tables : NULL;
    pg->pipeline = strdup(context->pipeline);
    pg->name = strdup(context->name);
    pg->schema = strdup(settings->schema);
    pg->log_table = strdup(settings->log_table);
    if (pg->pipeline == NULL || pg->name == NULL || pg->schema == NULL || pg->log_table == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    TRY(postgres_tables_check(settings->tables, err));
    TRY(net_init(&pg->net, err));
    TRY(json_parser_new(&pg->parser, err));
    return postgres_session_init(&pg->session, settings->url, err);
}

static enum sorex_status postgres_open(const void *settings, const struct sink_context *context, struct sink **out,
                                       struct sorex_error *err)
{
    struct postgres *pg = calloc(1, sizeof *pg);
    if (pg == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    pg->sink.type = &sink_postgres;
    enum sorex_status status = postgres_init(pg, settings, context, err);
    if (status != SOREX_OK) {
        postgres_close(&pg->sink);
        return status;
    }
    *out = &pg->sink;
    return SOREX_OK;
}

static void postgres_interrupt(struct sink *sink) { postgres_session_interrupt(&((struct postgres *)sink)->session); }

/* ---- names
 * -------------------------------------------------------------------------------------------------------------- */

enum sorex_status postgres_row_name(struct postgres *pg, const struct sink_change *item, struct sorex_error *err)
{
    pg->named = true;
    const struct change *change = &item->change;
    return sorex_error_prefix(err, "program %s, table \"%.*s\", key \"%.*s\", height %u (%ssequence %" PRIu64 ")",
                              item->program, BYTES_FMT(change->table),
                              (int)(change->key.len > 256 ? 256 : change->key.len), (const char *)change->key.data,
                              item->height, item->undo ? "undo, " : "", item->sequence);
}

enum sorex_status postgres_qualified(struct postgres *pg, const char *name, char **out, struct sorex_error *err)
{
    char *schema = NULL;
    char *table = NULL;
    enum sorex_status status = postgres_identifier(&pg->session, bytes_str(pg->schema), &schema, err);
    if (status == SOREX_OK)
        status = postgres_identifier(&pg->session, bytes_str(name), &table, err);
    if (status == SOREX_OK && asprintf(out, "%s.%s", schema, table) < 0)
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    free(schema);
    free(table);
    return status;
}

/* Runs a statement with %s for the qualified cursor table, with pipeline and sink as $1 and $2. */
static enum sorex_status cursor_query(struct postgres *pg, const char *before, const char *after, int count,
                                      const char *const *more, PGresult **out_result, struct sorex_error *err)
{
    const char *params[POSTGRES_PARAMS_MAX] = {pg->pipeline, pg->name};
    CHECK(count + 2 <= POSTGRES_PARAMS_MAX);
    for (int i = 0; i < count; i++)
        params[2 + i] = more[i];
    char *table;
    TRY(postgres_qualified(pg, "sorex_cursor", &table, err));
    char *sql = NULL;
    enum sorex_status status = SOREX_OK;
    if (asprintf(&sql, "%s %s %s", before, table, after) < 0) {
        sql = NULL;
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    if (status == SOREX_OK)
        status = postgres_query(&pg->session, sql, 2 + count, params, out_result, err);
    free(sql);
    free(table);
    return status;
}

/* ---- cursor
 * ------------------------------------------------------------------------------------------------------------- */

static bool take_hash(const char *text, uint8_t *out, size_t len)
{
    struct buf bytes = {0};
    bool ok = hex_decode(bytes_str(text), &bytes, NULL) == SOREX_OK && bytes.len == len;
    if (ok)
        (void)memcpy(out, bytes.data, len);
    buf_deinit(&bytes);
    return ok;
}

/* Reads the row that holds store, sequence, entry; *out_found is false when there is none. */
static enum sorex_status cursor_take(const PGresult *rows, struct sink_cursor *out, bool *out_found,
                                     struct sorex_error *err)
{
    *out = (struct sink_cursor){0};
    *out_found = PQntuples(rows) == 1;
    if (!*out_found)
        return SOREX_OK;
    out->sequence = strtoull(PQgetvalue(rows, 0, 1), NULL, 10);
    if (!take_hash(PQgetvalue(rows, 0, 0), out->store_id, SINK_STORE_ID_BYTES) ||
        hash_parse_display(bytes_str(PQgetvalue(rows, 0, 2)), out->hash, NULL) != SOREX_OK)
        return sorex_error_set(err, SOREX_CORRUPT,
                               "the row in sorex_cursor is no cursor: store must be %d and entry %d hex digits",
                               2 * SINK_STORE_ID_BYTES, 2 * HASH_BYTES);
    return SOREX_OK;
}

static enum sorex_status cursor_table_exists(struct postgres *pg, bool *out, struct sorex_error *err)
{
    char *table;
    TRY(postgres_qualified(pg, "sorex_cursor", &table, err));
    const char *params[] = {table};
    PGresult *rows;
    enum sorex_status status =
        postgres_query(&pg->session, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", 1, params, &rows, err);
    free(table);
    TRY(status);
    *out = PQgetvalue(rows, 0, 0)[0] == 't';
    PQclear(rows);
    return SOREX_OK;
}

static enum sorex_status cursor_table_make(struct postgres *pg, struct sorex_error *err)
{
    char *table;
    TRY(postgres_qualified(pg, "sorex_cursor", &table, err));
    char *sql = NULL;
    enum sorex_status status = SOREX_OK;
    if (asprintf(
            &sql,
            "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(7307498, 1); "
            "CREATE TABLE IF NOT EXISTS %s (pipeline text, sink text, store text NOT NULL, sequence bigint NOT NULL, "
            "entry text NOT NULL, updated timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (pipeline, sink)); COMMIT",
            table) < 0) {
        sql = NULL;
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    if (status == SOREX_OK)
        status = postgres_exec(&pg->session, sql, err);
    if (status != SOREX_OK)
        postgres_rollback(&pg->session);
    free(sql);
    free(table);
    return status;
}

/* The row is there from the first moment, so that there is always something to lock. */
static enum sorex_status cursor_row_make(struct postgres *pg, struct sorex_error *err)
{
    char store[2 * SINK_STORE_ID_BYTES + 1] = {0};
    char entry[HASH_HEX_SIZE] = {0};
    memset(store, '0', sizeof store - 1);
    memset(entry, '0', sizeof entry - 1);
    const char *more[] = {store, entry};
    return cursor_query(pg, "INSERT INTO",
                        "(pipeline, sink, store, sequence, entry) VALUES ($1, $2, $3, 0, $4) ON CONFLICT DO NOTHING", 2,
                        more, NULL, err);
}

static enum sorex_status postgres_cursor(struct sink *sink, struct sink_cursor *out, struct sorex_error *err)
{
    struct postgres *pg = (struct postgres *)sink;
    TRY(postgres_session_open(&pg->session, err));
    postgres_rollback(&pg->session);
    postgres_tables_forget(pg);
    TRY(postgres_session_open(&pg->session, err));
    bool exists;
    TRY(cursor_table_exists(pg, &exists, err));
    if (!exists)
        TRY(cursor_table_make(pg, err));
    PGresult *rows;
    bool found;
    TRY(cursor_query(pg, "SELECT store, sequence, entry FROM", "WHERE pipeline = $1 AND sink = $2", 0, NULL, &rows,
                     err));
    enum sorex_status status = cursor_take(rows, out, &found, err);
    PQclear(rows);
    TRY(status);
    if (!found)
        TRY(cursor_row_make(pg, err));
    pg->at = *out;
    return out->sequence > 0 ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "the target has no cursor yet");
}

enum sorex_status postgres_begin(struct postgres *pg, struct sorex_error *err)
{
    TRY(postgres_session_open(&pg->session, err));
    TRY(postgres_exec(&pg->session, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", err));
    PGresult *rows;
    TRY(cursor_query(pg, "SELECT store, sequence, entry FROM", "WHERE pipeline = $1 AND sink = $2 FOR UPDATE", 0, NULL,
                     &rows, err));
    struct sink_cursor now;
    bool found;
    enum sorex_status status = cursor_take(rows, &now, &found, err);
    PQclear(rows);
    TRY(status);
    if (!found || now.sequence != pg->at.sequence || memcmp(now.store_id, pg->at.store_id, SINK_STORE_ID_BYTES) != 0 ||
        memcmp(now.hash, pg->at.hash, HASH_BYTES) != 0)
        return sorex_error_set(
            err, SOREX_AGAIN,
            "somebody else moved the cursor of pipeline \"%s\", sink \"%s\": is another sorex running with it?",
            pg->pipeline, pg->name);
    return SOREX_OK;
}

static enum sorex_status cursor_move(struct postgres *pg, const struct sink_cursor *cursor, struct sorex_error *err)
{
    char store[2 * SINK_STORE_ID_BYTES + 1];
    char sequence[24];
    char entry[HASH_HEX_SIZE];
    hex_encode(bytes_of(cursor->store_id, SINK_STORE_ID_BYTES), store);
    store[sizeof store - 1] = '\0';
    (void)snprintf(sequence, sizeof sequence, "%" PRIu64, cursor->sequence);
    hash_display(cursor->hash, entry);
    const char *more[] = {store, sequence, entry};
    return cursor_query(pg, "UPDATE",
                        "SET store = $3, sequence = $4, entry = $5, updated = now() WHERE pipeline = $1 AND sink = $2",
                        3, more, NULL, err);
}

/* ---- batch
 * -------------------------------------------------------------------------------------------------------------- */

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
    postgres_rollback(&pg->session);
    postgres_tables_forget(pg);
    pg->log_checked = 0;
}

static enum sorex_status attempt(struct postgres *pg, const struct sink_batch *batch, bool fit, struct sorex_error *err)
{
    enum sorex_status status = postgres_begin(pg, err);
    if (status == SOREX_OK)
        status = rows_write(pg, batch, NULL, fit, err);
    if (status == SOREX_OK)
        status = cursor_move(pg, &batch->cursor, err);
    if (status == SOREX_OK)
        status = postgres_exec(&pg->session, "COMMIT", err);
    if (status != SOREX_OK) {
        undo_attempt(pg);
        return status;
    }
    pg->at = batch->cursor;
    pg->log_checked = pg->session.opened;
    return SOREX_OK;
}

/* Writes the scope and takes it back. */
static enum sorex_status probe(struct postgres *pg, const struct sink_batch *batch, const struct postgres_scope *scope,
                               struct sorex_error *err)
{
    enum sorex_status status = postgres_begin(pg, err);
    if (status == SOREX_OK)
        status = rows_write(pg, batch, scope, true, err);
    if (status == SOREX_OK)
        status = postgres_exec(&pg->session, "SET CONSTRAINTS ALL IMMEDIATE", err);
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
    TRY(postgres_session_open(&pg->session, err));
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
    .summary = "changes to PostgreSQL tables, exactly once; rows, undo and cursor in one transaction",
    .options = postgres_options,
    .holds_cursor = true,
    .open = postgres_open,
    .close = postgres_close,
    .cursor = postgres_cursor,
    .apply = postgres_apply,
    .interrupt = postgres_interrupt,
};
