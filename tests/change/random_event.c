#include "change/random_event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"

static const char *const strings[] = {
    "", "a", "public", "caf\xc3\xa9", "a\"b\\c", "line\nbreak\x01", "\xf0\x9f\x98\x80", "/", "0/16B3748"};

static struct bytes string_of(uint64_t *seed)
{
    return bytes_str(strings[random_below(seed, sizeof strings / sizeof strings[0])]);
}

static uint64_t number_of(uint64_t *seed)
{
    static const uint64_t numbers[] = {0, 1, 1700000000000, UINT32_MAX, INT64_MAX, UINT64_MAX};
    return numbers[random_below(seed, 6)];
}

static struct event_columns columns_of(struct arena *arena, uint64_t *seed, uint32_t at_least)
{
    uint32_t count = at_least + random_below(seed, 3);
    struct bytes *names = arena_alloc(arena, (count + 1) * sizeof *names);
    assert_non_null(names);
    for (uint32_t i = 0; i < count; i++)
        names[i] = string_of(seed);
    return (struct event_columns){names, count};
}

static void row_write(struct json_writer *w, uint64_t *seed)
{
    json_object_begin(w);
    for (uint32_t i = 0, count = random_below(seed, 20); i < count; i++) {
        char name[8] = {(char)('a' + (i * 7) % 26), (char)('a' + i), 0};
        json_name(w, name);
        random_value(w, seed, random_below(seed, 4) == 0 ? 3 : 0);
    }
    json_object_end(w);
}

static struct bytes image_of(struct json_parser *parser, struct arena *arena, uint64_t *seed, bool objects)
{
    struct buf text = {0};
    struct json_writer w;
    struct json_doc doc;
    struct bytes image;
    json_writer_init(&w, &text, false, NULL);
    if (objects) {
        row_write(&w, seed);
    } else {
        json_array_begin(&w); /* never null */
        random_value(&w, seed, 4);
        json_array_end(&w);
    }
    assert_int_equal(json_writer_finish(&w), SOREX_OK);
    struct bytes copy = arena_copy(arena, buf_view(&text));
    buf_deinit(&text);
    assert_int_equal(json_parse(parser, copy, &doc, NULL), SOREX_OK);
    assert_int_equal(event_image(&doc, &doc.nodes[0], arena, &image, NULL), SOREX_OK);
    return image;
}

struct event random_event(struct json_parser *parser, struct arena *arena, uint64_t *seed, bool objects)
{
    struct event event = {.op = (enum event_op)random_below(seed, 6),
                          .source = {string_of(seed), string_of(seed), number_of(seed)},
                          .ts_ms = number_of(seed) | 1,
                          .table = string_of(seed)};
    bool before = event.op == EVENT_DELETE ||
                  (event.op != EVENT_INSERT && event.op != EVENT_TRUNCATE && random_below(seed, 2) == 0);
    if (before)
        event.before = image_of(parser, arena, seed, objects);
    if (event.op != EVENT_DELETE && event.op != EVENT_TRUNCATE)
        event.after = image_of(parser, arena, seed, objects);
    event.before_is_key_only = before && event.op <= EVENT_DELETE && random_below(seed, 2) == 0;
    if (random_below(seed, 2) == 0)
        event.schema = string_of(seed);
    if (random_below(seed, 2) == 0)
        event.primary_key = columns_of(arena, seed, 0);
    event.has_snapshot = random_below(seed, 3) == 0;
    if (event.has_snapshot)
        event.snapshot = (struct event_snapshot){string_of(seed), random_below(seed, 9), random_below(seed, 2) == 0};
    event.has_transaction = random_below(seed, 3) == 0;
    if (event.has_transaction) {
        event.transaction = (struct event_transaction){.id = number_of(seed), .event_index = random_below(seed, 5)};
        event.transaction.has_total_events = random_below(seed, 2) == 0;
        event.transaction.total_events = event.transaction.has_total_events ? event.transaction.event_index + 1 : 0;
    }
    if (random_below(seed, 4) == 0)
        event.unavailable = columns_of(arena, seed, 1);
    if (random_below(seed, 4) == 0)
        event.before_unavailable = columns_of(arena, seed, 1);
    assert_int_equal(event_validate(&event, NULL), SOREX_OK);
    return event;
}

static void space(struct buf *out, uint64_t *seed)
{
    static const char *const spaces[] = {"", "", " ", "\n\t"};
    CHECK(buf_append_str(out, spaces[random_below(seed, 4)], NULL) == SOREX_OK);
}

/* The value without what is not written when it is empty? Reading gives the same, so it may be left out. */
static bool may_be_left_out(const struct json_node *member)
{
    return member->kind == JSON_NULL || (member->kind == JSON_BOOL && !member->boolean);
}

void random_event_text(const struct event *event, uint64_t *seed, struct buf *out)
{
    struct buf canonical = {0};
    struct json_parser *parser;
    struct json_doc doc;
    const struct json_node *members[16];
    uint32_t count = 0;
    assert_int_equal(json_parser_new(&parser, NULL), SOREX_OK);
    assert_int_equal(event_write(event, &canonical, NULL), SOREX_OK);
    assert_int_equal(json_parse(parser, buf_view(&canonical), &doc, NULL), SOREX_OK);
    for (const struct json_node *member = json_first(&doc, &doc.nodes[0]); member != NULL;
         member = json_next(&doc, member)) {
        uint32_t at = random_below(seed, count + 1);
        for (uint32_t i = count; i > at; i--)
            members[i] = members[i - 1];
        members[at] = member;
        count++;
    }
    assert_int_equal(buf_append_str(out, "{", NULL), SOREX_OK);
    for (uint32_t i = 0, written = 0; i < count; i++) {
        if (may_be_left_out(members[i]) && random_below(seed, 2) == 0)
            continue;
        space(out, seed);
        if (written++ > 0)
            assert_int_equal(buf_append_str(out, ",", NULL), SOREX_OK);
        if (random_below(seed, 8) == 0)
            assert_int_equal(buf_printf(out, NULL, "\"unknown%u\" :[null],", i), SOREX_OK);
        assert_int_equal(buf_printf(out, NULL, "\"%.*s\":", BYTES_FMT(members[i]->key)), SOREX_OK);
        space(out, seed);
        assert_int_equal(buf_append(out, members[i]->raw, NULL), SOREX_OK);
        space(out, seed);
    }
    assert_int_equal(buf_append_str(out, "}", NULL), SOREX_OK);
    buf_deinit(&canonical);
    json_parser_free(parser);
}

static void assert_bytes(const char *what, struct bytes a, struct bytes b)
{
    if (!bytes_equal(a, b) || (a.data == NULL) != (b.data == NULL))
        fail_msg("%s: %.*s and %.*s", what, BYTES_FMT(a), BYTES_FMT(b));
}

static void assert_columns(const char *what, const struct event_columns *a, const struct event_columns *b,
                           bool null_counts)
{
    if (a->count != b->count || (null_counts && (a->names == NULL) != (b->names == NULL)))
        fail_msg("%s: %u and %u names", what, a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++)
        assert_bytes(what, a->names[i], b->names[i]);
}

void assert_event_equal(const struct event *a, const struct event *b)
{
    assert_bytes("before", a->before, b->before);
    assert_bytes("after", a->after, b->after);
    assert_int_equal(a->op, b->op);
    assert_int_equal(a->ts_ms, b->ts_ms);
    assert_bytes("schema", a->schema, b->schema);
    assert_bytes("table", a->table, b->table);
    assert_columns("primary_key", &a->primary_key, &b->primary_key, true);
    assert_columns("unavailable_columns", &a->unavailable, &b->unavailable, false);
    assert_columns("before_unavailable_columns", &a->before_unavailable, &b->before_unavailable, false);
    assert_int_equal(a->before_is_key_only, b->before_is_key_only);
    if (event_host_field_changed(a, b) != NULL)
        fail_msg("%s differs", event_host_field_changed(a, b));
}
