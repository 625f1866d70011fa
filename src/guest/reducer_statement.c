/* Statements of a message: prepared once in the session, executed by portals of their own, rows read out of what
 * PostgreSQL answered. One exchange for each execution, and one for every REDUCER_ROWS_AT_ONCE rows more. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "guest/reducer_private.h"

#define ERROR_TEXT_MAX ((size_t)4096)
#define KEEP_BYTES ((size_t)64 << 10) /* of a buffer, for the next message */
#define FAILED_STATE "25P02"
#define REFUSED_STATE "0A000"

/* -- errors and ends of a call */

enum sorex_status call_stop(struct reducer_call *call, enum reducer_stop stop, enum sorex_status status,
                            struct sorex_error *err, const char *format, ...)
{
    char text[SOREX_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    call->stop = stop;
    call->stop_status = status;
    buf_reset(&call->stop_text);
    if (buf_append_str(&call->stop_text, text, NULL) != SOREX_OK) {
        call->stop = STOP_HOST;
        call->stop_status = SOREX_NOMEM;
    }
    return sorex_error_set(err, call->stop_status, "%s", text);
}

static enum sorex_status host_stop(struct reducer_call *call, enum sorex_status status, struct sorex_error *err)
{
    struct sorex_error why = *err;
    return call_stop(call, STOP_HOST, status, err, "%s", why.text);
}

/* The longest beginning of a text that fits and does not end in the middle of a character. */
static struct bytes text_cut(struct bytes text, size_t max)
{
    if (text.len <= max)
        return text;
    while (max > 0 && (text.data[max] & 0xc0) == 0x80)
        max--;
    return bytes_of(text.data, max);
}

enum sorex_status call_error(struct reducer_call *call, struct bytes sqlstate, struct bytes text, struct bytes detail,
                             struct sorex_error *err)
{
    CHECK(sqlstate.len == 5);
    memcpy(call->sqlstate, sqlstate.data, 5);
    call->sqlstate[5] = '\0';
    buf_reset(&call->text);
    TRY(buf_append(&call->text, text_cut(text, ERROR_TEXT_MAX), err));
    if (detail.len == 0)
        return SOREX_OK;
    TRY(buf_append_str(&call->text, "; ", err));
    return buf_append(&call->text, text_cut(detail, ERROR_TEXT_MAX), err);
}

/* An error of the host's own: the transaction counts as failed, as with one of PostgreSQL's. */
static enum sorex_status refuse(struct reducer_call *call, const char *sqlstate, const char *text, struct bytes sql,
                                struct sorex_error *err)
{
    call->refused = true;
    TRY(call_error(call, bytes_str(sqlstate), bytes_str(text), bytes_of(NULL, 0), err));
    return trace_error(call, sql, err);
}

/* -- exchanges */

static enum sorex_status limit_stop(struct reducer_call *call, const struct buf *out, const struct sorex_error *why,
                                    struct sorex_error *err)
{
    switch (instance_limit_hit(database_instance(call->database))) {
    case INSTANCE_LIMIT_FUEL:
        return call_stop(call, STOP_STATE, SOREX_GUEST, err, "a statement ran out of fuel");
    case INSTANCE_LIMIT_OUTPUT:
        return call_stop(call, STOP_STATE, SOREX_GUEST, err, "a statement gave more than %zu bytes", out->max);
    case INSTANCE_LIMIT_STACK:
        break;
    }
    return call_stop(call, STOP_HOST, SOREX_GUEST, err, "%s", why->text);
}

/* A backend that ended has said why, mostly. */
static enum sorex_status end_stop(struct reducer_call *call, const struct buf *out, const struct sorex_error *why,
                                  struct sorex_error *err)
{
    struct bytes rest = buf_view(out), words = bytes_of(NULL, 0), sqlstate = words;
    struct protocol_message message;
    struct sorex_error unused;
    bool whole = true;
    while (rest.len > 0 && whole && protocol_take(&rest, &message, &whole, &unused) == SOREX_OK)
        if (whole && message.type == PROTOCOL_ERROR) {
            sqlstate = message.notice.fields[PROTOCOL_FIELD_SQLSTATE];
            words = message.notice.fields[PROTOCOL_FIELD_MESSAGE];
        }
    return call_stop(call, STOP_STATE, SOREX_GUEST, err, "%s%.*s%s%.*s", why->text, BYTES_FMT(sqlstate),
                     sqlstate.len > 0 ? ": " : "", BYTES_FMT(words));
}

/* Below database_exchange, which puts the database back by itself when the backend broke, to a state of its own. */
enum sorex_status call_exchange(struct reducer_call *call, struct buf *out, struct sorex_error *err)
{
    struct sorex_error why = {0};
    struct buf *messages = &call->reducer->messages;
    struct instance *instance = database_instance(call->database);
    if (database_metered(call->database))
        instance_fuel_set(instance, call->reducer->sql_fuel);
    enum sorex_status status = instance_exchange(instance, buf_view(messages), out, &why);
    buf_reset(messages);
    if (status == SOREX_OK)
        return SOREX_OK;
    if (status == SOREX_LIMIT)
        return limit_stop(call, out, &why, err);
    if (status == SOREX_GUEST)
        return end_stop(call, out, &why, err);
    return call_stop(call, STOP_HOST, status, err, "%s", why.text);
}

/* Another statement has the name of the one that the host prepared: only SQL that was made at run time can do that. */
static enum sorex_status replaced_stop(struct reducer_call *call, struct reducer_prepared *prepared,
                                       struct sorex_error *err)
{
    prepared->stale = true;
    return call_stop(call, STOP_FAULT, SOREX_GUEST, err, "a prepared statement was replaced");
}

static enum sorex_status row_read(struct reducer_call *call, struct reducer_handle *handle,
                                  const struct protocol_message *message, struct sorex_error *err)
{
    if (message->row.count != handle->prepared->columns_count)
        return replaced_stop(call, handle->prepared, err);
    handle->fetched++;
    return trace_row(call, handle->prepared, message, err);
}

/* What an exchange left: rows and tags are hashed, an error becomes the call's. *out is REDUCER_SQL then, else 0. */
static enum sorex_status reply_read(struct reducer_call *call, struct reducer_handle *handle, int32_t *out,
                                    struct sorex_error *err)
{
    struct bytes rest = buf_view(&handle->reply);
    struct protocol_message message;
    bool whole = true;
    uint64_t before = handle->suspended ? handle->fetched : 0;
    *out = 0;
    handle->fetched = before;
    handle->suspended = false;
    while (rest.len > 0) {
        TRY(protocol_take(&rest, &message, &whole, err));
        if (!whole)
            return sorex_error_set(err, SOREX_CORRUPT, "PostgreSQL's answer is cut");
        const struct bytes *fields = message.notice.fields;
        if (message.type == PROTOCOL_ROW) {
            TRY(row_read(call, handle, &message, err));
        } else if (message.type == PROTOCOL_COMPLETE || message.type == PROTOCOL_EMPTY_QUERY) {
            struct bytes tag = message.type == PROTOCOL_COMPLETE ? message.text : bytes_str("");
            call->changes = (int64_t)(before + result_rows(tag));
            TRY(trace_end(call, tag, err));
        } else if (message.type == PROTOCOL_SUSPENDED) {
            handle->suspended = true;
        } else if (message.type == PROTOCOL_ERROR) {
            *out = REDUCER_SQL;
            TRY(call_error(call, fields[PROTOCOL_FIELD_SQLSTATE], fields[PROTOCOL_FIELD_MESSAGE],
                           fields[PROTOCOL_FIELD_DETAIL], err));
            TRY(trace_error(call, bytes_of(NULL, 0), err));
        } else if (message.type == PROTOCOL_READY) {
            call->transaction = message.transaction;
        }
    }
    return SOREX_OK;
}

static enum sorex_status transaction_check(struct reducer_call *call, struct sorex_error *err)
{
    if (call->transaction == 'T' || call->transaction == 'E')
        return SOREX_OK;
    return call_stop(call, STOP_STATE, SOREX_GUEST, err, "the message's transaction was ended");
}

/* -- prepared texts */

void prepared_name(const struct reducer_prepared *prepared, char out[PREPARED_NAME_SIZE])
{
    (void)snprintf(out, PREPARED_NAME_SIZE, "sorex_%s%u", prepared->temporary ? "t_" : "", prepared->number);
}

void prepared_free(struct reducer_prepared *prepared)
{
    if (prepared == NULL)
        return;
    free((void *)(uintptr_t)prepared->sql.data);
    free(prepared->parameters);
    free(prepared->columns);
    free(prepared->formats);
    free(prepared);
}

/* FNV-1a. */
static uint64_t text_hash(struct bytes text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ text.data[i]) * 0x100000001b3u;
    return hash;
}

static bool description_take(struct reducer_prepared *prepared, struct bytes sql, const struct results *results)
{
    uint8_t *copy = calloc(sql.len + 1, 1);
    if (copy == NULL)
        return false;
    if (sql.len > 0)
        memcpy(copy, sql.data, sql.len);
    prepared->sql = bytes_of(copy, sql.len);
    prepared->parameters_count = results->parameters_count;
    prepared->columns_count = results->columns_count;
    prepared->parameters = calloc(results->parameters_count + 1, sizeof *prepared->parameters);
    prepared->columns = calloc(results->columns_count + 1, sizeof *prepared->columns);
    prepared->formats = calloc(results->columns_count + 1, sizeof *prepared->formats);
    if (prepared->parameters == NULL || prepared->columns == NULL || prepared->formats == NULL)
        return false;
    for (size_t i = 0; i < results->parameters_count; i++)
        prepared->parameters[i] = results->parameters[i];
    for (size_t i = 0; i < results->columns_count; i++) {
        prepared->columns[i] = results->columns[i].type;
        prepared->formats[i] = value_known(results->columns[i].type) ? PROTOCOL_BINARY : PROTOCOL_TEXT;
    }
    return true;
}

enum sorex_status prepared_make(const struct results *description, struct bytes sql, uint32_t number, bool temporary,
                                struct reducer_prepared **out, struct sorex_error *err)
{
    struct bytes word;
    struct reducer_prepared *prepared = calloc(1, sizeof *prepared);
    if (prepared == NULL || !description_take(prepared, sql, description)) {
        prepared_free(prepared);
        return sorex_error_set(err, SOREX_NOMEM, "reducer: out of memory for a statement");
    }
    prepared->hash = text_hash(sql);
    prepared->number = number;
    prepared->temporary = temporary;
    prepared->resumes = sql_kind_of(sql, &word) == SQL_RESUMES;
    *out = prepared;
    return SOREX_OK;
}

static struct reducer_prepared *prepared_find(struct reducer_prepared *const *list, size_t count, struct bytes sql,
                                              uint64_t hash)
{
    for (size_t i = 0; i < count; i++)
        if (list[i]->hash == hash && !list[i]->stale && bytes_equal(list[i]->sql, sql))
            return list[i];
    return NULL;
}

static enum sorex_status parse_write(struct buf *out, struct bytes name, struct bytes sql, struct sorex_error *err)
{
    TRY(protocol_parse(out, name, sql, NULL, 0, err));
    TRY(protocol_describe(out, PROTOCOL_STATEMENT, name, err));
    return protocol_sync(out, err);
}

/* Prepares a text that is new. *out NULL: PostgreSQL said no. */
static enum sorex_status parse(struct reducer_call *call, struct bytes sql, struct reducer_prepared **out,
                               struct sorex_error *err)
{
    struct reducer *reducer = call->reducer;
    char name[PREPARED_NAME_SIZE];
    bool temporary = reducer->prepared_count == REDUCER_PREPARED_MAX || sql.len > REDUCER_PREPARED_BYTES_MAX;
    struct reducer_prepared as = {.temporary = temporary,
                                  .number = temporary ? (uint32_t)reducer->temporary_count : reducer->prepared_next};
    prepared_name(&as, name);
    *out = NULL;
    enum sorex_status status = parse_write(&reducer->messages, bytes_str(name), sql, err);
    if (status == SOREX_INVALID) { /* a NUL in the text */
        buf_reset(&reducer->messages);
        return refuse(call, "22021", "a statement with a zero byte", sql, err);
    }
    TRY(status);
    buf_reset(&reducer->replies);
    TRY(call_exchange(call, &reducer->replies, err));
    TRY(results_collect(&reducer->results, buf_view(&reducer->replies), err));
    call->transaction = reducer->results.transaction;
    const struct result_notice *error = reducer->results.error;
    if (error != NULL) {
        TRY(call_error(call, error->fields[PROTOCOL_FIELD_SQLSTATE], error->fields[PROTOCOL_FIELD_MESSAGE],
                       error->fields[PROTOCOL_FIELD_DETAIL], err));
        return trace_error(call, sql, err);
    }
    TRY(prepared_make(&reducer->results, sql, as.number, temporary, out, err));
    if (temporary) {
        reducer->temporary[reducer->temporary_count++] = *out;
    } else {
        reducer->prepared[reducer->prepared_count++] = *out;
        reducer->prepared_next++;
    }
    return SOREX_OK;
}

/* -- handles */

void handle_free(struct reducer_handle *handle)
{
    if (handle == NULL)
        return;
    for (size_t i = 0; i < handle->parameters_cap; i++)
        buf_deinit(&handle->parameters[i].bytes);
    free(handle->parameters);
    free(handle->values);
    buf_deinit(&handle->reply);
    buf_deinit(&handle->text);
    free(handle);
}

static void buf_forget(struct buf *buf)
{
    if (buf->cap > KEEP_BYTES)
        buf_deinit(buf);
    else
        buf_reset(buf);
}

static void rows_forget(struct reducer_call *call, struct reducer_handle *handle)
{
    call->held -= handle->reply.len;
    buf_forget(&handle->reply);
    buf_forget(&handle->text);
    handle->rest = bytes_of(NULL, 0);
    handle->row = false;
}

static void parameters_forget(struct reducer_call *call, struct reducer_handle *handle)
{
    for (size_t i = 0; i < handle->parameters_cap; i++) {
        struct reducer_parameter *parameter = &handle->parameters[i];
        call->held -= parameter->bytes.len;
        buf_forget(&parameter->bytes);
        parameter->value = (struct value){.kind = VALUE_IS_NULL};
    }
    handle->bound = false;
    handle->unbound = 0;
}

static void handle_reset(struct reducer_call *call, struct reducer_handle *handle)
{
    rows_forget(call, handle);
    parameters_forget(call, handle);
    handle->progress = HANDLE_IDLE;
    handle->suspended = false;
}

static enum sorex_status parameters_reserve(struct reducer_handle *handle, size_t count, struct sorex_error *err)
{
    if (count <= handle->parameters_cap)
        return SOREX_OK;
    struct reducer_parameter *grown = realloc(handle->parameters, count * sizeof *grown);
    if (grown == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "reducer: out of memory for %zu parameters", count);
    memset(grown + handle->parameters_cap, 0, (count - handle->parameters_cap) * sizeof *grown);
    handle->parameters = grown;
    handle->parameters_cap = count;
    return SOREX_OK;
}

static enum sorex_status values_reserve(struct reducer_handle *handle, size_t count, struct sorex_error *err)
{
    if (count <= handle->values_cap)
        return SOREX_OK;
    struct protocol_value *grown = realloc(handle->values, count * sizeof *grown);
    if (grown == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "reducer: out of memory for %zu columns", count);
    handle->values = grown;
    handle->values_cap = count;
    return SOREX_OK;
}

/* A handle that nobody is in the middle of, or a new one. *out 0: there are too many. */
static enum sorex_status handle_take(struct reducer_call *call, struct reducer_prepared *prepared, int32_t *out,
                                     struct sorex_error *err)
{
    struct reducer *reducer = call->reducer;
    for (size_t i = 0; i < call->handles_count; i++) {
        struct reducer_handle *handle = reducer->handles[i];
        if (handle->prepared != prepared || handle->progress == HANDLE_ROWS ||
            (handle->progress == HANDLE_IDLE && handle->bound))
            continue;
        handle_reset(call, handle);
        *out = (int32_t)i + 1;
        return SOREX_OK;
    }
    *out = 0;
    if (call->handles_count == REDUCER_HANDLES_MAX)
        return SOREX_OK;
    struct reducer_handle **place = &reducer->handles[call->handles_count];
    if (*place == NULL)
        *place = calloc(1, sizeof **place);
    if (*place == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "reducer: out of memory for a statement");
    (*place)->prepared = prepared;
    (*place)->portal = false;
    TRY(parameters_reserve(*place, prepared->parameters_count, err));
    TRY(values_reserve(*place, prepared->columns_count, err));
    *out = (int32_t)++call->handles_count;
    return SOREX_OK;
}

static enum sorex_status prepare(struct reducer_call *call, struct bytes sql, int32_t *out, struct sorex_error *err)
{
    struct reducer *reducer = call->reducer;
    struct bytes word;
    char text[64];
    *out = REDUCER_SQL;
    enum sql_kind kind = sql_kind_of(sql, &word);
    if (call->refused && kind != SQL_RESUMES)
        return refuse(call, FAILED_STATE, "the transaction has failed: only ROLLBACK TO a savepoint goes on", sql, err);
    if (kind == SQL_REFUSED) {
        (void)snprintf(text, sizeof text, "%.*s is not for reducers", BYTES_FMT(word));
        return refuse(call, REFUSED_STATE, text, sql, err);
    }
    uint64_t hash = text_hash(sql);
    struct reducer_prepared *prepared = prepared_find(reducer->prepared, reducer->prepared_count, sql, hash);
    if (prepared == NULL)
        prepared = prepared_find(reducer->temporary, reducer->temporary_count, sql, hash);
    *out = REDUCER_LIMIT;
    if (prepared == NULL && reducer->temporary_count == REDUCER_HANDLES_MAX)
        return SOREX_OK;
    if (prepared == NULL) {
        *out = REDUCER_SQL;
        TRY(parse(call, sql, &prepared, err));
        TRY(transaction_check(call, err));
    }
    if (prepared == NULL)
        return SOREX_OK;
    TRY(handle_take(call, prepared, out, err));
    if (*out == 0)
        *out = REDUCER_LIMIT;
    return SOREX_OK;
}

enum sorex_status statement_prepare(struct reducer_call *call, struct bytes sql, int32_t *out, struct sorex_error *err)
{
    *out = REDUCER_LIMIT;
    if (sql.len > REDUCER_SQL_BYTES_MAX)
        return SOREX_OK;
    enum sorex_status status = prepare(call, sql, out, err);
    return status == SOREX_OK || call->stop != STOP_NONE ? status : host_stop(call, status, err);
}

struct reducer_handle *statement_find(const struct reducer_call *call, int32_t number)
{
    return number > 0 && (size_t)number <= call->handles_count ? call->reducer->handles[number - 1] : NULL;
}

/* -- parameters */

static int32_t bind(struct reducer_call *call, struct reducer_handle *handle, int32_t parameter,
                    const struct value *value)
{
    if (parameter < 1 || (size_t)parameter > handle->prepared->parameters_count)
        return REDUCER_INDEX;
    struct reducer_parameter *to = &handle->parameters[parameter - 1];
    if (call->held - to->bytes.len + value->bytes.len > REDUCER_HELD_BYTES_MAX)
        return REDUCER_LIMIT;
    call->held -= to->bytes.len;
    buf_reset(&to->bytes);
    to->value = *value;
    handle->bound = true;
    return 0;
}

enum sorex_status statement_bind(struct reducer_call *call, int32_t number, int32_t parameter,
                                 const struct value *value, int32_t *out, struct sorex_error *err)
{
    struct reducer_handle *handle = statement_find(call, number);
    *out = REDUCER_HANDLE;
    if (handle == NULL)
        return SOREX_OK;
    if (handle->progress != HANDLE_IDLE) {
        rows_forget(call, handle);
        handle->progress = HANDLE_IDLE;
        handle->suspended = false;
    }
    *out = value == NULL ? REDUCER_POINTER : bind(call, handle, parameter, value);
    if (*out < 0) {
        handle->unbound = *out;
        handle->bound = true;
        return SOREX_OK;
    }
    struct reducer_parameter *to = &handle->parameters[parameter - 1];
    enum sorex_status status = buf_append(&to->bytes, value->bytes, err);
    if (status != SOREX_OK)
        return host_stop(call, status, err);
    to->value.bytes = buf_view(&to->bytes);
    call->held += to->bytes.len;
    return SOREX_OK;
}

static enum sorex_status encoded_reserve(struct reducer *reducer, size_t count, struct sorex_error *err)
{
    if (count <= reducer->encoded_cap)
        return SOREX_OK;
    struct protocol_parameter *encoded = realloc(reducer->encoded, count * sizeof *encoded);
    if (encoded != NULL)
        reducer->encoded = encoded;
    size_t *places = realloc(reducer->places, count * sizeof *places);
    if (places != NULL)
        reducer->places = places;
    if (encoded == NULL || places == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "reducer: out of memory for %zu parameters", count);
    reducer->encoded_cap = count;
    return SOREX_OK;
}

/* An integer that the type cannot hold goes as text: PostgreSQL says so then, like anything else that is wrong. */
static enum sorex_status encode(struct reducer *reducer, const struct reducer_handle *handle, struct sorex_error *err)
{
    size_t count = handle->prepared->parameters_count;
    TRY(encoded_reserve(reducer, count, err));
    buf_reset(&reducer->bytes);
    for (size_t i = 0; i < count; i++) {
        const struct value *value = &handle->parameters[i].value;
        struct protocol_parameter *out = &reducer->encoded[i];
        enum sorex_status status =
            value_parameter(value, handle->prepared->parameters[i], &reducer->bytes, &reducer->places[i], out, err);
        if (status == SOREX_INVALID && value->kind == VALUE_IS_INTEGER)
            status = value_parameter(value, VALUE_NUMERIC, &reducer->bytes, &reducer->places[i], out, err);
        TRY(status);
    }
    for (size_t i = 0; i < count; i++)
        reducer->encoded[i].bytes.data = reducer->bytes.data + reducer->places[i];
    return SOREX_OK;
}

/* -- execution */

static enum sorex_status execute_write(struct reducer_call *call, struct reducer_handle *handle, struct bytes portal,
                                       struct sorex_error *err)
{
    struct reducer *reducer = call->reducer;
    struct buf *out = &reducer->messages;
    char name[PREPARED_NAME_SIZE];
    prepared_name(handle->prepared, name);
    TRY(encode(reducer, handle, err));
    TRY(trace_statement(call, handle, reducer->encoded, err));
    struct protocol_bind message = {.portal = portal,
                                    .statement = bytes_str(name),
                                    .parameters = reducer->encoded,
                                    .parameters_count = handle->prepared->parameters_count,
                                    .formats = handle->prepared->formats,
                                    .formats_count = handle->prepared->columns_count};
    if (handle->portal)
        TRY(protocol_close(out, PROTOCOL_PORTAL, portal, err));
    handle->portal = true;
    return protocol_bind(out, &message, err);
}

/* Executes, or goes on where rows were left. *out: 0 or REDUCER_SQL. */
static enum sorex_status execute(struct reducer_call *call, int32_t number, struct reducer_handle *handle, int32_t *out,
                                 struct sorex_error *err)
{
    struct buf *messages = &call->reducer->messages;
    char portal[PREPARED_NAME_SIZE];
    (void)snprintf(portal, sizeof portal, "sorex_p_%d", (int)number);
    if (++call->statements > REDUCER_STATEMENTS_MAX)
        return call_stop(call, STOP_FAULT, SOREX_GUEST, err, "more than %u statements", REDUCER_STATEMENTS_MAX);
    if (handle->suspended)
        TRY(trace_statement(call, handle, NULL, err));
    else
        TRY(execute_write(call, handle, bytes_str(portal), err));
    TRY(protocol_execute(messages, bytes_str(portal), REDUCER_ROWS_AT_ONCE, err));
    TRY(protocol_sync(messages, err));
    rows_forget(call, handle);
    handle->reply.max = REDUCER_HELD_BYTES_MAX - call->held + 1;
    TRY(call_exchange(call, &handle->reply, err));
    call->held += handle->reply.len;
    TRY(reply_read(call, handle, out, err));
    TRY(transaction_check(call, err));
    handle->progress = *out == 0 ? HANDLE_ROWS : HANDLE_DONE;
    handle->rest = buf_view(&handle->reply);
    if (*out == 0 && handle->prepared->resumes)
        call->refused = false;
    /* What is not there any more, or means something else: it is prepared again. */
    if (*out < 0 && (strncmp(call->sqlstate, "26", 2) == 0 || strncmp(call->sqlstate, "0A", 2) == 0 ||
                     strncmp(call->sqlstate, "08", 2) == 0))
        handle->prepared->stale = true;
    return SOREX_OK;
}

static enum sorex_status row_take(struct reducer_handle *handle, bool *out_row, struct sorex_error *err)
{
    struct protocol_message message;
    bool whole = true;
    *out_row = false;
    while (handle->rest.len > 0 && !*out_row) {
        TRY(protocol_take(&handle->rest, &message, &whole, err));
        CHECK(whole); /* reply_read saw it */
        *out_row = message.type == PROTOCOL_ROW;
    }
    if (!*out_row)
        return SOREX_OK;
    for (size_t i = 0; i < handle->prepared->columns_count; i++)
        handle->values[i] = protocol_value_next(&message.row);
    return SOREX_OK;
}

static enum sorex_status step(struct reducer_call *call, int32_t number, struct reducer_handle *handle, int32_t *out,
                              struct sorex_error *err)
{
    *out = 0;
    if (handle->progress == HANDLE_IDLE && handle->unbound != 0) {
        TRY(refuse(call, "22023", "a parameter could not be bound", handle->prepared->sql, err));
        *out = handle->unbound;
        return SOREX_OK;
    }
    *out = REDUCER_SQL;
    if (handle->progress == HANDLE_IDLE && call->refused && !handle->prepared->resumes)
        return refuse(call, FAILED_STATE, "the transaction has failed: only ROLLBACK TO a savepoint goes on",
                      handle->prepared->sql, err);
    *out = 0;
    if (handle->progress == HANDLE_IDLE)
        TRY(execute(call, number, handle, out, err));
    while (*out == 0 && handle->progress == HANDLE_ROWS) {
        TRY(row_take(handle, &handle->row, err));
        if (handle->row) {
            *out = 1;
        } else if (handle->suspended) {
            TRY(execute(call, number, handle, out, err));
        } else {
            handle->progress = HANDLE_DONE;
            rows_forget(call, handle);
        }
    }
    return SOREX_OK;
}

enum sorex_status statement_step(struct reducer_call *call, int32_t number, int32_t *out, struct sorex_error *err)
{
    struct reducer_handle *handle = statement_find(call, number);
    *out = REDUCER_HANDLE;
    if (handle == NULL)
        return SOREX_OK;
    enum sorex_status status = step(call, number, handle, out, err);
    return status == SOREX_OK || call->stop != STOP_NONE ? status : host_stop(call, status, err);
}

int32_t statement_reset(struct reducer_call *call, int32_t number)
{
    struct reducer_handle *handle = statement_find(call, number);
    if (handle == NULL)
        return REDUCER_HANDLE;
    handle_reset(call, handle);
    return 0;
}

enum sorex_status statement_column(struct reducer_call *call, int32_t number, int32_t column, struct value *out_value,
                                   int32_t *out, struct sorex_error *err)
{
    struct reducer_handle *handle = statement_find(call, number);
    *out = handle == NULL ? REDUCER_HANDLE : !handle->row ? REDUCER_NO_ROW : REDUCER_INDEX;
    if (handle == NULL || !handle->row || column < 0 || (size_t)column >= handle->prepared->columns_count)
        return SOREX_OK;
    *out = 0;
    const struct protocol_value *value = &handle->values[column];
    if (value->null || handle->prepared->formats[column] == PROTOCOL_TEXT) {
        *out_value = (struct value){.kind = value->null ? VALUE_IS_NULL : VALUE_IS_TEXT, .bytes = value->bytes};
        return SOREX_OK;
    }
    buf_reset(&handle->text);
    enum sorex_status status = value_read(handle->prepared->columns[column], value, &handle->text, out_value, err);
    if (status == SOREX_CORRUPT)
        return replaced_stop(call, handle->prepared, err);
    return status == SOREX_OK ? SOREX_OK : host_stop(call, status, err);
}
