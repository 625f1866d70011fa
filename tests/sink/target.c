#include "sink/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sink/outbox.h"
#include "sink/postgres_embedded.h"
#include "sink/postgres_target.h"

struct target target;
struct sorex_error sink_error;

static char skip_reason[SOREX_ERROR_TEXT_MAX];

static int start(enum sorex_status status, struct sorex_error *err)
{
    arena_init(&target.arena, 0);
    if (status == SOREX_OK)
        status = json_parser_new(&target.parser, err);
    if (status == SOREX_OK)
        status = postgres_session_open(target.admin, err);
    if (status != SOREX_OK)
        print_error("%s\n", err->text);
    return status == SOREX_OK ? 0 : -1;
}

int target_start(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    target = (struct target){0};
    enum sorex_status status = postgres_server_new(NULL, &target.server, &err);
    if (status == SOREX_GONE) {
        (void)snprintf(skip_reason, sizeof skip_reason, "%s", err.text);
        return 0;
    }
    if (status == SOREX_OK)
        status = postgres_libpq_new(postgres_server_url(target.server), &target.admin, &err);
    return start(status, &err);
}

/* Nothing that these tests do ends the backend. */
static enum sorex_status no_restore(void *user_data, struct sorex_error *err)
{
    (void)user_data;
    return sorex_error_set(err, SOREX_INVALID, "the backend is gone");
}

int target_start_embedded(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    target = (struct target){0};
    enum sorex_status status = place_program_take(NULL, false, &target.program, &err);
    if (status == SOREX_OK)
        status = database_open(target.program, NULL, &target.database, &err);
    if (status == SOREX_OK)
        status = postgres_embedded_new(target.database, no_restore, NULL, &target.admin, &err);
    return start(status, &err);
}

int target_stop(void **state)
{
    (void)state;
    config_free(target.tables);
    postgres_session_free(target.admin);
    json_parser_free(target.parser);
    arena_deinit(&target.arena);
    postgres_server_free(target.server);
    database_close(target.database);
    place_program_give(target.program);
    return 0;
}

void target_needed(void)
{
    if (target.server != NULL || target.database != NULL)
        return;
    print_message("skipped: %s\n", skip_reason);
    skip();
}

static void search_path_set(void)
{
    char sql[128];
    (void)snprintf(sql, sizeof sql, "SET search_path = %s", target.schema);
    target_exec(sql);
}

int target_fresh(void **state)
{
    (void)state;
    if (target.server == NULL && target.database == NULL)
        return 0;
    char sql[128];
    (void)snprintf(target.schema, sizeof target.schema, "test%u", ++target.schemas);
    (void)snprintf(sql, sizeof sql, "CREATE SCHEMA %s", target.schema);
    target_exec(sql);
    search_path_set();
    return 0;
}

void target_reconnect(void)
{
    postgres_session_close(target.admin);
    struct sorex_error err;
    if (postgres_session_open(target.admin, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    search_path_set();
}

void target_exec(const char *sql)
{
    struct sorex_error err;
    if (postgres_exec(target.admin, sql, &err) != SOREX_OK)
        fail_msg("%s: %s", sql, err.text);
}

const char *target_query(const char *sql)
{
    static char text[1 << 16];
    struct sorex_error err;
    struct postgres_rows rows;
    if (postgres_query(target.admin, sql, 0, NULL, &rows, &err) != SOREX_OK)
        fail_msg("%s: %s", sql, err.text);
    size_t len = 0;
    text[0] = '\0';
    for (size_t row = 0; row < rows.count; row++)
        for (size_t column = 0; column < rows.columns; column++) {
            const char *before = column > 0 ? "|" : row > 0 ? "\n" : "";
            const char *value = postgres_null(&rows, row, column) ? "-" : postgres_value(&rows, row, column);
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", before, value);
            assert_true(len < sizeof text);
        }
    postgres_rows_deinit(&rows);
    return text;
}

void target_expect(const char *sql, const char *wanted) { assert_string_equal(target_query(sql), wanted); }

struct sink *target_sink(int mode, bool create, const char *yaml)
{
    struct target_options options = {.mode = mode, .create = create, .yaml = yaml};
    return target_sink_with(&options);
}

struct sink *target_sink_with(const struct target_options *options)
{
    struct sorex_error err;
    config_free(target.tables);
    target.tables = NULL;
    if (options->yaml != NULL && config_parse(bytes_str(options->yaml), "test.yaml", &target.tables, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    char url[256] = "";
    char log_table[] = "sorex_changes";
    char dead_letters[64] = "";
    if (options->dead_letters != NULL)
        (void)snprintf(dead_letters, sizeof dead_letters, "%s", options->dead_letters);
    if (target.server != NULL)
        (void)snprintf(url, sizeof url, "%s", postgres_server_url(target.server));
    struct postgres_settings settings = {.url = url,
                                         .schema = target.schema,
                                         .mode = options->mode,
                                         .log_table = log_table,
                                         .create_tables = options->create,
                                         .tables = target.tables,
                                         .dead_letters = options->dead_letters == NULL ? NULL : dead_letters};
    struct sink_context context = {.name = "out", .pipeline = "test", .base_dir = ".", .stream = options->stream};
    struct sink *sink = NULL;
    struct postgres_session *session = NULL;
    enum sorex_status status = SOREX_OK;
    if (target.server != NULL)
        status = sink_postgres.open(&settings, &context, &sink, &err);
    else
        status = postgres_embedded_new(target.database, no_restore, NULL, &session, &err);
    if (status == SOREX_OK && session != NULL)
        status = postgres_new(&settings, &context, session, &sink, &err);
    if (status != SOREX_OK)
        fail_msg("%s", err.text);
    return sink;
}

uint64_t target_cursor(struct sink *sink)
{
    struct sink_cursor cursor = {0};
    enum sorex_status status = sink_postgres.cursor(sink, &cursor, &sink_error);
    if (status != SOREX_OK && status != SOREX_GONE)
        fail_msg("%s", sink_error.text);
    return status == SOREX_GONE ? 0 : cursor.sequence;
}

enum sorex_status target_apply(struct sink *sink, uint64_t sequence, const char *const *changes, size_t count)
{
    static const uint8_t hash[HASH_BYTES] = {9};
    struct sink_change *list = calloc(count + 1, sizeof *list);
    assert_non_null(list);
    arena_reset(&target.arena);
    for (size_t i = 0; i < count; i++) {
        list[i] = (struct sink_change){.sequence = sequence,
                                       .height = (uint32_t)sequence,
                                       .ordinal = (uint32_t)i,
                                       .time_ms = 1231006505123u,
                                       .hash = hash,
                                       .program = "balances"};
        struct sorex_error err;
        if (change_parse(target.parser, bytes_str(changes[i]), &target.arena, &list[i].change, &err) != SOREX_OK)
            fail_msg("%s", err.text);
    }
    struct sink_batch batch = {.changes = list, .count = count, .cursor = {.store_id = {1}, .sequence = sequence}};
    batch.cursor.hash[0] = (uint8_t)sequence;
    enum sorex_status status = sink_postgres.apply(sink, &batch, &sink_error);
    free(list);
    return status;
}

enum sorex_status target_change(struct sink *sink, uint64_t sequence, const char *operation, const char *table,
                                const char *key, const char *before, const char *after)
{
    char *text = outbox_change(operation, table, key, before, after, (uint32_t)sequence);
    const char *const changes[] = {text};
    enum sorex_status status = target_apply(sink, sequence, changes, 1);
    free(text);
    return status;
}
