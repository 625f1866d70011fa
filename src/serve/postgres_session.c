/* The session of one client: its fork, the settings that it came with, the conversation with PostgreSQL in there. */
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "pg/database.h"
#include "serve/postgres_private.h"
#include "serve/wire_startup.h"

#define OUT_BYTES 65536u /* more is sent before it is whole */

/* ---- settings ---- */

struct settings {
    struct buf texts; /* of the values */
    struct buf sql;
    struct buf values; /* struct value, whose bytes are offsets into texts until all are there */
    size_t count;
    struct sorex_error *err;
};

static enum sorex_status text_add(struct settings *settings, struct bytes text)
{
    struct value value = {.kind = VALUE_IS_TEXT, .integer = (int64_t)settings->texts.len, .bytes = text};
    TRY(buf_append(&settings->texts, text, settings->err));
    return buf_append(&settings->values, bytes_of(&value, sizeof value), settings->err);
}

static enum sorex_status setting_add(struct settings *settings, const struct protocol_setting *setting)
{
    if (bytes_is(setting->name, WIRE_HEIGHT_SETTING) || bytes_is(setting->name, "replication"))
        return SOREX_OK;
    TRY(text_add(settings, setting->name));
    TRY(text_add(settings, setting->value));
    settings->count++;
    return buf_printf(&settings->sql, settings->err, "%sset_config($%zu, $%zu, false)",
                      settings->count == 1 ? "select " : ", ", 2 * settings->count - 1, 2 * settings->count);
}

/* As PostgreSQL does: options first, parameters of their own win. */
static enum sorex_status settings_gather(struct settings *settings, const struct wire_startup *startup)
{
    struct buf text = {0};
    struct bytes rest = startup->options;
    enum sorex_status status = SOREX_OK;
    for (bool found = true; found && status == SOREX_OK;) {
        struct protocol_setting setting = {0};
        status = startup_option_next(&rest, &text, &setting, &found, settings->err);
        if (status == SOREX_OK && found)
            status = setting_add(settings, &setting);
    }
    for (size_t i = 0; i < startup->settings_count && status == SOREX_OK; i++)
        status = setting_add(settings, &startup->settings[i]);
    buf_deinit(&text);
    return status;
}

static enum sorex_status settings_query(struct settings *settings, struct database *database)
{
    struct results results;
    struct value *values = (struct value *)(void *)settings->values.data;
    size_t count = 2 * settings->count;
    for (size_t i = 0; i < count; i++)
        values[i].bytes.data = settings->texts.data + values[i].integer;
    results_init(&results, 0);
    enum sorex_status status =
        database_query(database, (const char *)settings->sql.data, values, count, &results, settings->err);
    if (status == SOREX_OK && results.error != NULL)
        status = sorex_error_set(settings->err, SOREX_INVALID, "%.*s",
                                 BYTES_FMT(results.error->fields[PROTOCOL_FIELD_MESSAGE]));
    results_deinit(&results);
    return status;
}

static enum sorex_status settings_apply(struct database *database, const struct wire_startup *startup,
                                        struct sorex_error *err)
{
    struct settings settings = {.err = err};
    enum sorex_status status = settings_gather(&settings, startup);
    if (status == SOREX_OK && settings.count > 0)
        status = buf_append_u8(&settings.sql, 0, err);
    if (status == SOREX_OK && settings.count > 0)
        status = settings_query(&settings, database);
    buf_deinit(&settings.texts);
    buf_deinit(&settings.sql);
    buf_deinit(&settings.values);
    return status;
}

/* ---- opening ---- */

/* ParameterStatus and ReadyForQuery as PostgreSQL has them; what to cancel by is the connection's. */
static enum sorex_status greeting_pass(const struct connection *c, struct bytes greeting, struct buf *out,
                                       struct sorex_error *err)
{
    uint8_t key[13] = {PROTOCOL_KEY, 0, 0, 0, 12};
    u32be_put(key + 5, c->process);
    memcpy(key + 9, c->secret, sizeof c->secret);
    while (greeting.len > 0) {
        struct protocol_message message;
        struct bytes whole = greeting;
        bool is_whole;
        TRY(protocol_take(&greeting, &message, &is_whole, err));
        if (!is_whole)
            return sorex_error_set(err, SOREX_CORRUPT, "PostgreSQL's greeting is cut off");
        whole.len -= greeting.len;
        if (message.type == PROTOCOL_READY)
            TRY(buf_append(out, bytes_of(key, sizeof key), err));
        if (message.type == PROTOCOL_PARAMETER || message.type == PROTOCOL_READY)
            TRY(buf_append(out, whole, err));
    }
    return SOREX_OK;
}

static enum sorex_status greet(const struct connection *c, struct database *database, struct buf *out,
                               struct sorex_error *err)
{
    struct buf greeting = {0};
    enum sorex_status status = instance_greet(database_instance(database), &greeting, err);
    if (status == SOREX_OK)
        status = greeting_pass(c, buf_view(&greeting), out, err);
    buf_deinit(&greeting);
    return status;
}

static enum sorex_status session_begin(struct connection *c, const struct wire_startup *startup, struct database **out,
                                       struct buf *answer, struct sorex_error *err)
{
    const struct postgres_states *states = &c->server->options.states;
    struct database *database = NULL;
    TRY(states->fork(states->user_data, startup->database, startup->height, &database, err));
    enum sorex_status status = settings_apply(database, startup, err);
    if (status == SOREX_OK)
        status = greet(c, database, answer, err);
    if (status != SOREX_OK) {
        database_close(database);
        return status;
    }
    *out = database;
    return SOREX_OK;
}

static enum sorex_status session_open(void *user_data, const struct wire_startup *startup, void **out_session,
                                      struct buf *out, struct sorex_error *err)
{
    struct connection *c = user_data;
    struct database *database = NULL;
    TRY(server_admit(c->server, err));
    enum sorex_status status = session_begin(c, startup, &database, out, err);
    if (status != SOREX_OK) {
        server_leave(c->server, false);
        return status;
    }
    server_database_set(c, database);
    log_line(LOG_DEBUG, "postgres", "session %u: %.*s, ready after %llu ms", c->process, BYTES_FMT(startup->database),
             (unsigned long long)(clock_ms() - c->begun_ms));
    *out_session = c;
    return SOREX_OK;
}

static void session_close(void *session)
{
    struct connection *c = session;
    struct database *database = c->database;
    server_database_set(c, NULL);
    database_close(database);
    server_leave(c->server, true);
}

static void session_cancel(void *user_data, uint32_t process, struct bytes secret)
{
    const struct connection *c = user_data;
    server_cancel(c->server, process, secret);
}

/* ---- the conversation ---- */

static void busy_set(struct connection *c, bool busy)
{
    atomic_store_explicit(&c->busy_since_ms, busy ? clock_ms() : 0, memory_order_relaxed);
}

static enum sorex_status stream_read(void *user_data, uint8_t *to, size_t room, size_t *out_len,
                                     struct sorex_error *err)
{
    struct connection *c = user_data;
    TRY(connection_send(c, err)); /* what it asks for */
    busy_set(c, false);
    enum sorex_status status = connection_receive(c, to, room, out_len, err);
    busy_set(c, true);
    if (status == SOREX_OK && *out_len == 0)
        return sorex_error_set(err, SOREX_IO, "the client left in the middle of a message");
    return status;
}

/* Where the backend is in its messages: behind half of one no error can be told. */
static void frame_follow(struct connection *c, struct bytes bytes)
{
    const size_t header = sizeof c->frame.header;
    while (bytes.len > 0) {
        bool body = c->frame.left > 0;
        size_t wanted = body ? c->frame.left : header - c->frame.header_len;
        size_t len = wanted < bytes.len ? wanted : bytes.len;
        if (body) {
            c->frame.left -= len;
        } else {
            memcpy(c->frame.header + c->frame.header_len, bytes.data, len);
            c->frame.header_len += len;
        }
        if (c->frame.header_len == header) {
            c->frame.header_len = 0;
            c->frame.left = (size_t)u32be_get(c->frame.header + 1) - 4;
        }
        bytes = bytes_of(bytes.data + len, bytes.len - len);
    }
}

static enum sorex_status stream_write(void *user_data, struct bytes bytes, struct sorex_error *err)
{
    struct connection *c = user_data;
    frame_follow(c, bytes);
    TRY(buf_append(&c->out, bytes, err));
    return c->out.len < OUT_BYTES ? SOREX_OK : connection_send(c, err);
}

/* Without a conversation under way nothing happens. */
void connection_interrupt(struct connection *c, bool end)
{
    if (c->database != NULL)
        instance_interrupt(database_instance(c->database), end ? INSTANCE_TERMINATE : INSTANCE_CANCEL);
}

/* out is the connection's. */
static enum sorex_status session_converse(void *session, struct bytes bytes, struct buf *out, bool *out_ended,
                                          struct sorex_error *err)
{
    struct connection *c = session;
    const struct instance_stream stream = {c, stream_read, stream_write};
    CHECK(out == &c->out);
    busy_set(c, true);
    enum sorex_status status = instance_converse(database_instance(c->database), bytes, &stream, out_ended, err);
    busy_set(c, false);
    if (status != SOREX_OK && (c->frame.left > 0 || c->frame.header_len > 0)) {
        log_line(LOG_DEBUG, "postgres", "session %u ended in the middle of a message: %s", c->process,
                 err != NULL ? err->text : "");
        *out_ended = true;
        return SOREX_OK;
    }
    return status;
}

const struct wire_backend session_backend = {
    .open = session_open, .close = session_close, .cancel = session_cancel, .converse = session_converse};
