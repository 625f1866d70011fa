/* A real PostgreSQL for tests: initdb and postgres in a directory of their own, on a unix socket and a free loopback
 * port. Binaries come from PATH or /usr/lib/postgresql/VERSION/bin. Under root it runs as the user `postgres`, or
 * `nobody` where that one is missing. Self-contained: add ../integration/postgres.c to the SOURCES of a test; it needs
 * no libpq.
 *
 *     struct postgres_server *server;
 *     if (postgres_server_new(NULL, &server, &err) == SOREX_GONE)
 *         skip();                                  // no binaries: say so
 *     ... postgres_server_url(server) ...          // "host=DIR port=N user=postgres dbname=postgres"
 *     postgres_server_free(server);                // stops it, removes the directory
 *
 * The server dies with the test's process. Thread: one at a time. */
#ifndef SOREX_TESTS_INTEGRATION_POSTGRES_H
#define SOREX_TESTS_INTEGRATION_POSTGRES_H

#include <stdbool.h>
#include <sys/types.h>

#include "sorex/status.h"

struct postgres_server;

/* Makes a cluster and starts it.
 * settings   NULL, or "name=value" strings for postgres -c, ending with NULL. By default fsync is off.
 * Errors:    SOREX_GONE: initdb or postgres is not there; SOREX_IO: with the end of the server's log. */
enum sorex_status postgres_server_new(const char *const *settings, struct postgres_server **out,
                                      struct sorex_error *err);
void postgres_server_free(struct postgres_server *server);

/* Over the unix socket; over 127.0.0.1. Conninfo strings, borrowed from the server. */
const char *postgres_server_url(const struct postgres_server *server);
const char *postgres_server_tcp_url(const struct postgres_server *server);
/* Of the postmaster; 0 while it is stopped. */
pid_t postgres_server_pid(const struct postgres_server *server);

/* Waits until it takes connections. Same directory, same port. */
enum sorex_status postgres_server_start(struct postgres_server *server, struct sorex_error *err);
/* Fast shutdown (connections are cut), and waits for its end. */
void postgres_server_stop(struct postgres_server *server);
/* SIGKILL to the postmaster, and waits for its end; its backends notice and end too. The next start recovers. */
void postgres_server_kill(struct postgres_server *server);
/* Stop, then start. */
enum sorex_status postgres_server_restart(struct postgres_server *server, struct sorex_error *err);

#endif
