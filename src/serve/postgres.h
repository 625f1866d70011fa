/* PostgreSQL's port: psql, drivers and tools connect to a derived database, each connection to a fork of its own.
 *
 * A connection begins with the state that it asks for (its database's name, a height), may write, and what it wrote
 * goes with it. Connections have a thread each and see nothing of one another. The protocol of a session is spoken by
 * PostgreSQL itself, inside the fork; here are the socket, the startup (wire.h), and what a postmaster does:
 * cancelling, limits, ending sessions. Nobody is asked for a password, so addresses that other machines reach are
 * refused unless they are asked for. docs/serve.md is the users' guide. */
#ifndef SOREX_SERVE_POSTGRES_H
#define SOREX_SERVE_POSTGRES_H

#include "base/bytes.h"

struct database;
struct postgres_port;

/* Where databases come from. Thread: the connections', several at once. */
struct postgres_states {
    void *user_data;
    /* A database for one connection, its alone. name: what the client asked for; height: SOREX_HEIGHT_NONE: the newest.
     * Errors: SOREX_GONE no such name or height; others; the client gets the text. */
    enum sorex_status (*fork)(void *user_data, struct bytes name, uint32_t height, struct database **out,
                              struct sorex_error *err);
};

struct postgres_port_options {
    const char *address;           /* HOST:PORT, PORT of 127.0.0.1 (0: a free one), or the path of a Unix socket */
    bool remote;                   /* other machines may reach the address */
    uint32_t connections_max;      /* 0 = 100; more get 53300 */
    uint64_t statement_timeout_ms; /* of what a client sends at once; then 57014. 0: none */
    uint64_t startup_timeout_ms;   /* of a client that says nothing; 0 = 30,000 */
    struct postgres_states states;
};

/* Listens, and serves on threads of its own. Errors: SOREX_INVALID no such address; SOREX_IO it is taken; SOREX_NOMEM.
 */
enum sorex_status postgres_port_start(const struct postgres_port_options *options, struct postgres_port **out,
                                      struct sorex_error *err);
/* Whether there can be such an address. Errors: SOREX_INVALID. */
enum sorex_status postgres_address_check(const char *address, bool remote, struct sorex_error *err);
/* Ends all sessions with 57P01, in the midst of statements too, and waits for them. NULL is fine. */
void postgres_port_stop(struct postgres_port *server);

uint16_t postgres_port_number(const struct postgres_port *server); /* 0: a Unix socket */

struct postgres_port_status {
    char place[128];
    uint32_t connections, connections_max; /* sessions now */
    uint32_t busy;                         /* of these, with a statement under way */
    uint64_t opened;                       /* sessions since the start */
    uint64_t refused;                      /* asked for and not given */
    uint64_t cancelled;                    /* statements, by request or timeout */
};
/* Thread: any. */
void postgres_port_status(struct postgres_port *server, struct postgres_port_status *out);

#endif
