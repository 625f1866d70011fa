/* Results with typed values. What the server sent in text, as it does for statements without parameters and for types
 * that value.h does not know, becomes the same values that the binary format has. */
#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hex.h"
#include "json/double.h"
#include "pg/api_private.h"

/* All that statements gave: the memory of all results behind each other. */
struct result_set {
    struct results results;
    struct buf text; /* of the value in hand */
};

struct sorex_result {
    struct result_set *set;
    struct sorex_result *next;
    const struct result *inner;
    const struct sorex_value **rows;
    const char **names;
    const char *tag;
};

static enum sorex_status no_room(const struct result_set *set, struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_LIMIT, "a result of more than %zu bytes", set->results.arena.max);
}

static enum sorex_status bytes_keep(struct result_set *set, struct bytes bytes, struct sorex_value *out,
                                    struct sorex_error *err)
{
    struct bytes copy = arena_copy(&set->results.arena, bytes);
    out->data = (const char *)copy.data;
    out->len = copy.len;
    return copy.data == NULL ? no_room(set, err) : SOREX_OK;
}

/* ---- values in text ---- */

static bool integer_read(struct bytes text, int64_t *out)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    uint64_t value = 0;
    for (size_t i = negative; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || value > (uint64_t)INT64_MAX / 10 + 1)
            return false;
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (text.len == negative || value > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? -(int64_t)(value - 1) - 1 : (int64_t)value;
    return true;
}

static bool double_of(struct bytes text, double *out)
{
    static const struct {
        const char *text;
        double value;
    } words[] = {{"Infinity", (double)INFINITY}, {"-Infinity", -(double)INFINITY}, {"NaN", (double)NAN}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (bytes_is(text, words[i].text)) {
            *out = words[i].value;
            return true;
        }
    return double_read(text, out);
}

/* The format "escape": a backslash is doubled, other bytes are three octal digits behind one. */
static enum sorex_status escape_decode(struct bytes text, struct buf *out, struct sorex_error *err)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned byte = text.data[i];
        if (byte == '\\' && i + 3 < text.len && text.data[i + 1] != '\\') {
            byte = (text.data[i + 1] & 3u) << 6 | (text.data[i + 2] & 7u) << 3 | (text.data[i + 3] & 7u);
            i += 3;
        } else if (byte == '\\')
            i++;
        TRY(buf_append_u8(out, (uint8_t)byte, err));
    }
    return SOREX_OK;
}

static enum sorex_status bytea_read(struct bytes text, struct buf *out, struct sorex_error *err)
{
    if (text.len >= 2 && text.data[0] == '\\' && text.data[1] == 'x')
        return hex_decode(bytes_of(text.data + 2, text.len - 2), out, err);
    return escape_decode(text, out, err);
}

static enum sorex_status text_take(struct result_set *set, uint32_t type, struct bytes text, struct sorex_value *out,
                                   struct sorex_error *err)
{
    bool good = true;
    switch (type) {
    case VALUE_BOOL:
        *out = (struct sorex_value){.kind = SOREX_VALUE_INTEGER, .integer = bytes_is(text, "t")};
        return SOREX_OK;
    case VALUE_INT2:
    case VALUE_INT4:
    case VALUE_INT8:
    case VALUE_OID:
    case VALUE_XID:
        out->kind = SOREX_VALUE_INTEGER;
        good = integer_read(text, &out->integer);
        break;
    case VALUE_FLOAT4:
    case VALUE_FLOAT8:
        out->kind = SOREX_VALUE_DOUBLE;
        good = double_of(text, &out->real);
        break;
    case VALUE_BYTEA:
        out->kind = SOREX_VALUE_BYTES;
        buf_reset(&set->text);
        TRY(bytea_read(text, &set->text, err));
        return bytes_keep(set, buf_view(&set->text), out, err);
    default:
        out->kind = SOREX_VALUE_TEXT;
        return bytes_keep(set, text, out, err);
    }
    return good ? SOREX_OK : sorex_error_set(err, SOREX_CORRUPT, "no value of type %u: %.*s", type, BYTES_FMT(text));
}

/* ---- values in binary ---- */

static enum sorex_status binary_take(struct result_set *set, uint32_t type, const struct protocol_value *value,
                                     struct sorex_value *out, struct sorex_error *err)
{
    static const enum sorex_value_kind kinds[] = {[VALUE_IS_NULL] = SOREX_VALUE_NULL,
                                                  [VALUE_IS_INTEGER] = SOREX_VALUE_INTEGER,
                                                  [VALUE_IS_REAL] = SOREX_VALUE_DOUBLE,
                                                  [VALUE_IS_TEXT] = SOREX_VALUE_TEXT,
                                                  [VALUE_IS_BLOB] = SOREX_VALUE_BYTES};
    struct value read;
    buf_reset(&set->text);
    TRY(value_read(type, value, &set->text, &read, err));
    *out = (struct sorex_value){.kind = kinds[read.kind], .integer = read.integer, .real = read.real};
    return read.kind >= VALUE_IS_TEXT ? bytes_keep(set, read.bytes, out, err) : SOREX_OK;
}

static enum sorex_status value_take(struct result_set *set, const struct protocol_column *column,
                                    const struct protocol_value *value, struct sorex_value *out,
                                    struct sorex_error *err)
{
    *out = (struct sorex_value){.kind = SOREX_VALUE_NULL};
    if (value->null)
        return SOREX_OK;
    return column->format == PROTOCOL_BINARY ? binary_take(set, column->type, value, out, err)
                                             : text_take(set, column->type, value->bytes, out, err);
}

/* ---- results ---- */

static enum sorex_status row_make(struct result_set *set, const struct result *inner, size_t row,
                                  const struct sorex_value **out, struct sorex_error *err)
{
    struct sorex_value *values = arena_alloc(&set->results.arena, (inner->columns_count + 1) * sizeof *values);
    if (values == NULL)
        return no_room(set, err);
    for (size_t i = 0; i < inner->columns_count; i++)
        TRY(value_take(set, &inner->columns[i], &inner->rows[row][i], &values[i], err));
    *out = values;
    return SOREX_OK;
}

static enum sorex_status result_make(struct result_set *set, const struct result *inner, struct sorex_result **out,
                                     struct sorex_error *err)
{
    struct arena *arena = &set->results.arena;
    struct sorex_result *result = arena_alloc(arena, sizeof *result);
    if (result == NULL)
        return no_room(set, err);
    *result = (struct sorex_result){.set = set, .inner = inner};
    result->rows = arena_alloc(arena, (inner->rows_count + 1) * sizeof(const struct sorex_value *));
    result->names = arena_alloc(arena, (inner->columns_count + 1) * sizeof(const char *));
    result->tag = (const char *)arena_copy(arena, inner->tag).data;
    if (result->rows == NULL || result->names == NULL || result->tag == NULL)
        return no_room(set, err);
    for (size_t i = 0; i < inner->columns_count; i++)
        if ((result->names[i] = (const char *)arena_copy(arena, inner->columns[i].name).data) == NULL)
            return no_room(set, err);
    for (size_t i = 0; i < inner->rows_count; i++)
        TRY(row_make(set, inner, i, &result->rows[i], err));
    *out = result;
    return SOREX_OK;
}

static void set_free(struct result_set *set)
{
    results_deinit(&set->results);
    buf_deinit(&set->text);
    free(set);
}

enum sorex_status api_result_make(struct results *results, struct sorex_result **out, struct sorex_error *err)
{
    struct result_set *set = out != NULL ? calloc(1, sizeof *set) : NULL;
    if (set == NULL) {
        results_deinit(results);
        return out == NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory for a result");
    }
    set->results = *results;
    struct sorex_result *first = NULL, **end = &first;
    enum sorex_status status = SOREX_OK;
    for (const struct result *inner = set->results.first; inner != NULL && status == SOREX_OK; inner = inner->next) {
        status = result_make(set, inner, end, err);
        if (status == SOREX_OK)
            end = &(*end)->next;
    }
    CHECK(status != SOREX_OK || first != NULL);
    if (status != SOREX_OK) {
        set_free(set);
        return status;
    }
    *out = first;
    return SOREX_OK;
}

void sorex_result_free(struct sorex_result *result)
{
    if (result != NULL)
        set_free(result->set);
}

struct sorex_result *sorex_result_next(const struct sorex_result *result) { return result->next; }

size_t sorex_result_columns(const struct sorex_result *result) { return result->inner->columns_count; }

const char *sorex_result_column_name(const struct sorex_result *result, size_t column) { return result->names[column]; }

uint32_t sorex_result_column_type(const struct sorex_result *result, size_t column)
{
    return result->inner->columns[column].type;
}

size_t sorex_result_rows(const struct sorex_result *result) { return result->inner->rows_count; }

const struct sorex_value *sorex_result_row(const struct sorex_result *result, size_t row) { return result->rows[row]; }

const char *sorex_result_tag(const struct sorex_result *result) { return result->tag; }

uint64_t sorex_result_affected(const struct sorex_result *result) { return result_rows(result->inner->tag); }
