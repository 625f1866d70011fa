/* Target tables: what the pipeline file says of them, what the catalog says, and the DDL that makes the catalog fit the
 * values. One thread, the sink's. */
#ifndef SOREX_SINK_POSTGRES_COLUMNS_H
#define SOREX_SINK_POSTGRES_COLUMNS_H

#include "config/node.h"
#include "json/json.h"
#include "sink/postgres_session.h"
#include "sink/postgres_type.h"

#define POSTGRES_COLUMNS_MAX 1600 /* PostgreSQL's own limit */
/* Comment on a column that a sink made from values. */
#define POSTGRES_OWNED "sorex: typed by its values"

struct postgres_column {
    char *name;
    size_t name_len;
    char *quoted;                  /* made when it is first needed; NULL before */
    char *declared;                /* type of the pipeline file, or NULL */
    uint32_t oid;                  /* of its type in the catalog; 0 before it is there */
    enum postgres_type type;       /* NONE: not in the table yet */
    enum postgres_type wanted;     /* what the values of the batch need, joined with type */
    bool exists;                   /* in the table */
    bool owned;                    /* made by a sink from values (the column's comment says so): may be widened */
    bool fixed;                    /* generated or identity: never written */
    bool defaulted;                /* the user's, with a default: written only when an image names it */
    bool named;                    /* an image named it, or the pipeline file */
    const struct json_node *value; /* of the row being written */
};

struct postgres_table {
    char *name;
    char *quoted;                     /* with the schema */
    const struct config_node *config; /* of the pipeline file, or NULL */
    bool keyed;                       /* key columns come from the image, not from the change's key */
    struct postgres_column *columns;
    size_t column_count, column_cap;
    size_t *keys; /* indices of the key columns */
    size_t key_count;
    bool loaded; /* columns are as the catalog had them */
    bool exists;
    unsigned number;     /* for the names of staging tables */
    uint64_t staged;     /* session in which its staging tables were made, 0 = none */
    unsigned collisions; /* how often a plain COPY met a key that was there */
    unsigned refusals;   /* how often a value had no binary form */
    size_t *changes;     /* of the batch that are of this table */
    size_t change_count, change_cap;
};

/* Checks the `tables` mapping of the pipeline file. Errors: SOREX_INVALID with file and line. */
enum sorex_status postgres_tables_check(const struct config_node *tables, struct sorex_error *err);

/* A table with the columns that the pipeline file names. config: borrowed, may be NULL. Ownership: postgres_table_free.
 */
enum sorex_status postgres_table_new(const char *schema, struct bytes name, const struct config_node *config,
                                     unsigned number, struct postgres_table **out, struct sorex_error *err);
void postgres_table_free(struct postgres_table *table);

/* Reads the catalog when that was not done since postgres_table_forget. */
enum sorex_status postgres_table_load(struct postgres_session *session, struct postgres_table *table,
                                      struct sorex_error *err);
/* Reads it again, for columns that were made or widened; what is noted of the others stays. */
enum sorex_status postgres_table_read(struct postgres_session *session, struct postgres_table *table,
                                      struct sorex_error *err);
/* Drops what the catalog said: after a rollback, or when it may be out of date. */
void postgres_table_forget(struct postgres_table *table);

/* The column of that name; *hint is where to look first, and is moved on. NULL when there is none. */
struct postgres_column *postgres_column_find(const struct postgres_table *table, struct bytes name, size_t *hint);

/* Notes what the image needs: new columns, wider types. doc: the parsed image. */
enum sorex_status postgres_table_need(struct postgres_table *table, const struct json_doc *doc,
                                      struct sorex_error *err);
/* Makes the table fit what was noted, in the transaction that is open. create: whether DDL is allowed. */
enum sorex_status postgres_table_fit(struct postgres_session *session, struct postgres_table *table, bool create,
                                     struct sorex_error *err);
/* Whether images may write the column: a default of the user's stays in force until an image names its column. */
bool postgres_column_written(const struct postgres_column *column);
bool postgres_is_key(const struct postgres_table *table, size_t column);
/* Whether a value can be written to the column as it is. */
bool postgres_column_fits(const struct postgres_column *column, const struct json_node *node);

#endif
