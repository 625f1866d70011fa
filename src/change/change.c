/* A change is one JSON object {"header": {...}, "payload": {"operation", "table", "key", "before"?, "after"?}}; an image that is null
 * counts as absent. Source: debshrew's CDC message. The whole format: docs/formats/change.md. */
#include "change/change.h"

#include "base/check.h"
#include "base/limits.h"

/* An image is kept parsed when that takes no more than this, and four times its text: bounded by what the change itself takes. */
#define IMAGE_FREE_BYTES 1024

static const char *const operation_names[] = {"create", "update", "delete"};

const char *change_operation_name(enum change_operation operation)
{
    return operation_names[operation];
}

static enum sorex_status field_error(struct sorex_error *err, const char *field, const char *what)
{
    return sorex_error_set(err, SOREX_INVALID, "%s %s", field, what);
}

/* A string member, copied to the arena. An absent one is left empty unless it is required. */
static enum sorex_status string_member(const struct json_doc *doc, const struct json_node *object, const char *name, const char *path,
                                       bool required, struct arena *arena, struct bytes *out, struct sorex_error *err)
{
    const struct json_node *node = json_member(doc, object, name);
    *out = bytes_of(NULL, 0);
    if (node == NULL || (!required && node->kind == JSON_NULL))
        return required ? field_error(err, path, "is missing") : SOREX_OK;
    if (node->kind != JSON_STRING)
        return field_error(err, path, "is no string");
    *out = arena_copy(arena, node->text);
    return out->data != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory for a change");
}

static struct bytes image_member(const struct json_doc *doc, const struct json_node *payload, const char *name)
{
    const struct json_node *node = json_member(doc, payload, name);
    return node == NULL || node->kind == JSON_NULL ? bytes_of(NULL, 0) : node->raw;
}

static enum sorex_status operation_parse(struct bytes text, enum change_operation *out, struct sorex_error *err)
{
    for (int i = CHANGE_CREATE; i <= CHANGE_DELETE; i++)
        if (bytes_is(text, operation_names[i])) {
            *out = (enum change_operation)i;
            return SOREX_OK;
        }
    return sorex_error_set(err, SOREX_INVALID, "payload.operation is \"%.*s\", not create, update or delete",
                           (int)(text.len > 40 ? 40 : text.len), (const char *)text.data);
}

static enum sorex_status header_parse(const struct json_doc *doc, const struct json_node *header, struct arena *arena,
                                      struct change *out, struct sorex_error *err)
{
    if (header == NULL)
        return field_error(err, "header", "is missing");
    if (header->kind != JSON_OBJECT)
        return field_error(err, "header", "is no object");
    TRY(string_member(doc, header, "source", "header.source", false, arena, &out->source, err));
    TRY(string_member(doc, header, "block_hash", "header.block_hash", false, arena, &out->block_hash, err));
    const struct json_node *timestamp = json_member(doc, header, "timestamp");
    if (timestamp != NULL && timestamp->kind != JSON_NULL) {
        if (timestamp->kind != JSON_NUMBER)
            return field_error(err, "header.timestamp", "is no number");
        out->timestamp = timestamp->raw;
    }
    const struct json_node *height = json_member(doc, header, "block_height");
    if (height != NULL && height->kind != JSON_NULL) {
        uint64_t value;
        if (!json_u64(height, &value) || value >= SOREX_HEIGHT_NONE)
            return field_error(err, "header.block_height", "is no height");
        out->has_height = true;
        out->block_height = (uint32_t)value;
    }
    return SOREX_OK;
}

/* Leaves the document, for the images in it. */
static enum sorex_status parse(struct json_parser *parser, struct bytes json, struct arena *arena, struct change *out,
                               struct json_doc *out_doc, struct sorex_error *err)
{
    struct bytes operation;
    *out = (struct change){.raw = json};
    if (json.len > SOREX_CHANGE_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "a change of %zu bytes is over the limit of %zu", json.len, SOREX_CHANGE_BYTES_MAX);
    TRY(json_parse(parser, json, out_doc, err));
    const struct json_node *root = &out_doc->nodes[0];
    if (root->kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "a change is a JSON object");
    out->raw = root->raw;
    TRY(header_parse(out_doc, json_member(out_doc, root, "header"), arena, out, err));
    const struct json_node *payload = json_member(out_doc, root, "payload");
    if (payload == NULL || payload->kind != JSON_OBJECT)
        return field_error(err, "payload", payload == NULL ? "is missing" : "is no object");
    TRY(string_member(out_doc, payload, "operation", "payload.operation", true, arena, &operation, err));
    TRY(operation_parse(operation, &out->operation, err));
    TRY(string_member(out_doc, payload, "table", "payload.table", true, arena, &out->table, err));
    TRY(string_member(out_doc, payload, "key", "payload.key", true, arena, &out->key, err));
    out->before = image_member(out_doc, payload, "before");
    out->after = image_member(out_doc, payload, "after");
    return SOREX_OK;
}

enum sorex_status change_parse(struct json_parser *parser, struct bytes json, struct arena *arena, struct change *out,
                               struct sorex_error *err)
{
    struct json_doc doc;
    return parse(parser, json, arena, out, &doc, err);
}

static enum sorex_status image_keep(const struct json_doc *doc, const struct json_node *payload, const char *name, struct bytes json,
                                    struct arena *arena, struct json_doc *out, struct sorex_error *err)
{
    const struct json_node *image = json_member(doc, payload, name);
    if (image == NULL || image->kind != JSON_OBJECT || image->children * sizeof *image > IMAGE_FREE_BYTES + 4 * image->raw.len)
        return SOREX_OK;
    return json_shallow_copy(doc, image, json, arena, out, err);
}

enum sorex_status change_parse_images(struct json_parser *parser, struct bytes json, struct arena *arena, struct change *out,
                                      struct json_doc *out_before, struct json_doc *out_after, struct sorex_error *err)
{
    struct json_doc doc;
    *out_before = *out_after = (struct json_doc){0};
    TRY(parse(parser, json, arena, out, &doc, err));
    const struct json_node *payload = json_member(&doc, &doc.nodes[0], "payload");
    TRY(image_keep(&doc, payload, "before", json, arena, out_before, err));
    return image_keep(&doc, payload, "after", json, arena, out_after, err);
}

static enum sorex_status block_check(const struct change *change, uint32_t height, const uint8_t hash[HASH_BYTES],
                                     struct sorex_error *err)
{
    if (change->has_height && change->block_height != height)
        return sorex_error_set(err, SOREX_INVALID, "header.block_height is %u in block %u", change->block_height, height);
    struct bytes text = change->block_hash;
    if (text.len == 0)
        return SOREX_OK;
    uint8_t claimed[HASH_BYTES];
    if (text.len >= 2 && text.data[0] == '0' && (text.data[1] == 'x' || text.data[1] == 'X'))
        text = bytes_of(text.data + 2, text.len - 2);
    if (hash_parse_display(text, claimed, err) != SOREX_OK)
        return sorex_error_prefix(err, "header.block_hash");
    if (memcmp(claimed, hash, HASH_BYTES) != 0) {
        char own[HASH_HEX_SIZE];
        hash_display(hash, own);
        return sorex_error_set(err, SOREX_INVALID, "header.block_hash is %.*s in block %s", (int)text.len, (const char *)text.data,
                               own);
    }
    return SOREX_OK;
}

enum sorex_status change_validate(const struct change *change, uint32_t height, const uint8_t hash[HASH_BYTES],
                                  bool require_before, struct sorex_error *err)
{
    bool before = change->before.data != NULL, after = change->after.data != NULL;
    if (change->table.len == 0)
        return field_error(err, "payload.table", "is empty");
    if (change->key.len == 0)
        return field_error(err, "payload.key", "is empty");
    if (change->operation == CHANGE_CREATE && before)
        return field_error(err, "payload.before", "does not belong into a create");
    if (change->operation == CHANGE_DELETE && after)
        return field_error(err, "payload.after", "does not belong into a delete");
    if (change->operation != CHANGE_DELETE && !after)
        return field_error(err, "payload.after", "is missing");
    if (change->operation != CHANGE_CREATE && !before && require_before)
        return field_error(err, "payload.before", "is missing (before: guest)");
    return block_check(change, height, hash, err);
}
