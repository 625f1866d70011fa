/* Results of statements, collected from a server's messages.
 *
 * Thread: one at a time. */
#ifndef SOREX_PG_RESULT_H
#define SOREX_PG_RESULT_H

#include "base/arena.h"
#include "pg/protocol.h"

/* A session over any transport: sends `messages`, of which the last and no other is one that the server answers with
 * ReadyForQuery, and appends all that the server answers, up to the end of ReadyForQuery (or of the connection). */
typedef enum sorex_status result_exchange_fn(void *user_data, struct bytes messages, struct buf *out,
                                             struct sorex_error *err);

/* An error or a notice in full; absent fields have data NULL. */
struct result_notice {
    struct bytes fields[PROTOCOL_FIELDS];
    const struct result_notice *next;
};

/* What one statement gave. */
struct result {
    size_t columns_count;
    const struct protocol_column *columns; /* NULL: not described in this exchange, or no rows by nature */
    size_t rows_count;
    const struct protocol_value *const *rows; /* rows[row][column] */
    struct bytes tag;                         /* "SELECT 2"; "" for an empty statement; data NULL: it did not end */
    bool suspended;                           /* more rows are to be had with another Execute */
    struct bytes copy_out;                    /* what COPY TO STDOUT gave */
    const struct result_notice *error;        /* NULL: none */
    struct result *next;
};

/* Everything that one exchange gave. A statement that failed is the last one. */
struct results {
    struct arena arena;                  /* all below lies there */
    struct result *first;                /* in order; NULL: nothing was executed */
    const struct result_notice *error;   /* of the statement that failed, or of none */
    const struct result_notice *notices; /* in order */
    char transaction;                    /* 'I' none, 'T' open, 'E' failed; 0: the connection ended */
    size_t parameters_count;             /* of a described statement */
    const uint32_t *parameters;          /* their types */
    size_t columns_count;                /* of a described statement or portal */
    const struct protocol_column *columns;
};

/* bytes_max: ceiling of what is kept; 0 = SOREX_BUF_BYTES_MAX. */
void results_init(struct results *results, size_t bytes_max);
void results_deinit(struct results *results);

/* Forgets what there was and collects the messages of one exchange. That a statement failed is not an error of this.
 * Ownership: nothing points into `messages` afterwards.
 * Errors:    SOREX_CORRUPT  no messages of a server, or in an order that makes no sense;
 *            SOREX_LIMIT    more than bytes_max. */
enum sorex_status results_collect(struct results *results, struct bytes messages, struct sorex_error *err);

/* Sends messages and collects what comes back; `replies` is scratch memory. */
enum sorex_status results_exchange(struct results *results, result_exchange_fn *exchange, void *user_data,
                                   struct bytes messages, struct buf *replies, struct sorex_error *err);

/* Says in err what a statement's error is, its SQLSTATE first: `42601: syntax error at or near "selec" (character 1)`.
 * Returns SOREX_IO where the server and not the statement is at fault or in trouble (classes 08, 53, 57, 58, F0, XX,
 * and whatever ends the connection), else SOREX_INVALID. */
enum sorex_status result_error(const struct result_notice *error, struct sorex_error *err);

/* How many rows a tag names: 3 in "INSERT 0 3", "UPDATE 3", "SELECT 3"; 0 when it names none. */
uint64_t result_rows(struct bytes tag);

#endif
