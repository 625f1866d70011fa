/* Floats and numeric. */
#include "pg/value_private.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/check.h"
#include "json/double.h"

static enum sorex_status odd(struct bytes binary, struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_CORRUPT, "%zu bytes", binary.len);
}

/* ---- floats ----
 *
 * PostgreSQL prints the fewest digits that read back as the same number, but never a number that lies exactly between
 * two floats, so that a reader need not round ties to even: 1e23 lies between two doubles, and the one below is printed
 * as 9.999999999999999e+22. Source: PostgreSQL, src/common/d2s.c and ryu_common.h, STRICTLY_SHORTEST. */

/* What tells the two widths apart. */
struct width {
    unsigned digits_max;    /* enough for every value */
    unsigned mantissa_bits; /* with the hidden one */
    int fixed_below;        /* this power of ten and above are written with an exponent */
};
static const struct width wide = {17, 53, 15}, narrow = {9, 24, 6};

struct decimal {
    uint64_t digits; /* without trailing zeros */
    int exponent;    /* of the last digit */
};

/* d[.ddd]e[+-]dd */
static struct decimal decimal_of(const char *text)
{
    struct decimal decimal = {0};
    bool point = false, negative;
    for (; *text != 'e'; text++) {
        point = point || *text == '.';
        if (*text < '0' || *text > '9')
            continue;
        decimal.digits = decimal.digits * 10 + (uint64_t)(*text - '0');
        decimal.exponent -= point;
    }
    int exponent = 0;
    negative = *++text == '-';
    while (*++text != '\0')
        exponent = exponent * 10 + (*text - '0');
    decimal.exponent += negative ? -exponent : exponent;
    for (; decimal.digits != 0 && decimal.digits % 10 == 0; decimal.digits /= 10)
        decimal.exponent++;
    return decimal;
}

/* Between two neighbours lies what has one bit more than they have: an odd number of that many bits, times a power of
 * two. (Below the normal numbers that takes more digits than a decimal here has.) */
static bool is_midpoint(struct decimal decimal, unsigned mantissa_bits)
{
    uint64_t odd_part = decimal.digits;
    uint64_t limit = (uint64_t)1 << (mantissa_bits + 1);
    if (odd_part == 0)
        return false;
    while (odd_part % 2 == 0)
        odd_part /= 2;
    for (int i = 0; i < decimal.exponent; i++) {
        if (odd_part >= limit / 5 + 1)
            return false;
        odd_part *= 5;
    }
    for (int i = decimal.exponent; i < 0; i++) {
        if (odd_part % 5 != 0)
            return false;
        odd_part /= 5;
    }
    return odd_part >= limit / 2 && odd_part < limit;
}

/* The closest of as many digits as it takes that reads back and is no midpoint. */
static void digits_find(double value, const struct width *width, char text[DOUBLE_TEXT_SIZE])
{
    for (unsigned digits = 1; digits <= width->digits_max; digits++) {
        double back;
        double_write_scientific(value, digits, text);
        CHECK(double_read(bytes_str(text), &back));
        bool same = width == &wide ? back == value : (float)back == (float)value; /* both finite */
        if (same && !is_midpoint(decimal_of(text), width->mantissa_bits))
            return;
    }
}

/* value > 0, finite; text: its digits */
static void plain_write(struct decimal decimal, int power, char *out)
{
    char digits[24];
    int count = snprintf(digits, sizeof digits, "%" PRIu64, decimal.digits);
    if (power < 0)
        (void)snprintf(out, VALUE_FLOAT_TEXT_SIZE, "0.%.*s%s", -power - 1, "000", digits);
    else if (power >= count - 1)
        (void)snprintf(out, VALUE_FLOAT_TEXT_SIZE, "%s%.*s", digits, power - count + 1, "00000000000000");
    else
        (void)snprintf(out, VALUE_FLOAT_TEXT_SIZE, "%.*s.%s", power + 1, digits, digits + power + 1);
}

/* The power of ten of the first digit. */
static int power_of(struct decimal decimal)
{
    int power = decimal.exponent;
    for (uint64_t rest = decimal.digits; rest >= 10; rest /= 10)
        power++;
    return power;
}

static void float_text(double value, const struct width *width, char out[VALUE_FLOAT_TEXT_SIZE])
{
    char text[DOUBLE_TEXT_SIZE];
    if (isnan(value) || isinf(value) || fpclassify(value) == FP_ZERO) {
        const char *word = isnan(value) ? "NaN" : isinf(value) ? "Infinity" : "0";
        (void)snprintf(out, VALUE_FLOAT_TEXT_SIZE, "%s%s", !isnan(value) && signbit(value) ? "-" : "", word);
        return;
    }
    double size = fabs(value);
    if (width == &wide)
        double_write_scientific(size, 0, text);
    else
        float_write_scientific((float)size, text);
    if (is_midpoint(decimal_of(text), width->mantissa_bits))
        digits_find(size, width, text);
    struct decimal decimal = decimal_of(text);
    int power = power_of(decimal);
    if (value < 0)
        *out++ = '-'; /* 25 characters at most, with it */
    if (power >= -4 && power < width->fixed_below)
        plain_write(decimal, power, out);
    else
        (void)snprintf(out, VALUE_FLOAT_TEXT_SIZE - 1, "%s", text);
}

void value_float8_text(double value, char out[VALUE_FLOAT_TEXT_SIZE]) { float_text(value, &wide, out); }

void value_float4_text(float value, char out[VALUE_FLOAT_TEXT_SIZE]) { float_text((double)value, &narrow, out); }

enum sorex_status float4_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    char text[VALUE_FLOAT_TEXT_SIZE];
    float value;
    if (binary.len != sizeof value)
        return odd(binary, err);
    uint32_t bits = u32be_get(binary.data);
    memcpy(&value, &bits, sizeof value);
    value_float4_text(value, text);
    return buf_append_str(out, text, err);
}

enum sorex_status float8_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    char text[VALUE_FLOAT_TEXT_SIZE];
    double value;
    if (binary.len != sizeof value)
        return odd(binary, err);
    uint64_t bits = u64be_get(binary.data);
    memcpy(&value, &bits, sizeof value);
    value_float8_text(value, text);
    return buf_append_str(out, text, err);
}

/* ---- numeric ----
 *
 * Number of digits, weight of the first one, sign, number of decimals to show; then the digits, of base 10,000, two
 * bytes each. Digits that are not there are 0. */

#define NUMERIC_NEGATIVE 0x4000u
#define NUMERIC_NAN 0xc000u
#define NUMERIC_INFINITY 0xd000u
#define NUMERIC_MINUS_INFINITY 0xf000u
#define NUMERIC_SCALE_MAX 0x3fffu

struct numeric {
    int count, weight, scale;
    unsigned sign;
    const uint8_t *digits;
};

/* The digit of that power of 10,000. */
static unsigned numeric_digit(const struct numeric *numeric, int power)
{
    int at = numeric->weight - power;
    return at < 0 || at >= numeric->count ? 0 : u16be_get(numeric->digits + 2 * at);
}

static bool numeric_read(struct bytes binary, struct numeric *out)
{
    if (binary.len < 8)
        return false;
    out->count = u16be_get(binary.data);
    out->weight = (int16_t)u16be_get(binary.data + 2);
    out->sign = u16be_get(binary.data + 4);
    out->scale = u16be_get(binary.data + 6);
    out->digits = binary.data + 8;
    if (binary.len != 8 + 2 * (size_t)out->count || out->scale > (int)NUMERIC_SCALE_MAX)
        return false;
    for (int i = 0; i < out->count; i++) {
        if (u16be_get(out->digits + 2 * (size_t)i) > 9999)
            return false;
    }
    return true;
}

static enum sorex_status fraction_append(const struct numeric *numeric, struct buf *out, struct sorex_error *err)
{
    if (numeric->scale == 0)
        return SOREX_OK;
    TRY(buf_append_str(out, ".", err));
    for (int left = numeric->scale, power = -1; left > 0; left -= 4, power--) {
        char digits[8];
        (void)snprintf(digits, sizeof digits, "%04u", numeric_digit(numeric, power) % 10000);
        TRY(buf_append(out, bytes_of(digits, left < 4 ? (size_t)left : 4), err));
    }
    return SOREX_OK;
}

enum sorex_status numeric_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    struct numeric numeric;
    if (!numeric_read(binary, &numeric))
        return sorex_error_set(err, SOREX_CORRUPT, "%zu bytes that do not add up", binary.len);
    switch (numeric.sign) {
    case 0:
        break;
    case NUMERIC_NEGATIVE:
        TRY(buf_append_str(out, "-", err));
        break;
    case NUMERIC_NAN:
        return buf_append_str(out, "NaN", err);
    case NUMERIC_INFINITY:
        return buf_append_str(out, "Infinity", err);
    case NUMERIC_MINUS_INFINITY:
        return buf_append_str(out, "-Infinity", err);
    default:
        return sorex_error_set(err, SOREX_CORRUPT, "the sign 0x%x", numeric.sign);
    }
    int power = numeric.weight > 0 ? numeric.weight : 0;
    while (power > 0 && numeric_digit(&numeric, power) == 0)
        power--;
    TRY(buf_printf(out, err, "%u", numeric_digit(&numeric, power)));
    while (power-- > 0)
        TRY(buf_printf(out, err, "%04u", numeric_digit(&numeric, power)));
    return fraction_append(&numeric, out, err);
}
