#include "sink/line.h"

#include "base/check.h"
#include "json/utf8.h"
#include "json/writer.h"

enum sorex_status line_change(const struct change *change, struct buf *out, struct sorex_error *err)
{
    size_t start = out->len;
    TRY(buf_append(out, change->raw.len == 0 ? bytes_str("null") : change->raw, err));
    /* A line break inside a string is always escaped, so a bare one is white space. */
    static const char breaks[] = {'\n', '\r'};
    for (size_t b = 0; b < sizeof breaks; b++)
        for (uint8_t *at = out->data + start; (at = memchr(at, breaks[b], out->len - (size_t)(at - out->data))) != NULL; at++)
            *at = ' ';
    enum sorex_status status = buf_append_u8(out, '\n', err);
    if (status != SOREX_OK)
        out->len = start;
    return status;
}

/* A string under its name, or hex digits under another one: nothing is lost that somebody may want to send again. */
static void text_or_hex(struct json_writer *w, const char *name, const char *hex_name, struct bytes text)
{
    bool plain = utf8_valid(text);
    json_name(w, plain ? name : hex_name);
    if (plain)
        json_string(w, text);
    else
        json_hex(w, text);
}

enum sorex_status line_dead(const struct sink_dead *dead, struct buf *out, struct sorex_error *err)
{
    size_t start = out->len;
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "partition");
    json_string_z(&w, dead->partition);
    json_name(&w, "number");
    json_uint(&w, dead->number);
    json_name(&w, "error");
    json_string_z(&w, dead->error);
    if (dead->event.data == NULL) {
        json_name(&w, "event");
        json_null(&w);
    } else {
        text_or_hex(&w, "event", "event_hex", dead->event);
    }
    if (dead->key.data != NULL)
        text_or_hex(&w, "key", "key_hex", dead->key);
    json_object_end(&w);
    enum sorex_status status = json_writer_finish(&w);
    if (status == SOREX_OK)
        status = buf_append_u8(out, '\n', err);
    if (status != SOREX_OK)
        out->len = start;
    return status;
}
