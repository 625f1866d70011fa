/* libFuzzer: what can be inverted can be inverted back, and says the same; a change that keeps its images parsed is the
 * same change; a `before` that is put in is there, and nothing else moved. */
#include "base/check.h"
#include "change/change.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(struct json_parser *parser, struct arena *arena, struct bytes json, struct buf *once,
                       struct buf *twice)
{
    struct change change, again;
    if (change_parse(parser, json, arena, &change, NULL) != SOREX_OK ||
        change_invert(parser, json, once, NULL) != SOREX_OK)
        return;
    static const uint8_t hash[HASH_BYTES];
    bool valid = change_validate(&change, change.has_height ? change.block_height : 0, hash, true, NULL) == SOREX_OK;
    if (!valid)
        return;
    CHECK(change_invert(parser, buf_view(once), twice, NULL) == SOREX_OK);
    CHECK(change_parse(parser, buf_view(twice), arena, &again, NULL) == SOREX_OK);
    CHECK(again.operation == change.operation && bytes_equal(again.table, change.table) &&
          bytes_equal(again.key, change.key));
    CHECK(bytes_equal(again.before, change.before) && bytes_equal(again.after, change.after));
}

static void inside(const struct json_doc *doc, struct bytes json)
{
    for (uint32_t i = 0; doc->nodes != NULL && i < doc->count; i++) {
        struct bytes raw = doc->nodes[i].raw;
        CHECK(raw.data >= json.data && raw.data + raw.len <= json.data + json.len);
    }
}

static void same(const struct change *a, const struct change *b)
{
    CHECK(a->operation == b->operation && a->has_height == b->has_height && a->block_height == b->block_height);
    CHECK(bytes_equal(a->table, b->table) && bytes_equal(a->key, b->key) && bytes_equal(a->source, b->source));
    CHECK(bytes_equal(a->timestamp, b->timestamp) && bytes_equal(a->block_hash, b->block_hash));
    CHECK(bytes_equal(a->after, b->after));
}

static void images(struct json_parser *parser, struct arena *arena, struct bytes json)
{
    struct change change, again;
    struct json_doc before, after;
    struct buf with = {0};
    enum sorex_status status = change_parse(parser, json, arena, &change, NULL);
    CHECK(change_parse_images(parser, json, arena, &again, &before, &after, NULL) == status);
    if (status != SOREX_OK)
        return;
    same(&change, &again);
    CHECK(bytes_equal(change.before, again.before));
    inside(&before, json);
    inside(&after, json);
    struct bytes image = bytes_str("{\"z\":[1]}");
    CHECK(change_with_before(parser, json, image, &with, NULL) == SOREX_OK);
    CHECK(change_parse(parser, buf_view(&with), arena, &again, NULL) == SOREX_OK);
    same(&change, &again);
    CHECK(bytes_equal(again.before, image));
    buf_deinit(&with);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_parser *parser, *other;
    static struct arena arena;
    struct buf once = {0}, twice = {0};
    bool equal;
    if (parser == NULL) {
        CHECK(json_parser_new(&parser, NULL) == SOREX_OK && json_parser_new(&other, NULL) == SOREX_OK);
        arena_init(&arena, 0);
    }
    arena_reset(&arena);
    round_trip(parser, &arena, bytes_of(data, size), &once, &twice);
    images(parser, &arena, bytes_of(data, size));
    (void)change_image_equal(parser, bytes_of(data, size / 2), other, bytes_of(data + size / 2, size - size / 2),
                             &equal, NULL);
    buf_deinit(&once);
    buf_deinit(&twice);
    return 0;
}
