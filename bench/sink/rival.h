/* What one would write by hand for one table: COPY in binary format, INSERT ... SELECT FROM unnest(binary arrays) ON
 * CONFLICT, DELETE by array. No cursor, no undo, no types to find out: the rows come from a loop. One transaction a
 * batch. */
#ifndef BENCH_SINK_RIVAL_H
#define BENCH_SINK_RIVAL_H

#include <libpq-fe.h>
#include <stddef.h>
#include <stdint.h>

#define RIVAL_COLUMNS "(id bigint PRIMARY KEY, txt text, j jsonb, ts timestamptz, amt double precision, flag boolean)"

#define ROW_TEXT_BYTES 32
#define ROW_JSON_BYTES 200

/* Row i, in a state that `salt` makes different. About 300 bytes, as in the sink's changes. */
struct row {
    uint64_t id;
    char text[ROW_TEXT_BYTES + 1];
    char json[ROW_JSON_BYTES + 1];
    uint64_t microseconds; /* since 2000 */
    double amount;
    int flag;
};
void row_make(uint64_t id, uint64_t salt, struct row *out);

/* Each ends the program on failure. */
PGconn *rival_connect(const char *url);
void rival_exec(PGconn *connection, const char *sql);
void rival_copy(PGconn *connection, uint64_t rows, uint64_t batch, uint64_t salt);
void rival_upsert(PGconn *connection, uint64_t rows, uint64_t batch, uint64_t salt);
void rival_delete(PGconn *connection, uint64_t rows, uint64_t batch);

#endif
