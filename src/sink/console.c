#include "sink/console.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "json/writer.h"
#include "sink/line.h"

struct console {
    struct sink sink;
    bool pretty;
    struct buf out;
};

static const char *const pretty_words[] = {"auto", "on", "off", NULL};

static const struct option console_options[] = {
    {.name = "pretty",
     .type = OPTION_ENUM,
     .offset = offsetof(struct console_settings, pretty),
     .fallback = "auto",
     .choices = pretty_words,
     .text = "one readable line a change instead of its JSON; auto: when standard output is a terminal"},
    {0}};

static enum sorex_status console_open(const void *settings, const struct sink_context *context, struct sink **out,
                                      struct sorex_error *err)
{
    (void)context;
    const struct console_settings *options = settings;
    struct console *console = calloc(1, sizeof *console);
    if (console == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    console->sink.type = &sink_console;
    console->pretty = options->pretty == CONSOLE_ON || (options->pretty == CONSOLE_AUTO && isatty(STDOUT_FILENO) == 1);
    *out = &console->sink;
    return SOREX_OK;
}

static void console_close(struct sink *sink)
{
    struct console *console = (struct console *)sink;
    buf_deinit(&console->out);
    free(console);
}

/* "840000  undo  delete  balances "bc1..."  {...}": strings as JSON, so that nothing in them can steer the terminal. */
static enum sorex_status pretty_line(const struct sink_change *item, struct buf *out, struct sorex_error *err)
{
    const struct change *change = &item->change;
    /* In another envelope, and in a stream, there is only the text. */
    if (change->before.data == NULL && change->after.data == NULL)
        return line_change(change, out, err);
    TRY(buf_printf(out, err, "%8u  %-5s %-6s  ", item->height, item->undo ? "undo" : "",
                   change_operation_name(change->operation)));
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_string(&w, change->table);
    TRY(json_writer_finish(&w));
    TRY(buf_append_str(out, " ", err));
    json_writer_init(&w, out, false, err);
    json_string(&w, change->key);
    TRY(json_writer_finish(&w));
    struct bytes image = change->operation == CHANGE_DELETE ? change->before : change->after;
    TRY(buf_append_str(out, "  ", err));
    size_t start = out->len;
    TRY(buf_append(out, image, err));
    for (size_t i = start; i < out->len; i++)
        if (out->data[i] == '\n' || out->data[i] == '\r')
            out->data[i] = ' ';
    return buf_append_u8(out, '\n', err);
}

static enum sorex_status write_all(int fd, struct bytes bytes, struct sorex_error *err)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.data, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sorex_error_set_errno(err, SOREX_IO, errno,
                                         fd == STDOUT_FILENO ? "write to standard output" : "write to standard error");
        bytes = bytes_of(bytes.data + n, bytes.len - (size_t)n);
    }
    return SOREX_OK;
}

static enum sorex_status changes_write(struct console *console, const struct sink_batch *batch, struct sorex_error *err)
{
    buf_reset(&console->out);
    for (size_t i = 0; i < batch->count; i++) {
        const struct sink_change *item = &batch->changes[i];
        TRY(console->pretty ? pretty_line(item, &console->out, err) : line_change(&item->change, &console->out, err));
        if (console->out.len >= (size_t)1 << 20) {
            TRY(write_all(STDOUT_FILENO, buf_view(&console->out), err));
            buf_reset(&console->out);
        }
    }
    return write_all(STDOUT_FILENO, buf_view(&console->out), err);
}

static enum sorex_status console_apply(struct sink *sink, const struct sink_batch *batch, struct sorex_error *err)
{
    struct console *console = (struct console *)sink;
    TRY(changes_write(console, batch, err));
    for (size_t i = 0; i < batch->dead_count; i++) {
        buf_reset(&console->out);
        TRY(line_dead(&batch->dead[i], &console->out, err));
        TRY(write_all(STDERR_FILENO, buf_view(&console->out), err));
    }
    return SOREX_OK;
}

const struct sink_type sink_console = {
    .name = "console",
    .summary = "changes to standard output, for looking and for pipes; at least once",
    .options = console_options,
    .settings_size = sizeof(struct console_settings),
    .holds_cursor = false,
    .open = console_open,
    .close = console_close,
    .apply = console_apply,
};
