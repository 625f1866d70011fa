/* PostgreSQL's port: how long a connection takes until it is ready, and until it was of use, by libpq over TCP. The
 * rival is a native server, which forks a process where here a database is forked. */
#include <stdio.h>

#include <libpq-fe.h>

#include "base/clock.h"
#include "bench/harness.h"
#include "integration/postgres.h"
#include "serve/states.h"

#define CONNECTIONS 50
#define TOGETHER 8
#define MANY 100
#define STATEMENTS 2000

struct world {
    struct states states;
    struct postgres_port *port;
    struct postgres_server *native;
    char url[128];
    const char *native_url; /* NULL: there is none */
};

static PGconn *connection_new(const char *url)
{
    PGconn *connection = PQconnectdb(url);
    if (PQstatus(connection) != CONNECTION_OK)
        bench_die("%s", PQerrorMessage(connection));
    return connection;
}

static void query(PGconn *connection, const char *sql)
{
    PGresult *result = PQexec(connection, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        bench_die("%s: %s", sql, PQresultErrorMessage(result));
    PQclear(result);
}

/* Milliseconds each. */
static double connections(const char *url, const char *sql)
{
    uint64_t start = clock_ns();
    for (int i = 0; i < CONNECTIONS; i++) {
        PGconn *connection = connection_new(url);
        if (sql != NULL)
            query(connection, sql);
        PQfinish(connection);
    }
    return (double)(clock_ns() - start) / 1e6 / CONNECTIONS;
}

static double together(const char *url)
{
    PGconn *all[TOGETHER];
    uint64_t start = clock_ns();
    for (int i = 0; i < TOGETHER; i++)
        all[i] = connection_new(url);
    for (int i = 0; i < TOGETHER; i++)
        query(all[i], "select count(*) from pg_class");
    double ms = (double)(clock_ns() - start) / 1e6;
    for (int i = 0; i < TOGETHER; i++)
        PQfinish(all[i]);
    return ms;
}

/* Microseconds each. */
static double round_trips(const char *url)
{
    PGconn *connection = connection_new(url);
    uint64_t start = clock_ns();
    for (int i = 0; i < STATEMENTS; i++)
        query(connection, "select 1");
    double us = (double)(clock_ns() - start) / 1e3 / STATEMENTS;
    PQfinish(connection);
    return us;
}

#define BOTH(name, call)                                           \
    static double name(void *user_data)                            \
    {                                                              \
        const char *url = ((struct world *)user_data)->url;        \
        return call;                                               \
    }                                                              \
    static double name##_native(void *user_data)                   \
    {                                                              \
        const char *url = ((struct world *)user_data)->native_url; \
        return call;                                               \
    }
BOTH(ready, connections(url, NULL))
BOTH(useful, connections(url, "select count(*) from pg_class"))
BOTH(eight, together(url))
BOTH(trip, round_trips(url))

/* Of this process: server and clients. */
static double resident(void *user_data)
{
    PGconn *all[MANY];
    unsigned long pages = 0;
    for (int i = 0; i < MANY; i++) {
        all[i] = connection_new(((struct world *)user_data)->url);
        query(all[i], "select count(*) from pg_class");
    }
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*u %lu", &pages) != 1)
        bench_die("/proc/self/statm");
    (void)fclose(file);
    for (int i = 0; i < MANY; i++)
        PQfinish(all[i]);
    return (double)pages * 4096 / (1 << 20);
}

int main(void)
{
    struct world world = {0};
    struct sorex_error err = {0};
    struct bench bench;
    states_open(&world.states, SOREX_POSTGRES_DIR, SOREX_POSTGRES_CACHE, NULL);
    const struct postgres_port_options options = {
        .address = "0", .connections_max = 2 * MANY, .states = states_provider(&world.states)};
    if (postgres_port_start(&options, &world.port, &err) != SOREX_OK)
        bench_die("%s", err.text);
    (void)snprintf(world.url, sizeof world.url, "host=127.0.0.1 port=%u user=me dbname=states sslmode=disable",
                   postgres_port_number(world.port));
    if (postgres_server_new(NULL, &world.native, &err) == SOREX_OK)
        world.native_url = postgres_server_tcp_url(world.native);
    bool native = world.native_url != NULL;
    const struct bench_row rows[] = {
        {.what = "connect and leave", .unit = "ms", .subject = ready, .rival = ready_native},
        {.what = "connect, count the rows of pg_class, leave", .unit = "ms", .subject = useful, .rival = useful_native},
        {.what = "8 connections at once, each counts", .unit = "ms", .subject = eight, .rival = eight_native},
        {.what = "select 1 over TCP", .unit = "us", .subject = trip, .rival = trip_native},
    };
    bench_start(&bench, "serve");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench_row row = rows[i];
        row.rival = native ? row.rival : NULL;
        row.rival_name = native ? "native PostgreSQL" : NULL;
        bench_measure(&bench, &row, &world);
    }
    bench_measure(&bench,
                  &(struct bench_row){.what = "resident with 100 connections that counted",
                                      .unit = "MiB",
                                      .subject = resident,
                                      .goal = 1024,
                                      .goal_absolute = true},
                  &world);
    int code = bench_finish(&bench);
    postgres_port_stop(world.port);
    states_close(&world.states);
    if (native)
        postgres_server_free(world.native);
    return code;
}
