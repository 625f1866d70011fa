/* A part of a table's rows on its way by COPY: into the table itself, or into a temporary table, from which one
 * statement goes on. The format is binary when every column has one here, and text in a careful attempt and for tables
 * whose values had no binary form too often: text costs the server a third more. */
#include <stdlib.h>

#include "base/check.h"
#include "sink/postgres_binary.h"
#include "sink/postgres_target.h"

#define CHUNK_BYTES ((size_t)64 << 10)
#define REFUSALS_MAX 3
#define BINARY_CHANGES_MIN 200 /* below that, what it saves is less than the look at the types */

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
        status = postgres_exec(pg->session, (const char *)sql->data, err);
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
    if (table->staged == pg->session->opened)
        return SOREX_OK;
    struct buf sql = {0};
    enum sorex_status status = stage_sql(table, "changed", false, &sql, err);
    if (status == SOREX_OK)
        status = stage_sql(table, "removed", true, &sql, err);
    TRY(sql_run(pg, &sql, status, err));
    table->staged = pg->session->opened;
    return SOREX_OK;
}

static bool binary_column(const struct postgres_table *table, size_t column, bool keys_only)
{
    if (keys_only ? !postgres_is_key(table, column) : !postgres_column_written(&table->columns[column]))
        return true;
    return postgres_binary_knows(table->columns[column].oid);
}

static bool binary_choose(const struct postgres *pg, const struct postgres_table *table, bool keys_only)
{
    if (pg->careful || table->refusals >= REFUSALS_MAX || table->change_count < BINARY_CHANGES_MIN)
        return false;
    for (size_t i = 0; i < table->column_count; i++)
        if (!binary_column(table, i, keys_only))
            return false;
    return true;
}

static enum sorex_status types_compare(struct postgres *pg, const struct postgres_table *table,
                                       const struct postgres_rows *rows, struct sorex_error *err)
{
    size_t hint = 0;
    for (size_t i = 0; i < rows->count; i++) {
        const struct postgres_column *column =
            postgres_column_find(table, bytes_str(postgres_value(rows, i, 0)), &hint);
        if (column != NULL && column->oid == strtoul(postgres_value(rows, i, 1), NULL, 10))
            continue;
        pg->misfit = true;
        return sorex_error_set(err, SOREX_INVALID, "table %s was changed by somebody", table->quoted);
    }
    return SOREX_OK;
}

/* The binary format does not say what it is: eight bytes that were meant for a bigint are a double, too, when somebody
 * has altered the column since the catalog was read. So the types are compared, and the lock keeps them. */
static enum sorex_status types_check(struct postgres *pg, const struct postgres_table *table, enum postgres_part part,
                                     struct sorex_error *err)
{
    struct buf sql = {0};
    struct buf target = {0};
    enum sorex_status status = part == POSTGRES_CREATED
                                   ? buf_append_str(&target, table->quoted, err)
                                   : buf_printf(&target, err, "pg_temp.sorex_%s_%u",
                                                part == POSTGRES_REMOVED ? "removed" : "changed", table->number);
    if (status == SOREX_OK)
        status = buf_append_u8(&target, 0, err);
    if (status == SOREX_OK && part == POSTGRES_CREATED)
        status =
            sql_run(pg, &sql, buf_printf(&sql, err, "LOCK TABLE ONLY %s IN ROW EXCLUSIVE MODE", table->quoted), err);
    struct postgres_rows rows = {0};
    const char *params[] = {(const char *)target.data};
    if (status == SOREX_OK)
        status = postgres_query(pg->session,
                                "SELECT attname, atttypid FROM pg_catalog.pg_attribute"
                                " WHERE attrelid = pg_catalog.to_regclass($1) AND attnum > 0 AND NOT attisdropped"
                                " ORDER BY attnum",
                                1, params, &rows, err);
    buf_deinit(&target);
    if (status == SOREX_OK)
        status = types_compare(pg, table, &rows, err);
    postgres_rows_deinit(&rows);
    return status;
}

static enum sorex_status copy_sql(const struct postgres_table *table, enum postgres_part part, bool binary,
                                  struct buf *sql, struct sorex_error *err)
{
    if (part == POSTGRES_CREATED)
        TRY(buf_printf(sql, err, "COPY %s (", table->quoted));
    else
        TRY(buf_printf(sql, err, "COPY pg_temp.sorex_%s_%u (", part == POSTGRES_REMOVED ? "removed" : "changed",
                       table->number));
    TRY(columns_append(table, part == POSTGRES_REMOVED, sql, err));
    TRY(buf_append_str(sql, binary ? ") FROM STDIN BINARY" : ") FROM STDIN", err));
    return buf_append_u8(sql, 0, err);
}

enum sorex_status postgres_part_begin(struct postgres *pg, struct postgres_table *table, enum postgres_part part,
                                      struct sorex_error *err)
{
    if (part != POSTGRES_CREATED)
        TRY(stage(pg, table, err));
    pg->binary = binary_choose(pg, table, part == POSTGRES_REMOVED);
    if (pg->binary)
        TRY(types_check(pg, table, part, err));
    struct buf sql = {0};
    enum sorex_status status = copy_sql(table, part, pg->binary, &sql, err);
    if (status == SOREX_OK)
        status = postgres_copy_begin(pg->session, (const char *)sql.data, err);
    buf_deinit(&sql);
    TRY(status);
    buf_reset(&pg->out);
    /* Signature, no flags, no extension. */
    return pg->binary ? buf_append(&pg->out, bytes_of("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19), err) : SOREX_OK;
}

/* Sends what has gathered, when it is enough. */
static enum sorex_status push(struct postgres *pg, size_t enough, struct sorex_error *err)
{
    if (pg->out.len < enough)
        return SOREX_OK;
    TRY(postgres_copy_put(pg->session, buf_view(&pg->out), err));
    buf_reset(&pg->out);
    return SOREX_OK;
}

enum sorex_status postgres_part_row(struct postgres *pg, const struct net_row *row, const struct json_doc *image,
                                    struct sorex_error *err)
{
    TRY(postgres_row_append(pg, row, image, err));
    return push(pg, CHUNK_BYTES, err);
}

enum sorex_status postgres_part_end(struct postgres *pg, enum sorex_status status, struct sorex_error *err)
{
    if (status == SOREX_OK && pg->binary)
        status = buf_append(&pg->out, bytes_of("\377\377", 2), err);
    if (status == SOREX_OK)
        status = push(pg, 1, err);
    if (status == SOREX_OK)
        return postgres_copy_end(pg->session, err);
    postgres_copy_abandon(pg->session);
    return status;
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

enum sorex_status postgres_part_apply(struct postgres *pg, const struct postgres_table *table, enum postgres_part part,
                                      struct sorex_error *err)
{
    struct buf sql = {0};
    return sql_run(pg, &sql, part == POSTGRES_REMOVED ? delete_sql(table, &sql, err) : upsert_sql(table, &sql, err),
                   err);
}
