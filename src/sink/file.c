/* Two files (docs/formats/sink-file.md): PATH, one change object a line, and PATH.cursor, one JSON object that says how
 * many bytes of PATH belong to which outbox sequence. A batch is: lines behind the offset, fdatasync, the cursor
 * replaced atomically. Whatever lies behind the offset when the sink is opened is the rest of a batch that did not
 * finish, and is cut off. */
#include "sink/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"
#include "base/sha256.h"
#include "json/writer.h"
#include "sink/console.h"

#define CHECK_BYTES 8
#define CURSOR_FORMAT 1
#define CURSOR_BYTES_MAX 4096
#define CHUNK_BYTES ((size_t)1 << 20)

struct file {
    struct sink sink;
    struct json_parser *parser;
    char *path;
    char *cursor_path;
    char *pipeline;
    bool append, fsync;
    int fd;          /* -1 = not open yet */
    uint64_t offset; /* what the cursor says */
    struct buf out;
};

static const struct option file_options[] = {
    {.name = "path",
     .type = OPTION_PATH,
     .offset = offsetof(struct file_settings, path),
     .required = true,
     .text = "the file of JSON lines; its cursor is kept beside it in PATH.cursor"},
    {.name = "append",
     .type = OPTION_BOOL,
     .offset = offsetof(struct file_settings, append),
     .fallback = "true",
     .text = "false: a file that has no cursor yet is emptied first"},
    {.name = "fsync",
     .type = OPTION_BOOL,
     .offset = offsetof(struct file_settings, fsync),
     .fallback = "true",
     .text = "false: safe when the process is killed, not when the power fails"},
    {0}};

static void file_close(struct sink *sink)
{
    struct file *file = (struct file *)sink;
    if (file->fd >= 0)
        (void)close(file->fd);
    json_parser_free(file->parser);
    buf_deinit(&file->out);
    free(file->path);
    free(file->cursor_path);
    free(file->pipeline);
    free(file);
}

static enum sorex_status file_open(const void *settings, const struct sink_context *context, struct sink **out,
                                   struct sorex_error *err)
{
    const struct file_settings *options = settings;
    struct file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    file->sink.type = &sink_file;
    file->fd = -1;
    file->append = options->append;
    file->fsync = options->fsync;
    file->path = strdup(options->path);
    file->pipeline = strdup(context->pipeline);
    if (asprintf(&file->cursor_path, "%s.cursor", options->path) < 0)
        file->cursor_path = NULL;
    enum sorex_status status = SOREX_OK;
    if (file->path == NULL || file->pipeline == NULL || file->cursor_path == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    if (status == SOREX_OK)
        status = json_parser_new(&file->parser, err);
    if (status != SOREX_OK) {
        file_close(&file->sink);
        return status;
    }
    *out = &file->sink;
    return SOREX_OK;
}

/* No room is a state that ends; the rest is not. */
static enum sorex_status failure_status(int code) { return code == ENOSPC || code == EDQUOT ? SOREX_AGAIN : SOREX_IO; }

/* ---- cursor file ---- */

static enum sorex_status cursor_encode(const struct file *file, const struct sink_cursor *cursor, uint64_t offset,
                                       struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "format");
    json_uint(&w, CURSOR_FORMAT);
    json_name(&w, "pipeline");
    json_string_z(&w, file->pipeline);
    json_name(&w, "store");
    json_hex(&w, bytes_of(cursor->store_id, SINK_STORE_ID_BYTES));
    json_name(&w, "sequence");
    json_uint(&w, cursor->sequence);
    json_name(&w, "entry");
    json_hash_display(&w, cursor->hash);
    json_name(&w, "offset");
    json_uint(&w, offset);
    uint8_t check[SHA256_BYTES];
    sha256_once(buf_view(out), check); /* of the text so far */
    json_name(&w, "check");
    json_hex(&w, bytes_of(check, CHECK_BYTES));
    json_object_end(&w);
    TRY(json_writer_finish(&w));
    return buf_append_u8(out, '\n', err);
}

/* Atomic, but not synced: for `fsync: false`. */
static enum sorex_status replace_unsynced(const char *path, struct bytes content, struct sorex_error *err)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "create %s", temporary);
    ssize_t n = write(fd, content.data, content.len);
    int code = n < 0 ? errno : (size_t)n < content.len ? ENOSPC : 0;
    if (close(fd) != 0 && code == 0)
        code = errno;
    if (code == 0 && rename(temporary, path) != 0)
        code = errno;
    return code == 0 ? SOREX_OK : sorex_error_set_errno(err, SOREX_IO, code, "replace %s", path);
}

static enum sorex_status cursor_write(struct file *file, const struct sink_cursor *cursor, uint64_t offset,
                                      struct sorex_error *err)
{
    struct buf text = {0};
    struct sorex_error local = {0};
    enum sorex_status status = cursor_encode(file, cursor, offset, &text, &local);
    if (status == SOREX_OK)
        status = file->fsync ? file_replace(file->cursor_path, buf_view(&text), &local)
                             : replace_unsynced(file->cursor_path, buf_view(&text), &local);
    buf_deinit(&text);
    if (status == SOREX_IO)
        status = failure_status(local.native);
    if (status != SOREX_OK && err != NULL) {
        *err = local;
        err->status = status;
    }
    return status;
}

static enum sorex_status damaged(const struct file *file, struct sorex_error *err)
{
    return sorex_error_set(
        err, SOREX_CORRUPT,
        "%s is not a cursor of this format. Choices: restore it; or move both files away and index again "
        "from the start",
        file->cursor_path);
}

static bool take_hex(const struct json_doc *doc, const char *name, uint8_t *out, size_t len)
{
    const struct json_node *node = json_member(doc, &doc->nodes[0], name);
    if (node == NULL || node->kind != JSON_STRING)
        return false;
    struct buf bytes = {.data = out, .cap = len, .max = len}; /* decodes in place: nothing to run out of */
    return hex_decode(node->text, &bytes, NULL) == SOREX_OK && bytes.len == len;
}

/* A changed digit would cut the file at a wrong place. */
static bool check_fits(const struct json_doc *doc, struct bytes text)
{
    static const char mark[] = ",\"check\":";
    const uint8_t *at = memmem(text.data, text.len, mark, sizeof mark - 1);
    uint8_t stored[CHECK_BYTES];
    uint8_t check[SHA256_BYTES];
    if (at == NULL || !take_hex(doc, "check", stored, CHECK_BYTES))
        return false;
    sha256_once(bytes_of(text.data, (size_t)(at - text.data)), check);
    return memcmp(stored, check, CHECK_BYTES) == 0;
}

static enum sorex_status cursor_decode(struct file *file, struct bytes text, struct sink_cursor *out,
                                       uint64_t *out_offset, struct sorex_error *err)
{
    struct json_doc doc;
    uint64_t format;
    enum sorex_status status = json_parse(file->parser, text, &doc, err);
    if (status == SOREX_NOMEM)
        return status;
    if (status != SOREX_OK || doc.nodes[0].kind != JSON_OBJECT)
        return damaged(file, err);
    const struct json_node *root = &doc.nodes[0];
    const struct json_node *number = json_member(&doc, root, "format");
    if (number == NULL || !json_u64(number, &format))
        return damaged(file, err);
    if (format != CURSOR_FORMAT)
        return sorex_error_set(err, SOREX_MISMATCH, "%s has format %" PRIu64 ", this program writes format %d",
                               file->cursor_path, format, CURSOR_FORMAT);
    const struct json_node *pipeline = json_member(&doc, root, "pipeline");
    const struct json_node *sequence = json_member(&doc, root, "sequence");
    const struct json_node *offset = json_member(&doc, root, "offset");
    const struct json_node *entry = json_member(&doc, root, "entry");
    if (pipeline == NULL || sequence == NULL || offset == NULL || entry == NULL || pipeline->kind != JSON_STRING ||
        entry->kind != JSON_STRING || !json_u64(sequence, &out->sequence) || !json_u64(offset, out_offset) ||
        !take_hex(&doc, "store", out->store_id, SINK_STORE_ID_BYTES) ||
        hash_parse_display(entry->text, out->hash, NULL) != SOREX_OK)
        return damaged(file, err);
    if (!check_fits(&doc, text))
        return damaged(file, err);
    if (!bytes_is(pipeline->text, file->pipeline))
        return sorex_error_set(
            err, SOREX_MISMATCH,
            "%s was written by pipeline \"%.*s\", this one is \"%s\". Choices: name the pipeline as it was "
            "(name:); or give the sink another path",
            file->path, BYTES_FMT(pipeline->text), file->pipeline);
    return SOREX_OK;
}

/* *out_found is false when there is no cursor file. */
static enum sorex_status cursor_load(struct file *file, struct sink_cursor *out, uint64_t *out_offset, bool *out_found,
                                     struct sorex_error *err)
{
    struct stat info;
    *out_found = stat(file->cursor_path, &info) == 0;
    if (!*out_found && errno != ENOENT)
        return sorex_error_set_errno(err, SOREX_IO, errno, "look at %s", file->cursor_path);
    if (!*out_found)
        return SOREX_OK;
    struct buf text = {0};
    enum sorex_status status = file_read(file->cursor_path, CURSOR_BYTES_MAX, &text, err);
    if (status == SOREX_OK)
        status = cursor_decode(file, buf_view(&text), out, out_offset, err);
    buf_deinit(&text);
    return status;
}

/* ---- data file ---- */

static enum sorex_status directory_make(const char *path, struct sorex_error *err)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return SOREX_OK;
    if (snprintf(directory, sizeof directory, "%.*s", (int)(slash - path), path) >= (int)sizeof directory)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", path);
    return file_mkdirs(directory, err);
}

/* Opens the file, and locks it: a second writer would cut off what the first one is writing. */
static enum sorex_status data_open(struct file *file, struct sorex_error *err)
{
    if (file->fd >= 0)
        return SOREX_OK;
    TRY(directory_make(file->path, err));
    int fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return sorex_error_set_errno(err, failure_status(errno), errno, "open %s", file->path);
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        (void)close(fd);
        return sorex_error_set(err, SOREX_INVALID, "%s is not a regular file", file->path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return sorex_error_set(err, SOREX_AGAIN, "another process writes %s", file->path);
    }
    file->fd = fd;
    return SOREX_OK;
}

static enum sorex_status data_cut(struct file *file, uint64_t size, struct sorex_error *err)
{
    if (ftruncate(file->fd, (off_t)size) != 0 || (file->fsync && fsync(file->fd) != 0))
        return sorex_error_set_errno(err, SOREX_IO, errno, "cut %s back to %" PRIu64 " bytes", file->path, size);
    return SOREX_OK;
}

/* The first time: decides what becomes of the content, and writes that down before any line. */
static enum sorex_status data_begin(struct file *file, uint64_t size, struct sorex_error *err)
{
    char last = '\n';
    if (!file->append && size > 0) {
        TRY(data_cut(file, 0, err));
        size = 0;
    }
    if (size > 0 && pread(file->fd, &last, 1, (off_t)size - 1) != 1)
        return sorex_error_set_errno(err, SOREX_IO, errno, "read %s", file->path);
    if (last != '\n')
        return sorex_error_set(
            err, SOREX_INVALID,
            "%s has no cursor and its last line does not end. Choices: end the line; set `append: false` to "
            "empty the file; or give the sink another path",
            file->path);
    struct sink_cursor none = {0};
    TRY(cursor_write(file, &none, size, err));
    file->offset = size;
    return SOREX_OK;
}

static enum sorex_status file_cursor(struct sink *sink, struct sink_cursor *out, struct sorex_error *err)
{
    struct file *file = (struct file *)sink;
    TRY(data_open(file, err));
    struct stat info;
    if (fstat(file->fd, &info) != 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "look at %s", file->path);
    uint64_t size = (uint64_t)info.st_size;
    uint64_t offset = 0;
    bool found;
    TRY(cursor_load(file, out, &offset, &found, err));
    if (!found) {
        TRY(data_begin(file, size, err));
        return sorex_error_set(err, SOREX_GONE, "%s is new", file->path);
    }
    if (size < offset)
        return sorex_error_set(err, SOREX_CORRUPT,
                               "%s has %" PRIu64 " bytes, its cursor says %" PRIu64
                               ". Choices: restore the file; or move both files away and index again from the start",
                               file->path, size, offset);
    if (size > offset)
        TRY(data_cut(file, offset, err));
    file->offset = offset;
    return out->sequence > 0 ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "%s has no change yet", file->path);
}

/* Every write(2) ends at the end of a line, so that a reader of the growing file rarely meets half of one. */
static enum sorex_status data_write(struct file *file, uint64_t *at, struct sorex_error *err)
{
    struct bytes rest = buf_view(&file->out);
    while (rest.len > 0) {
        ssize_t n = pwrite(file->fd, rest.data, rest.len, (off_t)*at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return sorex_error_set_errno(err, failure_status(n == 0 ? ENOSPC : errno), n == 0 ? ENOSPC : errno,
                                         "write %s", file->path);
        *at += (uint64_t)n;
        rest = bytes_of(rest.data + n, rest.len - (size_t)n);
    }
    buf_reset(&file->out);
    return SOREX_OK;
}

static enum sorex_status lines_write(struct file *file, const struct sink_batch *batch, uint64_t *at,
                                     struct sorex_error *err)
{
    buf_reset(&file->out);
    for (size_t i = 0; i < batch->count; i++) {
        TRY(change_line(&batch->changes[i].change, &file->out, err));
        if (file->out.len >= CHUNK_BYTES)
            TRY(data_write(file, at, err));
    }
    TRY(data_write(file, at, err));
    if (file->fsync && batch->count > 0 && fdatasync(file->fd) != 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "sync %s", file->path);
    return SOREX_OK;
}

static enum sorex_status file_apply(struct sink *sink, const struct sink_batch *batch, struct sorex_error *err)
{
    struct file *file = (struct file *)sink;
    CHECK(file->fd >= 0);
    uint64_t at = file->offset;
    enum sorex_status status = lines_write(file, batch, &at, err);
    if (status != SOREX_OK) {
        /* Best effort, so that half a line does not stay for long; opening cuts it off in any case. */
        int ignored = ftruncate(file->fd, (off_t)file->offset);
        (void)ignored;
        return status;
    }
    TRY(cursor_write(file, &batch->cursor, at, err));
    file->offset = at;
    return SOREX_OK;
}

const struct sink_type sink_file = {
    .name = "file",
    .summary = "changes to a file of JSON lines, exactly once",
    .options = file_options,
    .settings_size = sizeof(struct file_settings),
    .holds_cursor = true,
    .open = file_open,
    .close = file_close,
    .cursor = file_cursor,
    .apply = file_apply,
};
