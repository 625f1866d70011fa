/* sorex preview --message: what would happen, without happening. */
#include <stdio.h>

#include "base/check.h"
#include "cli/derive_report.h"
#include "cli/exit_code.h"
#include "cli/table.h"
#include "cli/verbs.h"

/* The line of a log that the flags make; its time is that of the last message where none is given. */
static enum sorex_status line_make(const struct arguments *arguments, int64_t last_ms, struct buf *out,
                                   struct sorex_error *err)
{
    struct json_writer w;
    uint64_t ms;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "time");
    if (arguments->time == NULL)
        json_int(&w, last_ms);
    else if (count_parse("time", arguments->time, 0, &ms, NULL) == SOREX_OK)
        json_uint(&w, ms);
    else
        json_string_z(&w, arguments->time);
    json_name(&w, "author");
    json_string_z(&w, arguments->author != NULL ? arguments->author : "");
    json_name(&w, "payload");
    json_raw(&w, bytes_str(arguments->message));
    json_object_end(&w);
    return json_writer_finish(&w);
}

static enum sorex_status message_make(const struct arguments *arguments, const struct receipt *receipt,
                                      struct buf *canonical, struct logged *out, struct sorex_error *err)
{
    struct json_parser *parser = NULL;
    struct buf line = {0};
    struct log_end end = {.count = receipt->count, .time_ms = receipt->time_ms};
    memcpy(end.log, receipt->log, SHA256_BYTES);
    TRY(json_parser_new(&parser, err));
    enum sorex_status status = line_make(arguments, receipt->time_ms, &line, err);
    if (status == SOREX_OK)
        status = message_parse(parser, buf_view(&line), canonical, err);
    if (status == SOREX_OK)
        status = log_end_add(&end, buf_view(canonical), out, err);
    buf_deinit(&line);
    json_parser_free(parser);
    return status == SOREX_OK ? SOREX_OK : sorex_error_prefix(err, "--message");
}

static void result_print(const struct reducer_result *result, uint64_t count)
{
    if (result->status == REDUCER_APPLIED)
        (void)printf("message %llu would be applied\n", (unsigned long long)count);
    else if (result->sqlstate[0] != '\0')
        (void)printf("message %llu would be rejected: %s: %.*s\n", (unsigned long long)count, result->sqlstate,
                     BYTES_FMT(result->reason));
    else
        (void)printf("message %llu would be rejected: code %d: %.*s\n", (unsigned long long)count, (int)result->code,
                     BYTES_FMT(result->reason));
}

/* Statements, and their results as psql shows them. */
static enum sorex_status statements_run(const struct arguments *arguments, struct database *database,
                                        struct sorex_error *err)
{
    struct results results;
    struct buf text = {0};
    const struct table_options options = {.format = arguments->json ? TABLE_JSON : TABLE_ALIGNED};
    enum sorex_status status = SOREX_OK;
    results_init(&results, 0);
    for (size_t i = 0; i < arguments->input_count && status == SOREX_OK; i++) {
        status = database_exec(database, arguments->inputs[i].text, &results, err);
        if (status == SOREX_OK && results.error != NULL) {
            (void)result_error(results.error, err);
            status = SOREX_INVALID;
        }
        for (const struct result *result = results.first; status == SOREX_OK && result != NULL; result = result->next)
            if (result->columns != NULL)
                status = table_print(result, &options, &text, err);
    }
    if (text.len > 0)
        (void)fwrite(text.data, 1, text.len, stdout);
    buf_deinit(&text);
    results_deinit(&results);
    return status;
}

static enum sorex_status preview(const struct arguments *arguments, struct sorex_error *err)
{
    static struct receipt receipt;
    struct derived *derived = NULL;
    struct database *database = NULL;
    struct buf canonical = {0};
    struct logged logged;
    struct reducer_result result;
    uint64_t count;
    if (arguments->data == NULL || arguments->word_count > 0 || arguments->block_count > 0)
        return sorex_error_set(err, SOREX_INVALID, "usage: sorex preview %s", verb_preview.usage);
    TRY(count_parse("at", arguments->at, DERIVED_NEWEST, &count, err));
    TRY(derived_open(&(struct derived_options){.dir = arguments->data, .read_only = true}, &derived, err));
    enum sorex_status status = derived_at(derived, count, &database, &receipt, err);
    if (status == SOREX_OK)
        status = message_make(arguments, &receipt, &canonical, &logged, err);
    if (status == SOREX_OK)
        status = derivation_step(derived_derivation(derived), database, &receipt, &logged, NULL, NULL, &result, err);
    if (status == SOREX_OK) {
        result_print(&result, receipt.count);
        status = statements_run(arguments, database, err);
    }
    buf_deinit(&canonical);
    database_close(database);
    derived_close(derived);
    return status;
}

int preview_message_run(struct arguments *arguments)
{
    struct sorex_error err = {0};
    return preview(arguments, &err) == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
}
