/* A batch is one transaction of the embedded database, and then one write of the store:
 *
 *   BEGIN; rows; cursor row; COMMIT | now and then CHECKPOINT, VACUUM | changed pages to the store, atomic and synced
 *
 * What fails before the end of that goes back to the last write; so does what a crash leaves. The cursor's row is part
 * of the pages and says where to go on. */
#include "sink/database.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"
#include "pg/place.h"
#include "sink/embedded_private.h"
#include "sink/postgres_embedded.h"
#include "sink/postgres_target.h"

/* Outbox records, which are entries and their undoing: never a time, so that the same log does the same. */
#define CHECKPOINT_RECORDS 64u
#define VACUUM_RECORDS 1024u

static const struct option database_options[] = {
    {.name = "schema",
     .type = OPTION_STRING,
     .offset = offsetof(struct database_settings, rows.schema),
     .fallback = "public",
     .text = "schema of the tables and of sorex_cursor; made when it is missing"},
    POSTGRES_ROW_OPTIONS(offsetof(struct database_settings, rows)),
    {.name = "memory_max",
     .type = OPTION_BYTES,
     .offset = offsetof(struct database_settings, memory_max),
     .fallback = "2 GiB",
     .min = (uint64_t)256 << 20,
     .text = "memory of PostgreSQL; a statement that wants more fails"},
    {.name = "file_max",
     .type = OPTION_BYTES,
     .offset = offsetof(struct database_settings, file_max),
     .fallback = "8 GiB",
     .min = (uint64_t)64 << 20,
     .text = "all files of the database; a statement that wants more fails"},
    {0}};

struct database_sink {
    struct sink sink;
    struct database_program *program;
    struct embedded *embedded; /* NULL: opened to be checked only */
    struct sink *rows;         /* the PostgreSQL sink on the embedded database */
    uint64_t at;               /* sequence of the cursor */
};

/* ---- open, close ---- */

static void database_sink_close(struct sink *sink)
{
    struct database_sink *own = (struct database_sink *)sink;
    if (own->rows != NULL)
        own->rows->type->close(own->rows);
    embedded_close(own->embedded);
    place_program_give(own->program);
    free(own);
}

static enum sorex_status rows_restore(void *user_data, struct sorex_error *err)
{
    return saved_restore(((struct embedded *)user_data)->saved, err);
}

static enum sorex_status embedded_start(struct database_sink *own, const struct database_settings *settings,
                                        const struct sink_context *context, struct sorex_error *err)
{
    const struct note note = {.pipeline = context->pipeline,
                              .sink = context->name,
                              .guest_inverse = context->guest_inverse,
                              .settings = settings->rows};
    const struct database_options options = {.memory_bytes_max = settings->memory_max,
                                             .file_bytes_max = settings->file_max};
    struct postgres_session *session;
    TRY(place_program_take(context->cache_dir, false, &own->program, err));
    TRY(embedded_new(context->store, own->program, &note, &options, &own->embedded, err));
    struct database *database = saved_database(own->embedded->saved);
    TRY(postgres_embedded_new(database, rows_restore, own->embedded, &session, err));
    return postgres_new(&note.settings, context, session, &own->rows, err);
}

static enum sorex_status settings_check(const struct database_settings *settings, const struct sink_context *context,
                                        struct sorex_error *err)
{
    char dir[PATH_MAX];
    if (context->stream)
        return sorex_error_set(err, SOREX_INVALID,
                               "type database is for chains: a stream has no store to keep the database in; a server "
                               "(type postgres) takes streams");
    TRY(postgres_tables_check(settings->rows.tables, err));
    return place_find(dir, err);
}

static enum sorex_status database_sink_open(const void *settings, const struct sink_context *context, struct sink **out,
                                            struct sorex_error *err)
{
    TRY(settings_check(settings, context, err));
    struct database_sink *own = calloc(1, sizeof *own);
    if (own == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    own->sink.type = &sink_database;
    enum sorex_status status = context->store == NULL ? SOREX_OK : embedded_start(own, settings, context, err);
    if (status != SOREX_OK) {
        database_sink_close(&own->sink);
        return status;
    }
    *out = &own->sink;
    return SOREX_OK;
}

struct embedded *sink_embedded(struct sink *sink)
{
    return sink->type == &sink_database ? ((struct database_sink *)sink)->embedded : NULL;
}

/* ---- batches ---- */

/* Ends what was tried: the database is as it was after the last write. */
static enum sorex_status fail(struct database_sink *own, enum sorex_status status, struct sorex_error *err)
{
    struct sorex_error ignored;
    struct postgres *pg = (struct postgres *)own->rows;
    postgres_session_close(pg->session);
    (void)saved_restore(own->embedded->saved, &ignored); /* if that fails, it is tried when the session is opened */
    if (status == SOREX_LIMIT)
        return sorex_error_prefix(err, "no room in the embedded database (memory_max, file_max)");
    return status;
}

static enum sorex_status schema_make(struct database_sink *own, struct sorex_error *err)
{
    struct postgres *pg = (struct postgres *)own->rows;
    char *schema;
    struct buf sql = {0};
    TRY(postgres_session_open(pg->session, err));
    TRY(postgres_identifier(bytes_str(pg->schema), &schema, err));
    enum sorex_status status = buf_printf(&sql, err, "CREATE SCHEMA IF NOT EXISTS %s", schema);
    if (status == SOREX_OK)
        status = buf_append_u8(&sql, 0, err);
    if (status == SOREX_OK)
        status = postgres_exec(pg->session, (const char *)sql.data, err);
    buf_deinit(&sql);
    free(schema);
    return status;
}

static enum sorex_status cursor_find(struct database_sink *own, struct sink_cursor *out, struct sorex_error *err)
{
    if (saved_version(own->embedded->saved) == 0)
        TRY(schema_make(own, err));
    enum sorex_status status = own->rows->type->cursor(own->rows, out, err);
    own->at = out->sequence;
    /* Its row was made: what comes now can be taken back to there. */
    return status == SOREX_GONE ? embedded_commit(own->embedded, 0, err) : status;
}

static enum sorex_status database_sink_cursor(struct sink *sink, struct sink_cursor *out, struct sorex_error *err)
{
    struct database_sink *own = (struct database_sink *)sink;
    *out = (struct sink_cursor){0};
    (void)pthread_mutex_lock(&own->embedded->work);
    enum sorex_status status = cursor_find(own, out, err);
    if (status != SOREX_OK)
        status = fail(own, status, err);
    (void)pthread_mutex_unlock(&own->embedded->work);
    TRY(status);
    return out->sequence > 0 ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "the database has no cursor yet");
}

/* Those that were written since the sink was opened. */
static enum sorex_status tables_vacuum(struct postgres *pg, struct sorex_error *err)
{
    struct buf sql = {0};
    size_t count = 0;
    enum sorex_status status = buf_append_str(&sql, "VACUUM (ANALYZE) ", err);
    for (size_t i = 0; i < pg->table_count && status == SOREX_OK; i++)
        if (pg->tables[i]->exists)
            status = buf_printf(&sql, err, "%s%s", count++ > 0 ? ", " : "", pg->tables[i]->quoted);
    if (status == SOREX_OK)
        status = buf_append_u8(&sql, 0, err);
    if (status == SOREX_OK && count > 0)
        status = postgres_exec(pg->session, (const char *)sql.data, err);
    buf_deinit(&sql);
    return status;
}

static bool passed(uint64_t from, uint64_t to, uint64_t every) { return from / every != to / every; }

static enum sorex_status batch_apply(struct database_sink *own, const struct sink_batch *batch, struct sorex_error *err)
{
    struct postgres *pg = (struct postgres *)own->rows;
    uint64_t to = batch->cursor.sequence;
    TRY(own->rows->type->apply(own->rows, batch, err));
    if (passed(own->at, to, VACUUM_RECORDS))
        TRY(tables_vacuum(pg, err));
    if (passed(own->at, to, CHECKPOINT_RECORDS))
        TRY(postgres_exec(pg->session, "CHECKPOINT", err));
    return embedded_commit(own->embedded, to, err);
}

static enum sorex_status database_sink_apply(struct sink *sink, const struct sink_batch *batch, struct sorex_error *err)
{
    struct database_sink *own = (struct database_sink *)sink;
    (void)pthread_mutex_lock(&own->embedded->work);
    enum sorex_status status = batch_apply(own, batch, err);
    if (status == SOREX_OK)
        own->at = batch->cursor.sequence;
    else
        status = fail(own, status, err);
    (void)pthread_mutex_unlock(&own->embedded->work);
    return status;
}

const struct sink_type sink_database = {
    .name = "database",
    .summary = "changes to the tables of an embedded PostgreSQL in the data directory, exactly once; no server needed",
    .options = database_options,
    .settings_size = sizeof(struct database_settings),
    .reads_images = true,
    .holds_cursor = true,
    .open = database_sink_open,
    .close = database_sink_close,
    .cursor = database_sink_cursor,
    .apply = database_sink_apply,
};
