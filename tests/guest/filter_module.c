#include "filter_module.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "map.h"
#include "wasm/wasm.h"

enum sorex_status module_open_text(const char *text, const struct filter_options *options, struct filter **out,
                                   struct sorex_error *err)
{
    struct buf wasm = {0};
    struct filter_options none = {.name = "test", .timeout_ms = 20000};
    traps_restore();
    enum sorex_status status = wasm_from_text(bytes_str(text), &wasm, err);
    if (status != SOREX_OK) {
        (void)fprintf(stderr, "%s\n%s\n", err->text, text);
        abort();
    }
    status = filter_new(buf_view(&wasm), options != NULL ? options : &none, out, err);
    buf_deinit(&wasm);
    return status;
}

static const char *part(const char *text, const char *good) { return text != NULL ? text : good; }

enum sorex_status module_open(const struct module_parts *parts, const struct filter_options *options,
                              struct filter **out, struct sorex_error *err)
{
    struct buf text = {0};
    bool first = parts->version == 1;
    static const char copy[] =
        "(memory.copy (i32.const 32768) (local.get $p) (local.get $n)) (global.set $len (local.get $n))";
    CHECK(buf_printf(&text, NULL,
                     "(module %s (memory (export \"memory\") %s) (global $len (mut i32) (i32.const 0))"
                     " (global $count (mut i32) (i32.const 0))"
                     " (func (export \"alloc\") (param $n i32) (result i32) %s)"
                     " (func (export \"transform\") (param $p i32) (param $n i32) (result %s) ",
                     part(parts->imports, ""), part(parts->memory, "1"), part(parts->alloc, "(i32.const 4096)"),
                     first ? "i32" : "i64") == SOREX_OK);
    if (parts->transform != NULL)
        CHECK(buf_append_str(&text, parts->transform, NULL) == SOREX_OK);
    else
        CHECK(buf_printf(&text, NULL, "%s %s", copy,
                         first ? "(i32.const 32768)"
                               : "(i64.or (i64.const 0x800000000000) (i64.extend_i32_u (local.get $n)))") == SOREX_OK);
    CHECK(buf_append_str(&text, ") ", NULL) == SOREX_OK);
    if (first)
        CHECK(buf_printf(&text, NULL, "(func (export \"output_len\") (result i32) %s)",
                         part(parts->output_len, "(global.get $len)")) == SOREX_OK);
    else
        CHECK(buf_printf(&text, NULL,
                         "(func (export \"dealloc\") (param $p i32) (param $n i32) %s)"
                         "(func (export \"rustcdc_abi_version\") (result i32) %s)",
                         part(parts->dealloc, ""), part(parts->probe, "(i32.const 2)")) == SOREX_OK);
    CHECK(buf_printf(&text, NULL, " %s)%c", part(parts->extra, ""), 0) == SOREX_OK);
    enum sorex_status status = module_open_text((const char *)text.data, options, out, err);
    buf_deinit(&text);
    return status;
}

/* -- events */

static struct arena arena;
static struct json_parser *parser;

const struct event *module_event_of(const char *json)
{
    struct sorex_error err = {0};
    if (parser == NULL) {
        CHECK(json_parser_new(&parser, NULL) == SOREX_OK);
        arena_init(&arena, 0);
    }
    struct bytes copy = arena_copy(&arena, bytes_str(json));
    struct event *event = arena_alloc(&arena, sizeof *event);
    CHECK(copy.data != NULL && event != NULL);
    if (event_parse(parser, copy, &arena, event, &err) != SOREX_OK ||
        event_text_make(event, &arena, &err) != SOREX_OK) {
        (void)fprintf(stderr, "%s: %s\n", json, err.text);
        abort();
    }
    return event;
}

const struct event *module_event(unsigned id, size_t padding)
{
    struct buf text = {0};
    CHECK(buf_printf(&text, NULL, "{\"after\":{\"id\":%u,\"pad\":\"%.*s", id, 0, "") == SOREX_OK);
    for (size_t i = 0; i < padding; i++)
        CHECK(buf_append_u8(&text, 'x', NULL) == SOREX_OK);
    CHECK(
        buf_printf(
            &text, NULL,
            "\"},\"op\":\"insert\",\"source\":{\"source_name\":\"pg\",\"offset\":\"0/%u\",\"timestamp\":1700000000000},"
            "\"ts\":1700000000001,\"schema\":\"public\",\"table\":\"users\",\"primary_key\":[\"id\"],\"envelope_"
            "version\":1}%c",
            id, 0) == SOREX_OK);
    const struct event *event = module_event_of((const char *)text.data);
    buf_deinit(&text);
    return event;
}

void module_events_free(void)
{
    if (parser != NULL)
        arena_deinit(&arena);
    json_parser_free(parser);
    parser = NULL;
}
