/* The changes of one table in a batch, netted out: per row the one image that is left, or its removal. Order within a
 * batch is gone after that, which is right because the batch is one transaction. One thread, the sink's. */
#ifndef SOREX_SINK_POSTGRES_NET_H
#define SOREX_SINK_POSTGRES_NET_H

#include "base/arena.h"
#include "sink/postgres_columns.h"
#include "sink/sink.h"

struct net_row {
    struct postgres_table *table;
    const struct sink_change *change; /* the last one of this row */
    struct bytes identity;            /* the change's key, or the key columns' values, length-prefixed */
    struct bytes image;               /* what the row becomes; when upsert is false, an image with the key columns */
    const struct json_doc *parsed;    /* the same, parsed, or NULL; borrowed from the batch */
    bool upsert;                      /* false: the row is removed */
    bool sent;                        /* what the row becomes is on its way already */
    uint64_t hash;
};

/* What net_add did with a create or a delete. */
struct net_added {
    struct net_row *row; /* borrowed until the next net_add; NULL for an update */
    bool first;          /* the first change of this row in the batch */
    struct json_doc
        image; /* row->image parsed, when the table's key is in the image; borrowed until the next net_add */
};

struct net {
    struct arena arena; /* identities */
    struct net_row *rows;
    size_t count, cap;
    uint32_t *slots;   /* open addressing over rows: index + 1, or 0 */
    size_t slot_count; /* a power of two */
    struct json_parser *parser;
    struct buf identity; /* in the making */
};

enum sorex_status net_init(struct net *net, struct sorex_error *err);
void net_deinit(struct net *net);
/* Empties it for a table with that many changes. */
enum sorex_status net_begin(struct net *net, size_t changes, struct sorex_error *err);
/* Adds a change, in order. Errors: SOREX_INVALID: a key column has no value in an image. */
enum sorex_status net_add(struct net *net, struct postgres_table *table, const struct sink_change *change,
                          struct net_added *out, struct sorex_error *err);

#endif
