/* A session over a connection to a server. The only includer of libpq. */
#ifndef SOREX_SINK_POSTGRES_LIBPQ_H
#define SOREX_SINK_POSTGRES_LIBPQ_H

#include <libpq-fe.h>
#include <pthread.h>

#include "sink/postgres_session.h"

struct postgres_libpq {
    struct postgres_session session;
    char *url;
    PGconn *connection;             /* NULL when closed */
    bool working;                   /* the server has been sent something whose answer was not taken */
    pthread_mutex_t interrupt_lock; /* the two below */
    int socket;                     /* -1 when closed */
    bool interrupted;
};

/* url: a conninfo string or URI; copied. Errors: SOREX_INVALID when it does not parse. Does not connect.
 * Ownership: *out by postgres_session_free. */
enum sorex_status postgres_libpq_new(const char *url, struct postgres_session **out, struct sorex_error *err);

#endif
