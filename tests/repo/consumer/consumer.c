#include <stdio.h>
#include <string.h>

#include <sorex/database.h>
#include <sorex/filter.h>
#include <sorex/status.h>

#include "drop.h"

static int filter(void)
{
    struct sorex_error err;
    struct sorex_filter *filter;
    struct sorex_filter_instance *instance;
    enum sorex_filter_outcome outcome;
    const char *out;
    size_t out_len;
    if (sorex_filter_load(drop_wasm, sizeof drop_wasm - 1, NULL, &filter, &err) != SOREX_OK ||
        sorex_filter_open(filter, &instance, &err) != SOREX_OK ||
        sorex_filter_transform(instance, drop_event, strlen(drop_event), &outcome, &out, &out_len, &err) != SOREX_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    printf("%s, version %u\n", outcome == SOREX_FILTER_FILTERED && out == NULL ? "filtered" : "?", sorex_filter_version(filter));
    sorex_filter_close(instance);
    sorex_filter_free(filter);
    return 0;
}

/* cache_dir: of compiled code. PostgreSQL's files are found from where the library is. */
static int database(const char *cache_dir)
{
    struct sorex_error err;
    struct sorex_postgres_options options = {.cache_dir = cache_dir};
    struct sorex_postgres *postgres;
    struct sorex_database *db;
    struct sorex_result *result;
    struct sorex_value values[] = {{.kind = SOREX_VALUE_TEXT, .data = "orc", .len = 3}, {.kind = SOREX_VALUE_INTEGER, .integer = 7}};
    if (sorex_postgres_load(&options, &postgres, &err) != SOREX_OK || sorex_database_open(postgres, NULL, &db, &err) != SOREX_OK ||
        sorex_database_exec(db, "create table units (name text, hp int)", NULL, &err) != SOREX_OK ||
        sorex_database_query(db, "insert into units values ($1, $2) returning *", values, 2, &result, &err) != SOREX_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    printf("%s has %d\n", sorex_result_row(result, 0)[0].data, (int)sorex_result_row(result, 0)[1].integer);
    sorex_result_free(result);
    sorex_database_close(db);
    sorex_postgres_free(postgres);
    return 0;
}

int main(int argc, char **argv)
{
    struct sorex_error err;
    if (sorex_error_set(&err, SOREX_CORRUPT, "%s", "x") != SOREX_CORRUPT || strcmp(err.text, "x") != 0)
        return 1;
    printf("sorex %s\n", sorex_status_name(err.status));
    return filter() != 0 ? 1 : database(argc > 1 ? argv[1] : NULL);
}
