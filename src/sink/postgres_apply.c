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

/* ---- preparing
 * ---------------------------------------------------------------------------------------------------------- */

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

static enum sorex_status rows_share(struct postgres *pg, struct sorex_error *err)
{
    for (size_t i = 0; i < pg->net.count; i++) {
        struct postgres_table *table = pg->net.rows[i].table;
        if (table->row_count == table->row_cap) {
            size_t cap = table->row_cap == 0 ? 256 : table->row_cap * 2;
            size_t *grown = realloc(table->rows, cap * sizeof *grown);
            if (grown == NULL)
                return sorex_error_set(err, SOREX_NOMEM, "out of memory");
            table->rows = grown;
            table->row_cap = cap;
        }
        table->rows[table->row_count++] = i;
    }
    return SOREX_OK;
}

enum sorex_status postgres_tables_prepare(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err)
{
    for (size_t i = 0; i < pg->table_count; i++)
        pg->tables[i]->row_count = 0;
    TRY(net_begin(&pg->net, batch->count, err));
    struct postgres_table *table = NULL;
    for (size_t i = 0; i < batch->count; i++) {
        const struct sink_change *item = &batch->changes[i];
        enum sorex_status status = SOREX_OK;
        if (table == NULL || !bytes_is(item->change.table, table->name))
            status = table_find(pg, item->change.table, &table, err);
        if (status == SOREX_OK)
            status = net_add(&pg->net, table, item, err);
        if (status != SOREX_OK)
            return postgres_row_name(pg, item, err);
    }
    return rows_share(pg, err);
}

void postgres_tables_forget(struct postgres *pg)
{
    for (size_t i = 0; i < pg->table_count; i++)
        postgres_table_forget(pg->tables[i]);
}

/* ---- one row
 * ------------------------------------------------------------------------------------------------------------ */

/* A column that images may write; a default of the user's stays in force until an image names its column. */
static bool written(const struct postgres_column *column)
{
    return column->exists && !column->fixed && (column->owned || column->named || !column->defaulted);
}

static enum sorex_status value_set(struct postgres *pg, struct postgres_column *column, const struct json_node *node)
{
    if (column == NULL) {
        pg->misfit = pg->misfit || node->kind != JSON_NULL;
        return SOREX_OK;
    }
    if (!postgres_column_fits(column, node) || (!written(column) && column->exists && !column->fixed))
        pg->misfit = true;
    column->value = node;
    return SOREX_OK;
}

static enum sorex_status values_set(struct postgres *pg, const struct net_row *row, const struct json_doc *doc,
                                    struct sorex_error *err)
{
    struct postgres_table *table = row->table;
    const struct json_node *image = &doc->nodes[0];
    size_t hint = 0;
    for (size_t i = 0; i < table->column_count; i++)
        table->columns[i].value = NULL;
    if (image->kind != JSON_OBJECT) {
        struct postgres_column *column = postgres_column_find(table, bytes_str("value"), &hint);
        if (column != NULL && column->owned && column->type != POSTGRES_JSONB)
            pg->misfit = true;
        return value_set(pg, column, image);
    }
    for (const struct json_node *node = json_first(doc, image); node != NULL; node = json_next(doc, node)) {
        if (!table->keyed && bytes_is(node->key, "key")) {
            if (node->kind == JSON_STRING && bytes_equal(node->text, row->change->change.key))
                continue;
            return sorex_error_set(
                err, SOREX_INVALID,
                "the image has a member \"key\" that is not the change's key; name the key columns in the "
                "pipeline file (tables.%s.key)",
                table->name);
        }
        TRY(value_set(pg, postgres_column_find(table, node->key, &hint), node));
    }
    return SOREX_OK;
}

static bool is_key(const struct postgres_table *table, size_t column)
{
    for (size_t i = 0; i < table->key_count; i++)
        if (table->keys[i] == column)
            return true;
    return false;
}

static enum sorex_status column_append(struct postgres *pg, const struct net_row *row, size_t column,
                                       struct sorex_error *err)
{
    const struct postgres_table *table = row->table;
    enum sorex_status status;
    if (!table->keyed && column == table->keys[0])
        status = postgres_field_text(row->change->change.key, &pg->out, err);
    else
        status = postgres_field(table->columns[column].value, table->columns[column].type, &pg->out, err);
    if (status == SOREX_INVALID)
        return sorex_error_prefix(err, "column \"%s\"", table->columns[column].name);
    return status;
}

/* Appends the row to pg->out: all written columns, or those of the key. */
static enum sorex_status row_append(struct postgres *pg, const struct net_row *row, bool keys_only,
                                    struct sorex_error *err)
{
    const struct postgres_table *table = row->table;
    if (!keys_only || table->keyed) {
        struct json_doc doc;
        TRY(json_parse(pg->parser, row->image, &doc, err));
        TRY(values_set(pg, row, &doc, err));
        if (pg->misfit)
            return sorex_error_set(err, SOREX_INVALID, "a value does not fit table %s", table->quoted);
    }
    size_t count = keys_only ? table->key_count : table->column_count;
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        size_t column = keys_only ? table->keys[i] : i;
        if (!keys_only && !written(&table->columns[column]))
            continue;
        if (!first)
            TRY(buf_append_u8(&pg->out, '\t', err));
        first = false;
        TRY(column_append(pg, row, column, err));
    }
    return buf_append_u8(&pg->out, '\n', err);
}

/* ---- one COPY
 * ----------------------------------------------------------------------------------------------------------- */

enum part { PART_REMOVED, PART_CHANGED, PART_CREATED, PARTS };

static enum part part_of(const struct net_row *row, bool direct)
{
    if (!row->upsert)
        return PART_REMOVED;
    return row->fresh && direct ? PART_CREATED : PART_CHANGED;
}

static enum sorex_status rows_send(struct postgres *pg, const struct postgres_table *table, size_t from, size_t to,
                                   enum part part, bool direct, struct sorex_error *err)
{
    buf_reset(&pg->out);
    for (size_t i = from; i < to; i++) {
        const struct net_row *row = &pg->net.rows[table->rows[i]];
        if (part_of(row, direct) != part)
            continue;
        enum sorex_status status = row_append(pg, row, part == PART_REMOVED, err);
        if (status != SOREX_OK && !pg->misfit)
            return postgres_row_name(pg, row->change, err);
        TRY(status);
        if (pg->out.len < CHUNK_BYTES)
            continue;
        TRY(postgres_copy_put(&pg->session, buf_view(&pg->out), err));
        buf_reset(&pg->out);
    }
    return pg->out.len == 0 ? SOREX_OK : postgres_copy_put(&pg->session, buf_view(&pg->out), err);
}

/* "a, b" of the written columns or the key's, each in front of `suffix` when there is one. */
static enum sorex_status columns_append(const struct postgres_table *table, bool keys_only, struct buf *sql,
                                        struct sorex_error *err)
{
    size_t count = keys_only ? table->key_count : table->column_count;
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        const struct postgres_column *column = &table->columns[keys_only ? table->keys[i] : i];
        if (!keys_only && !written(column))
            continue;
        TRY(buf_printf(sql, err, "%s%s", first ? "" : ", ", column->quoted));
        first = false;
    }
    return SOREX_OK;
}

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
    return status;
}

static enum sorex_status copy_rows(struct postgres *pg, const struct postgres_table *table, size_t from, size_t to,
                                   enum part part, bool direct, struct sorex_error *err)
{
    TRY(copy_begin(pg, table, part, err));
    enum sorex_status status = rows_send(pg, table, from, to, part, direct, err);
    if (status != SOREX_OK) {
        postgres_copy_abandon(&pg->session);
        return status;
    }
    return postgres_copy_end(&pg->session, err);
}

/* ---- the statements around it
 * ------------------------------------------------------------------------------------------- */

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

static enum sorex_status delete_sql(const struct postgres_table *table, struct buf *sql, struct sorex_error *err)
{
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
        if (!written(column) || is_key(table, i))
            continue;
        TRY(buf_printf(sql, err, "%s%s = excluded.%s", first ? "UPDATE SET " : ", ", column->quoted, column->quoted));
        first = false;
    }
    return first ? buf_append_str(sql, "NOTHING", err) : SOREX_OK;
}

/* ---- a table
 * ------------------------------------------------------------------------------------------------------------ */

static enum sorex_status table_fit(struct postgres *pg, struct postgres_table *table, struct sorex_error *err)
{
    postgres_table_forget(table);
    TRY(postgres_table_load(&pg->session, table, err));
    for (size_t i = 0; i < table->row_count; i++) {
        const struct net_row *row = &pg->net.rows[table->rows[i]];
        if (!row->upsert && !table->keyed)
            continue;
        struct json_doc doc;
        enum sorex_status status = json_parse(pg->parser, row->image, &doc, err);
        if (status == SOREX_OK)
            status = postgres_table_need(table, &doc, err);
        if (status != SOREX_OK)
            return postgres_row_name(pg, row->change, err);
    }
    if (postgres_table_fit(&pg->session, table, pg->create, err) != SOREX_OK)
        return sorex_error_prefix(err, "table \"%s\"", table->name);
    return SOREX_OK;
}

static enum sorex_status table_rows(struct postgres *pg, struct postgres_table *table, size_t from, size_t to,
                                    bool direct, struct sorex_error *err)
{
    size_t counts[PARTS] = {0};
    for (size_t i = from; i < to; i++)
        counts[part_of(&pg->net.rows[table->rows[i]], direct)]++;
    pg->in_rows = true;
    if (counts[PART_REMOVED] + counts[PART_CHANGED] > 0)
        TRY(stage(pg, table, err));
    if (counts[PART_REMOVED] > 0) {
        TRY(copy_rows(pg, table, from, to, PART_REMOVED, direct, err));
        struct buf sql = {0};
        TRY(sql_run(pg, &sql, delete_sql(table, &sql, err), err));
    }
    if (counts[PART_CHANGED] > 0) {
        TRY(copy_rows(pg, table, from, to, PART_CHANGED, direct, err));
        struct buf sql = {0};
        TRY(sql_run(pg, &sql, upsert_sql(table, &sql, err), err));
    }
    if (counts[PART_CREATED] == 0)
        return SOREX_OK;
    pg->collided = true;
    TRY(copy_rows(pg, table, from, to, PART_CREATED, direct, err));
    pg->collided = false;
    return SOREX_OK;
}

static enum sorex_status table_write(struct postgres *pg, struct postgres_table *table, bool fit,
                                     struct sorex_error *err)
{
    if (!table->loaded) {
        pg->misfit = true;
        return sorex_error_set(err, SOREX_INVALID, "table %s has to be made to fit", table->quoted);
    }
    enum sorex_status status =
        table_rows(pg, table, 0, table->row_count, !fit && table->collisions < COLLISIONS_MAX, err);
    if (status == SOREX_IO && pg->collided && strcmp(pg->session.sqlstate, "23505") == 0)
        table->collisions++;
    return status;
}

/* Nobody else's DDL in between: two sinks may share a schema. The lock ends with the transaction. */
static enum sorex_status tables_fit(struct postgres *pg, struct sorex_error *err)
{
    TRY(postgres_exec(&pg->session, "SELECT pg_catalog.pg_advisory_xact_lock(7307498, 1)", err));
    for (size_t i = 0; i < pg->table_count; i++)
        if (pg->tables[i]->row_count > 0)
            TRY(table_fit(pg, pg->tables[i], err));
    return SOREX_OK;
}

enum sorex_status postgres_tables_write(struct postgres *pg, const struct postgres_scope *scope, bool fit,
                                        struct sorex_error *err)
{
    pg->misfit = pg->named = pg->in_rows = pg->collided = false;
    if (fit)
        TRY(tables_fit(pg, err));
    for (size_t i = 0; i < pg->table_count; i++) {
        struct postgres_table *table = pg->tables[i];
        if (table->row_count == 0 || (scope != NULL && scope->table != table))
            continue;
        if (scope != NULL)
            return table_rows(pg, table, scope->from, scope->to, false, err);
        TRY(table_write(pg, table, fit, err));
    }
    return SOREX_OK;
}
