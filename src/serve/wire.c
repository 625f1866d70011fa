#include "serve/wire.h"

#include <stdio.h>

#include "base/check.h"
#include "base/limits.h"
#include "serve/wire_startup.h"

#define HEADER_BYTES 5u
#define SMALL_BYTES_MAX 10000u /* of messages that hold no data: as in PostgreSQL */

void wire_init(struct wire *wire, const struct wire_backend *backend, size_t message_bytes_max)
{
    CHECK(message_bytes_max == 0 ||
          (message_bytes_max >= WIRE_STARTUP_BYTES_MAX && message_bytes_max <= PROTOCOL_MESSAGE_BYTES_MAX));
    *wire = (struct wire){.backend = backend};
    buf_init(&wire->in, 1 + (message_bytes_max == 0 ? PROTOCOL_MESSAGE_BYTES_MAX : message_bytes_max));
}

static void session_close(struct wire *wire)
{
    if (wire->state == WIRE_OPEN)
        wire->backend->close(wire->session);
    wire->state = WIRE_CLOSED;
    buf_deinit(&wire->in);
}

void wire_deinit(struct wire *wire) { session_close(wire); }

/* ---- what is said to a client ---- */

static enum sorex_status reply(struct buf *out, char type, struct bytes body, struct sorex_error *err)
{
    uint8_t header[HEADER_BYTES] = {(uint8_t)type};
    u32be_put(header + 1, (uint32_t)body.len + 4);
    TRY(buf_reserve(out, sizeof header + body.len, err));
    TRY(buf_append(out, bytes_of(header, sizeof header), err));
    return buf_append(out, body, err);
}

/* An ErrorResponse; the connection ends. */
static enum sorex_status refuse(struct wire *wire, const char sqlstate[6], const char *text, struct buf *out,
                                struct sorex_error *err)
{
    char body[SOREX_ERROR_TEXT_MAX + 64];
    int len = snprintf(body, sizeof body, "SFATAL%cVFATAL%cC%s%cM%s%c", 0, 0, sqlstate, 0, text, 0);
    session_close(wire);
    CHECK(len > 0 && (size_t)len < sizeof body);
    return reply(out, PROTOCOL_ERROR, bytes_of(body, (size_t)len + 1), err); /* snprintf's NUL ends the list */
}

enum sorex_status wire_refuse(struct wire *wire, const struct sorex_error *why, struct buf *out,
                              struct sorex_error *err)
{
    const char *sqlstate = "XX000"; /* internal_error */
    if (why->status == SOREX_GONE)
        sqlstate = "3D000"; /* invalid_catalog_name */
    else if (why->status == SOREX_INVALID)
        sqlstate = "22023"; /* invalid_parameter_value */
    else if (wire->state == WIRE_STARTING && (why->status == SOREX_BUSY || why->status == SOREX_LIMIT))
        sqlstate = "53300"; /* too_many_connections */
    else if (why->status == SOREX_LIMIT)
        sqlstate = "54000"; /* program_limit_exceeded */
    else if (why->status == SOREX_NOMEM)
        sqlstate = "53200"; /* out_of_memory */
    else if (why->status == SOREX_STOPPED)
        sqlstate = "57P01"; /* admin_shutdown */
    return refuse(wire, sqlstate, why->text, out, err);
}

/* ---- before the session ---- */

/* The newest version that is spoken, and the options that are not known. */
static enum sorex_status negotiate(const struct startup_message *message, struct buf *out, struct sorex_error *err)
{
    struct buf body;
    buf_init(&body, 2 * (size_t)WIRE_STARTUP_BYTES_MAX);
    uint8_t numbers[8];
    u32be_put(numbers, PROTOCOL_VERSION_3_2);
    u32be_put(numbers + 4, message->unknown_count);
    enum sorex_status status = buf_append(&body, bytes_of(numbers, sizeof numbers), err);
    if (status == SOREX_OK)
        status = startup_unknown_append(message, &body, err);
    if (status == SOREX_OK)
        status = reply(out, PROTOCOL_NEGOTIATE, buf_view(&body), err);
    buf_deinit(&body);
    return status;
}

static enum sorex_status session_open(struct wire *wire, struct bytes packet, struct buf *out, struct sorex_error *err)
{
    static const uint8_t ok[4] = {0};
    struct startup_message message;
    struct sorex_error why = {0};
    size_t start = out->len;
    const char *sqlstate = startup_read(packet, &message, &why);
    if (sqlstate != NULL)
        return refuse(wire, sqlstate, why.text, out, err);
    if (message.version > PROTOCOL_VERSION_3_2 || message.unknown_count > 0)
        TRY(negotiate(&message, out, err));
    TRY(reply(out, PROTOCOL_AUTHENTICATION, bytes_of(ok, sizeof ok), err));
    void *session = NULL;
    if (wire->backend->open(wire->backend->user_data, &message.startup, &session, out, &why) != SOREX_OK) {
        out->len = start;
        return wire_refuse(wire, &why, out, err);
    }
    wire->session = session;
    wire->state = WIRE_OPEN;
    return SOREX_OK;
}

/* A whole first message. */
static enum sorex_status start(struct wire *wire, struct bytes packet, struct buf *out, struct sorex_error *err)
{
    uint32_t code = u32be_get(packet.data + 4);
    bool *asked = code == PROTOCOL_SSL ? &wire->asked_ssl : code == PROTOCOL_GSSENC ? &wire->asked_gss : NULL;
    if (asked != NULL && packet.len == 8 && !*asked) {
        *asked = true;
        return buf_append_str(out, "N", err);
    }
    if (code == PROTOCOL_CANCEL) {
        if (packet.len >= 16)
            wire->backend->cancel(wire->backend->user_data, u32be_get(packet.data + 8),
                                  bytes_of(packet.data + 12, packet.len - 12));
        session_close(wire); /* never answered */
        return SOREX_OK;
    }
    return session_open(wire, packet, out, err);
}

/* *out_taken: bytes of the first message; 0: it is not whole yet. */
static enum sorex_status startup_take(struct wire *wire, struct bytes in, size_t *out_taken, struct buf *out,
                                      struct sorex_error *err)
{
    *out_taken = 0;
    if (in.len < 4)
        return SOREX_OK;
    uint32_t len = u32be_get(in.data);
    if (len < 8 || len > WIRE_STARTUP_BYTES_MAX)
        return refuse(wire, "08P01", "invalid length of startup packet", out, err);
    if (in.len < len)
        return SOREX_OK;
    *out_taken = len;
    return start(wire, bytes_of(in.data, len), out, err);
}

/* ---- in the session ---- */

/* The most that the length of a message of this type may say; 0: there is no such type. */
static size_t length_max(const struct wire *wire, uint8_t type)
{
    if (type != 0 && strchr("QPBFd", type) != NULL)
        return wire->in.max - 1;
    if (type != 0 && strchr("CDEHSXcf", type) != NULL)
        return wire->in.max - 1 < SMALL_BYTES_MAX ? wire->in.max - 1 : SMALL_BYTES_MAX;
    return 0;
}

/* How many bytes are whole messages before a Terminate; *out_end: there is one. Text: what is wrong with the next. */
static size_t messages_measure(const struct wire *wire, struct bytes in, bool *out_end, const char **out_wrong)
{
    size_t at = 0;
    *out_end = false;
    *out_wrong = NULL;
    while (at < in.len) {
        size_t max = length_max(wire, in.data[at]);
        if (max == 0)
            *out_wrong = "invalid frontend message type";
        if (max == 0 || in.len - at < HEADER_BYTES)
            break;
        uint32_t len = u32be_get(in.data + at + 1);
        if (len < 4 || len > max)
            *out_wrong = "invalid message length";
        if (*out_wrong != NULL || in.len - at - 1 < len)
            break;
        *out_end = in.data[at] == 'X';
        if (*out_end)
            break;
        at += 1 + (size_t)len;
    }
    return at;
}

static enum sorex_status messages_take(struct wire *wire, struct bytes in, size_t *out_taken, struct buf *out,
                                       struct sorex_error *err)
{
    struct sorex_error why = {0};
    const char *wrong;
    bool end;
    *out_taken = messages_measure(wire, in, &end, &wrong);
    if (*out_taken > 0 && wire->backend->exchange(wire->session, bytes_of(in.data, *out_taken), out, &why) != SOREX_OK)
        return wire_refuse(wire, &why, out, err);
    if (wrong != NULL)
        return refuse(wire, "08P01", wrong, out, err);
    if (end)
        session_close(wire);
    return SOREX_OK;
}

/* To a session that takes all that comes. */
static enum sorex_status bytes_pass(struct wire *wire, struct bytes in, size_t *out_taken, struct buf *out,
                                    struct sorex_error *err)
{
    struct sorex_error why = {0};
    bool ended = false;
    *out_taken = in.len;
    if (in.len > 0 && wire->backend->converse(wire->session, in, out, &ended, &why) != SOREX_OK)
        return wire_refuse(wire, &why, out, err);
    if (ended)
        session_close(wire);
    return SOREX_OK;
}

/* ---- bytes ---- */

static enum sorex_status front_take(struct wire *wire, struct bytes in, size_t *out_taken, struct buf *out,
                                    struct sorex_error *err)
{
    if (wire->state == WIRE_STARTING)
        return startup_take(wire, in, out_taken, out, err);
    return wire->backend->converse != NULL ? bytes_pass(wire, in, out_taken, out, err)
                                           : messages_take(wire, in, out_taken, out, err);
}

/* Takes what is whole from the front of *in. */
static enum sorex_status whole_take(struct wire *wire, struct bytes *in, struct buf *out, struct sorex_error *err)
{
    size_t taken = 1;
    while (wire->state != WIRE_CLOSED && taken > 0) {
        TRY(front_take(wire, *in, &taken, out, err));
        if (wire->state == WIRE_CLOSED)
            return SOREX_OK; /* the bytes may have been the buffer's, which is gone */
        in->data += taken;
        in->len -= taken;
    }
    return SOREX_OK;
}

/* Bytes of `more` that complete the message that `in` begins with, as far as its length is known. */
static size_t missing(const struct wire *wire, size_t more)
{
    size_t header = wire->state == WIRE_STARTING ? 4 : HEADER_BYTES;
    size_t have = wire->in.len;
    size_t wanted = header;
    if (have >= header)
        wanted = header - 4 + (size_t)u32be_get(wire->in.data + header - 4);
    CHECK(wanted > have); /* else it would have been taken */
    return wanted - have < more ? wanted - have : more;
}

static enum sorex_status bytes_take(struct wire *wire, struct bytes bytes, struct buf *out, struct sorex_error *err)
{
    while (wire->state != WIRE_CLOSED && bytes.len > 0) {
        if (wire->in.len == 0) { /* straight from the caller's bytes; what is left begins a message */
            TRY(whole_take(wire, &bytes, out, err));
            if (wire->state == WIRE_CLOSED)
                break;
            return buf_append(&wire->in, bytes, err);
        }
        size_t len = missing(wire, bytes.len);
        TRY(buf_append(&wire->in, bytes_of(bytes.data, len), err));
        bytes.data += len;
        bytes.len -= len;
        struct bytes in = buf_view(&wire->in);
        TRY(whole_take(wire, &in, out, err));
        if (wire->state != WIRE_CLOSED && in.len == 0)
            buf_reset(&wire->in);
    }
    return SOREX_OK;
}

enum sorex_status wire_feed(struct wire *wire, struct bytes bytes, struct buf *out, struct sorex_error *err)
{
    enum sorex_status status = bytes_take(wire, bytes, out, err);
    if (status != SOREX_OK)
        session_close(wire);
    return status;
}
