#include "sink/postgres_binary.h"

#include <math.h>

#include "base/check.h"
#include "base/codec.h"
#include "json/double.h"

#define NUMERIC_DIGITS_MAX                                                                     \
    1000 /* decimal digits of a number that is taken; more are rare, and the server's business \
          */
#define NUMERIC_EXPONENT_MAX 1000
#define NUMERIC_NEGATIVE 0x4000

bool postgres_binary_knows(uint32_t oid)
{
    switch (oid) {
    case POSTGRES_OID_BOOL:
    case POSTGRES_OID_BIGINT:
    case POSTGRES_OID_INTEGER:
    case POSTGRES_OID_TEXT:
    case POSTGRES_OID_JSON:
    case POSTGRES_OID_DOUBLE:
    case POSTGRES_OID_VARCHAR:
    case POSTGRES_OID_TIMESTAMPTZ:
    case POSTGRES_OID_NUMERIC:
    case POSTGRES_OID_JSONB:
        return true;
    default:
        return false;
    }
}

/* ---- fields ---- */

static enum sorex_status bytes_append(struct bytes bytes, struct buf *out, struct sorex_error *err)
{
    TRY(buf_reserve(out, 4 + bytes.len, err));
    u32be_put(out->data + out->len, (uint32_t)bytes.len);
    if (bytes.len > 0)
        (void)memcpy(out->data + out->len + 4, bytes.data, bytes.len);
    out->len += 4 + bytes.len;
    return SOREX_OK;
}

static enum sorex_status u64_append(uint64_t value, struct buf *out, struct sorex_error *err)
{
    TRY(buf_reserve(out, 12, err));
    u32be_put(out->data + out->len, 8);
    u64be_put(out->data + out->len + 4, value);
    out->len += 12;
    return SOREX_OK;
}

enum sorex_status postgres_binary_text(struct bytes text, struct buf *out, struct sorex_error *err)
{
    if (text.len > 0 && memchr(text.data, 0, text.len) != NULL)
        return sorex_error_set(err, SOREX_INVALID, "PostgreSQL cannot store the character U+0000");
    return bytes_append(text, out, err);
}

/* jsonb: a version in front of the text. */
static enum sorex_status jsonb_append(struct bytes text, struct buf *out, struct sorex_error *err)
{
    TRY(buf_reserve(out, 5 + text.len, err));
    u32be_put(out->data + out->len, (uint32_t)text.len + 1);
    out->data[out->len + 4] = 1;
    (void)memcpy(out->data + out->len + 5, text.data, text.len);
    out->len += 5 + text.len;
    return SOREX_OK;
}

/* ---- numbers ---- */

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* -?[0-9]+ of 64 bits. */
static bool integer_read(struct bytes text, int64_t *out)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    uint64_t limit = (uint64_t)INT64_MAX + negative;
    uint64_t value = 0;
    if (text.len == (size_t)negative)
        return false;
    for (size_t i = negative; i < text.len; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

static enum sorex_status integer_append(struct bytes text, uint32_t oid, struct buf *out, bool *out_taken,
                                        struct sorex_error *err)
{
    int64_t value;
    *out_taken = integer_read(text, &value);
    if (oid == POSTGRES_OID_INTEGER)
        *out_taken = *out_taken && value >= INT32_MIN && value <= INT32_MAX;
    if (!*out_taken)
        return SOREX_OK;
    if (oid == POSTGRES_OID_BIGINT)
        return u64_append((uint64_t)value, out, err);
    uint8_t bytes[4];
    u32be_put(bytes, (uint32_t)value);
    return bytes_append(bytes_of(bytes, sizeof bytes), out, err);
}

/* A number as JSON writes it: -?digits[.digits][(e|E)[+|-]digits], leading zeros allowed. */
struct decimal {
    bool negative;
    struct bytes whole, fraction; /* digits */
    long exponent;
};

static struct bytes digits_take(struct bytes *text)
{
    size_t len = 0;
    while (len < text->len && is_digit(text->data[len]))
        len++;
    struct bytes digits = bytes_of(text->data, len);
    *text = bytes_of(text->data + len, text->len - len);
    return digits;
}

static bool sign_take(struct bytes *text, char sign)
{
    if (text->len == 0 || text->data[0] != (uint8_t)sign)
        return false;
    *text = bytes_of(text->data + 1, text->len - 1);
    return true;
}

static bool decimal_read(struct bytes text, struct decimal *out)
{
    *out = (struct decimal){.negative = sign_take(&text, '-')};
    out->whole = digits_take(&text);
    if (sign_take(&text, '.')) {
        out->fraction = digits_take(&text);
        if (out->fraction.len == 0)
            return false;
    }
    if (sign_take(&text, 'e') || sign_take(&text, 'E')) {
        bool negative = sign_take(&text, '-');
        (void)(negative || sign_take(&text, '+'));
        struct bytes digits = digits_take(&text);
        if (digits.len == 0 || digits.len > 4)
            return false;
        for (size_t i = 0; i < digits.len; i++)
            out->exponent = out->exponent * 10 + (digits.data[i] - '0');
        out->exponent = negative ? -out->exponent : out->exponent;
    }
    return out->whole.len > 0 && text.len == 0 && out->whole.len + out->fraction.len <= NUMERIC_DIGITS_MAX &&
           out->exponent <= NUMERIC_EXPONENT_MAX && out->exponent >= -NUMERIC_EXPONENT_MAX;
}

static bool decimal_is_zero(const struct decimal *decimal)
{
    for (size_t i = 0; i < decimal->whole.len; i++)
        if (decimal->whole.data[i] != '0')
            return false;
    for (size_t i = 0; i < decimal->fraction.len; i++)
        if (decimal->fraction.data[i] != '0')
            return false;
    return true;
}

/* A value that is out of range, which the server refuses, reads as an infinity or as 0. */
static enum sorex_status double_append(struct bytes text, struct buf *out, bool *out_taken, struct sorex_error *err)
{
    double value;
    struct decimal decimal;
    *out_taken = decimal_read(text, &decimal) && double_read(text, &value) && isfinite(value) &&
                 (fpclassify(value) != FP_ZERO || decimal_is_zero(&decimal));
    if (!*out_taken)
        return SOREX_OK;
    uint64_t bits;
    (void)memcpy(&bits, &value, sizeof bits);
    return u64_append(bits, out, err);
}

/* numeric: digits of base 10,000, the first of which counts 10,000^weight; dscale is how many decimal places are shown.
 * The server strips zeros at both ends. */
static enum sorex_status numeric_append(struct bytes text, struct buf *out, bool *out_taken, struct sorex_error *err)
{
    struct decimal decimal;
    *out_taken = decimal_read(text, &decimal);
    if (!*out_taken)
        return SOREX_OK;
    size_t count = decimal.whole.len + decimal.fraction.len;
    /* Place of the first decimal digit, 0 = units; it is put into its group of four by zeros in front. */
    long first = (long)decimal.whole.len - 1 + decimal.exponent;
    long weight = first >= 0 ? first / 4 : -((3 - first) / 4);
    size_t lead = (size_t)(weight * 4 + 3 - first);
    size_t groups = (lead + count + 3) / 4;
    long scale = (long)decimal.fraction.len - decimal.exponent;
    TRY(buf_reserve(out, 12 + 2 * groups, err));
    uint8_t *to = out->data + out->len;
    u32be_put(to, (uint32_t)(8 + 2 * groups));
    u16be_put(to + 4, (uint16_t)groups);
    u16be_put(to + 6, (uint16_t)weight);
    u16be_put(to + 8, decimal.negative && !decimal_is_zero(&decimal) ? NUMERIC_NEGATIVE : 0);
    u16be_put(to + 10, (uint16_t)(scale > 0 ? scale : 0));
    to += 12;
    size_t at = 0;
    for (size_t group = 0; group < groups; group++, to += 2) {
        unsigned value = 0;
        for (size_t i = group * 4; i < group * 4 + 4; i++) {
            uint8_t digit = '0';
            if (i >= lead && at < count) {
                digit = at < decimal.whole.len ? decimal.whole.data[at] : decimal.fraction.data[at - decimal.whole.len];
                at++;
            }
            value = value * 10 + (unsigned)(digit - '0');
        }
        u16be_put(to, (uint16_t)value);
    }
    out->len += 12 + 2 * groups;
    return SOREX_OK;
}

/* ---- times ---- */

static bool number_take(struct bytes *text, size_t digits, unsigned *out)
{
    if (text->len < digits)
        return false;
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        if (!is_digit(text->data[i]))
            return false;
        *out = *out * 10 + (unsigned)(text->data[i] - '0');
    }
    *text = bytes_of(text->data + digits, text->len - digits);
    return true;
}

static bool date_take(struct bytes *text, int64_t *out_days)
{
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year;
    unsigned month;
    unsigned day;
    if (!number_take(text, 4, &year) || !sign_take(text, '-') || !number_take(text, 2, &month) ||
        !sign_take(text, '-') || !number_take(text, 2, &day) || year == 0 || month == 0 || month > 12 || day == 0)
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > lengths[month - 1] + (unsigned)(month == 2 && leap))
        return false;
    /* Days since 0000-03-01 of the Gregorian calendar, then since 2000-01-01. */
    unsigned y = month > 2 ? year : year - 1;
    unsigned m = month > 2 ? month - 3 : month + 9;
    *out_days = (int64_t)y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 730425;
    return true;
}

/* HH:MM:SS[.f], up to six places. */
static bool time_take(struct bytes *text, int64_t *out_us)
{
    unsigned hour;
    unsigned minute;
    unsigned second;
    if (!number_take(text, 2, &hour) || !sign_take(text, ':') || !number_take(text, 2, &minute) ||
        !sign_take(text, ':') || !number_take(text, 2, &second) || hour > 23 || minute > 59 || second > 59)
        return false;
    unsigned us = 0;
    if (sign_take(text, '.')) {
        struct bytes digits = digits_take(text);
        if (digits.len == 0 || digits.len > 6)
            return false;
        for (size_t i = 0; i < 6; i++)
            us = us * 10 + (i < digits.len ? (unsigned)(digits.data[i] - '0') : 0);
    }
    *out_us = (((int64_t)hour * 60 + minute) * 60 + second) * 1000000 + us;
    return true;
}

/* Z, +HH:MM or -HH:MM; what has none is in the session's time zone, UTC. */
static bool zone_take(struct bytes *text, int64_t *out_us)
{
    *out_us = 0;
    if (text->len == 0 || sign_take(text, 'Z'))
        return true;
    bool west = sign_take(text, '-');
    unsigned hour;
    unsigned minute;
    if ((!west && !sign_take(text, '+')) || !number_take(text, 2, &hour) || !sign_take(text, ':') ||
        !number_take(text, 2, &minute) || hour > 14 || minute > 59)
        return false;
    int64_t us = ((int64_t)hour * 60 + minute) * 60000000;
    *out_us = west ? -us : us;
    return true;
}

/* timestamptz: microseconds since 2000-01-01 00:00 UTC. Taken: ISO 8601 with a year of four digits. */
static enum sorex_status timestamp_append(struct bytes text, struct buf *out, bool *out_taken, struct sorex_error *err)
{
    int64_t days;
    int64_t us;
    int64_t zone;
    *out_taken = date_take(&text, &days) && (sign_take(&text, 'T') || sign_take(&text, ' ')) && time_take(&text, &us) &&
                 zone_take(&text, &zone) && text.len == 0;
    if (!*out_taken)
        return SOREX_OK;
    return u64_append((uint64_t)(days * 86400000000 + us - zone), out, err);
}

/* ---- a value ---- */

enum sorex_status postgres_binary_field(const struct json_node *node, uint32_t oid, struct buf *out, bool *out_taken,
                                        struct sorex_error *err)
{
    *out_taken = true;
    if (node == NULL || node->kind == JSON_NULL)
        return buf_append(out, bytes_of("\xff\xff\xff\xff", 4), err);
    struct bytes text = node->kind == JSON_STRING ? node->text : node->raw;
    bool number = node->kind == JSON_STRING || node->kind == JSON_NUMBER;
    switch (oid) {
    case POSTGRES_OID_JSON:
        return bytes_append(node->raw, out, err);
    case POSTGRES_OID_JSONB:
        return jsonb_append(node->raw, out, err);
    case POSTGRES_OID_TEXT:
    case POSTGRES_OID_VARCHAR:
        return postgres_binary_text(text, out, err);
    case POSTGRES_OID_BIGINT:
    case POSTGRES_OID_INTEGER:
        if (number)
            return integer_append(text, oid, out, out_taken, err);
        break;
    case POSTGRES_OID_DOUBLE:
        if (number)
            return double_append(text, out, out_taken, err);
        break;
    case POSTGRES_OID_NUMERIC:
        if (number)
            return numeric_append(text, out, out_taken, err);
        break;
    case POSTGRES_OID_TIMESTAMPTZ:
        if (node->kind == JSON_STRING)
            return timestamp_append(text, out, out_taken, err);
        break;
    case POSTGRES_OID_BOOL:
        if (node->kind == JSON_BOOL)
            return bytes_append(bytes_of(node->boolean ? "\1" : "\0", 1), out, err);
        break;
    default:
        break;
    }
    *out_taken = false;
    return SOREX_OK;
}
