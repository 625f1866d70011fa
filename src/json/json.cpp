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
#include "json/escape.h"
#include "json/fault.h"
#include "json/json.h"
}

namespace
{

struct level {
    uint32_t node;
    uint32_t last; // last child, 0 = none yet
    uint32_t children;
    bool object;
    uint64_t names; // one bit of 64 for each name seen, by a hash: two equal names have the same one
};

// Objects with more members than this are sorted by name: for duplicates here, for json_member and comparisons later.
constexpr uint32_t SORTED_ABOVE = 16;

// A parser that held one large text gives its memory back at the next ordinary one: 72 bytes a value add up.
constexpr size_t KEEP_TEXT_BYTES = size_t{1} << 20;
constexpr uint32_t KEEP_NODES = 1u << 16;

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

// Makes room for one more node.
enum sorex_status nodes_reserve(json_parser *parser, struct sorex_error *err)
{
    if (parser->count < parser->allocated)
        return SOREX_OK;
    uint32_t allocated = parser->allocated == 0 ? 64 : parser->allocated * 2;
    void *nodes = allocated > UINT32_MAX / 2 ? nullptr : std::realloc(parser->nodes, allocated * sizeof(struct json_node));
    if (nodes == nullptr)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a JSON document of %u values", parser->count);
    parser->nodes = static_cast<struct json_node *>(nodes);
    parser->allocated = allocated;
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

// One of 64, equal for equal names. Written for names that differ in length, at an end or in the middle, as those of a row do.
unsigned name_hash(struct bytes name)
{
    if (name.len == 0)
        return 0;
    return (static_cast<unsigned>(name.len) + name.data[0] * 7u + name.data[name.len / 2] * 13u + name.data[name.len - 1] * 29u) % 64u;
}

// A name that stands among the children of `above` already; most are told apart by their hash.
enum sorex_status name_check_small(const json_parser *parser, struct bytes text, level *above, const struct json_node *member,
                                   struct sorex_error *err)
{
    const struct json_node *nodes = parser->nodes;
    uint64_t bit = uint64_t{1} << name_hash(member->key);
    if ((above->names & bit) != 0)
        for (uint32_t i = nodes[above->node].first; i != 0; i = nodes[i].next)
            if (&nodes[i] != member && bytes_equal(nodes[i].key, member->key))
                return twice(text, member, err);
    above->names |= bit;
    return SOREX_OK;
}

// A large object: its members are sorted by name, if they do not come so, and stay so for json_member.
enum sorex_status names_sort(json_parser *parser, struct bytes text, struct json_node *object, struct sorex_error *err)
{
    const struct json_node *nodes = parser->nodes;
    enum sorex_status status = order_reserve(parser, object->children, err);
    if (status != SOREX_OK)
        return status;
    uint32_t *begin = parser->order + parser->ordered, *end = begin;
    bool sorted = true;
    for (uint32_t i = object->first; i != 0; i = nodes[i].next) {
        sorted = sorted && (end == begin || bytes_compare(nodes[end[-1]].key, nodes[i].key) < 0);
        *end++ = i;
    }
    if (!sorted)
        std::sort(begin, end, [nodes](uint32_t a, uint32_t b) {
            int sign = bytes_compare(nodes[a].key, nodes[b].key);
            return sign != 0 ? sign < 0 : a < b;
        });
    for (uint32_t *at = begin + 1; !sorted && at < end; at++)
        if (bytes_equal(nodes[at[-1]].key, nodes[*at].key))
            return twice(text, &nodes[*at], err);
    object->order = parser->ordered + 1;
    parser->ordered += object->children;
    return SOREX_OK;
}

// Asked often, and mostly of something else.
bool is_space(uint8_t c) { return c <= ' ' && (c == ' ' || c == '\t' || c == '\n' || c == '\r'); }

enum sorex_status scalar_take(struct bytes token, size_t at, struct json_node *node, struct sorex_error *err)
{
    if (is_number(token)) {
        node->kind = JSON_NUMBER;
    } else if (token.len == 4 && std::memcmp(token.data, "null", 4) == 0) {
        node->kind = JSON_NULL;
    } else if (token.len == 4 && std::memcmp(token.data, "true", 4) == 0) {
        node->kind = JSON_BOOL;
        node->boolean = true;
    } else if (token.len == 5 && std::memcmp(token.data, "false", 5) == 0) {
        node->kind = JSON_BOOL;
    } else
        return bad(err, at, "neither a value nor a delimiter");
    node->text = token;
    return SOREX_OK;
}

// The walk over the token places of one document. A string or scalar ends where white space before the next token begins: the first
// stage has seen to it that nothing else stands between. Where there is none, the next token begins at its end.
struct walk {
    json_parser *parser;
    struct bytes text;
    const uint32_t *at, *end; // tokens left
    bool escapes;             // a backslash stands somewhere in text
    bool compact;             // no white space so far
    unsigned depth, deepest;

    // The first byte of the token in hand; 0, which begins none, behind the last one.
    uint8_t first() const { return at < end ? text.data[*at] : 0; }

    // Where the token in hand is, for errors.
    size_t place() const { return at < end ? *at : text.len; }

    // Takes the token in hand with all of its bytes.
    struct bytes take()
    {
        size_t begin = *at++, limit = place(), stop = limit;
        while (stop > begin + 1 && is_space(text.data[stop - 1]))
            stop--;
        compact = compact && stop == limit;
        return bytes_of(text.data + begin, stop - begin);
    }

    void take_bracket()
    {
        size_t begin = *at++;
        compact = compact && place() == begin + 1;
    }

    enum sorex_status string(struct bytes *out_raw, struct bytes *out_text, struct sorex_error *err)
    {
        size_t begin = *at;
        struct bytes raw = take();
        if (raw.len < 2 || raw.data[raw.len - 1] != '"')
            return bad(err, begin, "a string without its end");
        *out_raw = raw;
        *out_text = bytes_of(raw.data + 1, raw.len - 2);
        return escapes ? escape_decode(&parser->strings, *out_text, begin + 1, out_text, err) : SOREX_OK;
    }

    enum sorex_status member_name(struct bytes *out, struct sorex_error *err)
    {
        struct bytes raw;
        if (first() != '"')
            return bad(err, place(), at < end ? "a member's name is missing" : "the text ends too early");
        enum sorex_status status = string(&raw, out, err);
        if (status != SOREX_OK)
            return status;
        if (first() != ':')
            return bad(err, place(), at < end ? "a colon is missing" : "the text ends too early");
        take_bracket();
        return SOREX_OK;
    }

    // Adds a node under the container in hand: the one at count - 1 afterwards.
    enum sorex_status add(struct bytes name, struct sorex_error *err)
    {
        enum sorex_status status = nodes_reserve(parser, err);
        if (status != SOREX_OK)
            return status;
        uint32_t index = parser->count++;
        struct json_node *node = &parser->nodes[index];
        *node = json_node{};
        node->key = name;
        if (depth == 0)
            return SOREX_OK;
        level *above = &parser->levels[depth - 1];
        if (above->last == 0)
            parser->nodes[above->node].first = index;
        else
            parser->nodes[above->last].next = index;
        above->last = index;
        above->children++;
        return above->object && above->children <= SORTED_ABOVE ? name_check_small(parser, text, above, node, err) : SOREX_OK;
    }

    enum sorex_status open(struct json_node *node, bool object, struct sorex_error *err)
    {
        if (depth == SOREX_JSON_DEPTH_MAX)
            return sorex_error_set(err, SOREX_LIMIT, "JSON nested deeper than %d", SOREX_JSON_DEPTH_MAX);
        node->kind = object ? JSON_OBJECT : JSON_ARRAY;
        node->raw = bytes_of(text.data + *at, 1);
        parser->levels[depth++] = level{parser->count - 1, 0, 0, object, 0};
        deepest = depth > deepest ? depth : deepest;
        take_bracket();
        return SOREX_OK;
    }

    // The bracket in hand ends the container in hand.
    enum sorex_status close(struct sorex_error *err)
    {
        const level *level = &parser->levels[depth - 1];
        struct json_node *node = &parser->nodes[level->node];
        if ((first() == '}') != level->object)
            return bad(err, place(), "the wrong bracket");
        node->raw.len = static_cast<size_t>(text.data + *at + 1 - node->raw.data);
        node->children = level->children;
        take_bracket();
        depth--;
        return level->object && level->children > SORTED_ABOVE ? names_sort(parser, text, node, err) : SOREX_OK;
    }

    // One value, of a container its beginning only; *out_open says which.
    enum sorex_status value(struct bytes name, bool *out_open, struct sorex_error *err)
    {
        uint8_t c = first();
        *out_open = false;
        if (c != '"' && (c == 0 || c == ']' || c == '}' || c == ',' || c == ':'))
            return bad(err, place(), at < end ? "a value is missing" : "the text ends too early");
        enum sorex_status status = add(name, err);
        if (status != SOREX_OK)
            return status;
        struct json_node *node = &parser->nodes[parser->count - 1];
        if (c == '"') {
            node->kind = JSON_STRING;
            return string(&node->raw, &node->text, err);
        }
        if (c == '{' || c == '[') {
            *out_open = true;
            return open(node, c == '{', err);
        }
        size_t begin = *at;
        node->raw = take();
        return scalar_take(node->raw, begin, node, err);
    }

    // Behind a value: ends containers, up to a comma that says that one more member or element follows (*out_more).
    enum sorex_status after(bool *out_more, struct sorex_error *err)
    {
        *out_more = false;
        while (depth > 0) {
            uint8_t c = first();
            if (c == ',') {
                take_bracket();
                *out_more = true;
                return SOREX_OK;
            }
            if (c != '}' && c != ']')
                return bad(err, place(), at < end ? "a comma or the end is missing" : "the text ends too early");
            enum sorex_status status = close(err);
            if (status != SOREX_OK)
                return status;
        }
        return at == end ? SOREX_OK : bad(err, place(), "text behind the value");
    }

    enum sorex_status document(struct sorex_error *err)
    {
        bool more = true;
        while (more) {
            struct bytes name = bytes_of(nullptr, 0);
            bool opened = false;
            enum sorex_status status = SOREX_OK;
            if (depth > 0 && parser->levels[depth - 1].object)
                status = member_name(&name, err);
            if (status == SOREX_OK)
                status = value(name, &opened, err);
            if (status != SOREX_OK)
                return status;
            if (opened && first() != (parser->levels[depth - 1].object ? '}' : ']'))
                continue;
            status = after(&more, err);
            if (status != SOREX_OK)
                return status;
        }
        return SOREX_OK;
    }
};

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
    const uint32_t *tokens = parser->stage->structural_indexes.get();
    bool escapes = std::memchr(text.data, '\\', text.len) != nullptr;
    walk walk{parser, text, tokens, tokens + parser->stage->n_structural_indexes, escapes, tokens[0] == 0, 0, 0};
    enum sorex_status status = walk.document(err);
    if (status != SOREX_OK)
        return status;
    *out_doc = json_doc{parser->nodes, parser->count, parser->order, walk.deepest, walk.compact, escapes};
    return SOREX_OK;
}
