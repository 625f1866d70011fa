/* What a message did, twice: as a hash, and as lines for whoever compares two runs.
 *
 * The hash is SHA-256 over records, each of a letter, a length (u32, little-endian) and that many bytes:
 *
 *   S  the text of a statement that is executed
 *   P  a parameter: a byte (0 NULL, 1 text, 2 binary), then its bytes; as many as the statement has
 *   R  a row, as PostgreSQL's DataRow has it behind its length
 *   T  the end of the statement: its tag ("INSERT 0 1")
 *   M  more rows are fetched: the text of the statement again
 *   E  an error: SQLSTATE, then its text; in front of it S, when the statement was not executed
 *   A  the message is applied; empty
 *   X  the message is rejected: the guest's code (i32, little-endian), SQLSTATE or nothing, a zero byte, the reason
 *
 * Statements that were prepared and not executed leave nothing, unless they failed. */
#include "base/check.h"
#include "guest/reducer_private.h"

static void record(struct reducer_call *call, char letter, struct bytes bytes)
{
    struct sha256 *hash = &call->reducer->trace;
    sha256_update(hash, bytes_of(&letter, 1));
    sha256_update_u32le(hash, (uint32_t)bytes.len);
    sha256_update(hash, bytes);
}

static bool told(const struct reducer_call *call) { return call->trace != NULL; }

static enum sorex_status line_begin(struct reducer_call *call, const char *text, struct sorex_error *err)
{
    buf_reset(&call->reducer->line);
    return buf_append_str(&call->reducer->line, text, err);
}

static enum sorex_status line_end(struct reducer_call *call, struct sorex_error *err)
{
    enum sorex_status status = call->trace(call->trace_user_data, buf_view(&call->reducer->line), err);
    if (status == SOREX_OK)
        return SOREX_OK;
    return call_stop(call, STOP_HOST, status, err, "%s", err->text);
}

/* One line, whatever the text has. */
static enum sorex_status line_text(struct buf *line, struct bytes text, struct sorex_error *err)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        TRY(c < 0x20 || c == 0x7f ? buf_printf(line, err, "\\x%02x", c) : buf_append_u8(line, c, err));
    }
    return SOREX_OK;
}

/* -- statements */

static enum sorex_status parameter_line(struct buf *line, size_t number, const struct value *value,
                                        struct sorex_error *err)
{
    char real[VALUE_FLOAT_TEXT_SIZE];
    TRY(buf_printf(line, err, "%s$%zu = ", number == 1 ? " with " : ", ", number));
    switch (value->kind) {
    case VALUE_IS_NULL:
        return buf_append_str(line, "NULL", err);
    case VALUE_IS_INTEGER:
        return buf_printf(line, err, "%lld", (long long)value->integer);
    case VALUE_IS_REAL:
        value_float8_text(value->real, real);
        return buf_append_str(line, real, err);
    case VALUE_IS_TEXT:
        TRY(buf_append_u8(line, '\'', err));
        TRY(line_text(line, value->bytes, err));
        return buf_append_u8(line, '\'', err);
    case VALUE_IS_BLOB:
        TRY(buf_append_str(line, "\\x", err));
        return buf_append_hex(line, value->bytes, err);
    }
    return SOREX_OK;
}

enum sorex_status trace_statement(struct reducer_call *call, const struct reducer_handle *handle,
                                  const struct protocol_parameter *parameters, struct sorex_error *err)
{
    const struct reducer_prepared *prepared = handle->prepared;
    record(call, parameters == NULL && handle->suspended ? 'M' : 'S', prepared->sql);
    for (size_t i = 0; parameters != NULL && i < prepared->parameters_count; i++) {
        struct sha256 *hash = &call->reducer->trace;
        char kind = (char)(parameters[i].null ? 0 : parameters[i].format == PROTOCOL_TEXT ? 1 : 2);
        sha256_update(hash, bytes_of("P", 1));
        sha256_update_u32le(hash, (uint32_t)parameters[i].bytes.len + 1);
        sha256_update(hash, bytes_of(&kind, 1));
        sha256_update(hash, parameters[i].bytes);
    }
    if (!told(call))
        return SOREX_OK;
    struct buf *line = &call->reducer->line;
    TRY(line_begin(call, handle->suspended ? "more of: " : "statement: ", err));
    TRY(line_text(line, prepared->sql, err));
    for (size_t i = 0; parameters != NULL && i < prepared->parameters_count; i++)
        TRY(parameter_line(line, i + 1, &handle->parameters[i].value, err));
    return line_end(call, err);
}

static enum sorex_status value_line(struct reducer_call *call, uint32_t type, enum protocol_format format,
                                    const struct protocol_value *value, struct sorex_error *err)
{
    struct buf *line = &call->reducer->line;
    if (value->null)
        return buf_append_str(line, "NULL", err);
    struct buf text = {0};
    struct sorex_error unused;
    bool as_is = format == PROTOCOL_TEXT || value_text(type, value->bytes, &text, &unused) != SOREX_OK;
    enum sorex_status status = line_text(line, as_is ? value->bytes : buf_view(&text), err);
    buf_deinit(&text);
    return status;
}

enum sorex_status trace_row(struct reducer_call *call, const struct reducer_prepared *prepared,
                            const struct protocol_message *message, struct sorex_error *err)
{
    record(call, 'R', message->body);
    if (!told(call))
        return SOREX_OK;
    struct protocol_row row = message->row;
    TRY(line_begin(call, "row: ", err));
    for (size_t i = 0; i < prepared->columns_count; i++) {
        struct protocol_value value = protocol_value_next(&row);
        if (i > 0)
            TRY(buf_append_str(&call->reducer->line, " | ", err));
        TRY(value_line(call, prepared->columns[i], prepared->formats[i], &value, err));
    }
    return line_end(call, err);
}

enum sorex_status trace_end(struct reducer_call *call, struct bytes tag, struct sorex_error *err)
{
    record(call, 'T', tag);
    if (!told(call))
        return SOREX_OK;
    TRY(line_begin(call, "end: ", err));
    TRY(line_text(&call->reducer->line, tag, err));
    return line_end(call, err);
}

enum sorex_status trace_error(struct reducer_call *call, struct bytes sql, struct sorex_error *err)
{
    struct sha256 *hash = &call->reducer->trace;
    if (sql.data != NULL)
        record(call, 'S', sql);
    sha256_update(hash, bytes_of("E", 1));
    sha256_update_u32le(hash, (uint32_t)(strlen(call->sqlstate) + call->text.len));
    sha256_update(hash, bytes_str(call->sqlstate));
    sha256_update(hash, buf_view(&call->text));
    if (!told(call))
        return SOREX_OK;
    struct buf *line = &call->reducer->line;
    TRY(line_begin(call, "error: ", err));
    TRY(buf_printf(line, err, "%s: ", call->sqlstate));
    TRY(line_text(line, buf_view(&call->text), err));
    if (sql.data != NULL) {
        TRY(buf_append_str(line, "; of: ", err));
        TRY(line_text(line, sql, err));
    }
    return line_end(call, err);
}

/* -- the whole message */

enum sorex_status trace_outcome(struct reducer_call *call, struct reducer_result *result, struct sorex_error *err)
{
    struct sha256 *hash = &call->reducer->trace;
    bool applied = result->status == REDUCER_APPLIED;
    if (applied) {
        record(call, 'A', bytes_of(NULL, 0));
    } else {
        sha256_update(hash, bytes_of("X", 1));
        sha256_update_u32le(hash, (uint32_t)(4 + strlen(result->sqlstate) + 1 + result->reason.len));
        sha256_update_u32le(hash, (uint32_t)result->code);
        sha256_update(hash, bytes_of(result->sqlstate, strlen(result->sqlstate) + 1));
        sha256_update(hash, result->reason);
    }
    sha256_finish(hash, result->trace);
    if (!told(call))
        return SOREX_OK;
    TRY(line_begin(call, applied ? "applied" : "rejected", err));
    if (!applied) {
        if (result->code != 0)
            TRY(buf_printf(&call->reducer->line, err, " with code %d", (int)result->code));
        TRY(buf_append_str(&call->reducer->line, ": ", err));
        TRY(line_text(&call->reducer->line, result->reason, err));
    }
    return line_end(call, err);
}
