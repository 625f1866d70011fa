#include "sink/postgres_embedded.h"

#include <stdlib.h>

#include "base/check.h"

struct postgres_embedded {
    struct postgres_session session;
    struct database *database;
    postgres_restore_fn *restore;
    void *user_data;
    bool open;
    struct results results;
    struct buf messages, replies;
    struct buf copy_sql, copy; /* the COPY that is gathering */
    uint32_t type;             /* of the prepared statement's parameter */
};

static struct postgres_embedded *embedded_of(struct postgres_session *session)
{
    return (struct postgres_embedded *)session;
}

/* ---- open, close ---- */

static void embedded_free(struct postgres_session *session)
{
    struct postgres_embedded *in = embedded_of(session);
    results_deinit(&in->results);
    buf_deinit(&in->messages);
    buf_deinit(&in->replies);
    buf_deinit(&in->copy_sql);
    buf_deinit(&in->copy);
    free(in);
}

static void embedded_close(struct postgres_session *session) { embedded_of(session)->open = false; }

static enum sorex_status embedded_exec(struct postgres_session *session, const char *sql, struct sorex_error *err);

static enum sorex_status embedded_open(struct postgres_session *session, struct sorex_error *err)
{
    struct postgres_embedded *in = embedded_of(session);
    if (in->open)
        return SOREX_OK;
    if (session->opened > 0)
        TRY(in->restore(in->user_data, err));
    session->opened++;
    in->open = true;
    enum sorex_status status = embedded_exec(session, POSTGRES_SETTINGS, err);
    if (status != SOREX_OK)
        in->open = false;
    return status;
}

static void embedded_rollback(struct postgres_session *session)
{
    struct postgres_embedded *in = embedded_of(session);
    struct sorex_error ignored;
    if (in->open && (database_broken(in->database) || in->results.transaction != 'I') &&
        embedded_exec(session, "ROLLBACK", &ignored) != SOREX_OK)
        in->open = false;
}

static void embedded_time_set(struct postgres_session *session, uint64_t time_ms)
{
    database_time_set(embedded_of(session)->database, time_ms * 1000);
}

/* ---- failures ---- */

static enum sorex_status embedded_failure(struct postgres_embedded *in, struct sorex_error *err)
{
    const struct result_notice *error = in->results.error;
    struct bytes state = error->fields[PROTOCOL_FIELD_SQLSTATE];
    struct bytes detail = error->fields[PROTOCOL_FIELD_DETAIL];
    bool room = state.len == 5 && memcmp(state.data, "53", 2) == 0;
    (void)memset(in->session.sqlstate, 0, sizeof in->session.sqlstate);
    if (state.len == 5)
        (void)memcpy(in->session.sqlstate, state.data, 5);
    return sorex_error_set(err, room ? SOREX_LIMIT : SOREX_IO, "PostgreSQL: %.*s%s%.*s (SQLSTATE %.*s)",
                           BYTES_FMT(error->fields[PROTOCOL_FIELD_MESSAGE]), detail.len > 0 ? ": " : "",
                           BYTES_FMT(detail), BYTES_FMT(state));
}

/* What became of an exchange. After one that failed the backend is gone. */
static enum sorex_status exchanged(struct postgres_embedded *in, enum sorex_status status, struct sorex_error *err)
{
    if (status != SOREX_OK) {
        in->session.sqlstate[0] = '\0';
        in->open = false;
        return sorex_error_prefix(err, "PostgreSQL");
    }
    return in->results.error == NULL ? SOREX_OK : embedded_failure(in, err);
}

static enum sorex_status closed(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_AGAIN, "PostgreSQL: the session was closed");
}

/* ---- statements ---- */

static enum sorex_status embedded_exec(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    struct postgres_embedded *in = embedded_of(session);
    if (!in->open)
        return closed(err);
    return exchanged(in, database_exec(in->database, sql, &in->results, err), err);
}

static enum sorex_status exchange(void *user_data, struct bytes messages, struct buf *out, struct sorex_error *err)
{
    return database_exchange(user_data, messages, out, err);
}

static enum sorex_status query_write(struct buf *out, const char *sql, int count, const char *const *params,
                                     struct sorex_error *err)
{
    struct protocol_parameter parameters[POSTGRES_PARAMS_MAX] = {0};
    struct bytes none = bytes_str("");
    CHECK(count <= POSTGRES_PARAMS_MAX);
    for (int i = 0; i < count; i++)
        parameters[i] = (struct protocol_parameter){.null = params[i] == NULL,
                                                    .bytes = bytes_str(params[i] == NULL ? "" : params[i])};
    const struct protocol_bind bind = {.portal = none,
                                       .statement = none,
                                       .parameters = parameters,
                                       .parameters_count = (size_t)count,
                                       .results = PROTOCOL_TEXT};
    TRY(protocol_parse(out, none, bytes_str(sql), NULL, 0, err));
    TRY(protocol_bind(out, &bind, err));
    TRY(protocol_describe(out, PROTOCOL_PORTAL, none, err));
    TRY(protocol_execute(out, none, 0, err));
    return protocol_sync(out, err);
}

static enum sorex_status rows_take(const struct result *result, struct postgres_rows *out, struct sorex_error *err)
{
    if (result == NULL)
        return postgres_rows_make(out, 0, 0, err);
    TRY(postgres_rows_make(out, result->rows_count, result->columns_count, err));
    for (size_t row = 0; row < out->count; row++)
        for (size_t column = 0; column < out->columns; column++)
            if (!result->rows[row][column].null)
                TRY(postgres_rows_put(out, row * out->columns + column, result->rows[row][column].bytes, err));
    return SOREX_OK;
}

static enum sorex_status embedded_query(struct postgres_session *session, const char *sql, int count,
                                        const char *const *params, struct postgres_rows *out, struct sorex_error *err)
{
    struct postgres_embedded *in = embedded_of(session);
    if (!in->open)
        return closed(err);
    buf_reset(&in->messages);
    buf_reset(&in->replies);
    TRY(query_write(&in->messages, sql, count, params, err));
    TRY(exchanged(
        in, results_exchange(&in->results, exchange, in->database, buf_view(&in->messages), &in->replies, err), err));
    return out == NULL ? SOREX_OK : rows_take(in->results.first, out, err);
}

static enum sorex_status embedded_prepare(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    struct postgres_embedded *in = embedded_of(session);
    if (!in->open)
        return closed(err);
    TRY(exchanged(in, database_prepare(in->database, "", sql, &in->results, err), err));
    CHECK(in->results.parameters_count == 1);
    in->type = in->results.parameters[0];
    return SOREX_OK;
}

static enum sorex_status embedded_send(struct postgres_session *session, struct bytes param, struct sorex_error *err)
{
    struct postgres_embedded *in = embedded_of(session);
    const struct value value = {.kind = VALUE_IS_BLOB, .bytes = param};
    if (!in->open)
        return closed(err);
    return exchanged(in, database_execute(in->database, "", &in->type, &value, 1, &in->results, err), err);
}

static enum sorex_status embedded_wait(struct postgres_session *session, struct sorex_error *err)
{
    return embedded_of(session)->open ? SOREX_OK : closed(err);
}

/* ---- COPY: an end of input in its middle would be the end of the backend, so it begins when all of it is there ----
 */

static enum sorex_status embedded_copy_begin(struct postgres_session *session, const char *sql, struct sorex_error *err)
{
    struct postgres_embedded *in = embedded_of(session);
    if (!in->open)
        return closed(err);
    buf_reset(&in->copy);
    buf_reset(&in->copy_sql);
    TRY(buf_append_str(&in->copy_sql, sql, err));
    return buf_append_u8(&in->copy_sql, 0, err);
}

static enum sorex_status embedded_copy_put(struct postgres_session *session, struct bytes rows, struct sorex_error *err)
{
    return buf_append(&embedded_of(session)->copy, rows, err);
}

static enum sorex_status embedded_copy_end(struct postgres_session *session, struct sorex_error *err)
{
    struct postgres_embedded *in = embedded_of(session);
    const char *sql = (const char *)in->copy_sql.data;
    if (!in->open)
        return closed(err);
    return exchanged(in, database_copy_in(in->database, sql, buf_view(&in->copy), &in->results, err), err);
}

static void embedded_copy_abandon(struct postgres_session *session) { buf_reset(&embedded_of(session)->copy); }

static const struct postgres_transport embedded_transport = {
    .free = embedded_free,
    .open = embedded_open,
    .close = embedded_close,
    .time_set = embedded_time_set,
    .exec = embedded_exec,
    .query = embedded_query,
    .prepare = embedded_prepare,
    .send = embedded_send,
    .wait = embedded_wait,
    .rollback = embedded_rollback,
    .copy_begin = embedded_copy_begin,
    .copy_put = embedded_copy_put,
    .copy_end = embedded_copy_end,
    .copy_abandon = embedded_copy_abandon,
};

enum sorex_status postgres_embedded_new(struct database *database, postgres_restore_fn *restore, void *user_data,
                                        struct postgres_session **out, struct sorex_error *err)
{
    struct postgres_embedded *in = calloc(1, sizeof *in);
    if (in == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    in->session.transport = &embedded_transport;
    in->database = database;
    in->restore = restore;
    in->user_data = user_data;
    results_init(&in->results, 0);
    *out = &in->session;
    return SOREX_OK;
}
