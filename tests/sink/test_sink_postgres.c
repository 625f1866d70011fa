/* What becomes of changes in a real PostgreSQL: a server, then the embedded one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "sink/outbox.h"
#include "sink/postgres_target.h"
#include "sink/runner.h"
#include "sink/target.h"

#define MUST(call)                                      \
    do {                                                \
        if ((call) != SOREX_OK)                         \
            fail_msg("%s: %s", #call, sink_error.text); \
    } while (0)

#define COLUMNS_OF_T                                                                                                  \
    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > " \
    "0 "                                                                                                              \
    "ORDER BY attname"

static void rows_come_change_and_go(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 0);
    MUST(target_change(sink, 1, "create", "t", "a", NULL,
                       "{\"n\":1,\"s\":\"x\\ty\\\\\\n\\u00e9\",\"b\":true,\"o\":{\"k\":[1,null]}}"));
    MUST(target_change(sink, 2, "create", "t", "b", NULL, "{\"n\":2}"));
    target_expect(COLUMNS_OF_T, "b|boolean\nkey|text\nn|bigint\no|jsonb\ns|text");
    target_expect("SELECT key, n, s, b, o FROM t ORDER BY key", "a|1|x\ty\\\n\xc3\xa9|t|{\"k\": [1, null]}\nb|2|-|-|-");
    /* A full row: what the new image does not name becomes NULL. */
    MUST(target_change(sink, 3, "update", "t", "a", "{\"n\":1}", "{\"n\":7}"));
    target_expect("SELECT key, n, s, b, o FROM t ORDER BY key", "a|7|-|-|-\nb|2|-|-|-");
    MUST(target_change(sink, 4, "delete", "t", "a", "{\"n\":7}", NULL));
    target_expect("SELECT key, n FROM t", "b|2");
    target_expect("SELECT pipeline, sink, sequence, left(entry, 2), right(entry, 2) FROM sorex_cursor",
                  "test|out|4|00|04");
    assert_int_equal(target_cursor(sink), 4);
    sink_postgres.close(sink);
}

static void a_batch_is_netted_out(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 0);
    MUST(target_change(sink, 1, "create", "t", "old", NULL, "{\"n\":1}"));
    char *changes[] = {
        outbox_change("create", "t", "a", NULL, "{\"n\":1}", 2),
        outbox_change("update", "t", "a", "{\"n\":1}", "{\"n\":2}", 2),
        outbox_change("create", "t", "b", NULL, "{\"n\":1}", 2),
        outbox_change("delete", "t", "b", "{\"n\":1}", NULL, 2),
        outbox_change("delete", "t", "old", "{\"n\":1}", NULL, 2),
        outbox_change("create", "t", "old", NULL, "{\"n\":5}", 2),
        outbox_change("create", "second", "a", NULL, "{\"m\":\"x\"}", 2),
    };
    MUST(target_apply(sink, 2, (const char *const *)changes, 7));
    for (size_t i = 0; i < 7; i++)
        free(changes[i]);
    target_expect("SELECT key, n FROM t ORDER BY key", "a|2\nold|5");
    target_expect("SELECT key, m FROM second", "a|x");
    sink_postgres.close(sink);
}

/* ---- types ---- */

struct type_case {
    const char *values[3];
    const char *type;
};

static const struct type_case type_cases[] = {
    {{"1", "-9223372036854775808", "9223372036854775807"}, "bigint"},
    {{"1", "9223372036854775808", "-5"}, "numeric"},
    {{"1", "1.5", "3"}, "numeric"},
    {{"0.1", "-2.5e10", "123456789.012345"}, "double precision"},
    {{"0.1", "0.12345678901234567", "1e300"}, "numeric"},
    {{"0.1", "\"x\"", "2.25"}, "jsonb"},
    {{"9007199254740993", "0.5", "\"9007199254740993\""}, "jsonb"},
    {{"true", "false", "null"}, "boolean"},
    {{"true", "1", "null"}, "jsonb"},
    {{"\"a\"", "\"\"", "null"}, "text"},
    {{"\"a\"", "{\"x\":1.50}", "[]"}, "jsonb"},
    {{"[1]", "{}", "\"[1]\""}, "jsonb"},
    {{"12345678901234567890123456789", "1", "0.25"}, "numeric"},
};

static const unsigned orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* The value of row i is values[i], whatever the order in which the rows come, and whether in one batch or in three. */
static void table_fill(const struct type_case *values, const unsigned order[3], bool together)
{
    target_exec("DROP TABLE IF EXISTS t, sorex_cursor");
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 0);
    char *changes[3];
    for (size_t i = 0; i < 3; i++) {
        char key[2] = {(char)('a' + order[i]), '\0'};
        char image[128];
        (void)snprintf(image, sizeof image, "{\"v\":%s}", values->values[order[i]]);
        changes[i] = outbox_change("create", "t", key, NULL, image, 1);
    }
    if (together)
        MUST(target_apply(sink, 1, (const char *const *)changes, 3));
    else
        for (uint64_t i = 0; i < 3; i++)
            MUST(target_apply(sink, i + 1, (const char *const *)&changes[i], 1));
    for (size_t i = 0; i < 3; i++)
        free(changes[i]);
    sink_postgres.close(sink);
}

static void types_do_not_depend_on_the_order(void **state)
{
    (void)state;
    target_needed();
    for (size_t c = 0; c < sizeof type_cases / sizeof *type_cases; c++) {
        const struct type_case *values = &type_cases[c];
        char wanted[512] = "";
        for (size_t order = 0; order < 12; order++) {
            table_fill(values, orders[order / 2], order % 2 == 1);
            target_expect("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass "
                          "AND attname = 'v'",
                          values->type);
            const char *rows = target_query("SELECT key, to_jsonb(v) FROM t ORDER BY key");
            if (order == 0)
                (void)snprintf(wanted, sizeof wanted, "%s", rows);
            assert_string_equal(rows, wanted);
        }
    }
    /* The last one, exact. */
    target_expect("SELECT v FROM t ORDER BY key", "12345678901234567890123456789\n1\n0.25");
}

static void widening_survives_a_restart_and_spares_the_users_columns(void **state)
{
    (void)state;
    target_needed();
    target_exec("CREATE TABLE t (key text PRIMARY KEY, mine bigint, made timestamptz DEFAULT now(), twice bigint "
                "GENERATED ALWAYS AS (mine * 2) STORED)");
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 0);
    MUST(target_change(sink, 1, "create", "t", "a", NULL, "{\"mine\":1,\"own\":1}"));
    sink_postgres.close(sink);
    sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 1);
    MUST(target_change(sink, 2, "create", "t", "b", NULL, "{\"mine\":2,\"own\":\"text\",\"new\":null}"));
    target_expect("SELECT key, mine, own, twice, made IS NOT NULL FROM t ORDER BY key", "a|1|1|2|t\nb|2|\"text\"|4|t");
    assert_int_equal(target_change(sink, 3, "create", "t", "c", NULL, "{\"mine\":\"many\"}"), SOREX_IO);
    assert_non_null(strstr(sink_error.text, "program balances, table \"t\", key \"c\", height 3"));
    assert_non_null(strstr(sink_error.text, "bigint"));
    target_expect("SELECT count(*) FROM t", "2");
    sink_postgres.close(sink);
}

static void types_and_keys_of_the_pipeline_file(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = target_sink(
        POSTGRES_TABLES, true,
        "t: {key: [owner, token], columns: {amount: 'numeric(78,0)', at: timestamptz, owner: varchar(20)}}");
    assert_int_equal(target_cursor(sink), 0);
    MUST(target_change(
        sink, 1, "create", "t", "k1", NULL,
        "{\"owner\":\"ann\",\"token\":1,\"amount\":\"115792089237316195423570985008687907853269984665640564039457\","
        "\"at\":\"2009-01-03T18:15:05Z\"}"));
    target_expect(COLUMNS_OF_T,
                  "amount|numeric(78,0)\nat|timestamp with time zone\nowner|character varying(20)\ntoken|bigint");
    target_expect("SELECT owner, amount, at, token FROM t",
                  "ann|115792089237316195423570985008687907853269984665640564039457|2009-01-03 18:15:05+00|1");
    /* The key moves: the old row goes. */
    MUST(target_change(sink, 2, "update", "t", "k1", "{\"owner\":\"ann\",\"token\":1,\"amount\":1}",
                       "{\"owner\":\"bob\",\"token\":1,\"amount\":2}"));
    target_expect("SELECT owner, token, amount FROM t", "bob|1|2");
    MUST(target_change(sink, 3, "delete", "t", "k1", "{\"owner\":\"bob\",\"token\":1,\"amount\":2}", NULL));
    target_expect("SELECT count(*) FROM t", "0");
    assert_int_equal(target_change(sink, 4, "create", "t", "k2", NULL, "{\"owner\":\"ann\"}"), SOREX_INVALID);
    assert_non_null(strstr(sink_error.text, "key \"k2\""));
    assert_non_null(strstr(sink_error.text, "key column \"token\""));
    sink_postgres.close(sink);
}

static void images_that_are_no_objects(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 0);
    MUST(target_change(sink, 1, "create", "t", "a", NULL, "[1,2]"));
    MUST(target_change(sink, 2, "create", "t", "b", NULL, "\"text\""));
    MUST(target_change(sink, 3, "create", "t", "c", NULL, "12.50"));
    target_expect("SELECT key, value FROM t ORDER BY key", "a|[1, 2]\nb|\"text\"\nc|12.50");
    target_expect(COLUMNS_OF_T, "key|text\nvalue|jsonb");
    sink_postgres.close(sink);
}

/* ---- formats ---- */

#define EVERY_TYPE                                                                                                    \
    "(key text PRIMARY KEY, b boolean, l bigint, i integer, x text, v varchar(30), d double precision, n numeric, m " \
    "numeric(20,4), z timestamptz, s timestamptz(0), o json, p jsonb)"

static const char *const every_image[] = {
    "{}",
    "{\"b\":true,\"l\":-9223372036854775808,\"i\":2147483647,\"x\":\"a\\tb\\\\\\n\\u00e9\",\"v\":\"\",\"d\":1e-300}",
    "{\"b\":false,\"l\":9223372036854775807,\"i\":-2147483648,\"x\":12.50,\"v\":true,\"d\":-0.0,\"n\":-0.00}",
    "{\"l\":\"-007\",\"i\":\"12\",\"x\":{\"k\":\"\\\\\"},\"d\":\"2.5\",\"n\":\"00012.3400\",\"m\":\"-3.00005\"}",
    "{\"n\":0.0000000123,\"m\":9999999999999999.9999,\"d\":123456789.123456789,\"o\":{\"b\" : 1},\"p\":{\"b\" : 1}}",
    "{\"n\":123456789012345678901234567890.5,\"m\":1e3,\"d\":4.9e-324,\"o\":\"text\",\"p\":\"text\"}",
    "{\"n\":1.5e10,\"m\":-1e-4,\"d\":1.7976931348623157e308,\"o\":[1,null],\"p\":[1.50,null]}",
    "{\"n\":10000,\"m\":9999,\"o\":1,\"p\":12.50,\"z\":\"2009-01-03T18:15:05Z\",\"s\":\"2009-01-03T18:15:05.5Z\"}",
    "{\"n\":99990000,\"m\":0.0001,\"z\":\"1999-12-31 23:59:59.999999\",\"s\":\"1999-12-31 23:59:59.999999\"}",
    "{\"n\":1e-20,\"z\":\"2000-02-29T00:00:00.1+05:30\",\"s\":\"1900-03-01T00:00:00-14:00\"}",
    "{\"n\":1e100,\"z\":\"0001-01-01T00:00:00Z\",\"s\":\"9999-12-31T23:59:59Z\"}",
    "{\"n\":-100.0e-2,\"z\":\"2024-03-01T12:00:00Z\",\"s\":\"2023-12-31T23:59:59.499999Z\"}",
};
/* No binary form: the input function decides. */
static const char *const odd_image[] = {
    "{\"b\":\"yes\",\"l\":\" 5 \",\"d\":\"NaN\",\"n\":\"Infinity\",\"z\":\"yesterday\"}",
    "{\"n\":\"1e2000\",\"z\":\"2009-01-03\",\"s\":\"Jan 3 2009 18:15 PST\",\"d\":\"1.\"}",
};
#define EVERY (sizeof every_image / sizeof *every_image)
#define ODD (sizeof odd_image / sizeof *odd_image)

#define MANY 240 /* rows; fewer would go as text */

/* The images again and again, each as a row of its own. */
static void rows_put(struct sink *sink, uint64_t sequence, const char *table, const char *prefix,
                     const char *const *images, size_t count, const char *operation)
{
    char *changes[MANY];
    bool gone = strcmp(operation, "delete") == 0;
    for (size_t i = 0; i < MANY; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%s%zu", prefix, i);
        changes[i] =
            outbox_change(operation, table, key, gone ? images[i % count] : NULL, gone ? NULL : images[i % count], 1);
    }
    MUST(target_apply(sink, sequence, (const char *const *)changes, MANY));
    for (size_t i = 0; i < MANY; i++)
        free(changes[i]);
}

/* Table t as the careful attempt leaves it, whose COPY is in text; table u as COPY in binary does. */
static void a_value_does_not_depend_on_the_format_it_came_in(void **state)
{
    (void)state;
    target_needed();
    target_exec("CREATE TABLE t " EVERY_TYPE "; CREATE TABLE u " EVERY_TYPE);
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    struct postgres *pg = (struct postgres *)sink;
    assert_int_equal(target_cursor(sink), 0);
    rows_put(sink, 1, "t", "k", every_image, EVERY, "create");
    assert_false(pg->binary);
    static const char *const none[] = {"{}"};
    rows_put(sink, 2, "u", "first", none, 1, "create");
    rows_put(sink, 3, "u", "first", none, 1, "delete");
    target_expect("SELECT count(*) FROM u", "0");
    rows_put(sink, 4, "u", "k", every_image, EVERY, "create");
    assert_true(pg->binary);
    target_expect("SELECT count(*) FROM t JOIN u USING (key) WHERE t::text = u::text", "240");
    /* By way of the temporary table. */
    rows_put(sink, 5, "u", "k", every_image, EVERY, "update");
    assert_true(pg->binary);
    target_expect("SELECT count(*) FROM t JOIN u USING (key) WHERE t::text = u::text", "240");
    target_expect("SELECT n, m, d, z, s FROM u WHERE key IN ('k3', 'k8') ORDER BY key",
                  "12.3400|-3.0001|2.5|-|-\n99990000|0.0001|-|1999-12-31 23:59:59.999999+00|2000-01-01 00:00:00+00");
    rows_put(sink, 6, "u", "odd", odd_image, ODD, "create");
    assert_false(pg->binary);
    target_expect("SELECT b, l, d, n, z IS NULL FROM u WHERE key = 'odd0'", "t|5|NaN|Infinity|f");
    target_expect("SELECT length(n::text), z, s FROM u WHERE key = 'odd1'",
                  "2001|2009-01-03 00:00:00+00|2009-01-04 02:15:00+00");
    rows_put(sink, 7, "u", "k", every_image, EVERY, "delete");
    target_expect("SELECT count(*) FROM u", "240");
    sink_postgres.close(sink);
}

/* The same eight bytes would be another value. */
static void a_type_changed_by_somebody_is_noticed(void **state)
{
    (void)state;
    target_needed();
    target_exec("CREATE TABLE t (key text PRIMARY KEY, l bigint)");
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    struct postgres *pg = (struct postgres *)sink;
    assert_int_equal(target_cursor(sink), 0);
    static const char *const seven[] = {"{\"l\":7}"};
    rows_put(sink, 1, "t", "a", seven, 1, "create");
    rows_put(sink, 2, "t", "b", seven, 1, "create");
    assert_true(pg->binary);
    target_exec("ALTER TABLE t ALTER l TYPE double precision");
    rows_put(sink, 3, "t", "c", seven, 1, "create");
    target_expect("SELECT l, count(*) FROM t GROUP BY l", "7|720");
    target_exec("ALTER TABLE t ALTER l TYPE bigint");
    rows_put(sink, 4, "t", "b", seven, 1, "update");
    target_expect("SELECT l, count(*) FROM t GROUP BY l", "7|720");
    sink_postgres.close(sink);
}

/* More rows than one array of keys takes, some of whose keys only the server can read. */
static void many_rows_are_removed(void **state)
{
    (void)state;
    target_needed();
    target_exec("CREATE TABLE t (id bigint PRIMARY KEY, n bigint); CREATE TABLE kept (id bigint REFERENCES t)");
    struct sink *sink = target_sink(POSTGRES_TABLES, true, "t: {key: id}");
    assert_int_equal(target_cursor(sink), 0);
    enum { ROWS = 5000 };
    char **changes = calloc(ROWS, sizeof *changes);
    assert_non_null(changes);
    for (uint64_t round = 0; round < 4; round++) {
        for (size_t i = 0; i < ROWS; i++) {
            char image[64];
            (void)snprintf(image, sizeof image, i % 100 == 99 ? "{\"id\":\" %zu\",\"n\":1}" : "{\"id\":%zu,\"n\":1}",
                           i);
            changes[i] = outbox_change(round % 2 == 0 ? "create" : "delete", "t", "k", round % 2 == 0 ? NULL : image,
                                       round % 2 == 0 ? image : NULL, 1);
        }
        if (round == 2)
            target_exec("DELETE FROM t");
        /* A row that is referred to stops the batch, and is named. */
        if (round == 3) {
            target_exec("INSERT INTO kept VALUES (4321)");
            assert_int_equal(target_apply(sink, 4, (const char *const *)changes, ROWS), SOREX_IO);
            assert_non_null(strstr(sink_error.text, "23503"));
            assert_non_null(strstr(sink_error.text, "(4321)"));
            target_exec("DELETE FROM kept");
            assert_int_equal(target_cursor(sink), 3);
        }
        MUST(target_apply(sink, round + 1, (const char *const *)changes, ROWS));
        target_expect("SELECT count(*) FROM t", round % 2 == 0 ? "5000" : "0");
        for (size_t i = 0; i < ROWS; i++)
            free(changes[i]);
    }
    free(changes);
    sink_postgres.close(sink);
}

/* ---- what cannot be written ---- */

static void the_bad_row_among_many_is_named(void **state)
{
    (void)state;
    target_needed();
    target_exec("CREATE TABLE t (key text PRIMARY KEY, n bigint CHECK (n < 1000))");
    target_exec("CREATE TABLE u (key text PRIMARY KEY, n bigint)");
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 0);
    char *changes[600];
    for (size_t i = 0; i < 600; i++) {
        char key[16];
        char image[32];
        (void)snprintf(key, sizeof key, "k%zu", i);
        (void)snprintf(image, sizeof image, "{\"n\":%zu}", i == 437 ? 5000 : i);
        changes[i] = outbox_change("create", i % 2 == 0 ? "u" : "t", key, NULL, image, 1);
    }
    assert_int_equal(target_apply(sink, 1, (const char *const *)changes, 600), SOREX_IO);
    assert_non_null(strstr(sink_error.text, "program balances, table \"t\", key \"k437\""));
    assert_non_null(strstr(sink_error.text, "23514"));
    target_expect("SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM u)", "0");
    assert_int_equal(target_cursor(sink), 0);
    free(changes[437]);
    changes[437] = outbox_change("create", "t", "k437", NULL, "{\"n\":999}", 1);
    MUST(target_apply(sink, 1, (const char *const *)changes, 600));
    target_expect("SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM u)", "600");
    for (size_t i = 0; i < 600; i++)
        free(changes[i]);
    sink_postgres.close(sink);
}

static void what_postgresql_cannot_hold_is_named(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 0);
    assert_int_equal(target_change(sink, 1, "create", "t", "nul", NULL, "{\"s\":\"a\\u0000b\"}"), SOREX_INVALID);
    assert_non_null(strstr(sink_error.text, "key \"nul\""));
    assert_non_null(strstr(sink_error.text, "column \"s\": PostgreSQL cannot store the character U+0000"));
    assert_int_equal(target_change(sink, 1, "create", "t", "nul", NULL, "{\"s\":[\"a\\u0000b\"]}"), SOREX_IO);
    assert_non_null(strstr(sink_error.text, "key \"nul\""));
    const char *longer = "a123456789b123456789c123456789d123456789e123456789f123456789g123";
    assert_int_equal(target_change(sink, 1, "create", longer, "k", NULL, "{}"), SOREX_INVALID);
    assert_non_null(strstr(sink_error.text, "longer than PostgreSQL's 63 bytes"));
    char image[128];
    (void)snprintf(image, sizeof image, "{\"%s\":1}", longer);
    assert_int_equal(target_change(sink, 1, "create", "t", "wide", NULL, image), SOREX_INVALID);
    assert_non_null(strstr(sink_error.text, "key \"wide\""));
    assert_int_equal(target_change(sink, 1, "create", "sorex_cursor", "k", NULL, "{}"), SOREX_INVALID);
    assert_int_equal(target_change(sink, 1, "create", "t", "k", NULL, "{\"key\":\"other\"}"), SOREX_INVALID);
    assert_non_null(strstr(sink_error.text, "tables.t.key"));
    /* Nothing of all that stays, and the sink goes on. */
    MUST(target_change(sink, 1, "create", "t", "k", NULL, "{\"key\":\"k\",\"Quo\\\"te\":1}"));
    target_expect("SELECT key, \"Quo\"\"te\" FROM t", "k|1");
    sink_postgres.close(sink);
}

static void without_create_tables_a_missing_one_is_an_error(void **state)
{
    (void)state;
    target_needed();
    target_exec("CREATE TABLE here (key text PRIMARY KEY, n bigint)");
    struct sink *sink = target_sink(POSTGRES_TABLES, false, NULL);
    assert_int_equal(target_cursor(sink), 0);
    MUST(target_change(sink, 1, "create", "here", "a", NULL, "{\"n\":1}"));
    assert_int_equal(target_change(sink, 2, "create", "t", "a", NULL, "{\"n\":1}"), SOREX_INVALID);
    assert_non_null(strstr(sink_error.text, "create_tables is false"));
    assert_int_equal(target_change(sink, 2, "create", "here", "b", NULL, "{\"m\":1}"), SOREX_INVALID);
    target_expect("SELECT key, n FROM here", "a|1");
    sink_postgres.close(sink);
}

static void a_create_of_a_row_that_is_there_replaces_it(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 0);
    for (uint64_t i = 1; i <= 6; i++) {
        char image[32];
        (void)snprintf(image, sizeof image, "{\"n\":%u}", (unsigned)i);
        MUST(target_change(sink, i, "create", "t", "a", NULL, image));
    }
    target_expect("SELECT key, n FROM t", "a|6");
    sink_postgres.close(sink);
}

static void a_table_that_was_dropped_or_changed_is_looked_at_again(void **state)
{
    (void)state;
    target_needed();
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    assert_int_equal(target_cursor(sink), 0);
    MUST(target_change(sink, 1, "create", "t", "a", NULL, "{\"n\":1,\"m\":1}"));
    target_exec("ALTER TABLE t DROP COLUMN m");
    MUST(target_change(sink, 2, "create", "t", "b", NULL, "{\"n\":2,\"m\":2}"));
    target_expect("SELECT key, n, m FROM t ORDER BY key", "a|1|-\nb|2|2");
    target_exec("DROP TABLE t");
    MUST(target_change(sink, 3, "create", "t", "c", NULL, "{\"n\":3}"));
    target_expect("SELECT key, n FROM t", "c|3");
    sink_postgres.close(sink);
}

/* ---- through the runner ---- */

static void drain(struct sink_runner *runner)
{
    bool drained;
    sink_runner_drain(runner, 60000, &drained);
    struct sink_status status;
    sink_runner_status(runner, &status);
    if (!drained)
        fail_msg("not drained: %s %s", sink_state_name(status.state), status.why);
}

static void expect_model(const struct outbox *outbox)
{
    char wanted[OUTBOX_KEYS * 48] = "";
    size_t len = 0;
    for (size_t k = 0; k < OUTBOX_KEYS; k++)
        if (outbox_row(outbox, k)[0] != '\0')
            len += (size_t)snprintf(wanted + len, sizeof wanted - len, "%sk%zu|%s", len == 0 ? "" : "\n", k,
                                    outbox_row(outbox, k));
    target_expect("SELECT key, v FROM t ORDER BY substr(key, 2)::int", wanted);
}

static void a_random_log_with_undos_gives_the_models_rows(void **state)
{
    (void)state;
    target_needed();
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sink = target_sink(POSTGRES_TABLES, true, NULL);
    struct sink_runner_options options = {.name = "out", .batch_changes_max = 20};
    struct sink_runner *runner;
    MUST(sink_runner_start(sink, outbox.store, &options, &runner, &sink_error));
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 15; i++) {
            if (outbox.height > 3 && outbox_random(&outbox, 5) == 0)
                for (uint64_t n = 1 + outbox_random(&outbox, 3); n > 0; n--)
                    outbox_random_undo(&outbox);
            else
                outbox_random_entry(&outbox, (size_t)outbox_random(&outbox, 9));
        }
        drain(runner);
        expect_model(&outbox);
    }
    sink_runner_stop(runner);
    sink_postgres.close(sink);
    outbox_close(&outbox);
}

static void the_log_mode_has_every_change(void **state)
{
    (void)state;
    target_needed();
    struct outbox outbox;
    outbox_open(&outbox);
    struct sink *sink = target_sink(POSTGRES_LOG, true, NULL);
    outbox_single(&outbox, "create", "t", "a", NULL, "{\"n\":1.50}");
    outbox_single(&outbox, "update", "t", "a", "{\"n\":1.50}", "{\"n\":2}");
    outbox_undo(&outbox);
    struct sink_runner_options options = {.name = "out"};
    struct sink_runner *runner;
    MUST(sink_runner_start(sink, outbox.store, &options, &runner, &sink_error));
    drain(runner);
    target_expect("SELECT sequence, ordinal, height, undo, program, operation, \"table\", key, before, after, "
                  "length(block_hash), time FROM sorex_changes ORDER BY sequence, ordinal",
                  "1|0|1|f|balances|create|t|a|-|{\"n\": 1.50}|64|2009-01-03 18:15:05+00\n"
                  "2|0|2|f|balances|update|t|a|{\"n\": 1.50}|{\"n\": 2}|64|2009-01-03 18:25:05+00\n"
                  "3|0|2|t|balances|update|t|a|{\"n\": 2}|{\"n\": 1.50}|64|2009-01-03 18:25:05+00");
    outbox_single(&outbox, "create", "t", "bad", NULL, "{\"n\":[\"\\u0000\"]}");
    bool drained;
    sink_runner_drain(runner, 60000, &drained);
    assert_false(drained);
    struct sink_status status;
    sink_runner_status(runner, &status);
    assert_int_equal(status.state, SINK_FAILED);
    assert_non_null(strstr(status.why, "key \"bad\""));
    sink_runner_stop(runner);
    sink_postgres.close(sink);
    outbox_close(&outbox);
}

static void settings_are_checked(void **state)
{
    (void)state;
    char bad[] = "host";
    char word[] = "x";
    struct postgres_settings settings = {.url = bad, .schema = word, .log_table = word};
    struct sink_context context = {.name = "out", .pipeline = "test", .base_dir = "."};
    struct sink *sink;
    assert_int_equal(sink_postgres.open(&settings, &context, &sink, &sink_error), SOREX_INVALID);
    struct config_node *tables;
    static const char *const wrong[] = {
        "t: x", "t: {kee: a}", "t: {key: {a: b}}", "t: {columns: [a]}", "t: {columns: {a: {}}}", "[t]"};
    char url[] = "host=/nowhere";
    settings.url = url;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        MUST(config_parse(bytes_str(wrong[i]), "test.yaml", &tables, &sink_error));
        settings.tables = tables;
        assert_int_equal(sink_postgres.open(&settings, &context, &sink, &sink_error), SOREX_INVALID);
        assert_non_null(strstr(sink_error.text, "test.yaml:1"));
        config_free(tables);
    }
}

int main(void)
{
    log_level_set(LOG_OFF);
#define TARGETED(name) cmocka_unit_test_setup(name, target_fresh)
    const struct CMUnitTest tests[] = {
        TARGETED(rows_come_change_and_go),
        TARGETED(a_batch_is_netted_out),
        TARGETED(types_do_not_depend_on_the_order),
        TARGETED(widening_survives_a_restart_and_spares_the_users_columns),
        TARGETED(types_and_keys_of_the_pipeline_file),
        TARGETED(images_that_are_no_objects),
        TARGETED(a_value_does_not_depend_on_the_format_it_came_in),
        TARGETED(a_type_changed_by_somebody_is_noticed),
        TARGETED(many_rows_are_removed),
        TARGETED(the_bad_row_among_many_is_named),
        TARGETED(what_postgresql_cannot_hold_is_named),
        TARGETED(without_create_tables_a_missing_one_is_an_error),
        TARGETED(a_create_of_a_row_that_is_there_replaces_it),
        TARGETED(a_table_that_was_dropped_or_changed_is_looked_at_again),
        TARGETED(a_random_log_with_undos_gives_the_models_rows),
        TARGETED(the_log_mode_has_every_change),
        TARGETED(settings_are_checked),
    };
    int failed = cmocka_run_group_tests_name("server", tests, target_start, target_stop);
    return failed + cmocka_run_group_tests_name("embedded", tests, target_start_embedded, target_stop);
}
