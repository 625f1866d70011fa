/* A stream's dead letters as rows of a table. Events are bytea: what failed may be anything. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "json/utf8.h"
#include "sink/postgres_target.h"

#define CHUNK_BYTES ((size_t)64 << 10)

static enum sorex_status table_ready(struct postgres *pg, struct sorex_error *err)
{
    bool exists;
    if (pg->dead_checked == pg->session->opened)
        return SOREX_OK;
    TRY(postgres_table_exists(pg, pg->dead_table, &exists, err));
    if (!exists && !pg->create)
        return sorex_error_set(err, SOREX_INVALID, "table %s.%s does not exist, and create_tables is false", pg->schema,
                               pg->dead_table);
    if (!exists)
        TRY(postgres_own_table(
            pg, pg->dead_table,
            "pipeline text NOT NULL, sink text NOT NULL, partition text NOT NULL, number bigint NOT NULL, "
            "key bytea, event bytea, error text NOT NULL, time timestamptz NOT NULL DEFAULT now()",
            err));
    return SOREX_OK;
}

static enum sorex_status text_append(const char *text, struct buf *out, struct sorex_error *err)
{
    TRY(postgres_field_text(bytes_str(text), out, err));
    return buf_append_u8(out, '\t', err);
}

/* A message may hold part of the event: what is no UTF-8 in it becomes a question mark. */
static enum sorex_status error_append(const char *text, struct buf *out, struct sorex_error *err)
{
    char clean[SOREX_ERROR_TEXT_MAX];
    size_t len = strnlen(text, sizeof clean - 1);
    memcpy(clean, text, len);
    for (size_t at = 0; at < len;) {
        size_t sequence = utf8_sequence((const uint8_t *)clean + at, len - at);
        if (sequence == 0)
            clean[at] = '?';
        at += sequence == 0 ? 1 : sequence;
    }
    return postgres_field_text(bytes_of(clean, len), out, err);
}

static enum sorex_status bytea_append(struct bytes bytes, struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_str(out, bytes.data == NULL ? "\\N" : "\\\\x", err));
    TRY(buf_append_hex(out, bytes, err));
    return buf_append_u8(out, '\t', err);
}

static enum sorex_status row_append(struct postgres *pg, const struct sink_dead *dead, struct sorex_error *err)
{
    struct buf *out = &pg->out;
    TRY(text_append(pg->pipeline, out, err));
    TRY(text_append(pg->name, out, err));
    TRY(text_append(dead->partition, out, err));
    TRY(buf_printf(out, err, "%" PRIu64 "\t", dead->number));
    TRY(bytea_append(dead->key, out, err));
    TRY(bytea_append(dead->event, out, err));
    TRY(error_append(dead->error, out, err));
    return buf_append_u8(out, '\n', err);
}

static enum sorex_status rows_send(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err)
{
    buf_reset(&pg->out);
    for (size_t i = 0; i < batch->dead_count; i++) {
        TRY(row_append(pg, &batch->dead[i], err));
        if (pg->out.len < CHUNK_BYTES && i + 1 < batch->dead_count)
            continue;
        TRY(postgres_copy_put(pg->session, buf_view(&pg->out), err));
        buf_reset(&pg->out);
    }
    return SOREX_OK;
}

enum sorex_status postgres_dead_write(struct postgres *pg, const struct sink_batch *batch, struct sorex_error *err)
{
    if (pg->dead_table == NULL || batch->dead_count == 0)
        return SOREX_OK;
    TRY(table_ready(pg, err));
    char *table;
    char *sql = NULL;
    TRY(postgres_qualified(pg, pg->dead_table, &table, err));
    enum sorex_status status = SOREX_OK;
    if (asprintf(&sql, "COPY %s (pipeline, sink, partition, number, key, event, error) FROM STDIN", table) < 0) {
        sql = NULL;
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    if (status == SOREX_OK)
        status = postgres_copy_begin(pg->session, sql, err);
    free(sql);
    free(table);
    TRY(status);
    status = rows_send(pg, batch, err);
    if (status == SOREX_OK)
        return postgres_copy_end(pg->session, err);
    postgres_copy_abandon(pg->session);
    return status;
}
