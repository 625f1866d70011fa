#include <cstring>
#include <iostream>

#include <sorex/database.h>
#include <sorex/filter.h>
#include <sorex/status.h>

#include "drop.h"

static int filter()
{
    sorex_error err;
    sorex_filter *filter;
    sorex_filter_instance *instance;
    sorex_filter_outcome outcome;
    const char *out;
    size_t out_len;
    if (sorex_filter_load(drop_wasm, sizeof drop_wasm - 1, nullptr, &filter, &err) != SOREX_OK ||
        sorex_filter_open(filter, &instance, &err) != SOREX_OK ||
        sorex_filter_transform(instance, drop_event, std::strlen(drop_event), &outcome, &out, &out_len, &err) != SOREX_OK) {
        std::cout << err.text << "\n";
        return 1;
    }
    std::cout << (outcome == SOREX_FILTER_FILTERED && out == nullptr ? "filtered" : "?") << ", version "
              << sorex_filter_version(filter) << "\n";
    sorex_filter_close(instance);
    sorex_filter_free(filter);
    return 0;
}

static int database(const char *cache_dir)
{
    sorex_error err;
    sorex_postgres_options options{};
    sorex_postgres *postgres;
    sorex_database *db;
    sorex_result *result;
    sorex_value values[2]{};
    options.cache_dir = cache_dir;
    values[0].kind = SOREX_VALUE_TEXT;
    values[0].data = "orc";
    values[0].len = 3;
    values[1].kind = SOREX_VALUE_INTEGER;
    values[1].integer = 7;
    if (sorex_postgres_load(&options, &postgres, &err) != SOREX_OK || sorex_database_open(postgres, nullptr, &db, &err) != SOREX_OK ||
        sorex_database_exec(db, "create table units (name text, hp int)", nullptr, &err) != SOREX_OK ||
        sorex_database_query(db, "insert into units values ($1, $2) returning *", values, 2, &result, &err) != SOREX_OK) {
        std::cout << err.text << "\n";
        return 1;
    }
    std::cout << sorex_result_row(result, 0)[0].data << " has " << sorex_result_row(result, 0)[1].integer << "\n";
    sorex_result_free(result);
    sorex_database_close(db);
    sorex_postgres_free(postgres);
    return 0;
}

int main(int argc, char **argv)
{
    sorex_error err;
    if (sorex_error_set(&err, SOREX_CORRUPT, "%s", "x") != SOREX_CORRUPT || std::strcmp(err.text, "x") != 0)
        return 1;
    std::cout << "sorex " << sorex_status_name(err.status) << "\n";
    return filter() != 0 ? 1 : database(argc > 1 ? argv[1] : nullptr);
}
