/* The database between messages: whose tables are there, which statements the session has prepared, the state that a
 * message can be put back to.
 *
 * The host's knowledge of the session is a function of the database: which texts are prepared is written into
 * sorex.statements together with the record of the message that prepared them. It is read on a fork, so that reading
 * leaves no trace in the database itself. A database whose mark is the one that the last message left is known.
 *
 * Records are written with COPY: it needs no planner, and no prepared statement, which a guest could replace. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "guest/reducer_private.h"

#define HOST_ROLE 10u                                      /* the bootstrap superuser, for good */
#define EPOCH_DIFFERENCE_US ((int64_t)946684800 * 1000000) /* PostgreSQL counts from 2000 */

static const char make_sql[] =
    "create role reducer;"
    "create schema sorex;"
    "create table sorex.meta (name text primary key, value text not null);"
    "create table sorex.messages (index bigint primary key, time timestamptz not null, author text not null,"
    " status text not null, code integer not null, reason text not null, hash bytea not null);"
    "create table sorex.statements (number integer primary key, sql text not null, parameters text not null,"
    " columns text not null);"
    "grant usage on schema sorex to reducer;"
    "grant select on sorex.meta, sorex.messages to reducer;"
    "alter schema public owner to reducer;"
    "revoke temporary on database postgres from public;"
    /* What waits for a clock, and what would outlive a message or be missed by digests. */
    "do $$ declare f oid; begin for f in select oid from pg_catalog.pg_proc where pronamespace = 11"
    " and (proname in ('pg_sleep', 'pg_sleep_for', 'pg_sleep_until', 'lo_creat', 'lo_create', 'lo_from_bytea',"
    " 'pg_advisory_lock', 'pg_advisory_lock_shared', 'pg_try_advisory_lock', 'pg_try_advisory_lock_shared'))"
    " loop execute pg_catalog.format('revoke execute on function %s from public', f::pg_catalog.regprocedure);"
    " end loop; end $$;";

static enum sorex_status sql_run(struct reducer *reducer, struct database *database, const char *sql,
                                 struct sorex_error *err)
{
    TRY(database_exec(database, sql, &reducer->results, err));
    return reducer->results.error == NULL ? SOREX_OK : result_error(reducer->results.error, err);
}

enum sorex_status session_make(struct reducer *reducer, struct database *database, struct sorex_error *err)
{
    struct buf sql = {0};
    enum sorex_status status = buf_append_str(&sql, make_sql, err);
    if (status == SOREX_OK)
        status = buf_printf(&sql, err, "insert into sorex.meta values ('semantics', '%u'), ('reducer', '",
                            REDUCER_SEMANTICS);
    if (status == SOREX_OK)
        status = buf_append_hex(&sql, bytes_of(reducer->hash, SHA256_BYTES), err);
    if (status == SOREX_OK)
        status = buf_append(&sql, bytes_of("')", 3), err); /* and its NUL */
    if (status == SOREX_OK)
        status = sql_run(reducer, database, (const char *)sql.data, err);
    if (status == SOREX_OK)
        status =
            sql_run(reducer, database, "select oid::integer from pg_catalog.pg_roles where rolname = 'reducer'", err);
    buf_deinit(&sql);
    TRY(status);
    int64_t role = 0;
    CHECK(reducer->results.first->rows_count == 1);
    struct bytes text = reducer->results.first->rows[0][0].bytes;
    for (size_t i = 0; i < text.len; i++)
        role = role * 10 + (text.data[i] - '0');
    reducer->role = (uint32_t)role;
    return SOREX_OK;
}

/* -- knowing a session */

static void prepared_forget(struct reducer *reducer)
{
    for (size_t i = 0; i < reducer->prepared_count; i++)
        prepared_free(reducer->prepared[i]);
    for (size_t i = 0; i < reducer->temporary_count; i++)
        prepared_free(reducer->temporary[i]);
    reducer->prepared_count = reducer->temporary_count = 0;
    reducer->prepared_next = 1;
}

void session_forget(struct reducer *reducer)
{
    prepared_forget(reducer);
    snapshot_drop(reducer->base);
    reducer->base = NULL;
    buf_reset(&reducer->since);
    reducer->since_count = 0;
    reducer->mark = 0;
}

/* Numbers in decimal, one blank between them. */
static enum sorex_status numbers_read(struct bytes text, uint32_t **out, size_t *out_count, struct sorex_error *err)
{
    uint32_t *numbers = calloc(text.len + 1, sizeof *numbers);
    size_t count = 0;
    if (numbers == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "reducer: out of memory for types");
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == ' ')
            continue;
        if (i == 0 || text.data[i - 1] == ' ')
            count++;
        numbers[count - 1] = numbers[count - 1] * 10 + (uint32_t)(text.data[i] - '0');
    }
    *out = numbers;
    *out_count = count;
    return SOREX_OK;
}

/* One row of sorex.statements, as text: number, sql, parameters, columns. */
static enum sorex_status prepared_read(struct reducer *reducer, const struct protocol_value *row,
                                       struct sorex_error *err)
{
    uint32_t *number = NULL, *types[2] = {NULL, NULL};
    size_t count = 0, counts[2] = {0, 0};
    enum sorex_status status = numbers_read(row[0].bytes, &number, &count, err);
    for (size_t i = 0; i < 2 && status == SOREX_OK; i++)
        status = numbers_read(row[2 + i].bytes, &types[i], &counts[i], err);
    struct protocol_column *columns = NULL;
    if (status == SOREX_OK && (columns = calloc(counts[1] + 1, sizeof *columns)) == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "reducer: out of memory for types");
    for (size_t i = 0; i < counts[1] && status == SOREX_OK; i++)
        columns[i].type = types[1][i];
    struct results description = {
        .parameters_count = counts[0], .parameters = types[0], .columns_count = counts[1], .columns = columns};
    struct reducer_prepared **place = &reducer->prepared[reducer->prepared_count];
    if (status == SOREX_OK)
        status = prepared_make(&description, row[1].bytes, count == 1 ? number[0] : 0, false, place, err);
    if (status == SOREX_OK) {
        (*place)->recorded = true;
        reducer->prepared_count++;
    }
    free(number);
    free(types[0]);
    free(types[1]);
    free(columns);
    return status;
}

static void next_number(struct reducer *reducer)
{
    reducer->prepared_next = 1;
    for (size_t i = 0; i < reducer->prepared_count; i++)
        if (reducer->prepared[i]->number >= reducer->prepared_next)
            reducer->prepared_next = reducer->prepared[i]->number + 1;
}

/* The only value of the only row. */
static struct bytes value_of(const struct results *results)
{
    return results->first->rows_count == 1 ? results->first->rows[0][0].bytes : bytes_of(NULL, 0);
}

static enum sorex_status owner_check(struct reducer *reducer, struct database *fork, bool *out_there,
                                     struct sorex_error *err)
{
    static const char mismatch[] = "the database belongs to another %s";
    char hex[HASH_HEX_SIZE], semantics[16];
    hash_hex(reducer->hash, hex);
    (void)snprintf(semantics, sizeof semantics, "%u", REDUCER_SEMANTICS);
    TRY(sql_run(reducer, fork, "select pg_catalog.to_regclass('sorex.statements') is not null", err));
    *out_there = bytes_is(value_of(&reducer->results), "t");
    if (!*out_there)
        return SOREX_OK;
    TRY(sql_run(reducer, fork, "select value from sorex.meta where name = 'semantics'", err));
    if (!bytes_is(value_of(&reducer->results), semantics))
        return sorex_error_set(err, SOREX_MISMATCH, mismatch, "version of sorex");
    TRY(sql_run(reducer, fork, "select value from sorex.meta where name = 'reducer'", err));
    if (!bytes_is(value_of(&reducer->results), hex))
        return sorex_error_set(err, SOREX_MISMATCH, mismatch, "reducer");
    return SOREX_OK;
}

static enum sorex_status session_read(struct reducer *reducer, struct database *fork, struct sorex_error *err)
{
    bool there;
    uint32_t *role = NULL;
    size_t count = 0;
    TRY(owner_check(reducer, fork, &there, err));
    if (!there)
        return sorex_error_set(err, SOREX_MISMATCH, "the database has no tables of sorex: reducer_schema makes them");
    TRY(sql_run(reducer, fork, "select oid from pg_catalog.pg_roles where rolname = 'reducer'", err));
    TRY(numbers_read(value_of(&reducer->results), &role, &count, err));
    reducer->role = count == 1 ? role[0] : 0;
    free(role);
    TRY(sql_run(reducer, fork, "select number, sql, parameters, columns from sorex.statements order by number", err));
    const struct result *rows = reducer->results.first;
    if (rows->rows_count > REDUCER_PREPARED_MAX)
        return sorex_error_set(err, SOREX_CORRUPT, "sorex.statements has %zu rows", rows->rows_count);
    for (size_t i = 0; i < rows->rows_count; i++)
        TRY(prepared_read(reducer, rows->rows[i], err));
    next_number(reducer);
    return SOREX_OK;
}

/* Learns what the session of `base` is. */
static enum sorex_status base_read(struct reducer *reducer, struct database *database, struct sorex_error *err)
{
    struct database *fork = NULL;
    prepared_forget(reducer);
    TRY(database_fork(database, reducer->base, &fork, err));
    enum sorex_status status = session_read(reducer, fork, err);
    database_close(fork);
    return status;
}

static enum sorex_status base_make(struct reducer *reducer, struct database *database, struct sorex_error *err)
{
    snapshot_drop(reducer->base);
    reducer->base = NULL;
    buf_reset(&reducer->since);
    reducer->since_count = 0;
    return database_save(database, &reducer->base, err);
}

enum sorex_status session_there(struct reducer *reducer, struct database *database, bool *out, struct sorex_error *err)
{
    struct database *fork = NULL;
    session_forget(reducer);
    TRY(base_make(reducer, database, err));
    enum sorex_status status = database_fork(database, reducer->base, &fork, err);
    if (status == SOREX_OK)
        status = owner_check(reducer, fork, out, err);
    database_close(fork);
    session_forget(reducer);
    return status;
}

enum sorex_status session_take(struct reducer *reducer, struct database *database, struct sorex_error *err)
{
    if (reducer->mark != 0 && reducer->mark == database_mark(database)) {
        bool full =
            reducer->since_count >= REDUCER_REPLAY_MESSAGES_MAX || reducer->since.len > REDUCER_REPLAY_BYTES_MAX;
        return full ? base_make(reducer, database, err) : SOREX_OK;
    }
    session_forget(reducer);
    TRY(base_make(reducer, database, err));
    enum sorex_status status = base_read(reducer, database, err);
    if (status != SOREX_OK)
        session_forget(reducer);
    return status;
}

enum sorex_status session_restore(struct reducer *reducer, struct database *database, struct sorex_error *err)
{
    TRY(database_restore(database, reducer->base, err));
    return base_read(reducer, database, err);
}

/* -- messages since base: index, time, author, payload, hash, key; numbers in the host's order: it stays in memory */

enum sorex_status session_keep(struct reducer *reducer, const struct reducer_message *message, struct sorex_error *err)
{
    struct buf *since = &reducer->since;
    TRY(buf_reserve(since, sizeof *message + message->author.len + message->payload.len, err));
    TRY(buf_append(since, bytes_of(message, sizeof *message), err));
    TRY(buf_append(since, message->author, err));
    TRY(buf_append(since, message->payload, err));
    reducer->since_count++;
    return SOREX_OK;
}

bool session_kept(const struct reducer *reducer, size_t *at, struct reducer_message *out)
{
    if (*at == reducer->since.len)
        return false;
    memcpy(out, reducer->since.data + *at, sizeof *out);
    *at += sizeof *out;
    out->author.data = reducer->since.data + *at;
    *at += out->author.len;
    out->payload.data = reducer->since.data + *at;
    *at += out->payload.len;
    return true;
}

/* -- records */

static enum sorex_status copy_write(struct buf *out, const char *table, const struct buf *rows, struct sorex_error *err)
{
    char sql[80];
    (void)snprintf(sql, sizeof sql, "copy sorex.%s from stdin (encoding 'UTF8')", table);
    TRY(protocol_query(out, bytes_str(sql), err));
    TRY(protocol_copy_data(out, buf_view(rows), err));
    return protocol_copy_done(out, err);
}

static enum sorex_status time_write(struct buf *out, int64_t time_ms, struct sorex_error *err)
{
    uint8_t binary[8];
    uint64_t us = (uint64_t)(time_ms * 1000 - EPOCH_DIFFERENCE_US);
    for (size_t i = 0; i < 8; i++)
        binary[i] = (uint8_t)(us >> (56 - 8 * i));
    return value_text(VALUE_TIMESTAMPTZ, bytes_of(binary, 8), out, err);
}

static enum sorex_status message_write(struct buf *row, const struct reducer_message *message,
                                       const struct reducer_result *result, struct sorex_error *err)
{
    TRY(buf_printf(row, err, "%llu\t", (unsigned long long)message->index));
    TRY(time_write(row, message->time_ms, err));
    TRY(buf_append_u8(row, '\t', err));
    TRY(sql_copy_text(row, message->author, err));
    TRY(buf_printf(row, err, "\t%s\t%d\t", result->status == REDUCER_APPLIED ? "applied" : "rejected",
                   (int)result->code));
    TRY(sql_copy_text(row, result->reason, err));
    TRY(buf_append_str(row, "\t\\\\x", err));
    TRY(buf_append_hex(row, bytes_of(message->hash, SHA256_BYTES), err));
    return buf_append_u8(row, '\n', err);
}

static enum sorex_status numbers_write(struct buf *row, const uint32_t *numbers, size_t count, struct sorex_error *err)
{
    TRY(buf_append_u8(row, '\t', err));
    for (size_t i = 0; i < count; i++)
        TRY(buf_printf(row, err, i == 0 ? "%u" : " %u", numbers[i]));
    return SOREX_OK;
}

/* The rows of what was prepared, and the end of what has to be prepared again. */
static enum sorex_status prepared_write(struct reducer *reducer, struct buf *rows, struct sorex_error *err)
{
    char text[96], name[PREPARED_NAME_SIZE];
    for (size_t i = 0; i < reducer->prepared_count; i++) {
        const struct reducer_prepared *prepared = reducer->prepared[i];
        if (!prepared->recorded && !prepared->stale) {
            TRY(buf_printf(rows, err, "%u\t", prepared->number));
            TRY(sql_copy_text(rows, prepared->sql, err));
            TRY(numbers_write(rows, prepared->parameters, prepared->parameters_count, err));
            TRY(numbers_write(rows, prepared->columns, prepared->columns_count, err));
            TRY(buf_append_u8(rows, '\n', err));
        } else if (prepared->recorded && prepared->stale) {
            (void)snprintf(text, sizeof text, "delete from sorex.statements where number operator(pg_catalog.=) %u",
                           prepared->number);
            TRY(protocol_query(&reducer->messages, bytes_str(text), err));
        }
    }
    for (size_t i = 0; i < reducer->prepared_count; i++) {
        prepared_name(reducer->prepared[i], name);
        if (reducer->prepared[i]->stale)
            TRY(protocol_close(&reducer->messages, PROTOCOL_STATEMENT, bytes_str(name), err));
    }
    for (size_t i = 0; i < reducer->temporary_count; i++) {
        prepared_name(reducer->temporary[i], name);
        TRY(protocol_close(&reducer->messages, PROTOCOL_STATEMENT, bytes_str(name), err));
    }
    return SOREX_OK;
}

static enum sorex_status records_write(struct reducer_call *call, const struct reducer_result *result, bool own,
                                       struct sorex_error *err)
{
    struct reducer *reducer = call->reducer;
    struct buf *out = &reducer->messages, *rows = &reducer->bytes;
    if (own)
        TRY(protocol_query(out, bytes_str("begin"), err));
    buf_reset(rows);
    if (result != NULL) {
        TRY(message_write(rows, call->message, result, err));
        TRY(copy_write(out, "messages", rows, err));
    }
    buf_reset(rows);
    TRY(prepared_write(reducer, rows, err));
    if (rows->len > 0)
        TRY(copy_write(out, "statements", rows, err));
    return own ? protocol_query(out, bytes_str("commit"), err) : protocol_sync(out, err);
}

/* The first error of several answers becomes the call's. */
static enum sorex_status answers_read(struct reducer_call *call, bool *out_ok, struct sorex_error *err)
{
    struct bytes rest = buf_view(&call->reducer->replies);
    struct protocol_message message;
    bool whole = true;
    *out_ok = true;
    while (rest.len > 0) {
        TRY(protocol_take(&rest, &message, &whole, err));
        if (!whole)
            return sorex_error_set(err, SOREX_CORRUPT, "PostgreSQL's answer is cut");
        const struct bytes *fields = message.notice.fields;
        if (message.type == PROTOCOL_READY)
            call->transaction = message.transaction;
        if (message.type != PROTOCOL_ERROR || !*out_ok)
            continue;
        *out_ok = false;
        TRY(call_error(call, fields[PROTOCOL_FIELD_SQLSTATE], fields[PROTOCOL_FIELD_MESSAGE],
                       fields[PROTOCOL_FIELD_DETAIL], err));
    }
    return SOREX_OK;
}

enum sorex_status session_record(struct reducer_call *call, const struct reducer_result *result, bool own,
                                 bool *out_recorded, struct sorex_error *err)
{
    struct reducer *reducer = call->reducer;
    buf_reset(&reducer->messages);
    buf_reset(&reducer->replies);
    TRY(records_write(call, result, own, err));
    TRY(database_role_set(call->database, HOST_ROLE, false, err));
    TRY(call_exchange(call, &reducer->replies, err));
    TRY(answers_read(call, out_recorded, err));
    return own ? SOREX_OK : database_role_set(call->database, reducer->role, true, err);
}

void session_recorded(struct reducer *reducer)
{
    size_t kept = 0;
    for (size_t i = 0; i < reducer->prepared_count; i++) {
        struct reducer_prepared *prepared = reducer->prepared[i];
        if (prepared->stale) {
            prepared_free(prepared);
        } else {
            prepared->recorded = true;
            reducer->prepared[kept++] = prepared;
        }
    }
    reducer->prepared_count = kept;
    for (size_t i = 0; i < reducer->temporary_count; i++)
        prepared_free(reducer->temporary[i]);
    reducer->temporary_count = 0;
    next_number(reducer);
}
