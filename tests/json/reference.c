#include "json/reference.h"

#define DEPTH_MAX 256

struct cursor {
    const uint8_t *at, *end;
};

static int peek(const struct cursor *c) { return c->at < c->end ? *c->at : -1; }

static bool eat(struct cursor *c, int byte)
{
    if (peek(c) != byte)
        return false;
    c->at++;
    return true;
}

static void spaces(struct cursor *c)
{
    while (eat(c, ' ') || eat(c, '\t') || eat(c, '\n') || eat(c, '\r'))
        ;
}

static bool word(struct cursor *c, const char *text)
{
    for (; *text != '\0'; text++)
        if (!eat(c, *text))
            return false;
    return true;
}

static bool digits(struct cursor *c)
{
    const uint8_t *start = c->at;
    while (peek(c) >= '0' && peek(c) <= '9')
        c->at++;
    return c->at > start;
}

static bool number(struct cursor *c)
{
    (void)eat(c, '-');
    if (!eat(c, '0') && !digits(c))
        return false;
    if (eat(c, '.') && !digits(c))
        return false;
    if (eat(c, 'e') || eat(c, 'E')) {
        if (!eat(c, '+'))
            (void)eat(c, '-');
        return digits(c);
    }
    return true;
}

static long hex4(struct cursor *c)
{
    long value = 0;
    for (int i = 0; i < 4; i++) {
        static const char alphabet[] = "0123456789abcdefABCDEF";
        const char *digit = peek(c) > 0 ? strchr(alphabet, peek(c)) : NULL;
        if (digit == NULL)
            return -1;
        long n = digit - alphabet;
        value = value * 16 + (n < 16 ? n : n - 6);
        c->at++;
    }
    return value;
}

static bool escape(struct cursor *c)
{
    int kind = peek(c);
    if (kind <= 0)
        return false;
    c->at++;
    if (kind != 'u')
        return strchr("\"\\/bfnrt", kind) != NULL;
    long unit = hex4(c);
    if (unit < 0xD800 || unit > 0xDFFF)
        return unit >= 0;
    if (unit > 0xDBFF || !word(c, "\\u"))
        return false;
    long low = hex4(c);
    return low >= 0xDC00 && low <= 0xDFFF;
}

/* One character behind its lead byte, by decoding it and looking at the value. */
static bool multibyte(struct cursor *c, int lead)
{
    int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    static const long least[] = {0, 0x80, 0x800, 0x10000};
    if (lead < 0xC0 || lead > 0xF7)
        return false;
    long value = lead & (0x3F >> more);
    for (int i = 0; i < more; i++) {
        if (peek(c) < 0x80 || peek(c) > 0xBF)
            return false;
        value = value << 6 | (*c->at++ & 0x3F);
    }
    return value >= least[more] && value <= 0x10FFFF && (value < 0xD800 || value > 0xDFFF);
}

static bool string(struct cursor *c)
{
    if (!eat(c, '"'))
        return false;
    while (peek(c) >= 0x20) {
        int byte = *c->at++;
        if (byte == '"')
            return true;
        if (byte == '\\' ? !escape(c) : byte >= 0x80 && !multibyte(c, byte))
            return false;
    }
    return false;
}

static bool scalar(struct cursor *c)
{
    switch (peek(c)) {
    case '"':
        return string(c);
    case 't':
        return word(c, "true");
    case 'f':
        return word(c, "false");
    case 'n':
        return word(c, "null");
    default:
        return number(c);
    }
}

static bool name(struct cursor *c)
{
    spaces(c);
    if (!string(c))
        return false;
    spaces(c);
    return eat(c, ':');
}

bool reference_accepts(struct bytes text)
{
    struct cursor c = {text.data, text.len == 0 ? text.data : text.data + text.len};
    char closers[DEPTH_MAX];
    int depth = 0;
    for (;;) {
        spaces(&c);
        if (peek(&c) == '[' || peek(&c) == '{') {
            if (depth == DEPTH_MAX)
                return false;
            closers[depth++] = *c.at++ == '[' ? ']' : '}';
            spaces(&c);
            if (peek(&c) != closers[depth - 1]) {
                if (closers[depth - 1] == '}' && !name(&c))
                    return false;
                continue;
            }
        } else if (!scalar(&c))
            return false;
        spaces(&c);
        while (depth > 0 && eat(&c, closers[depth - 1])) {
            depth--;
            spaces(&c);
        }
        if (depth == 0)
            return c.at == c.end;
        if (!eat(&c, ',') || (closers[depth - 1] == '}' && !name(&c)))
            return false;
    }
}
