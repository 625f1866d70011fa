/* Forks are made outside of the locks: from the snapshot of the last commit, which stays as it is while the sink goes
 * on. An earlier height is a fork on which the sink's own code applies the inverse changes. */
#include <stdlib.h>

#include "base/check.h"
#include "sink/embedded_private.h"
#include "sink/feed.h"
#include "sink/postgres_embedded.h"
#include "sink/postgres_target.h"

#define BACK_CHANGES_MAX 10000u
#define BACK_BYTES_MAX ((uint64_t)8 << 20)

/* ---- the newest state ---- */

static bool newest_keep(struct embedded *embedded, struct snapshot **out, struct note *out_note)
{
    (void)pthread_mutex_lock(&embedded->lock);
    *out = embedded->newest;
    *out_note = embedded->note;
    if (*out != NULL)
        snapshot_keep(*out);
    (void)pthread_mutex_unlock(&embedded->lock);
    return *out != NULL;
}

/* Before the first commit of this process there is no snapshot yet: the database itself is at rest. */
static enum sorex_status newest_take(struct embedded *embedded, struct snapshot **out, struct note *out_note,
                                     struct sorex_error *err)
{
    if (newest_keep(embedded, out, out_note))
        return SOREX_OK;
    struct snapshot *snapshot = NULL;
    enum sorex_status status = SOREX_OK;
    (void)pthread_mutex_lock(&embedded->work);
    (void)pthread_mutex_lock(&embedded->lock);
    if (embedded->newest == NULL)
        status = database_save(saved_database(embedded->saved), &snapshot, err);
    if (snapshot != NULL)
        embedded->newest = snapshot;
    (void)pthread_mutex_unlock(&embedded->lock);
    (void)pthread_mutex_unlock(&embedded->work);
    TRY(status);
    CHECK(newest_keep(embedded, out, out_note));
    return SOREX_OK;
}

/* Up to which height the newest state is right: entries behind the last record have changed nothing, if that record is
 * the outbox's last one. */
static uint32_t newest_height(struct embedded *embedded, const struct note *note)
{
    struct store_heights heights;
    uint64_t first, head;
    store_heights(embedded->store, &heights);
    store_outbox_range(embedded->store, &first, &head);
    return head == note->sequence && heights.durable != SOREX_HEIGHT_NONE ? heights.durable : note->height;
}

/* ---- earlier states ---- */

static enum sorex_status no_way_back(void *user_data, struct sorex_error *err)
{
    (void)user_data;
    return sorex_error_set(err, SOREX_INVALID, "the inverse changes do not fit the database: did somebody change it?");
}

static enum sorex_status log_cut(struct postgres *pg, uint64_t sequence, struct sorex_error *err)
{
    char *table;
    struct buf sql = {0};
    TRY(postgres_qualified(pg, pg->log_table, &table, err));
    enum sorex_status status =
        buf_printf(&sql, err, "DELETE FROM %s WHERE sequence > %llu", table, (unsigned long long)sequence);
    if (status == SOREX_OK)
        status = buf_append_u8(&sql, 0, err);
    if (status == SOREX_OK)
        status = postgres_exec(pg->session, (const char *)sql.data, err);
    buf_deinit(&sql);
    free(table);
    return status;
}

static enum sorex_status batches_apply(struct sink *sink, struct feed *feed, uint32_t height, struct sorex_error *err)
{
    struct postgres *pg = (struct postgres *)sink;
    bool done = false;
    while (!done) {
        struct sink_batch batch;
        TRY(feed_back(feed, height, &batch, &done, err));
        if (pg->log)
            batch.count = 0; /* the log of then: without the rows that came later */
        if (pg->log && done)
            TRY(log_cut(pg, batch.cursor.sequence, err));
        if (!pg->log || done)
            TRY(sink->type->apply(sink, &batch, err));
    }
    return SOREX_OK;
}

static enum sorex_status sink_back(struct embedded *embedded, struct sink *sink, const struct note *note,
                                   uint32_t height, struct sorex_error *err)
{
    struct sink_cursor cursor;
    struct feed *feed = NULL;
    const struct feed_options options = {.changes_max = BACK_CHANGES_MAX, .bytes_max = BACK_BYTES_MAX, .images = true};
    TRY(sink->type->cursor(sink, &cursor, err));
    if (cursor.sequence != note->sequence)
        return sorex_error_set(err, SOREX_CORRUPT, "the database's cursor is at %llu, its note says %llu",
                               (unsigned long long)cursor.sequence, (unsigned long long)note->sequence);
    TRY(feed_new(embedded->store, &options, &feed, err));
    feed_seek(feed, note->sequence);
    enum sorex_status status = batches_apply(sink, feed, height, err);
    feed_free(feed);
    return status;
}

static enum sorex_status database_back(struct embedded *embedded, struct database *database, const struct note *note,
                                       uint32_t height, struct sorex_error *err)
{
    const struct sink_context context = {.name = note->sink, .pipeline = note->pipeline, .base_dir = "."};
    struct postgres_session *session;
    struct sink *sink;
    if (note->guest_inverse != 0)
        return sorex_error_set(
            err, SOREX_INVALID,
            "height %u: a program makes its inverses itself (inverse: guest), so the state at earlier "
            "heights is not known",
            height);
    TRY(postgres_embedded_new(database, no_way_back, NULL, &session, err));
    TRY(postgres_new(&note->settings, &context, session, &sink, err));
    enum sorex_status status = sink_back(embedded, sink, note, height, err);
    sink->type->close(sink);
    return status;
}

static enum sorex_status height_find(struct embedded *embedded, const struct note *note, uint32_t wanted, uint32_t *out,
                                     struct sorex_error *err)
{
    struct store_heights heights;
    uint32_t newest = newest_height(embedded, note);
    store_heights(embedded->store, &heights);
    *out = wanted == SOREX_HEIGHT_NONE ? newest : wanted;
    if (*out == newest)
        return SOREX_OK;
    if (newest == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_GONE, "height %u: nothing was applied yet", wanted);
    if (wanted > newest)
        return sorex_error_set(err, SOREX_GONE, "height %u: the database is at height %u", wanted, newest);
    if (heights.first != SOREX_HEIGHT_NONE && wanted < heights.first)
        return sorex_error_set(err, SOREX_GONE, "height %u: the first entry is at height %u", wanted, heights.first);
    return SOREX_OK;
}

/* ---- forks ---- */

/* The sink's settings, prepared statement and temporary tables are not the caller's. */
static enum sorex_status session_clear(struct database *database, struct sorex_error *err)
{
    struct results results;
    results_init(&results, 0);
    enum sorex_status status = database_exec(database, "DISCARD ALL", &results, err);
    if (status == SOREX_OK && results.error != NULL)
        status = result_error(results.error, err);
    results_deinit(&results);
    return status;
}

enum sorex_status embedded_fork(struct embedded *embedded, uint32_t height, struct database **out, uint32_t *out_height,
                                struct sorex_error *err)
{
    struct snapshot *snapshot;
    struct note note;
    uint32_t at = 0;
    struct database *database = NULL;
    TRY(newest_take(embedded, &snapshot, &note, err));
    enum sorex_status status = height_find(embedded, &note, height, &at, err);
    if (status == SOREX_OK)
        status = database_fork(saved_database(embedded->saved), snapshot, &database, err);
    snapshot_drop(snapshot);
    if (status == SOREX_OK && at < note.height && note.height != SOREX_HEIGHT_NONE)
        status = database_back(embedded, database, &note, at, err);
    if (status == SOREX_OK)
        status = session_clear(database, err);
    if (status != SOREX_OK) {
        database_close(database);
        return status;
    }
    if (out_height != NULL)
        *out_height = at;
    *out = database;
    return SOREX_OK;
}
