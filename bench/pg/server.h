/* A native PostgreSQL, the same statements: libpq over its Unix socket, prepared, one connection, the server's default
 * settings, in the same run. */
#ifndef BENCH_PG_SERVER_H
#define BENCH_PG_SERVER_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/bytes.h"
#include "integration/postgres.h"

struct server {
    struct postgres_server *process;
    PGconn *connection;
    int id;
};

/* False: there is no PostgreSQL. Makes the tables. Failures end the program. */
bool server_open(struct server *server);
void server_close(struct server *server);

void server_exec(struct server *server, const char *sql);
/* Statements or rows a second. */
double server_inserts(struct server *server, int count);
double server_selects(struct server *server, int count);
double server_ones(struct server *server, int count);
double server_failures(struct server *server, int count);
double server_copies(struct server *server, struct bytes csv, int count);

#endif
