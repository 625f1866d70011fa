#include "pipeline/kept_database.h"

#include "base/check.h"
#include "pipeline/past.h"

#define REDUCER_NAME "reducer" /* reducer_options_table */

enum sorex_status kept_database_open(struct store *store, struct database_program *program, const char *name,
                                     const struct pipeline_settings *settings, struct kept_database *out,
                                     struct sorex_error *err)
{
    struct sorex_error why = {0};
    enum sorex_status status = embedded_open(store, program, name, &out->embedded, err);
    if (status != SOREX_GONE)
        return status;
    const char *reducer = settings != NULL && settings->has_reducer ? settings->reducer.name : REDUCER_NAME;
    const char *wanted = name != NULL ? name : reducer;
    out->store = store;
    out->settings = strcmp(wanted, reducer) == 0 ? settings : NULL;
    status = chained_open_copy(store, program, wanted, &out->chained, &why);
    if (status == SOREX_GONE ||
        status == SOREX_INVALID) /* no reducer has such a name: what was said of sinks is right */
        return SOREX_GONE;
    return status == SOREX_OK ? SOREX_OK : sorex_error_set(err, status, "%s", why.text);
}

void kept_database_close(struct kept_database *kept)
{
    embedded_close(kept->embedded);
    chained_close(kept->chained);
    *kept = (struct kept_database){0};
}

bool kept_database_of(struct pipeline *pipeline, const char *name, struct kept_database *out)
{
    *out = (struct kept_database){.embedded = pipeline_database(pipeline, name)};
    if (out->embedded == NULL)
        out->chained = pipeline_derived(pipeline, name);
    out->settings = pipeline_settings(pipeline);
    out->store = pipeline_store(pipeline);
    return kept_database_is(out);
}

bool kept_database_is(const struct kept_database *kept) { return kept->embedded != NULL || kept->chained != NULL; }

enum sorex_status kept_database_fork(const struct kept_database *kept, uint32_t height, struct database **out,
                                     uint32_t *out_height, struct sorex_error *err)
{
    const struct pipeline_settings *settings = kept->settings;
    if (kept->embedded != NULL)
        return embedded_fork(kept->embedded, height, out, out_height, err);
    bool past = height != SOREX_HEIGHT_NONE && height != chained_newest_height(kept->chained);
    if (!past || settings == NULL || !settings->has_reducer || settings->source_type == NULL)
        return chained_fork(kept->chained, height, out, out_height, err);
    TRY(past_open(settings, kept->store, kept->chained, height, out, err));
    if (out_height != NULL)
        *out_height = height;
    return SOREX_OK;
}
