#include "serve/report.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "json/double.h"

#define REPORT_ROWS_MAX 100000u

enum sorex_status report_hashes(const struct query_hashes *hashes, bool json, struct buf *out, struct sorex_error *err)
{
    char state[HASH_HEX_SIZE], commitment[HASH_HEX_SIZE];
    hash_hex(hashes->state, state);
    hash_hex(hashes->commitment, commitment);
    if (!json) {
        TRY(buf_printf(out, err, "state %s\n", state));
        return hashes->has_commitment ? buf_printf(out, err, "commitment %s\n", commitment) : SOREX_OK;
    }
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "height");
    json_uint(&w, hashes->height);
    json_name(&w, "state");
    json_string_z(&w, state);
    if (hashes->has_commitment) {
        json_name(&w, "commitment");
        json_string_z(&w, commitment);
    }
    json_object_end(&w);
    TRY(json_writer_finish(&w));
    return buf_append_u8(out, '\n', err);
}

enum sorex_status report_rollback(uint32_t height, uint64_t undone, bool json, struct buf *out, struct sorex_error *err)
{
    if (!json)
        return buf_printf(out, err, "height %u is the tip now; %llu entries undone\n", height, (unsigned long long)undone);
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "height");
    json_uint(&w, height);
    json_name(&w, "undone");
    json_uint(&w, undone);
    json_object_end(&w);
    TRY(json_writer_finish(&w));
    return buf_append_u8(out, '\n', err);
}

/* ---- rows ---- */

enum sorex_status report_rows_init(struct report_rows *rows, struct sorex_error *err)
{
    if (rows->limit == 0 || rows->limit > REPORT_ROWS_MAX)
        return sorex_error_set(err, SOREX_INVALID, "the limit must be between 1 and %u", REPORT_ROWS_MAX);
    rows->kept = calloc((size_t)rows->limit + 1, sizeof *rows->kept);
    if (rows->kept == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for %llu rows", (unsigned long long)rows->limit);
    return json_parser_new(&rows->parser, err);
}

static void kept_free(struct report_kept *kept)
{
    void *data; /* one allocation holds all four, the table first */
    memcpy(&data, &kept->table.data, sizeof data);
    free(data);
}

void report_rows_deinit(struct report_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        kept_free(&rows->kept[i]);
    free(rows->kept);
    if (rows->parser != NULL)
        json_parser_free(rows->parser);
}

static enum sorex_status rank_of(struct report_rows *rows, struct bytes image, double *out, struct bytes *out_text,
                                 struct sorex_error *err)
{
    struct json_doc doc;
    char name[128];
    *out = 0;
    *out_text = bytes_of(NULL, 0);
    if (rows->by.len == 0)
        return SOREX_OK;
    if (rows->by.len >= sizeof name)
        return sorex_error_set(err, SOREX_INVALID, "the member to order by has a name of over %zu bytes", sizeof name - 1);
    memcpy(name, rows->by.data, rows->by.len);
    name[rows->by.len] = '\0';
    TRY(json_parse(rows->parser, image, &doc, err));
    const struct json_node *member = json_member(&doc, &doc.nodes[0], name);
    if (member == NULL || (member->kind != JSON_NUMBER && member->kind != JSON_STRING) || !double_read(member->text, out))
        return SOREX_OK;
    *out_text = member->text;
    return SOREX_OK;
}

enum sorex_status report_row(void *user_data, struct bytes table, struct bytes key, struct bytes image, struct sorex_error *err)
{
    struct report_rows *rows = user_data;
    if (rows->table.len != 0 && !bytes_equal(rows->table, table))
        return SOREX_OK;
    rows->total++;
    double rank;
    struct bytes by;
    TRY(rank_of(rows, image, &rank, &by, err));
    if (rows->count == rows->limit && (rows->by.len == 0 || rank <= rows->kept[rows->count - 1].rank))
        return SOREX_OK;
    const struct bytes parts[] = {table, key, image, by};
    uint8_t *copy = malloc(table.len + key.len + image.len + by.len + 1);
    if (copy == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a row");
    size_t len = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].len != 0)
            memcpy(copy + len, parts[i].data, parts[i].len);
        len += parts[i].len;
    }
    size_t at = rows->count;
    while (rows->by.len != 0 && at > 0 && rows->kept[at - 1].rank < rank) {
        rows->kept[at] = rows->kept[at - 1];
        at--;
    }
    rows->kept[at] = (struct report_kept){.rank = rank,
                                          .table = bytes_of(copy, table.len),
                                          .key = bytes_of(copy + table.len, key.len),
                                          .image = bytes_of(copy + table.len + key.len, image.len),
                                          .by = bytes_of(copy + len - by.len, by.len)};
    if (rows->count == rows->limit)
        kept_free(&rows->kept[rows->count]);
    else
        rows->count++;
    return SOREX_OK;
}

static enum sorex_status rows_json(const struct report_rows *rows, uint32_t height, struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "height");
    json_uint(&w, height);
    json_name(&w, "total");
    json_uint(&w, rows->total);
    json_name(&w, "rows");
    json_array_begin(&w);
    for (size_t i = 0; i < rows->count; i++) {
        json_object_begin(&w);
        json_name(&w, "table");
        json_string(&w, rows->kept[i].table);
        json_name(&w, "key");
        json_string(&w, rows->kept[i].key);
        json_name(&w, "row");
        json_raw(&w, rows->kept[i].image);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
    TRY(json_writer_finish(&w));
    return buf_append_u8(out, '\n', err);
}

/* Keys can be long; a line is for a person, --json has them whole. */
#define REPORT_KEY_MAX 72u

/* "  1  5000000000  76a9...88ac" when ordered by a member, else rank, key and image. */
static enum sorex_status row_line(const struct report_rows *rows, const struct report_kept *kept, size_t rank, struct buf *out,
                                  struct sorex_error *err)
{
    TRY(buf_printf(out, err, "%4zu  ", rank));
    if (rows->by.len != 0)
        TRY(buf_printf(out, err, "%20.*s  ", BYTES_FMT(kept->by)));
    if (rows->table.len == 0)
        TRY(buf_printf(out, err, "%.*s/", BYTES_FMT(kept->table)));
    bool cut = kept->key.len > REPORT_KEY_MAX;
    TRY(buf_append(out, bytes_of(kept->key.data, cut ? REPORT_KEY_MAX - 3 : kept->key.len), err));
    if (cut)
        TRY(buf_append_str(out, "...", err));
    if (rows->by.len == 0) {
        TRY(buf_append_str(out, "  ", err));
        TRY(buf_append(out, kept->image, err));
    }
    return buf_append_u8(out, '\n', err);
}

enum sorex_status report_rows_write(const struct report_rows *rows, uint32_t height, struct buf *out, struct sorex_error *err)
{
    if (rows->json)
        return rows_json(rows, height, out, err);
    if (rows->total == 0)
        return buf_printf(out, err, "no rows at height %u (of a transform with before: engine; the engine keeps no others)\n", height);
    TRY(buf_printf(out, err, "%llu rows at height %u%s", (unsigned long long)rows->total, height, rows->count != 0 ? "; " : "\n"));
    if (rows->count != 0)
        TRY(buf_printf(out, err, "the %s %zu%s%.*s:\n", rows->by.len != 0 ? "largest" : "first", rows->count,
                       rows->by.len != 0 ? " by " : "", BYTES_FMT(rows->by)));
    for (size_t i = 0; i < rows->count; i++)
        TRY(row_line(rows, &rows->kept[i], i + 1, out, err));
    return SOREX_OK;
}
