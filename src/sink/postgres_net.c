#include "sink/postgres_net.h"

#include <stdlib.h>

#include "base/check.h"

enum sorex_status net_init(struct net *net, struct sorex_error *err)
{
    *net = (struct net){0};
    arena_init(&net->arena, 0);
    return json_parser_new(&net->parser, err);
}

void net_deinit(struct net *net)
{
    json_parser_free(net->parser);
    arena_deinit(&net->arena);
    buf_deinit(&net->identity);
    free(net->rows);
    free(net->slots);
    *net = (struct net){0};
}

enum sorex_status net_begin(struct net *net, size_t changes, struct sorex_error *err)
{
    arena_reset(&net->arena);
    net->count = 0;
    /* A change makes two rows at most: the one it leaves and the one it becomes. */
    size_t wanted = 64;
    while (wanted < changes * 4)
        wanted *= 2;
    if (wanted > net->slot_count) {
        free(net->slots);
        net->slots = calloc(wanted, sizeof *net->slots);
        net->slot_count = net->slots == NULL ? 0 : wanted;
    } else {
        memset(net->slots, 0, net->slot_count * sizeof *net->slots);
    }
    if (changes * 2 > net->cap) {
        struct net_row *grown = realloc(net->rows, changes * 2 * sizeof *grown);
        if (grown != NULL)
            net->cap = changes * 2;
        net->rows = grown == NULL ? net->rows : grown;
    }
    if (net->slots == NULL || net->cap < changes * 2)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    return SOREX_OK;
}

/* FNV-1a over eight bytes at a time, then mixed; the keys are the user's own, so nobody gains by collisions. */
static uint64_t identity_hash(const struct postgres_table *table, struct bytes identity)
{
    uint64_t hash = 0xcbf29ce484222325u ^ table->number;
    size_t i = 0;
    for (; i + 8 <= identity.len; i += 8) {
        uint64_t word;
        memcpy(&word, identity.data + i, 8);
        hash = (hash ^ word) * 0x100000001b3u;
        hash ^= hash >> 29;
    }
    for (; i < identity.len; i++)
        hash = (hash ^ identity.data[i]) * 0x100000001b3u;
    hash ^= hash >> 32;
    return hash * 0x9e3779b97f4a7c15u;
}

/* Puts the row in place of what was known of it; *out_first says whether nothing was. */
static struct net_row *row_put(struct net *net, const struct net_row *row, bool *out_first)
{
    size_t mask = net->slot_count - 1;
    size_t at = (size_t)(row->hash >> 20) & mask;
    for (; net->slots[at] != 0; at = (at + 1) & mask) {
        struct net_row *known = &net->rows[net->slots[at] - 1];
        if (known->hash != row->hash || !bytes_equal(known->identity, row->identity))
            continue;
        *known = *row;
        *out_first = false;
        return known;
    }
    CHECK(net->count < net->cap);
    net->rows[net->count++] = *row;
    net->slots[at] = (uint32_t)net->count;
    *out_first = true;
    return &net->rows[net->count - 1];
}

/* The key columns' values, each with its length in front: numbers as they are written, strings decoded. */
static enum sorex_status identity_append(const struct postgres_table *table, const struct json_doc *doc,
                                         struct buf *out, struct sorex_error *err)
{
    for (size_t i = 0; i < table->key_count; i++) {
        const char *name = table->columns[table->keys[i]].name;
        const struct json_node *node = json_member(doc, &doc->nodes[0], name);
        if (node == NULL || node->kind == JSON_NULL)
            return sorex_error_set(err, SOREX_INVALID, "the image has no value for the key column \"%s\"", name);
        struct bytes value = node->kind == JSON_STRING ? node->text : node->raw;
        TRY(buf_append_varint(out, value.len, err));
        TRY(buf_append(out, value, err));
    }
    return SOREX_OK;
}

static enum sorex_status keyed_add(struct net *net, struct net_row row, struct bytes image,
                                   const struct json_doc *parsed, bool upsert, struct net_added *out,
                                   struct sorex_error *err)
{
    row.parsed = parsed->nodes == NULL ? NULL : parsed;
    if (row.parsed != NULL)
        out->image = *parsed;
    else
        TRY(json_parse(net->parser, image, &out->image, err));
    buf_reset(&net->identity);
    TRY(identity_append(row.table, &out->image, &net->identity, err));
    row.identity = arena_copy(&net->arena, buf_view(&net->identity));
    if (row.identity.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    row.hash = identity_hash(row.table, row.identity);
    row.image = image;
    row.upsert = upsert;
    out->row = row_put(net, &row, &out->first);
    return SOREX_OK;
}

enum sorex_status net_add(struct net *net, struct postgres_table *table, const struct sink_change *item,
                          struct net_added *out, struct sorex_error *err)
{
    const struct change *change = &item->change;
    struct net_row row = {.table = table, .change = item};
    bool upsert = change->operation != CHANGE_DELETE;
    *out = (struct net_added){0};
    if (table->keyed) {
        if (!upsert && change->before.data == NULL)
            return sorex_error_set(err, SOREX_INVALID,
                                   "the delete has no before image, and the table's key columns are in the images");
        if (change->before.data != NULL)
            TRY(keyed_add(net, row, change->before, &item->before, false, out, err));
        if (upsert)
            TRY(keyed_add(net, row, change->after, &item->after, true, out, err));
    } else {
        row.identity = change->key;
        row.hash = identity_hash(table, row.identity);
        row.image = upsert ? change->after : change->before;
        row.parsed = upsert ? &item->after : &item->before;
        row.parsed = row.parsed->nodes == NULL ? NULL : row.parsed;
        row.upsert = upsert;
        out->row = row_put(net, &row, &out->first);
    }
    if (change->operation == CHANGE_UPDATE)
        out->row = NULL;
    return SOREX_OK;
}
