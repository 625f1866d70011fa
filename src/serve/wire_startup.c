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

static struct bytes word_take(struct bytes *text)
{
    size_t from = 0, to;
    while (from < text->len && text->data[from] == ' ')
        from++;
    for (to = from; to < text->len && text->data[to] != ' ';)
        to++;
    struct bytes word = bytes_of(text->data + from, to - from);
    *text = behind(*text, to);
    return word;
}

/* -c NAME=VALUE, -cNAME=VALUE or --NAME=VALUE; all but sorex.height is the session's business. */
static bool options_read(struct wire_startup *startup)
{
    static const char name[] = "sorex.height=";
    struct bytes rest = startup->options;
    for (struct bytes word = word_take(&rest); word.len > 0; word = word_take(&rest)) {
        uint32_t height;
        if (bytes_is(word, "-c"))
            word = word_take(&rest);
        else if (begins_with(word, "-c") || begins_with(word, "--"))
            word = behind(word, 2);
        if (!begins_with(word, name))
            continue;
        if (!height_read(behind(word, sizeof name - 1), &height) ||
            (startup->height != SOREX_HEIGHT_NONE && startup->height != height))
            return false;
        startup->height = height;
    }
    return true;
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
    if (!options_read(&out->startup))
        return refused(err, "22023", "sorex.height is no height, or another one than the database's name says");
    return NULL;
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
