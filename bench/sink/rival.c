#include "bench/sink/rival.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "bench/harness.h"

#define ROW_BYTES_MAX 512

/* Types by their object ids, which are fixed in PostgreSQL's catalog. */
enum { OID_BOOL = 16, OID_INT8 = 20, OID_TEXT = 25, OID_FLOAT8 = 701, OID_TIMESTAMPTZ = 1184, OID_JSONB = 3802 };

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void row_make(uint64_t id, uint64_t salt, struct row *out)
{
    out->id = id;
    (void)snprintf(out->text, sizeof out->text, "%016llx%016llx", (unsigned long long)mix(id ^ salt << 40),
                   (unsigned long long)mix(~id));
    int len = snprintf(
        out->json, sizeof out->json,
        "{\"a\": %llu, \"name\": \"user-%llu\", \"tags\": [\"x\", \"y\", \"z\"], \"email\": \"user%llu@example.com\", "
        "\"pad\": \"",
        (unsigned long long)id, (unsigned long long)id, (unsigned long long)id);
    for (; len < ROW_JSON_BYTES - 2; len++)
        out->json[len] = (char)('a' + (id + (uint64_t)len) % 26);
    memcpy(out->json + len, "\"}", 3);
    out->microseconds = 700000000000000u + id * 1000;
    out->amount = (double)id / 100; /* the double nearest to the two decimals */
    out->flag = (int)(id & 1);
}

static PGresult *checked(PGconn *connection, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN)
        bench_die("PostgreSQL: %s", PQerrorMessage(connection));
    return result;
}

PGconn *rival_connect(const char *url)
{
    PGconn *connection = PQconnectdb(url);
    if (PQstatus(connection) != CONNECTION_OK)
        bench_die("PostgreSQL: %s", PQerrorMessage(connection));
    rival_exec(connection, "SET client_min_messages = error");
    return connection;
}

void rival_exec(PGconn *connection, const char *sql) { PQclear(checked(connection, PQexec(connection, sql))); }

static void *memory(size_t len)
{
    void *bytes = malloc(len);
    if (bytes == NULL)
        bench_die("out of memory");
    return bytes;
}

static uint8_t *put16(uint8_t *p, uint16_t v)
{
    u16be_put(p, v);
    return p + 2;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    u32be_put(p, v);
    return p + 4;
}

/* A length and the eight bytes. */
static uint8_t *put64(uint8_t *p, uint64_t v)
{
    p = put32(p, 8);
    u64be_put(p, v);
    return p + 8;
}

static uint8_t *put_bytes(uint8_t *p, const char *bytes, size_t len)
{
    p = put32(p, (uint32_t)len);
    memcpy(p, bytes, len);
    return p + len;
}

/* jsonb's binary form is a version and the text. */
static uint8_t *put_json(uint8_t *p, const char *text)
{
    size_t len = strlen(text);
    p = put32(p, (uint32_t)len + 1);
    *p++ = 1;
    memcpy(p, text, len);
    return p + len;
}

static uint8_t *put_column(uint8_t *p, const struct row *row, int column)
{
    uint64_t bits;
    switch (column) {
    case 0:
        return put64(p, row->id);
    case 1:
        return put_bytes(p, row->text, ROW_TEXT_BYTES);
    case 2:
        return put_json(p, row->json);
    case 3:
        return put64(p, row->microseconds);
    case 4:
        memcpy(&bits, &row->amount, 8);
        return put64(p, bits);
    default:
        p = put32(p, 1);
        *p++ = (uint8_t)row->flag;
        return p;
    }
}

static void copy_send(PGconn *connection, const uint8_t *from, const uint8_t *to)
{
    if (PQputCopyData(connection, (const char *)from, (int)(to - from)) != 1)
        bench_die("PostgreSQL: %s", PQerrorMessage(connection));
}

static void copy_batch(PGconn *connection, uint64_t from, uint64_t to, uint64_t salt, uint8_t *bytes)
{
    rival_exec(connection, "COPY rival FROM STDIN BINARY");
    memcpy(bytes, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
    uint8_t *p = bytes + 19;
    for (uint64_t i = from; i < to; i++) {
        struct row row;
        row_make(i, salt, &row);
        p = put16(p, 6);
        for (int column = 0; column < 6; column++)
            p = put_column(p, &row, column);
        if (p - bytes > 60000) {
            copy_send(connection, bytes, p);
            p = bytes;
        }
    }
    p = put16(p, 0xffff);
    copy_send(connection, bytes, p);
    if (PQputCopyEnd(connection, NULL) != 1)
        bench_die("PostgreSQL: %s", PQerrorMessage(connection));
    PGresult *result;
    while ((result = PQgetResult(connection)) != NULL)
        PQclear(checked(connection, result));
}

void rival_copy(PGconn *connection, uint64_t rows, uint64_t batch, uint64_t salt)
{
    uint8_t *bytes = memory(60000 + 2 * ROW_BYTES_MAX);
    for (uint64_t from = 0; from < rows; from += batch)
        copy_batch(connection, from, from + batch < rows ? from + batch : rows, salt, bytes);
    free(bytes);
}

/* One dimension, no nulls. */
static uint8_t *array_begin(uint8_t *p, uint32_t type, uint64_t count)
{
    p = put32(p, 1);
    p = put32(p, 0);
    p = put32(p, type);
    p = put32(p, (uint32_t)count);
    return put32(p, 1);
}

void rival_upsert(PGconn *connection, uint64_t rows, uint64_t batch, uint64_t salt)
{
    static const uint32_t types[6] = {OID_INT8, OID_TEXT, OID_JSONB, OID_TIMESTAMPTZ, OID_FLOAT8, OID_BOOL};
    static const int formats[6] = {1, 1, 1, 1, 1, 1};
    PQclear(
        checked(connection,
                PQprepare(connection, "upsert",
                          "INSERT INTO rival SELECT * FROM unnest($1::bigint[], $2::text[], $3::jsonb[], "
                          "$4::timestamptz[], $5::double precision[], $6::boolean[]) ON CONFLICT (id) DO UPDATE SET "
                          "txt = excluded.txt, j = excluded.j, ts = excluded.ts, amt = excluded.amt, "
                          "flag = excluded.flag",
                          0, NULL)));
    uint8_t *columns[6];
    for (int column = 0; column < 6; column++)
        columns[column] = memory(batch * 256 + 64);
    for (uint64_t from = 0; from < rows; from += batch) {
        uint64_t to = from + batch < rows ? from + batch : rows;
        uint8_t *ends[6];
        for (int column = 0; column < 6; column++)
            ends[column] = array_begin(columns[column], types[column], to - from);
        for (uint64_t i = from; i < to; i++) {
            struct row row;
            row_make(i, salt, &row);
            for (int column = 0; column < 6; column++)
                ends[column] = put_column(ends[column], &row, column);
        }
        const char *values[6];
        int lengths[6];
        for (int column = 0; column < 6; column++) {
            values[column] = (const char *)columns[column];
            lengths[column] = (int)(ends[column] - columns[column]);
        }
        PQclear(checked(connection, PQexecPrepared(connection, "upsert", 6, values, lengths, formats, 0)));
    }
    for (int column = 0; column < 6; column++)
        free(columns[column]);
}

void rival_delete(PGconn *connection, uint64_t rows, uint64_t batch)
{
    uint8_t *ids = memory(batch * 12 + 64);
    for (uint64_t from = 0; from < rows; from += batch) {
        uint64_t to = from + batch < rows ? from + batch : rows;
        uint8_t *end = array_begin(ids, OID_INT8, to - from);
        for (uint64_t i = from; i < to; i++)
            end = put64(end, i);
        const char *value = (const char *)ids;
        int len = (int)(end - ids);
        int format = 1;
        PQclear(checked(connection, PQexecParams(connection, "DELETE FROM rival WHERE id = ANY ($1::bigint[])", 1, NULL,
                                                 &value, &len, &format, 0)));
    }
    free(ids);
}
