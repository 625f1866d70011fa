/* Source "blocks": raw blocks in files of their own, each with its height: a directory of HEIGHT.bin, or a list. For
 * tests and for trying a guest on chosen blocks. The list is read once; heights may have gaps, the tip is the highest.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "config/node.h"
#include "source/types.h"

#define PATH_BYTES 4096

struct blocks_settings {
    char *path;
    const struct config_node *files;
};

static const struct option blocks_options[] = {
    {"path", OPTION_PATH, offsetof(struct blocks_settings, path), NULL, false, 0, 0, NULL,
     "directory of raw blocks named HEIGHT.bin"},
    {"files", OPTION_NODE, offsetof(struct blocks_settings, files), NULL, false, 0, 0, NULL,
     "list of raw blocks as FILE@HEIGHT, instead of path"},
    {NULL, OPTION_BOOL, 0, NULL, false, 0, 0, NULL, NULL},
};

struct block_file {
    uint32_t height;
    char *path;
    uint8_t hash[HASH_BYTES];
};

struct blocks {
    struct source source;
    struct block_file *files; /* by height; does not change once opened */
    uint32_t count;
};

static struct blocks *of(struct source *source) { return (struct blocks *)source; }

static bool parse_height(struct bytes text, uint32_t *out)
{
    uint64_t value = 0;
    if (text.len == 0 || text.len > 10)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = (uint32_t)value;
    return value < SOREX_HEIGHT_NONE;
}

static enum sorex_status add(struct blocks *self, const char *path, uint32_t height, struct sorex_error *err)
{
    struct buf block = {0};
    struct entry entry;
    enum sorex_status status = file_read(path, SOREX_ENTRY_BYTES_MAX, &block, err);
    if (status == SOREX_OK)
        status = block_header_parse(buf_view(&block), &entry, err);
    buf_deinit(&block);
    if (status != SOREX_OK)
        return sorex_error_prefix(err, "block %s", path);
    struct block_file *files = realloc(self->files, (self->count + 1) * sizeof *files);
    char *copy = strdup(path);
    if (files != NULL)
        self->files = files;
    if (files == NULL || copy == NULL) {
        free(copy);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the list of blocks");
    }
    struct block_file *file = &self->files[self->count++];
    *file = (struct block_file){.height = height, .path = copy};
    memcpy(file->hash, entry.hash, HASH_BYTES);
    return SOREX_OK;
}

static enum sorex_status add_directory(struct blocks *self, const char *path, struct sorex_error *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return sorex_error_set_errno(err, SOREX_INVALID, errno, "open directory %s", path);
    enum sorex_status status = SOREX_OK;
    for (struct dirent *item; status == SOREX_OK && (item = readdir(dir)) != NULL;) {
        char file[PATH_BYTES];
        uint32_t height;
        size_t len = strlen(item->d_name);
        if (len < 5 || strcmp(item->d_name + len - 4, ".bin") != 0 ||
            !parse_height(bytes_of(item->d_name, len - 4), &height))
            continue;
        if (snprintf(file, sizeof file, "%s/%s", path, item->d_name) < (int)sizeof file)
            status = add(self, file, height, err);
    }
    closedir(dir);
    return status;
}

/* FILE@HEIGHT; a relative file is beside the pipeline file. */
static enum sorex_status add_item(struct blocks *self, const struct config_node *item, struct sorex_error *err)
{
    char path[PATH_BYTES];
    uint32_t height;
    const char *at = item->kind == CONFIG_SCALAR ? strrchr(item->text, '@') : NULL;
    if (at == NULL || !parse_height(bytes_str(at + 1), &height))
        return config_error(err, item, SOREX_INVALID, "a block is written FILE@HEIGHT");
    const char *slash = item->text[0] == '/' || item->file == NULL ? NULL : strrchr(item->file, '/');
    int base = slash == NULL ? 0 : (int)(slash + 1 - item->file);
    int len = snprintf(path, sizeof path, "%.*s%.*s", base, item->file == NULL ? "" : item->file,
                       (int)(at - item->text), item->text);
    if (len >= (int)sizeof path)
        return config_error(err, item, SOREX_INVALID, "path is too long");
    return add(self, path, height, err);
}

static int height_compare(const void *a, const void *b)
{
    uint32_t left = ((const struct block_file *)a)->height;
    uint32_t right = ((const struct block_file *)b)->height;
    return left < right ? -1 : left > right;
}

static enum sorex_status add_all(struct blocks *self, const struct blocks_settings *given, struct sorex_error *err)
{
    if ((given->path != NULL) == (given->files != NULL))
        return sorex_error_set(err, SOREX_INVALID, "source blocks wants one of `path` and `files`");
    if (given->path != NULL)
        TRY(add_directory(self, given->path, err));
    if (given->files != NULL && given->files->kind != CONFIG_LIST)
        return config_error(err, given->files, SOREX_INVALID, "`files` is a list of FILE@HEIGHT");
    for (const struct config_node *item = given->files == NULL ? NULL : given->files->first; item != NULL;
         item = item->next)
        TRY(add_item(self, item, err));
    if (self->count == 0)
        return sorex_error_set(err, SOREX_INVALID, "source blocks: no block in %s",
                               given->path == NULL ? "`files`" : given->path);
    qsort(self->files, self->count, sizeof *self->files, height_compare);
    for (uint32_t i = 1; i < self->count; i++) {
        if (self->files[i].height == self->files[i - 1].height)
            return sorex_error_set(err, SOREX_INVALID, "source blocks: height %u is given twice",
                                   self->files[i].height);
    }
    return SOREX_OK;
}

static enum sorex_status blocks_open(const void *settings, struct source **out, struct sorex_error *err)
{
    struct blocks *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a source");
    self->source.type = &source_blocks;
    enum sorex_status status = add_all(self, settings, err);
    if (status != SOREX_OK) {
        source_blocks.close(&self->source);
        return status;
    }
    *out = &self->source;
    return SOREX_OK;
}

static void blocks_close(struct source *source)
{
    struct blocks *self = of(source);
    for (uint32_t i = 0; i < self->count; i++)
        free(self->files[i].path);
    free(self->files);
    free(self);
}

static enum sorex_status blocks_tip(struct source *source, uint32_t *out_height, uint8_t out_hash[HASH_BYTES],
                                    struct sorex_error *err)
{
    struct blocks *self = of(source);
    (void)err;
    *out_height = self->files[self->count - 1].height;
    memcpy(out_hash, self->files[self->count - 1].hash, HASH_BYTES);
    return SOREX_OK;
}

static const struct block_file *find(const struct blocks *self, uint32_t height)
{
    struct block_file key = {.height = height};
    return bsearch(&key, self->files, self->count, sizeof *self->files, height_compare);
}

static enum sorex_status blocks_hash_at(struct source *source, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                        struct sorex_error *err)
{
    const struct block_file *file = find(of(source), height);
    if (file == NULL)
        return sorex_error_set(err, SOREX_GONE, "no block of height %u was given", height);
    memcpy(out_hash, file->hash, HASH_BYTES);
    return SOREX_OK;
}

static enum sorex_status blocks_fetch(struct source *source, uint32_t height, const uint8_t hash[HASH_BYTES],
                                      struct buf *out, struct sorex_error *err)
{
    const struct block_file *file = find(of(source), height);
    if (file == NULL || memcmp(file->hash, hash, HASH_BYTES) != 0)
        return sorex_error_set(err, SOREX_GONE, "no such block of height %u was given", height);
    return file_read(file->path, SOREX_ENTRY_BYTES_MAX, out, err);
}

static void blocks_place(struct source *source, uint32_t height, const uint8_t hash[HASH_BYTES], char *out, size_t size)
{
    const struct block_file *file = find(of(source), height);
    (void)hash;
    if (file != NULL)
        (void)snprintf(out, size, "%s", file->path);
}

const struct source_type source_blocks = {
    .name = "blocks",
    .summary = "raw blocks in files of their own",
    .options = blocks_options,
    .settings_size = sizeof(struct blocks_settings),
    .open = blocks_open,
    .close = blocks_close,
    .tip = blocks_tip,
    .hash_at = blocks_hash_at,
    .fetch = blocks_fetch,
    .place = blocks_place,
};
