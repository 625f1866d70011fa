/* One row as COPY has it: a line of text, or a tuple of the binary format. */
#include "base/check.h"
#include "base/codec.h"
#include "sink/postgres_binary.h"
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

/* A value that has no binary form fails the attempt; the next one is in text. */
static enum sorex_status binary_append(struct postgres *pg, struct postgres_table *table,
                                       const struct postgres_column *column, const struct json_node *value,
                                       struct sorex_error *err)
{
    bool taken;
    TRY(postgres_binary_field(value, column->oid, &pg->out, &taken, err));
    if (taken)
        return SOREX_OK;
    table->refusals++;
    pg->misfit = true;
    return sorex_error_set(err, SOREX_INVALID, "a value of column \"%s\" has no binary form", column->name);
}

static enum sorex_status column_append(struct postgres *pg, const struct net_row *row, size_t index,
                                       struct sorex_error *err)
{
    const struct postgres_table *table = row->table;
    const struct postgres_column *column = &table->columns[index];
    bool own_key = !table->keyed && index == table->keys[0];
    struct json_node key = {.kind = JSON_STRING, .text = row->change->change.key};
    enum sorex_status status;
    if (pg->binary)
        status = binary_append(pg, row->table, column, own_key ? &key : column->value, err);
    else
        status = own_key ? postgres_field_text(key.text, &pg->out, err)
                         : postgres_field(column->value, column->type, &pg->out, err);
    if (status == SOREX_INVALID && !pg->misfit)
        return sorex_error_prefix(err, "column \"%s\"", column->name);
    return status;
}

/* The fields of the written columns, or those of the key. */
static enum sorex_status fields_append(struct postgres *pg, const struct net_row *row, bool keys_only,
                                       struct sorex_error *err)
{
    const struct postgres_table *table = row->table;
    size_t count = keys_only ? table->key_count : table->column_count;
    size_t begin = pg->out.len;
    uint16_t fields = 0;
    if (pg->binary)
        TRY(buf_append(&pg->out, bytes_of("\0\0", 2), err));
    for (size_t i = 0; i < count; i++) {
        size_t column = keys_only ? table->keys[i] : i;
        if (!keys_only && !postgres_column_written(&table->columns[column]))
            continue;
        if (fields > 0 && !pg->binary)
            TRY(buf_append_u8(&pg->out, '\t', err));
        fields++;
        TRY(column_append(pg, row, column, err));
    }
    if (!pg->binary)
        return buf_append_u8(&pg->out, '\n', err);
    u16be_put(pg->out.data + begin, fields);
    return SOREX_OK;
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
