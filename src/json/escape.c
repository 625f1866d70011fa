#include "json/escape.h"

static enum sorex_status bad(struct sorex_error *err, size_t offset, const char *reason)
{
    return sorex_error_set(err, SOREX_INVALID, "bad JSON at byte %zu: %s", offset, reason);
}

static int hex4(const uint8_t *p)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = (c | 32) - 'a' + 10;
        else
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static size_t utf8_put(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 63));
    out[0] = (uint8_t)(lead[n] | c);
    return n;
}

/* The character whose \u has its four digits at *i; takes the second half of a pair too. */
static enum sorex_status unit_decode(struct bytes inside, size_t offset, size_t *i, uint32_t *out,
                                     struct sorex_error *err)
{
    int unit = inside.len - *i >= 4 ? hex4(inside.data + *i) : -1;
    if (unit < 0)
        return bad(err, offset + *i, "\\u wants four hex digits");
    *i += 4;
    *out = (uint32_t)unit;
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return bad(err, offset + *i, "a low surrogate without its high one");
    if (unit < 0xd800 || unit > 0xdbff)
        return SOREX_OK;
    const uint8_t *next = inside.data + *i;
    int low = inside.len - *i >= 6 && next[0] == '\\' && next[1] == 'u' ? hex4(next + 2) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return bad(err, offset + *i, "a high surrogate without its low one");
    *i += 6;
    *out = 0x10000 + (((uint32_t)unit - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    return SOREX_OK;
}

enum sorex_status escape_decode(struct arena *arena, struct bytes inside, size_t offset, struct bytes *out,
                                struct sorex_error *err)
{
    *out = inside;
    if (inside.len == 0 || memchr(inside.data, '\\', inside.len) == NULL)
        return SOREX_OK;
    uint8_t *to = arena_alloc(arena, inside.len); /* decoded text is never longer than its source */
    if (to == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a JSON string of %zu bytes", inside.len);
    size_t n = 0;
    for (size_t i = 0; i < inside.len;) {
        if (inside.data[i] != '\\') {
            to[n++] = inside.data[i++];
            continue;
        }
        if (i + 1 >= inside.len)
            return bad(err, offset + i, "an escape without its character");
        static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
        uint8_t c = inside.data[i + 1];
        const char *name = memchr(names, c, sizeof names - 1);
        i += 2;
        if (name != NULL) {
            to[n++] = (uint8_t)values[name - names];
            continue;
        }
        uint32_t point = 0;
        if (c != 'u')
            return bad(err, offset + i - 1, "an unknown escape");
        enum sorex_status status = unit_decode(inside, offset, &i, &point, err);
        if (status != SOREX_OK)
            return status;
        n += utf8_put(to + n, point);
    }
    *out = bytes_of(to, n);
    return SOREX_OK;
}

bool escape_minimal(struct bytes inside)
{
    for (size_t i = 0; i < inside.len; i++) {
        if (inside.data[i] != '\\')
            continue;
        const uint8_t *at = inside.data + ++i;
        if (*at != 'u') {
            if (*at == '/')
                return false;
            continue;
        }
        bool upper = (at[4] >= 'A' && at[4] <= 'F') || (at[3] != '0' && at[3] != '1');
        bool named = at[3] == '0' && strchr("89acd", at[4]) != NULL; /* \b \t \n \f \r */
        if (at[1] != '0' || at[2] != '0' || upper || named)
            return false;
        i += 4;
    }
    return true;
}

size_t escape_encode(struct bytes text, uint8_t *out)
{
    static const char digits[] = "0123456789abcdef", names[] = "btn\0fr"; /* of 0x08 to 0x0d */
    uint8_t *at = out;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c >= 0x20 && c != '"' && c != '\\') {
            *at++ = c;
            continue;
        }
        *at++ = '\\';
        if (c >= 0x20) {
            *at++ = c;
        } else if (c >= 0x08 && c <= 0x0d && c != 0x0b) {
            *at++ = (uint8_t)names[c - 0x08];
        } else {
            memcpy(at, "u00", 3);
            at[3] = (uint8_t)digits[c >> 4];
            at[4] = (uint8_t)digits[c & 15];
            at += 5;
        }
    }
    return (size_t)(at - out);
}
