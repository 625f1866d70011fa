#include "json/canonical.h"

#include "base/check.h"
#include "base/limits.h"
#include "json/escape.h"

/* Objects with more members have them sorted by the reader: json_doc.order. */
#define SORTED_HERE_MAX 16

bool json_string_is_canonical(const struct json_doc *doc, const struct json_node *string)
{
    return !doc->escapes || escape_minimal(bytes_of(string->raw.data + 1, string->raw.len - 2));
}

bool json_name_is_canonical(const struct json_doc *doc, const struct json_node *member)
{
    /* One that had escapes was decoded elsewhere; that it may have needed them makes no difference worth looking for.
     */
    uintptr_t at = (uintptr_t)member->key.data, begin = (uintptr_t)doc->nodes[0].raw.data;
    return !doc->escapes || (at > begin && at < begin + doc->nodes[0].raw.len);
}

bool json_is_canonical(const struct json_doc *doc, const struct json_node *node)
{
    const uint8_t *end = node->raw.data + node->raw.len;
    const struct json_node *last = doc->nodes + doc->count;
    for (const struct json_node *at = node; at < last && at->raw.data < end; at++) { /* nodes stand in document order */
        if (at->kind == JSON_STRING && !json_string_is_canonical(doc, at))
            return false;
        if (at->kind != JSON_OBJECT)
            continue;
        const struct json_node *member = json_first(doc, at), *next;
        for (; member != NULL; member = next) {
            next = json_next(doc, member);
            if (!json_name_is_canonical(doc, member) || (next != NULL && bytes_compare(member->key, next->key) >= 0))
                return false;
        }
    }
    return true;
}

void json_members_sorted(const struct json_doc *doc, const struct json_node *node, const struct json_node **out)
{
    if (node->order != 0) {
        for (uint32_t i = 0; i < node->children; i++)
            out[i] = &doc->nodes[doc->order[node->order - 1 + i]];
        return;
    }
    CHECK(node->children <= SORTED_HERE_MAX);
    uint32_t count = 0;
    for (const struct json_node *member = json_first(doc, node); member != NULL; member = json_next(doc, member)) {
        uint32_t at = count++;
        for (; at > 0 && bytes_compare(out[at - 1]->key, member->key) > 0; at--)
            out[at] = out[at - 1];
        out[at] = member;
    }
}

/* An open container of the value being written. Large objects were sorted by the reader. */
struct frame {
    const struct json_node *next; /* arrays: the next element */
    const uint32_t *order;        /* large objects */
    uint32_t at, count;
    bool object;
    const struct json_node *own[SORTED_HERE_MAX]; /* small objects */
};

static void frame_open(struct frame *frame, const struct json_doc *doc, const struct json_node *node)
{
    frame->at = 0;
    frame->count = node->children;
    frame->object = node->kind == JSON_OBJECT;
    frame->next = json_first(doc, node);
    frame->order = node->order != 0 ? doc->order + node->order - 1 : NULL;
    if (frame->object && frame->order == NULL)
        json_members_sorted(doc, node, frame->own);
}

static uint8_t *put(uint8_t *out, struct bytes text)
{
    if (text.len > 0)
        memcpy(out, text.data, text.len);
    return out + text.len;
}

static uint8_t *quoted_put(uint8_t *out, struct bytes text, bool escapes)
{
    *out++ = '"';
    out = escapes ? out + escape_encode(text, out) : put(out, text);
    *out++ = '"';
    return out;
}

size_t json_canonical_write(const struct json_doc *doc, const struct json_node *node, uint8_t *out)
{
    struct frame frames[SOREX_JSON_DEPTH_MAX];
    unsigned depth = 0;
    uint8_t *at = out;
    for (;;) {
        if (node->kind == JSON_OBJECT || node->kind == JSON_ARRAY) {
            CHECK(depth < SOREX_JSON_DEPTH_MAX);
            frame_open(&frames[depth++], doc, node);
            *at++ = node->kind == JSON_OBJECT ? '{' : '[';
        } else if (node->kind == JSON_STRING)
            at = quoted_put(at, node->text, doc->escapes);
        else
            at = put(at, node->raw);
        while (depth > 0 && frames[depth - 1].at == frames[depth - 1].count)
            *at++ = frames[--depth].object ? '}' : ']';
        if (depth == 0)
            return (size_t)(at - out);
        struct frame *top = &frames[depth - 1];
        node = !top->object ? top->next : top->order != NULL ? &doc->nodes[top->order[top->at]] : top->own[top->at];
        top->next = json_next(doc, node);
        if (top->at++ > 0)
            *at++ = ',';
        if (top->object) {
            at = quoted_put(at, node->key, doc->escapes);
            *at++ = ':';
        }
    }
}
