#include "json/writer.h"

#include <math.h>

#include "base/check.h"
#include "base/hex.h"
#include "json/double.h"
#include "json/escape.h"
#include "json/utf8.h"

/* Bits of an open level. */
#define LEVEL_ARRAY 1u
#define LEVEL_FILLED 2u
#define LEVEL_NAMED 4u

void json_writer_init(struct json_writer *w, struct buf *out, bool pretty, struct sorex_error *err)
{
    *w = (struct json_writer){.out = out, .err = err, .status = SOREX_OK, .pretty = pretty};
}

/* Most pieces are short and there is room: those are copied here. */
static inline void put(struct json_writer *w, struct bytes text)
{
    struct buf *out = w->out;
    if (w->status != SOREX_OK)
        return;
    if (text.len > 0 && out->cap - out->len >= text.len) {
        memcpy(out->data + out->len, text.data, text.len);
        out->len += text.len;
    } else {
        w->status = buf_append(out, text, w->err);
    }
}

static inline void put_z(struct json_writer *w, const char *text)
{
    put(w, bytes_str(text));
}

static void newline(struct json_writer *w)
{
    if (!w->pretty)
        return;
    put_z(w, "\n");
    for (unsigned i = 0; i < w->depth; i++)
        put_z(w, "  ");
}

/* Comma and line break in front of a name, or of an element of an array. */
static void element_begin(struct json_writer *w)
{
    if (w->depth == 0 || w->status != SOREX_OK) /* after a failure levels are not closed any more */
        return;
    uint8_t *level = &w->levels[w->depth - 1];
    if ((*level & LEVEL_NAMED) != 0) { /* the value of a member: its name did it */
        *level &= (uint8_t)~LEVEL_NAMED;
        return;
    }
    CHECK((*level & LEVEL_ARRAY) != 0); /* a member wants json_name first */
    if ((*level & LEVEL_FILLED) != 0)
        put_z(w, ",");
    *level |= LEVEL_FILLED;
    newline(w);
}

static void level_begin(struct json_writer *w, const char *bracket, uint8_t bits)
{
    element_begin(w);
    put_z(w, bracket);
    if (w->depth == SOREX_JSON_DEPTH_MAX) {
        if (w->status == SOREX_OK)
            w->status = sorex_error_set(w->err, SOREX_LIMIT, "JSON nested deeper than %d", SOREX_JSON_DEPTH_MAX);
        return;
    }
    w->levels[w->depth++] = bits;
}

static void level_end(struct json_writer *w, const char *bracket, uint8_t kind)
{
    if (w->status != SOREX_OK)
        return;
    CHECK(w->depth > 0 && (w->levels[w->depth - 1] & LEVEL_ARRAY) == kind && (w->levels[w->depth - 1] & LEVEL_NAMED) == 0);
    bool filled = (w->levels[--w->depth] & LEVEL_FILLED) != 0;
    if (filled)
        newline(w);
    put_z(w, bracket);
}

void json_object_begin(struct json_writer *w) { level_begin(w, "{", 0); }
void json_object_end(struct json_writer *w) { level_end(w, "}", 0); }
void json_array_begin(struct json_writer *w) { level_begin(w, "[", LEVEL_ARRAY); }
void json_array_end(struct json_writer *w) { level_end(w, "]", LEVEL_ARRAY); }

static void escape_put(struct json_writer *w, uint8_t c)
{
    uint8_t text[6];
    put(w, bytes_of(text, escape_encode(bytes_of(&c, 1), text)));
}

static bool is_plain(uint8_t c) { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\'; }

/* High bits of the bytes of x that are zero; behind such a byte it may name others too. */
static uint64_t zero_bytes(uint64_t x) { return (x - UINT64_C(0x0101010101010101)) & ~x; }

/* How many bytes from `at` on stand in a string as they are, ASCII only. Eight at a time while all of them do. */
static size_t plain_run(struct bytes text, size_t at)
{
    size_t i = at;
    for (; text.len - i >= 8; i += 8) {
        uint64_t x;
        memcpy(&x, text.data + i, 8);
        uint64_t control = x - UINT64_C(0x2020202020202020);
        uint64_t quote = zero_bytes(x ^ UINT64_C(0x2222222222222222)), slash = zero_bytes(x ^ UINT64_C(0x5c5c5c5c5c5c5c5c));
        if (((x | control | quote | slash) & UINT64_C(0x8080808080808080)) != 0)
            break;
    }
    while (i < text.len && is_plain(text.data[i]))
        i++;
    return i - at;
}

static void quoted_put(struct json_writer *w, struct bytes text)
{
    put_z(w, "\"");
    size_t start = 0, i = 0;
    while (i < text.len) {
        uint8_t c = text.data[i];
        if (is_plain(c)) {
            i += plain_run(text, i);
            continue;
        }
        size_t n = utf8_sequence(text.data + i, text.len - i);
        if (n > 1) {
            i += n;
            continue;
        }
        put(w, bytes_of(text.data + start, i - start));
        if (n == 1)
            escape_put(w, c);
        else
            put_z(w, "\xef\xbf\xbd"); /* U+FFFD for each byte that fits nowhere */
        start = ++i;
    }
    if (start < text.len)
        put(w, bytes_of(text.data + start, text.len - start));
    put_z(w, "\"");
}

void json_name_bytes(struct json_writer *w, struct bytes name)
{
    if (w->status != SOREX_OK)
        return;
    CHECK(w->depth > 0 && (w->levels[w->depth - 1] & (LEVEL_ARRAY | LEVEL_NAMED)) == 0);
    uint8_t *level = &w->levels[w->depth - 1];
    if ((*level & LEVEL_FILLED) != 0)
        put_z(w, ",");
    *level |= LEVEL_FILLED | LEVEL_NAMED;
    newline(w);
    quoted_put(w, name);
    put_z(w, w->pretty ? ": " : ":");
}

void json_name(struct json_writer *w, const char *name) { json_name_bytes(w, bytes_str(name)); }

void json_string(struct json_writer *w, struct bytes text)
{
    if (w->status != SOREX_OK)
        return;
    element_begin(w);
    quoted_put(w, text);
}

void json_string_z(struct json_writer *w, const char *text) { json_string(w, bytes_str(text)); }

void json_raw(struct json_writer *w, struct bytes text)
{
    if (w->status != SOREX_OK)
        return;
    element_begin(w);
    put(w, text);
}

/* Digits from the end of text on; returns where they begin. */
static char *digits_write(char *end, uint64_t value)
{
    do
        *--end = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    return end;
}

void json_uint(struct json_writer *w, uint64_t value)
{
    char text[20], *end = text + sizeof text, *begin = digits_write(end, value);
    json_raw(w, bytes_of(begin, (size_t)(end - begin)));
}

void json_int(struct json_writer *w, int64_t value)
{
    char text[20], *end = text + sizeof text;
    char *begin = digits_write(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    if (value < 0)
        *--begin = '-';
    json_raw(w, bytes_of(begin, (size_t)(end - begin)));
}

void json_double(struct json_writer *w, double value)
{
    char text[DOUBLE_TEXT_SIZE] = "null"; /* JSON has no infinities and no NaN */
    if (isfinite(value))
        double_write(value, text);
    json_raw(w, bytes_str(text));
}

void json_bool(struct json_writer *w, bool value) { json_raw(w, bytes_str(value ? "true" : "false")); }
void json_null(struct json_writer *w) { json_raw(w, bytes_str("null")); }

void json_hex(struct json_writer *w, struct bytes bytes)
{
    if (w->status != SOREX_OK)
        return;
    element_begin(w);
    put_z(w, "\"");
    if (w->status == SOREX_OK)
        w->status = buf_append_hex(w->out, bytes, w->err);
    put_z(w, "\"");
}

void json_hash_display(struct json_writer *w, const uint8_t hash[32])
{
    char text[HASH_HEX_SIZE];
    hash_display(hash, text);
    json_string_z(w, text);
}

enum sorex_status json_writer_finish(struct json_writer *w)
{
    CHECK(w->status != SOREX_OK || w->depth == 0);
    return w->status;
}
