/* Arrays. Binary: number of dimensions, 1 when there is a NULL, element type, then length and lower bound of each
 * dimension, then the elements as in a row of a result, the last dimension running fastest. */
#include "pg/value_private.h"

#include <inttypes.h>
#include <strings.h>

#include "base/check.h"

#define DIMENSIONS_MAX 6u

struct array {
    uint32_t dimensions;
    uint32_t element;
    uint32_t len[DIMENSIONS_MAX];
    int32_t lower[DIMENSIONS_MAX];
    uint32_t blocks[DIMENSIONS_MAX]; /* elements in one block of this dimension and those inside of it */
    uint32_t count;                  /* elements */
    struct reader rest;
};

static bool take_u32(struct reader *r, uint32_t *out)
{
    struct bytes bytes;
    if (!reader_take(r, 4, &bytes))
        return false;
    *out = u32be_get(bytes.data);
    return true;
}

static bool array_read(struct bytes binary, struct array *out)
{
    struct reader r = reader_of(binary);
    uint32_t flags, lower;
    if (!take_u32(&r, &out->dimensions) || !take_u32(&r, &flags) || !take_u32(&r, &out->element) ||
        out->dimensions > DIMENSIONS_MAX || flags > 1)
        return false;
    for (uint32_t i = 0; i < out->dimensions; i++) {
        if (!take_u32(&r, &out->len[i]) || !take_u32(&r, &lower))
            return false;
        out->lower[i] = (int32_t)lower;
        if ((int64_t)out->lower[i] + out->len[i] > INT32_MAX)
            return false;
    }
    size_t possible = reader_left(&r) / 4; /* every element has a length */
    out->rest = r;
    out->count = out->dimensions > 0;
    for (uint32_t i = out->dimensions; i-- > 0;) {
        if (out->len[i] == 0 || out->len[i] > possible / out->count)
            return false;
        out->count *= out->len[i];
        out->blocks[i] = out->count;
    }
    return true;
}

/* ---- quoting ---- */

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool needs_quotes(struct bytes text)
{
    if (text.len == 0 || (text.len == 4 && strncasecmp((const char *)text.data, "null", 4) == 0))
        return true;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\' || c == '{' || c == '}' || c == ',' || is_space(c))
            return true;
    }
    return false;
}

/* Quotes what was appended from `start` on, in its place. */
static enum sorex_status quote(struct buf *out, size_t start, struct sorex_error *err)
{
    size_t escapes = 0;
    size_t len = out->len - start;
    if (!needs_quotes(len == 0 ? bytes_of(NULL, 0) : bytes_of(out->data + start, len)))
        return SOREX_OK;
    for (size_t i = start; i < out->len; i++)
        escapes += out->data[i] == '"' || out->data[i] == '\\';
    TRY(buf_reserve(out, escapes + 2, err));
    uint8_t *text = out->data + start;
    size_t to = len + escapes + 1; /* of the closing quote; every byte moves backwards from here */
    text[to] = '"';
    for (size_t i = len; i-- > 0;) {
        uint8_t c = text[i];
        text[--to] = c;
        if (c == '"' || c == '\\')
            text[--to] = '\\';
    }
    text[0] = '"';
    out->len += escapes + 2;
    return SOREX_OK;
}

/* ---- text ---- */

static enum sorex_status bounds_append(const struct array *array, struct buf *out, struct sorex_error *err)
{
    bool plain = true;
    for (uint32_t i = 0; i < array->dimensions; i++)
        plain = plain && array->lower[i] == 1;
    for (uint32_t i = 0; !plain && i < array->dimensions; i++)
        TRY(buf_printf(out, err, "[%" PRId32 ":%" PRId64 "]", array->lower[i],
                       (int64_t)array->lower[i] + array->len[i] - 1));
    return plain ? SOREX_OK : buf_append_str(out, "=", err);
}

static enum sorex_status element_append(struct array *array, value_text_fn *text, struct buf *out,
                                        struct sorex_error *err)
{
    uint32_t len;
    struct bytes bytes;
    if (!take_u32(&array->rest, &len))
        return sorex_error_set(err, SOREX_CORRUPT, "an element without a length");
    if (len == UINT32_MAX)
        return buf_append_str(out, "NULL", err);
    if (!reader_take(&array->rest, len, &bytes))
        return sorex_error_set(err, SOREX_CORRUPT, "an element of %" PRIu32 " bytes", len);
    size_t start = out->len;
    TRY(text(bytes, out, err));
    return quote(out, start, err);
}

enum sorex_status array_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    struct array array;
    if (!array_read(binary, &array))
        return sorex_error_set(err, SOREX_CORRUPT, "dimensions that do not add up");
    value_text_fn *text = value_text_of(array.element);
    if (text == NULL)
        return sorex_error_set(err, SOREX_GONE, "elements of the type %" PRIu32, array.element);
    TRY(bounds_append(&array, out, err));
    if (array.count == 0)
        TRY(buf_append_str(out, "{}", err));
    for (uint32_t i = 0; i < array.count; i++) {
        if (i > 0)
            TRY(buf_append_str(out, ",", err));
        for (uint32_t d = 0; d < array.dimensions; d++) {
            if (i % array.blocks[d] == 0)
                TRY(buf_append_str(out, "{", err));
        }
        TRY(element_append(&array, text, out, err));
        for (uint32_t d = 0; d < array.dimensions; d++) {
            if ((i + 1) % array.blocks[d] == 0)
                TRY(buf_append_str(out, "}", err));
        }
    }
    if (reader_left(&array.rest) != 0)
        return sorex_error_set(err, SOREX_CORRUPT, "%zu bytes behind the last element", reader_left(&array.rest));
    return SOREX_OK;
}
