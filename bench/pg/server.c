#include "bench/pg/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "bench/harness.h"

static PGresult *checked(const struct server *server, PGresult *result, ExecStatusType want)
{
    if (PQresultStatus(result) != want)
        bench_die("PostgreSQL: %s", PQerrorMessage(server->connection));
    return result;
}

void server_exec(struct server *server, const char *sql)
{
    PQclear(checked(server, PQexec(server->connection, sql), PGRES_COMMAND_OK));
}

bool server_open(struct server *server)
{
    static const char *const settings[] = {"fsync=on", "max_wal_size=1GB", NULL}; /* as PostgreSQL's own defaults */
    struct sorex_error err = {0};
    *server = (struct server){0};
    enum sorex_status status = postgres_server_new(settings, &server->process, &err);
    if (status == SOREX_GONE)
        return false;
    if (status != SOREX_OK)
        bench_die("%s", err.text);
    server->connection = PQconnectdb(postgres_server_url(server->process));
    if (PQstatus(server->connection) != CONNECTION_OK)
        bench_die("PostgreSQL: %s", PQerrorMessage(server->connection));
    server_exec(server, "create table t(id int primary key, a text, b bigint)");
    server_exec(server, "create table u as select g as id, 'row ' || g as a, g * 7::bigint as b "
                        "from generate_series(1, 50000) g");
    server_exec(server, "alter table u add primary key (id)");
    server_exec(server, "create table c(id int, a text, b bigint)");
    server_exec(server, "vacuum analyze u");
    PQclear(checked(server, PQprepare(server->connection, "i", "insert into t values ($1, $2, $3)", 3, NULL),
                    PGRES_COMMAND_OK));
    PQclear(checked(server, PQprepare(server->connection, "s", "select a, b from u where id = $1", 1, NULL),
                    PGRES_COMMAND_OK));
    return true;
}

void server_close(struct server *server)
{
    PQfinish(server->connection);
    postgres_server_free(server->process);
}

static double rate(uint64_t start, int count) { return count / ((double)(clock_ns() - start) / 1e9); }

double server_inserts(struct server *server, int count)
{
    server_exec(server, "truncate t");
    uint64_t start = clock_ns();
    for (int i = 0; i < count; i++) {
        char text[32];
        uint8_t id[4], b[8];
        u32be_put(id, (uint32_t)++server->id);
        u64be_put(b, (uint64_t)server->id * 7);
        int len = snprintf(text, sizeof text, "row %d", server->id);
        const char *const values[] = {(const char *)id, text, (const char *)b};
        const int lengths[] = {4, len, 8}, formats[] = {1, 1, 1};
        PQclear(
            checked(server, PQexecPrepared(server->connection, "i", 3, values, lengths, formats, 1), PGRES_COMMAND_OK));
    }
    return rate(start, count);
}

double server_selects(struct server *server, int count)
{
    uint64_t start = clock_ns();
    for (int i = 0; i < count; i++) {
        uint8_t id[4];
        u32be_put(id, 1 + (uint32_t)i * 7919 % 50000);
        const char *const values[] = {(const char *)id};
        const int lengths[] = {4}, formats[] = {1};
        PQclear(
            checked(server, PQexecPrepared(server->connection, "s", 1, values, lengths, formats, 1), PGRES_TUPLES_OK));
    }
    return rate(start, count);
}

double server_ones(struct server *server, int count)
{
    uint64_t start = clock_ns();
    for (int i = 0; i < count; i++)
        PQclear(checked(server, PQexec(server->connection, "select 1"), PGRES_TUPLES_OK));
    return rate(start, count);
}

double server_failures(struct server *server, int count)
{
    uint64_t start = clock_ns();
    for (int i = 0; i < count; i++)
        PQclear(checked(server, PQexec(server->connection, "select 1/0"), PGRES_FATAL_ERROR));
    return rate(start, count);
}

double server_copies(struct server *server, struct bytes csv, int count)
{
    server_exec(server, "truncate c");
    uint64_t start = clock_ns();
    PQclear(checked(server, PQexec(server->connection, "copy c from stdin (format csv)"), PGRES_COPY_IN));
    if (PQputCopyData(server->connection, (const char *)csv.data, (int)csv.len) != 1 ||
        PQputCopyEnd(server->connection, NULL) != 1)
        bench_die("PostgreSQL: %s", PQerrorMessage(server->connection));
    PQclear(checked(server, PQgetResult(server->connection), PGRES_COMMAND_OK));
    (void)PQgetResult(server->connection);
    return rate(start, count);
}
