/* Equality of two images as values. */
#include "base/check.h"
#include "base/limits.h"
#include "change/change.h"

/* One open container of the comparison. */
struct frame {
    const struct json_node *a;      /* next child of a to compare */
    const struct json_node *b;      /* arrays: its counterpart; objects: the container, searched by name */
    bool object;
};

static bool scalar_equal(const struct json_node *a, const struct json_node *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return a->boolean == b->boolean;
    case JSON_NUMBER:
    case JSON_STRING:
        return bytes_equal(a->text, b->text);
    case JSON_ARRAY:
    case JSON_OBJECT:
        return a->children == b->children;
    }
    return false;
}

static bool documents_equal(const struct json_doc *a, const struct json_doc *b)
{
    struct frame frames[SOREX_JSON_DEPTH_MAX + 1];
    unsigned depth = 0;
    const struct json_node *left = &a->nodes[0], *right = &b->nodes[0];
    for (;;) {
        if (right == NULL || !scalar_equal(left, right))
            return false;
        if (left->children != 0) {
            CHECK(depth <= SOREX_JSON_DEPTH_MAX);
            bool object = left->kind == JSON_OBJECT;
            frames[depth++] = (struct frame){.a = json_first(a, left), .b = object ? right : json_first(b, right), .object = object};
        }
        while (depth > 0 && frames[depth - 1].a == NULL)
            depth--;
        if (depth == 0)
            return true;
        struct frame *top = &frames[depth - 1];
        left = top->a;
        top->a = json_next(a, left);
        if (top->object)
            right = json_member_bytes(b, top->b, left->key);
        else {
            right = top->b;
            top->b = right != NULL ? json_next(b, right) : NULL;
        }
    }
}

enum sorex_status change_image_equal(struct json_parser *a_parser, struct bytes a, struct json_parser *b_parser, struct bytes b,
                                     bool *out_equal, struct sorex_error *err)
{
    struct json_doc left, right;
    if (bytes_equal(a, b)) {
        *out_equal = true;
        return SOREX_OK;
    }
    TRY(json_parse(a_parser, a, &left, err));
    TRY(json_parse(b_parser, b, &right, err));
    *out_equal = documents_equal(&left, &right);
    return SOREX_OK;
}
