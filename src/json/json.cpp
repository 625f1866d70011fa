// JSON reading. simdjson's first stage validates UTF-8 and strings and finds where every token begins; the grammar below walks those
// places with a stack of its own, so that numbers of any size keep their text and nothing recurses on input.
#include <simdjson.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

extern "C" {
#include "base/limits.h"
#include "json/fault.h"
#include "json/json.h"
}

namespace
{

struct level {
    uint32_t node;
    uint32_t last; // last child, 0 = none yet
};

// Objects with more members than this are sorted by name: for duplicates here, for json_member and comparisons later.
constexpr uint32_t SORTED_ABOVE = 12;

// A parser that held one large text gives its memory back at the next ordinary one: 72 bytes a value add up.
constexpr size_t KEEP_TEXT_BYTES = size_t{1} << 20;
constexpr uint32_t KEEP_NODES = 1u << 16;

enum class expect { value, value_or_end, name_or_end, name, colon, comma_or_end, nothing };

} // namespace

struct json_parser {
    std::unique_ptr<simdjson::internal::dom_parser_implementation> stage;
    size_t capacity;
    struct json_node *nodes;
    uint32_t count, allocated;
    struct arena strings; // decoded strings that have escapes
    uint32_t *order; // members of large objects, sorted by name, one object behind the other
    uint32_t ordered, order_allocated;
    level levels[SOREX_JSON_DEPTH_MAX];
};

extern "C" enum sorex_status json_parser_new(struct json_parser **out, struct sorex_error *err)
{
    json_parser *parser = new (std::nothrow) json_parser();
    if (parser == nullptr)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a JSON parser");
    arena_init(&parser->strings, 0);
    if (simdjson::get_active_implementation()->create_dom_parser_implementation(0, 1, parser->stage) != simdjson::SUCCESS) {
        delete parser;
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a JSON parser");
    }
    *out = parser;
    return SOREX_OK;
}

extern "C" void json_parser_free(struct json_parser *parser)
{
    if (parser == nullptr)
        return;
    std::free(parser->nodes);
    std::free(parser->order);
    arena_deinit(&parser->strings);
    delete parser;
}

namespace
{

enum sorex_status bad(struct sorex_error *err, size_t offset, const char *reason)
{
    return sorex_error_set(err, SOREX_INVALID, "bad JSON at byte %zu: %s", offset, reason);
}

// A quote is none: simdjson does not make a token of a string that touches a scalar (`1"a"`), so the scalar has to refuse it.
bool is_delimiter(uint8_t c)
{
    return c == ',' || c == ']' || c == '}' || c == ':' || c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '[' || c == '{';
}

// -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?  (RFC 8259, section 6)
bool is_number(struct bytes token)
{
    const uint8_t *at = token.data, *end = token.data + token.len;
    auto digits = [&at, end]() {
        const uint8_t *start = at;
        while (at != end && *at >= '0' && *at <= '9')
            at++;
        return at != start;
    };
    if (at != end && *at == '-')
        at++;
    if (at != end && *at == '0')
        at++;
    else if (!digits())
        return false;
    if (at != end && *at == '.') {
        at++;
        if (!digits())
            return false;
    }
    if (at != end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at != end && (*at == '+' || *at == '-'))
            at++;
        if (!digits())
            return false;
    }
    return at == end;
}

int hex4(const uint8_t *p)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = (c | 32) - 'a' + 10;
        else
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

size_t utf8_put(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = static_cast<uint8_t>(c);
        return 1;
    }
    if (c < 0x800) {
        out[0] = static_cast<uint8_t>(0xc0 | c >> 6);
        out[1] = static_cast<uint8_t>(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = static_cast<uint8_t>(0xe0 | c >> 12);
        out[1] = static_cast<uint8_t>(0x80 | (c >> 6 & 63));
        out[2] = static_cast<uint8_t>(0x80 | (c & 63));
        return 3;
    }
    out[0] = static_cast<uint8_t>(0xf0 | c >> 18);
    out[1] = static_cast<uint8_t>(0x80 | (c >> 12 & 63));
    out[2] = static_cast<uint8_t>(0x80 | (c >> 6 & 63));
    out[3] = static_cast<uint8_t>(0x80 | (c & 63));
    return 4;
}

// What stands between the quotes, escapes resolved. Decoded text is never longer than its source.
enum sorex_status string_decode(json_parser *parser, struct bytes inside, size_t offset, struct bytes *out, struct sorex_error *err)
{
    if (inside.len == 0 || std::memchr(inside.data, '\\', inside.len) == nullptr) {
        *out = inside;
        return SOREX_OK;
    }
    uint8_t *to = static_cast<uint8_t *>(arena_alloc(&parser->strings, inside.len));
    if (to == nullptr)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a JSON string of %zu bytes", inside.len);
    size_t n = 0;
    for (size_t i = 0; i < inside.len;) {
        if (inside.data[i] != '\\') {
            to[n++] = inside.data[i++];
            continue;
        }
        if (i + 1 >= inside.len)
            return bad(err, offset + i, "an escape without its character");
        uint8_t c = inside.data[i + 1];
        i += 2;
        switch (c) {
        case '"': case '\\': case '/': to[n++] = c; break;
        case 'b': to[n++] = '\b'; break;
        case 'f': to[n++] = '\f'; break;
        case 'n': to[n++] = '\n'; break;
        case 'r': to[n++] = '\r'; break;
        case 't': to[n++] = '\t'; break;
        case 'u': {
            int unit = inside.len - i >= 4 ? hex4(inside.data + i) : -1;
            if (unit < 0)
                return bad(err, offset + i, "\\u wants four hex digits");
            i += 4;
            uint32_t point = static_cast<uint32_t>(unit);
            if (unit >= 0xdc00 && unit <= 0xdfff)
                return bad(err, offset + i, "a low surrogate without its high one");
            if (unit >= 0xd800 && unit <= 0xdbff) {
                int low = inside.len - i >= 6 && inside.data[i] == '\\' && inside.data[i + 1] == 'u' ? hex4(inside.data + i + 2) : -1;
                if (low < 0xdc00 || low > 0xdfff)
                    return bad(err, offset + i, "a high surrogate without its low one");
                i += 6;
                point = 0x10000 + ((static_cast<uint32_t>(unit) - 0xd800) << 10) + (static_cast<uint32_t>(low) - 0xdc00);
            }
            n += utf8_put(to + n, point);
            break;
        }
        default:
            return bad(err, offset + i - 1, "an unknown escape");
        }
    }
    *out = bytes_of(to, n);
    return SOREX_OK;
}

// The string that begins with the quote at `at`: *out_raw with both quotes, *out_text decoded.
enum sorex_status string_take(json_parser *parser, struct bytes text, size_t at, struct bytes *out_raw, struct bytes *out_text,
                              struct sorex_error *err)
{
    size_t end = at + 1;
    for (;;) {
        const void *quote = end < text.len ? std::memchr(text.data + end, '"', text.len - end) : nullptr;
        if (quote == nullptr)
            return bad(err, at, "a string without its end");
        end = static_cast<size_t>(static_cast<const uint8_t *>(quote) - text.data);
        size_t slashes = 0;
        while (end - slashes > at + 1 && text.data[end - slashes - 1] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            break;
        end++;
    }
    *out_raw = bytes_of(text.data + at, end + 1 - at);
    return string_decode(parser, bytes_of(text.data + at + 1, end - at - 1), at + 1, out_text, err);
}

enum sorex_status node_add(json_parser *parser, struct json_node **out, struct sorex_error *err)
{
    if (parser->count == parser->allocated) {
        uint32_t allocated = parser->allocated == 0 ? 64 : parser->allocated * 2;
        void *nodes = allocated > UINT32_MAX / 2 ? nullptr : std::realloc(parser->nodes, allocated * sizeof(struct json_node));
        if (nodes == nullptr)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for a JSON document of %u values", parser->count);
        parser->nodes = static_cast<struct json_node *>(nodes);
        parser->allocated = allocated;
    }
    *out = &parser->nodes[parser->count++];
    **out = json_node{};
    return SOREX_OK;
}

enum sorex_status twice(struct bytes text, const struct json_node *member, struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_INVALID, "bad JSON at byte %zu: name \"%.*s\" stands twice in one object",
                           static_cast<size_t>(member->raw.data - text.data), BYTES_FMT(member->key));
}

// Makes room in order for the members of one more object.
enum sorex_status order_reserve(json_parser *parser, uint32_t members, struct sorex_error *err)
{
    size_t wanted = size_t{parser->ordered} + members; // at most the number of nodes, which fits 32 bits
    if (wanted <= parser->order_allocated)
        return SOREX_OK;
    wanted += wanted / 2;
    void *order = wanted > UINT32_MAX ? nullptr : std::realloc(parser->order, wanted * sizeof(*parser->order));
    if (order == nullptr)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a JSON object of %u members", members);
    parser->order = static_cast<uint32_t *>(order);
    parser->order_allocated = static_cast<uint32_t>(wanted);
    return SOREX_OK;
}

// Duplicate names: each pair in a small object; a large one is sorted, and stays so for json_member.
enum sorex_status names_check(json_parser *parser, struct bytes text, struct json_node *object, struct sorex_error *err)
{
    const struct json_node *nodes = parser->nodes;
    if (object->children <= SORTED_ABOVE) {
        for (uint32_t i = object->first; i != 0; i = nodes[i].next)
            for (uint32_t j = nodes[i].next; j != 0; j = nodes[j].next)
                if (bytes_equal(nodes[i].key, nodes[j].key))
                    return twice(text, &nodes[j], err);
        return SOREX_OK;
    }
    enum sorex_status status = order_reserve(parser, object->children, err);
    if (status != SOREX_OK)
        return status;
    uint32_t *begin = parser->order + parser->ordered, *end = begin;
    for (uint32_t i = object->first; i != 0; i = nodes[i].next)
        *end++ = i;
    std::sort(begin, end, [nodes](uint32_t a, uint32_t b) {
        int sign = bytes_compare(nodes[a].key, nodes[b].key);
        return sign != 0 ? sign < 0 : a < b;
    });
    for (uint32_t *at = begin + 1; at < end; at++)
        if (bytes_equal(nodes[at[-1]].key, nodes[*at].key))
            return twice(text, &nodes[*at], err);
    object->order = parser->ordered + 1;
    parser->ordered += object->children;
    return SOREX_OK;
}

enum sorex_status scalar_take(struct bytes text, size_t at, struct json_node *node, struct sorex_error *err)
{
    size_t end = at;
    while (end < text.len && !is_delimiter(text.data[end]))
        end++;
    struct bytes token = bytes_of(text.data + at, end - at);
    node->raw = node->text = token;
    if (bytes_is(token, "null")) {
        node->kind = JSON_NULL;
    } else if (bytes_is(token, "true") || bytes_is(token, "false")) {
        node->kind = JSON_BOOL;
        node->boolean = token.len == 4;
    } else if (is_number(token)) {
        node->kind = JSON_NUMBER;
    } else
        return bad(err, at, "neither a value nor a delimiter");
    return SOREX_OK;
}

// The walk over the token places of one document.
struct walk {
    json_parser *parser;
    struct bytes text;
    unsigned depth;
    expect next;
    struct bytes name;

    enum sorex_status value(size_t at, struct sorex_error *err)
    {
        struct json_node *added;
        enum sorex_status status = node_add(parser, &added, err);
        if (status != SOREX_OK)
            return status;
        uint32_t index = parser->count - 1;
        struct json_node *node = &parser->nodes[index];
        node->key = name;
        name = bytes_of(nullptr, 0);
        if (depth > 0) {
            level *above = &parser->levels[depth - 1];
            if (above->last == 0)
                parser->nodes[above->node].first = index;
            else
                parser->nodes[above->last].next = index;
            above->last = index;
            parser->nodes[above->node].children++;
        }
        next = depth > 0 ? expect::comma_or_end : expect::nothing;
        uint8_t c = text.data[at];
        if (c == '"') {
            node->kind = JSON_STRING;
            return string_take(parser, text, at, &node->raw, &node->text, err);
        }
        if (c != '{' && c != '[')
            return scalar_take(text, at, node, err);
        if (depth == SOREX_JSON_DEPTH_MAX)
            return sorex_error_set(err, SOREX_LIMIT, "JSON nested deeper than %d", SOREX_JSON_DEPTH_MAX);
        node->kind = c == '{' ? JSON_OBJECT : JSON_ARRAY;
        node->raw = bytes_of(text.data + at, 1);
        parser->levels[depth++] = level{index, 0};
        next = c == '{' ? expect::name_or_end : expect::value_or_end;
        return SOREX_OK;
    }

    enum sorex_status close(size_t at, uint8_t c, struct sorex_error *err)
    {
        if (depth == 0)
            return bad(err, at, "nothing is open here");
        struct json_node *node = &parser->nodes[parser->levels[depth - 1].node];
        if ((c == '}') != (node->kind == JSON_OBJECT))
            return bad(err, at, "the wrong bracket");
        node->raw.len = static_cast<size_t>(text.data + at + 1 - node->raw.data);
        depth--;
        next = depth > 0 ? expect::comma_or_end : expect::nothing;
        return node->kind == JSON_OBJECT ? names_check(parser, text, node, err) : SOREX_OK;
    }

    enum sorex_status token(size_t at, struct sorex_error *err)
    {
        uint8_t c = text.data[at];
        switch (next) {
        case expect::value_or_end:
            return c == ']' ? close(at, c, err) : value(at, err);
        case expect::value:
            return c == ']' || c == '}' || c == ',' || c == ':' ? bad(err, at, "a value is missing") : value(at, err);
        case expect::name_or_end:
        case expect::name: {
            if (c == '}' && next == expect::name_or_end)
                return close(at, c, err);
            if (c != '"')
                return bad(err, at, "a member's name is missing");
            struct bytes raw;
            next = expect::colon;
            return string_take(parser, text, at, &raw, &name, err);
        }
        case expect::colon:
            next = expect::value;
            return c == ':' ? SOREX_OK : bad(err, at, "a colon is missing");
        case expect::comma_or_end:
            if (c == ']' || c == '}')
                return close(at, c, err);
            next = parser->nodes[parser->levels[depth - 1].node].kind == JSON_OBJECT ? expect::name : expect::value;
            return c == ',' ? SOREX_OK : bad(err, at, "a comma or the end is missing");
        case expect::nothing:
            break;
        }
        return bad(err, at, "text behind the value");
    }
};

} // namespace

namespace
{

void parser_trim(json_parser *parser)
{
    if (parser->allocated <= KEEP_NODES)
        return;
    std::free(parser->nodes);
    std::free(parser->order);
    parser->nodes = nullptr;
    parser->order = nullptr;
    parser->allocated = parser->order_allocated = 0;
}

enum sorex_status capacity_fit(json_parser *parser, size_t len, struct sorex_error *err)
{
    bool shrink = parser->capacity > 2 * KEEP_TEXT_BYTES && len < KEEP_TEXT_BYTES;
    if (len <= parser->capacity && !shrink)
        return SOREX_OK;
    size_t capacity = shrink ? KEEP_TEXT_BYTES : len < 4096 ? 4096 : len + len / 2;
    if (parser->stage->set_capacity(capacity) != simdjson::SUCCESS) {
        parser->capacity = 0;
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for JSON of %zu bytes", len);
    }
    parser->capacity = capacity;
    return SOREX_OK;
}

} // namespace

extern "C" enum sorex_status json_parse(struct json_parser *parser, struct bytes text, struct json_doc *out_doc, struct sorex_error *err)
{
    parser->count = parser->ordered = 0;
    arena_reset(&parser->strings);
    if (text.len == 0)
        return bad(err, 0, "no text");
    if (text.len > SOREX_BUF_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "JSON of %zu bytes is over the limit of %zu", text.len, SOREX_BUF_BYTES_MAX);
    if (text.len < KEEP_TEXT_BYTES)
        parser_trim(parser);
    enum sorex_status fits = capacity_fit(parser, text.len, err);
    if (fits != SOREX_OK)
        return fits;
    simdjson::error_code code = parser->stage->stage1(text.data, text.len, simdjson::stage1_mode::regular);
    if (code == simdjson::EMPTY)
        return bad(err, text.len, "no text");
    if (code != simdjson::SUCCESS) {
        size_t offset;
        const char *reason = json_fault_find(text, &offset);
        return bad(err, offset, reason != nullptr ? reason : simdjson::error_message(code));
    }
    walk walk{parser, text, 0, expect::value, bytes_of(nullptr, 0)};
    for (uint32_t i = 0; i < parser->stage->n_structural_indexes; i++) {
        enum sorex_status status = walk.token(parser->stage->structural_indexes[i], err);
        if (status != SOREX_OK)
            return status;
    }
    if (walk.next != expect::nothing)
        return bad(err, text.len, "the text ends too early");
    *out_doc = json_doc{parser->nodes, parser->count, parser->order};
    return SOREX_OK;
}
