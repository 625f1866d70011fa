#include "sink/postgres_type.h"

#include <strings.h>

#include "base/check.h"

#define DOUBLE_DIGITS_MAX 15    /* DBL_DIG: that many decimal digits survive a double */
#define DOUBLE_EXPONENT_MAX 290 /* well inside the range of normal doubles */

static const char *const type_names[] = {"", "boolean", "text", "bigint", "double precision", "numeric", "jsonb", ""};

const char *postgres_type_name(enum postgres_type type)
{
    CHECK(type != POSTGRES_NONE && type != POSTGRES_OTHER);
    return type_names[type];
}

enum postgres_type postgres_type_of(const char *name)
{
    for (enum postgres_type type = POSTGRES_BOOL; type <= POSTGRES_JSONB; type++)
        if (strcasecmp(type_names[type], name) == 0)
            return type;
    return strcasecmp(name, "json") == 0 ? POSTGRES_JSONB : POSTGRES_OTHER;
}

static bool fits_bigint(struct bytes text)
{
    bool negative = text.data[0] == '-';
    struct bytes digits = bytes_of(text.data + negative, text.len - (size_t)negative);
    if (digits.len != 19)
        return digits.len < 19;
    return memcmp(digits.data, negative ? "9223372036854775808" : "9223372036854775807", 19) <= 0;
}

/* Decimal exponent behind e or E; saturates, it only has to be compared with the limit. */
static long exponent_of(struct bytes text, size_t at)
{
    bool negative = at < text.len && text.data[at] == '-';
    long value = 0;
    for (size_t i = at; i < text.len; i++)
        if (text.data[i] >= '0' && text.data[i] <= '9' && value < 100000)
            value = value * 10 + (text.data[i] - '0');
    return negative ? -value : value;
}

/* What counts are the digits from the first to the last one that is not zero. */
static bool fits_double(struct bytes text)
{
    size_t digits = 0;  /* from the first to the last one so far that is not zero */
    size_t zeros = 0;   /* behind those */
    long magnitude = 0; /* places from the point to the first digit that is not zero: 12.3 has 2, 0.012 has -1 */
    long exponent = 0;
    bool fraction = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == 'e' || c == 'E') {
            exponent = exponent_of(text, i + 1);
            break;
        }
        if (c == '.')
            fraction = true;
        if (c < '0' || c > '9')
            continue;
        bool started = digits > 0 || c != '0';
        magnitude += started && !fraction ? 1 : !started && fraction ? -1 : 0;
        if (c != '0') {
            digits += zeros + 1;
            zeros = 0;
        } else if (started) {
            zeros++;
        }
    }
    magnitude += exponent;
    return digits == 0 ||
           (digits <= DOUBLE_DIGITS_MAX && magnitude < DOUBLE_EXPONENT_MAX && magnitude > -DOUBLE_EXPONENT_MAX);
}

enum postgres_type postgres_type_needed(const struct json_node *node)
{
    switch (node->kind) {
    case JSON_NULL:
        return POSTGRES_NONE;
    case JSON_BOOL:
        return POSTGRES_BOOL;
    case JSON_STRING:
        return POSTGRES_TEXT;
    case JSON_NUMBER:
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        return POSTGRES_JSONB;
    }
    for (size_t i = 0; i < node->raw.len; i++)
        if (node->raw.data[i] == '.' || node->raw.data[i] == 'e' || node->raw.data[i] == 'E')
            return fits_double(node->raw) ? POSTGRES_DOUBLE : POSTGRES_NUMERIC;
    return fits_bigint(node->raw) ? POSTGRES_BIGINT : POSTGRES_NUMERIC;
}

static bool is_number(enum postgres_type type)
{
    return type == POSTGRES_BIGINT || type == POSTGRES_DOUBLE || type == POSTGRES_NUMERIC;
}

enum postgres_type postgres_type_join(enum postgres_type a, enum postgres_type b)
{
    if (a == b || b == POSTGRES_NONE)
        return a;
    if (a == POSTGRES_NONE)
        return b;
    return is_number(a) && is_number(b) ? POSTGRES_NUMERIC : POSTGRES_JSONB;
}

enum sorex_status postgres_field_text(struct bytes text, struct buf *out, struct sorex_error *err)
{
    TRY(buf_reserve(out, 2 * text.len, err));
    uint8_t *to = out->data + out->len;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c > '\r' && c != '\\') {
            *to++ = c;
            continue;
        }
        if (c == 0)
            return sorex_error_set(err, SOREX_INVALID, "PostgreSQL cannot store the character U+0000");
        if (c == '\\' || c == '\n' || c == '\r' || c == '\t')
            *to++ = '\\';
        *to++ = c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c;
    }
    out->len = (size_t)(to - out->data);
    return SOREX_OK;
}

enum sorex_status postgres_field(const struct json_node *node, enum postgres_type type, struct buf *out,
                                 struct sorex_error *err)
{
    if (node == NULL || node->kind == JSON_NULL)
        return buf_append(out, bytes_of("\\N", 2), err);
    if (node->kind == JSON_STRING && type != POSTGRES_JSONB)
        return postgres_field_text(node->text, out, err);
    if (node->kind == JSON_NUMBER && type != POSTGRES_JSONB)
        return buf_append(out, node->raw, err);
    return postgres_field_text(node->raw, out, err);
}
