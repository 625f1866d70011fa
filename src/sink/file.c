/* Two files (docs/formats/sink-file.md): PATH, one change object a line, and PATH.cursor, one JSON object that says how
 * many bytes of PATH belong to which place of the outbox or of a stream's source; of a stream, a third one for dead
 * letters, whose bytes are counted in PATH.cursor too. A batch is: lines behind the offsets, fdatasync, the cursor
 * replaced atomically. Whatever lies behind an offset when the sink is opened is the rest of a batch that did not
 * finish, and is cut off. */
#include "sink/file.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "json/utf8.h"
#include "sink/line.h"
#include "sink/sidecar.h"
#include "sink/tail.h"

struct file {
    struct sink sink;
    struct json_parser *parser;
    char *cursor_path;
    char *pipeline;
    bool append;
    struct tail lines;
    struct tail dead; /* path NULL: none */
    char *dead_name;  /* as the cursor has it */
    struct sidecar sidecar;
    bool placed; /* the files are as the sidecar says, and it is as its file says */
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
    {.name = "dead_letters",
     .type = OPTION_PATH,
     .offset = offsetof(struct file_settings, dead_letters),
     .text = "of a stream: file that events which failed are appended to, with their errors, as exactly as the rest"},
    {0}};

/* ---- open, close ---- */

static void file_close(struct sink *sink)
{
    struct file *file = (struct file *)sink;
    tail_deinit(&file->lines);
    tail_deinit(&file->dead);
    sidecar_deinit(&file->sidecar);
    json_parser_free(file->parser);
    free(file->cursor_path);
    free(file->pipeline);
    free(file->dead_name);
    free(file);
}

/* The name of a file that lies in the folder of `path`, so that the folder can be moved as a whole. */
static const char *name_beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    return strncmp(name, path, len) == 0 ? name + len : name;
}

static enum sorex_status dead_init(struct file *file, const struct file_settings *options, struct sorex_error *err)
{
    if (strcmp(options->dead_letters, options->path) == 0 || strcmp(options->dead_letters, file->cursor_path) == 0)
        return sorex_error_set(err, SOREX_INVALID, "dead_letters: must be another file than path and its cursor");
    file->dead_name = strdup(name_beside(options->path, options->dead_letters));
    if (file->dead_name == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    return tail_init(&file->dead, options->dead_letters, options->fsync, err);
}

static enum sorex_status file_init(struct file *file, const struct file_settings *options,
                                   const struct sink_context *context, struct sorex_error *err)
{
    file->append = options->append;
    file->pipeline = strdup(context->pipeline);
    if (asprintf(&file->cursor_path, "%s.cursor", options->path) < 0)
        file->cursor_path = NULL;
    if (file->pipeline == NULL || file->cursor_path == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    file->sidecar = (struct sidecar){
        .path = file->cursor_path, .pipeline = file->pipeline, .stream = context->stream, .fsync = options->fsync};
    TRY(tail_init(&file->lines, options->path, options->fsync, err));
    if (options->dead_letters != NULL && !context->stream)
        return sorex_error_set(err, SOREX_INVALID,
                               "dead_letters: only a stream has dead letters (source: lines or kafka)");
    if (options->dead_letters != NULL)
        TRY(dead_init(file, options, err));
    return json_parser_new(&file->parser, err);
}

static enum sorex_status file_open(const void *settings, const struct sink_context *context, struct sink **out,
                                   struct sorex_error *err)
{
    struct file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    file->sink.type = &sink_file;
    enum sorex_status status = file_init(file, settings, context, err);
    if (status != SOREX_OK) {
        file_close(&file->sink);
        return status;
    }
    *out = &file->sink;
    return SOREX_OK;
}

/* ---- where it stands ---- */

/* The first time: decides what becomes of the content, and writes that down before any line. */
static enum sorex_status begin(struct file *file, bool known, struct sorex_error *err)
{
    struct sidecar *sidecar = &file->sidecar;
    if (!known)
        TRY(tail_begin(&file->lines, file->append, err));
    if (file->dead.path != NULL)
        TRY(tail_begin(&file->dead, known || file->append, err));
    char *name = file->dead.path == NULL ? NULL : strdup(file->dead_name);
    if (name == NULL && file->dead.path != NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    free(sidecar->dead_file);
    sidecar->dead_file = name;
    sidecar->dead_offset = file->dead.length;
    sidecar->offset = file->lines.length;
    return sidecar_write(sidecar, err);
}

/* Whether the sidecar speaks of the file of dead letters that there is, or there is none. One that was emptied or moved
 * away, by whoever sent the letters again, begins anew. */
static enum sorex_status dead_known(const struct file *file, bool *out, struct sorex_error *err)
{
    const struct sidecar *sidecar = &file->sidecar;
    uint64_t size;
    *out = sidecar->dead_file == NULL;
    if (file->dead.path == NULL)
        return SOREX_OK;
    TRY(tail_size(&file->dead, &size, err));
    *out = sidecar->dead_file != NULL && strcmp(sidecar->dead_file, file->dead_name) == 0 &&
           (size > 0 || sidecar->dead_offset == 0);
    return SOREX_OK;
}

/* Makes the files what the sidecar says. */
static enum sorex_status place(struct file *file, struct sorex_error *err)
{
    bool found;
    bool known;
    file->placed = false;
    TRY(tail_open(&file->lines, err));
    if (file->dead.path != NULL)
        TRY(tail_open(&file->dead, err));
    TRY(sidecar_read(&file->sidecar, file->parser, &found, err));
    if (found)
        TRY(tail_restore(&file->lines, file->sidecar.offset, err));
    TRY(dead_known(file, &known, err));
    if (found && known && file->dead.path != NULL)
        TRY(tail_restore(&file->dead, file->sidecar.dead_offset, err));
    if (!found || !known)
        TRY(begin(file, found, err));
    file->placed = true;
    return SOREX_OK;
}

static enum sorex_status file_cursor(struct sink *sink, struct sink_cursor *out, struct sorex_error *err)
{
    struct file *file = (struct file *)sink;
    TRY(place(file, err));
    *out = file->sidecar.cursor;
    return out->sequence > 0 ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "%s has no change yet", file->lines.path);
}

static enum sorex_status file_position(struct sink *sink, const char *partition, void *group, struct position *out,
                                       struct sorex_error *err)
{
    (void)group;
    struct file *file = (struct file *)sink;
    if (!utf8_valid(bytes_str(partition)))
        return sorex_error_set(err, SOREX_INVALID, "the name of the source's partition \"%s\" is not UTF-8", partition);
    if (!file->placed)
        TRY(place(file, err));
    const struct sidecar_position *known = sidecar_position_find(&file->sidecar, partition);
    if (known == NULL)
        return sorex_error_set(err, SOREX_GONE, "%s has nothing of %s yet", file->lines.path, partition);
    *out = known->at;
    return SOREX_OK;
}

/* ---- batch ---- */

static enum sorex_status lines_write(struct file *file, const struct sink_batch *batch, struct sorex_error *err)
{
    for (size_t i = 0; i < batch->count; i++) {
        TRY(line_change(&batch->changes[i].change, &file->lines.out, err));
        TRY(tail_line(&file->lines, err));
    }
    TRY(tail_flush(&file->lines, err));
    if (file->dead.path == NULL)
        return SOREX_OK;
    for (size_t i = 0; i < batch->dead_count; i++) {
        TRY(line_dead(&batch->dead[i], &file->dead.out, err));
        TRY(tail_line(&file->dead, err));
    }
    return tail_flush(&file->dead, err);
}

/* The file is locked, so nobody else moves a position: another value means that the caller did not ask. */
static enum sorex_status positions_compare(const struct file *file, const struct sink_batch *batch,
                                           struct sorex_error *err)
{
    for (size_t i = 0; i < batch->position_count; i++) {
        const struct sink_position *position = &batch->positions[i];
        const struct sidecar_position *known = sidecar_position_find(&file->sidecar, position->partition);
        if (position->first ? known != NULL : known == NULL || !position_equal(&known->at, &position->from))
            return sorex_error_set(err, SOREX_AGAIN, "%s does not stand where the batch of %s begins", file->lines.path,
                                   position->partition);
    }
    return SOREX_OK;
}

static enum sorex_status positions_set(struct file *file, const struct sink_batch *batch, struct sorex_error *err)
{
    for (size_t i = 0; i < batch->position_count; i++) {
        const struct sink_position *position = &batch->positions[i];
        struct sidecar_position *known = sidecar_position_find(&file->sidecar, position->partition);
        if (known != NULL)
            known->at = position->to;
        else
            TRY(sidecar_position_add(&file->sidecar, bytes_str(position->partition), &position->to, err));
    }
    return SOREX_OK;
}

/* From here on only its file knows what the sidecar is, until it is written or read again. */
static enum sorex_status sidecar_move(struct file *file, const struct sink_batch *batch, struct sorex_error *err)
{
    file->placed = false;
    TRY(positions_set(file, batch, err));
    file->sidecar.cursor = batch->cursor;
    file->sidecar.offset = file->lines.at;
    file->sidecar.dead_offset = file->dead.at;
    TRY(sidecar_write(&file->sidecar, err));
    tail_keep(&file->lines);
    tail_keep(&file->dead);
    file->placed = true;
    return SOREX_OK;
}

static enum sorex_status file_apply(struct sink *sink, const struct sink_batch *batch, struct sorex_error *err)
{
    struct file *file = (struct file *)sink;
    if (!file->placed)
        return sorex_error_set(err, SOREX_AGAIN, "%s: where it stands has to be read again", file->lines.path);
    TRY(positions_compare(file, batch, err));
    enum sorex_status status = lines_write(file, batch, err);
    if (status == SOREX_OK)
        return sidecar_move(file, batch, err);
    file->placed = false;
    tail_drop(&file->lines);
    if (file->dead.path != NULL)
        tail_drop(&file->dead);
    return status;
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
    .position = file_position,
};
