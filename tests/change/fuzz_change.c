/* libFuzzer: what can be inverted can be inverted back, and says the same. */
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
    (void)change_image_equal(parser, bytes_of(data, size / 2), other, bytes_of(data + size / 2, size - size / 2),
                             &equal, NULL);
    buf_deinit(&once);
    buf_deinit(&twice);
    return 0;
}
