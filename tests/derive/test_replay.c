/* The demo game, derived again and again in one process: equal digests, traces and images every time, from the
 * beginning, from the schema, from a snapshot half way, and where a message had to be taken back. */
#include "derive/fold.h"

#define MESSAGES 28 /* until both sides have moved, and one has attacked */
#define HALF 14

static struct derivation *derivation;
static struct snapshot *schema;    /* the state before the first message */
static struct database *schema_of; /* whose snapshot that is */
static struct buf middle;          /* the state after HALF messages, as an image */
static struct receipt schema_receipt, middle_receipt;
static char log_path[PATH_MAX];

static int setup(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct derive_settings settings = default_settings();
    settings.maintenance = 0; /* it takes longer than the messages; tests of directories have it */
    struct derivation_options options = derive_settings_derivation(&settings);
    char path[PATH_MAX];
    folder_make();
    (void)snprintf(path, sizeof path, "%s/dnd_c.wasm", getenv("SOREX_GUESTS"));
    (void)snprintf(log_path, sizeof log_path, "%s/examples/dnd/game.jsonl", getenv("SOREX_SOURCE_DIR"));
    assert_ok(file_read(path, (size_t)1 << 20, &wasm, &err));
    assert_ok(derivation_new(buf_view(&wasm), &options, &derivation, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    snapshot_drop(schema);
    database_close(schema_of);
    derivation_free(derivation);
    buf_deinit(&middle);
    buf_deinit(&wasm);
    folder_remove();
    return 0;
}

static struct messages *log_at(uint64_t count)
{
    struct sorex_error err = {0};
    struct messages *messages = NULL;
    assert_ok(messages_open(log_path, NULL, &messages, &err));
    assert_ok(messages_skip(messages, count, &err));
    return messages;
}

static void go_to(struct database *database, struct receipt *receipt, uint64_t count)
{
    struct sorex_error err = {0};
    struct messages *messages = log_at(receipt->count);
    assert_ok(derivation_replay(derivation, database, receipt, messages, count, &err));
    messages_close(messages);
}

/* ---- ways ---- */

static struct database *from_the_beginning(struct receipt *receipt)
{
    struct sorex_error err = {0};
    struct database *database = NULL;
    const struct database_options *options = derivation_database_options(derivation);
    assert_ok(database_open(derivation_program(derivation), options, &database, &err));
    assert_ok(derivation_begin(derivation, database, receipt, &err));
    return database;
}

static struct database *from_the_schema(struct receipt *receipt)
{
    struct sorex_error err = {0};
    struct database *database = NULL;
    assert_ok(database_fork(schema_of, schema, &database, &err));
    *receipt = schema_receipt;
    return database;
}

/* A session of its own, with a reducer that has to find out what is prepared in it. */
static struct database *from_the_middle(struct receipt *receipt)
{
    struct sorex_error err = {0};
    struct database *database = NULL;
    const struct database_options *options = derivation_database_options(derivation);
    assert_ok(database_open_image(derivation_program(derivation), options, buf_view(&middle), &database, &err));
    assert_ok(derivation_continue(derivation, database, &err));
    *receipt = middle_receipt;
    return database;
}

/* Some messages further, and back. */
static struct database *taken_back(struct receipt *receipt)
{
    struct sorex_error err = {0};
    struct snapshot *snapshot = NULL;
    struct database *database = from_the_schema(receipt);
    go_to(database, receipt, HALF / 2);
    const struct receipt before = *receipt;
    assert_ok(database_save(database, &snapshot, &err));
    go_to(database, receipt, HALF);
    assert_ok(database_restore(database, snapshot, &err));
    snapshot_drop(snapshot);
    *receipt = before;
    return database;
}

static struct database *(*const ways[])(struct receipt *receipt) = {from_the_schema, from_the_middle, taken_back,
                                                                    from_the_beginning};

static void keep_middle(void)
{
    struct sorex_error err = {0};
    struct database *database = NULL;
    schema_of = from_the_beginning(&schema_receipt);
    assert_ok(database_save(schema_of, &schema, &err));
    database = from_the_schema(&middle_receipt);
    go_to(database, &middle_receipt, HALF);
    assert_ok(database_export(database, &middle, &err));
    database_close(database);
}

/* SOREX_REPLAYS of them. */
static void test_replays(void **state)
{
    (void)state;
    const char *text = getenv("SOREX_REPLAYS");
    unsigned long replays = text != NULL ? strtoul(text, NULL, 10) : 100;
    static struct receipt receipt;
    static struct state first, again;
    struct database *database = from_the_beginning(&receipt);
    go_to(database, &receipt, MESSAGES);
    state_of(database, &receipt, true, &first);
    database_close(database);
    assert_true(first.receipt.rejected >= 1 && first.receipt.rejected < MESSAGES / 2);
    keep_middle();
    for (unsigned long i = 1; i < replays; i++) {
        database = ways[i % (sizeof ways / sizeof ways[0])](&receipt);
        go_to(database, &receipt, MESSAGES);
        state_of(database, &receipt, true, &again);
        assert_states(&again, &first);
        database_close(database);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replays)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
