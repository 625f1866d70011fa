/* The log mode: every change, inverses included, is one row of one table, in order. */
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "sink/postgres_target.h"

#define CHUNK_BYTES ((size_t)64 << 10)

/* What a stream's event has none of is null there; and a number is its own only within a partition, so there is no key.
 */
static enum sorex_status log_create(struct postgres *pg, struct sorex_error *err)
{
    bool exists;
    TRY(postgres_table_exists(pg, pg->log_table, &exists, err));
    if (exists)
        return SOREX_OK;
    if (!pg->create)
        return sorex_error_set(err, SOREX_INVALID, "table %s.%s does not exist, and create_tables is false", pg->schema,
                               pg->log_table);
    return postgres_own_table(
        pg, pg->log_table,
        pg->stream
            ? "sequence bigint NOT NULL, ordinal bigint, height bigint, block_hash text, time timestamptz, "
              "undo boolean NOT NULL, program text NOT NULL, operation text NOT NULL, \"table\" text NOT NULL, "
              "key text NOT NULL, before jsonb, after jsonb"
            : "sequence bigint, ordinal bigint, height bigint NOT NULL, block_hash text NOT NULL, "
              "time timestamptz NOT NULL, undo boolean NOT NULL, program text NOT NULL, operation text NOT NULL, "
              "\"table\" text NOT NULL, key text NOT NULL, before jsonb, after jsonb, "
              "PRIMARY KEY (sequence, ordinal)",
        err);
}

static enum sorex_status image_append(struct bytes image, struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_u8(out, '\t', err));
    if (image.data == NULL)
        return buf_append_str(out, "\\N", err);
    return postgres_field_text(image, out, err);
}

static enum sorex_status text_append(struct bytes text, struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_u8(out, '\t', err));
    return postgres_field_text(text, out, err);
}

static enum sorex_status time_append(uint64_t time_ms, struct buf *out, struct sorex_error *err)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm utc;
    char when[64];
    if (gmtime_r(&seconds, &utc) == NULL || strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &utc) == 0)
        return sorex_error_set(err, SOREX_INVALID, "the entry's time is out of range");
    return buf_printf(out, err, "%s.%03u+00", when, (unsigned)(time_ms % 1000));
}

/* height, block_hash, time, undo */
static enum sorex_status origin_append(const struct sink_change *item, struct buf *out, struct sorex_error *err)
{
    char hash[HASH_HEX_SIZE];
    if (item->hash != NULL) {
        hash_display(item->hash, hash);
        TRY(buf_printf(out, err, "\t%u\t%s\t", item->height, hash));
        TRY(time_append(item->time_ms, out, err));
    } else {
        TRY(buf_append_str(out, "\t\\N\t\\N\t", err));
        TRY(item->time_ms == 0 ? buf_append_str(out, "\\N", err) : time_append(item->time_ms, out, err));
    }
    return buf_append_str(out, item->undo ? "\tt" : "\tf", err);
}

static enum sorex_status log_row(const struct sink_change *item, struct buf *out, struct sorex_error *err)
{
    TRY(buf_printf(out, err, "%llu\t%u", (unsigned long long)item->sequence, item->ordinal));
    TRY(origin_append(item, out, err));
    const struct change *change = &item->change;
    TRY(text_append(bytes_str(item->program), out, err));
    TRY(text_append(bytes_str(change_operation_name(change->operation)), out, err));
    TRY(text_append(change->table, out, err));
    TRY(text_append(change->key, out, err));
    TRY(image_append(change->before, out, err));
    TRY(image_append(change->after, out, err));
    return buf_append_u8(out, '\n', err);
}

static enum sorex_status rows_send(struct postgres *pg, const struct sink_batch *batch, size_t from, size_t to,
                                   struct sorex_error *err)
{
    buf_reset(&pg->out);
    for (size_t i = from; i < to; i++) {
        enum sorex_status status = log_row(&batch->changes[i], &pg->out, err);
        if (status == SOREX_INVALID)
            return postgres_row_name(pg, &batch->changes[i], err);
        TRY(status);
        if (pg->out.len < CHUNK_BYTES)
            continue;
        TRY(postgres_copy_put(pg->session, buf_view(&pg->out), err));
        buf_reset(&pg->out);
    }
    return pg->out.len == 0 ? SOREX_OK : postgres_copy_put(pg->session, buf_view(&pg->out), err);
}

static enum sorex_status log_copy(struct postgres *pg, const char *table, const struct sink_batch *batch, size_t from,
                                  size_t to, struct sorex_error *err)
{
    if (pg->log_checked != pg->session->opened)
        TRY(log_create(pg, err));
    pg->in_rows = true;
    struct buf sql = {0};
    enum sorex_status status = buf_printf(
        &sql, err,
        "COPY %s (sequence, ordinal, height, block_hash, time, undo, program, operation, \"table\", key, before, "
        "after) FROM STDIN",
        table);
    if (status == SOREX_OK)
        status = buf_append_u8(&sql, 0, err);
    if (status == SOREX_OK)
        status = postgres_copy_begin(pg->session, (const char *)sql.data, err);
    buf_deinit(&sql);
    TRY(status);
    status = rows_send(pg, batch, from, to, err);
    if (status == SOREX_OK)
        return postgres_copy_end(pg->session, err);
    postgres_copy_abandon(pg->session);
    return status;
}

enum sorex_status postgres_log_write(struct postgres *pg, const struct sink_batch *batch, size_t from, size_t to,
                                     struct sorex_error *err)
{
    pg->misfit = pg->named = pg->in_rows = pg->collided = false;
    if (from == to)
        return SOREX_OK;
    char *table;
    TRY(postgres_qualified(pg, pg->log_table, &table, err));
    enum sorex_status status = log_copy(pg, table, batch, from, to, err);
    free(table);
    return status;
}
