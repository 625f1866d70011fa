/* The embedded database as a sink: kept with its cursor, undone, forked at any height, restored after whatever fails.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/log.h"
#include "pg/place.h"
#include "sink/database.h"
#include "sink/embedded_private.h"
#include "sink/feed.h"
#include "sink/outbox.h"
#include "sink/postgres.h"
#include "sink/runner.h"
#include "store/fault.h"

static struct sorex_error err;

#define MUST(call)                               \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

/* ---- a sink, and what is in it ---- */

static char schema[] = "public", log_table[] = "sorex_changes";

static struct sink *sink_open_with(struct store *store, const struct database_settings *settings)
{
    struct sink_context context = {.name = "out", .pipeline = "test", .base_dir = ".", .store = store};
    struct sink *sink;
    MUST(sink_database.open(settings, &context, &sink, &err));
    return sink;
}

static struct sink *sink_open(struct store *store, int mode)
{
    return sink_open_with(store,
                          &(struct database_settings){
                              .rows = {.schema = schema, .mode = mode, .log_table = log_table, .create_tables = true}});
}

/* What a runner does, in this thread. Returns what went wrong. */
static enum sorex_status fold(struct sink *sink, struct outbox *outbox, uint32_t batch_changes)
{
    struct feed_options options = {.changes_max = batch_changes, .bytes_max = (uint64_t)8 << 20, .images = true};
    struct sink_cursor cursor;
    struct feed *feed;
    struct feed_answer next;
    enum sorex_status status = sink_database.cursor(sink, &cursor, &err);
    if (status != SOREX_OK && status != SOREX_GONE)
        return status;
    MUST(feed_new(outbox->store, &options, &feed, &err));
    feed_seek(feed, cursor.sequence);
    status = SOREX_OK;
    for (next.moved = true; next.moved && status == SOREX_OK;) {
        feed_next(feed, outbox_head(outbox), SOREX_HEIGHT_NONE, &next);
        if (next.status != SOREX_OK)
            fail_msg("%s", next.err.text);
        if (next.moved)
            status = sink_database.apply(sink, &next.batch, &err);
    }
    feed_free(feed);
    return status;
}

/* Values as lines, columns joined by "|"; static. */
static const char *query(struct database *database, const char *sql)
{
    static char text[1 << 16];
    struct results results;
    results_init(&results, 0);
    MUST(database_exec(database, sql, &results, &err));
    if (results.error != NULL)
        fail_msg("%s: %.*s", sql, BYTES_FMT(results.error->fields[PROTOCOL_FIELD_MESSAGE]));
    size_t len = 0;
    text[0] = '\0';
    for (size_t row = 0; results.first != NULL && row < results.first->rows_count; row++)
        for (size_t column = 0; column < results.first->columns_count; column++) {
            const struct protocol_value *value = &results.first->rows[row][column];
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s",
                                    column > 0 ? "|"
                                    : row > 0  ? "\n"
                                               : "",
                                    BYTES_FMT(value->bytes));
            assert_true(len < sizeof text);
        }
    results_deinit(&results);
    return text;
}

static struct database *fork_at(struct embedded *embedded, uint32_t height, uint32_t wanted)
{
    struct database *database;
    uint32_t at;
    MUST(embedded_fork(embedded, height, &database, &at, &err));
    assert_int_equal(at, wanted);
    return database;
}

struct digest {
    uint8_t bytes[SHA256_BYTES];
};

/* Of everything but the cursor: sequences and the store's id are other ones on another way to the same rows. */
static struct digest digest_of(struct database *database)
{
    struct digest digest;
    (void)query(database, "DROP TABLE sorex_cursor");
    MUST(database_digest(database, digest.bytes, &err));
    return digest;
}

static struct digest digest_at(struct embedded *embedded, uint32_t height, uint32_t wanted)
{
    struct database *database = fork_at(embedded, height, wanted);
    struct digest digest = digest_of(database);
    database_close(database);
    return digest;
}

static void digests_equal(struct digest a, struct digest b) { assert_memory_equal(a.bytes, b.bytes, SHA256_BYTES); }

/* Rows of the model at a height, as ROWS gives them. */
#define ROWS "SELECT key, v FROM t ORDER BY substr(key, 2)::int"

static void model_rows(const struct outbox *outbox, uint32_t height, char out[OUTBOX_KEYS * 48])
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t k = 0; k < OUTBOX_KEYS; k++) {
        const char *value = outbox->rows[height % OUTBOX_DEPTH][k];
        if (value[0] != '\0')
            len += (size_t)sprintf(out + len, "%sk%zu|%s", len > 0 ? "\n" : "", k, value);
    }
}

static void rows_check(const struct outbox *outbox, struct embedded *embedded, uint32_t height, uint32_t wanted)
{
    char model[OUTBOX_KEYS * 48];
    struct database *database = fork_at(embedded, height, wanted);
    model_rows(outbox, wanted, model);
    assert_string_equal(query(database, ROWS), model);
    database_close(database);
}

/* ---- tests ---- */

static void rows_are_there_after_a_restart(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++)
            outbox_random_entry(&outbox, 20);
        struct sink *sink = sink_open(outbox.store, POSTGRES_TABLES);
        struct sink_cursor cursor;
        assert_int_equal(sink_database.cursor(sink, &cursor, &err), round == 0 ? SOREX_GONE : SOREX_OK);
        assert_int_equal(cursor.sequence, round * 5);
        MUST(fold(sink, &outbox, 30));
        rows_check(&outbox, sink_embedded(sink), SOREX_HEIGHT_NONE, outbox.height);
        sink_database.close(sink);
        outbox_reopen(&outbox);
    }
    outbox_close(&outbox);
}

/* One undo record after another, and many in a batch: the rows are those of then, to the byte. */
static void undo_of_any_depth(void **state)
{
    (void)state;
    static const uint32_t depths[] = {1, 2, 3, 10, 100, 999};
    enum { TOP = 1000, CHECKS = sizeof depths / sizeof *depths };
    struct digest then[CHECKS];
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sink = sink_open(outbox.store, POSTGRES_TABLES);
    struct embedded *embedded = sink_embedded(sink);
    size_t check = CHECKS;
    while (outbox.height < TOP) {
        outbox_random_entry(&outbox, 2);
        if (check > 0 && outbox.height == TOP - depths[check - 1]) {
            MUST(fold(sink, &outbox, 100));
            then[--check] = digest_at(embedded, SOREX_HEIGHT_NONE, outbox.height);
        }
    }
    assert_int_equal(check, 0);
    MUST(fold(sink, &outbox, 100));
    for (size_t i = 0; i < CHECKS; i++) {
        digests_equal(digest_at(embedded, TOP - depths[i], TOP - depths[i]), then[i]);
        while (outbox.height > TOP - depths[i])
            outbox_undo(&outbox);
        MUST(fold(sink, &outbox, depths[i] > 10 ? 10000 : 1));
        digests_equal(digest_at(embedded, SOREX_HEIGHT_NONE, outbox.height), then[i]);
    }
    sink_database.close(sink);
    outbox_close(&outbox);
}

/* Branches come and go; a fork at a height is what the sink held when the branch of now was there. */
static void a_fork_at_a_height_is_the_state_of_then(void **state)
{
    (void)state;
    enum { TOP = 24 };
    struct digest at[TOP + 1] = {0};
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sink = sink_open(outbox.store, POSTGRES_TABLES);
    struct embedded *embedded = sink_embedded(sink);
    while (outbox.height < TOP) {
        bool undo = outbox.height > 4 && outbox_random(&outbox, 3) == 0;
        for (uint64_t n = undo ? 1 + outbox_random(&outbox, 3) : 0; n > 0; n--)
            outbox_random_undo(&outbox);
        outbox_random_entry(&outbox, 8);
        MUST(fold(sink, &outbox, 1));
        at[outbox.height] = digest_at(embedded, SOREX_HEIGHT_NONE, outbox.height);
    }
    for (uint32_t height = 1; height <= TOP; height++) {
        digests_equal(digest_at(embedded, height, height), at[height]);
        rows_check(&outbox, embedded, height, height);
    }
    /* The cursor's row goes with it. */
    struct database *database = fork_at(embedded, 7, 7);
    char sql[256];
    struct entry entry;
    MUST(store_entry(outbox.store, 7, &entry, &err));
    char hash[HASH_HEX_SIZE];
    hash_display(entry.hash, hash);
    (void)snprintf(sql, sizeof sql, "SELECT entry = '%s' FROM sorex_cursor", hash);
    assert_string_equal(query(database, sql), "t");
    /* What a client does on its fork is its own. */
    (void)query(database, "DELETE FROM t");
    database_close(database);
    rows_check(&outbox, embedded, 7, 7);
    assert_int_equal(embedded_fork(embedded, TOP + 1, &database, NULL, &err), SOREX_GONE);
    assert_string_equal(err.text, "height 25: the database is at height 24");
    assert_int_equal(embedded_fork(embedded, 0, &database, NULL, &err), SOREX_GONE);
    assert_string_equal(err.text, "height 0: the first entry is at height 1");
    sink_database.close(sink);
    outbox_close(&outbox);
}

/* A fork has the settings of a new session, not the sink's. */
static void a_fork_is_a_new_session(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    for (int i = 0; i < 3; i++)
        outbox_random_entry(&outbox, 30);
    struct sink *sink = sink_open(outbox.store, POSTGRES_TABLES);
    MUST(fold(sink, &outbox, 10));
    struct database *database = fork_at(sink_embedded(sink), 2, 2);
    assert_string_equal(query(database, "SHOW enable_hashjoin"), "on");
    assert_string_equal(query(database, "SHOW search_path"), "public");
    assert_string_equal(query(database, "SELECT count(*) FROM pg_class WHERE relpersistence = 't'"), "0");
    assert_string_equal(query(database, "SELECT count(*) FROM pg_prepared_statements"), "0");
    database_close(database);
    sink_database.close(sink);
    outbox_close(&outbox);
}

static void the_log_mode_too(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sink = sink_open(outbox.store, POSTGRES_LOG);
    struct embedded *embedded = sink_embedded(sink);
    for (int i = 0; i < 6; i++)
        outbox_random_entry(&outbox, 4);
    MUST(fold(sink, &outbox, 100));
    struct digest six = digest_at(embedded, SOREX_HEIGHT_NONE, 6);
    outbox_random_entry(&outbox, 4);
    outbox_random_undo(&outbox);
    outbox_random_entry(&outbox, 4);
    MUST(fold(sink, &outbox, 100));
    digests_equal(digest_at(embedded, 6, 6), six);
    struct database *database = fork_at(embedded, SOREX_HEIGHT_NONE, 7);
    assert_string_equal(query(database, "SELECT count(*), count(*) FILTER (WHERE undo) FROM sorex_changes"), "36|4");
    database_close(database);
    sink_database.close(sink);
    outbox_close(&outbox);
}

/* Beside the process that writes, and after it. */
static void another_process_opens_what_is_durable(void **state)
{
    (void)state;
    struct outbox outbox;
    struct store *store;
    struct embedded *embedded;
    struct database_program *program;
    outbox_open(&outbox);
    MUST(place_program_take(NULL, false, &program, &err));
    assert_int_equal(embedded_open(outbox.store, program, NULL, &embedded, &err), SOREX_GONE);
    assert_non_null(strstr(err.text, "no embedded database in this data directory"));
    for (int i = 0; i < 9; i++)
        outbox_random_entry(&outbox, 10);
    struct sink *sink = sink_open(outbox.store, POSTGRES_TABLES);
    MUST(fold(sink, &outbox, 10));
    MUST(store_open(&(struct store_options){.dir = outbox.dir, .read_only = true}, &store, &err));
    outbox_random_entry(&outbox, 10);
    MUST(fold(sink, &outbox, 10));
    assert_int_equal(embedded_open(store, program, "other", &embedded, &err), SOREX_GONE);
    assert_string_equal(err.text, "sink other has no embedded database here; there is one of out");
    MUST(embedded_open(store, program, NULL, &embedded, &err));
    rows_check(&outbox, embedded, SOREX_HEIGHT_NONE, 9);
    rows_check(&outbox, embedded, 4, 4);
    embedded_close(embedded);
    store_close(store);
    sink_database.close(sink);
    MUST(embedded_open(outbox.store, program, "out", &embedded, &err));
    rows_check(&outbox, embedded, SOREX_HEIGHT_NONE, 10);
    embedded_close(embedded);
    MUST(embedded_drop(outbox.store, "out", &err));
    assert_int_equal(embedded_drop(outbox.store, "out", &err), SOREX_GONE);
    assert_int_equal(embedded_open(outbox.store, program, "out", &embedded, &err), SOREX_GONE);
    place_program_give(program);
    outbox_close(&outbox);
}

/* ---- what the outbox does not lead to ---- */

static void below_the_outbox_the_lowest_height_is_named(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    store_close(outbox.store);
    MUST(store_open(&(struct store_options){.dir = outbox.dir, .history = 5, .fail_fast_sync = true}, &outbox.store,
                    &err));
    struct sink *sink = sink_open(outbox.store, POSTGRES_TABLES);
    for (int i = 0; i < 30; i++) {
        outbox_random_entry(&outbox, 10);
        MUST(fold(sink, &outbox, 100));
        struct sink_cursor cursor;
        MUST(sink_database.cursor(sink, &cursor, &err));
        MUST(store_cursor_set(outbox.store, "out", cursor.sequence, cursor.hash, &err));
    }
    uint64_t first, head;
    store_outbox_range(outbox.store, &first, &head);
    assert_true(first > 10);
    uint32_t lowest = (uint32_t)first - 1; /* the state before the oldest record that is kept */
    char wanted[128];
    struct database *database;
    rows_check(&outbox, sink_embedded(sink), lowest, lowest);
    (void)snprintf(wanted, sizeof wanted, "height %u: the outbox leads back to height %u only", lowest - 1, lowest);
    assert_int_equal(embedded_fork(sink_embedded(sink), lowest - 1, &database, NULL, &err), SOREX_GONE);
    assert_string_equal(err.text, wanted);
    sink_database.close(sink);
    outbox_close(&outbox);
}

/* ---- what fails ---- */

/* A row that cannot be: named; everything is as it was, and goes on when the row is gone. */
static void a_bad_row_is_named_and_nothing_is_lost(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sink = sink_open(outbox.store, POSTGRES_TABLES);
    struct embedded *embedded = sink_embedded(sink);
    for (int i = 0; i < 3; i++)
        outbox_random_entry(&outbox, 10);
    MUST(fold(sink, &outbox, 100));
    struct digest before = digest_at(embedded, SOREX_HEIGHT_NONE, 3);
    outbox_single(&outbox, "create", "t", "bad", NULL, "{\"v\":\"\\u0000\"}");
    for (int i = 0; i < 2; i++) {
        assert_int_not_equal(fold(sink, &outbox, 100), SOREX_OK);
        assert_non_null(strstr(err.text, "key \"bad\", height 4"));
        digests_equal(digest_at(embedded, SOREX_HEIGHT_NONE, 3), before);
    }
    outbox_undo(&outbox);
    sink_database.close(sink);
    sink = sink_open(outbox.store, POSTGRES_TABLES);
    digests_equal(digest_at(sink_embedded(sink), SOREX_HEIGHT_NONE, 3), before);
    sink_database.close(sink);
    outbox_close(&outbox);
}

/* The backend's end in the middle of a batch, and then all of it again from the last commit. */
static void a_backend_that_ends_comes_back_as_it_was(void **state)
{
    (void)state;
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sink = sink_open(outbox.store, POSTGRES_TABLES);
    struct embedded *embedded = sink_embedded(sink);
    outbox_single(&outbox, "create", "t", "k1", NULL, "{\"v\":\"one\"}");
    MUST(fold(sink, &outbox, 100));
    (void)query(saved_database(embedded->saved),
                "CREATE FUNCTION ending() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "IF NEW.v = 'end' THEN PERFORM set_config('exit_on_error', 'on', false); PERFORM 1 / (length(NEW.v) - "
                "3); END IF; "
                "RETURN NEW; END $$; CREATE TRIGGER ending BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION ending()");
    outbox_single(&outbox, "create", "t", "k2", NULL, "{\"v\":\"two\"}");
    MUST(fold(sink, &outbox, 100)); /* the trigger is kept with it */
    struct digest before = digest_at(embedded, SOREX_HEIGHT_NONE, 2);
    outbox_single(&outbox, "create", "t", "k3", NULL, "{\"v\":\"end\"}");
    for (int i = 0; i < 2; i++) {
        enum sorex_status status = fold(sink, &outbox, 100);
        assert_int_equal(status, SOREX_GUEST);
        assert_non_null(strstr(err.text, "key \"k3\", height 3"));
        assert_non_null(strstr(err.text, "22012: division by zero"));
        digests_equal(digest_at(embedded, SOREX_HEIGHT_NONE, 2), before);
    }
    outbox_undo(&outbox);
    MUST(fold(sink, &outbox, 100)); /* both records, which leave nothing */
    outbox_single(&outbox, "create", "t", "k3", NULL, "{\"v\":\"three\"}");
    MUST(fold(sink, &outbox, 100));
    struct database *database = fork_at(embedded, SOREX_HEIGHT_NONE, 3);
    assert_string_equal(query(database, ROWS), "k1|one\nk2|two\nk3|three");
    database_close(database);
    sink_database.close(sink);
    outbox_close(&outbox);
}

/* No room: said so, nothing lost; with more of it, it goes on. */
static void no_room_is_said_and_survived(void **state)
{
    (void)state;
    struct database_settings settings = {.rows = {.schema = schema, .log_table = log_table, .create_tables = true},
                                         .file_max = (uint64_t)56 << 20};
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sink = sink_open_with(outbox.store, &settings);
    outbox_single(&outbox, "create", "t", "k0", NULL, "{\"v\":\"x\"}");
    MUST(fold(sink, &outbox, 100));
    enum { LARGE = 1 << 20 };
    char *image = malloc(LARGE + 16);
    assert_non_null(image);
    enum sorex_status status = SOREX_OK;
    while (status == SOREX_OK && outbox.height < 200) {
        char key[16];
        (void)sprintf(key, "k%u", outbox.height);
        size_t len = (size_t)sprintf(image, "{\"v\":\"");
        for (; len < LARGE; len++)
            image[len] = (char)('a' + outbox_random(&outbox, 26)); /* not to be compressed away */
        (void)strcpy(image + len, "\"}");
        outbox_single(&outbox, "create", "t", key, NULL, image);
        status = fold(sink, &outbox, 100);
    }
    free(image);
    assert_int_equal(status, SOREX_LIMIT);
    assert_non_null(strstr(err.text, "no room in the embedded database (memory_max, file_max)"));
    assert_non_null(strstr(err.text, "SQLSTATE 53100"));
    struct database *database = fork_at(sink_embedded(sink), SOREX_HEIGHT_NONE, outbox.height - 1);
    char count[16];
    (void)snprintf(count, sizeof count, "%u", outbox.height - 1);
    assert_string_equal(query(database, "SELECT count(*) FROM t"), count);
    database_close(database);
    sink_database.close(sink);
    settings.file_max = 0;
    sink = sink_open_with(outbox.store, &settings);
    MUST(fold(sink, &outbox, 100));
    sink_database.close(sink);
    outbox_close(&outbox);
}

/* ---- crashes ---- */

/* The part of a process that goes on where the one before was ended. Returns an exit code. */
static int life(struct outbox *outbox, enum fault_kind kind, uint32_t nth)
{
    outbox_reopen(outbox);
    struct sink *sink = sink_open(outbox->store, POSTGRES_TABLES);
    store_fault_arm(kind, nth);
    int code = fold(sink, outbox, 25) == SOREX_OK ? 0 : 1;
    store_fault_arm(FAULT_NONE, 0);
    sink_database.close(sink);
    store_close(outbox->store);
    return code;
}

/* Ended before, after or by a failure of each write of the store: what is there is the outbox folded up to the cursor,
 * at each time, and in the end all of it. */
static void ended_at_every_write(void **state)
{
    (void)state;
    static const enum fault_kind kinds[] = {FAULT_EXIT_BEFORE, FAULT_EXIT_AFTER, FAULT_FAIL, FAULT_FAIL_AFTER};
    struct outbox outbox;
    outbox_open(&outbox);
    for (int i = 0; i < 32; i++) {
        outbox_random_entry(&outbox, 10);
        if (i % 8 == 7)
            outbox_random_undo(&outbox);
    }
    uint32_t ended = 0;
    for (uint32_t i = 0, code = 1; code != 0; i++) {
        assert_true(i < 200);
        store_close(outbox.store);
        assert_int_equal(fflush(NULL), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            outbox.store = NULL;
            _exit(life(&outbox, kinds[i % 4], 1 + i % 3));
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        code = (uint32_t)WEXITSTATUS(status);
        ended += code != 0;
        outbox.store = NULL;
        outbox_reopen(&outbox);
        struct sink *sink = sink_open(outbox.store, POSTGRES_TABLES);
        struct sink_cursor cursor;
        enum sorex_status found = sink_database.cursor(sink, &cursor, &err);
        assert_true(found == SOREX_OK || found == SOREX_GONE);
        if (code == 0)
            assert_int_equal(cursor.sequence, outbox_head(&outbox));
        struct database *database;
        uint32_t height;
        MUST(embedded_fork(sink_embedded(sink), SOREX_HEIGHT_NONE, &database, &height, &err));
        char model[OUTBOX_KEYS * 48] = "";
        if (cursor.sequence > 0) {
            model_rows(&outbox, height, model);
            assert_string_equal(query(database, ROWS), model);
        }
        database_close(database);
        sink_database.close(sink);
    }
    assert_true(ended > 5);
    outbox_close(&outbox);
}

/* ---- several at once ---- */

struct readers {
    struct embedded *embedded;
    const char (*models)[OUTBOX_KEYS * 48];
    atomic_bool stop;
    atomic_uint forks;
};

/* Each fork is one of the states that there were, whole, and an earlier one on top of it is, too. */
static void *reader(void *user_data)
{
    struct readers *readers = user_data;
    while (!atomic_load(&readers->stop) || atomic_load(&readers->forks) < 8) {
        struct sorex_error failed = {0};
        struct results results;
        struct database *database;
        uint32_t height;
        CHECK(embedded_fork(readers->embedded, SOREX_HEIGHT_NONE, &database, &height, &failed) == SOREX_OK);
        results_init(&results, 0);
        CHECK(database_exec(database,
                            "SELECT coalesce(string_agg(key || '|' || v, E'\\n' "
                            "ORDER BY substr(key, 2)::int), '') FROM t",
                            &results, &failed) == SOREX_OK &&
              results.error == NULL);
        CHECK(bytes_is(results.first->rows[0][0].bytes, readers->models[height]));
        results_deinit(&results);
        database_close(database);
        (void)atomic_fetch_add(&readers->forks, 1);
    }
    return NULL;
}

static void forks_while_it_goes_on(void **state)
{
    (void)state;
    enum { TOP = 60, THREADS = 2 };
    static char models[TOP + 1][OUTBOX_KEYS * 48];
    struct outbox outbox;
    pthread_t threads[THREADS];
    outbox_open(&outbox);
    outbox_random_entry(&outbox, 10);
    model_rows(&outbox, 1, models[1]);
    struct sink *sink = sink_open(outbox.store, POSTGRES_TABLES);
    MUST(fold(sink, &outbox, 1));
    struct readers readers = {.embedded = sink_embedded(sink), .models = (const char(*)[OUTBOX_KEYS * 48]) models};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &readers), 0);
    while (outbox.height < TOP) {
        outbox_random_entry(&outbox, 10);
        model_rows(&outbox, outbox.height, models[outbox.height]);
        MUST(fold(sink, &outbox, 1));
    }
    atomic_store(&readers.stop, true);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(atomic_load(&readers.forks) >= 8);
    sink_database.close(sink);
    outbox_close(&outbox);
}

/* ---- settings ---- */

static void settings_are_checked(void **state)
{
    (void)state;
    struct database_settings settings = {.rows = {.schema = schema, .log_table = log_table}};
    struct sink_context context = {.name = "out", .pipeline = "test", .base_dir = ".", .stream = true};
    struct sink *sink;
    assert_int_equal(sink_database.open(&settings, &context, &sink, &err), SOREX_INVALID);
    assert_non_null(strstr(err.text, "a stream has no store"));
    context.stream = false;
    MUST(sink_database.open(&settings, &context, &sink, &err)); /* as `sorex check` does */
    assert_null(sink_embedded(sink));
    sink_database.close(sink);
    struct config_node *tables;
    MUST(config_parse(bytes_str("t: {kee: a}"), "test.yaml", &tables, &err));
    settings.rows.tables = tables;
    assert_int_equal(sink_database.open(&settings, &context, &sink, &err), SOREX_INVALID);
    config_free(tables);
}

/* The pipeline file's keys and types are kept with the database: an earlier height needs no file. */
static void tables_of_the_pipeline_file(void **state)
{
    (void)state;
    struct outbox outbox;
    struct config_node *tables;
    struct embedded *embedded;
    struct database_program *program;
    char other[] = "other \"schema\"";
    outbox_open(&outbox);
    MUST(config_parse(bytes_str("t: {key: [a, 'b \"c\"'], columns: {a: smallint, d: 'numeric(10,2)'}}"), "test.yaml",
                      &tables, &err));
    struct database_settings settings = {
        .rows = {.schema = other, .log_table = log_table, .create_tables = true, .tables = tables}};
    outbox_single(&outbox, "create", "t", "x", NULL, "{\"a\":1,\"b \\\"c\\\"\":\"k\",\"d\":\"1.50\"}");
    outbox_single(&outbox, "update", "t", "x", "{\"a\":1,\"b \\\"c\\\"\":\"k\",\"d\":\"1.50\"}",
                  "{\"a\":1,\"b \\\"c\\\"\":\"k\",\"d\":\"2.25\"}");
    struct sink *sink = sink_open_with(outbox.store, &settings);
    MUST(fold(sink, &outbox, 100));
    sink_database.close(sink);
    config_free(tables);
    MUST(place_program_take(NULL, false, &program, &err));
    MUST(embedded_open(outbox.store, program, "out", &embedded, &err));
    for (uint32_t height = 1; height <= 2; height++) {
        struct database *database = fork_at(embedded, height, height);
        assert_string_equal(query(database, "SELECT * FROM \"other \"\"schema\"\"\".t"),
                            height == 1 ? "1|k|1.50" : "1|k|2.25");
        database_close(database);
    }
    embedded_close(embedded);
    place_program_give(program);
    outbox_close(&outbox);
}

int main(void)
{
    log_level_set(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_there_after_a_restart),
        cmocka_unit_test(undo_of_any_depth),
        cmocka_unit_test(a_fork_at_a_height_is_the_state_of_then),
        cmocka_unit_test(a_fork_is_a_new_session),
        cmocka_unit_test(the_log_mode_too),
        cmocka_unit_test(another_process_opens_what_is_durable),
        cmocka_unit_test(below_the_outbox_the_lowest_height_is_named),
        cmocka_unit_test(a_bad_row_is_named_and_nothing_is_lost),
        cmocka_unit_test(a_backend_that_ends_comes_back_as_it_was),
        cmocka_unit_test(no_room_is_said_and_survived),
        cmocka_unit_test(ended_at_every_write),
        cmocka_unit_test(forks_while_it_goes_on),
        cmocka_unit_test(settings_are_checked),
        cmocka_unit_test(tables_of_the_pipeline_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
