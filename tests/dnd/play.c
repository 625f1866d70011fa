/* Plays many games in one process, each in a fork of one database, and says what became of each.
 *
 * usage: play REDUCER.wasm SQL LOG...
 *
 * Prints a line for each log: the one value that the SQL gives at its end. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "derive/messages.h"
#include "guest/reducer.h"
#include "pg/place.h"

struct table {
    struct database_program *program;
    struct reducer *reducer;
    struct database *database;  /* in which the schema was made */
    struct snapshot *beginning; /* its state then */
    const char *sql;
};

static enum sorex_status table_open(struct table *table, const char *path, struct sorex_error *err)
{
    struct reducer_options options = {.name = "dnd"};
    struct buf wasm = {0};
    enum sorex_status status = file_read(path, SOREX_MODULE_BYTES_MAX, &wasm, err);
    if (status == SOREX_OK)
        status = reducer_load(buf_view(&wasm), &options, &table->reducer, err);
    buf_deinit(&wasm);
    TRY(status);
    TRY(place_program_take(NULL, false, &table->program, err));
    TRY(database_open(table->program, NULL, &table->database, err));
    TRY(reducer_schema(table->reducer, table->database, err));
    return database_save(table->database, &table->beginning, err);
}

static void table_close(struct table *table)
{
    snapshot_drop(table->beginning);
    database_close(table->database);
    place_program_give(table->program);
    reducer_free(table->reducer);
}

static enum sorex_status log_play(struct table *table, struct database *database, struct messages *messages,
                                  struct sorex_error *err)
{
    uint8_t key[SHA256_BYTES];
    chain_begin("play\n", key); /* of this program: the reducer is not in it */
    for (;;) {
        enum messages_state state;
        struct logged logged;
        TRY(messages_next(messages, 0, &state, &logged, err));
        if (state != MESSAGES_ONE)
            return SOREX_OK;
        chain_add(key, logged.hash);
        struct reducer_message message = {.index = logged.index,
                                          .time_ms = logged.message.time_ms,
                                          .author = logged.message.author,
                                          .payload = logged.message.payload};
        struct reducer_result result;
        memcpy(message.hash, logged.hash, SHA256_BYTES);
        memcpy(message.key, key, SHA256_BYTES);
        TRY(reducer_apply(table->reducer, database, &message, NULL, NULL, &result, err));
    }
}

static enum sorex_status outcome_print(struct database *database, const char *sql, struct sorex_error *err)
{
    struct results results;
    results_init(&results, 0);
    enum sorex_status status = database_exec(database, sql, &results, err);
    if (status == SOREX_OK && results.error != NULL)
        status = result_error(results.error, err);
    if (status == SOREX_OK) {
        CHECK(results.first != NULL && results.first->rows_count == 1);
        struct bytes value = results.first->rows[0][0].bytes;
        (void)fwrite(value.data, 1, value.len, stdout);
        (void)putchar('\n');
    }
    results_deinit(&results);
    return status;
}

static enum sorex_status game_play(struct table *table, const char *path, struct sorex_error *err)
{
    struct messages *messages = NULL;
    struct database *database = NULL;
    enum sorex_status status = messages_open(path, NULL, &messages, err);
    if (status == SOREX_OK)
        status = database_fork(table->database, table->beginning, &database, err);
    if (status == SOREX_OK)
        status = log_play(table, database, messages, err);
    if (status == SOREX_OK)
        status = outcome_print(database, table->sql, err);
    database_close(database);
    messages_close(messages);
    return status;
}

int main(int argc, char **argv)
{
    struct sorex_error err = {0};
    struct table table = {0};
    if (argc < 3) {
        (void)fputs("usage: play REDUCER.wasm SQL LOG...\n", stderr);
        return 2;
    }
    table.sql = argv[2];
    enum sorex_status status = table_open(&table, argv[1], &err);
    for (int i = 3; i < argc && status == SOREX_OK; i++) {
        status = game_play(&table, argv[i], &err);
        if (status != SOREX_OK)
            (void)fprintf(stderr, "play: %s: ", argv[i]);
    }
    if (status != SOREX_OK)
        (void)fprintf(stderr, "%s: %s\n", sorex_status_name(status), err.text);
    table_close(&table);
    return status == SOREX_OK ? 0 : 1;
}
