/* The cursor row: (pipeline, sink) -> store, sequence, entry, in SCHEMA.sorex_cursor. It is there from the first
 * moment, with sequence 0, so that a transaction always has something to lock. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"
#include "sink/postgres_target.h"

/* Runs a statement with %s for the qualified cursor table, with pipeline and sink as $1 and $2. */
static enum sorex_status cursor_query(struct postgres *pg, const char *before, const char *after, int count,
                                      const char *const *more, PGresult **out_result, struct sorex_error *err)
{
    const char *params[POSTGRES_PARAMS_MAX] = {pg->pipeline, pg->name};
    CHECK(count + 2 <= POSTGRES_PARAMS_MAX);
    for (int i = 0; i < count; i++)
        params[2 + i] = more[i];
    char *table;
    TRY(postgres_qualified(pg, "sorex_cursor", &table, err));
    char *sql = NULL;
    enum sorex_status status = SOREX_OK;
    if (asprintf(&sql, "%s %s %s", before, table, after) < 0) {
        sql = NULL;
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    if (status == SOREX_OK)
        status = postgres_query(&pg->session, sql, 2 + count, params, out_result, err);
    free(sql);
    free(table);
    return status;
}

static bool take_hash(const char *text, uint8_t *out, size_t len)
{
    struct buf bytes = {0};
    bool ok = hex_decode(bytes_str(text), &bytes, NULL) == SOREX_OK && bytes.len == len;
    if (ok)
        (void)memcpy(out, bytes.data, len);
    buf_deinit(&bytes);
    return ok;
}

/* Reads the row that holds store, sequence, entry; *out_found is false when there is none. */
static enum sorex_status cursor_take(const PGresult *rows, struct sink_cursor *out, bool *out_found,
                                     struct sorex_error *err)
{
    *out = (struct sink_cursor){0};
    *out_found = PQntuples(rows) == 1;
    if (!*out_found)
        return SOREX_OK;
    out->sequence = strtoull(PQgetvalue(rows, 0, 1), NULL, 10);
    if (!take_hash(PQgetvalue(rows, 0, 0), out->store_id, SINK_STORE_ID_BYTES) ||
        hash_parse_display(bytes_str(PQgetvalue(rows, 0, 2)), out->hash, NULL) != SOREX_OK)
        return sorex_error_set(err, SOREX_CORRUPT,
                               "the row in sorex_cursor is no cursor: store must be %d and entry %d hex digits",
                               2 * SINK_STORE_ID_BYTES, 2 * HASH_BYTES);
    return SOREX_OK;
}

static enum sorex_status cursor_table_exists(struct postgres *pg, bool *out, struct sorex_error *err)
{
    char *table;
    TRY(postgres_qualified(pg, "sorex_cursor", &table, err));
    const char *params[] = {table};
    PGresult *rows;
    enum sorex_status status =
        postgres_query(&pg->session, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", 1, params, &rows, err);
    free(table);
    TRY(status);
    *out = PQgetvalue(rows, 0, 0)[0] == 't';
    PQclear(rows);
    return SOREX_OK;
}

static enum sorex_status cursor_table_make(struct postgres *pg, struct sorex_error *err)
{
    char *table;
    TRY(postgres_qualified(pg, "sorex_cursor", &table, err));
    char *sql = NULL;
    enum sorex_status status = SOREX_OK;
    if (asprintf(
            &sql,
            "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(7307498, 1); "
            "CREATE TABLE IF NOT EXISTS %s (pipeline text, sink text, store text NOT NULL, sequence bigint NOT NULL, "
            "entry text NOT NULL, updated timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (pipeline, sink)); COMMIT",
            table) < 0) {
        sql = NULL;
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    if (status == SOREX_OK)
        status = postgres_exec(&pg->session, sql, err);
    if (status != SOREX_OK)
        postgres_rollback(&pg->session);
    free(sql);
    free(table);
    return status;
}

/* The row is there from the first moment, so that there is always something to lock. */
static enum sorex_status cursor_row_make(struct postgres *pg, struct sorex_error *err)
{
    char store[2 * SINK_STORE_ID_BYTES + 1] = {0};
    char entry[HASH_HEX_SIZE] = {0};
    memset(store, '0', sizeof store - 1);
    memset(entry, '0', sizeof entry - 1);
    const char *more[] = {store, entry};
    return cursor_query(pg, "INSERT INTO",
                        "(pipeline, sink, store, sequence, entry) VALUES ($1, $2, $3, 0, $4) ON CONFLICT DO NOTHING", 2,
                        more, NULL, err);
}

enum sorex_status postgres_cursor_read(struct sink *sink, struct sink_cursor *out, struct sorex_error *err)
{
    struct postgres *pg = (struct postgres *)sink;
    TRY(postgres_session_open(&pg->session, err));
    postgres_rollback(&pg->session);
    postgres_tables_forget(pg);
    TRY(postgres_session_open(&pg->session, err));
    bool exists;
    TRY(cursor_table_exists(pg, &exists, err));
    if (!exists)
        TRY(cursor_table_make(pg, err));
    PGresult *rows;
    bool found;
    TRY(cursor_query(pg, "SELECT store, sequence, entry FROM", "WHERE pipeline = $1 AND sink = $2", 0, NULL, &rows,
                     err));
    enum sorex_status status = cursor_take(rows, out, &found, err);
    PQclear(rows);
    TRY(status);
    if (!found)
        TRY(cursor_row_make(pg, err));
    pg->at = *out;
    return out->sequence > 0 ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "the target has no cursor yet");
}

enum sorex_status postgres_begin(struct postgres *pg, struct sorex_error *err)
{
    TRY(postgres_session_open(&pg->session, err));
    TRY(postgres_exec(&pg->session, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", err));
    PGresult *rows;
    TRY(cursor_query(pg, "SELECT store, sequence, entry FROM", "WHERE pipeline = $1 AND sink = $2 FOR UPDATE", 0, NULL,
                     &rows, err));
    struct sink_cursor now;
    bool found;
    enum sorex_status status = cursor_take(rows, &now, &found, err);
    PQclear(rows);
    TRY(status);
    if (!found || now.sequence != pg->at.sequence || memcmp(now.store_id, pg->at.store_id, SINK_STORE_ID_BYTES) != 0 ||
        memcmp(now.hash, pg->at.hash, HASH_BYTES) != 0)
        return sorex_error_set(
            err, SOREX_AGAIN,
            "somebody else moved the cursor of pipeline \"%s\", sink \"%s\": is another sorex running with it?",
            pg->pipeline, pg->name);
    return SOREX_OK;
}

enum sorex_status postgres_cursor_move(struct postgres *pg, const struct sink_cursor *cursor, struct sorex_error *err)
{
    char store[2 * SINK_STORE_ID_BYTES + 1];
    char sequence[24];
    char entry[HASH_HEX_SIZE];
    hex_encode(bytes_of(cursor->store_id, SINK_STORE_ID_BYTES), store);
    store[sizeof store - 1] = '\0';
    (void)snprintf(sequence, sizeof sequence, "%" PRIu64, cursor->sequence);
    hash_display(cursor->hash, entry);
    const char *more[] = {store, sequence, entry};
    return cursor_query(pg, "UPDATE",
                        "SET store = $3, sequence = $4, entry = $5, updated = now() WHERE pipeline = $1 AND sink = $2",
                        3, more, NULL, err);
}
