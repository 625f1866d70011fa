/* Changes made from changes: with another `before`, inverted. Members keep their order and their values' text; white space between
 * members is dropped. */
#include "base/check.h"
#include "change/change.h"
#include "json/writer.h"

/* What becomes of the payload. */
struct edit {
    const char *operation;   /* new operation, or NULL */
    struct bytes before;     /* value under the name `before` in the result; data NULL: none */
    struct bytes after;
    const char *before_from; /* member whose place it takes; "" = in front of `after`, or last */
    const char *after_from;
};

/* Appends a payload with the edit applied. */
static void payload_write(struct json_writer *w, const struct json_doc *doc, const struct json_node *payload, const struct edit *edit)
{
    bool before_done = edit->before.data == NULL;
    json_object_begin(w);
    for (const struct json_node *member = json_first(doc, payload); member != NULL; member = json_next(doc, member)) {
        bool is_image = bytes_is(member->key, "before") || bytes_is(member->key, "after");
        if (bytes_is(member->key, "operation") && edit->operation != NULL) {
            json_name(w, "operation");
            json_string_z(w, edit->operation);
            continue;
        }
        if (!is_image) {
            json_name_bytes(w, member->key);
            json_raw(w, member->raw);
            continue;
        }
        bool before_here = edit->before_from[0] != '\0' ? bytes_is(member->key, edit->before_from) : bytes_is(member->key, "after");
        if (before_here && !before_done) {
            json_name(w, "before");
            json_raw(w, edit->before);
            before_done = true;
        }
        if (edit->after.data != NULL && bytes_is(member->key, edit->after_from)) {
            json_name(w, "after");
            json_raw(w, edit->after);
        }
    }
    if (!before_done) {
        json_name(w, "before");
        json_raw(w, edit->before);
    }
    json_object_end(w);
}

static enum sorex_status change_write(const struct json_doc *doc, const struct edit *edit, struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    const struct json_node *root = &doc->nodes[0];
    for (const struct json_node *member = json_first(doc, root); member != NULL; member = json_next(doc, member)) {
        json_name_bytes(&w, member->key);
        if (bytes_is(member->key, "payload"))
            payload_write(&w, doc, member, edit);
        else
            json_raw(&w, member->raw);
    }
    json_object_end(&w);
    return json_writer_finish(&w);
}

static enum sorex_status payload_find(struct json_parser *parser, struct bytes json, struct json_doc *doc,
                                      const struct json_node **out, struct sorex_error *err)
{
    TRY(json_parse(parser, json, doc, err));
    *out = json_member(doc, &doc->nodes[0], "payload");
    if (*out == NULL || (*out)->kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "payload is missing");
    return SOREX_OK;
}

static struct bytes image_of(const struct json_doc *doc, const struct json_node *payload, const char *name)
{
    const struct json_node *node = json_member(doc, payload, name);
    return node == NULL || node->kind == JSON_NULL ? bytes_of(NULL, 0) : node->raw;
}

enum sorex_status change_with_before(struct json_parser *parser, struct bytes json, struct bytes before, struct buf *out,
                                     struct sorex_error *err)
{
    struct json_doc doc;
    const struct json_node *payload;
    TRY(payload_find(parser, json, &doc, &payload, err));
    struct edit edit = {.before = before,
                        .after = image_of(&doc, payload, "after"),
                        .before_from = json_member(&doc, payload, "before") != NULL ? "before" : "",
                        .after_from = "after"};
    return change_write(&doc, &edit, out, err);
}

enum sorex_status change_invert(struct json_parser *parser, struct bytes json, struct buf *out, struct sorex_error *err)
{
    struct json_doc doc;
    const struct json_node *payload;
    TRY(payload_find(parser, json, &doc, &payload, err));
    const struct json_node *operation = json_member(&doc, payload, "operation");
    struct bytes name = operation != NULL && operation->kind == JSON_STRING ? operation->text : bytes_of(NULL, 0);
    struct bytes before = image_of(&doc, payload, "before"), after = image_of(&doc, payload, "after");
    bool create = bytes_is(name, "create"), update = bytes_is(name, "update"), delete = bytes_is(name, "delete");
    if (!create && !update && !delete)
        return sorex_error_set(err, SOREX_INVALID, "payload.operation is not create, update or delete");
    if ((create || update) && after.data == NULL)
        return sorex_error_set(err, SOREX_INVALID, "payload.after is missing: the change cannot be inverted");
    if ((update || delete) && before.data == NULL)
        return sorex_error_set(err, SOREX_INVALID, "payload.before is missing: the change cannot be inverted");
    struct edit edit = {.operation = create ? "delete" : update ? "update" : "create",
                        .before = create || update ? after : bytes_of(NULL, 0),
                        .after = delete || update ? before : bytes_of(NULL, 0),
                        .before_from = create ? "after" : "before",
                        .after_from = delete ? "before" : "after"};
    return change_write(&doc, &edit, out, err);
}
