#include "pg/protocol.h"

#include "base/check.h"

#define HEADER_BYTES 5u /* type and length */
#define FORMATS 2u
#define SECRET_BYTES_MAX 256u

static bool take_u16(struct reader *r, uint16_t *out)
{
    struct bytes bytes;
    if (!reader_take(r, 2, &bytes))
        return false;
    *out = u16be_get(bytes.data);
    return true;
}

static bool take_u32(struct reader *r, uint32_t *out)
{
    struct bytes bytes;
    if (!reader_take(r, 4, &bytes))
        return false;
    *out = u32be_get(bytes.data);
    return true;
}

/* Up to a NUL, which is skipped. */
static bool take_text(struct reader *r, struct bytes *out)
{
    const uint8_t *end = reader_left(r) == 0 ? NULL : memchr(r->at, 0, reader_left(r));
    if (end == NULL)
        return false;
    *out = bytes_of(r->at, (size_t)(end - r->at));
    r->at = end + 1;
    return true;
}

/* A count that is signed in the protocol, and never negative. */
static bool take_count(struct reader *r, uint16_t *out)
{
    uint16_t count;
    if (!take_u16(r, &count) || count > INT16_MAX)
        return false;
    *out = count;
    return true;
}

static bool take_format(struct reader *r, enum protocol_format *out)
{
    uint16_t format;
    if (!take_u16(r, &format) || format >= FORMATS)
        return false;
    *out = (enum protocol_format)format;
    return true;
}

/* ---- columns, rows, types ---- */

static bool take_column(struct reader *r, struct protocol_column *out)
{
    uint16_t attribute, type_bytes;
    uint32_t modifier;
    if (!take_text(r, &out->name) || !take_u32(r, &out->table) || !take_u16(r, &attribute) ||
        !take_u32(r, &out->type) || !take_u16(r, &type_bytes) || !take_u32(r, &modifier) ||
        !take_format(r, &out->format))
        return false;
    out->attribute = (int16_t)attribute;
    out->type_bytes = (int16_t)type_bytes;
    out->modifier = (int32_t)modifier;
    return true;
}

static bool take_value(struct reader *r, struct protocol_value *out)
{
    uint32_t len;
    if (!take_u32(r, &len))
        return false;
    out->null = len == UINT32_MAX;
    out->bytes = bytes_of(NULL, 0);
    return out->null || (len <= INT32_MAX && reader_take(r, len, &out->bytes));
}

static bool columns_read(struct reader *r, struct protocol_message *out)
{
    struct protocol_column column;
    if (!take_count(r, &out->columns.count))
        return false;
    out->columns.rest = *r;
    for (uint16_t i = 0; i < out->columns.count; i++) {
        if (!take_column(r, &column))
            return false;
    }
    return true;
}

static bool row_read(struct reader *r, struct protocol_message *out)
{
    struct protocol_value value;
    if (!take_count(r, &out->row.count))
        return false;
    out->row.rest = *r;
    for (uint16_t i = 0; i < out->row.count; i++) {
        if (!take_value(r, &value))
            return false;
    }
    return true;
}

/* The one count that has all 16 bits: Bind's has, too. */
static bool types_read(struct reader *r, struct protocol_message *out)
{
    struct bytes types;
    if (!take_u16(r, &out->types.count))
        return false;
    out->types.rest = *r;
    return reader_take(r, (size_t)out->types.count * 4, &types);
}

struct protocol_column protocol_column_next(struct protocol_columns *columns)
{
    struct protocol_column column = {0};
    CHECK(take_column(&columns->rest, &column));
    return column;
}

struct protocol_value protocol_value_next(struct protocol_row *row)
{
    struct protocol_value value = {0};
    CHECK(take_value(&row->rest, &value));
    return value;
}

uint32_t protocol_type_next(struct reader *types)
{
    uint32_t type = 0;
    CHECK(take_u32(types, &type));
    return type;
}

/* ---- the others ---- */

static bool notice_read(struct reader *r, struct protocol_message *out)
{
    static const uint8_t codes[PROTOCOL_FIELDS] = {
#define PROTOCOL_FIELD_CODE(name, code) [PROTOCOL_FIELD_##name] = (code),
        PROTOCOL_FIELD_LIST(PROTOCOL_FIELD_CODE)
#undef PROTOCOL_FIELD_CODE
    };
    struct bytes *fields = out->notice.fields;
    uint8_t code;
    struct bytes text;
    memset(&out->notice, 0, sizeof out->notice);
    for (;;) {
        if (!reader_u8(r, &code))
            return false;
        if (code == 0)
            break;
        if (!take_text(r, &text))
            return false;
        /* Kinds of fields that are not known are to be ignored. */
        const uint8_t *found = memchr(codes, code, sizeof codes);
        if (found != NULL)
            fields[found - codes] = text;
    }
    return fields[PROTOCOL_FIELD_SEVERITY].data != NULL && fields[PROTOCOL_FIELD_SQLSTATE].len == 5 &&
           fields[PROTOCOL_FIELD_MESSAGE].data != NULL;
}

static bool authentication_read(struct reader *r, struct protocol_message *out)
{
    if (!take_u32(r, &out->authentication.kind))
        return false;
    size_t left = reader_left(r);
    CHECK(reader_take(r, left, &out->authentication.data));
    switch (out->authentication.kind) {
    case 0: /* Ok */
    case 2: /* KerberosV5 */
    case 3: /* CleartextPassword */
    case 7: /* GSS */
    case 9: /* SSPI */
        return left == 0;
    case 5: /* MD5Password: the salt */
        return left == 4;
    default:
        return true;
    }
}

static bool key_read(struct reader *r, struct protocol_message *out)
{
    return take_u32(r, &out->key.process) && reader_left(r) >= 4 && reader_left(r) <= SECRET_BYTES_MAX &&
           reader_take(r, reader_left(r), &out->key.secret);
}

static bool negotiate_read(struct reader *r, struct protocol_message *out)
{
    struct bytes option;
    if (!take_u32(r, &out->negotiate.version) || !take_u32(r, &out->negotiate.count))
        return false;
    for (uint32_t i = 0; i < out->negotiate.count; i++) {
        if (!take_text(r, &option)) /* ends the loop at the end of the body, whatever count says */
            return false;
    }
    return true;
}

static bool parameter_read(struct reader *r, struct protocol_message *out)
{
    return take_text(r, &out->parameter.name) && take_text(r, &out->parameter.value);
}

static bool notification_read(struct reader *r, struct protocol_message *out)
{
    return take_u32(r, &out->notification.process) && take_text(r, &out->notification.channel) &&
           take_text(r, &out->notification.payload);
}

static bool ready_read(struct reader *r, struct protocol_message *out)
{
    uint8_t state;
    if (!reader_u8(r, &state) || (state != 'I' && state != 'T' && state != 'E'))
        return false;
    out->transaction = (char)state;
    return true;
}

static bool complete_read(struct reader *r, struct protocol_message *out) { return take_text(r, &out->text); }

static bool copy_read(struct reader *r, struct protocol_message *out)
{
    uint8_t whole;
    enum protocol_format format;
    if (!reader_u8(r, &whole) || whole >= FORMATS || !take_count(r, &out->copy.count))
        return false;
    out->copy.format = (enum protocol_format)whole;
    for (uint16_t i = 0; i < out->copy.count; i++) {
        if (!take_format(r, &format) || (whole == PROTOCOL_TEXT && format != PROTOCOL_TEXT))
            return false;
    }
    return true;
}

static bool copy_data_read(struct reader *r, struct protocol_message *out)
{
    return reader_take(r, reader_left(r), &out->text);
}

static bool nothing_read(struct reader *r, struct protocol_message *out)
{
    (void)r;
    (void)out;
    return true;
}

/* ---- messages ---- */

static const struct message_type {
    enum protocol_type type;
    const char *name;
    bool (*read)(struct reader *r, struct protocol_message *out);
} message_types[] = {
    {PROTOCOL_ROW, "DataRow", row_read},
    {PROTOCOL_COMPLETE, "CommandComplete", complete_read},
    {PROTOCOL_READY, "ReadyForQuery", ready_read},
    {PROTOCOL_COLUMNS, "RowDescription", columns_read},
    {PROTOCOL_PARSED, "ParseComplete", nothing_read},
    {PROTOCOL_BOUND, "BindComplete", nothing_read},
    {PROTOCOL_CLOSED, "CloseComplete", nothing_read},
    {PROTOCOL_COPY_DATA, "CopyData", copy_data_read},
    {PROTOCOL_COPY_DONE, "CopyDone", nothing_read},
    {PROTOCOL_COPY_IN, "CopyInResponse", copy_read},
    {PROTOCOL_COPY_OUT, "CopyOutResponse", copy_read},
    {PROTOCOL_COPY_BOTH, "CopyBothResponse", copy_read},
    {PROTOCOL_ERROR, "ErrorResponse", notice_read},
    {PROTOCOL_NOTICE, "NoticeResponse", notice_read},
    {PROTOCOL_EMPTY_QUERY, "EmptyQueryResponse", nothing_read},
    {PROTOCOL_NO_DATA, "NoData", nothing_read},
    {PROTOCOL_SUSPENDED, "PortalSuspended", nothing_read},
    {PROTOCOL_PARAMETER_TYPES, "ParameterDescription", types_read},
    {PROTOCOL_PARAMETER, "ParameterStatus", parameter_read},
    {PROTOCOL_NOTIFICATION, "NotificationResponse", notification_read},
    {PROTOCOL_AUTHENTICATION, "Authentication", authentication_read},
    {PROTOCOL_KEY, "BackendKeyData", key_read},
    {PROTOCOL_NEGOTIATE, "NegotiateProtocolVersion", negotiate_read},
};

static const struct message_type *message_type_find(uint8_t type)
{
    for (size_t i = 0; i < sizeof message_types / sizeof message_types[0]; i++) {
        if ((uint8_t)message_types[i].type == type)
            return &message_types[i];
    }
    return NULL;
}

enum sorex_status protocol_take(struct bytes *in, struct protocol_message *out, bool *out_whole,
                                struct sorex_error *err)
{
    *out_whole = false;
    if (in->len == 0)
        return SOREX_OK;
    const struct message_type *type = message_type_find(in->data[0]);
    if (type == NULL)
        return sorex_error_set(err, SOREX_CORRUPT, "a message from PostgreSQL of unknown type 0x%02x", in->data[0]);
    if (in->len < HEADER_BYTES)
        return SOREX_OK;
    uint32_t len = u32be_get(in->data + 1);
    if (len < 4)
        return sorex_error_set(err, SOREX_CORRUPT, "%s from PostgreSQL has the length %u", type->name, len);
    if (len > PROTOCOL_MESSAGE_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "%s from PostgreSQL has %u bytes", type->name, len);
    if (in->len - 1 < len)
        return SOREX_OK;
    out->type = type->type;
    out->body = bytes_of(in->data + HEADER_BYTES, len - 4);
    struct reader r = reader_of(out->body);
    if (!type->read(&r, out) || reader_left(&r) != 0)
        return sorex_error_set(err, SOREX_CORRUPT, "%s from PostgreSQL of %u bytes does not add up at byte %zu",
                               type->name, len, (size_t)(r.at - out->body.data));
    in->data += 1 + len;
    in->len -= 1 + len;
    *out_whole = true;
    return SOREX_OK;
}
