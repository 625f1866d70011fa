/* libFuzzer: what is read as an event is written in a form that reads as the same event and is written the same again;
 * and what was made from another event reads the same by parts as whole. */
#include "base/check.h"
#include "change/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(struct json_parser *parser, struct arena *arena, const struct event *event)
{
    struct buf once = {0}, twice = {0};
    struct event again;
    CHECK(event_write(event, &once, NULL) == SOREX_OK);
    CHECK(event_parse(parser, buf_view(&once), arena, &again, NULL) == SOREX_OK);
    CHECK(bytes_equal(event->before, again.before) && bytes_equal(event->after, again.after));
    CHECK(event->op == again.op && event->ts_ms == again.ts_ms && bytes_equal(event->table, again.table));
    CHECK(event_host_field_changed(event, &again) == NULL);
    CHECK((event_validate(event, NULL) == SOREX_OK) == (event_validate(&again, NULL) == SOREX_OK));
    again.text = bytes_of(NULL, 0);
    CHECK(event_write(&again, &twice, NULL) == SOREX_OK);
    CHECK(bytes_equal(buf_view(&once), buf_view(&twice)));
    buf_deinit(&once);
    buf_deinit(&twice);
}

/* `after` replaced by any bytes. */
static void change(struct json_parser *parser, struct arena *arena, struct bytes after)
{
    static const char head
        [] = "{\"before\":null,\"after\":",
    tail[] =
        ",\"op\":\"read\",\"source\":{\"source_name\":\"s\",\"offset\":\"o\",\"timestamp\":1},\"ts\":1,\"schema\":null,"
        "\"table\":\"t\",\"primary_key\":null,\"snapshot\":null,\"transaction\":null,\"envelope_version\":1,"
        "\"before_is_key_only\":false}";
    struct buf from = {0}, text = {0}, a = {0}, b = {0};
    struct event event, whole, parts;
    CHECK(buf_printf(&from, NULL, "%s1%s", head, tail) == SOREX_OK);
    CHECK(event_parse(parser, buf_view(&from), arena, &event, NULL) == SOREX_OK && event.text.data != NULL);
    CHECK(buf_append_str(&text, head, NULL) == SOREX_OK && buf_append(&text, after, NULL) == SOREX_OK &&
          buf_append_str(&text, tail, NULL) == SOREX_OK);
    enum sorex_status status = event_parse(parser, buf_view(&text), arena, &whole, NULL);
    CHECK(event_parse_changed(parser, &event, buf_view(&text), arena, &parts, NULL) == status);
    if (status == SOREX_OK) {
        CHECK(event_write(&whole, &a, NULL) == SOREX_OK && event_write(&parts, &b, NULL) == SOREX_OK);
        CHECK(bytes_equal(buf_view(&a), buf_view(&b)));
    }
    buf_deinit(&from);
    buf_deinit(&text);
    buf_deinit(&a);
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_parser *parser;
    static struct arena arena;
    struct event event;
    if (parser == NULL) {
        CHECK(json_parser_new(&parser, NULL) == SOREX_OK);
        arena_init(&arena, 0);
    }
    arena_reset(&arena);
    if (event_parse(parser, bytes_of(data, size), &arena, &event, NULL) == SOREX_OK) {
        CHECK(event.text.data == NULL || (event.text.data == data && event.text.len == size));
        write_again(parser, &arena, &event);
    }
    change(parser, &arena, bytes_of(data, size));
    return 0;
}
