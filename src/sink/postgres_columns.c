/* A column that a sink makes from values carries the comment POSTGRES_OWNED, so that after a restart it is still known
 * which columns may be widened. Everything else in the catalog is the user's and is taken as it is. */
#include "sink/postgres_columns.h"

#include <stdlib.h>

#include "base/check.h"

#define KEY_COLUMN "key"
#define VALUE_COLUMN "value"

/* ---- pipeline file ---- */

static enum sorex_status scalar_check(const struct config_node *node, const char *what, struct sorex_error *err)
{
    if (node->kind != CONFIG_SCALAR || node->text[0] == '\0')
        return config_error(err, node, SOREX_INVALID, "%s must be a name", what);
    if (strlen(node->text) > POSTGRES_NAME_BYTES_MAX)
        return config_error(err, node, SOREX_INVALID, "\"%s\" is longer than PostgreSQL's %d bytes", node->text,
                            POSTGRES_NAME_BYTES_MAX);
    return SOREX_OK;
}

static enum sorex_status key_check(const struct config_node *key, struct sorex_error *err)
{
    if (key->kind == CONFIG_SCALAR)
        return scalar_check(key, "key", err);
    if (key->kind != CONFIG_LIST || key->first == NULL)
        return config_error(err, key, SOREX_INVALID, "key must be a column or a list of columns");
    for (const struct config_node *column = key->first; column != NULL; column = column->next)
        TRY(scalar_check(column, "a key column", err));
    return SOREX_OK;
}

static enum sorex_status columns_check(const struct config_node *columns, struct sorex_error *err)
{
    if (columns->kind != CONFIG_MAPPING)
        return config_error(err, columns, SOREX_INVALID, "columns must be a mapping of names to types");
    for (const struct config_node *column = columns->first; column != NULL; column = column->next)
        if (column->kind != CONFIG_SCALAR || column->text[0] == '\0')
            return config_error(err, column, SOREX_INVALID, "the type of column \"%s\" must be a PostgreSQL type",
                                column->key);
    return SOREX_OK;
}

static enum sorex_status table_check(const struct config_node *table, struct sorex_error *err)
{
    if (table->kind != CONFIG_MAPPING)
        return config_error(err, table, SOREX_INVALID, "tables.%s must be a mapping with key and columns", table->key);
    for (const struct config_node *part = table->first; part != NULL; part = part->next) {
        if (strcmp(part->key, "key") == 0)
            TRY(key_check(part, err));
        else if (strcmp(part->key, "columns") == 0)
            TRY(columns_check(part, err));
        else
            return config_error(err, part, SOREX_INVALID, "unknown key \"%s\" in tables.%s: it has key and columns",
                                part->key, table->key);
    }
    return SOREX_OK;
}

enum sorex_status postgres_tables_check(const struct config_node *tables, struct sorex_error *err)
{
    if (tables == NULL || config_is_null(tables))
        return SOREX_OK;
    if (tables->kind != CONFIG_MAPPING)
        return config_error(err, tables, SOREX_INVALID, "tables must be a mapping of table names");
    for (const struct config_node *table = tables->first; table != NULL; table = table->next)
        TRY(table_check(table, err));
    return SOREX_OK;
}

/* ---- columns ---- */

static void columns_free(struct postgres_table *table)
{
    for (size_t i = 0; i < table->column_count; i++) {
        free(table->columns[i].name);
        free(table->columns[i].quoted);
        free(table->columns[i].declared);
    }
    table->column_count = 0;
    table->key_count = 0;
}

struct postgres_column *postgres_column_find(const struct postgres_table *table, struct bytes name, size_t *hint)
{
    for (size_t i = 0; i < table->column_count; i++) {
        size_t at = *hint + i < table->column_count ? *hint + i : *hint + i - table->column_count;
        struct postgres_column *column = &table->columns[at];
        if (column->name_len == name.len && memcmp(column->name, name.data, name.len) == 0) {
            *hint = at + 1 < table->column_count ? at + 1 : 0;
            return column;
        }
    }
    return NULL;
}

static enum sorex_status column_add(struct postgres_table *table, struct bytes name, struct postgres_column **out,
                                    struct sorex_error *err)
{
    size_t hint = 0;
    *out = postgres_column_find(table, name, &hint);
    if (*out != NULL)
        return SOREX_OK;
    if (name.len == 0 || name.len > POSTGRES_NAME_BYTES_MAX || memchr(name.data, 0, name.len) != NULL)
        return sorex_error_set(err, SOREX_INVALID,
                               "\"%.*s\" cannot name a column: PostgreSQL takes 1 to %d bytes without U+0000",
                               BYTES_FMT(name), POSTGRES_NAME_BYTES_MAX);
    if (table->column_count == POSTGRES_COLUMNS_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "more than %d columns", POSTGRES_COLUMNS_MAX);
    if (table->column_count == table->column_cap) {
        size_t cap = table->column_cap == 0 ? 16 : table->column_cap * 2;
        struct postgres_column *grown = realloc(table->columns, cap * sizeof *grown);
        if (grown == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory");
        table->columns = grown;
        table->column_cap = cap;
    }
    struct postgres_column *column = &table->columns[table->column_count];
    *column = (struct postgres_column){.name = strndup((const char *)name.data, name.len), .name_len = name.len};
    if (column->name == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    table->column_count++;
    *out = column;
    return SOREX_OK;
}

static enum sorex_status key_add(struct postgres_table *table, const char *name, struct sorex_error *err)
{
    struct postgres_column *column;
    TRY(column_add(table, bytes_str(name), &column, err));
    size_t *grown = realloc(table->keys, (table->key_count + 1) * sizeof *grown);
    if (grown == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    table->keys = grown;
    table->keys[table->key_count++] = (size_t)(column - table->columns);
    return SOREX_OK;
}

/* The columns that are known without the catalog: key first, then those of the pipeline file. */
static enum sorex_status columns_begin(struct postgres_table *table, struct sorex_error *err)
{
    columns_free(table);
    const struct config_node *key = table->config == NULL ? NULL : config_get(table->config, "key");
    const struct config_node *types = table->config == NULL ? NULL : config_get(table->config, "columns");
    table->keyed = key != NULL;
    if (key == NULL)
        TRY(key_add(table, KEY_COLUMN, err));
    else if (key->kind == CONFIG_SCALAR)
        TRY(key_add(table, key->text, err));
    else
        for (const struct config_node *name = key->first; name != NULL; name = name->next)
            TRY(key_add(table, name->text, err));
    for (const struct config_node *type = types == NULL ? NULL : types->first; type != NULL; type = type->next) {
        struct postgres_column *column;
        TRY(column_add(table, bytes_str(type->key), &column, err));
        column->declared = strdup(type->text);
        column->type = column->wanted = postgres_type_of(type->text);
        column->named = true;
        if (column->declared == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    if (!table->keyed && table->columns[0].declared == NULL)
        table->columns[0].wanted = POSTGRES_TEXT;
    return SOREX_OK;
}

/* ---- table ---- */

void postgres_table_free(struct postgres_table *table)
{
    if (table == NULL)
        return;
    columns_free(table);
    free(table->columns);
    free(table->keys);
    free(table->changes);
    free(table->name);
    free(table->quoted);
    free(table);
}

static enum sorex_status name_quote(const char *schema, struct bytes name, char **out, struct sorex_error *err)
{
    char *parts[2] = {NULL, NULL};
    enum sorex_status status = postgres_identifier(bytes_str(schema), &parts[0], err);
    if (status == SOREX_OK)
        status = postgres_identifier(name, &parts[1], err);
    struct buf text = {0};
    if (status == SOREX_OK)
        status = buf_printf(&text, err, "%s.%s", parts[0], parts[1]);
    if (status == SOREX_OK)
        status = buf_append_u8(&text, 0, err);
    free(parts[0]);
    free(parts[1]);
    if (status != SOREX_OK) {
        buf_deinit(&text);
        return status;
    }
    size_t len;
    *out = (char *)buf_steal(&text, &len);
    return SOREX_OK;
}

enum sorex_status postgres_table_new(const char *schema, struct bytes name, const struct config_node *config,
                                     unsigned number, struct postgres_table **out, struct sorex_error *err)
{
    struct postgres_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    table->number = number;
    table->config = config;
    enum sorex_status status = name_quote(schema, name, &table->quoted, err);
    if (status == SOREX_OK && (table->name = strndup((const char *)name.data, name.len)) == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    if (status == SOREX_OK)
        status = columns_begin(table, err);
    if (status != SOREX_OK) {
        postgres_table_free(table);
        return status;
    }
    *out = table;
    return SOREX_OK;
}

void postgres_table_forget(struct postgres_table *table)
{
    table->loaded = false;
    table->staged = 0;
}

enum { CATALOG_NAME, CATALOG_OID, CATALOG_TYPE, CATALOG_COMMENT, CATALOG_FIXED, CATALOG_DEFAULT };

static enum sorex_status catalog_row(struct postgres_table *table, const struct postgres_rows *rows, size_t row,
                                     struct sorex_error *err)
{
    struct postgres_column *column;
    TRY(column_add(table, bytes_str(postgres_value(rows, row, CATALOG_NAME)), &column, err));
    column->exists = true;
    column->oid = (uint32_t)strtoul(postgres_value(rows, row, CATALOG_OID), NULL, 10);
    column->type = column->wanted = postgres_type_of(postgres_value(rows, row, CATALOG_TYPE));
    column->owned = column->declared == NULL && column->type != POSTGRES_OTHER &&
                    strcmp(postgres_value(rows, row, CATALOG_COMMENT), POSTGRES_OWNED) == 0;
    column->fixed = postgres_value(rows, row, CATALOG_FIXED)[0] == 't';
    column->defaulted = postgres_value(rows, row, CATALOG_DEFAULT)[0] == 't';
    return SOREX_OK;
}

enum sorex_status postgres_table_read(struct postgres_session *session, struct postgres_table *table,
                                      struct sorex_error *err)
{
    const char *params[] = {table->quoted};
    struct postgres_rows rows;
    enum sorex_status status =
        postgres_query(session,
                       "SELECT a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, NULL),"
                       " coalesce(pg_catalog.col_description(a.attrelid, a.attnum), ''),"
                       " a.attgenerated <> '' OR a.attidentity <> '', a.atthasdef"
                       " FROM pg_catalog.pg_attribute a"
                       " WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped"
                       " ORDER BY a.attnum",
                       1, params, &rows, err);
    if (status == SOREX_OK)
        table->exists = rows.count > 0;
    for (size_t i = 0; status == SOREX_OK && i < rows.count; i++)
        status = catalog_row(table, &rows, i, err);
    postgres_rows_deinit(&rows);
    return status;
}

enum sorex_status postgres_table_load(struct postgres_session *session, struct postgres_table *table,
                                      struct sorex_error *err)
{
    if (table->loaded)
        return SOREX_OK;
    TRY(columns_begin(table, err));
    TRY(postgres_table_read(session, table, err));
    table->loaded = true;
    return SOREX_OK;
}

/* ---- what values need ---- */

bool postgres_column_fits(const struct postgres_column *column, const struct json_node *node)
{
    if (!column->exists)
        return node->kind == JSON_NULL;
    return !column->owned || postgres_type_join(column->type, postgres_type_needed(node)) == column->type;
}

bool postgres_column_written(const struct postgres_column *column)
{
    return column->exists && !column->fixed && (column->owned || column->named || !column->defaulted);
}

bool postgres_is_key(const struct postgres_table *table, size_t column)
{
    for (size_t i = 0; i < table->key_count; i++)
        if (table->keys[i] == column)
            return true;
    return false;
}

static enum sorex_status column_need(struct postgres_table *table, struct bytes name, enum postgres_type type,
                                     size_t *hint, struct sorex_error *err)
{
    struct postgres_column *column = postgres_column_find(table, name, hint);
    if (column == NULL)
        TRY(column_add(table, name, &column, err));
    column->named = true;
    if (column->declared == NULL && (column->owned || !column->exists))
        column->wanted = postgres_type_join(column->wanted, type);
    return SOREX_OK;
}

enum sorex_status postgres_table_need(struct postgres_table *table, const struct json_doc *doc, struct sorex_error *err)
{
    const struct json_node *image = &doc->nodes[0];
    size_t hint = 0;
    if (image->kind != JSON_OBJECT)
        return column_need(table, bytes_str(VALUE_COLUMN), POSTGRES_JSONB, &hint, err);
    for (const struct json_node *node = json_first(doc, image); node != NULL; node = json_next(doc, node)) {
        if (!table->keyed && bytes_is(node->key, KEY_COLUMN))
            continue;
        TRY(column_need(table, node->key, postgres_type_needed(node), &hint, err));
    }
    return SOREX_OK;
}
