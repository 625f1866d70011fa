#include "pg/protocol.h"

#include "base/check.h"

/* Appending is tried piece by piece; message_end takes everything back when one of them failed. */
struct message {
    struct buf *out;
    size_t start;  /* of the message */
    size_t length; /* where its length stands */
    enum sorex_status status;
    struct sorex_error *err;
};

static void put(struct message *m, struct bytes bytes)
{
    if (m->status == SOREX_OK)
        m->status = buf_append(m->out, bytes, m->err);
}

static void put_u16(struct message *m, uint32_t value)
{
    uint8_t bytes[2];
    u16be_put(bytes, (uint16_t)value);
    put(m, bytes_of(bytes, sizeof bytes));
}

static void put_u32(struct message *m, uint32_t value)
{
    uint8_t bytes[4];
    u32be_put(bytes, value);
    put(m, bytes_of(bytes, sizeof bytes));
}

static void put_text(struct message *m, struct bytes text)
{
    if (m->status == SOREX_OK && text.len > 0 && memchr(text.data, 0, text.len) != NULL)
        m->status = sorex_error_set(m->err, SOREX_INVALID, "a NUL in a text for PostgreSQL");
    put(m, text);
    put(m, bytes_of("", 1));
}

/* How many of something; the count's 16 bits follow. */
static void put_count(struct message *m, size_t count, const char *what)
{
    if (m->status == SOREX_OK && count > PROTOCOL_PARAMETERS_MAX)
        m->status =
            sorex_error_set(m->err, SOREX_LIMIT, "%zu %s; PostgreSQL takes %u", count, what, PROTOCOL_PARAMETERS_MAX);
    put_u16(m, (uint32_t)count);
}

static struct message begin_untyped(struct buf *out, struct sorex_error *err)
{
    struct message m = {.out = out, .start = out->len, .length = out->len, .err = err};
    put_u32(&m, 0);
    return m;
}

static struct message begin(struct buf *out, char type, struct sorex_error *err)
{
    struct message m = {.out = out, .start = out->len, .length = out->len + 1, .err = err};
    put(&m, bytes_of(&type, 1));
    put_u32(&m, 0);
    return m;
}

static enum sorex_status end(struct message *m)
{
    size_t len = m->out->len - m->length;
    if (m->status == SOREX_OK && len > PROTOCOL_MESSAGE_BYTES_MAX)
        m->status = sorex_error_set(m->err, SOREX_LIMIT, "a message of %zu bytes for PostgreSQL", len);
    if (m->status != SOREX_OK) {
        m->out->len = m->start;
        return m->status;
    }
    u32be_put(m->out->data + m->length, (uint32_t)len);
    return SOREX_OK;
}

static enum sorex_status empty(struct buf *out, char type, struct sorex_error *err)
{
    struct message m = begin(out, type, err);
    return end(&m);
}

/* ---- connection ---- */

enum sorex_status protocol_startup(struct buf *out, uint32_t version, const struct protocol_setting *settings,
                                   size_t settings_count, struct sorex_error *err)
{
    struct message m = begin_untyped(out, err);
    put_u32(&m, version);
    for (size_t i = 0; i < settings_count; i++) {
        CHECK(settings[i].name.len > 0); /* an empty name is the end */
        put_text(&m, settings[i].name);
        put_text(&m, settings[i].value);
    }
    put(&m, bytes_of("", 1));
    return end(&m);
}

enum sorex_status protocol_cancel(struct buf *out, uint32_t process, struct bytes secret, struct sorex_error *err)
{
    struct message m = begin_untyped(out, err);
    put_u32(&m, PROTOCOL_CANCEL);
    put_u32(&m, process);
    put(&m, secret);
    return end(&m);
}

enum sorex_status protocol_terminate(struct buf *out, struct sorex_error *err) { return empty(out, 'X', err); }

/* ---- statements ---- */

enum sorex_status protocol_query(struct buf *out, struct bytes sql, struct sorex_error *err)
{
    struct message m = begin(out, 'Q', err);
    put_text(&m, sql);
    return end(&m);
}

enum sorex_status protocol_parse(struct buf *out, struct bytes statement, struct bytes sql, const uint32_t *types,
                                 size_t types_count, struct sorex_error *err)
{
    struct message m = begin(out, 'P', err);
    put_text(&m, statement);
    put_text(&m, sql);
    put_count(&m, types_count, "types of parameters");
    for (size_t i = 0; i < types_count && m.status == SOREX_OK; i++)
        put_u32(&m, types[i]);
    return end(&m);
}

static void put_parameter(struct message *m, const struct protocol_parameter *parameter)
{
    if (m->status == SOREX_OK && parameter->bytes.len > INT32_MAX)
        m->status = sorex_error_set(m->err, SOREX_LIMIT, "a parameter of %zu bytes", parameter->bytes.len);
    put_u32(m, parameter->null ? UINT32_MAX : (uint32_t)parameter->bytes.len);
    if (!parameter->null)
        put(m, parameter->bytes);
}

enum sorex_status protocol_bind(struct buf *out, const struct protocol_bind *bind, struct sorex_error *err)
{
    struct message m = begin(out, 'B', err);
    put_text(&m, bind->portal);
    put_text(&m, bind->statement);
    put_count(&m, bind->parameters_count, "parameters");
    for (size_t i = 0; i < bind->parameters_count && m.status == SOREX_OK; i++)
        put_u16(&m, bind->parameters[i].format);
    put_count(&m, bind->parameters_count, "parameters");
    for (size_t i = 0; i < bind->parameters_count && m.status == SOREX_OK; i++)
        put_parameter(&m, &bind->parameters[i]);
    put_count(&m, bind->formats_count > 0 ? bind->formats_count : 1, "columns");
    if (bind->formats_count == 0)
        put_u16(&m, bind->results);
    for (size_t i = 0; i < bind->formats_count && m.status == SOREX_OK; i++)
        put_u16(&m, bind->formats[i]);
    return end(&m);
}

static enum sorex_status of_object(struct buf *out, char type, enum protocol_object object, struct bytes name,
                                   struct sorex_error *err)
{
    struct message m = begin(out, type, err);
    char kind = (char)object;
    put(&m, bytes_of(&kind, 1));
    put_text(&m, name);
    return end(&m);
}

enum sorex_status protocol_describe(struct buf *out, enum protocol_object object, struct bytes name,
                                    struct sorex_error *err)
{
    return of_object(out, 'D', object, name, err);
}

enum sorex_status protocol_close(struct buf *out, enum protocol_object object, struct bytes name,
                                 struct sorex_error *err)
{
    return of_object(out, 'C', object, name, err);
}

enum sorex_status protocol_execute(struct buf *out, struct bytes portal, uint32_t rows_max, struct sorex_error *err)
{
    struct message m = begin(out, 'E', err);
    put_text(&m, portal);
    if (m.status == SOREX_OK && rows_max > INT32_MAX)
        m.status = sorex_error_set(err, SOREX_LIMIT, "%u rows at once", rows_max);
    put_u32(&m, rows_max);
    return end(&m);
}

enum sorex_status protocol_sync(struct buf *out, struct sorex_error *err) { return empty(out, 'S', err); }

enum sorex_status protocol_flush(struct buf *out, struct sorex_error *err) { return empty(out, 'H', err); }

/* ---- COPY ---- */

enum sorex_status protocol_copy_data(struct buf *out, struct bytes data, struct sorex_error *err)
{
    struct message m = begin(out, 'd', err);
    put(&m, data);
    return end(&m);
}

enum sorex_status protocol_copy_done(struct buf *out, struct sorex_error *err) { return empty(out, 'c', err); }

enum sorex_status protocol_copy_fail(struct buf *out, struct bytes reason, struct sorex_error *err)
{
    struct message m = begin(out, 'f', err);
    put_text(&m, reason);
    return end(&m);
}
