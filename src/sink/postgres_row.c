/* One row as a line of COPY's text format. */
#include "base/check.h"
#include "sink/postgres_target.h"

static enum sorex_status value_set(struct postgres *pg, struct postgres_column *column, const struct json_node *node)
{
    if (column == NULL) {
        pg->misfit = pg->misfit || node->kind != JSON_NULL;
        return SOREX_OK;
    }
    if (!postgres_column_fits(column, node) || (!postgres_column_written(column) && column->exists && !column->fixed))
        pg->misfit = true;
    column->value = node;
    return SOREX_OK;
}

static enum sorex_status values_set(struct postgres *pg, const struct net_row *row, const struct json_doc *doc,
                                    struct sorex_error *err)
{
    struct postgres_table *table = row->table;
    const struct json_node *image = &doc->nodes[0];
    size_t hint = 0;
    for (size_t i = 0; i < table->column_count; i++)
        table->columns[i].value = NULL;
    if (image->kind != JSON_OBJECT) {
        struct postgres_column *column = postgres_column_find(table, bytes_str("value"), &hint);
        if (column != NULL && column->owned && column->type != POSTGRES_JSONB)
            pg->misfit = true;
        return value_set(pg, column, image);
    }
    for (const struct json_node *node = json_first(doc, image); node != NULL; node = json_next(doc, node)) {
        if (!table->keyed && bytes_is(node->key, "key")) {
            if (node->kind == JSON_STRING && bytes_equal(node->text, row->change->change.key))
                continue;
            return sorex_error_set(
                err, SOREX_INVALID,
                "the image has a member \"key\" that is not the change's key; name the key columns in the "
                "pipeline file (tables.%s.key)",
                table->name);
        }
        TRY(value_set(pg, postgres_column_find(table, node->key, &hint), node));
    }
    return SOREX_OK;
}

static enum sorex_status column_append(struct postgres *pg, const struct net_row *row, size_t column,
                                       struct sorex_error *err)
{
    const struct postgres_table *table = row->table;
    enum sorex_status status;
    if (!table->keyed && column == table->keys[0])
        status = postgres_field_text(row->change->change.key, &pg->out, err);
    else
        status = postgres_field(table->columns[column].value, table->columns[column].type, &pg->out, err);
    if (status == SOREX_INVALID)
        return sorex_error_prefix(err, "column \"%s\"", table->columns[column].name);
    return status;
}

/* The fields of the written columns, or those of the key. */
static enum sorex_status fields_append(struct postgres *pg, const struct net_row *row, bool keys_only,
                                       struct sorex_error *err)
{
    const struct postgres_table *table = row->table;
    size_t count = keys_only ? table->key_count : table->column_count;
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        size_t column = keys_only ? table->keys[i] : i;
        if (!keys_only && !postgres_column_written(&table->columns[column]))
            continue;
        if (!first)
            TRY(buf_append_u8(&pg->out, '\t', err));
        first = false;
        TRY(column_append(pg, row, column, err));
    }
    return buf_append_u8(&pg->out, '\n', err);
}

enum sorex_status postgres_row_append(struct postgres *pg, const struct net_row *row, const struct json_doc *image,
                                      struct sorex_error *err)
{
    bool keys_only = !row->upsert;
    struct json_doc doc;
    if (keys_only && !row->table->keyed)
        return fields_append(pg, row, true, err);
    if (image == NULL)
        image = row->parsed;
    if (image == NULL) {
        TRY(json_parse(pg->parser, row->image, &doc, err));
        image = &doc;
    }
    TRY(values_set(pg, row, image, err));
    if (pg->misfit)
        return sorex_error_set(err, SOREX_INVALID, "a value does not fit table %s", row->table->quoted);
    return fields_append(pg, row, keys_only, err);
}
