#include "pg/result.h"

#include "base/check.h"

/* The result in the making. */
struct collector {
    struct results *results;
    struct result **end; /* where the next one is linked */
    struct result *open; /* NULL: none */
    const struct protocol_value **rows;
    size_t rows_cap;
    const struct result_notice **notices_end;
    const struct protocol_column *columns; /* of the statement to come */
    size_t columns_count;
    struct buf copy;
    bool copying, fatal;
    struct sorex_error *err;
};

void results_init(struct results *results, size_t bytes_max)
{
    *results = (struct results){0};
    arena_init(&results->arena, bytes_max);
}

void results_deinit(struct results *results) { arena_deinit(&results->arena); }

static enum sorex_status no_room(struct collector *c)
{
    return sorex_error_set(c->err, SOREX_LIMIT, "a result of more than %zu bytes", c->results->arena.max);
}

static enum sorex_status out_of_order(struct collector *c, const struct protocol_message *message)
{
    return sorex_error_set(c->err, SOREX_CORRUPT, "a message '%c' from PostgreSQL that does not belong there",
                           (char)message->type);
}

static enum sorex_status text_keep(struct collector *c, struct bytes text, struct bytes *out)
{
    *out = arena_copy(&c->results->arena, text);
    return out->data == NULL ? no_room(c) : SOREX_OK;
}

/* ---- results ---- */

static enum sorex_status result_open(struct collector *c)
{
    if (c->open != NULL)
        return SOREX_OK;
    struct result *result = arena_alloc(&c->results->arena, sizeof *result);
    if (result == NULL)
        return no_room(c);
    *result = (struct result){.columns = c->columns, .columns_count = c->columns_count};
    *c->end = result;
    c->end = &result->next;
    c->open = result;
    c->rows = NULL;
    c->rows_cap = 0;
    return SOREX_OK;
}

static void result_close(struct collector *c)
{
    c->open->rows = c->rows;
    c->open = NULL;
    c->columns = NULL;
    c->columns_count = 0;
}

static enum sorex_status columns_add(struct collector *c, struct protocol_message *message)
{
    if (c->open != NULL)
        return out_of_order(c, message);
    size_t count = message->columns.count;
    struct protocol_column *columns = arena_alloc(&c->results->arena, (count + 1) * sizeof *columns);
    if (columns == NULL)
        return no_room(c);
    for (size_t i = 0; i < count; i++) {
        columns[i] = protocol_column_next(&message->columns);
        TRY(text_keep(c, columns[i].name, &columns[i].name));
    }
    c->results->columns = c->columns = columns;
    c->results->columns_count = c->columns_count = count;
    return SOREX_OK;
}

static enum sorex_status rows_grow(struct collector *c)
{
    size_t cap = c->rows_cap == 0 ? 16 : c->rows_cap * 2;
    const struct protocol_value **rows = arena_alloc(&c->results->arena, cap * sizeof *rows);
    if (rows == NULL)
        return no_room(c);
    if (c->rows_cap > 0)
        memcpy(rows, c->rows, c->rows_cap * sizeof *rows);
    c->rows = rows;
    c->rows_cap = cap;
    return SOREX_OK;
}

static enum sorex_status row_add(struct collector *c, struct protocol_message *message)
{
    size_t count = message->row.count;
    struct bytes body;
    TRY(result_open(c));
    if (c->open->rows_count == 0 && c->open->columns == NULL)
        c->open->columns_count = count; /* executed without a description */
    if (count != c->open->columns_count)
        return sorex_error_set(c->err, SOREX_CORRUPT, "a row of %zu values in a result of %zu columns", count,
                               c->open->columns_count);
    struct protocol_value *values = arena_alloc(&c->results->arena, (count + 1) * sizeof *values);
    if (values == NULL)
        return no_room(c);
    TRY(text_keep(c, message->body, &body));
    for (size_t i = 0; i < count; i++) {
        values[i] = protocol_value_next(&message->row);
        if (!values[i].null)
            values[i].bytes.data = body.data + (values[i].bytes.data - message->body.data);
    }
    if (c->open->rows_count == c->rows_cap)
        TRY(rows_grow(c));
    c->rows[c->open->rows_count++] = values;
    return SOREX_OK;
}

static enum sorex_status complete(struct collector *c, struct bytes tag)
{
    TRY(result_open(c));
    TRY(text_keep(c, tag, &c->open->tag));
    result_close(c);
    return SOREX_OK;
}

static enum sorex_status suspend(struct collector *c)
{
    TRY(result_open(c));
    c->open->suspended = true;
    result_close(c);
    return SOREX_OK;
}

static enum sorex_status copy_end(struct collector *c, const struct protocol_message *message)
{
    if (!c->copying)
        return out_of_order(c, message);
    c->copying = false;
    return text_keep(c, buf_view(&c->copy), &c->open->copy_out);
}

static enum sorex_status copy_begin(struct collector *c)
{
    TRY(result_open(c));
    buf_reset(&c->copy);
    c->copying = true;
    return SOREX_OK;
}

/* ---- errors and notices ---- */

static enum sorex_status notice_keep(struct collector *c, const struct protocol_message *message,
                                     struct result_notice **out)
{
    struct result_notice *notice = arena_alloc(&c->results->arena, sizeof *notice);
    if (notice == NULL)
        return no_room(c);
    *notice = (struct result_notice){0};
    for (size_t i = 0; i < PROTOCOL_FIELDS; i++) {
        if (message->notice.fields[i].data != NULL)
            TRY(text_keep(c, message->notice.fields[i], &notice->fields[i]));
    }
    *out = notice;
    return SOREX_OK;
}

static bool ends_connection(const struct result_notice *error)
{
    struct bytes severity = error->fields[PROTOCOL_FIELD_SEVERITY_ENGLISH];
    if (severity.data == NULL)
        severity = error->fields[PROTOCOL_FIELD_SEVERITY];
    return bytes_is(severity, "FATAL") || bytes_is(severity, "PANIC");
}

static enum sorex_status error_add(struct collector *c, const struct protocol_message *message)
{
    struct result_notice *error = NULL;
    TRY(result_open(c));
    TRY(notice_keep(c, message, &error));
    c->copying = false;
    c->open->error = error;
    c->results->error = error;
    c->fatal = ends_connection(error);
    result_close(c);
    return SOREX_OK;
}

static enum sorex_status notice_add(struct collector *c, const struct protocol_message *message)
{
    struct result_notice *notice = NULL;
    TRY(notice_keep(c, message, &notice));
    *c->notices_end = notice;
    c->notices_end = &notice->next;
    return SOREX_OK;
}

/* ---- messages ---- */

static enum sorex_status types_add(struct collector *c, struct protocol_message *message)
{
    size_t count = message->types.count;
    uint32_t *types = arena_alloc(&c->results->arena, (count + 1) * sizeof *types);
    if (types == NULL)
        return no_room(c);
    for (size_t i = 0; i < count; i++)
        types[i] = protocol_type_next(&message->types.rest);
    c->results->parameters = types;
    c->results->parameters_count = count;
    return SOREX_OK;
}

static enum sorex_status message_add(struct collector *c, struct protocol_message *message)
{
    switch (message->type) {
    case PROTOCOL_ROW:
        return row_add(c, message);
    case PROTOCOL_COLUMNS:
        return columns_add(c, message);
    case PROTOCOL_COMPLETE:
        return c->copying ? out_of_order(c, message) : complete(c, message->text);
    case PROTOCOL_EMPTY_QUERY:
        return c->open != NULL ? out_of_order(c, message) : complete(c, bytes_str(""));
    case PROTOCOL_SUSPENDED:
        return suspend(c);
    case PROTOCOL_ERROR:
        return error_add(c, message);
    case PROTOCOL_NOTICE:
        return notice_add(c, message);
    case PROTOCOL_PARAMETER_TYPES:
        return types_add(c, message);
    case PROTOCOL_COPY_OUT:
        return c->open != NULL ? out_of_order(c, message) : copy_begin(c);
    case PROTOCOL_COPY_DATA:
        return c->copying ? buf_append(&c->copy, message->text, c->err) : out_of_order(c, message);
    case PROTOCOL_COPY_DONE:
        return copy_end(c, message);
    case PROTOCOL_AUTHENTICATION:
        return message->authentication.kind == 0
                   ? SOREX_OK
                   : sorex_error_set(c->err, SOREX_INVALID, "PostgreSQL wants an authentication of kind %u",
                                     message->authentication.kind);
    case PROTOCOL_READY:
        if (c->open != NULL)
            return out_of_order(c, message);
        c->results->transaction = message->transaction;
        return SOREX_OK;
    case PROTOCOL_COPY_BOTH:
        return out_of_order(c, message);
    /* Nothing that a result holds. */
    case PROTOCOL_COPY_IN:
    case PROTOCOL_KEY:
    case PROTOCOL_NEGOTIATE:
    case PROTOCOL_PARAMETER:
    case PROTOCOL_NOTIFICATION:
    case PROTOCOL_PARSED:
    case PROTOCOL_BOUND:
    case PROTOCOL_CLOSED:
    case PROTOCOL_NO_DATA:
        break;
    }
    return SOREX_OK;
}

/* An exchange ends with ReadyForQuery, or with an error that ends the connection. */
static enum sorex_status messages_add(struct collector *c, struct bytes messages)
{
    struct protocol_message message;
    bool whole;
    while (c->results->transaction == 0) {
        TRY(protocol_take(&messages, &message, &whole, c->err));
        if (!whole)
            break;
        TRY(message_add(c, &message));
    }
    if (messages.len > 0)
        return sorex_error_set(c->err, SOREX_CORRUPT, "%zu bytes from PostgreSQL behind what it answers", messages.len);
    if (c->results->transaction == 0 && !c->fatal)
        return sorex_error_set(c->err, SOREX_CORRUPT, "PostgreSQL's answer has no end");
    return SOREX_OK;
}

enum sorex_status results_collect(struct results *results, struct bytes messages, struct sorex_error *err)
{
    struct collector c = {.results = results, .err = err};
    struct arena arena = results->arena;
    arena_reset(&arena);
    *results = (struct results){.arena = arena};
    c.end = &results->first;
    c.notices_end = &results->notices;
    buf_init(&c.copy, arena.max);
    enum sorex_status status = messages_add(&c, messages);
    buf_deinit(&c.copy);
    if (status != SOREX_OK)
        *results = (struct results){.arena = results->arena};
    return status;
}

enum sorex_status results_exchange(struct results *results, result_exchange_fn *exchange, void *user_data,
                                   struct bytes messages, struct buf *replies, struct sorex_error *err)
{
    buf_reset(replies);
    TRY(exchange(user_data, messages, replies, err));
    return results_collect(results, buf_view(replies), err);
}

/* ---- errors and tags as C sees them ---- */

enum sorex_status result_error(const struct result_notice *error, struct sorex_error *err)
{
    static const char servers[][3] = {"08", "53", "57", "58", "F0", "XX"};
    const struct bytes *fields = error->fields;
    struct bytes position = fields[PROTOCOL_FIELD_POSITION];
    struct bytes detail = fields[PROTOCOL_FIELD_DETAIL];
    struct bytes hint = fields[PROTOCOL_FIELD_HINT];
    enum sorex_status status = ends_connection(error) ? SOREX_IO : SOREX_INVALID;
    for (size_t i = 0; i < sizeof servers / sizeof servers[0]; i++) {
        if (memcmp(fields[PROTOCOL_FIELD_SQLSTATE].data, servers[i], 2) == 0)
            status = SOREX_IO;
    }
    return sorex_error_set(err, status, "%.*s: %.*s%s%.*s%s%s%.*s%s%.*s", BYTES_FMT(fields[PROTOCOL_FIELD_SQLSTATE]),
                           BYTES_FMT(fields[PROTOCOL_FIELD_MESSAGE]), position.len > 0 ? " (character " : "",
                           BYTES_FMT(position), position.len > 0 ? ")" : "", detail.len > 0 ? "; " : "",
                           BYTES_FMT(detail), hint.len > 0 ? "; hint: " : "", BYTES_FMT(hint));
}

uint64_t result_rows(struct bytes tag)
{
    uint64_t rows = 0, unit = 1;
    size_t at = tag.len;
    for (; at > 0 && tag.data[at - 1] >= '0' && tag.data[at - 1] <= '9' && tag.len - at < 19; unit *= 10)
        rows += unit * (uint64_t)(tag.data[--at] - '0');
    return at > 0 && at < tag.len && tag.data[at - 1] == ' ' ? rows : 0;
}
