#include <cstring>
#include <iostream>

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

int main()
{
    sorex_error err;
    if (sorex_error_set(&err, SOREX_CORRUPT, "%s", "x") != SOREX_CORRUPT || std::strcmp(err.text, "x") != 0)
        return 1;
    std::cout << "sorex " << sorex_status_name(err.status) << "\n";
    return filter();
}
