/* libFuzzer: what any envelope reads as a valid event goes into every envelope that can hold it and comes back the
 * same. The first byte chooses the envelope to read. */
#include "base/check.h"
#include "change/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct envelope *envelope, struct json_parser *parser, struct arena *arena,
                       const struct event *event, const struct buf *canonical)
{
    struct buf text = {0}, again = {0};
    struct event read;
    bool tombstone;
    if (envelope_write(envelope, parser, event, arena, &text, NULL) == SOREX_OK) {
        CHECK(envelope_read(envelope, parser, buf_view(&text), arena, &read, &tombstone, NULL) == SOREX_OK &&
              !tombstone);
        CHECK(event_write(&read, &again, NULL) == SOREX_OK);
        CHECK(bytes_equal(buf_view(&again), buf_view(canonical)));
    }
    buf_deinit(&text);
    buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_parser *parser;
    static struct arena arena;
    struct event event;
    struct buf canonical = {0};
    bool tombstone;
    if (parser == NULL) {
        CHECK(json_parser_new(&parser, NULL) == SOREX_OK);
        arena_init(&arena, 0);
    }
    if (size == 0)
        return 0;
    arena_reset(&arena);
    const struct envelope *from = envelopes[data[0] % 5];
    if (envelope_read(from, parser, bytes_of(data + 1, size - 1), &arena, &event, &tombstone, NULL) != SOREX_OK ||
        tombstone || event_validate(&event, NULL) != SOREX_OK)
        return 0;
    CHECK(event_write(&event, &canonical, NULL) == SOREX_OK);
    for (const struct envelope *const *envelope = envelopes; *envelope != NULL; envelope++)
        round_trip(*envelope, parser, &arena, &event, &canonical);
    buf_deinit(&canonical);
    return 0;
}
