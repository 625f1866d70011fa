/* Rows into tables. Per table: removed rows and changed rows go by COPY into two temporary tables, then one DELETE and
 * one INSERT ... ON CONFLICT DO UPDATE; rows that the batch creates go by COPY straight into the table.
 *
 * Encoding and sending overlap: rows are sent while later ones are still being read, on the assumption that the table
 * takes them. The first value that does not fit fails the attempt; the next one looks at all values first. */
#include <stdlib.h>

#include "base/check.h"
#include "sink/postgres_target.h"

#define CHUNK_BYTES ((size_t)64 << 10)
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
    if (bytes_is(name, "sorex_cursor"))
        return sorex_error_set(err, SOREX_INVALID, "the table name \"sorex_cursor\" is the sink's own");
    struct postgres_table **grown = realloc(pg->tables, (pg->table_count + 1) * sizeof *grown);
    if (grown == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    pg->tables = grown;
    const struct config_node *config = NULL;
    for (const struct config_node *node = pg->config == NULL ? NULL : pg->config->first; node != NULL;
         node = node->next)
        if (bytes_is(name, node->key))
            config = node;
    TRY(postgres_table_new(&pg->session, pg->schema, name, config, (unsigned)pg->table_count, out, err));
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

/* ---- the statements around it ---- */

/* "a, b" of the written columns, or of the key's. */
static enum sorex_status columns_append(const struct postgres_table *table, bool keys_only, struct buf *sql,
                                        struct sorex_error *err)
{
    size_t count = keys_only ? table->key_count : table->column_count;
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        const struct postgres_column *column = &table->columns[keys_only ? table->keys[i] : i];
        if (!keys_only && !postgres_column_written(column))
            continue;
        TRY(buf_printf(sql, err, "%s%s", first ? "" : ", ", column->quoted));
        first = false;
    }
    return SOREX_OK;
}

static enum sorex_status sql_run(struct postgres *pg, struct buf *sql, enum sorex_status status,
                                 struct sorex_error *err)
{
    if (status == SOREX_OK)
        status = buf_append_u8(sql, 0, err);
    if (status == SOREX_OK)
        status = postgres_exec(&pg->session, (const char *)sql->data, err);
    buf_deinit(sql);
    return status;
}

static enum sorex_status stage_sql(const struct postgres_table *table, const char *kind, bool keys_only,
                                   struct buf *sql, struct sorex_error *err)
{
    TRY(buf_printf(sql, err,
                   "DROP TABLE IF EXISTS pg_temp.sorex_%s_%u; "
                   "CREATE TEMP TABLE sorex_%s_%u ON COMMIT DELETE ROWS AS SELECT ",
                   kind, table->number, kind, table->number));
    TRY(columns_append(table, keys_only, sql, err));
    return buf_printf(sql, err, " FROM %s WITH NO DATA;", table->quoted);
}

static enum sorex_status stage(struct postgres *pg, struct postgres_table *table, struct sorex_error *err)
{
    if (table->staged == pg->session.opened)
        return SOREX_OK;
    struct buf sql = {0};
    enum sorex_status status = stage_sql(table, "changed", false, &sql, err);
    if (status == SOREX_OK)
        status = stage_sql(table, "removed", true, &sql, err);
    TRY(sql_run(pg, &sql, status, err));
    table->staged = pg->session.opened;
    return SOREX_OK;
}

/* A key of one column is compared with an array, which PostgreSQL looks up in key order: 1.5 times as fast as the join.
 */
static enum sorex_status delete_sql(const struct postgres_table *table, struct buf *sql, struct sorex_error *err)
{
    if (table->key_count == 1) {
        const char *key = table->columns[table->keys[0]].quoted;
        return buf_printf(sql, err, "DELETE FROM %s WHERE %s = ANY (ARRAY(SELECT %s FROM pg_temp.sorex_removed_%u))",
                          table->quoted, key, key, table->number);
    }
    TRY(buf_printf(sql, err, "DELETE FROM %s t USING pg_temp.sorex_removed_%u s WHERE ", table->quoted, table->number));
    for (size_t i = 0; i < table->key_count; i++) {
        const char *key = table->columns[table->keys[i]].quoted;
        TRY(buf_printf(sql, err, "%st.%s = s.%s", i == 0 ? "" : " AND ", key, key));
    }
    return SOREX_OK;
}

static enum sorex_status upsert_sql(const struct postgres_table *table, struct buf *sql, struct sorex_error *err)
{
    TRY(buf_printf(sql, err, "INSERT INTO %s (", table->quoted));
    TRY(columns_append(table, false, sql, err));
    TRY(buf_append_str(sql, ") SELECT ", err));
    TRY(columns_append(table, false, sql, err));
    TRY(buf_printf(sql, err, " FROM pg_temp.sorex_changed_%u ON CONFLICT (", table->number));
    TRY(columns_append(table, true, sql, err));
    TRY(buf_append_str(sql, ") DO ", err));
    bool first = true;
    for (size_t i = 0; i < table->column_count; i++) {
        const struct postgres_column *column = &table->columns[i];
        if (!postgres_column_written(column) || postgres_is_key(table, i))
            continue;
        TRY(buf_printf(sql, err, "%s%s = excluded.%s", first ? "UPDATE SET " : ", ", column->quoted, column->quoted));
        first = false;
    }
    return first ? buf_append_str(sql, "NOTHING", err) : SOREX_OK;
}

/* ---- COPY ---- */

enum part { PART_NONE, PART_CREATED, PART_CHANGED, PART_REMOVED };

static enum sorex_status copy_begin(struct postgres *pg, const struct postgres_table *table, enum part part,
                                    struct sorex_error *err)
{
    struct buf sql = {0};
    enum sorex_status status;
    if (part == PART_CREATED)
        status = buf_printf(&sql, err, "COPY %s (", table->quoted);
    else
        status = buf_printf(&sql, err, "COPY pg_temp.sorex_%s_%u (", part == PART_REMOVED ? "removed" : "changed",
                            table->number);
    if (status == SOREX_OK)
        status = columns_append(table, part == PART_REMOVED, &sql, err);
    if (status == SOREX_OK)
        status = buf_append(&sql, bytes_of(") FROM STDIN", sizeof ") FROM STDIN"), err);
    if (status == SOREX_OK)
        status = postgres_copy_begin(&pg->session, (const char *)sql.data, err);
    buf_deinit(&sql);
    buf_reset(&pg->out);
    return status;
}

/* Sends what has gathered, when it is enough. */
static enum sorex_status copy_push(struct postgres *pg, size_t enough, struct sorex_error *err)
{
    if (pg->out.len < enough)
        return SOREX_OK;
    TRY(postgres_copy_put(&pg->session, buf_view(&pg->out), err));
    buf_reset(&pg->out);
    return SOREX_OK;
}

static enum sorex_status copy_finish(struct postgres *pg, enum sorex_status status, struct sorex_error *err)
{
    if (status == SOREX_OK)
        status = copy_push(pg, 1, err);
    if (status == SOREX_OK)
        return postgres_copy_end(&pg->session, err);
    postgres_copy_abandon(&pg->session);
    return status;
}

static enum sorex_status row_send(struct postgres *pg, const struct net_row *row, const struct json_doc *image,
                                  struct sorex_error *err)
{
    bool listed = !row->upsert && postgres_removes_by_array(row->table);
    enum sorex_status status =
        listed ? postgres_removed_append(pg, row, image, err) : postgres_row_append(pg, row, image, err);
    if (status != SOREX_OK)
        return pg->misfit ? status : postgres_row_name(pg, row->change, err);
    if (listed)
        return SOREX_OK;
    return copy_push(pg, CHUNK_BYTES, err);
}

static enum sorex_status rows_send(struct postgres *pg, size_t from, size_t to, enum part part, struct sorex_error *err)
{
    for (size_t i = from; i < to; i++) {
        const struct net_row *row = &pg->net.rows[i];
        if (!row->sent && row->upsert == (part == PART_CHANGED))
            TRY(row_send(pg, row, NULL, err));
    }
    return SOREX_OK;
}

/* ---- a table ---- */

/* What can be sent while the changes are still being netted out: rows that the batch creates, or those that it removes.
 */
static enum part stream_choose(const struct postgres_table *table, const struct sink_batch *batch)
{
    switch (batch->changes[table->changes[0]].change.operation) {
    case CHANGE_CREATE:
        return table->collisions < COLLISIONS_MAX ? PART_CREATED : PART_NONE;
    case CHANGE_DELETE:
        return PART_REMOVED;
    case CHANGE_UPDATE:
        break;
    }
    return PART_NONE;
}

/* Nets the changes out. The first change of a row is sent at once when it is of the kind that is streamed; should
 * another one follow, the row is written again by what comes after the stream. */
static enum sorex_status changes_net(struct postgres *pg, struct postgres_table *table, const struct sink_batch *batch,
                                     enum part stream, struct sorex_error *err)
{
    for (size_t i = 0; i < table->change_count; i++) {
        const struct sink_change *item = &batch->changes[table->changes[i]];
        struct net_added added;
        if (net_add(&pg->net, table, item, &added, err) != SOREX_OK)
            return postgres_row_name(pg, item, err);
        if (stream == PART_NONE || added.row == NULL || !added.first || added.row->upsert != (stream == PART_CREATED))
            continue;
        TRY(row_send(pg, added.row, table->keyed ? &added.image : NULL, err));
        added.row->sent = true;
    }
    return SOREX_OK;
}

static enum sorex_status table_net(struct postgres *pg, struct postgres_table *table, const struct sink_batch *batch,
                                   enum part stream, struct sorex_error *err)
{
    TRY(net_begin(&pg->net, table->change_count, err));
    buf_reset(&pg->removed);
    if (stream == PART_NONE || (stream == PART_REMOVED && postgres_removes_by_array(table)))
        return changes_net(pg, table, batch, stream, err);
    pg->in_rows = true;
    if (stream == PART_REMOVED)
        TRY(stage(pg, table, err));
    pg->collided = stream == PART_CREATED;
    TRY(copy_begin(pg, table, stream, err));
    TRY(copy_finish(pg, changes_net(pg, table, batch, stream, err), err));
    pg->collided = false;
    return SOREX_OK;
}

static enum sorex_status table_fit(struct postgres *pg, struct postgres_table *table, struct sorex_error *err)
{
    postgres_table_forget(table);
    TRY(postgres_table_load(&pg->session, table, err));
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
    if (postgres_table_fit(&pg->session, table, pg->create, err) != SOREX_OK)
        return sorex_error_prefix(err, "table \"%s\"", table->name);
    return SOREX_OK;
}

static enum sorex_status rows_copy(struct postgres *pg, struct postgres_table *table, size_t from, size_t to,
                                   enum part part, struct sorex_error *err)
{
    TRY(stage(pg, table, err));
    TRY(copy_begin(pg, table, part, err));
    return copy_finish(pg, rows_send(pg, from, to, part, err), err);
}

/* Removes the rows that are to go: those not streamed, and those that were, in which case `streamed` says so. */
static enum sorex_status rows_remove(struct postgres *pg, struct postgres_table *table, size_t from, size_t to,
                                     size_t removed, bool streamed, struct sorex_error *err)
{
    if (postgres_removes_by_array(table)) {
        TRY(rows_send(pg, from, to, PART_REMOVED, err));
        return postgres_removed_run(pg, table, err);
    }
    struct buf sql = {0};
    if (removed > 0)
        TRY(rows_copy(pg, table, from, to, PART_REMOVED, err));
    if (removed > 0 || streamed)
        TRY(sql_run(pg, &sql, delete_sql(table, &sql, err), err));
    return SOREX_OK;
}

/* Everything that was not streamed. removing: rows to remove were. */
static enum sorex_status table_rows(struct postgres *pg, struct postgres_table *table, size_t from, size_t to,
                                    bool removing, struct sorex_error *err)
{
    size_t changed = 0;
    size_t removed = 0;
    for (size_t i = from; i < to; i++) {
        changed += !pg->net.rows[i].sent && pg->net.rows[i].upsert;
        removed += !pg->net.rows[i].sent && !pg->net.rows[i].upsert;
    }
    pg->in_rows = true;
    struct buf sql = {0};
    TRY(rows_remove(pg, table, from, to, removed, removing, err));
    if (changed == 0)
        return SOREX_OK;
    TRY(rows_copy(pg, table, from, to, PART_CHANGED, err));
    return sql_run(pg, &sql, upsert_sql(table, &sql, err), err);
}

static enum sorex_status table_write(struct postgres *pg, struct postgres_table *table, const struct sink_batch *batch,
                                     const struct postgres_scope *scope, bool fit, struct sorex_error *err)
{
    if (!fit && !table->loaded) {
        pg->misfit = true;
        return sorex_error_set(err, SOREX_INVALID, "table %s has to be made to fit", table->quoted);
    }
    enum part stream = fit ? PART_NONE : stream_choose(table, batch);
    enum sorex_status status = table_net(pg, table, batch, stream, err);
    if (status == SOREX_IO && pg->collided && strcmp(pg->session.sqlstate, "23505") == 0)
        table->collisions++;
    TRY(status);
    if (fit)
        TRY(table_fit(pg, table, err));
    size_t to = scope == NULL || scope->to > pg->net.count ? pg->net.count : scope->to;
    return table_rows(pg, table, scope == NULL ? 0 : scope->from, to, stream == PART_REMOVED, err);
}

enum sorex_status postgres_tables_write(struct postgres *pg, const struct sink_batch *batch,
                                        const struct postgres_scope *scope, bool fit, struct sorex_error *err)
{
    pg->misfit = pg->named = pg->in_rows = pg->collided = false;
    /* Nobody else's DDL in between: two sinks may share a schema. The lock ends with the transaction. */
    if (fit)
        TRY(postgres_exec(&pg->session, "SELECT pg_catalog.pg_advisory_xact_lock(7307498, 1)", err));
    for (size_t i = 0; i < pg->table_count; i++) {
        struct postgres_table *table = pg->tables[i];
        if (table->change_count > 0 && (scope == NULL || scope->table == table))
            TRY(table_write(pg, table, batch, scope, fit, err));
    }
    return SOREX_OK;
}
