/* Errors and notices as psql prints them. Source: PostgreSQL, src/interfaces/libpq/fe-protocol3.c,
 * pqBuildErrorMessage3 and reportErrorPosition. */
#include "base/check.h"
#include "cli/session.h"

/* Columns of a statement's line that are shown, and how near to the right end the place may be. */
#define LINE_COLUMNS 60u
#define RIGHT_COLUMNS 10u

static size_t number_of(struct bytes text)
{
    size_t value = 0;
    for (size_t i = 0; i < text.len && text.data[i] >= '0' && text.data[i] <= '9' && value < SIZE_MAX / 20; i++)
        value = value * 10 + (size_t)(text.data[i] - '0');
    return value;
}

static bool continues(uint8_t byte) { return (byte & 0xc0) == 0x80; }

static size_t character_len(struct bytes text)
{
    size_t len = 1;
    while (len < text.len && continues(text.data[len]))
        len++;
    return len;
}

static size_t columns_of(struct bytes character)
{
    uint32_t value = character.data[0];
    if (character.len > 1)
        value &= 0x7fu >> character.len;
    for (size_t i = 1; i < character.len; i++)
        value = value << 6 | (character.data[i] & 0x3fu);
    int width = table_width(value);
    return width < 0 ? 1 : (size_t)width;
}

/* Where a line of the statement is, and which of its bytes the error is at. */
struct pointed {
    struct bytes line;
    size_t number, at;
};

/* position: in characters from 1. */
static struct pointed point(struct bytes sql, size_t position)
{
    struct pointed p = {.number = 1};
    size_t begin = 0, i = 0;
    for (size_t character = 1; i < sql.len && character < position; character++) {
        size_t len = character_len(bytes_of(sql.data + i, sql.len - i));
        if (sql.data[i] == '\n') {
            p.number++;
            begin = i + 1;
        }
        i += len;
    }
    const uint8_t *end = begin < sql.len ? memchr(sql.data + begin, '\n', sql.len - begin) : NULL;
    p.line = bytes_of(sql.data + begin, end != NULL ? (size_t)(end - sql.data) - begin : sql.len - begin);
    p.at = i - begin < p.line.len ? i - begin : p.line.len;
    return p;
}

/* Cuts the line down to what is shown of it: from *out_from on. */
static struct bytes window(struct pointed p, size_t *out_from)
{
    size_t total = 0, before = 0, from = 0, to = 0, columns = 0;
    for (size_t i = 0, len; i < p.line.len; i += len) {
        len = character_len(bytes_of(p.line.data + i, p.line.len - i));
        size_t width = columns_of(bytes_of(p.line.data + i, len));
        total += width;
        before += i < p.at ? width : 0;
    }
    size_t skip = 0;
    if (total > LINE_COLUMNS && before + RIGHT_COLUMNS >= LINE_COLUMNS)
        skip = before + RIGHT_COLUMNS < total ? before + RIGHT_COLUMNS - LINE_COLUMNS : total - LINE_COLUMNS;
    for (size_t i = 0, len; i < p.line.len; i += len) {
        len = character_len(bytes_of(p.line.data + i, p.line.len - i));
        columns += columns_of(bytes_of(p.line.data + i, len));
        if (columns <= skip)
            from = i + len;
        if (columns - skip <= LINE_COLUMNS || columns <= skip)
            to = i + len;
    }
    *out_from = from;
    return bytes_of(p.line.data + from, to - from);
}

static enum sorex_status line_print(struct bytes sql, size_t position, struct buf *out, struct sorex_error *err)
{
    struct pointed p = point(sql, position);
    size_t from = 0, start = out->len;
    struct bytes shown = window(p, &from);
    TRY(buf_printf(out, err, "LINE %zu: %s", p.number, from > 0 ? "..." : ""));
    size_t indent = out->len - start;
    for (size_t i = 0; i < shown.len; i++)
        TRY(buf_append_u8(out, shown.data[i] == '\t' ? ' ' : shown.data[i], err));
    TRY(buf_append_str(out, from + shown.len < p.line.len ? "...\n" : "\n", err));
    for (size_t i = 0, len; i < shown.len && from + i < p.at; i += len) {
        len = character_len(bytes_of(shown.data + i, shown.len - i));
        indent += columns_of(bytes_of(shown.data + i, len));
    }
    for (size_t i = 0; i < indent; i++)
        TRY(buf_append_u8(out, ' ', err));
    return buf_append_str(out, "^\n", err);
}

static enum sorex_status field_print(const struct result_notice *notice, enum protocol_field field, const char *label,
                                     struct buf *out, struct sorex_error *err)
{
    struct bytes text = notice->fields[field];
    if (text.data == NULL)
        return SOREX_OK;
    TRY(buf_append_str(out, label, err));
    TRY(buf_append_str(out, ":  ", err));
    TRY(buf_append(out, text, err));
    return buf_append_u8(out, '\n', err);
}

enum sorex_status session_notice(const struct result_notice *notice, struct bytes sql, struct buf *out,
                                 struct sorex_error *err)
{
    const struct bytes *fields = notice->fields;
    TRY(buf_append(out, fields[PROTOCOL_FIELD_SEVERITY], err));
    TRY(buf_append_str(out, ":  ", err));
    TRY(buf_append(out, fields[PROTOCOL_FIELD_MESSAGE], err));
    TRY(buf_append_u8(out, '\n', err));
    if (fields[PROTOCOL_FIELD_POSITION].data != NULL)
        TRY(line_print(sql, number_of(fields[PROTOCOL_FIELD_POSITION]), out, err));
    else if (fields[PROTOCOL_FIELD_INTERNAL_POSITION].data != NULL &&
             fields[PROTOCOL_FIELD_INTERNAL_QUERY].data != NULL)
        TRY(line_print(fields[PROTOCOL_FIELD_INTERNAL_QUERY], number_of(fields[PROTOCOL_FIELD_INTERNAL_POSITION]), out,
                       err));
    TRY(field_print(notice, PROTOCOL_FIELD_DETAIL, "DETAIL", out, err));
    TRY(field_print(notice, PROTOCOL_FIELD_HINT, "HINT", out, err));
    TRY(field_print(notice, PROTOCOL_FIELD_INTERNAL_QUERY, "QUERY", out, err));
    /* psql shows where an error came from, but not where a notice did. */
    if (!bytes_is(fields[PROTOCOL_FIELD_SEVERITY], "ERROR"))
        return SOREX_OK;
    return field_print(notice, PROTOCOL_FIELD_CONTEXT, "CONTEXT", out, err);
}
