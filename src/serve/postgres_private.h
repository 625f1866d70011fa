/* What the files of PostgreSQL's port share. */
#ifndef SOREX_SERVE_POSTGRES_PRIVATE_H
#define SOREX_SERVE_POSTGRES_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "serve/listen.h"
#include "serve/postgres.h"
#include "serve/wire.h"

#define CONNECTION_SECRET_BYTES 4u /* what clients of all versions take */

struct connection {
    struct postgres_port *server;
    struct connection *next; /* the server's thread's */
    pthread_t thread;
    int fd;
    uint32_t process; /* what the client is told of itself, for CancelRequest */
    uint8_t secret[CONNECTION_SECRET_BYTES];
    uint64_t begun_ms;
    struct wire_backend backend;
    struct wire wire;
    struct buf out; /* not sent yet */
    struct {
        uint8_t header[5];
        size_t header_len, left;    /* bytes that are there of the header, and missing of the body */
    } frame;                        /* the message that the backend is in the middle of */
    struct database *database;      /* of the session; others: under the server's lock */
    _Atomic uint64_t busy_since_ms; /* 0: it waits for its client */
    _Atomic bool finished;          /* the thread is to be joined */
};

struct postgres_port {
    struct postgres_port_options options;
    struct listening listening;
    int stop_fd; /* an eventfd; readable for good once the server ends */
    pthread_t thread;
    struct connection *connections; /* the thread's; others: under the lock */
    uint32_t connections_count;     /* with those that have no session */
    uint32_t process_last;
    pthread_mutex_t lock; /* of all below, the list, and databases of connections */
    uint32_t sessions;
    uint64_t opened, refused, cancelled;
};

/* -- postgres.c */

/* Errors: SOREX_LIMIT there are too many sessions. Thread: a connection's, as all of these. */
enum sorex_status server_admit(struct postgres_port *server, struct sorex_error *err);
/* opened: the session began. */
void server_leave(struct postgres_port *server, bool opened);
void server_cancel(struct postgres_port *server, uint32_t process, struct bytes secret);
/* database: NULL: there is none any more, and nobody looks at the one before. */
void server_database_set(struct connection *connection, struct database *database);

/* -- postgres_connection.c */

/* Takes over fd. Errors: SOREX_NOMEM, SOREX_IO no thread; fd is closed. */
enum sorex_status connection_start(struct postgres_port *server, int fd, uint32_t process, struct connection **out,
                                   struct sorex_error *err);
/* Waits for the thread. */
void connection_end(struct connection *connection);

/* -- postgres_session.c */

/* What a session is for wire.h, whose user_data is a connection. */
extern const struct wire_backend session_backend;
/* Cancels the statement under way, or ends the backend. Under the server's lock. Thread: any. */
void connection_interrupt(struct connection *connection, bool end);

/* More input of the client, for a session in the midst of something. *out_len 0: there is none.
 * Errors: SOREX_STOPPED the server ends; SOREX_AGAIN nothing came in time; SOREX_IO. */
enum sorex_status connection_receive(struct connection *connection, uint8_t *to, size_t room, size_t *out_len,
                                     struct sorex_error *err);
/* Sends what out has. Errors: SOREX_STOPPED, SOREX_IO the client is gone. */
enum sorex_status connection_send(struct connection *connection, struct sorex_error *err);

#endif
