/* Event source "lines": a file of JSON lines, grown while it is read or not, or standard input. One partition. A
 * position knows what stands before it (lines_check.h), so that another file under the same name is refused. Over
 * lines_input.h, which has the bytes. */
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "source/lines_input.h"
#include "source/types.h"

struct lines_settings {
    char *path;
    bool follow;
};

static const struct option lines_options[] = {
    {.name = "path",
     .type = OPTION_PATH,
     .offset = offsetof(struct lines_settings, path),
     .required = true,
     .text = "the file, one event a line; \"-\": standard input"},
    {.name = "follow",
     .type = OPTION_BOOL,
     .offset = offsetof(struct lines_settings, follow),
     .fallback = "false",
     .text = "wait at the end of the file for more, instead of ending there"},
    {.name = NULL},
};

struct lines {
    struct event_source source;
    struct lines_input input;
    char *path;
    struct event_partition partition;
    struct event_record *records;
    size_t count, cap;
};

static struct lines *of(struct event_source *source) { return (struct lines *)source; }

static void lines_close(struct event_source *source)
{
    struct lines *self = of(source);
    lines_input_close(&self->input);
    free(self->records);
    free(self->path);
    free(self);
}

static enum sorex_status lines_open(const void *settings, const struct event_source_context *context,
                                    struct event_source **out, struct sorex_error *err)
{
    const struct lines_settings *given = settings;
    struct lines *self = calloc(1, sizeof *self);
    char *path = strdup(given->path);
    if (self == NULL || path == NULL) {
        free(self);
        free(path);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a source");
    }
    const char *slash = strrchr(path, '/');
    self->source.type = &event_source_lines;
    self->path = path;
    self->partition.name = slash != NULL ? slash + 1 : path;
    enum sorex_status status = lines_input_open(&self->input, path, given->follow, context->until_end, err);
    if (status != SOREX_OK) {
        lines_close(&self->source);
        return status;
    }
    *out = &self->source;
    return SOREX_OK;
}

/* ---- polling ---- */

/* A last line without an end is one when nothing can come behind it. */
static bool last_line(const struct lines_input *input)
{
    return input->ended && !input->follow && input->buf.len > input->at;
}

static bool too_long(const struct lines_input *input)
{
    return input->whole == input->at && input->buf.len - input->at > SOREX_CHANGE_BYTES_MAX;
}

/* Waits until there is a line, or something else to say. */
static enum sorex_status gather(struct lines_input *input, const struct event_limits *limits, struct sorex_error *err)
{
    uint64_t now = clock_ms(), end = now + limits->wait_ms;
    TRY(lines_input_wait(input, 0, err));
    for (;;) {
        if (input->whole == input->at || input->buf.len - input->at < limits->bytes / 2)
            TRY(lines_input_fill(input, limits->bytes, err));
        if (input->whole > input->at || input->ended || too_long(input) || now >= end)
            return SOREX_OK;
        TRY(lines_input_wait(input, end - now, err));
        now = clock_ms();
    }
}

static bool blank(struct bytes line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r')
            return false;
    return true;
}

static enum sorex_status record_add(struct lines *self, struct bytes line, struct sorex_error *err)
{
    if (self->count == self->cap) {
        size_t cap = self->cap != 0 ? self->cap * 2 : 256;
        struct event_record *records = realloc(self->records, cap * sizeof *records);
        if (records == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu records", cap);
        self->records = records;
        self->cap = cap;
    }
    self->records[self->count++] =
        (struct event_record){.text = line, .number = self->input.number, .next = lines_input_position(&self->input)};
    return SOREX_OK;
}

/* The next line, without its end. False: there is none. */
static bool line_next(const struct lines_input *input, struct bytes *out_line, size_t *out_step)
{
    if (input->at == input->buf.len)
        return false;
    const uint8_t *at = input->buf.data + input->at;
    if (input->whole > input->at) {
        const uint8_t *end = memchr(at, '\n', input->whole - input->at);
        *out_line = bytes_of(at, (size_t)(end - at));
        *out_step = out_line->len + 1;
        return true;
    }
    if (!last_line(input) && !too_long(input))
        return false;
    *out_line = bytes_of(at, input->buf.len - input->at);
    *out_step = out_line->len;
    return true;
}

/* Whole lines become records, slices of the buffer. */
static enum sorex_status cut(struct lines *self, const struct event_limits *limits, struct sorex_error *err)
{
    struct lines_input *input = &self->input;
    struct bytes line;
    size_t step, bytes = 0;
    while (self->count < limits->records && line_next(input, &line, &step)) {
        bytes += line.len;
        if (self->count > 0 && (bytes > limits->bytes || line.len > SOREX_CHANGE_BYTES_MAX))
            break;
        if (line.len > SOREX_CHANGE_BYTES_MAX)
            return sorex_error_set(err, SOREX_LIMIT, "%s: line %llu: longer than %zu bytes", input->name,
                                   (unsigned long long)input->number + !input->inside, SOREX_CHANGE_BYTES_MAX);
        lines_input_take(input, step);
        if (!blank(line))
            TRY(record_add(self, line, err));
    }
    return SOREX_OK;
}

static enum sorex_status lines_poll(struct event_source *source, const struct event_limits *limits,
                                    struct event_batch *out, struct sorex_error *err)
{
    struct lines *self = of(source);
    struct lines_input *input = &self->input;
    self->count = 0;
    *out =
        (struct event_batch){.partitions = &self->partition, .partition_count = 1, .assigned = !self->partition.placed};
    if (out->assigned)
        return lines_input_wait(input, 0, err);
    TRY(gather(input, limits, err));
    TRY(cut(self, limits, err));
    bool empty = input->whole == input->at && !last_line(input);
    out->records = self->records;
    out->count = self->count;
    out->caught_up = empty && input->drained;
    out->ended = empty && input->ended;
    self->partition.end = input->end;
    return SOREX_OK;
}

/* ---- positions ---- */

static enum sorex_status lines_seek(struct event_source *source, const char *partition, const struct position *position,
                                    struct sorex_error *err)
{
    struct lines *self = of(source);
    const struct position beginning = {0};
    CHECK(strcmp(partition, self->partition.name) == 0);
    TRY(lines_input_seek(&self->input, position != NULL ? position : &beginning, err));
    self->partition.placed = true;
    return SOREX_OK;
}

static void lines_delivered(struct event_source *source, const char *partition, const struct position *to)
{
    struct lines *self = of(source);
    (void)partition;
    if (self->input.delivered < to->offset)
        self->input.delivered = to->offset;
}

static void lines_interrupt(struct event_source *source) { lines_input_interrupt(&of(source)->input); }

const struct event_source_type event_source_lines = {
    .name = "lines",
    .summary = "events, one a line, of a file or of standard input",
    .options = lines_options,
    .settings_size = sizeof(struct lines_settings),
    .open = lines_open,
    .close = lines_close,
    .poll = lines_poll,
    .seek = lines_seek,
    .delivered = lines_delivered,
    .interrupt = lines_interrupt,
};
