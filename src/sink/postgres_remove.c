/* Rows to remove whose key is one column of bigint or text: their keys as array parameters, which PostgreSQL looks up
 * in key order, without a temporary table. Other keys go through one: an array of them would lose the column's modifier
 * (numeric(10, 2) rounds what a row is compared with). */
#include "base/check.h"
#include "base/codec.h"
#include "sink/postgres_binary.h"
#include "sink/postgres_target.h"

#define ARRAY_KEYS 2000u /* the server works on that many while the next ones gather */
#define ARRAY_BYTES ((size_t)256 << 10)

bool postgres_removes_by_array(const struct postgres_table *table)
{
    if (table->key_count != 1)
        return false;
    const struct postgres_column *key = &table->columns[table->keys[0]];
    return key->exists && (key->oid == POSTGRES_OID_BIGINT || key->oid == POSTGRES_OID_TEXT);
}

/* ---- the array: dimensions 1, no nulls, element type; length, lower bound 1; elements ---- */

enum { ARRAY_LENGTH_AT = 12, ARRAY_HEADER = 20 };

static enum sorex_status array_begin(struct postgres_removal *removal, struct sorex_error *err)
{
    uint8_t header[ARRAY_HEADER] = {0};
    u32be_put(header, 1);
    u32be_put(header + 8, removal->table->columns[removal->table->keys[0]].oid);
    u32be_put(header + 16, 1);
    return buf_append(&removal->array, bytes_of(header, sizeof header), err);
}

void postgres_removed_begin(struct postgres *pg, const struct postgres_table *table)
{
    pg->removal.table = table;
    pg->removal.count = 0;
    pg->removal.prepared = false;
    buf_reset(&pg->removal.array);
}

static enum sorex_status array_prepare(struct postgres *pg, struct sorex_error *err)
{
    const struct postgres_table *table = pg->removal.table;
    const struct postgres_column *key = &table->columns[table->keys[0]];
    struct buf sql = {0};
    enum sorex_status status =
        buf_printf(&sql, err, "DELETE FROM %s WHERE %s OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.%s[])", table->quoted,
                   key->quoted, key->oid == POSTGRES_OID_BIGINT ? "int8" : "text");
    if (status == SOREX_OK)
        status = buf_append_u8(&sql, 0, err);
    if (status == SOREX_OK)
        status = postgres_prepare(pg->session, (const char *)sql.data, err);
    buf_deinit(&sql);
    pg->removal.prepared = status == SOREX_OK;
    return status;
}

static enum sorex_status array_send(struct postgres *pg, struct sorex_error *err)
{
    struct postgres_removal *removal = &pg->removal;
    if (!removal->prepared)
        TRY(array_prepare(pg, err));
    u32be_put(removal->array.data + ARRAY_LENGTH_AT, removal->count);
    TRY(postgres_send(pg->session, buf_view(&removal->array), err));
    buf_reset(&removal->array);
    removal->count = 0;
    return SOREX_OK;
}

/* ---- keys ---- */

static enum sorex_status key_append(struct postgres *pg, const struct net_row *row, const struct json_doc *image,
                                    bool *out_taken, struct sorex_error *err)
{
    const struct postgres_table *table = row->table;
    if (!table->keyed)
        return postgres_binary_text(row->change->change.key, &pg->removal.array, err);
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
    return postgres_binary_field(node, key->oid, &pg->removal.array, out_taken, err);
}

enum sorex_status postgres_removed_append(struct postgres *pg, const struct net_row *row, const struct json_doc *image,
                                          bool *out_taken, struct sorex_error *err)
{
    struct postgres_removal *removal = &pg->removal;
    *out_taken = true;
    if (removal->count == 0 && removal->array.len == 0)
        TRY(array_begin(removal, err));
    enum sorex_status status = key_append(pg, row, image, out_taken, err);
    if (status != SOREX_OK) {
        *out_taken = false;
        return status;
    }
    removal->count += *out_taken;
    return removal->count == ARRAY_KEYS || removal->array.len > ARRAY_BYTES ? array_send(pg, err) : SOREX_OK;
}

enum sorex_status postgres_removed_finish(struct postgres *pg, struct sorex_error *err)
{
    if (pg->removal.count > 0)
        TRY(array_send(pg, err));
    return postgres_wait(pg->session, err);
}
