#include <stdio.h>
#include <string.h>

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

int main(void)
{
    struct sorex_error err;
    if (sorex_error_set(&err, SOREX_CORRUPT, "%s", "x") != SOREX_CORRUPT || strcmp(err.text, "x") != 0)
        return 1;
    printf("sorex %s\n", sorex_status_name(err.status));
    return filter();
}
