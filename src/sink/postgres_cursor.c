/* The cursor row: (pipeline, sink) -> store, sequence, entry, in SCHEMA.sorex_cursor. It is there from the first
 * moment, with sequence 0, so that a transaction always has something to lock. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "sink/postgres_target.h"

#define TABLE "sorex_cursor"

/* Errors: SOREX_INVALID, SOREX_NOMEM. */
static enum sorex_status store_take(const char *text, uint8_t out[SINK_STORE_ID_BYTES], struct sorex_error *err)
{
    struct buf bytes = {0};
    enum sorex_status status = hex_decode(bytes_str(text), &bytes, err);
    if (status == SOREX_OK && bytes.len != SINK_STORE_ID_BYTES)
        status = sorex_error_set(err, SOREX_INVALID, "%zu bytes", bytes.len);
    if (status == SOREX_OK)
        (void)memcpy(out, bytes.data, bytes.len);
    buf_deinit(&bytes);
    return status;
}

/* Reads the row that holds store, sequence, entry; *out_found is false when there is none. */
static enum sorex_status cursor_take(const struct postgres_rows *rows, struct sink_cursor *out, bool *out_found,
                                     struct sorex_error *err)
{
    *out = (struct sink_cursor){0};
    *out_found = rows->count == 1;
    if (!*out_found)
        return SOREX_OK;
    out->sequence = strtoull(postgres_value(rows, 0, 1), NULL, 10);
    enum sorex_status status = store_take(postgres_value(rows, 0, 0), out->store_id, err);
    if (status == SOREX_OK)
        status = hash_parse_display(bytes_str(postgres_value(rows, 0, 2)), out->hash, err);
    if (status == SOREX_INVALID)
        return sorex_error_set(err, SOREX_CORRUPT,
                               "the row in sorex_cursor is no cursor: store must be %d and entry %d hex digits",
                               2 * SINK_STORE_ID_BYTES, 2 * HASH_BYTES);
    return status;
}

static enum sorex_status cursor_select(struct postgres *pg, bool lock, struct sink_cursor *out, bool *out_found,
                                       struct sorex_error *err)
{
    const struct postgres_statement select = {
        "SELECT store, sequence, entry FROM", TABLE,
        lock ? "WHERE pipeline = $1 AND sink = $2 FOR UPDATE" : "WHERE pipeline = $1 AND sink = $2", 0, NULL};
    struct postgres_rows rows = {0};
    enum sorex_status status = postgres_own_query(pg, &select, &rows, err);
    if (status == SOREX_OK)
        status = cursor_take(&rows, out, out_found, err);
    postgres_rows_deinit(&rows);
    return status;
}

enum sorex_status postgres_cursor_known(struct postgres *pg, bool *out, struct sorex_error *err)
{
    *out = false;
    bool exists;
    TRY(postgres_table_exists(pg, TABLE, &exists, err));
    if (!exists)
        return SOREX_OK;
    struct sink_cursor cursor;
    TRY(cursor_select(pg, false, &cursor, out, err));
    *out = *out && cursor.sequence > 0;
    return SOREX_OK;
}

static enum sorex_status cursor_table_make(struct postgres *pg, struct sorex_error *err)
{
    return postgres_own_table(pg, TABLE,
                              "pipeline text, sink text, store text NOT NULL, sequence bigint NOT NULL, "
                              "entry text NOT NULL, updated timestamptz NOT NULL DEFAULT now(), "
                              "PRIMARY KEY (pipeline, sink)",
                              err);
}

/* The row is there from the first moment, so that there is always something to lock. */
static enum sorex_status cursor_row_make(struct postgres *pg, struct sorex_error *err)
{
    char store[2 * SINK_STORE_ID_BYTES + 1] = {0};
    char entry[HASH_HEX_SIZE] = {0};
    memset(store, '0', sizeof store - 1);
    memset(entry, '0', sizeof entry - 1);
    const char *more[] = {store, entry};
    const struct postgres_statement insert = {
        "INSERT INTO", TABLE,
        "(pipeline, sink, store, sequence, entry) VALUES ($1, $2, $3, 0, $4) ON CONFLICT DO NOTHING", 2, more};
    return postgres_own_query(pg, &insert, NULL, err);
}

/* A cursor that begins must not stand beside a stream's positions. */
static enum sorex_status stream_refuse(struct postgres *pg, struct sorex_error *err)
{
    bool stream;
    TRY(postgres_positions_known(pg, &stream, err));
    if (!stream)
        return SOREX_OK;
    return sorex_error_set(
        err, SOREX_MISMATCH,
        "pipeline \"%s\", sink \"%s\" has rows in %s.sorex_position, so it followed a stream; this one follows a "
        "chain. "
        "Choices: give the pipeline or the sink another name; or delete those rows and what it wrote",
        pg->pipeline, pg->name, pg->schema);
}

enum sorex_status postgres_cursor_read(struct sink *sink, struct sink_cursor *out, struct sorex_error *err)
{
    struct postgres *pg = (struct postgres *)sink;
    TRY(postgres_session_open(pg->session, err));
    postgres_rollback(pg->session);
    postgres_tables_forget(pg);
    TRY(postgres_session_open(pg->session, err));
    bool exists;
    bool found;
    TRY(postgres_table_exists(pg, TABLE, &exists, err));
    if (!exists)
        TRY(cursor_table_make(pg, err));
    TRY(cursor_select(pg, false, out, &found, err));
    if (!found || out->sequence == 0)
        TRY(stream_refuse(pg, err));
    if (!found)
        TRY(cursor_row_make(pg, err));
    pg->at = *out;
    return out->sequence > 0 ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "the target has no cursor yet");
}

enum sorex_status postgres_cursor_lock(struct postgres *pg, struct sorex_error *err)
{
    struct sink_cursor now;
    bool found;
    TRY(cursor_select(pg, true, &now, &found, err));
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
    const struct postgres_statement update = {
        "UPDATE", TABLE, "SET store = $3, sequence = $4, entry = $5, updated = now() WHERE pipeline = $1 AND sink = $2",
        3, more};
    return postgres_own_query(pg, &update, NULL, err);
}
