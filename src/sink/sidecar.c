#include "sink/sidecar.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"
#include "base/sha256.h"
#include "json/writer.h"
#include "sink/tail.h"

#define CHECK_BYTES 8
#define FORMAT_OUTBOX 1
#define FORMAT_STREAM 2
#define BYTES_MAX ((size_t)64 << 20)

static void forget(struct sidecar *sidecar)
{
    while (sidecar->position_count > 0)
        free(sidecar->positions[--sidecar->position_count].partition);
    free(sidecar->dead_file);
    sidecar->dead_file = NULL;
    sidecar->offset = sidecar->dead_offset = 0;
    sidecar->cursor = (struct sink_cursor){0};
}

void sidecar_deinit(struct sidecar *sidecar)
{
    forget(sidecar);
    free(sidecar->positions);
    sidecar->positions = NULL;
    sidecar->position_cap = 0;
}

/* ---- positions ---- */

struct sidecar_position *sidecar_position_find(const struct sidecar *sidecar, const char *partition)
{
    for (size_t i = 0; i < sidecar->position_count; i++)
        if (strcmp(sidecar->positions[i].partition, partition) == 0)
            return &sidecar->positions[i];
    return NULL;
}

enum sorex_status sidecar_position_add(struct sidecar *sidecar, struct bytes partition, const struct position *at,
                                       struct sorex_error *err)
{
    if (sidecar->position_count == sidecar->position_cap) {
        size_t cap = sidecar->position_cap == 0 ? 16 : sidecar->position_cap * 2;
        struct sidecar_position *grown = realloc(sidecar->positions, cap * sizeof *grown);
        if (grown == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory");
        sidecar->positions = grown;
        sidecar->position_cap = cap;
    }
    char *name = strndup((const char *)partition.data, partition.len);
    if (name == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    sidecar->positions[sidecar->position_count++] = (struct sidecar_position){name, *at};
    return SOREX_OK;
}

/* ---- writing ---- */

static void cursor_encode(const struct sidecar *sidecar, struct json_writer *w)
{
    json_name(w, "store");
    json_hex(w, bytes_of(sidecar->cursor.store_id, SINK_STORE_ID_BYTES));
    json_name(w, "sequence");
    json_uint(w, sidecar->cursor.sequence);
    json_name(w, "entry");
    json_hash_display(w, sidecar->cursor.hash);
}

static void positions_encode(const struct sidecar *sidecar, struct json_writer *w)
{
    json_name(w, "positions");
    json_array_begin(w);
    for (size_t i = 0; i < sidecar->position_count; i++) {
        const struct sidecar_position *position = &sidecar->positions[i];
        uint8_t hash[8];
        for (size_t b = 0; b < sizeof hash; b++)
            hash[b] = (uint8_t)(position->at.check >> (56 - 8 * b));
        json_object_begin(w);
        json_name(w, "partition");
        json_string_z(w, position->partition);
        json_name(w, "offset");
        json_uint(w, position->at.offset);
        json_name(w, "number");
        json_uint(w, position->at.number);
        json_name(w, "hash");
        json_hex(w, bytes_of(hash, sizeof hash));
        json_object_end(w);
    }
    json_array_end(w);
}

static enum sorex_status encode(const struct sidecar *sidecar, struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "format");
    json_uint(&w, sidecar->stream ? FORMAT_STREAM : FORMAT_OUTBOX);
    json_name(&w, "pipeline");
    json_string_z(&w, sidecar->pipeline);
    if (sidecar->stream)
        positions_encode(sidecar, &w);
    else
        cursor_encode(sidecar, &w);
    json_name(&w, "offset");
    json_uint(&w, sidecar->offset);
    if (sidecar->dead_file != NULL) {
        json_name(&w, "dead");
        json_object_begin(&w);
        json_name(&w, "file");
        json_string_z(&w, sidecar->dead_file);
        json_name(&w, "offset");
        json_uint(&w, sidecar->dead_offset);
        json_object_end(&w);
    }
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

enum sorex_status sidecar_write(const struct sidecar *sidecar, struct sorex_error *err)
{
    struct buf text = {0};
    struct sorex_error local = {0};
    enum sorex_status status = encode(sidecar, &text, &local);
    if (status == SOREX_OK)
        status = sidecar->fsync ? file_replace(sidecar->path, buf_view(&text), &local)
                                : replace_unsynced(sidecar->path, buf_view(&text), &local);
    buf_deinit(&text);
    if (status == SOREX_IO)
        status = tail_failure(local.native);
    if (status != SOREX_OK && err != NULL) {
        *err = local;
        err->status = status;
    }
    return status;
}

/* ---- reading ---- */

static enum sorex_status damaged(const struct sidecar *sidecar, struct sorex_error *err)
{
    return sorex_error_set(
        err, SOREX_CORRUPT,
        "%s is not a cursor of this format. Choices: restore it; or move the sink's files away and begin again "
        "from the start",
        sidecar->path);
}

static bool take_hex(const struct json_doc *doc, const struct json_node *object, const char *name, uint8_t *out,
                     size_t len)
{
    const struct json_node *node = json_member(doc, object, name);
    if (node == NULL || node->kind != JSON_STRING)
        return false;
    struct buf bytes = {.data = out, .cap = len, .max = len}; /* decodes in place: nothing to run out of */
    return hex_decode(node->text, &bytes, NULL) == SOREX_OK && bytes.len == len;
}

static bool take_u64(const struct json_doc *doc, const struct json_node *object, const char *name, uint64_t *out)
{
    const struct json_node *node = json_member(doc, object, name);
    return node != NULL && json_u64(node, out);
}

/* A string without U+0000, which no name of a partition or file has. */
static const struct json_node *take_name(const struct json_doc *doc, const struct json_node *object, const char *name)
{
    const struct json_node *node = json_member(doc, object, name);
    if (node == NULL || node->kind != JSON_STRING || memchr(node->text.data, 0, node->text.len) != NULL)
        return NULL;
    return node;
}

/* A changed digit would cut the file at a wrong place. */
static bool check_fits(const struct json_doc *doc, struct bytes text)
{
    static const char mark[] = ",\"check\":";
    const uint8_t *at = memmem(text.data, text.len, mark, sizeof mark - 1);
    uint8_t stored[CHECK_BYTES];
    uint8_t check[SHA256_BYTES];
    if (at == NULL || !take_hex(doc, &doc->nodes[0], "check", stored, CHECK_BYTES))
        return false;
    sha256_once(bytes_of(text.data, (size_t)(at - text.data)), check);
    return memcmp(stored, check, CHECK_BYTES) == 0;
}

static bool cursor_decode(struct sidecar *sidecar, const struct json_doc *doc)
{
    const struct json_node *root = &doc->nodes[0];
    const struct json_node *entry = json_member(doc, root, "entry");
    struct sink_cursor *cursor = &sidecar->cursor;
    return take_u64(doc, root, "sequence", &cursor->sequence) &&
           take_hex(doc, root, "store", cursor->store_id, SINK_STORE_ID_BYTES) && entry != NULL &&
           entry->kind == JSON_STRING && hash_parse_display(entry->text, cursor->hash, NULL) == SOREX_OK;
}

static enum sorex_status position_decode(struct sidecar *sidecar, const struct json_doc *doc,
                                         const struct json_node *object, struct sorex_error *err)
{
    struct position at = {0};
    uint8_t hash[8];
    if (object->kind != JSON_OBJECT)
        return damaged(sidecar, err);
    const struct json_node *name = take_name(doc, object, "partition");
    if (name == NULL || !take_u64(doc, object, "offset", &at.offset) || !take_u64(doc, object, "number", &at.number) ||
        !take_hex(doc, object, "hash", hash, sizeof hash))
        return damaged(sidecar, err);
    for (size_t b = 0; b < sizeof hash; b++)
        at.check = at.check << 8 | hash[b];
    TRY(sidecar_position_add(sidecar, name->text, &at, err));
    const char *added = sidecar->positions[sidecar->position_count - 1].partition;
    const struct sidecar_position *first = sidecar_position_find(sidecar, added);
    return first != NULL && first->partition == added ? SOREX_OK : damaged(sidecar, err);
}

static enum sorex_status stream_decode(struct sidecar *sidecar, const struct json_doc *doc, struct sorex_error *err)
{
    const struct json_node *positions = json_member(doc, &doc->nodes[0], "positions");
    if (positions == NULL || positions->kind != JSON_ARRAY)
        return damaged(sidecar, err);
    for (const struct json_node *node = json_first(doc, positions); node != NULL; node = json_next(doc, node))
        TRY(position_decode(sidecar, doc, node, err));
    const struct json_node *dead = json_member(doc, &doc->nodes[0], "dead");
    if (dead == NULL)
        return SOREX_OK;
    const struct json_node *file = dead->kind == JSON_OBJECT ? take_name(doc, dead, "file") : NULL;
    if (file == NULL || !take_u64(doc, dead, "offset", &sidecar->dead_offset))
        return damaged(sidecar, err);
    sidecar->dead_file = strndup((const char *)file->text.data, file->text.len);
    return sidecar->dead_file != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory");
}

static enum sorex_status format_check(const struct sidecar *sidecar, uint64_t format, struct sorex_error *err)
{
    if (format == (sidecar->stream ? FORMAT_STREAM : FORMAT_OUTBOX))
        return SOREX_OK;
    if (format != FORMAT_OUTBOX && format != FORMAT_STREAM)
        return sorex_error_set(err, SOREX_MISMATCH, "%s has format %" PRIu64 ", this program writes formats %d and %d",
                               sidecar->path, format, FORMAT_OUTBOX, FORMAT_STREAM);
    return sorex_error_set(err, SOREX_MISMATCH,
                           "%s was written by a pipeline that follows %s, this one follows %s. Choices: give the sink "
                           "another path; or move "
                           "the sink's files away and begin again from the start",
                           sidecar->path, sidecar->stream ? "a chain" : "a stream",
                           sidecar->stream ? "a stream" : "a chain");
}

static enum sorex_status decode(struct sidecar *sidecar, struct json_parser *parser, struct bytes text,
                                struct sorex_error *err)
{
    struct json_doc doc;
    uint64_t format;
    enum sorex_status status = json_parse(parser, text, &doc, err);
    if (status == SOREX_NOMEM)
        return status;
    if (status != SOREX_OK || doc.nodes[0].kind != JSON_OBJECT || !take_u64(&doc, &doc.nodes[0], "format", &format))
        return damaged(sidecar, err);
    TRY(format_check(sidecar, format, err));
    const struct json_node *pipeline = json_member(&doc, &doc.nodes[0], "pipeline");
    if (pipeline == NULL || pipeline->kind != JSON_STRING ||
        !take_u64(&doc, &doc.nodes[0], "offset", &sidecar->offset) || !check_fits(&doc, text))
        return damaged(sidecar, err);
    if (sidecar->stream)
        TRY(stream_decode(sidecar, &doc, err));
    else if (!cursor_decode(sidecar, &doc))
        return damaged(sidecar, err);
    if (!bytes_is(pipeline->text, sidecar->pipeline))
        return sorex_error_set(
            err, SOREX_MISMATCH,
            "%s was written by pipeline \"%.*s\", this one is \"%s\". Choices: name the pipeline as it was "
            "(name:); or give the sink another path",
            sidecar->path, BYTES_FMT(pipeline->text), sidecar->pipeline);
    return SOREX_OK;
}

enum sorex_status sidecar_read(struct sidecar *sidecar, struct json_parser *parser, bool *out_found,
                               struct sorex_error *err)
{
    struct stat info;
    forget(sidecar);
    *out_found = stat(sidecar->path, &info) == 0;
    if (!*out_found && errno != ENOENT)
        return sorex_error_set_errno(err, SOREX_IO, errno, "look at %s", sidecar->path);
    if (!*out_found)
        return SOREX_OK;
    struct buf text = {0};
    enum sorex_status status = file_read(sidecar->path, BYTES_MAX, &text, err);
    if (status == SOREX_OK)
        status = decode(sidecar, parser, buf_view(&text), err);
    buf_deinit(&text);
    return status;
}
