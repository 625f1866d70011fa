/* A stream's positions: (pipeline, sink, partition) -> offset, number, check, in SCHEMA.sorex_position. A row is there
 * from the first look at its partition, without an offset, so that a transaction always has something to lock.
 * Processes that deliver other partitions lock other rows: they do not wait for each other. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "sink/postgres_target.h"

#define TABLE "sorex_position"

static enum sorex_status table_ready(struct postgres *pg, struct sorex_error *err)
{
    bool exists;
    if (pg->positions_checked == pg->session->opened)
        return SOREX_OK;
    TRY(postgres_table_exists(pg, TABLE, &exists, err));
    if (!exists)
        TRY(postgres_own_table(pg, TABLE,
                               "pipeline text, sink text, partition text, \"offset\" bigint, number bigint, "
                               "\"check\" text, updated timestamptz NOT NULL DEFAULT now(), "
                               "PRIMARY KEY (pipeline, sink, partition)",
                               err));
    pg->positions_checked = pg->session->opened;
    return SOREX_OK;
}

/* Columns offset, number, check of a row. *out_found is false when there is no offset yet. */
static enum sorex_status position_take(const struct postgres_rows *rows, size_t row, struct position *out,
                                       bool *out_found, struct sorex_error *err)
{
    *out = (struct position){0};
    *out_found = row < rows->count && !postgres_null(rows, row, 0);
    if (!*out_found)
        return SOREX_OK;
    const char *check = postgres_value(rows, row, 2);
    char *end;
    out->offset = strtoull(postgres_value(rows, row, 0), NULL, 10);
    out->number = strtoull(postgres_value(rows, row, 1), NULL, 10);
    out->check = strtoull(check, &end, 16);
    if (strlen(check) != 16 || *end != '\0' || postgres_null(rows, row, 1))
        return sorex_error_set(err, SOREX_CORRUPT, "a row of " TABLE " is no position: check must be 16 hex digits");
    return SOREX_OK;
}

/* A position that begins must not stand beside a chain's cursor. */
static enum sorex_status chain_refuse(struct postgres *pg, struct sorex_error *err)
{
    bool chain;
    TRY(postgres_cursor_known(pg, &chain, err));
    if (!chain)
        return SOREX_OK;
    return sorex_error_set(
        err, SOREX_MISMATCH,
        "pipeline \"%s\", sink \"%s\" has a row in %s.sorex_cursor, so it followed a chain; this one follows a "
        "stream. Choices: give the pipeline or the sink another name; or delete that row and what it wrote",
        pg->pipeline, pg->name, pg->schema);
}

static enum sorex_status row_make(struct postgres *pg, const char *partition, struct sorex_error *err)
{
    const char *more[] = {partition};
    const struct postgres_statement insert = {
        "INSERT INTO", TABLE, "(pipeline, sink, partition) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", 1, more};
    return postgres_own_query(pg, &insert, NULL, err);
}

enum sorex_status postgres_position_read(struct sink *sink, const char *partition, void *group, struct position *out,
                                         struct sorex_error *err)
{
    (void)group;
    struct postgres *pg = (struct postgres *)sink;
    TRY(postgres_session_open(pg->session, err));
    postgres_rollback(pg->session);
    postgres_tables_forget(pg);
    TRY(postgres_session_open(pg->session, err));
    TRY(table_ready(pg, err));
    const char *more[] = {partition};
    const struct postgres_statement select = {"SELECT \"offset\", number, \"check\" FROM", TABLE,
                                              "WHERE pipeline = $1 AND sink = $2 AND partition = $3", 1, more};
    struct postgres_rows rows = {0};
    bool found = false;
    enum sorex_status status = postgres_own_query(pg, &select, &rows, err);
    bool made = rows.count == 1;
    if (status == SOREX_OK)
        status = position_take(&rows, 0, out, &found, err);
    postgres_rows_deinit(&rows);
    TRY(status);
    if (!found)
        TRY(chain_refuse(pg, err));
    if (!made)
        TRY(row_make(pg, partition, err));
    return found ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "the target has nothing of %s yet", partition);
}

enum sorex_status postgres_positions_known(struct postgres *pg, bool *out, struct sorex_error *err)
{
    *out = false;
    bool exists;
    TRY(postgres_table_exists(pg, TABLE, &exists, err));
    if (!exists)
        return SOREX_OK;
    const struct postgres_statement select = {
        "SELECT 1 FROM", TABLE, "WHERE pipeline = $1 AND sink = $2 AND \"offset\" IS NOT NULL LIMIT 1", 0, NULL};
    struct postgres_rows rows = {0};
    enum sorex_status status = postgres_own_query(pg, &select, &rows, err);
    *out = rows.count > 0;
    postgres_rows_deinit(&rows);
    return status;
}

/* ---- in the batch's transaction ---- */

static enum sorex_status element_append(struct buf *array, const char *text, struct sorex_error *err)
{
    TRY(buf_append_str(array, array->len == 0 ? "{\"" : ",\"", err));
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            TRY(buf_append_u8(array, '\\', err));
        TRY(buf_append_u8(array, (uint8_t)*text, err));
    }
    return buf_append_u8(array, '"', err);
}

static enum sorex_status array_end(struct buf *array, struct sorex_error *err)
{
    TRY(buf_append_str(array, array->len == 0 ? "{}" : "}", err));
    return buf_append_u8(array, 0, err);
}

static enum sorex_status names_make(const struct sink_batch *batch, struct buf *out, struct sorex_error *err)
{
    for (size_t i = 0; i < batch->position_count; i++)
        TRY(element_append(out, batch->positions[i].partition, err));
    return array_end(out, err);
}

/* Columns offset, number, check, and the place in the batch from 1. */
static enum sorex_status positions_compare(const struct postgres *pg, const struct sink_batch *batch,
                                           const struct postgres_rows *rows, struct sorex_error *err)
{
    size_t same = 0;
    for (size_t row = 0; row < rows->count; row++) {
        struct position now;
        bool found;
        TRY(position_take(rows, row, &now, &found, err));
        size_t place = (size_t)strtoull(postgres_value(rows, row, 3), NULL, 10);
        CHECK(place > 0 && place <= batch->position_count);
        const struct sink_position *wanted = &batch->positions[place - 1];
        same += wanted->first ? !found : found && position_equal(&now, &wanted->from);
    }
    if (same == batch->position_count)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_AGAIN,
                           "somebody else moved a position of pipeline \"%s\", sink \"%s\": is another sorex running "
                           "with it?",
                           pg->pipeline, pg->name);
}

enum sorex_status postgres_positions_lock(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err)
{
    struct buf names = {0};
    struct postgres_rows rows = {0};
    enum sorex_status status = names_make(batch, &names, err);
    const char *more[] = {(const char *)names.data};
    const struct postgres_statement select = {
        "SELECT p.\"offset\", p.number, p.\"check\", u.place FROM", TABLE,
        "p JOIN unnest($3::text[]) WITH ORDINALITY AS u (partition, place) ON u.partition = p.partition "
        "WHERE p.pipeline = $1 AND p.sink = $2 ORDER BY p.partition FOR UPDATE OF p",
        1, more};
    if (status == SOREX_OK)
        status = postgres_own_query(pg, &select, &rows, err);
    if (status == SOREX_OK)
        status = positions_compare(pg, batch, &rows, err);
    postgres_rows_deinit(&rows);
    buf_deinit(&names);
    return status;
}

struct columns {
    struct buf names, offsets, numbers, checks;
};

static enum sorex_status columns_make(const struct sink_batch *batch, struct columns *out, struct sorex_error *err)
{
    char text[24];
    TRY(names_make(batch, &out->names, err));
    for (size_t i = 0; i < batch->position_count; i++) {
        const struct position *to = &batch->positions[i].to;
        (void)snprintf(text, sizeof text, "%" PRIu64, to->offset);
        TRY(element_append(&out->offsets, text, err));
        (void)snprintf(text, sizeof text, "%" PRIu64, to->number);
        TRY(element_append(&out->numbers, text, err));
        (void)snprintf(text, sizeof text, "%016" PRIx64, to->check);
        TRY(element_append(&out->checks, text, err));
    }
    TRY(array_end(&out->offsets, err));
    TRY(array_end(&out->numbers, err));
    return array_end(&out->checks, err);
}

enum sorex_status postgres_positions_move(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err)
{
    struct columns columns = {0};
    enum sorex_status status = columns_make(batch, &columns, err);
    const char *more[] = {(const char *)columns.names.data, (const char *)columns.offsets.data,
                          (const char *)columns.numbers.data, (const char *)columns.checks.data};
    const struct postgres_statement update = {
        "UPDATE", TABLE,
        "p SET \"offset\" = u.o, number = u.n, \"check\" = u.c, updated = now() "
        "FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::text[]) AS u (partition, o, n, c) "
        "WHERE p.pipeline = $1 AND p.sink = $2 AND p.partition = u.partition",
        4, more};
    if (status == SOREX_OK)
        status = postgres_own_query(pg, &update, NULL, err);
    buf_deinit(&columns.names);
    buf_deinit(&columns.offsets);
    buf_deinit(&columns.numbers);
    buf_deinit(&columns.checks);
    return status;
}
