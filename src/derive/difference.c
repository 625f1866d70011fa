#include "derive/difference.h"

#include "base/check.h"

/* Names as SQL writes them, those of either database. */
#define TABLES                                                                                                 \
    "COPY (SELECT name FROM (SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_catalog.pg_class c " \
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "                                                \
    "WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND n.nspname NOT LIKE 'pg\\_%' "             \
    "AND n.nspname <> 'information_schema') t ORDER BY name COLLATE \"C\") TO STDOUT"

/* What a COPY gives. missing (may be NULL): a table that is not there is an empty one. */
static enum sorex_status copy_out(struct database *database, const char *sql, bool missing, struct buf *out,
                                  struct sorex_error *err)
{
    struct results results;
    results_init(&results, 0);
    enum sorex_status status = database_exec(database, sql, &results, err);
    if (status == SOREX_OK && results.error != NULL) {
        bool undefined = bytes_is(results.error->fields[PROTOCOL_FIELD_SQLSTATE], "42P01");
        if (!missing || !undefined)
            status = result_error(results.error, err);
    } else if (status == SOREX_OK && results.first != NULL) {
        status = buf_append(out, results.first->copy_out, err);
    }
    results_deinit(&results);
    return status;
}

static bool line_take(struct bytes *text, struct bytes *out)
{
    const uint8_t *end = text->len > 0 ? memchr(text->data, '\n', text->len) : NULL;
    if (end == NULL)
        return false;
    *out = bytes_of(text->data, (size_t)(end - text->data));
    *text = bytes_of(end + 1, text->len - out->len - 1);
    return true;
}

/* Two sorted lists of lines, walked over together. */
struct walk {
    struct bytes rest[2], line[2];
    bool has[2];
};

static void walk_next(struct walk *walk, int side)
{
    walk->has[side] = line_take(&walk->rest[side], &walk->line[side]);
}

static struct walk walk_of(struct bytes a, struct bytes b)
{
    struct walk walk = {.rest = {a, b}};
    walk_next(&walk, 0);
    walk_next(&walk, 1);
    return walk;
}

/* The next line that only one of them has; -1: there is none, else whose it is. */
static int walk_difference(struct walk *walk, struct bytes *out)
{
    while (walk->has[0] || walk->has[1]) {
        int order = !walk->has[0] ? 1 : !walk->has[1] ? -1 : bytes_compare(walk->line[0], walk->line[1]);
        int side = order > 0;
        *out = walk->line[side];
        if (order <= 0)
            walk_next(walk, 0);
        if (order >= 0)
            walk_next(walk, 1);
        if (order != 0)
            return side;
    }
    return -1;
}

static enum sorex_status table_write(struct bytes name, struct bytes a, struct bytes b, size_t rows_max,
                                     struct buf *out, uint64_t *rows, struct sorex_error *err)
{
    struct walk walk = walk_of(a, b);
    struct bytes line;
    size_t count = 0;
    for (int side; (side = walk_difference(&walk, &line)) >= 0; count++) {
        if (count == 0)
            TRY(buf_printf(out, err, "%.*s\n", BYTES_FMT(name)));
        if (count < rows_max)
            TRY(buf_printf(out, err, "  %c %.*s\n", side == 0 ? '-' : '+', BYTES_FMT(line)));
    }
    *rows += count;
    return count <= rows_max ? SOREX_OK : buf_printf(out, err, "  and %zu more\n", count - rows_max);
}

static enum sorex_status table_compare(struct database *a, struct database *b, struct bytes name, size_t rows_max,
                                       struct buf *out, uint64_t *rows, struct sorex_error *err)
{
    struct buf left = {0}, right = {0}, sql = {0};
    enum sorex_status status =
        buf_printf(&sql, err, "COPY (SELECT (t.*)::text FROM %.*s t ORDER BY (t.*)::text COLLATE \"C\") TO STDOUT%c",
                   BYTES_FMT(name), '\0');
    if (status == SOREX_OK)
        status = copy_out(a, (const char *)sql.data, true, &left, err);
    if (status == SOREX_OK)
        status = copy_out(b, (const char *)sql.data, true, &right, err);
    if (status == SOREX_OK)
        status = table_write(name, buf_view(&left), buf_view(&right), rows_max, out, rows, err);
    buf_deinit(&left);
    buf_deinit(&right);
    buf_deinit(&sql);
    return status;
}

enum sorex_status difference_write(struct database *a, struct database *b, size_t rows_max, struct buf *out,
                                   uint64_t *out_rows, struct sorex_error *err)
{
    struct buf left = {0}, right = {0};
    uint64_t rows = 0;
    enum sorex_status status = copy_out(a, TABLES, false, &left, err);
    if (status == SOREX_OK)
        status = copy_out(b, TABLES, false, &right, err);
    struct walk walk = walk_of(buf_view(&left), buf_view(&right));
    while (status == SOREX_OK && (walk.has[0] || walk.has[1])) {
        int order = !walk.has[0] ? 1 : !walk.has[1] ? -1 : bytes_compare(walk.line[0], walk.line[1]);
        status = table_compare(a, b, walk.line[order > 0], rows_max, out, &rows, err);
        if (order <= 0)
            walk_next(&walk, 0);
        if (order >= 0)
            walk_next(&walk, 1);
    }
    buf_deinit(&left);
    buf_deinit(&right);
    if (out_rows != NULL)
        *out_rows = rows;
    return status;
}
