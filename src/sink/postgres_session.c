#include "sink/postgres_session.h"

#include <stdlib.h>

#include "base/check.h"
#include "json/utf8.h"

/* ---- calls of the transport ---- */

void postgres_session_free(struct postgres_session *session)
{
    if (session != NULL)
        session->transport->free(session);
}

enum sorex_status postgres_session_open(struct postgres_session *session, struct sorex_error *err)
{
    return session->transport->open(session, err);
}

void postgres_session_close(struct postgres_session *session) { session->transport->close(session); }

void postgres_session_interrupt(struct postgres_session *session)
{
    if (session->transport->interrupt != NULL)
        session->transport->interrupt(session);
}

void postgres_session_time_set(struct postgres_session *session, uint64_t time_ms)
{
    if (session->transport->time_set != NULL)
        session->transport->time_set(session, time_ms);
}

enum sorex_status postgres_exec(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    return session->transport->exec(session, sql, err);
}

enum sorex_status postgres_query(struct postgres_session *session, const char *sql, int count,
                                 const char *const *params, struct postgres_rows *out, struct sorex_error *err)
{
    if (out != NULL)
        *out = (struct postgres_rows){0};
    return session->transport->query(session, sql, count, params, out, err);
}

enum sorex_status postgres_prepare(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    return session->transport->prepare(session, sql, err);
}

enum sorex_status postgres_send(struct postgres_session *session, struct bytes param, struct sorex_error *err)
{
    return session->transport->send(session, param, err);
}

enum sorex_status postgres_wait(struct postgres_session *session, struct sorex_error *err)
{
    return session->transport->wait(session, err);
}

void postgres_rollback(struct postgres_session *session) { session->transport->rollback(session); }

enum sorex_status postgres_copy_begin(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    return session->transport->copy_begin(session, sql, err);
}

enum sorex_status postgres_copy_put(struct postgres_session *session, struct bytes rows, struct sorex_error *err)
{
    return session->transport->copy_put(session, rows, err);
}

enum sorex_status postgres_copy_end(struct postgres_session *session, struct sorex_error *err)
{
    return session->transport->copy_end(session, err);
}

void postgres_copy_abandon(struct postgres_session *session) { session->transport->copy_abandon(session); }

/* ---- rows ---- */

void postgres_rows_deinit(struct postgres_rows *rows)
{
    if (rows->values != NULL)
        arena_deinit(&rows->arena);
    *rows = (struct postgres_rows){0};
}

enum sorex_status postgres_rows_make(struct postgres_rows *out, size_t count, size_t columns, struct sorex_error *err)
{
    arena_init(&out->arena, 0);
    out->values = arena_alloc(&out->arena, (count * columns + 1) * sizeof *out->values);
    if (out->values == NULL) {
        arena_deinit(&out->arena);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    out->count = count;
    out->columns = columns;
    memset(out->values, 0, (count * columns + 1) * sizeof *out->values);
    return SOREX_OK;
}

enum sorex_status postgres_rows_put(struct postgres_rows *out, size_t at, struct bytes value, struct sorex_error *err)
{
    CHECK(at < out->count * out->columns);
    struct bytes copy = arena_copy(&out->arena, value);
    if (copy.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    out->values[at] = (const char *)copy.data;
    return SOREX_OK;
}

/* ---- names ---- */

enum sorex_status postgres_identifier(struct bytes name, char **out, struct sorex_error *err)
{
    if (name.len == 0)
        return sorex_error_set(err, SOREX_INVALID, "an empty name");
    if (name.len > POSTGRES_NAME_BYTES_MAX)
        return sorex_error_set(err, SOREX_INVALID, "the name \"%.*s\" is longer than PostgreSQL's %d bytes",
                               BYTES_FMT(name), POSTGRES_NAME_BYTES_MAX);
    if (memchr(name.data, 0, name.len) != NULL)
        return sorex_error_set(err, SOREX_INVALID, "the name \"%.*s\" has the character U+0000 in it", BYTES_FMT(name));
    if (!utf8_valid(name))
        return sorex_error_set(err, SOREX_INVALID, "the name \"%.*s\" is not UTF-8", BYTES_FMT(name));
    char *quoted = malloc(2 * name.len + 3);
    if (quoted == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    size_t len = 0;
    quoted[len++] = '"';
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] == '"')
            quoted[len++] = '"';
        quoted[len++] = (char)name.data[i];
    }
    quoted[len++] = '"';
    quoted[len] = '\0';
    *out = quoted;
    return SOREX_OK;
}
