/* Random changes by seed: the inverse of the inverse is the change, and images are equal whatever the order of their
 * members. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "change/change.h"
#include "json/random.h"

static struct json_parser *parser, *other;
static struct arena arena;

static int setup(void **unused)
{
    (void)unused;
    arena_init(&arena, 0);
    return json_parser_new(&parser, NULL) == SOREX_OK && json_parser_new(&other, NULL) == SOREX_OK ? 0 : -1;
}

static int teardown(void **unused)
{
    (void)unused;
    json_parser_free(parser);
    json_parser_free(other);
    arena_deinit(&arena);
    return 0;
}

/* An image that is not null, which would count as absent. */
static void image(struct json_writer *w, uint64_t *seed, const char *name)
{
    json_name(w, name);
    json_array_begin(w);
    random_value(w, seed, 4);
    json_array_end(w);
}

/* Members of the payload in a random order; `after` may stand in front of `before`. */
static void payload(struct json_writer *w, uint64_t *seed, enum change_operation operation)
{
    enum { OPERATION, TABLE, KEY, EXTRA, BEFORE, AFTER, FIELDS };
    int order[FIELDS] = {OPERATION, TABLE, KEY, EXTRA, BEFORE, AFTER};
    for (uint32_t i = FIELDS - 1; i > 0; i--) {
        uint32_t j = random_below(seed, i + 1);
        int kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    json_object_begin(w);
    for (int i = 0; i < FIELDS; i++) {
        if (order[i] == BEFORE && operation != CHANGE_CREATE)
            image(w, seed, "before");
        else if (order[i] == AFTER && operation != CHANGE_DELETE)
            image(w, seed, "after");
        else if (order[i] == OPERATION || order[i] == TABLE || order[i] == KEY) {
            json_name(w, order[i] == OPERATION ? "operation" : order[i] == TABLE ? "table" : "key");
            json_string_z(w, order[i] == OPERATION ? change_operation_name(operation) : "t\"\n");
        } else if (order[i] == EXTRA) {
            json_name(w, "extra");
            random_value(w, seed, 2);
        }
    }
    json_object_end(w);
}

static void change_make(struct buf *out, uint64_t seed, enum change_operation operation)
{
    struct json_writer w;
    buf_reset(out);
    json_writer_init(&w, out, false, NULL);
    json_object_begin(&w);
    json_name(&w, "header");
    json_object_begin(&w);
    json_name(&w, "timestamp");
    json_raw(&w, bytes_str("1231469665000.000"));
    json_object_end(&w);
    json_name(&w, "payload");
    payload(&w, &seed, operation);
    json_object_end(&w);
    assert_int_equal(json_writer_finish(&w), SOREX_OK);
}

static void inverse(const struct buf *json, struct buf *out)
{
    struct sorex_error err = {0};
    buf_reset(out);
    if (change_invert(parser, buf_view(json), out, &err) != SOREX_OK)
        fail_msg("%s: %.*s", err.text, (int)json->len, (const char *)json->data);
}

static void test_invert_twice(void **unused)
{
    (void)unused;
    static const enum change_operation inverses[] = {CHANGE_DELETE, CHANGE_UPDATE, CHANGE_CREATE};
    static const uint8_t hash[HASH_BYTES];
    struct buf json = {0}, once = {0}, twice = {0};
    for (uint64_t seed = 0; seed < 20000; seed++) {
        enum change_operation operation = (enum change_operation)(seed % 3);
        struct change change, inverted;
        change_make(&json, seed * 1000003, operation);
        inverse(&json, &once);
        inverse(&once, &twice);
        if (!bytes_equal(buf_view(&json), buf_view(&twice)))
            fail_msg("seed %llu: %.*s", (unsigned long long)seed, (int)json.len, (const char *)json.data);
        arena_reset(&arena);
        assert_int_equal(change_parse(parser, buf_view(&json), &arena, &change, NULL), SOREX_OK);
        assert_int_equal(change_parse(parser, buf_view(&once), &arena, &inverted, NULL), SOREX_OK);
        assert_int_equal(change_validate(&inverted, 0, hash, true, NULL), SOREX_OK);
        assert_int_equal(inverted.operation, inverses[operation]);
        assert_true(bytes_equal(change.before, inverted.after) && bytes_equal(change.after, inverted.before));
        assert_true(bytes_equal(change.table, inverted.table) && bytes_equal(change.key, inverted.key));
    }
    buf_deinit(&json);
    buf_deinit(&once);
    buf_deinit(&twice);
}

/* Taking `before` away and giving it back keeps what the change says. */
static void test_before_and_back(void **unused)
{
    (void)unused;
    struct buf json = {0}, without = {0}, with = {0};
    for (uint64_t seed = 0; seed < 5000; seed++) {
        struct change change, bare, back;
        change_make(&json, seed * 1000003, seed % 2 == 0 ? CHANGE_UPDATE : CHANGE_DELETE);
        arena_reset(&arena);
        buf_reset(&without);
        buf_reset(&with);
        assert_int_equal(change_parse(parser, buf_view(&json), &arena, &change, NULL), SOREX_OK);
        assert_int_equal(change_with_before(parser, buf_view(&json), bytes_of(NULL, 0), &without, NULL), SOREX_OK);
        assert_int_equal(change_parse(parser, buf_view(&without), &arena, &bare, NULL), SOREX_OK);
        assert_true(bare.before.data == NULL && bytes_equal(bare.after, change.after));
        assert_int_equal(change_with_before(parser, buf_view(&without), change.before, &with, NULL), SOREX_OK);
        assert_int_equal(change_parse(parser, buf_view(&with), &arena, &back, NULL), SOREX_OK);
        assert_true(bytes_equal(back.before, change.before) && bytes_equal(back.after, change.after));
    }
    buf_deinit(&json);
    buf_deinit(&without);
    buf_deinit(&with);
}

/* The document again, members of every object last first, loosely spaced. No recursion: a stack of nodes whose rest is
 * due. */
static void write_reversed(const struct json_doc *doc, struct json_writer *w)
{
    struct {
        uint32_t node, left; /* the container, and how many children are not written yet */
    } open[64];
    unsigned depth = 0;
    uint32_t at = 0;
    for (;;) {
        const struct json_node *node = &doc->nodes[at];
        if (node->kind == JSON_ARRAY || node->kind == JSON_OBJECT) {
            if (node->kind == JSON_OBJECT)
                json_object_begin(w);
            else
                json_array_begin(w);
            assert_in_range(depth, 0, 63);
            open[depth].node = at;
            open[depth++].left = node->children;
        } else
            json_raw(w, node->raw);
        while (depth > 0 && open[depth - 1].left == 0) {
            if (doc->nodes[open[--depth].node].kind == JSON_OBJECT)
                json_object_end(w);
            else
                json_array_end(w);
        }
        if (depth == 0)
            return;
        const struct json_node *parent = &doc->nodes[open[depth - 1].node];
        uint32_t left = open[depth - 1].left--, skip = parent->kind == JSON_OBJECT ? left - 1 : parent->children - left;
        for (at = parent->first; skip > 0; skip--)
            at = doc->nodes[at].next;
        if (parent->kind == JSON_OBJECT)
            json_name_bytes(w, doc->nodes[at].key);
    }
}

static void test_order_does_not_count(void **unused)
{
    (void)unused;
    struct buf a = {0}, b = {0};
    for (uint64_t round = 0; round < 5000; round++) {
        uint64_t seed = round * 1000003;
        struct json_writer w;
        struct json_doc doc;
        bool equal = false;
        buf_reset(&a);
        buf_reset(&b);
        json_writer_init(&w, &a, false, NULL);
        random_value(&w, &seed, 4);
        assert_int_equal(json_writer_finish(&w), SOREX_OK);
        assert_int_equal(json_parse(parser, buf_view(&a), &doc, NULL), SOREX_OK);
        json_writer_init(&w, &b, true, NULL);
        write_reversed(&doc, &w);
        assert_int_equal(json_writer_finish(&w), SOREX_OK);
        assert_int_equal(change_image_equal(parser, buf_view(&a), other, buf_view(&b), &equal, NULL), SOREX_OK);
        if (!equal)
            fail_msg("seed %llu: %.*s", (unsigned long long)round, (int)a.len, (const char *)a.data);
        /* One more digit somewhere makes it another value. */
        for (size_t i = 0; i < b.len; i++)
            if (b.data[i] == '7') {
                b.data[i] = '8';
                enum sorex_status status = change_image_equal(parser, buf_view(&a), other, buf_view(&b), &equal, NULL);
                assert_true(status == SOREX_INVALID || !equal); /* invalid: two names became the same */
                break;
            }
    }
    buf_deinit(&a);
    buf_deinit(&b);
}

/* 200,000 members in opposite orders: quadratic search would take minutes and run into the test's time limit. */
static void test_many_members(void **unused)
{
    (void)unused;
    enum { MEMBERS = 200000 };
    struct buf a = {0}, b = {0};
    bool equal = false;
    assert_int_equal(buf_append_str(&a, "{", NULL), SOREX_OK);
    assert_int_equal(buf_append_str(&b, "{", NULL), SOREX_OK);
    for (int i = 0; i < MEMBERS; i++) {
        assert_int_equal(buf_printf(&a, NULL, "%s\"k%d\":1", i == 0 ? "" : ",", i), SOREX_OK);
        assert_int_equal(buf_printf(&b, NULL, "%s\"k%d\":1", i == 0 ? "" : ",", MEMBERS - 1 - i), SOREX_OK);
    }
    assert_int_equal(buf_append_str(&a, "}", NULL), SOREX_OK);
    assert_int_equal(buf_append_str(&b, "}", NULL), SOREX_OK);
    assert_int_equal(change_image_equal(parser, buf_view(&a), other, buf_view(&b), &equal, NULL), SOREX_OK);
    assert_true(equal);
    buf_deinit(&a);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_invert_twice), cmocka_unit_test(test_before_and_back),
                                       cmocka_unit_test(test_order_does_not_count),
                                       cmocka_unit_test(test_many_members)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
