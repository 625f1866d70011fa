/* Statements of include/sorex/database.h. Rows of prepared statements come in binary format, or in text when they have
 * a column whose type is not known here: what the caller sees is the same. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "pg/api_private.h"

#define NAME_SIZE 32

struct sorex_statement {
    struct sorex_database *database;
    char name[NAME_SIZE];
    size_t parameters_count;
    uint32_t *parameters;
    enum protocol_format format;
};

/* ---- how an exchange ended ---- */

/* The caller's view of a finished exchange; takes results over. */
static enum sorex_status exchange_end(struct sorex_database *self, enum sorex_status status, struct results *results,
                                      struct sorex_error *err)
{
    if (status == SOREX_OK)
        self->transaction = results->transaction;
    if (status == SOREX_OK && results->error == NULL)
        return SOREX_OK;
    if (status == SOREX_OK) {
        (void)result_error(results->error, err);
        results_deinit(&self->failed);
        self->failed = *results;
        if (err != NULL)
            err->status = SOREX_INVALID;
        return SOREX_INVALID;
    }
    results_deinit(results);
    return status;
}

static enum sorex_status exchange_result(struct sorex_database *self, enum sorex_status status, struct results *results,
                                         struct sorex_result **out, struct sorex_error *err)
{
    TRY(exchange_end(self, status, results, err));
    return api_result_make(results, out, err);
}

const char *sorex_database_error(const struct sorex_database *self, enum sorex_database_field field)
{
    static const char codes[PROTOCOL_FIELDS] = {
#define FIELD_CODE(name, code) [PROTOCOL_FIELD_##name] = (code),
        PROTOCOL_FIELD_LIST(FIELD_CODE)
#undef FIELD_CODE
    };
    for (size_t i = 0; i < PROTOCOL_FIELDS && self->failed.error != NULL; i++)
        if (codes[i] == (char)field && self->failed.error->fields[i].data != NULL)
            return (const char *)self->failed.error->fields[i].data;
    return "";
}

char sorex_database_transaction(const struct sorex_database *self) { return self->transaction; }

/* ---- statements in text ---- */

enum sorex_status sorex_database_exec(struct sorex_database *self, const char *sql, struct sorex_result **out_result,
                                      struct sorex_error *err)
{
    struct results results;
    results_init(&results, 0);
    return exchange_result(self, database_exec(self->inner, sql, &results, err), &results, out_result, err);
}

enum sorex_status sorex_database_copy_in(struct sorex_database *self, const char *sql, const void *data, size_t len,
                                         uint64_t *out_rows, struct sorex_error *err)
{
    struct results results;
    results_init(&results, 0);
    enum sorex_status status = database_copy_in(self->inner, sql, bytes_of(data, len), &results, err);
    TRY(exchange_end(self, status, &results, err));
    if (out_rows != NULL)
        *out_rows = result_rows(results.first->tag);
    results_deinit(&results);
    return SOREX_OK;
}

enum sorex_status sorex_database_copy_out(struct sorex_database *self, const char *sql, void **out_data,
                                          size_t *out_len, struct sorex_error *err)
{
    struct results results;
    struct buf data = {0};
    results_init(&results, 0);
    TRY(exchange_end(self, database_exec(self->inner, sql, &results, err), &results, err));
    enum sorex_status status = SOREX_OK;
    for (const struct result *one = results.first; one != NULL && status == SOREX_OK; one = one->next)
        status = buf_append(&data, one->copy_out, err);
    results_deinit(&results);
    if (status == SOREX_OK)
        *out_data = buf_steal(&data, out_len);
    buf_deinit(&data);
    return status;
}

/* ---- prepared statements ---- */

static enum sorex_status parameters_take(struct sorex_statement *self, const struct results *results,
                                         struct sorex_error *err)
{
    size_t count = results->parameters_count;
    self->parameters = malloc((count + 1) * sizeof *self->parameters);
    if (self->parameters == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a statement");
    if (count > 0)
        memcpy(self->parameters, results->parameters, count * sizeof *self->parameters);
    self->parameters_count = count;
    self->format = PROTOCOL_BINARY;
    for (size_t i = 0; i < results->columns_count; i++)
        if (!value_known(results->columns[i].type))
            self->format = PROTOCOL_TEXT;
    return SOREX_OK;
}

/* Fills self, whose name is set, but for what it owns on failure. */
static enum sorex_status statement_prepare(struct sorex_statement *self, const char *sql, struct sorex_error *err)
{
    struct results results;
    results_init(&results, 0);
    enum sorex_status status = database_prepare(self->database->inner, self->name, sql, &results, err);
    TRY(exchange_end(self->database, status, &results, err));
    status = parameters_take(self, &results, err);
    results_deinit(&results);
    return status;
}

/* A statement of that name in the session, whoever made it, is gone. */
static enum sorex_status name_clear(struct sorex_database *self, const char *name, struct sorex_error *err)
{
    struct buf messages = {0}, replies = {0};
    enum sorex_status status = protocol_close(&messages, PROTOCOL_STATEMENT, bytes_str(name), err);
    if (status == SOREX_OK)
        status = protocol_sync(&messages, err);
    if (status == SOREX_OK)
        status = database_exchange(self->inner, buf_view(&messages), &replies, err);
    buf_deinit(&messages);
    buf_deinit(&replies);
    return status;
}

enum sorex_status sorex_database_prepare(struct sorex_database *self, const char *sql,
                                         struct sorex_statement **out_statement, struct sorex_error *err)
{
    struct sorex_statement *statement = calloc(1, sizeof *statement);
    if (statement == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a statement");
    statement->database = self;
    (void)snprintf(statement->name, NAME_SIZE, "sorex_%llu", (unsigned long long)++self->statements);
    /* A fork and an import have the statements of the session that they come from, and count anew. */
    enum sorex_status status = name_clear(self, statement->name, err);
    if (status == SOREX_OK)
        status = statement_prepare(statement, sql, err);
    if (status != SOREX_OK) {
        free(statement);
        return status;
    }
    *out_statement = statement;
    return SOREX_OK;
}

static enum sorex_status statement_run(struct sorex_statement *self, const struct value *values, size_t count,
                                       struct sorex_result **out_result, struct sorex_error *err)
{
    struct results results;
    results_init(&results, 0);
    enum sorex_status status = database_execute_as(self->database->inner, self->name, self->parameters, values, count,
                                                   self->format, &results, err);
    return exchange_result(self->database, status, &results, out_result, err);
}

static struct value value_of(const struct sorex_value *from)
{
    static const enum value_kind kinds[] = {[SOREX_VALUE_NULL] = VALUE_IS_NULL,
                                            [SOREX_VALUE_INTEGER] = VALUE_IS_INTEGER,
                                            [SOREX_VALUE_DOUBLE] = VALUE_IS_REAL,
                                            [SOREX_VALUE_TEXT] = VALUE_IS_TEXT,
                                            [SOREX_VALUE_BYTES] = VALUE_IS_BLOB};
    return (struct value){.kind = kinds[from->kind],
                          .integer = from->integer,
                          .real = from->real,
                          .bytes = bytes_of(from->data, from->len)};
}

enum sorex_status sorex_statement_execute(struct sorex_statement *self, const struct sorex_value *parameters,
                                          size_t parameters_count, struct sorex_result **out_result,
                                          struct sorex_error *err)
{
    if (parameters_count != self->parameters_count)
        return sorex_error_set(err, SOREX_INVALID, "the statement has %zu parameters, %zu were given",
                               self->parameters_count, parameters_count);
    struct value *values = malloc((parameters_count + 1) * sizeof *values);
    if (values == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a statement");
    enum sorex_status status = SOREX_OK;
    for (size_t i = 0; i < parameters_count && status == SOREX_OK; i++) {
        if ((unsigned)parameters[i].kind > SOREX_VALUE_BYTES)
            status = sorex_error_set(err, SOREX_INVALID, "parameter %zu is of no kind that there is", i + 1);
        else
            values[i] = value_of(&parameters[i]);
    }
    if (status == SOREX_OK)
        status = statement_run(self, values, parameters_count, out_result, err);
    free(values);
    return status;
}

enum sorex_status sorex_database_query(struct sorex_database *self, const char *sql,
                                       const struct sorex_value *parameters, size_t parameters_count,
                                       struct sorex_result **out_result, struct sorex_error *err)
{
    struct sorex_statement statement = {.database = self}; /* the unnamed one, which the next replaces */
    enum sorex_status status = statement_prepare(&statement, sql, err);
    if (status == SOREX_OK)
        status = sorex_statement_execute(&statement, parameters, parameters_count, out_result, err);
    free(statement.parameters);
    return status;
}

size_t sorex_statement_parameters(const struct sorex_statement *self) { return self->parameters_count; }

uint32_t sorex_statement_parameter_type(const struct sorex_statement *self, size_t index)
{
    return self->parameters[index];
}

void sorex_statement_free(struct sorex_statement *self)
{
    struct sorex_error unused;
    if (self == NULL)
        return;
    if (!database_broken(self->database->inner))
        (void)name_clear(self->database, self->name, &unused); /* a backend that ends here is found by the next call */
    free(self->parameters);
    free(self);
}
