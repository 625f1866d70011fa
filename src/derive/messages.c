#include "derive/messages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/limits.h"
#include "source/lines_input.h"

#define CHECK_BYTES 8u
#define WRITE_BYTES ((size_t)256 << 10)
#define READ_BYTES ((size_t)64 << 10)

enum form { FORM_UNKNOWN, FORM_LINES, FORM_FRAMES };

struct messages {
    struct lines_input input;
    struct json_parser *parser;
    struct messages_options options;
    enum form form;
    bool torn;
    struct buf canonical; /* of a line */
    struct log_end end;
    struct sha256 content; /* of the lines that were taken */
    bool line_end;         /* the last of them had one */
};

enum sorex_status messages_open(const char *path, const struct messages_options *options, struct messages **out,
                                struct sorex_error *err)
{
    struct messages *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a log of messages");
    if (options != NULL)
        self->options = *options;
    log_end_init(&self->end);
    enum sorex_status status = lines_input_open(&self->input, path, self->options.follow, false, err);
    if (status == SOREX_OK)
        status = json_parser_new(&self->parser, err);
    if (status == SOREX_OK)
        status = sha256_init(&self->content, err);
    if (status != SOREX_OK) {
        messages_close(self);
        return status;
    }
    *out = self;
    return SOREX_OK;
}

void messages_close(struct messages *messages)
{
    if (messages == NULL)
        return;
    lines_input_close(&messages->input);
    json_parser_free(messages->parser);
    buf_deinit(&messages->canonical);
    sha256_deinit(&messages->content);
    free(messages);
}

enum sorex_status messages_seek(struct messages *messages, uint64_t offset, const struct log_end *end,
                                struct sorex_error *err)
{
    TRY(lines_input_seek(&messages->input, &(struct position){.offset = offset, .number = end->count}, err));
    messages->form = offset == 0 ? FORM_UNKNOWN : FORM_FRAMES;
    messages->torn = false;
    messages->end = *end;
    return SOREX_OK;
}

static struct bytes unread(const struct lines_input *input)
{
    return bytes_of(input->buf.data + input->at, input->buf.len - input->at);
}

/* ---- lines ---- */

static bool blank(struct bytes line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r')
            return false;
    return true;
}

static enum sorex_status at_line(const struct messages *self, struct sorex_error *err)
{
    return sorex_error_prefix(err, "%s: line %llu", self->input.name, (unsigned long long)self->input.number + 1);
}

static void line_take(struct messages *self, size_t step)
{
    struct bytes line = bytes_of(unread(&self->input).data, step);
    sha256_update(&self->content, line);
    self->line_end = line.data[step - 1] == '\n';
    lines_input_take(&self->input, step);
}

/* *out: the next line; data NULL: there is no whole one. */
static enum sorex_status line_next(const struct messages *self, struct bytes *out, size_t *out_step,
                                   struct sorex_error *err)
{
    const struct lines_input *input = &self->input;
    struct bytes rest = unread(input);
    const uint8_t *end = input->whole > input->at ? memchr(rest.data, '\n', input->whole - input->at) : NULL;
    *out = (struct bytes){0};
    if (end != NULL) {
        *out = bytes_of(rest.data, (size_t)(end - rest.data));
        *out_step = out->len + 1;
    } else if (input->ended && !self->options.follow && rest.len > 0) { /* a last line without an end */
        *out = rest;
        *out_step = rest.len;
    }
    size_t len = out->data != NULL ? out->len : rest.len;
    if (len <= SOREX_CHANGE_BYTES_MAX)
        return SOREX_OK;
    (void)sorex_error_set(err, SOREX_LIMIT, "longer than %zu bytes", SOREX_CHANGE_BYTES_MAX);
    return at_line(self, err);
}

static enum sorex_status take_line(struct messages *self, bool *out_one, struct logged *out, struct sorex_error *err)
{
    struct bytes line;
    size_t step = 0;
    for (;;) {
        TRY(line_next(self, &line, &step, err));
        if (line.data == NULL)
            return SOREX_OK;
        if (!blank(line))
            break;
        line_take(self, step);
    }
    buf_reset(&self->canonical);
    enum sorex_status status = message_parse(self->parser, line, &self->canonical, err);
    if (status == SOREX_OK)
        status = log_end_add(&self->end, buf_view(&self->canonical), out, err);
    if (status != SOREX_OK)
        return at_line(self, err);
    line_take(self, step);
    *out_one = true;
    return SOREX_OK;
}

/* ---- marks ---- */

bool messages_mark(const struct messages *messages, struct messages_mark *out)
{
    if (messages->form != FORM_LINES || !messages->input.regular || !messages->line_end)
        return false;
    out->position = lines_input_position(&messages->input);
    out->end = messages->end;
    sha256_peek(&messages->content, out->content);
    return true;
}

/* Hashes a file's first bytes. *out false: there are not as many. */
static enum sorex_status beginning_hash(struct messages *self, uint64_t bytes, bool *out, struct sorex_error *err)
{
    struct buf block = {0};
    enum sorex_status status = buf_reserve(&block, READ_BYTES, err);
    for (uint64_t at = 0; status == SOREX_OK && at < bytes;) {
        size_t want = bytes - at < READ_BYTES ? (size_t)(bytes - at) : READ_BYTES;
        ssize_t n = pread(self->input.fd, block.data, want, (off_t)at);
        if (n == 0)
            break;
        if (n > 0)
            sha256_update(&self->content, bytes_of(block.data, (size_t)n));
        else if (errno != EINTR)
            status = sorex_error_set_errno(err, SOREX_IO, errno, "read %s", self->input.name);
        at += n > 0 ? (uint64_t)n : 0;
        *out = at == bytes;
    }
    buf_deinit(&block);
    return status;
}

enum sorex_status messages_resume(struct messages *messages, const struct messages_mark *mark, bool *out,
                                  struct sorex_error *err)
{
    uint8_t content[SHA256_BYTES];
    *out = false;
    if (!messages->input.regular || messages->form != FORM_UNKNOWN)
        return SOREX_OK;
    TRY(beginning_hash(messages, mark->position.offset, out, err));
    sha256_peek(&messages->content, content);
    *out = *out && memcmp(content, mark->content, SHA256_BYTES) == 0;
    if (!*out) {
        sha256_start(&messages->content);
        return SOREX_OK;
    }
    TRY(lines_input_seek(&messages->input, &mark->position, err));
    messages->form = FORM_LINES;
    messages->line_end = true;
    messages->end = mark->end;
    return SOREX_OK;
}

/* ---- frames ---- */

static enum sorex_status frame_bad(struct messages *self, const char *what, struct sorex_error *err)
{
    self->torn = true;
    if (self->options.torn_end)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_CORRUPT, "%s: message %llu: %s", self->input.name,
                           (unsigned long long)self->end.count + 1, what);
}

/* Bytes of the frame that begins here; 0: its head is not there yet. */
static size_t frame_bytes(struct bytes rest)
{
    return rest.len < MESSAGES_FRAME_HEAD_BYTES ? 0 : MESSAGES_FRAME_HEAD_BYTES + u32le_get(rest.data);
}

static enum sorex_status frame_read(struct messages *self, struct bytes frame, bool *out_one, struct logged *out,
                                    struct sorex_error *err)
{
    struct log_end end = self->end;
    struct bytes canonical = bytes_of(frame.data + MESSAGES_FRAME_HEAD_BYTES, frame.len - MESSAGES_FRAME_HEAD_BYTES);
    struct sorex_error decode = {0};
    enum sorex_status status = log_end_add(&end, canonical, out, &decode);
    if (status != SOREX_OK) { /* the check tells whether the bytes are as they were written */
        memcpy(out->log, self->end.log, SHA256_BYTES);
        TRY(message_hash(canonical, out->hash, err));
        chain_add(out->log, out->hash);
    }
    if (memcmp(out->log, frame.data + 4, CHECK_BYTES) != 0)
        return frame_bad(self, "the check does not fit: it was changed, or another one was left out or moved", err);
    if (status != SOREX_OK) {
        (void)sorex_error_set(err, status, "%s", decode.text);
        return sorex_error_prefix(err, "%s: message %llu", self->input.name, (unsigned long long)self->end.count + 1);
    }
    self->end = end;
    lines_input_take(&self->input, frame.len);
    *out_one = true;
    return SOREX_OK;
}

static enum sorex_status take_frame(struct messages *self, bool *out_one, struct logged *out, struct sorex_error *err)
{
    struct bytes rest = unread(&self->input);
    size_t size = frame_bytes(rest);
    if (self->torn || rest.len == 0)
        return SOREX_OK;
    if (size > MESSAGES_FRAME_HEAD_BYTES + MESSAGE_BYTES_MAX)
        return frame_bad(self, "longer than messages are", err);
    if (size != 0 && rest.len >= size)
        return frame_read(self, bytes_of(rest.data, size), out_one, out, err);
    return self->input.ended ? frame_bad(self, "cut off: the log ends within it", err) : SOREX_OK;
}

/* ---- both ---- */

static enum sorex_status form_find(struct messages *self, struct sorex_error *err)
{
    struct bytes rest = unread(&self->input);
    size_t magic = rest.len < MESSAGES_MAGIC_BYTES ? rest.len : MESSAGES_MAGIC_BYTES;
    if (rest.len == 0)
        return SOREX_OK;
    if (rest.data[0] != MESSAGES_MAGIC[0]) {
        self->form = FORM_LINES;
    } else if (magic < MESSAGES_MAGIC_BYTES && !self->input.ended) {
        return SOREX_OK;
    } else if (memcmp(rest.data, MESSAGES_MAGIC, magic) != 0 || magic < MESSAGES_MAGIC_BYTES) {
        if (!self->options.torn_end || magic == MESSAGES_MAGIC_BYTES)
            return sorex_error_set(err, SOREX_CORRUPT, "%s: neither JSON lines nor frames of messages",
                                   self->input.name);
        self->form = FORM_FRAMES;
        self->torn = true;
    } else {
        self->form = FORM_FRAMES;
        lines_input_take(&self->input, MESSAGES_MAGIC_BYTES);
        self->input.number = 0;
    }
    return SOREX_OK;
}

static enum sorex_status take(struct messages *self, bool *out_one, struct logged *out, struct sorex_error *err)
{
    *out_one = false;
    if (self->form == FORM_UNKNOWN)
        TRY(form_find(self, err));
    if (self->form == FORM_UNKNOWN)
        return SOREX_OK;
    return self->form == FORM_LINES ? take_line(self, out_one, out, err) : take_frame(self, out_one, out, err);
}

/* How much has to be there for one more: more than there is, whatever bytes of a frame look like a line's end. */
static size_t wanted(const struct messages *self)
{
    struct bytes rest = unread(&self->input);
    size_t frame = self->form == FORM_FRAMES ? frame_bytes(rest) : 0;
    return frame > rest.len ? frame : rest.len + 1;
}

enum sorex_status messages_next(struct messages *messages, uint64_t wait_ms, enum messages_state *out_state,
                                struct logged *out, struct sorex_error *err)
{
    struct lines_input *input = &messages->input;
    bool one, growing = messages->options.follow || !input->regular;
    uint64_t now = clock_ms(), until = now + wait_ms;
    for (;;) {
        TRY(take(messages, &one, out, err));
        *out_state = one ? MESSAGES_ONE : MESSAGES_END;
        if (one || messages->torn)
            return SOREX_OK;
        size_t had = input->buf.len - input->at;
        bool ended = input->ended;
        TRY(lines_input_fill(input, wanted(messages), err));
        if (input->buf.len - input->at > had || input->ended != ended)
            continue;
        if (input->ended)
            return SOREX_OK;
        *out_state = MESSAGES_NONE;
        if (!growing || now >= until)
            return SOREX_OK;
        TRY(lines_input_wait(input, until - now, err));
        now = clock_ms();
    }
}

enum sorex_status messages_skip(struct messages *messages, uint64_t count, struct sorex_error *err)
{
    struct logged logged;
    enum messages_state state = MESSAGES_ONE;
    while (state == MESSAGES_ONE && messages->end.count < count)
        TRY(messages_next(messages, INT32_MAX, &state, &logged, err));
    if (messages->end.count == count)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_GONE, "%s has %llu messages, %llu were wanted", messages->input.name,
                           (unsigned long long)messages->end.count, (unsigned long long)count);
}

const struct log_end *messages_end(const struct messages *messages) { return &messages->end; }

uint64_t messages_offset(const struct messages *messages) { return messages->input.base + messages->input.at; }

bool messages_torn(const struct messages *messages) { return messages->torn; }

void messages_interrupt(struct messages *messages) { lines_input_interrupt(&messages->input); }

/* ---- writing ---- */

enum sorex_status messages_frame(const struct logged *logged, struct buf *out, struct sorex_error *err)
{
    TRY(buf_reserve(out, MESSAGES_FRAME_HEAD_BYTES + logged->canonical.len, err));
    TRY(buf_append_u32le(out, (uint32_t)logged->canonical.len, err));
    TRY(buf_append(out, bytes_of(logged->log, CHECK_BYTES), err));
    return buf_append(out, logged->canonical, err);
}

static enum sorex_status writer_flush(struct messages_writer *writer, struct sorex_error *err)
{
    for (size_t at = 0; at < writer->buf.len;) {
        ssize_t n = write(writer->fd, writer->buf.data + at, writer->buf.len - at);
        if (n < 0 && errno != EINTR)
            return sorex_error_set_errno(err, SOREX_IO, errno, "write %s", writer->path);
        at += n > 0 ? (size_t)n : 0;
    }
    buf_reset(&writer->buf);
    return SOREX_OK;
}

enum sorex_status messages_writer_open(struct messages_writer *writer, const char *path, uint64_t offset,
                                       struct sorex_error *err)
{
    writer->path = path;
    writer->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (writer->fd < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "open %s", path);
    writer->open = true;
    if (ftruncate(writer->fd, (off_t)offset) != 0 || lseek(writer->fd, 0, SEEK_END) < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "%s", path);
    return offset != 0 ? SOREX_OK : buf_append_str(&writer->buf, MESSAGES_MAGIC, err);
}

enum sorex_status messages_writer_add(struct messages_writer *writer, const struct logged *logged,
                                      struct sorex_error *err)
{
    TRY(messages_frame(logged, &writer->buf, err));
    return writer->buf.len < WRITE_BYTES ? SOREX_OK : writer_flush(writer, err);
}

enum sorex_status messages_writer_sync(struct messages_writer *writer, struct sorex_error *err)
{
    TRY(writer_flush(writer, err));
    if (fdatasync(writer->fd) != 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "sync %s", writer->path);
    return SOREX_OK;
}

void messages_writer_close(struct messages_writer *writer)
{
    if (writer->open)
        (void)close(writer->fd);
    buf_deinit(&writer->buf);
    *writer = (struct messages_writer){0};
}
