/* CREATE TABLE, ADD COLUMN and ALTER COLUMN TYPE, as far as the values of a batch ask for them. */
#include <stdlib.h>

#include "base/check.h"
#include "sink/postgres_columns.h"

static enum sorex_status column_quote(struct postgres_column *column, struct sorex_error *err)
{
    if (column->quoted != NULL)
        return SOREX_OK;
    return postgres_identifier(bytes_of(column->name, column->name_len), &column->quoted, err);
}

static const char *column_type(const struct postgres_column *column)
{
    return column->declared != NULL ? column->declared : postgres_type_name(column->wanted);
}

static enum sorex_status key_append(const struct postgres_table *table, struct buf *sql, struct sorex_error *err)
{
    for (size_t i = 0; i < table->key_count; i++)
        TRY(buf_printf(sql, err, "%s%s", i == 0 ? "" : ", ", table->columns[table->keys[i]].quoted));
    return SOREX_OK;
}

static enum sorex_status table_create(const struct postgres_table *table, struct buf *sql, struct sorex_error *err)
{
    TRY(buf_printf(sql, err, "CREATE TABLE %s (", table->quoted));
    for (size_t i = 0; i < table->column_count; i++) {
        const struct postgres_column *column = &table->columns[i];
        if (column->declared == NULL && column->wanted == POSTGRES_NONE)
            continue;
        TRY(buf_printf(sql, err, "%s %s, ", column->quoted, column_type(column)));
    }
    TRY(buf_append_str(sql, "PRIMARY KEY (", err));
    TRY(key_append(table, sql, err));
    TRY(buf_append_str(sql, "));", err));
    for (size_t i = 0; i < table->column_count; i++) {
        const struct postgres_column *column = &table->columns[i];
        if (column->declared == NULL && column->wanted != POSTGRES_NONE)
            TRY(buf_printf(sql, err, " COMMENT ON COLUMN %s.%s IS '%s';", table->quoted, column->quoted,
                           POSTGRES_OWNED));
    }
    return SOREX_OK;
}

static enum sorex_status table_alter(const struct postgres_table *table, struct buf *sql, struct sorex_error *err)
{
    for (size_t i = 0; i < table->column_count; i++) {
        const struct postgres_column *column = &table->columns[i];
        bool add = !column->exists && (column->declared != NULL || column->wanted != POSTGRES_NONE);
        if (add)
            TRY(buf_printf(sql, err, "ALTER TABLE %s ADD COLUMN %s %s;", table->quoted, column->quoted,
                           column_type(column)));
        if (add && column->declared == NULL)
            TRY(buf_printf(sql, err, " COMMENT ON COLUMN %s.%s IS '%s';", table->quoted, column->quoted,
                           POSTGRES_OWNED));
        if (!column->owned || column->wanted == column->type)
            continue;
        TRY(buf_printf(sql, err, "ALTER TABLE %s ALTER COLUMN %s TYPE %s USING ", table->quoted, column->quoted,
                       postgres_type_name(column->wanted)));
        if (column->wanted == POSTGRES_JSONB)
            TRY(buf_printf(sql, err, "pg_catalog.to_jsonb(%s);", column->quoted));
        else
            TRY(buf_printf(sql, err, "%s::%s;", column->quoted, postgres_type_name(column->wanted)));
    }
    return SOREX_OK;
}

static enum sorex_status keys_check(const struct postgres_table *table, struct sorex_error *err)
{
    for (size_t i = 0; i < table->key_count; i++) {
        const struct postgres_column *key = &table->columns[table->keys[i]];
        if (!key->exists && key->declared == NULL && key->wanted == POSTGRES_NONE)
            return sorex_error_set(err, SOREX_INVALID, "no image has a value for the key column \"%s\"", key->name);
    }
    return SOREX_OK;
}

static enum sorex_status refused(const struct postgres_table *table, struct sorex_error *err)
{
    if (!table->exists)
        return sorex_error_set(err, SOREX_INVALID, "table %s does not exist, and create_tables is false",
                               table->quoted);
    return sorex_error_set(err, SOREX_INVALID,
                           "table %s has not all the columns that the changes need, and create_tables is false",
                           table->quoted);
}

static enum sorex_status columns_quote(struct postgres_table *table, struct sorex_error *err)
{
    for (size_t i = 0; i < table->column_count; i++)
        TRY(column_quote(&table->columns[i], err));
    return SOREX_OK;
}

static enum sorex_status ddl_run(struct postgres_session *session, struct postgres_table *table, struct buf *sql,
                                 bool create, struct sorex_error *err)
{
    TRY(buf_append_u8(sql, 0, err));
    if (!create)
        return refused(table, err);
    TRY(postgres_exec(session, (const char *)sql->data, err));
    table->staged = 0;
    TRY(postgres_table_read(session, table, err));
    return columns_quote(table, err);
}

enum sorex_status postgres_table_fit(struct postgres_session *session, struct postgres_table *table, bool create,
                                     struct sorex_error *err)
{
    TRY(keys_check(table, err));
    TRY(columns_quote(table, err));
    struct buf sql = {0};
    enum sorex_status status = table->exists ? table_alter(table, &sql, err) : table_create(table, &sql, err);
    if (status == SOREX_OK && sql.len > 0)
        status = ddl_run(session, table, &sql, create, err);
    buf_deinit(&sql);
    return status;
}
