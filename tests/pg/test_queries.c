/* Random queries: the embedded PostgreSQL and a native server give the same rows and fail with the same SQLSTATEs.
 *
 * SOREX_PG_QUERIES  how many (2,000); SOREX_PG_SEED: the first seed (1). A seed has 1,000. */
#include "pg/native.h"
#include "pg/pg.h"
#include "pg/query.h"

#include <stdio.h>
#include <stdlib.h>

#define QUERIES 2000u
#define QUERIES_OF_A_SEED 1000u

static struct postgres *postgres;
static struct snapshot *base;
static struct postgres_server *server;
static struct native native;

static int setup(void **state)
{
    struct sorex_error err = {0};
    static const char *const settings[] = {"max_parallel_workers_per_gather=0", NULL};
    (void)state;
    enum sorex_status status = postgres_server_new(settings, &server, &err);
    if (status == SOREX_GONE)
        return 0; /* the test says so */
    assert_int_equal(status, SOREX_OK);
    assert_ok(native_open(server, &native, &err));
    postgres = pg_open();
    base = pg_base(postgres);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (server == NULL)
        return 0;
    native_close(&native);
    postgres_server_free(server);
    snapshot_drop(base);
    postgres_close(postgres);
    return 0;
}

static enum sorex_status embedded_exchange(void *user_data, struct bytes messages, struct buf *out,
                                           struct sorex_error *err)
{
    return instance_exchange(user_data, messages, out, err);
}

static void value_say(const struct protocol_value *value, struct buf *out)
{
    assert_int_equal(buf_append(out, value->null ? bytes_str("NULL") : value->bytes, NULL), SOREX_OK);
    assert_int_equal(buf_append_str(out, value->null ? "" : "|", NULL), SOREX_OK);
}

/* Rows, tags and the SQLSTATE as text. */
static void results_say(const struct results *results, struct buf *out)
{
    struct sorex_error err = {0};
    for (const struct result *result = results->first; result != NULL; result = result->next) {
        for (size_t row = 0; row < result->rows_count; row++) {
            for (size_t i = 0; i < result->columns_count; i++)
                value_say(&result->rows[row][i], out);
            assert_int_equal(buf_append_str(out, "\n", NULL), SOREX_OK);
        }
        assert_ok(buf_printf(out, &err, "-> %.*s\n", BYTES_FMT(result->tag)));
    }
    if (results->error != NULL)
        assert_ok(buf_printf(out, &err, "E: %.*s\n", BYTES_FMT(results->error->fields[PROTOCOL_FIELD_SQLSTATE])));
    assert_ok(buf_printf(out, &err, "%c\n", results->transaction));
}

static bool ask(result_exchange_fn *exchange, void *user_data, struct bytes message, struct buf *out)
{
    struct sorex_error err = {0};
    struct results results;
    struct buf replies = {0};
    results_init(&results, 0);
    assert_ok(results_exchange(&results, exchange, user_data, message, &replies, &err));
    out->len = 0;
    results_say(&results, out);
    bool failed = results.error != NULL;
    results_deinit(&results);
    buf_deinit(&replies);
    return failed;
}

/* Where the line begins in which they part. */
static size_t parting(struct bytes a, struct bytes b)
{
    size_t line = 0;
    for (size_t i = 0; i < a.len && i < b.len && a.data[i] == b.data[i]; i++)
        if (a.data[i] == '\n')
            line = i + 1;
    return line;
}

#define EXCERPT(buf, at) (int)((buf).len - (at) < 400 ? (buf).len - (at) : 400), (const char *)(buf).data + (at)

static unsigned long number_from(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoul(text, NULL, 10);
}

static void test_queries(void **state)
{
    struct sorex_error err = {0};
    struct buf query = {0}, message = {0}, ours = {0}, theirs = {0};
    struct instance *instance = NULL;
    unsigned long seed = number_from("SOREX_PG_SEED", 1), count = number_from("SOREX_PG_QUERIES", QUERIES),
                  failures = 0;
    (void)state;
    if (server == NULL) {
        print_message("SKIPPED: no PostgreSQL server\n");
        skip();
    }
    for (unsigned long i = 0; i < count; i++) {
        if (i % QUERIES_OF_A_SEED == 0) {
            instance_close(instance);
            instance = pg_fork(base);
        }
        unsigned long number = i % QUERIES_OF_A_SEED, of = seed + i / QUERIES_OF_A_SEED;
        query_make(of, number, &query);
        message.len = 0;
        assert_ok(protocol_query(&message, buf_view(&query), &err));
        bool failed = ask(native_exchange, &native, buf_view(&message), &theirs);
        failures += failed;
        assert_true(!failed || number % QUERY_ROUND != 0);
        (void)ask(embedded_exchange, instance, buf_view(&message), &ours);
        if (!bytes_equal(buf_view(&ours), buf_view(&theirs))) {
            size_t at = parting(buf_view(&ours), buf_view(&theirs));
            fail_msg("seed %lu, query %lu: %s\nembedded, from byte %zu on:\n%.*s\nnative:\n%.*s", of, number,
                     (const char *)query.data, at, EXCERPT(ours, at), EXCERPT(theirs, at));
        }
    }
    print_message("%lu queries, %lu of them failed on both sides with one SQLSTATE\n", count, failures);
    assert_true(failures > 0 && failures < count / 4); /* the generator is no use when most fail */
    instance_close(instance);
    buf_deinit(&query);
    buf_deinit(&message);
    buf_deinit(&ours);
    buf_deinit(&theirs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_queries)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
