#include "json/random.h"

#include "base/check.h"

static void string_of(struct buf *out, uint64_t *seed)
{
    static const char *const parts[] = {
        "a", "key", "\"", "\\", "/", "\n", "\x01", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", " ", "{", "]", ","};
    buf_reset(out);
    for (uint32_t n = random_below(seed, 6); n > 0; n--)
        CHECK(buf_append_str(out, parts[random_below(seed, sizeof parts / sizeof parts[0])], NULL) == SOREX_OK);
}

static void scalar(struct json_writer *w, uint64_t *seed)
{
    static const char *const raw[] = {"null",
                                      "true",
                                      "false",
                                      "0",
                                      "-0",
                                      "-1.50",
                                      "1e400",
                                      "123456789012345678901234567890",
                                      "2.5E-3",
                                      "\"\\u00e9\\ud83d\\ude00\"",
                                      "\"\\/\\b\\f\"",
                                      "\"\\\\\\\"\"",
                                      "\"\""};
    if (random_below(seed, 2) == 0) {
        json_raw(w, bytes_str(raw[random_below(seed, sizeof raw / sizeof raw[0])]));
        return;
    }
    struct buf text = {0};
    string_of(&text, seed);
    json_string(w, buf_view(&text));
    buf_deinit(&text);
}

/* Names differ by their number; the order of the numbers is not that of the names. */
static void member_name(struct json_writer *w, uint64_t *seed, uint32_t number)
{
    struct buf text = {0};
    string_of(&text, seed);
    CHECK(buf_printf(&text, NULL, "%u", number * 7919u % 10007u) == SOREX_OK);
    json_name_bytes(w, buf_view(&text));
    buf_deinit(&text);
}

/* No recursion: containers are opened and closed by dice. */
void random_value(struct json_writer *w, uint64_t *seed, unsigned depth)
{
    struct {
        bool object;
        uint32_t left, count;
    } open[16];
    unsigned level = 0;
    if (depth > 16)
        depth = 16;
    do {
        if (level > 0 && open[level - 1].left == 0) {
            if (open[--level].object)
                json_object_end(w);
            else
                json_array_end(w);
            continue;
        }
        if (level > 0) {
            open[level - 1].left--;
            if (open[level - 1].object)
                member_name(w, seed, open[level - 1].count++);
        }
        if (level == depth || (level > 0 && random_below(seed, 3) != 0)) {
            scalar(w, seed);
            continue;
        }
        open[level].object = random_below(seed, 3) != 0;
        open[level].left = random_below(seed, level == 0 && random_below(seed, 12) == 0 ? 40 : 5);
        open[level].count = 0;
        if (open[level++].object)
            json_object_begin(w);
        else
            json_array_begin(w);
    } while (level > 0);
}

void random_damage(struct buf *text, uint64_t *seed)
{
    static const char alphabet[] = "{}[]:,\"\\u0019-+.eEtrufalsn \n\x0c\x01\xc3\xa9\xed\xff";
    for (uint32_t n = 1 + random_below(seed, 3); n > 0 && text->len > 0; n--) {
        size_t at = random_below(seed, (uint32_t)text->len);
        uint8_t byte = (uint8_t)alphabet[random_below(seed, sizeof alphabet - 1)];
        switch (random_below(seed, 3)) {
        case 0:
            text->data[at] = byte;
            break;
        case 1:
            CHECK(buf_append_u8(text, 0, NULL) == SOREX_OK);
            memmove(text->data + at + 1, text->data + at, text->len - at - 1);
            text->data[at] = byte;
            break;
        default:
            memmove(text->data + at, text->data + at + 1, text->len - at - 1);
            text->len--;
            break;
        }
    }
}
