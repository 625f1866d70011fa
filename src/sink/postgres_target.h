/* What the files of the PostgreSQL sink share. Private to them. */
#ifndef SOREX_SINK_POSTGRES_TARGET_H
#define SOREX_SINK_POSTGRES_TARGET_H

#include "sink/postgres.h"
#include "sink/postgres_columns.h"
#include "sink/postgres_net.h"
#include "sink/postgres_session.h"

/* Keys on their way into arrays. */
struct postgres_removal {
    const struct postgres_table *table;
    struct buf array; /* PostgreSQL's binary form, with the count left open */
    uint32_t count;
    bool prepared; /* the server has the statement */
};

/* A part of a table's rows. */
enum postgres_part {
    POSTGRES_NO_PART,
    POSTGRES_CREATED, /* into the table */
    POSTGRES_CHANGED, /* the others into temporary tables */
    POSTGRES_REMOVED
};

struct postgres {
    struct sink sink;
    struct postgres_session *session; /* owned */
    char *pipeline, *name, *schema, *log_table;
    char *dead_table; /* of a stream's dead letters; NULL: they are left out */
    bool stream;      /* positions, not a cursor */
    bool log;
    bool create;                      /* DDL is allowed */
    const struct config_node *config; /* the `tables` mapping; borrowed from the settings, or NULL */
    struct sink_cursor at;            /* what the cursor row must hold for a batch to be applied */
    uint64_t log_checked;             /* session in which the log table was seen, 0 = none */
    uint64_t dead_checked;            /* ... the table of dead letters */
    uint64_t positions_checked;       /* ... sorex_position */

    struct json_parser *parser;
    struct buf out; /* rows on their way into a COPY */
    bool binary;    /* in the binary format */
    bool careful;   /* values were read before; everything goes as text */
    struct postgres_removal removal;
    struct postgres_table **tables;
    size_t table_count;
    struct net net; /* of the table in hand */

    bool misfit;   /* the last attempt met a value that the table does not take yet */
    bool named;    /* the last error names its row already */
    bool in_rows;  /* the last attempt failed while it wrote rows, or later */
    bool collided; /* ... in a plain COPY */
};

/* Part of a batch, to find the row that fails: net rows of one table, or changes in the log mode. */
struct postgres_scope {
    const struct postgres_table *table; /* NULL in the log mode */
    size_t from, to;                    /* to: may lie beyond the end */
};

/* A PostgreSQL sink on that session, which it takes over, also on failure; settings->url is not looked at. */
enum sorex_status postgres_new(const struct postgres_settings *settings, const struct sink_context *context,
                               struct postgres_session *session, struct sink **out, struct sorex_error *err);

/* The sink type's cursor(): also makes table and row, and forgets what is known of the other tables. */
enum sorex_status postgres_cursor_read(struct sink *sink, struct sink_cursor *out, struct sorex_error *err);
/* In an open transaction: locks the cursor row.
 * Errors: SOREX_AGAIN also when the row is not what this sink left there: somebody else writes. */
enum sorex_status postgres_cursor_lock(struct postgres *pg, struct sorex_error *err);
enum sorex_status postgres_cursor_move(struct postgres *pg, const struct sink_cursor *cursor, struct sorex_error *err);
/* Whether the target has a cursor with anything applied, of this pipeline and sink. */
enum sorex_status postgres_cursor_known(struct postgres *pg, bool *out, struct sorex_error *err);

/* The sink type's position(): also makes table and row, and forgets what is known of the other tables. */
enum sorex_status postgres_position_read(struct sink *sink, const char *partition, void *group, struct position *out,
                                         struct sorex_error *err);
/* In an open transaction: locks the rows of the batch's partitions, always in the same order.
 * Errors: SOREX_AGAIN also when one of them is not where the batch begins: somebody else delivers too. */
enum sorex_status postgres_positions_lock(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err);
enum sorex_status postgres_positions_move(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err);
/* Whether the target has a position of this pipeline and sink. */
enum sorex_status postgres_positions_known(struct postgres *pg, bool *out, struct sorex_error *err);

/* In an open transaction: writes the batch's dead letters, if there is a table for them. */
enum sorex_status postgres_dead_write(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err);

/* Gives each change of the batch to its table; the connection is open. Errors: SOREX_INVALID naming the row. */
enum sorex_status postgres_tables_prepare(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err);
/* Writes what was prepared in the open transaction; scope NULL: all of it. Afterwards pg->net is that of the last
 * table. fit: first make the tables fit the values; without it a value that does not fit sets pg->misfit. */
enum sorex_status postgres_tables_write(struct postgres *pg, const struct sink_batch *batch,
                                        const struct postgres_scope *scope, bool fit, struct sorex_error *err);
/* Forgets what the catalog said. */
void postgres_tables_forget(struct postgres *pg);

/* A COPY of rows of one part: begin, rows, end. row->image parsed is `image`, or NULL. Errors: SOREX_INVALID: the row
 * cannot be written; pg->misfit is set when it is the table, or the format, that does not take a value yet. */
enum sorex_status postgres_part_begin(struct postgres *pg, struct postgres_table *table, enum postgres_part part,
                                      struct sorex_error *err);
enum sorex_status postgres_part_row(struct postgres *pg, const struct net_row *row, const struct json_doc *image,
                                    struct sorex_error *err);
/* status: of the rows; unless it is SOREX_OK, the COPY is abandoned and that comes back. */
enum sorex_status postgres_part_end(struct postgres *pg, enum sorex_status status, struct sorex_error *err);
/* What follows a COPY into a temporary table. */
enum sorex_status postgres_part_apply(struct postgres *pg, const struct postgres_table *table, enum postgres_part part,
                                      struct sorex_error *err);

/* Appends the row to pg->out: its written columns, or those of the key when it is removed. image, errors: as above. */
enum sorex_status postgres_row_append(struct postgres *pg, const struct net_row *row, const struct json_doc *image,
                                      struct sorex_error *err);

/* Whether the table's rows are removed by arrays of keys: begin, append, finish. The server works on one array while
 * the next one gathers, so that errors may come late. */
bool postgres_removes_by_array(const struct postgres_table *table);
void postgres_removed_begin(struct postgres *pg, const struct postgres_table *table);
/* *out_taken: false when the key has no binary form. image, errors: as above. */
enum sorex_status postgres_removed_append(struct postgres *pg, const struct net_row *row, const struct json_doc *image,
                                          bool *out_taken, struct sorex_error *err);
enum sorex_status postgres_removed_finish(struct postgres *pg, struct sorex_error *err);

enum sorex_status postgres_log_write(struct postgres *pg, const struct sink_batch *batch, size_t from, size_t to,
                                     struct sorex_error *err);

/* Puts program, table, key and height in front of the error's text; of a stream table, key and number. */
enum sorex_status postgres_row_name(struct postgres *pg, const struct sink_change *change, struct sorex_error *err);
/* SCHEMA.NAME, quoted; malloc'ed. */
enum sorex_status postgres_qualified(struct postgres *pg, const char *name, char **out, struct sorex_error *err);
/* Whether SCHEMA.NAME is there. */
enum sorex_status postgres_table_exists(struct postgres *pg, const char *name, bool *out, struct sorex_error *err);
/* One statement about a table of the sink's own: `before`, SCHEMA.NAME, `after`, with pipeline and sink as $1 and $2,
 * and `count` more parameters behind them. out may be NULL; else pair with postgres_rows_deinit. */
struct postgres_statement {
    const char *before, *table, *after;
    int count;
    const char *const *more;
};
enum sorex_status postgres_own_query(struct postgres *pg, const struct postgres_statement *statement,
                                     struct postgres_rows *out, struct sorex_error *err);
/* CREATE TABLE IF NOT EXISTS SCHEMA.NAME (columns), one sorex at a time; in the open transaction, or in one of its own.
 */
enum sorex_status postgres_own_table(struct postgres *pg, const char *name, const char *columns,
                                     struct sorex_error *err);

#endif
