/* What a guest of contract 4 may call. Pointers, lengths, handles and indices that make no sense give a code below 0;
 * what unwinds the guest is in call->stop. */
#include <math.h>
#include <stdio.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "guest/buffers.h"
#include "guest/call.h"
#include "guest/reducer_private.h"

#define INTEGER_DIGITS_MAX 19

/* len bytes at pointer; false: outside, or len below 0. */
static bool text_at(struct wasm_sandbox *sandbox, uint32_t pointer, int32_t len, struct bytes *out)
{
    return len >= 0 && buffer_at(guest_memory_of(sandbox), pointer, (uint32_t)len, out);
}

/* Copies what fits into cap bytes and gives the whole length. */
static int32_t give(struct wasm_sandbox *sandbox, uint32_t pointer, int32_t cap, struct bytes bytes)
{
    size_t len = cap < 0 || bytes.len < (size_t)cap ? bytes.len : (size_t)cap;
    uint8_t *to = cap < 0 ? NULL : buffer_target(guest_memory_of(sandbox), pointer, (uint32_t)cap);
    if (to == NULL)
        return REDUCER_POINTER;
    if (len > 0)
        memcpy(to, bytes.data, len);
    return (int32_t)bytes.len;
}

/* -- the message */

static enum sorex_status import_message_len(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                            struct sorex_error *err)
{
    const struct reducer_call *call = user_data;
    (void)sandbox, (void)err;
    values[0].i32 = call->message == NULL ? REDUCER_NONE : (int32_t)call->message->payload.len;
    return SOREX_OK;
}

static enum sorex_status import_message_read(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                             struct sorex_error *err)
{
    const struct reducer_call *call = user_data;
    uint32_t pointer = values[0].u32;
    int32_t offset = values[1].i32, len = values[2].i32;
    (void)err;
    uint8_t *to = len < 0 ? NULL : buffer_target(guest_memory_of(sandbox), pointer, (uint32_t)len);
    values[0].i32 = call->message == NULL ? REDUCER_NONE : offset < 0 ? REDUCER_INDEX : REDUCER_POINTER;
    if (call->message == NULL || offset < 0 || to == NULL)
        return SOREX_OK;
    struct bytes payload = call->message->payload;
    size_t left = (size_t)offset < payload.len ? payload.len - (size_t)offset : 0;
    size_t take = left < (size_t)len ? left : (size_t)len;
    if (take > 0)
        memcpy(to, payload.data + offset, take);
    values[0].i32 = (int32_t)take;
    return SOREX_OK;
}

static enum sorex_status import_message_index(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                              struct sorex_error *err)
{
    const struct reducer_call *call = user_data;
    (void)sandbox, (void)err;
    values[0].i64 = call->message == NULL ? -1 : (int64_t)call->message->index;
    return SOREX_OK;
}

static enum sorex_status import_message_time(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                             struct sorex_error *err)
{
    const struct reducer_call *call = user_data;
    (void)sandbox, (void)err;
    values[0].i64 = call->message == NULL ? 0 : call->message->time_ms;
    return SOREX_OK;
}

static enum sorex_status import_message_author(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                               struct sorex_error *err)
{
    const struct reducer_call *call = user_data;
    (void)err;
    values[0].i32 =
        call->message == NULL ? REDUCER_NONE : give(sandbox, values[0].u32, values[1].i32, call->message->author);
    return SOREX_OK;
}

static enum sorex_status import_message_hash(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                             struct sorex_error *err)
{
    const struct reducer_call *call = user_data;
    (void)err;
    if (call->message == NULL) {
        values[0].i32 = REDUCER_NONE;
        return SOREX_OK;
    }
    int32_t given = give(sandbox, values[0].u32, SHA256_BYTES, bytes_of(call->message->hash, SHA256_BYTES));
    values[0].i32 = given < 0 ? given : 0;
    return SOREX_OK;
}

/* -- statements */

static enum sorex_status import_prepare(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                        struct sorex_error *err)
{
    struct bytes sql;
    if (text_at(sandbox, values[0].u32, values[1].i32, &sql))
        return statement_prepare(user_data, sql, &values[0].i32, err);
    values[0].i32 = REDUCER_POINTER;
    return SOREX_OK;
}

static enum sorex_status bind(void *user_data, union wasm_value *values, const struct value *value,
                              struct sorex_error *err)
{
    return statement_bind(user_data, values[0].i32, values[1].i32, value, &values[0].i32, err);
}

static enum sorex_status import_bind_null(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                          struct sorex_error *err)
{
    (void)sandbox;
    return bind(user_data, values, &(struct value){.kind = VALUE_IS_NULL}, err);
}

static enum sorex_status import_bind_i64(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                         struct sorex_error *err)
{
    (void)sandbox;
    return bind(user_data, values, &(struct value){.kind = VALUE_IS_INTEGER, .integer = values[2].i64}, err);
}

static enum sorex_status import_bind_f64(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                         struct sorex_error *err)
{
    struct value value = {.kind = VALUE_IS_REAL};
    (void)sandbox;
    memcpy(&value.real, &values[2].f64_bits, sizeof value.real);
    if (isnan(value.real))
        value.real = (double)NAN; /* its bits are not to depend on where it came from */
    return bind(user_data, values, &value, err);
}

static enum sorex_status bind_bytes(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                    enum value_kind kind, struct sorex_error *err)
{
    struct value value = {.kind = kind};
    bool there = text_at(sandbox, values[2].u32, values[3].i32, &value.bytes);
    return bind(user_data, values, there ? &value : NULL, err);
}

static enum sorex_status import_bind_text(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                          struct sorex_error *err)
{
    return bind_bytes(user_data, sandbox, values, VALUE_IS_TEXT, err);
}

static enum sorex_status import_bind_blob(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                          struct sorex_error *err)
{
    return bind_bytes(user_data, sandbox, values, VALUE_IS_BLOB, err);
}

static enum sorex_status import_step(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                     struct sorex_error *err)
{
    (void)sandbox;
    return statement_step(user_data, values[0].i32, &values[0].i32, err);
}

static enum sorex_status import_reset(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                      struct sorex_error *err)
{
    (void)sandbox, (void)err;
    values[0].i32 = statement_reset(user_data, values[0].i32);
    return SOREX_OK;
}

static enum sorex_status import_changes(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                        struct sorex_error *err)
{
    const struct reducer_call *call = user_data;
    (void)sandbox, (void)err;
    values[0].i64 = call->changes;
    return SOREX_OK;
}

/* -- columns */

static enum sorex_status import_column_count(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                             struct sorex_error *err)
{
    const struct reducer_handle *handle = statement_find(user_data, values[0].i32);
    (void)sandbox, (void)err;
    values[0].i32 = handle == NULL ? REDUCER_HANDLE : (int32_t)handle->prepared->columns_count;
    return SOREX_OK;
}

static enum sorex_status import_column_type(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                            struct sorex_error *err)
{
    struct value value = {0};
    int32_t code;
    (void)sandbox;
    TRY(statement_column(user_data, values[0].i32, values[1].i32, &value, &code, err));
    values[0].i32 = code < 0 ? code : (int32_t)value.kind;
    return SOREX_OK;
}

/* An integer in decimal, fractions of nothing but zeros allowed: what numeric prints. False: it is none, or too large.
 */
static bool integer_read(struct bytes text, int64_t *out)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    uint64_t sum = 0;
    size_t at = negative, digits = 0;
    for (; at < text.len && text.data[at] >= '0' && text.data[at] <= '9'; at++, digits++)
        if (digits >= INTEGER_DIGITS_MAX)
            return false;
        else
            sum = sum * 10 + (uint64_t)(text.data[at] - '0');
    bool point = at < text.len && text.data[at] == '.';
    for (at += point; point && at < text.len && text.data[at] == '0'; at++)
        ;
    if (digits == 0 || at != text.len || sum > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

static bool value_integer(const struct value *value, int64_t *out)
{
    const double limit = 9223372036854775808.0;
    *out = 0;
    switch (value->kind) {
    case VALUE_IS_NULL:
        return true;
    case VALUE_IS_INTEGER:
        *out = value->integer;
        return true;
    case VALUE_IS_REAL:
        if (!(value->real >= -limit && value->real < limit) || value->real != floor(value->real))
            return false;
        *out = (int64_t)value->real;
        return true;
    case VALUE_IS_TEXT:
        return integer_read(value->bytes, out);
    case VALUE_IS_BLOB:
        break;
    }
    return false;
}

/* A value that is not what was asked for is 0, with an error to be read; the transaction goes on. */
static enum sorex_status no_number(struct reducer_call *call, const char *text, struct sorex_error *err)
{
    enum sorex_status status = call_error(call, bytes_str("22018"), bytes_str(text), bytes_of(NULL, 0), err);
    return status == SOREX_OK ? SOREX_OK : call_stop(call, STOP_HOST, status, err, "reducer: out of memory");
}

static enum sorex_status import_column_i64(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                           struct sorex_error *err)
{
    struct value value = {0};
    int32_t code;
    int64_t integer = 0;
    (void)sandbox;
    TRY(statement_column(user_data, values[0].i32, values[1].i32, &value, &code, err));
    if (code < 0 || !value_integer(&value, &integer))
        TRY(no_number(user_data, "the column has no integer of 64 bits", err));
    values[0].i64 = integer;
    return SOREX_OK;
}

static enum sorex_status import_column_f64(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                           struct sorex_error *err)
{
    struct value value = {0};
    int32_t code;
    (void)sandbox;
    TRY(statement_column(user_data, values[0].i32, values[1].i32, &value, &code, err));
    double real = value.kind == VALUE_IS_INTEGER ? (double)value.integer : value.kind == VALUE_IS_REAL ? value.real : 0;
    if (code < 0 || value.kind == VALUE_IS_TEXT || value.kind == VALUE_IS_BLOB)
        TRY(no_number(user_data, "the column has no float: cast it to float8", err));
    if (isnan(real))
        real = (double)NAN;
    memcpy(&values[0].f64_bits, &real, sizeof real);
    return SOREX_OK;
}

/* The bytes that column_len and column_read speak of. */
static struct bytes value_bytes(const struct value *value, char buffer[VALUE_FLOAT_TEXT_SIZE])
{
    switch (value->kind) {
    case VALUE_IS_NULL:
        break;
    case VALUE_IS_INTEGER:
        (void)snprintf(buffer, VALUE_FLOAT_TEXT_SIZE, "%lld", (long long)value->integer);
        return bytes_str(buffer);
    case VALUE_IS_REAL:
        value_float8_text(value->real, buffer);
        return bytes_str(buffer);
    case VALUE_IS_TEXT:
    case VALUE_IS_BLOB:
        return value->bytes;
    }
    return bytes_of(NULL, 0);
}

static enum sorex_status import_column_len(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                           struct sorex_error *err)
{
    char buffer[VALUE_FLOAT_TEXT_SIZE];
    struct value value = {0};
    int32_t code;
    (void)sandbox;
    TRY(statement_column(user_data, values[0].i32, values[1].i32, &value, &code, err));
    values[0].i32 = code < 0 ? code : (int32_t)value_bytes(&value, buffer).len;
    return SOREX_OK;
}

static enum sorex_status import_column_read(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                            struct sorex_error *err)
{
    char buffer[VALUE_FLOAT_TEXT_SIZE];
    struct value value = {0};
    int32_t code;
    uint32_t pointer = values[2].u32;
    int32_t cap = values[3].i32;
    TRY(statement_column(user_data, values[0].i32, values[1].i32, &value, &code, err));
    values[0].i32 = code < 0 ? code : give(sandbox, pointer, cap, value_bytes(&value, buffer));
    return SOREX_OK;
}

/* -- errors, log, end */

static enum sorex_status import_error_len(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                          struct sorex_error *err)
{
    const struct reducer_call *call = user_data;
    (void)sandbox, (void)err;
    values[0].i32 = (int32_t)call->text.len;
    return SOREX_OK;
}

static enum sorex_status import_error_read(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                           struct sorex_error *err)
{
    const struct reducer_call *call = user_data;
    (void)err;
    values[0].i32 = give(sandbox, values[0].u32, values[1].i32, buf_view(&call->text));
    return SOREX_OK;
}

static enum sorex_status import_sqlstate(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                         struct sorex_error *err)
{
    const struct reducer_call *call = user_data;
    const char *sqlstate = call->sqlstate[0] != '\0' ? call->sqlstate : "00000";
    (void)err;
    int32_t given = give(sandbox, values[0].u32, 5, bytes_of(sqlstate, 5));
    values[0].i32 = given < 0 ? given : 0;
    return SOREX_OK;
}

static enum sorex_status import_log(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                    struct sorex_error *err)
{
    static const enum log_level levels[] = {LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR};
    struct reducer_call *call = user_data;
    struct bytes text;
    (void)err;
    if (values[0].u32 > 4 || !text_at(sandbox, values[1].u32, values[2].i32, &text) || call->replay ||
        ++call->log_lines > REDUCER_LOG_LINES_MAX || !log_enabled(levels[values[0].u32]))
        return SOREX_OK;
    char line[SOREX_LOG_LINE_MAX], component[128];
    size_t len = guest_text_clean(text, line, sizeof line);
    (void)snprintf(component, sizeof component, "program %s", call->reducer->name);
    if (call->message == NULL)
        log_line(levels[values[0].u32], component, "schema: %.*s", (int)len, line);
    else
        log_line(levels[values[0].u32], component, "message %llu: %.*s", (unsigned long long)call->message->index,
                 (int)len, line);
    return SOREX_OK;
}

static enum sorex_status import_reject(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                       struct sorex_error *err)
{
    struct reducer_call *call = user_data;
    char line[REDUCER_REASON_BYTES_MAX];
    struct bytes text;
    int32_t code = values[0].i32;
    if (code <= 0)
        return call_stop(call, STOP_FAULT, SOREX_GUEST, err, "reject: %d is no code: it has to be more than 0",
                         (int)code);
    if (!text_at(sandbox, values[1].u32, values[2].i32, &text))
        return call_stop(call, STOP_FAULT, SOREX_GUEST, err, "reject: the reason is outside of the memory");
    call->code = code;
    size_t len = guest_text_clean(text, line, sizeof line - 1);
    return call_stop(call, STOP_REJECT, SOREX_GUEST, err, "%.*s", (int)len, line);
}

const struct wasm_import reducer_imports[] = {
    {"sorex", "message_len", "() -> i32", import_message_len},
    {"sorex", "message_read", "(i32, i32, i32) -> i32", import_message_read},
    {"sorex", "message_index", "() -> i64", import_message_index},
    {"sorex", "message_time", "() -> i64", import_message_time},
    {"sorex", "message_author", "(i32, i32) -> i32", import_message_author},
    {"sorex", "message_hash", "(i32) -> i32", import_message_hash},
    {"sorex", "prepare", "(i32, i32) -> i32", import_prepare},
    {"sorex", "bind_null", "(i32, i32) -> i32", import_bind_null},
    {"sorex", "bind_i64", "(i32, i32, i64) -> i32", import_bind_i64},
    {"sorex", "bind_f64", "(i32, i32, f64) -> i32", import_bind_f64},
    {"sorex", "bind_text", "(i32, i32, i32, i32) -> i32", import_bind_text},
    {"sorex", "bind_blob", "(i32, i32, i32, i32) -> i32", import_bind_blob},
    {"sorex", "step", "(i32) -> i32", import_step},
    {"sorex", "column_count", "(i32) -> i32", import_column_count},
    {"sorex", "column_type", "(i32, i32) -> i32", import_column_type},
    {"sorex", "column_i64", "(i32, i32) -> i64", import_column_i64},
    {"sorex", "column_f64", "(i32, i32) -> f64", import_column_f64},
    {"sorex", "column_len", "(i32, i32) -> i32", import_column_len},
    {"sorex", "column_read", "(i32, i32, i32, i32) -> i32", import_column_read},
    {"sorex", "changes", "() -> i64", import_changes},
    {"sorex", "reset", "(i32) -> i32", import_reset},
    {"sorex", "error_len", "() -> i32", import_error_len},
    {"sorex", "error_read", "(i32, i32) -> i32", import_error_read},
    {"sorex", "sqlstate", "(i32) -> i32", import_sqlstate},
    {"sorex", "log", "(i32, i32, i32) ->", import_log},
    {"sorex", "reject", "(i32, i32, i32) ->", import_reject},
};
const size_t reducer_imports_count = sizeof reducer_imports / sizeof reducer_imports[0];
