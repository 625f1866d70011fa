/* The public library: include/sorex/pipeline.h over pipeline.h. */
#include "sorex/pipeline.h"

#include <stdlib.h>

#include "base/check.h"
#include "pipeline/pipeline.h"
#include "pipeline/query.h"

struct sorex_pipeline {
    struct pipeline_settings settings;
    struct pipeline *pipeline;
};

_Static_assert(SOREX_UNTIL_STOPPED == SOREX_HEIGHT_NONE && SOREX_UNTIL_TIP == PIPELINE_UNTIL_TIP, "one set of sentinels");

enum sorex_status sorex_pipeline_open(const char *path, struct sorex_pipeline **out_pipeline, struct sorex_error *err)
{
    struct sorex_pipeline *self = calloc(1, sizeof *self);
    struct pipeline_options options = {0};
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a pipeline");
    enum sorex_status status = pipeline_settings_read(path, NULL, 0, &self->settings, err);
    if (status == SOREX_OK)
        status = pipeline_new(&self->settings, &options, &self->pipeline, err);
    if (status != SOREX_OK) {
        sorex_pipeline_close(self);
        return status;
    }
    *out_pipeline = self;
    return SOREX_OK;
}

void sorex_pipeline_close(struct sorex_pipeline *self)
{
    if (self == NULL)
        return;
    if (self->pipeline != NULL)
        pipeline_free(self->pipeline);
    pipeline_settings_deinit(&self->settings);
    free(self);
}

enum sorex_status sorex_pipeline_run(struct sorex_pipeline *self, uint32_t until, struct sorex_error *err)
{
    struct pipeline_summary summary;
    return pipeline_run(self->pipeline, until, &summary, err);
}

void sorex_pipeline_stop(struct sorex_pipeline *self)
{
    pipeline_stop(self->pipeline);
}

enum sorex_status sorex_pipeline_view(struct sorex_pipeline *self, const char *name, uint32_t height, const void *input,
                                      size_t input_len, void **out_data, size_t *out_len, struct sorex_error *err)
{
    struct program *indexer = pipeline_indexer(self->pipeline);
    struct buf out = {0};
    uint32_t at;
    if (indexer == NULL)
        return sorex_error_set(err, SOREX_GONE, "this pipeline has no indexer");
    enum sorex_status status = query_view(pipeline_store(self->pipeline), indexer, bytes_str(name), bytes_of(input, input_len),
                                          height, &out, &at, err);
    if (status != SOREX_OK) {
        buf_deinit(&out);
        return status;
    }
    *out_data = buf_steal(&out, out_len);
    return SOREX_OK;
}

enum sorex_status sorex_pipeline_status(struct sorex_pipeline *self, char **out_json, struct sorex_error *err)
{
    struct buf out = {0};
    struct json_writer w;
    size_t len;
    json_writer_init(&w, &out, false, err);
    json_object_begin(&w);
    enum sorex_status status = pipeline_status(self->pipeline, &w, err);
    json_object_end(&w);
    if (status == SOREX_OK)
        status = json_writer_finish(&w);
    if (status == SOREX_OK)
        status = buf_append_u8(&out, '\0', err);
    if (status == SOREX_OK)
        *out_json = (char *)buf_steal(&out, &len);
    buf_deinit(&out);
    return status;
}
