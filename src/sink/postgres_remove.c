/* Rows to remove whose key is one column of bigint or text: their keys as one array parameter, which PostgreSQL looks
 * up in key order, without a temporary table. Other keys go through one: an array of them would lose the column's
 * modifier (numeric(10, 2) rounds what a row is compared with). */
#include "base/check.h"
#include "sink/postgres_target.h"

bool postgres_removes_by_array(const struct postgres_table *table)
{
    if (table->key_count != 1)
        return false;
    const struct postgres_column *key = &table->columns[table->keys[0]];
    return key->exists && (key->type == POSTGRES_BIGINT || key->type == POSTGRES_TEXT);
}

/* An element of an array's text, always quoted. */
static enum sorex_status element_append(struct bytes text, struct buf *out, struct sorex_error *err)
{
    TRY(buf_reserve(out, 2 * text.len + 3, err));
    uint8_t *to = out->data + out->len;
    *to++ = out->len == 0 ? '{' : ',';
    *to++ = '"';
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == 0)
            return sorex_error_set(err, SOREX_INVALID, "PostgreSQL cannot store the character U+0000");
        if (c == '"' || c == '\\')
            *to++ = '\\';
        *to++ = c;
    }
    *to++ = '"';
    out->len = (size_t)(to - out->data);
    return SOREX_OK;
}

enum sorex_status postgres_removed_append(struct postgres *pg, const struct net_row *row, const struct json_doc *image,
                                          struct sorex_error *err)
{
    const struct postgres_table *table = row->table;
    if (!table->keyed)
        return element_append(row->change->change.key, &pg->removed, err);
    struct json_doc doc;
    if (image == NULL)
        image = row->parsed;
    if (image == NULL) {
        TRY(json_parse(pg->parser, row->image, &doc, err));
        image = &doc;
    }
    const struct postgres_column *key = &table->columns[table->keys[0]];
    const struct json_node *node = json_member(image, &image->nodes[0], key->name);
    if (!postgres_column_fits(key, node)) {
        pg->misfit = true;
        return sorex_error_set(err, SOREX_INVALID, "a value does not fit table %s", table->quoted);
    }
    return element_append(node->kind == JSON_STRING ? node->text : node->raw, &pg->removed, err);
}

/* The sub-select keeps the planner from counting the elements: always the index, also on a table never analysed. */
static enum sorex_status remove_sql(const struct postgres_table *table, struct buf *sql, struct sorex_error *err)
{
    const struct postgres_column *key = &table->columns[table->keys[0]];
    TRY(buf_printf(sql, err, "DELETE FROM %s WHERE %s = ANY (ARRAY(SELECT pg_catalog.unnest($1::pg_catalog.%s[])))",
                   table->quoted, key->quoted, key->type == POSTGRES_BIGINT ? "int8" : "text"));
    return buf_append_u8(sql, 0, err);
}

enum sorex_status postgres_removed_run(struct postgres *pg, const struct postgres_table *table, struct sorex_error *err)
{
    if (pg->removed.len == 0)
        return SOREX_OK;
    struct buf sql = {0};
    enum sorex_status status = buf_append(&pg->removed, bytes_of("}", 2), err);
    if (status == SOREX_OK)
        status = remove_sql(table, &sql, err);
    const char *params[] = {(const char *)pg->removed.data};
    if (status == SOREX_OK)
        status = postgres_query(&pg->session, (const char *)sql.data, 1, params, NULL, err);
    buf_deinit(&sql);
    buf_reset(&pg->removed);
    return status;
}
