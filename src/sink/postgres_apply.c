/* Rows into tables. Per table: removed rows go by arrays of keys or by COPY into a temporary table, changed rows by
 * COPY into another one, from which one DELETE and one INSERT ... ON CONFLICT DO UPDATE go on; rows that the batch
 * creates go by COPY straight into the table.
 *
 * Encoding and sending overlap: rows are sent while later ones are still being read, on the assumption that the table
 * takes them. The first value that does not fit fails the attempt; the next one looks at all values first. */
#include <stdlib.h>

#include "base/check.h"
#include "sink/postgres_target.h"

#define COLLISIONS_MAX 3 /* after that many, creations of this table are written like updates */

/* ---- preparing ---- */

static enum sorex_status table_find(struct postgres *pg, struct bytes name, struct postgres_table **out,
                                    struct sorex_error *err)
{
    for (size_t i = 0; i < pg->table_count; i++) {
        *out = pg->tables[i];
        if (bytes_is(name, (*out)->name))
            return SOREX_OK;
    }
    if (bytes_is(name, "sorex_cursor") || bytes_is(name, "sorex_position") ||
        (pg->dead_table != NULL && bytes_is(name, pg->dead_table)))
        return sorex_error_set(err, SOREX_INVALID, "the table name \"%.*s\" is the sink's own", BYTES_FMT(name));
    struct postgres_table **grown = realloc(pg->tables, (pg->table_count + 1) * sizeof *grown);
    if (grown == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    pg->tables = grown;
    const struct config_node *config = NULL;
    for (const struct config_node *node = pg->config == NULL ? NULL : pg->config->first; node != NULL;
         node = node->next)
        if (bytes_is(name, node->key))
            config = node;
    TRY(postgres_table_new(pg->schema, name, config, (unsigned)pg->table_count, out, err));
    pg->tables[pg->table_count++] = *out;
    return SOREX_OK;
}

static enum sorex_status change_give(struct postgres_table *table, size_t index, struct sorex_error *err)
{
    if (table->change_count == table->change_cap) {
        size_t cap = table->change_cap == 0 ? 256 : table->change_cap * 2;
        size_t *grown = realloc(table->changes, cap * sizeof *grown);
        if (grown == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory");
        table->changes = grown;
        table->change_cap = cap;
    }
    table->changes[table->change_count++] = index;
    return SOREX_OK;
}

/* A row is written as a whole. An event whose source left out values that did not change
 * (header.event.unavailable_columns) has no whole row, and what is missing must not become NULL behind anybody's back.
 */
static enum sorex_status whole_check(struct postgres *pg, const struct change *change, struct sorex_error *err)
{
    static const char member[] = "\"unavailable_columns\"";
    struct json_doc doc;
    if (change->operation == CHANGE_DELETE ||
        memmem(change->raw.data, change->raw.len, member, sizeof member - 1) == NULL)
        return SOREX_OK;
    TRY(json_parse(pg->parser, change->raw, &doc, err));
    const struct json_node *header = json_member(&doc, &doc.nodes[0], "header");
    const struct json_node *event = header == NULL ? NULL : json_member(&doc, header, "event");
    const struct json_node *names = event == NULL ? NULL : json_member(&doc, event, "unavailable_columns");
    const struct json_node *name = names == NULL ? NULL : json_first(&doc, names);
    if (name == NULL)
        return SOREX_OK;
    return sorex_error_set(
        err, SOREX_INVALID,
        "the event has no value for column %.*s, which did not change (unavailable_columns): let its source "
        "send whole rows (PostgreSQL: REPLICA IDENTITY FULL), or drop the event with a filter",
        BYTES_FMT(name->raw));
}

enum sorex_status postgres_tables_prepare(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err)
{
    for (size_t i = 0; i < pg->table_count; i++)
        pg->tables[i]->change_count = 0;
    struct postgres_table *table = NULL;
    for (size_t i = 0; i < batch->count; i++) {
        const struct sink_change *item = &batch->changes[i];
        enum sorex_status status = SOREX_OK;
        if (table == NULL || !bytes_is(item->change.table, table->name))
            status = table_find(pg, item->change.table, &table, err);
        if (status == SOREX_OK && pg->stream)
            status = whole_check(pg, &item->change, err);
        if (status == SOREX_OK)
            status = change_give(table, i, err);
        if (status != SOREX_OK)
            return postgres_row_name(pg, item, err);
    }
    return SOREX_OK;
}

void postgres_tables_forget(struct postgres *pg)
{
    for (size_t i = 0; i < pg->table_count; i++)
        postgres_table_forget(pg->tables[i]);
}

/* ---- rows ---- */

/* Puts a row into the COPY that is open. */
static enum sorex_status row_copy(struct postgres *pg, struct net_row *row, const struct json_doc *image,
                                  struct sorex_error *err)
{
    enum sorex_status status = postgres_part_row(pg, row, image, err);
    row->sent = status == SOREX_OK;
    return status == SOREX_INVALID && !pg->misfit ? postgres_row_name(pg, row->change, err) : status;
}

/* Puts the key of a row that is to go into an array; row->sent stays false when it does not fit there. */
static enum sorex_status row_list(struct postgres *pg, struct net_row *row, const struct json_doc *image,
                                  struct sorex_error *err)
{
    enum sorex_status status = postgres_removed_append(pg, row, image, &row->sent, err);
    return status == SOREX_INVALID && !pg->misfit ? postgres_row_name(pg, row->change, err) : status;
}

static enum sorex_status rows_copy(struct postgres *pg, struct postgres_table *table, size_t from, size_t to,
                                   enum postgres_part part, struct sorex_error *err)
{
    TRY(postgres_part_begin(pg, table, part, err));
    enum sorex_status status = SOREX_OK;
    for (size_t i = from; status == SOREX_OK && i < to; i++) {
        struct net_row *row = &pg->net.rows[i];
        if (!row->sent && row->upsert == (part == POSTGRES_CHANGED))
            status = row_copy(pg, row, NULL, err);
    }
    TRY(postgres_part_end(pg, status, err));
    return postgres_part_apply(pg, table, part, err);
}

/* ---- a table ---- */

/* What can be sent while the changes are still being netted out: rows that the batch creates, or those that it removes.
 */
static enum postgres_part stream_choose(const struct postgres_table *table, const struct sink_batch *batch)
{
    switch (batch->changes[table->changes[0]].change.operation) {
    case CHANGE_CREATE:
        return table->collisions < COLLISIONS_MAX ? POSTGRES_CREATED : POSTGRES_NO_PART;
    case CHANGE_DELETE:
        return POSTGRES_REMOVED;
    case CHANGE_UPDATE:
        break;
    }
    return POSTGRES_NO_PART;
}

/* Nets the changes out. The first change of a row is sent at once when it is of the kind that is streamed; should
 * another one follow, the row is written again by what comes after the stream. */
static enum sorex_status changes_net(struct postgres *pg, struct postgres_table *table, const struct sink_batch *batch,
                                     enum postgres_part stream, struct sorex_error *err)
{
    bool listing = stream == POSTGRES_REMOVED && postgres_removes_by_array(table);
    for (size_t i = 0; i < table->change_count; i++) {
        const struct sink_change *item = &batch->changes[table->changes[i]];
        struct net_added added;
        if (net_add(&pg->net, table, item, &added, err) != SOREX_OK)
            return postgres_row_name(pg, item, err);
        if (stream == POSTGRES_NO_PART || added.row == NULL || !added.first ||
            added.row->upsert != (stream == POSTGRES_CREATED))
            continue;
        const struct json_doc *image = table->keyed ? &added.image : NULL;
        TRY(listing ? row_list(pg, added.row, image, err) : row_copy(pg, added.row, image, err));
    }
    return SOREX_OK;
}

static enum sorex_status table_net(struct postgres *pg, struct postgres_table *table, const struct sink_batch *batch,
                                   enum postgres_part stream, struct sorex_error *err)
{
    TRY(net_begin(&pg->net, table->change_count, err));
    postgres_removed_begin(pg, table);
    pg->in_rows = stream != POSTGRES_NO_PART;
    if (stream == POSTGRES_NO_PART || (stream == POSTGRES_REMOVED && postgres_removes_by_array(table)))
        return changes_net(pg, table, batch, stream, err);
    pg->collided = stream == POSTGRES_CREATED;
    TRY(postgres_part_begin(pg, table, stream, err));
    TRY(postgres_part_end(pg, changes_net(pg, table, batch, stream, err), err));
    pg->collided = false;
    return stream == POSTGRES_REMOVED ? postgres_part_apply(pg, table, stream, err) : SOREX_OK;
}

static enum sorex_status table_fit(struct postgres *pg, struct postgres_table *table, struct sorex_error *err)
{
    postgres_table_forget(table);
    TRY(postgres_table_load(pg->session, table, err));
    for (size_t i = 0; i < pg->net.count; i++) {
        const struct net_row *row = &pg->net.rows[i];
        if (!row->upsert && !table->keyed)
            continue;
        struct json_doc doc;
        enum sorex_status status = SOREX_OK;
        if (row->parsed == NULL)
            status = json_parse(pg->parser, row->image, &doc, err);
        if (status == SOREX_OK)
            status = postgres_table_need(table, row->parsed == NULL ? &doc : row->parsed, err);
        if (status != SOREX_OK)
            return postgres_row_name(pg, row->change, err);
    }
    if (postgres_table_fit(pg->session, table, pg->create, err) != SOREX_OK)
        return sorex_error_prefix(err, "table \"%s\"", table->name);
    return SOREX_OK;
}

static enum sorex_status rows_remove(struct postgres *pg, struct postgres_table *table, size_t from, size_t to,
                                     struct sorex_error *err)
{
    bool by_array = postgres_removes_by_array(table);
    bool left = false;
    for (size_t i = from; i < to; i++) {
        struct net_row *row = &pg->net.rows[i];
        if (row->sent || row->upsert)
            continue;
        if (by_array)
            TRY(row_list(pg, row, NULL, err));
        left = left || !row->sent;
    }
    TRY(postgres_removed_finish(pg, err));
    return left ? rows_copy(pg, table, from, to, POSTGRES_REMOVED, err) : SOREX_OK;
}

/* Everything that was not streamed. */
static enum sorex_status table_rows(struct postgres *pg, struct postgres_table *table, size_t from, size_t to,
                                    struct sorex_error *err)
{
    pg->in_rows = true;
    TRY(rows_remove(pg, table, from, to, err));
    for (size_t i = from; i < to; i++)
        if (!pg->net.rows[i].sent && pg->net.rows[i].upsert)
            return rows_copy(pg, table, from, to, POSTGRES_CHANGED, err);
    return SOREX_OK;
}

static enum sorex_status table_write(struct postgres *pg, struct postgres_table *table, const struct sink_batch *batch,
                                     const struct postgres_scope *scope, bool fit, struct sorex_error *err)
{
    if (!fit && !table->loaded) {
        pg->misfit = true;
        return sorex_error_set(err, SOREX_INVALID, "table %s has to be made to fit", table->quoted);
    }
    enum postgres_part stream = fit ? POSTGRES_NO_PART : stream_choose(table, batch);
    enum sorex_status status = table_net(pg, table, batch, stream, err);
    if (status == SOREX_IO && pg->collided && strcmp(pg->session->sqlstate, "23505") == 0)
        table->collisions++;
    TRY(status);
    if (fit)
        TRY(table_fit(pg, table, err));
    size_t to = scope == NULL || scope->to > pg->net.count ? pg->net.count : scope->to;
    return table_rows(pg, table, scope == NULL ? 0 : scope->from, to, err);
}

enum sorex_status postgres_tables_write(struct postgres *pg, const struct sink_batch *batch,
                                        const struct postgres_scope *scope, bool fit, struct sorex_error *err)
{
    pg->misfit = pg->named = pg->in_rows = pg->collided = false;
    pg->careful = fit;
    /* Nobody else's DDL in between: two sinks may share a schema. The lock ends with the transaction. */
    if (fit)
        TRY(postgres_exec(pg->session, "SELECT pg_catalog.pg_advisory_xact_lock(7307498, 1)", err));
    for (size_t i = 0; i < pg->table_count; i++) {
        struct postgres_table *table = pg->tables[i];
        if (table->change_count > 0 && (scope == NULL || scope->table == table))
            TRY(table_write(pg, table, batch, scope, fit, err));
    }
    return SOREX_OK;
}
