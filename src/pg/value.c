#include "pg/value_private.h"

#include <inttypes.h>

#include "base/check.h"

static enum sorex_status odd(struct bytes binary, struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_CORRUPT, "%zu bytes", binary.len);
}

/* ---- text of the simple types ---- */

static enum sorex_status bool_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    if (binary.len != 1 || binary.data[0] > 1)
        return odd(binary, err);
    return buf_append_str(out, binary.data[0] == 1 ? "t" : "f", err);
}

static enum sorex_status bytea_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_str(out, "\\x", err));
    return buf_append_hex(out, binary, err);
}

/* The type "char": one byte. */
static enum sorex_status char_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    if (binary.len != 1)
        return odd(binary, err);
    if (binary.data[0] >= 0x80)
        return buf_printf(out, err, "\\%03o", binary.data[0]);
    return buf_append(out, bytes_of(binary.data, binary.data[0] != 0), err);
}

static enum sorex_status text_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    return buf_append(out, binary, err);
}

static enum sorex_status void_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    (void)out;
    return binary.len == 0 ? SOREX_OK : odd(binary, err);
}

/* A version, then text. */
static enum sorex_status jsonb_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    if (binary.len < 1 || binary.data[0] != 1)
        return sorex_error_set(err, SOREX_CORRUPT, "another version than 1");
    return buf_append(out, bytes_of(binary.data + 1, binary.len - 1), err);
}

static enum sorex_status uuid_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    static const uint8_t groups[] = {4, 2, 2, 2, 6};
    if (binary.len != 16)
        return odd(binary, err);
    for (size_t i = 0, at = 0; i < sizeof groups; at += groups[i++]) {
        if (i > 0)
            TRY(buf_append_str(out, "-", err));
        TRY(buf_append_hex(out, bytes_of(binary.data + at, groups[i]), err));
    }
    return SOREX_OK;
}

static bool integer_get(struct bytes binary, size_t len, int64_t *out)
{
    if (binary.len != len)
        return false;
    *out = len == 2   ? (int16_t)u16be_get(binary.data)
           : len == 4 ? (int32_t)u32be_get(binary.data)
                      : (int64_t)u64be_get(binary.data);
    return true;
}

static enum sorex_status integer_text(struct bytes binary, size_t len, struct buf *out, struct sorex_error *err)
{
    int64_t value;
    if (!integer_get(binary, len, &value))
        return odd(binary, err);
    return buf_printf(out, err, "%" PRId64, value);
}

static enum sorex_status int2_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    return integer_text(binary, 2, out, err);
}

static enum sorex_status int4_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    return integer_text(binary, 4, out, err);
}

static enum sorex_status int8_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    return integer_text(binary, 8, out, err);
}

static enum sorex_status oid_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    if (binary.len != 4)
        return odd(binary, err);
    return buf_printf(out, err, "%" PRIu32, u32be_get(binary.data));
}

/* ---- types ---- */

static const struct type {
    uint32_t oid, array;
    const char *name;
} types[] = {
#define TYPE_ROW(name, oid, array) {oid, array, #name},
    VALUE_TYPE_LIST(TYPE_ROW)
#undef TYPE_ROW
};

value_text_fn *value_text_of(uint32_t type)
{
    switch ((enum value_type)type) {
    case VALUE_BOOL:
        return bool_text;
    case VALUE_BYTEA:
        return bytea_text;
    case VALUE_CHAR:
        return char_text;
    case VALUE_NAME:
    case VALUE_TEXT:
    case VALUE_JSON:
    case VALUE_XML:
    case VALUE_UNKNOWN:
    case VALUE_BPCHAR:
    case VALUE_VARCHAR:
        return text_text;
    case VALUE_INT8:
        return int8_text;
    case VALUE_INT2:
        return int2_text;
    case VALUE_INT4:
        return int4_text;
    case VALUE_OID:
    case VALUE_XID:
        return oid_text;
    case VALUE_FLOAT4:
        return float4_text;
    case VALUE_FLOAT8:
        return float8_text;
    case VALUE_DATE:
        return date_text;
    case VALUE_TIME:
        return time_text;
    case VALUE_TIMESTAMP:
        return timestamp_text;
    case VALUE_TIMESTAMPTZ:
        return timestamptz_text;
    case VALUE_INTERVAL:
        return interval_text;
    case VALUE_TIMETZ:
        return timetz_text;
    case VALUE_NUMERIC:
        return numeric_text;
    case VALUE_UUID:
        return uuid_text;
    case VALUE_VOID:
        return void_text;
    case VALUE_JSONB:
        return jsonb_text;
    }
    return NULL;
}

static const struct type *array_of(uint32_t oid)
{
    for (size_t i = 0; oid != 0 && i < sizeof types / sizeof types[0]; i++) {
        if (types[i].array == oid)
            return &types[i];
    }
    return NULL;
}

bool value_known(uint32_t type) { return value_text_of(type) != NULL || array_of(type) != NULL; }

bool value_is_number(uint32_t type)
{
    static const uint32_t numbers[] = {VALUE_INT2,   VALUE_INT4,      VALUE_INT8, VALUE_FLOAT4,
                                       VALUE_FLOAT8, VALUE_NUMERIC,   VALUE_OID,  VALUE_XID,
                                       29 /* cid */, 790 /* money */, 5069 /* xid8 */};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i] == type)
            return true;
    }
    return false;
}

static const char *type_name(uint32_t oid)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].oid == oid)
            return types[i].name;
    }
    return "array";
}

enum sorex_status value_text(uint32_t type, struct bytes binary, struct buf *out, struct sorex_error *err)
{
    value_text_fn *text = array_of(type) != NULL ? array_text : value_text_of(type);
    if (text == NULL)
        return sorex_error_set(err, SOREX_GONE, "the binary format of type %" PRIu32 " is not known", type);
    size_t start = out->len;
    enum sorex_status status = text(binary, out, err);
    if (status == SOREX_OK)
        return SOREX_OK;
    out->len = start;
    return sorex_error_prefix(err, "a value of type %s", type_name(type));
}

/* ---- to C ---- */

static double real_get(struct bytes binary)
{
    uint64_t bits = binary.len == 8 ? u64be_get(binary.data) : 0;
    double real;
    if (binary.len == 4) {
        uint32_t narrow = u32be_get(binary.data);
        float value;
        memcpy(&value, &narrow, sizeof value);
        return (double)value;
    }
    memcpy(&real, &bits, sizeof real);
    return real;
}

static enum sorex_status text_read(uint32_t type, struct bytes binary, struct buf *texts, struct value *out,
                                   struct sorex_error *err)
{
    size_t start = texts->len;
    TRY(value_text(type, binary, texts, err));
    /* Behind an empty buffer lies no address; an empty text has one nevertheless. */
    out->bytes = texts->data == NULL ? bytes_of("", 0) : bytes_of(texts->data + start, texts->len - start);
    out->kind = VALUE_IS_TEXT;
    return SOREX_OK;
}

static enum sorex_status wrong(uint32_t type, struct bytes binary, struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_CORRUPT, "a value of type %s: %zu bytes", type_name(type), binary.len);
}

enum sorex_status value_read(uint32_t type, const struct protocol_value *value, struct buf *texts, struct value *out,
                             struct sorex_error *err)
{
    struct bytes binary = value->bytes;
    *out = (struct value){.kind = VALUE_IS_NULL};
    if (value->null)
        return SOREX_OK;
    switch (type) {
    case VALUE_BOOL:
        if (binary.len != 1 || binary.data[0] > 1)
            return wrong(type, binary, err);
        out->kind = VALUE_IS_INTEGER;
        out->integer = binary.data[0];
        return SOREX_OK;
    case VALUE_INT2:
    case VALUE_INT4:
    case VALUE_INT8:
        out->kind = VALUE_IS_INTEGER;
        return integer_get(binary,
                           type == VALUE_INT2   ? 2
                           : type == VALUE_INT4 ? 4
                                                : 8,
                           &out->integer)
                   ? SOREX_OK
                   : wrong(type, binary, err);
    case VALUE_OID:
    case VALUE_XID:
        if (binary.len != 4)
            return wrong(type, binary, err);
        out->kind = VALUE_IS_INTEGER;
        out->integer = u32be_get(binary.data);
        return SOREX_OK;
    case VALUE_FLOAT4:
    case VALUE_FLOAT8:
        if (binary.len != (type == VALUE_FLOAT4 ? 4u : 8u))
            return wrong(type, binary, err);
        out->kind = VALUE_IS_REAL;
        out->real = real_get(binary);
        return SOREX_OK;
    case VALUE_BYTEA:
        out->kind = VALUE_IS_BLOB;
        out->bytes = binary;
        return SOREX_OK;
    default:
        break;
    }
    if (value_text_of(type) != text_text)
        return text_read(type, binary, texts, out, err);
    out->kind = VALUE_IS_TEXT;
    out->bytes = binary;
    return SOREX_OK;
}

/* ---- from C ---- */

static enum sorex_status put(struct buf *bytes, uint64_t bits, size_t len, struct sorex_error *err)
{
    uint8_t all[8];
    u64be_put(all, bits);
    return buf_append(bytes, bytes_of(all + 8 - len, len), err);
}

static enum sorex_status put_float4(struct buf *bytes, float value, struct sorex_error *err)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put(bytes, bits, 4, err);
}

static enum sorex_status put_float8(struct buf *bytes, double value, struct sorex_error *err)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put(bytes, bits, 8, err);
}

static enum sorex_status put_integer(struct buf *bytes, int64_t value, int64_t min, int64_t max, size_t len,
                                     uint32_t type, struct sorex_error *err)
{
    if (value < min || value > max)
        return sorex_error_set(err, SOREX_INVALID, "%" PRId64 " is outside of the range of type %s", value,
                               type_name(type));
    return put(bytes, (uint64_t)value, len, err);
}

static enum sorex_status from_integer(int64_t value, uint32_t type, struct buf *bytes, enum protocol_format *format,
                                      struct sorex_error *err)
{
    *format = PROTOCOL_BINARY;
    switch (type) {
    case VALUE_BOOL:
        return put_integer(bytes, value, 0, 1, 1, type, err);
    case VALUE_INT2:
        return put_integer(bytes, value, INT16_MIN, INT16_MAX, 2, type, err);
    case VALUE_INT4:
        return put_integer(bytes, value, INT32_MIN, INT32_MAX, 4, type, err);
    case VALUE_INT8:
        return put(bytes, (uint64_t)value, 8, err);
    case VALUE_OID:
    case VALUE_XID:
        return put_integer(bytes, value, 0, UINT32_MAX, 4, type, err);
    case VALUE_FLOAT4:
        return put_float4(bytes, (float)value, err);
    case VALUE_FLOAT8:
        return put_float8(bytes, (double)value, err);
    default:
        *format = PROTOCOL_TEXT;
        return buf_printf(bytes, err, "%" PRId64, value);
    }
}

static enum sorex_status from_real(double value, uint32_t type, struct buf *bytes, enum protocol_format *format,
                                   struct sorex_error *err)
{
    char text[VALUE_FLOAT_TEXT_SIZE];
    *format = PROTOCOL_BINARY;
    switch (type) {
    case VALUE_FLOAT4:
        return put_float4(bytes, (float)value, err);
    case VALUE_FLOAT8:
        return put_float8(bytes, value, err);
    default:
        *format = PROTOCOL_TEXT;
        value_float8_text(value, text);
        return buf_append_str(bytes, text, err);
    }
}

enum sorex_status value_parameter(const struct value *value, uint32_t type, struct buf *bytes, size_t *out_at,
                                  struct protocol_parameter *out, struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    *out_at = bytes->len;
    *out = (struct protocol_parameter){.null = value->kind == VALUE_IS_NULL};
    switch (value->kind) {
    case VALUE_IS_NULL:
        break;
    case VALUE_IS_INTEGER:
        status = from_integer(value->integer, type, bytes, &out->format, err);
        break;
    case VALUE_IS_REAL:
        status = from_real(value->real, type, bytes, &out->format, err);
        break;
    case VALUE_IS_TEXT:
        out->format = PROTOCOL_TEXT;
        status = buf_append(bytes, value->bytes, err);
        break;
    case VALUE_IS_BLOB:
        out->format = PROTOCOL_BINARY;
        status = buf_append(bytes, value->bytes, err);
        break;
    }
    out->bytes.len = bytes->len - *out_at;
    return status;
}
