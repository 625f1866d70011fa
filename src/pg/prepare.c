/* The program that makes, at build time, the image from which databases begin: initdb, a start, the libraries that
 * every database wants, a checkpoint.
 *
 * usage: pg_prepare DISTRIBUTION CACHE IMAGE */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "pg/cluster.h"
#include "pg/image.h"
#include "pg/protocol.h"

#define START_TIME_US ((uint64_t)1767225600000000) /* 2026-01-01 */
#define SEED ((uint64_t)0x9E3779B97F4A7C15)
#define LEVEL 12

struct inputs {
    struct buf postgres, initdb, data, files;
};

static enum sorex_status inputs_read(struct inputs *inputs, const char *dir, struct sorex_error *err)
{
    const struct {
        const char *name;
        struct buf *out;
    } files[] = {{"pglite.wasm", &inputs->postgres},
                 {"initdb.wasm", &inputs->initdb},
                 {"pglite.data", &inputs->data},
                 {"pglite.files", &inputs->files}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[4096];
        if (snprintf(path, sizeof path, "%s/%s", dir, files[i].name) >= (int)sizeof path)
            return sorex_error_set(err, SOREX_INVALID, "path too long: %s", dir);
        TRY(file_read(path, SOREX_MODULE_BYTES_MAX, files[i].out, err));
    }
    return SOREX_OK;
}

/* That a reply holds no error. */
static enum sorex_status reply_check(struct bytes reply, struct sorex_error *err)
{
    struct protocol_message message;
    bool whole = true;
    while (reply.len > 0 && whole) {
        TRY(protocol_take(&reply, &message, &whole, err));
        if (whole && message.type == PROTOCOL_ERROR)
            return sorex_error_set(err, SOREX_INVALID, "%.*s",
                                   BYTES_FMT(message.notice.fields[PROTOCOL_FIELD_MESSAGE]));
    }
    return whole ? SOREX_OK : sorex_error_set(err, SOREX_CORRUPT, "a reply is cut");
}

/* Libraries are linked before the image is made: no instance has to do it again. */
static enum sorex_status instance_prepare(struct instance *instance, struct sorex_error *err)
{
    static const char *const statements[] = {"do $$ begin null; end $$", "select to_tsvector('english', 'run')",
                                             "checkpoint"};
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        struct buf in = {0}, out = {0};
        enum sorex_status status = protocol_query(&in, bytes_str(statements[i]), err);
        if (status == SOREX_OK)
            status = instance_exchange(instance, buf_view(&in), &out, err);
        if (status == SOREX_OK)
            status = reply_check(buf_view(&out), err);
        buf_deinit(&in);
        buf_deinit(&out);
        TRY(status);
    }
    return SOREX_OK;
}

static enum sorex_status image_make(struct postgres *postgres, const struct inputs *inputs, const char *cache,
                                    struct buf *out, struct sorex_error *err)
{
    struct distribution distribution = {buf_view(&inputs->postgres), buf_view(&inputs->initdb), buf_view(&inputs->data),
                                        buf_view(&inputs->files)};
    struct instance_options options = {.time_us = START_TIME_US, .seed = SEED};
    struct instance *instance = NULL;
    struct snapshot *snapshot = NULL;
    struct tree tree;
    TRY(cluster_make(postgres, &distribution, &options, cache, &tree, err));
    enum sorex_status status = instance_start(postgres, distribution.postgres, &tree, &options, &instance, err);
    if (status == SOREX_OK)
        status = instance_prepare(instance, err);
    if (status == SOREX_OK)
        status = instance_save(instance, &snapshot, err);
    if (status == SOREX_OK)
        status = image_write(snapshot, LEVEL, out, err);
    snapshot_drop(snapshot);
    instance_close(instance);
    return status;
}

int main(int argc, char **argv)
{
    struct sorex_error err = {0};
    struct inputs inputs = {0};
    struct postgres *postgres = NULL;
    struct buf image = {0};
    if (argc != 4) {
        (void)fputs("usage: pg_prepare DISTRIBUTION CACHE IMAGE\n", stderr);
        return 2;
    }
    enum sorex_status status = inputs_read(&inputs, argv[1], &err);
    if (status == SOREX_OK)
        status = postgres_open(buf_view(&inputs.postgres), &(struct postgres_options){.cache_dir = argv[2]}, &postgres,
                               &err);
    if (status == SOREX_OK)
        status = image_make(postgres, &inputs, argv[2], &image, &err);
    if (status == SOREX_OK)
        status = file_replace(argv[3], buf_view(&image), &err);
    if (status != SOREX_OK)
        (void)fprintf(stderr, "pg_prepare: %s\n", err.text);
    postgres_close(postgres);
    buf_deinit(&image);
    buf_deinit(&inputs.postgres);
    buf_deinit(&inputs.initdb);
    buf_deinit(&inputs.data);
    buf_deinit(&inputs.files);
    return status == SOREX_OK ? 0 : 1;
}
