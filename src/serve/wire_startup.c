#include "serve/wire_startup.h"

#include "base/check.h"
#include "base/limits.h"

static bool take_text(struct reader *r, struct bytes *out)
{
    const uint8_t *end = reader_left(r) == 0 ? NULL : memchr(r->at, 0, reader_left(r));
    if (end == NULL)
        return false;
    *out = bytes_of(r->at, (size_t)(end - r->at));
    r->at = end + 1;
    return true;
}

static bool begins_with(struct bytes text, const char *start)
{
    size_t len = strlen(start);
    return text.len >= len && memcmp(text.data, start, len) == 0;
}

static struct bytes behind(struct bytes text, size_t len) { return bytes_of(text.data + len, text.len - len); }

/* ---- heights ---- */

static bool height_read(struct bytes text, uint32_t *out)
{
    uint64_t height = 0;
    if (text.len == 0 || text.len > 10)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        height = height * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = (uint32_t)height;
    return height < SOREX_HEIGHT_NONE;
}

/* name@HEIGHT; a name with an @ and no number behind it is a name. */
static void database_split(struct wire_startup *startup)
{
    struct bytes name = startup->database;
    for (size_t i = name.len; i-- > 0;) {
        if (name.data[i] != '@')
            continue;
        if (height_read(behind(name, i + 1), &startup->height))
            startup->database.len = i;
        else
            startup->height = SOREX_HEIGHT_NONE;
        return;
    }
}

/* ---- options ---- */

/* *text becomes the next word, which is empty behind the last one. */
static enum sorex_status word_take(struct bytes *options, struct buf *text, struct sorex_error *err)
{
    size_t at = 0;
    buf_reset(text);
    while (at < options->len && options->data[at] == ' ')
        at++;
    for (; at < options->len && options->data[at] != ' '; at++) {
        at += options->data[at] == '\\' && at + 1 < options->len;
        TRY(buf_append_u8(text, options->data[at], err));
    }
    *options = behind(*options, at);
    return SOREX_OK;
}

enum sorex_status startup_option_next(struct bytes *options, struct buf *text, struct protocol_setting *out,
                                      bool *out_found, struct sorex_error *err)
{
    size_t from = 0;
    TRY(word_take(options, text, err));
    *out_found = text->len > 0;
    if (!*out_found)
        return SOREX_OK;
    if (bytes_is(buf_view(text), "-c"))
        TRY(word_take(options, text, err));
    else if (begins_with(buf_view(text), "-c") || begins_with(buf_view(text), "--"))
        from = 2;
    else
        return sorex_error_set(err, SOREX_INVALID, "invalid command-line argument for server process: %.*s",
                               BYTES_FMT(buf_view(text)));
    struct bytes word = behind(buf_view(text), from);
    uint8_t *equals = word.len == 0 ? NULL : memchr(text->data + from, '=', word.len);
    if (equals == NULL)
        return sorex_error_set(err, SOREX_INVALID, "%s%.*s requires a value", from == 0 ? "-c " : "", BYTES_FMT(word));
    for (uint8_t *p = text->data + from; p < equals; p++)
        *p = *p == '-' ? '_' : *p;
    out->name = bytes_of(word.data, (size_t)(equals - word.data));
    out->value = bytes_of(equals + 1, word.len - out->name.len - 1);
    return SOREX_OK;
}

/* All but sorex.height is the session's business. */
static enum sorex_status options_read(struct wire_startup *startup, struct buf *text, struct sorex_error *err)
{
    struct bytes rest = startup->options;
    for (bool found = true; found;) {
        struct protocol_setting setting = {0};
        uint32_t height;
        TRY(startup_option_next(&rest, text, &setting, &found, err));
        if (!found || !bytes_is(setting.name, WIRE_HEIGHT_SETTING))
            continue;
        if (!height_read(setting.value, &height) || (startup->height != SOREX_HEIGHT_NONE && startup->height != height))
            return sorex_error_set(err, SOREX_INVALID,
                                   "sorex.height is no height, or another one than the database's name says");
        startup->height = height;
    }
    return SOREX_OK;
}

/* ---- parameters ---- */

static bool parameter_set(struct startup_message *message, struct bytes name, struct bytes value)
{
    struct wire_startup *startup = &message->startup;
    if (bytes_is(name, "user")) {
        startup->user = value;
    } else if (bytes_is(name, "database")) {
        startup->database = value;
    } else if (bytes_is(name, "options")) {
        startup->options = value;
    } else if (begins_with(name, "_pq_.")) {
        message->unknown_count++;
    } else if (startup->settings_count == WIRE_SETTINGS_MAX) {
        return false;
    } else {
        startup->settings[startup->settings_count++] = (struct protocol_setting){name, value};
    }
    return true;
}

static const char *refused(struct sorex_error *err, const char *sqlstate, const char *text)
{
    (void)sorex_error_set(err, SOREX_INVALID, "%s", text);
    return sqlstate;
}

const char *startup_read(struct bytes packet, struct startup_message *out, struct sorex_error *err)
{
    *out = (struct startup_message){.version = u32be_get(packet.data + 4), .parameters = behind(packet, 8)};
    out->startup.height = SOREX_HEIGHT_NONE;
    out->startup.options = bytes_str("");
    if (out->version >> 16 != 3) {
        (void)sorex_error_set(err, SOREX_INVALID, "unsupported frontend protocol %u.%u: server supports 3.0 to 3.2",
                              out->version >> 16, out->version & 0xffff);
        return "0A000";
    }
    struct reader r = reader_of(out->parameters);
    for (;;) {
        struct bytes name, value;
        if (!take_text(&r, &name))
            return refused(err, "08P01", "invalid startup packet layout: expected terminator as last byte");
        if (name.len == 0)
            break;
        if (!take_text(&r, &value))
            return refused(err, "08P01", "invalid startup packet layout: a name without a value");
        if (bytes_is(name, "replication") && !bytes_is(value, "false") && !bytes_is(value, "off") &&
            !bytes_is(value, "0"))
            return refused(err, "0A000", "replication connections are not supported");
        if (!parameter_set(out, name, value))
            return refused(err, "54000", "too many settings in the startup packet");
    }
    if (reader_left(&r) > 0)
        return refused(err, "08P01", "invalid startup packet layout: expected terminator as last byte");
    if (out->startup.user.len == 0)
        return refused(err, "28000", "no PostgreSQL user name specified in startup packet");
    if (out->startup.database.len == 0)
        out->startup.database = out->startup.user;
    database_split(&out->startup);
    struct buf text = {0};
    enum sorex_status status = options_read(&out->startup, &text, err);
    buf_deinit(&text);
    return status == SOREX_OK ? NULL : status == SOREX_INVALID ? "22023" : "53200";
}

enum sorex_status startup_unknown_append(const struct startup_message *message, struct buf *out,
                                         struct sorex_error *err)
{
    struct reader r = reader_of(message->parameters);
    struct bytes name, value;
    while (take_text(&r, &name) && name.len > 0 && take_text(&r, &value)) {
        if (begins_with(name, "_pq_."))
            TRY(buf_append(out, bytes_of(name.data, name.len + 1), err));
    }
    return SOREX_OK;
}
