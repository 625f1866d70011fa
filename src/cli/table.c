#include "cli/table.h"

#include <inttypes.h>

#include "base/check.h"
#include "json/writer.h"
#include "pg/value.h"

/* A cell or header, escaped: lines separated by '\n'. */
struct cell {
    size_t at, len; /* in texts */
    size_t width;   /* of the widest line */
};

struct table {
    const struct result *result;
    const struct table_options *options;
    struct buf *out;
    struct buf texts; /* of all cells */
    struct buf raw;   /* one value's text */
    struct arena arena;
    struct cell *cells; /* headers first, then row by row */
    size_t *widths;     /* of columns */
    struct sorex_error *err;
};

/* ---- cells ---- */

/* One character of UTF-8, or a single byte where it is none. */
static size_t character_take(struct bytes text, uint32_t *out)
{
    uint8_t first = text.data[0];
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    *out = first;
    if (len == 1 || len > text.len)
        return 1;
    uint32_t character = first & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((text.data[i] & 0xc0) != 0x80)
            return 1;
        character = character << 6 | (text.data[i] & 0x3fu);
    }
    *out = character;
    return len;
}

/* Appends one character as it is shown; *column is where it stands in its line. */
static enum sorex_status character_append(struct table *t, struct bytes bytes, uint32_t character, size_t *column)
{
    int width = table_width(character);
    if (character == '\r') {
        *column += 2;
        return buf_append_str(&t->texts, "\\r", t->err);
    }
    if (character == '\t') {
        size_t spaces = 8 - *column % 8;
        *column += spaces;
        return buf_append(&t->texts, bytes_of("        ", spaces), t->err);
    }
    if (width >= 0) {
        *column += (size_t)width;
        return buf_append(&t->texts, bytes, t->err);
    }
    *column += bytes.len == 1 ? 4 : 6;
    return buf_printf(&t->texts, t->err, bytes.len == 1 ? "\\x%02" PRIX32 : "\\u%04" PRIX32, character);
}

static enum sorex_status cell_make(struct table *t, struct bytes text, struct cell *out)
{
    size_t column = 0;
    *out = (struct cell){.at = t->texts.len};
    for (size_t i = 0, len; i < text.len; i += len) {
        uint32_t character;
        len = character_take(bytes_of(text.data + i, text.len - i), &character);
        if (character == '\n') {
            column = 0;
            TRY(buf_append_str(&t->texts, "\n", t->err));
            continue;
        }
        TRY(character_append(t, bytes_of(text.data + i, len), character, &column));
        out->width = column > out->width ? column : out->width;
    }
    out->len = t->texts.len - out->at;
    return SOREX_OK;
}

/* The text of a value; NULL's is the option's. */
static enum sorex_status value_get(struct table *t, size_t row, size_t column, struct bytes *out)
{
    const struct protocol_value *value = &t->result->rows[row][column];
    *out = value->null ? t->options->null : value->bytes;
    if (value->null || t->result->columns[column].format == PROTOCOL_TEXT)
        return SOREX_OK;
    buf_reset(&t->raw);
    TRY(value_text(t->result->columns[column].type, value->bytes, &t->raw, t->err));
    *out = buf_view(&t->raw);
    return SOREX_OK;
}

static enum sorex_status cells_make(struct table *t)
{
    size_t columns = t->result->columns_count;
    size_t rows = columns == 0 ? 0 : t->result->rows_count;
    t->cells = arena_alloc(&t->arena, (rows + 1) * columns * sizeof *t->cells);
    t->widths = arena_alloc(&t->arena, columns * sizeof *t->widths);
    if (t->cells == NULL || t->widths == NULL)
        return sorex_error_set(t->err, SOREX_LIMIT, "a table of %zu rows is too large to be laid out", rows);
    struct cell *cell = t->cells;
    for (size_t column = 0; column < columns; column++, cell++) {
        TRY(cell_make(t, t->result->columns[column].name, cell));
        t->widths[column] = cell->width;
    }
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < columns; column++, cell++) {
            struct bytes text;
            TRY(value_get(t, row, column, &text));
            TRY(cell_make(t, text, cell));
            t->widths[column] = cell->width > t->widths[column] ? cell->width : t->widths[column];
        }
    }
    return SOREX_OK;
}

/* ---- lines of cells ---- */

/* The line of a cell with this number; data NULL when it has fewer. *out_more: there is another one. */
static struct bytes line_of(const struct table *t, const struct cell *cell, size_t number, bool *out_more)
{
    struct bytes rest = cell->len == 0 ? bytes_of("", 0) : bytes_of(t->texts.data + cell->at, cell->len);
    for (;; number--) {
        const uint8_t *end = rest.len == 0 ? NULL : memchr(rest.data, '\n', rest.len);
        *out_more = end != NULL;
        if (number == 0)
            return end == NULL ? rest : bytes_of(rest.data, (size_t)(end - rest.data));
        if (end == NULL)
            return bytes_of(NULL, 0);
        rest.len -= (size_t)(end + 1 - rest.data);
        rest.data = end + 1;
    }
}

static size_t width_of(struct bytes line)
{
    size_t width = 0;
    for (size_t i = 0, len; i < line.len; i += len) {
        uint32_t character;
        len = character_take(bytes_of(line.data + i, line.len - i), &character);
        width += (size_t)table_width(character);
    }
    return width;
}

static enum sorex_status fill(struct table *t, char with, size_t count)
{
    TRY(buf_reserve(t->out, count, t->err));
    if (count > 0)
        memset(t->out->data + t->out->len, with, count);
    t->out->len += count;
    return SOREX_OK;
}

static enum sorex_status put(struct table *t, const char *text) { return buf_append_str(t->out, text, t->err); }

/* ---- aligned ---- */

static enum sorex_status header_line(struct table *t, size_t number, bool *out_more)
{
    size_t columns = t->result->columns_count;
    *out_more = false;
    for (size_t i = 0; i < columns; i++) {
        bool more;
        struct bytes line = line_of(t, &t->cells[i], number, &more);
        size_t space = t->widths[i] - width_of(line);
        TRY(put(t, " "));
        TRY(fill(t, ' ', space / 2));
        TRY(buf_append(t->out, line, t->err));
        TRY(fill(t, ' ', space - space / 2));
        TRY(put(t, more ? "+" : " "));
        TRY(put(t, i + 1 < columns ? "|" : "\n"));
        *out_more = *out_more || more;
    }
    return SOREX_OK;
}

static enum sorex_status row_line(struct table *t, const struct cell *row, size_t number, bool *out_more)
{
    size_t columns = t->result->columns_count;
    *out_more = false;
    for (size_t i = 0; i < columns; i++) {
        bool more, last = i + 1 == columns;
        struct bytes line = line_of(t, &row[i], number, &more);
        size_t space = t->widths[i] - width_of(line);
        bool right = value_is_number(t->result->columns[i].type);
        TRY(put(t, " "));
        if (right && line.data != NULL)
            TRY(fill(t, ' ', space));
        TRY(buf_append(t->out, line, t->err));
        if ((!right || line.data == NULL) && (!last || more))
            TRY(fill(t, ' ', space));
        TRY(put(t, more ? "+" : last ? "" : " "));
        TRY(put(t, last ? "\n" : "|"));
        *out_more = *out_more || more;
    }
    return SOREX_OK;
}

static enum sorex_status ruler(struct table *t)
{
    TRY(put(t, "-"));
    for (size_t i = 0; i < t->result->columns_count; i++) {
        TRY(put(t, i > 0 ? "-+-" : ""));
        TRY(fill(t, '-', t->widths[i]));
    }
    return put(t, "-\n");
}

static enum sorex_status row_count(struct table *t)
{
    size_t rows = t->result->rows_count;
    return buf_printf(t->out, t->err, "(%zu row%s)\n", rows, rows == 1 ? "" : "s");
}

/* Of an aligned table. */
static size_t table_columns(const struct table *t)
{
    size_t width = 3 * t->result->columns_count;
    width -= width > 0;
    for (size_t i = 0; i < t->result->columns_count; i++)
        width += t->widths[i];
    return width;
}

/* In the middle, where the table is wider. */
static enum sorex_status title_print(struct table *t)
{
    struct cell title;
    size_t width = table_columns(t);
    TRY(cell_make(t, t->options->title, &title));
    TRY(fill(t, ' ', title.width < width ? (width - title.width) / 2 : 0));
    TRY(buf_append(t->out, bytes_of(t->texts.data + title.at, title.len), t->err));
    return put(t, "\n");
}

static enum sorex_status aligned_print(struct table *t)
{
    size_t columns = t->result->columns_count;
    bool more = columns > 0 && !t->options->rows_only;
    if (t->options->title.data != NULL && !t->options->rows_only)
        TRY(title_print(t));
    for (size_t line = 0; more; line++)
        TRY(header_line(t, line, &more));
    if (!t->options->rows_only)
        TRY(ruler(t));
    for (size_t row = 0; columns > 0 && row < t->result->rows_count; row++) {
        more = true;
        for (size_t line = 0; more; line++)
            TRY(row_line(t, t->cells + (row + 1) * columns, line, &more));
    }
    if (!t->options->rows_only)
        TRY(t->options->footer.data != NULL ? buf_append(t->out, t->options->footer, t->err) : row_count(t));
    return put(t, "\n");
}

/* ---- expanded ---- */

/* -[ RECORD 1 ]-+----- with the + above the | where the text is short enough for it. */
static enum sorex_status record_line(struct table *t, size_t record, size_t name_width, size_t data_width)
{
    size_t start = t->out->len;
    TRY(buf_printf(t->out, t->err, "-[ RECORD %zu ]", record));
    size_t len = t->out->len - start;
    TRY(fill(t, '-', len < name_width + 1 ? name_width + 1 - len : 0));
    if (len <= name_width + 1)
        TRY(put(t, "+"));
    len = t->out->len - start;
    size_t wanted = name_width + 3 + data_width;
    TRY(fill(t, '-', len < wanted ? wanted - len : 0));
    return put(t, "\n");
}

static enum sorex_status field_print(struct table *t, const struct cell *name, const struct cell *cell,
                                     size_t name_width, size_t data_width)
{
    bool more_name = true, more_data = true;
    for (size_t number = 0; more_name || more_data; number++) {
        struct bytes line = line_of(t, name, number, &more_name);
        struct bytes data = line_of(t, cell, number, &more_data);
        TRY(buf_append(t->out, line, t->err));
        TRY(fill(t, ' ', name_width - width_of(line)));
        TRY(put(t, more_name ? "+|" : " |"));
        if (data.data != NULL) {
            TRY(put(t, " "));
            TRY(buf_append(t->out, data, t->err));
        }
        if (more_data) {
            TRY(fill(t, ' ', data_width - width_of(data)));
            TRY(put(t, "+"));
        }
        TRY(put(t, "\n"));
    }
    return SOREX_OK;
}

/* What stands to the right of the |: the widest line, or what it takes to be no narrower than "-[ RECORD n ]". */
static size_t data_width_of(const struct table *t, size_t name_width, size_t rows)
{
    size_t columns = t->result->columns_count;
    size_t width = 0, beside = name_width + 3, record = 13;
    bool lines = false;
    for (const struct cell *cell = t->cells + columns; cell < t->cells + (rows + 1) * columns; cell++) {
        width = cell->width > width ? cell->width : width;
        lines = lines || (cell->len > 0 && memchr(t->texts.data + cell->at, '\n', cell->len) != NULL);
    }
    beside += lines; /* the place of the + */
    for (size_t rest = rows; rest >= 10; rest /= 10)
        record++;
    if (t->options->rows_only || width + beside >= record)
        return width;
    return record > beside ? record - beside : 0;
}

static enum sorex_status expanded_print(struct table *t)
{
    size_t columns = t->result->columns_count;
    size_t rows = columns == 0 ? 0 : t->result->rows_count;
    size_t name_width = 0;
    for (size_t i = 0; i < columns; i++)
        name_width = t->cells[i].width > name_width ? t->cells[i].width : name_width;
    size_t data_width = data_width_of(t, name_width, rows);
    if (t->options->title.data != NULL && !t->options->rows_only) {
        TRY(buf_append(t->out, t->options->title, t->err));
        TRY(put(t, "\n"));
    }
    if (rows == 0 && !t->options->rows_only && t->options->footer.data == NULL)
        TRY(row_count(t));
    for (size_t row = 0; row < rows; row++) {
        if (!t->options->rows_only)
            TRY(record_line(t, row + 1, name_width, data_width));
        else if (row > 0)
            TRY(put(t, "\n"));
        for (size_t i = 0; i < columns; i++)
            TRY(field_print(t, &t->cells[i], &t->cells[(row + 1) * columns + i], name_width, data_width));
    }
    if (t->options->footer.len > 0 && !t->options->rows_only) {
        TRY(put(t, "\n"));
        TRY(buf_append(t->out, t->options->footer, t->err));
    }
    return put(t, "\n");
}

/* ---- CSV and JSON ---- */

static enum sorex_status csv_field(struct table *t, struct bytes text)
{
    bool quoted = bytes_is(text, "\\.");
    for (size_t i = 0; i < text.len; i++)
        quoted = quoted || (text.data[i] != '\0' && strchr(",\"\r\n", text.data[i]) != NULL);
    if (!quoted)
        return buf_append(t->out, text, t->err);
    TRY(put(t, "\""));
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"')
            TRY(put(t, "\""));
        TRY(buf_append_u8(t->out, text.data[i], t->err));
    }
    return put(t, "\"");
}

static enum sorex_status csv_print(struct table *t)
{
    size_t columns = t->result->columns_count;
    for (size_t i = 0; i < columns && !t->options->rows_only; i++) {
        TRY(put(t, i > 0 ? "," : ""));
        TRY(csv_field(t, t->result->columns[i].name));
    }
    if (!t->options->rows_only)
        TRY(put(t, "\n"));
    for (size_t row = 0; columns > 0 && row < t->result->rows_count; row++) {
        for (size_t i = 0; i < columns; i++) {
            struct bytes text;
            TRY(put(t, i > 0 ? "," : ""));
            TRY(value_get(t, row, i, &text));
            TRY(csv_field(t, text));
        }
        TRY(put(t, "\n"));
    }
    return SOREX_OK;
}

/* JSON of the type json may have line breaks between its parts; inside of its strings there are none. */
static enum sorex_status json_value(struct table *t, struct json_writer *w, size_t row, size_t column)
{
    uint32_t type = t->result->columns[column].type;
    struct bytes text;
    TRY(value_get(t, row, column, &text));
    bool digit = text.len > 0 && text.data[text.len - 1] >= '0' && text.data[text.len - 1] <= '9';
    if (t->result->rows[row][column].null) {
        json_null(w);
    } else if (type == VALUE_BOOL) {
        json_bool(w, bytes_is(text, "t"));
    } else if (value_is_number(type) && digit && type != 790 /* money */) {
        json_raw(w, text);
    } else if (type == VALUE_JSON || type == VALUE_JSONB) {
        size_t start = t->out->len;
        json_raw(w, text);
        for (size_t i = start; i < t->out->len; i++)
            t->out->data[i] = t->out->data[i] == '\n' || t->out->data[i] == '\r' ? ' ' : t->out->data[i];
    } else {
        json_string(w, text);
    }
    return SOREX_OK;
}

static enum sorex_status json_print(struct table *t)
{
    for (size_t row = 0; row < t->result->rows_count; row++) {
        struct json_writer w;
        json_writer_init(&w, t->out, false, t->err);
        json_object_begin(&w);
        for (size_t i = 0; i < t->result->columns_count; i++) {
            json_name_bytes(&w, t->result->columns[i].name);
            TRY(json_value(t, &w, row, i));
        }
        json_object_end(&w);
        TRY(json_writer_finish(&w));
        TRY(put(t, "\n"));
    }
    return SOREX_OK;
}

enum sorex_status table_print(const struct result *result, const struct table_options *options, struct buf *out,
                              struct sorex_error *err)
{
    struct table t = {.result = result, .options = options, .out = out, .err = err};
    enum sorex_status status = SOREX_OK;
    arena_init(&t.arena, 0);
    switch (options->format) {
    case TABLE_ALIGNED:
    case TABLE_EXPANDED:
        status = cells_make(&t);
        if (status == SOREX_OK)
            status = options->format == TABLE_EXPANDED ||
                             (options->columns_max > 0 && table_columns(&t) > options->columns_max)
                         ? expanded_print(&t)
                         : aligned_print(&t);
        break;
    case TABLE_CSV:
        status = csv_print(&t);
        break;
    case TABLE_JSON:
        status = json_print(&t);
        break;
    }
    arena_deinit(&t.arena);
    buf_deinit(&t.texts);
    buf_deinit(&t.raw);
    return status;
}
