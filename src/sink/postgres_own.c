/* The sink's own tables: names, whether they are there, how they are made, statements about them. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "sink/postgres_target.h"

enum sorex_status postgres_qualified(struct postgres *pg, const char *name, char **out, struct sorex_error *err)
{
    char *schema = NULL;
    char *table = NULL;
    enum sorex_status status = postgres_identifier(bytes_str(pg->schema), &schema, err);
    if (status == SOREX_OK)
        status = postgres_identifier(bytes_str(name), &table, err);
    if (status == SOREX_OK && asprintf(out, "%s.%s", schema, table) < 0)
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    free(schema);
    free(table);
    return status;
}

enum sorex_status postgres_table_exists(struct postgres *pg, const char *name, bool *out, struct sorex_error *err)
{
    char *table;
    TRY(postgres_qualified(pg, name, &table, err));
    const char *params[] = {table};
    struct postgres_rows rows = {0};
    enum sorex_status status =
        postgres_query(pg->session, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", 1, params, &rows, err);
    free(table);
    if (status == SOREX_OK)
        *out = postgres_value(&rows, 0, 0)[0] == 't';
    postgres_rows_deinit(&rows);
    return status;
}

/* Several statements in one message are one transaction, if none is open. */
enum sorex_status postgres_own_table(struct postgres *pg, const char *name, const char *columns,
                                     struct sorex_error *err)
{
    char *table;
    TRY(postgres_qualified(pg, name, &table, err));
    char *sql = NULL;
    enum sorex_status status = SOREX_OK;
    if (asprintf(&sql, "SELECT pg_catalog.pg_advisory_xact_lock(7307498, 1); CREATE TABLE IF NOT EXISTS %s (%s)", table,
                 columns) < 0) {
        sql = NULL;
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    if (status == SOREX_OK)
        status = postgres_exec(pg->session, sql, err);
    free(sql);
    free(table);
    return status;
}

enum sorex_status postgres_own_query(struct postgres *pg, const struct postgres_statement *statement,
                                     struct postgres_rows *out, struct sorex_error *err)
{
    const char *params[POSTGRES_PARAMS_MAX] = {pg->pipeline, pg->name};
    CHECK(statement->count + 2 <= POSTGRES_PARAMS_MAX);
    for (int i = 0; i < statement->count; i++)
        params[2 + i] = statement->more[i];
    char *table;
    TRY(postgres_qualified(pg, statement->table, &table, err));
    char *sql = NULL;
    enum sorex_status status = SOREX_OK;
    if (asprintf(&sql, "%s %s %s", statement->before, table, statement->after) < 0) {
        sql = NULL;
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    if (status == SOREX_OK)
        status = postgres_query(pg->session, sql, 2 + statement->count, params, out, err);
    free(sql);
    free(table);
    return status;
}
