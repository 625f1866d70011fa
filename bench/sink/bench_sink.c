/* Goal 8: rows a second into a real PostgreSQL, from the outbox of a store through the runner (cursor, types, netting)
 * against hand-written libpq for one known table. Six columns, about 300 bytes a row; batches of 10,000 on both sides;
 * WAL and fsync as PostgreSQL has them by default. Then the same changes into the embedded database, each batch synced
 * to the store, against the sink with the server.
 *
 * Deletes compare unequal work: the rival counts ids up, 8 bytes a row; the sink reads, parses and checks changes of
 * 400 bytes that carry the whole old row, which undo needs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/codec.h"
#include "bench/folder.h"
#include "bench/harness.h"
#include "bench/sink/rival.h"
#include "integration/postgres.h"
#include "json/writer.h"
#include "sink/database.h"
#include "sink/postgres.h"
#include "sink/runner.h"

#define ROWS 200000u
#define ENTRY_ROWS 1000u
#define BATCH 10000u

static struct sorex_error err;

#define OK(call)                                  \
    do {                                          \
        if ((call) != SOREX_OK)                   \
            bench_die("%s: %s", #call, err.text); \
    } while (0)

/* ---- the outboxes ---- */

enum kind { CREATES, UPDATES, DELETES, KINDS };

struct log {
    char dir[FOLDER_PATH_SIZE];
    struct store *store;
    uint16_t program;
    uint32_t height;
};

static void image_write(struct json_writer *w, const char *name, uint64_t id, uint64_t salt)
{
    struct row row;
    row_make(id, salt, &row);
    char number[32];
    char when[64];
    struct tm utc;
    time_t seconds = (time_t)(946684800 + row.microseconds / 1000000);
    (void)gmtime_r(&seconds, &utc);
    size_t len = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(when + len, sizeof when - len, ".%06uZ", (unsigned)(row.microseconds % 1000000));
    (void)snprintf(number, sizeof number, "%.2f", row.amount);
    json_name(w, name);
    json_object_begin(w);
    json_name(w, "id");
    json_uint(w, row.id);
    json_name(w, "txt");
    json_string_z(w, row.text);
    json_name(w, "j");
    json_raw(w, bytes_str(row.json));
    json_name(w, "ts");
    json_string_z(w, when);
    json_name(w, "amt");
    json_raw(w, bytes_str(number));
    json_name(w, "flag");
    json_bool(w, row.flag != 0);
    json_object_end(w);
}

static void change_write(struct buf *out, enum kind kind, uint64_t id, uint32_t height)
{
    static const char *const operations[KINDS] = {"create", "update", "delete"};
    char key[24];
    (void)snprintf(key, sizeof key, "%llu", (unsigned long long)id);
    struct json_writer w;
    buf_reset(out);
    json_writer_init(&w, out, false, &err);
    json_object_begin(&w);
    json_name(&w, "header");
    json_object_begin(&w);
    json_name(&w, "block_height");
    json_uint(&w, height);
    json_object_end(&w);
    json_name(&w, "payload");
    json_object_begin(&w);
    json_name(&w, "operation");
    json_string_z(&w, operations[kind]);
    json_name(&w, "table");
    json_string_z(&w, "subject");
    json_name(&w, "key");
    json_string_z(&w, key);
    if (kind != CREATES)
        image_write(&w, "before", id, kind == UPDATES ? 0 : 1);
    if (kind != DELETES)
        image_write(&w, "after", id, kind == UPDATES ? 1 : 0);
    json_object_end(&w);
    json_object_end(&w);
    OK(json_writer_finish(&w));
}

static void log_open(struct log *log)
{
    *log = (struct log){0};
    folder_make(log->dir);
    struct store_options options = {
        .dir = log->dir, .create = true, .history = STORE_HISTORY_FULL, .fail_fast_sync = true};
    uint8_t identity[HASH_BYTES] = {1};
    struct store_program program;
    OK(store_open(&options, &log->store, &err));
    OK(store_program(log->store, "bench", identity, identity, false, &program, &err));
    OK(store_cursor_set(log->store, "keep", 0, identity, &err));
    log->program = program.id;
}

static void log_close(struct log *log)
{
    store_close(log->store);
    folder_remove(log->dir);
}

/* ROWS changes of one kind, ENTRY_ROWS in an entry. */
static void log_add(struct log *log, enum kind kind)
{
    struct buf text = {0};
    for (uint32_t n = 0; n < ROWS / ENTRY_ROWS; n++) {
        uint32_t height = ++log->height;
        struct entry entry = {.height = height, .time_ms = height};
        u32le_put(entry.hash, height);
        u32le_put(entry.parent, height - 1);
        OK(store_begin(log->store, &entry, &err));
        for (uint64_t i = 0; i < ENTRY_ROWS; i++) {
            change_write(&text, kind, (uint64_t)n * ENTRY_ROWS + i, height);
            OK(store_emit(log->store, log->program, buf_view(&text), buf_view(&text), &err));
        }
        OK(store_commit(log->store, false, &err));
    }
    OK(store_flush(log->store, &err));
    buf_deinit(&text);
}

/* ---- measuring ---- */

struct world {
    struct postgres_server *server;
    PGconn *connection;
    struct config_node *keyed_tables, *text_key_tables;
    struct log logs[KINDS];
    bool keyed; /* key column id from the image, as the rival has it; else the change's key as text */
    unsigned runs;
    struct bench_samples served[KINDS]; /* of the sink with the server, keyed */
};

/* Rows a second until the outbox is empty; closes the sink. */
static double sink_run(struct sink *sink, struct store *store, const char *name)
{
    struct sink_runner_options options = {
        .name = name, .batch_changes_max = BATCH, .batch_bytes_max = (uint64_t)64 << 20};
    struct sink_runner *runner;
    bool drained;
    uint64_t start = clock_ns();
    OK(sink_runner_start(sink, store, &options, &runner, &err));
    sink_runner_drain(runner, 300000, &drained);
    uint64_t taken = clock_ns() - start;
    struct sink_status status;
    sink_runner_status(runner, &status);
    if (!drained || status.changes != ROWS)
        bench_die("the sink did not finish: %s %s", sink_state_name(status.state), status.why);
    sink_runner_stop(runner);
    sink->type->close(sink);
    return ROWS / ((double)taken * 1e-9);
}

static double subject_run(struct world *world, enum kind kind)
{
    char url[256];
    char schema[] = "public";
    char log_table[] = "sorex_changes";
    char name[32];
    (void)snprintf(url, sizeof url, "%s", postgres_server_url(world->server));
    (void)snprintf(name, sizeof name, "run%u", world->runs++);
    struct postgres_settings settings = {.url = url,
                                         .schema = schema,
                                         .log_table = log_table,
                                         .create_tables = true,
                                         .tables = world->keyed ? world->keyed_tables : world->text_key_tables};
    struct sink_context context = {.name = name, .pipeline = "bench", .base_dir = "."};
    struct sink *sink;
    OK(sink_postgres.open(&settings, &context, &sink, &err));
    return sink_run(sink, world->logs[kind].store, name);
}

/* The database is kept in the store that the changes come from. It has the three kinds one behind the other. */
static void embedded_round(const struct world *world, struct bench_samples samples[KINDS])
{
    char schema[] = "public";
    char log_table[] = "sorex_changes";
    struct database_settings settings = {
        .rows = {.schema = schema, .log_table = log_table, .create_tables = true, .tables = world->keyed_tables}};
    struct log log;
    log_open(&log);
    for (enum kind kind = CREATES; kind < KINDS; kind++) {
        struct sink_context context = {.name = "embedded", .pipeline = "bench", .base_dir = ".", .store = log.store};
        struct sink *sink;
        OK(sink_database.open(&settings, &context, &sink, &err));
        log_add(&log, kind);
        samples[kind].values[samples[kind].count++] = sink_run(sink, log.store, "embedded");
    }
    log_close(&log);
}

/* The rival connects within its time, too: a server process that is new has PostgreSQL's shared memory still to map. */
static double rival_run(struct world *world, enum kind kind)
{
    uint64_t start = clock_ns();
    PGconn *connection = rival_connect(postgres_server_url(world->server));
    if (kind == CREATES)
        rival_copy(connection, ROWS, BATCH, 0);
    else if (kind == UPDATES)
        rival_upsert(connection, ROWS, BATCH, 1);
    else
        rival_delete(connection, ROWS, BATCH);
    double rate = ROWS / ((double)(clock_ns() - start) * 1e-9);
    PQfinish(connection);
    return rate;
}

static void tables_reset(struct world *world)
{
    rival_exec(world->connection, "DROP TABLE IF EXISTS rival, subject");
    rival_exec(world->connection, "CREATE TABLE rival " RIVAL_COLUMNS);
    if (world->keyed)
        rival_exec(world->connection, "CREATE TABLE subject " RIVAL_COLUMNS);
    rival_exec(world->connection, "CHECKPOINT");
}

static void tables_compare(struct world *world)
{
    PGresult *result = PQexec(world->connection, "SELECT count(*) FROM subject NATURAL JOIN rival");
    if (PQresultStatus(result) != PGRES_TUPLES_OK || strtoull(PQgetvalue(result, 0, 0), NULL, 10) != ROWS)
        bench_die("the two tables differ: %s", PQerrorMessage(world->connection));
    PQclear(result);
}

/* One round of all kinds, the subject first, then the rival. */
static void round_run(struct world *world, struct bench_samples subject[KINDS], struct bench_samples rival[KINDS])
{
    tables_reset(world);
    for (enum kind kind = CREATES; kind < KINDS; kind++) {
        subject[kind].values[subject[kind].count++] = subject_run(world, kind);
        rival_exec(world->connection, "CHECKPOINT");
        rival[kind].values[rival[kind].count++] = rival_run(world, kind);
        rival_exec(world->connection, "CHECKPOINT");
        if (kind != DELETES)
            tables_compare(world);
    }
}

static void rows_measure(struct bench *bench, struct world *world, const struct bench_row rows[KINDS])
{
    struct bench_samples subject[KINDS];
    struct bench_samples rival[KINDS];
    memset(subject, 0, sizeof subject);
    memset(rival, 0, sizeof rival);
    round_run(world, subject, rival);
    for (enum kind kind = CREATES; kind < KINDS; kind++)
        subject[kind].count = rival[kind].count = 0;
    for (unsigned i = 0; i < bench->rounds; i++)
        round_run(world, subject, rival);
    for (enum kind kind = CREATES; kind < KINDS; kind++)
        bench_add(bench, &rows[kind], &subject[kind], &rival[kind]);
    if (world->keyed)
        memcpy(world->served, subject, sizeof subject);
}

static void embedded_measure(struct bench *bench, const struct world *world, const struct bench_row rows[KINDS])
{
    struct bench_samples samples[KINDS];
    memset(samples, 0, sizeof samples);
    for (unsigned i = 0; i < bench->rounds; i++)
        embedded_round(world, samples);
    for (enum kind kind = CREATES; kind < KINDS; kind++)
        bench_add(bench, &rows[kind], &samples[kind], &world->served[kind]);
}

static const struct bench_row keyed_rows[KINDS] = {
    {.target = 8,
     .what = "PostgreSQL sink, 200,000 inserts",
     .unit = "rows/s",
     .more_is_better = true,
     .rival_name = "hand-written binary COPY",
     .goal = 0.7},
    {.target = 8,
     .what = "PostgreSQL sink, 200,000 updates",
     .unit = "rows/s",
     .more_is_better = true,
     .rival_name = "hand-written upsert from binary arrays",
     .goal = 0.8},
    {.target = 8,
     .what = "PostgreSQL sink, 200,000 deletes",
     .unit = "rows/s",
     .more_is_better = true,
     .rival_name = "hand-written delete by array",
     .goal = 0.8},
};

static const struct bench_row text_key_rows[KINDS] = {
    {.what = "inserts, text key, types found by the sink",
     .unit = "rows/s",
     .more_is_better = true,
     .rival_name = "binary COPY, bigint key"},
    {.what = "updates, text key, types found by the sink",
     .unit = "rows/s",
     .more_is_better = true,
     .rival_name = "upsert from binary arrays, bigint key"},
    {.what = "deletes, text key",
     .unit = "rows/s",
     .more_is_better = true,
     .rival_name = "delete by array, bigint key"},
};

static const struct bench_row embedded_rows[KINDS] = {
    {.what = "embedded database sink, 200,000 inserts",
     .unit = "rows/s",
     .more_is_better = true,
     .rival_name = "PostgreSQL sink, over its socket"},
    {.what = "embedded database sink, 200,000 updates",
     .unit = "rows/s",
     .more_is_better = true,
     .rival_name = "PostgreSQL sink, over its socket"},
    {.what = "embedded database sink, 200,000 deletes",
     .unit = "rows/s",
     .more_is_better = true,
     .rival_name = "PostgreSQL sink, over its socket"},
};

int main(void)
{
    static const char *const settings[] = {"fsync=on", "max_wal_size=8GB", "checkpoint_timeout=1h", "autovacuum=off",
                                           NULL};
    struct world world = {0};
    struct bench bench;
    enum sorex_status status = postgres_server_new(settings, &world.server, &err);
    if (status == SOREX_GONE) {
        printf("bench_sink: skipped: %s\n", err.text);
        return 0;
    }
    OK(status);
    world.connection = rival_connect(postgres_server_url(world.server));
    rival_exec(world.connection, "SET client_min_messages = error");
    OK(config_parse(bytes_str("subject: {key: id, columns: {ts: timestamptz}}"), "bench", &world.keyed_tables, &err));
    OK(config_parse(bytes_str("subject: {columns: {ts: timestamptz}}"), "bench", &world.text_key_tables, &err));
    for (enum kind kind = CREATES; kind < KINDS; kind++) {
        log_open(&world.logs[kind]);
        log_add(&world.logs[kind], kind);
    }
    bench_start(&bench, "sink");
    world.keyed = true;
    rows_measure(&bench, &world, keyed_rows);
    embedded_measure(&bench, &world, embedded_rows);
    world.keyed = false;
    rows_measure(&bench, &world, text_key_rows);
    int code = bench_finish(&bench);
    for (enum kind kind = CREATES; kind < KINDS; kind++)
        log_close(&world.logs[kind]);
    config_free(world.keyed_tables);
    config_free(world.text_key_tables);
    PQfinish(world.connection);
    postgres_server_free(world.server);
    return code;
}
