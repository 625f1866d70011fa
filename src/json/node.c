/* Walking a parsed document. */
#include "base/check.h"
#include "base/limits.h"
#include "json/json.h"

const struct json_node *json_first(const struct json_doc *doc, const struct json_node *node)
{
    return node->first == 0 ? NULL : &doc->nodes[node->first];
}

const struct json_node *json_next(const struct json_doc *doc, const struct json_node *node)
{
    return node->next == 0 ? NULL : &doc->nodes[node->next];
}

/* Binary search among the sorted members of a large object. */
static const struct json_node *member_search(const struct json_doc *doc, const struct json_node *node, struct bytes name)
{
    const uint32_t *order = doc->order + node->order - 1;
    uint32_t low = 0, high = node->children;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct json_node *member = &doc->nodes[order[middle]];
        int sign = bytes_compare(member->key, name);
        if (sign == 0)
            return member;
        if (sign < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct json_node *json_member_bytes(const struct json_doc *doc, const struct json_node *node, struct bytes name)
{
    if (node == NULL || node->kind != JSON_OBJECT)
        return NULL;
    if (node->order != 0)
        return member_search(doc, node, name);
    const struct json_node *member = json_first(doc, node);
    while (member != NULL && !bytes_equal(member->key, name))
        member = json_next(doc, member);
    return member;
}

const struct json_node *json_member(const struct json_doc *doc, const struct json_node *node, const char *name)
{
    return json_member_bytes(doc, node, bytes_str(name));
}

/* A decoded string is a slice of what was parsed, unless it had escapes. */
static enum sorex_status slice_keep(struct bytes *slice, struct bytes text, struct arena *arena, struct sorex_error *err)
{
    uintptr_t at = (uintptr_t)slice->data, begin = (uintptr_t)text.data;
    if (slice->data == NULL || (at >= begin && at < begin + text.len))
        return SOREX_OK;
    *slice = arena_copy(arena, *slice);
    return slice->data != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory for a JSON string");
}

enum sorex_status json_shallow_copy(const struct json_doc *doc, const struct json_node *node, struct bytes text, struct arena *arena,
                                    struct json_doc *out, struct sorex_error *err)
{
    struct json_node *copies = arena_alloc(arena, ((size_t)node->children + 1) * sizeof *copies);
    if (copies == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for %u JSON values", node->children);
    uint32_t count = 0;
    for (const struct json_node *from = node; from != NULL; from = from == node ? json_first(doc, node) : json_next(doc, from)) {
        struct json_node *copy = &copies[count++];
        *copy = *from;
        copy->order = copy->first = copy->children = 0;
        copy->next = from == node || from->next == 0 ? 0 : count;
        TRY(slice_keep(&copy->key, text, arena, err));
        TRY(slice_keep(&copy->text, text, arena, err));
    }
    copies[0].children = node->children;
    copies[0].first = count > 1 ? 1 : 0;
    *out = (struct json_doc){.nodes = copies, .count = count};
    return SOREX_OK;
}

static bool digits_u64(struct bytes text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool json_u64(const struct json_node *node, uint64_t *out)
{
    return node != NULL && node->kind == JSON_NUMBER && digits_u64(node->text, out);
}

bool json_i64(const struct json_node *node, int64_t *out)
{
    uint64_t value;
    if (node == NULL || node->kind != JSON_NUMBER)
        return false;
    bool negative = node->text.len != 0 && node->text.data[0] == '-';
    struct bytes digits = negative ? bytes_of(node->text.data + 1, node->text.len - 1) : node->text;
    if (!digits_u64(digits, &value) || value > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}
