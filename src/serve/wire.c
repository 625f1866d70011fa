#include "serve/wire.h"

#include <stdio.h>

#include "base/check.h"
#include "base/limits.h"
#include "serve/wire_startup.h"

#define HEADER_BYTES 5u
#define LENGTH_BYTES 4u

void wire_init(struct wire *wire, const struct wire_backend *backend)
{
    *wire = (struct wire){.backend = backend};
    buf_init(&wire->in, WIRE_STARTUP_BYTES_MAX);
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
    if (in.len < LENGTH_BYTES)
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

static enum sorex_status bytes_pass(struct wire *wire, struct bytes bytes, struct buf *out, struct sorex_error *err)
{
    struct sorex_error why = {0};
    bool ended = false;
    if (wire->backend->converse(wire->session, bytes, out, &ended, &why) != SOREX_OK)
        return wire_refuse(wire, &why, out, err);
    if (ended)
        session_close(wire);
    return SOREX_OK;
}

/* ---- bytes ---- */

/* Bytes of `more` that complete the first message, as far as its length is known. */
static size_t missing(const struct wire *wire, size_t more)
{
    size_t have = wire->in.len, wanted = LENGTH_BYTES;
    if (have >= LENGTH_BYTES)
        wanted = u32be_get(wire->in.data);
    CHECK(wanted > have); /* else it would have been taken */
    return wanted - have < more ? wanted - have : more;
}

/* A client that offers encryption or asks for a cancellation may say more than one first message. */
static enum sorex_status starting_take(struct wire *wire, struct bytes *bytes, struct buf *out, struct sorex_error *err)
{
    size_t len = missing(wire, bytes->len), taken;
    TRY(buf_append(&wire->in, bytes_of(bytes->data, len), err));
    *bytes = bytes_of(bytes->data + len, bytes->len - len);
    TRY(startup_take(wire, buf_view(&wire->in), &taken, out, err));
    if (taken > 0 && wire->state != WIRE_CLOSED)
        buf_reset(&wire->in);
    return SOREX_OK;
}

static enum sorex_status bytes_take(struct wire *wire, struct bytes bytes, struct buf *out, struct sorex_error *err)
{
    while (wire->state == WIRE_STARTING && bytes.len > 0)
        TRY(starting_take(wire, &bytes, out, err));
    return wire->state == WIRE_OPEN && bytes.len > 0 ? bytes_pass(wire, bytes, out, err) : SOREX_OK;
}

enum sorex_status wire_feed(struct wire *wire, struct bytes bytes, struct buf *out, struct sorex_error *err)
{
    enum sorex_status status = bytes_take(wire, bytes, out, err);
    if (status != SOREX_OK)
        session_close(wire);
    return status;
}
