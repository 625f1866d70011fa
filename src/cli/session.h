/* What `sorex sql` is doing: a database, how results are shown, and statements one by one, as psql executes and shows
 * them. Results go to session->out, errors and notices to standard error.
 *
 * Thread: one at a time, but for session_interrupt. */
#ifndef SOREX_CLI_SESSION_H
#define SOREX_CLI_SESSION_H

#include <pthread.h>
#include <stdio.h>

#include "cli/sql_source.h"
#include "cli/table.h"

struct session {
    struct sql_source *source; /* owned */
    struct database *database; /* a fork of it */
    uint32_t height;           /* that it began at; SOREX_HEIGHT_NONE: it has none */
    char transaction;          /* 'I', 'T', 'E' */
    struct table_options table;
    enum table_format plain; /* what \x goes back to */
    bool fits;               /* tables that are too wide for the terminal are expanded */
    bool quiet;              /* no tags */
    bool timing;
    bool told; /* that what it writes is not kept */
    FILE *out;
    pthread_mutex_t lock; /* of running */
    bool running;
};

/* Where a statement stands, for errors; name NULL: typed. */
struct session_place {
    const char *name;
    size_t line;
};

/* height: as sql_source_fork. Ownership: takes source over, also on failure. Errors: as sql_source_fork. */
enum sorex_status session_open(struct session *session, struct sql_source *source, uint32_t height,
                               struct sorex_error *err);
void session_close(struct session *session);
/* Another fork, in the state at that height, or in the newest that there is by now; the old one and what was done to it
 * is gone. On failure it stays. */
enum sorex_status session_move(struct session *session, uint32_t height, struct sorex_error *err);

/* Executes and shows. What goes wrong is shown too.
 *
 * sql        one statement.
 * data       of COPY FROM STDIN; NULL: it is another statement.
 * place      for errors; NULL: typed.
 * Returns whether it succeeded; session->out may have an error of its own. */
bool session_run(struct session *session, struct bytes sql, const struct bytes *data,
                 const struct session_place *place);

/* Executes for what needs rows itself; shows errors. Ownership: results by the caller. False: it failed. */
bool session_ask(struct session *session, struct bytes sql, struct results *results);
/* Shows one result with a title and a footer. */
bool session_show(struct session *session, const struct result *result, const struct table_options *options);
/* "sorex: TEXT", for what is no error of PostgreSQL's. Returns false. */
bool session_complain(struct session *session, const struct session_place *place, const char *text);

/* Cancels the statement that runs, if one does. Thread: any. */
void session_interrupt(struct session *session);

/* An error or a notice as psql prints it, with the line of the statement that it points to. Appended to out. */
enum sorex_status session_notice(const struct result_notice *notice, struct bytes sql, struct buf *out,
                                 struct sorex_error *err);

#endif
