/* Reading an event. One pass over the members of each object notes where each field is, and on the way whether they
 * stand as the canonical form has them: then the text is the event's canonical text, and nothing has to be written. */
#include "base/check.h"
#include "base/limits.h"
#include "change/event.h"
#include "change/event_optional.h"
#include "json/canonical.h"

#define FIELDS_MAX 14

/* The members of one object, in canonical order. */
struct layout {
    const char *path; /* in front of names in errors: "source." */
    uint32_t written; /* the first so many of them are always written */
    uint32_t count;
    struct bytes names[FIELDS_MAX];
};

#define NAME(text) {(const uint8_t *)(text), sizeof(text) - 1}

enum field {
    BEFORE,
    AFTER,
    OP,
    SOURCE,
    TS,
    SCHEMA,
    TABLE,
    PRIMARY_KEY,
    SNAPSHOT,
    TRANSACTION,
    ENVELOPE_VERSION,
    BEFORE_IS_KEY_ONLY,
    UNAVAILABLE,
    BEFORE_UNAVAILABLE
};

static const struct layout event_layout = {"",
                                           12,
                                           14,
                                           {NAME("before"), NAME("after"), NAME("op"), NAME("source"), NAME("ts"),
                                            NAME("schema"), NAME("table"), NAME("primary_key"), NAME("snapshot"),
                                            NAME("transaction"), NAME("envelope_version"), NAME("before_is_key_only"),
                                            NAME("unavailable_columns"), NAME("before_unavailable_columns")}};
static const struct layout source_layout = {"source.", 3, 3, {NAME("source_name"), NAME("offset"), NAME("timestamp")}};
static const struct layout snapshot_layout = {
    "snapshot.", 3, 3, {NAME("snapshot_id"), NAME("chunk_index"), NAME("is_last_chunk")}};
static const struct layout transaction_layout = {
    "transaction.", 3, 3, {NAME("tx_id"), NAME("total_events"), NAME("event_index")}};

static const char *const op_names[] = {"insert", "update", "delete", "read", "schema_change", "truncate"};

/* What the functions below share. */
struct reading {
    const struct json_doc *doc;
    struct arena *arena;
    bool canonical; /* so far */
    struct sorex_error *err;
};

const char *event_op_name(enum event_op op) { return op_names[op]; }

static enum sorex_status field_error(const struct reading *r, const struct layout *layout, unsigned field,
                                     const char *what)
{
    return sorex_error_set(r->err, SOREX_INVALID, "%s%.*s %s", layout->path, BYTES_FMT(layout->names[field]), what);
}

static enum sorex_status out_of_memory(const struct reading *r)
{
    return sorex_error_set(r->err, SOREX_NOMEM, "out of memory for an event");
}

/* Places of the members of an object by field, NULL for absent ones; unknown ones are passed over. */
static void fields_find(struct reading *r, const struct layout *layout, const struct json_node *object,
                        const struct json_node *out[FIELDS_MAX])
{
    unsigned expected = 0;
    for (unsigned i = 0; i < layout->count; i++)
        out[i] = NULL;
    for (const struct json_node *member = json_first(r->doc, object); member != NULL;
         member = json_next(r->doc, member)) {
        unsigned field = expected;
        if (field == layout->count || !bytes_equal(member->key, layout->names[field]))
            for (field = 0; field < layout->count && !bytes_equal(member->key, layout->names[field]);)
                field++;
        if (field == layout->count) {
            r->canonical = false;
            continue;
        }
        out[field] = member;
        /* In order, and none left out that is always written. */
        r->canonical = r->canonical && field >= expected && (field == expected || expected >= layout->written) &&
                       json_name_is_canonical(r->doc, member);
        expected = field + 1;
    }
    r->canonical = r->canonical && expected >= layout->written;
}

static bool is_none(const struct json_node *node) { return node == NULL || node->kind == JSON_NULL; }

enum sorex_status event_string_keep(const struct json_doc *doc, const struct json_node *node, struct arena *arena,
                                    struct bytes *out, struct sorex_error *err)
{
    *out = node->text;
    if (!doc->escapes || node->text.len == node->raw.len - 2)
        return SOREX_OK;                  /* a slice: what has an escape is longer than what it says */
    *out = arena_copy(arena, node->text); /* the parser's own copy is gone with its next text */
    return out->data != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory for an event");
}

static enum sorex_status string_keep(struct reading *r, const struct json_node *node, struct bytes *out)
{
    r->canonical = r->canonical && json_string_is_canonical(r->doc, node);
    return event_string_keep(r->doc, node, r->arena, out, r->err);
}

static enum sorex_status string_read(struct reading *r, const struct layout *layout, const struct json_node **fields,
                                     unsigned field, struct bytes *out)
{
    const struct json_node *node = fields[field];
    if (node == NULL)
        return field_error(r, layout, field, "is missing");
    if (node->kind != JSON_STRING)
        return field_error(r, layout, field, "is no string");
    return string_keep(r, node, out);
}

static enum sorex_status u64_read(struct reading *r, const struct layout *layout, const struct json_node **fields,
                                  unsigned field, uint64_t *out)
{
    if (fields[field] == NULL)
        return field_error(r, layout, field, "is missing");
    return json_u64(fields[field], out) ? SOREX_OK : field_error(r, layout, field, "is no whole number of 64 bits");
}

static enum sorex_status u32_read(struct reading *r, const struct layout *layout, const struct json_node **fields,
                                  unsigned field, uint32_t *out)
{
    uint64_t value;
    if (fields[field] == NULL)
        return field_error(r, layout, field, "is missing");
    if (!json_u64(fields[field], &value) || value > UINT32_MAX)
        return field_error(r, layout, field, "is no whole number of 32 bits");
    *out = (uint32_t)value;
    return SOREX_OK;
}

static enum sorex_status bool_read(struct reading *r, const struct layout *layout, const struct json_node **fields,
                                   unsigned field, bool *out)
{
    if (fields[field] == NULL)
        return field_error(r, layout, field, "is missing");
    if (fields[field]->kind != JSON_BOOL)
        return field_error(r, layout, field, "is neither true nor false");
    *out = fields[field]->boolean;
    return SOREX_OK;
}

static enum sorex_status columns_read(struct reading *r, const struct json_node **fields, unsigned field,
                                      struct event_columns *out)
{
    const struct json_node *list = fields[field];
    if (list->kind != JSON_ARRAY)
        return field_error(r, &event_layout, field, "is no array of column names");
    struct bytes *names = arena_alloc(r->arena, (list->children + 1) * sizeof *names);
    if (names == NULL)
        return out_of_memory(r);
    *out = (struct event_columns){.names = names};
    for (const struct json_node *node = json_first(r->doc, list); node != NULL; node = json_next(r->doc, node)) {
        if (node->kind != JSON_STRING)
            return field_error(r, &event_layout, field, "is no array of column names");
        TRY(string_keep(r, node, &names[out->count++]));
    }
    return SOREX_OK;
}

enum sorex_status event_image(const struct json_doc *doc, const struct json_node *node, struct arena *arena,
                              struct bytes *out, struct sorex_error *err)
{
    *out = bytes_of(NULL, 0);
    if (is_none(node))
        return SOREX_OK;
    if (doc->compact && json_is_canonical(doc, node)) {
        *out = node->raw;
        return SOREX_OK;
    }
    uint8_t *text = arena_alloc(arena, node->raw.len);
    if (text == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for an event");
    *out = bytes_of(text, json_canonical_write(doc, node, text));
    return SOREX_OK;
}

static enum sorex_status image_read(struct reading *r, const struct json_node *node, struct bytes *out)
{
    TRY(event_image(r->doc, node, r->arena, out, r->err));
    r->canonical = r->canonical && (out->data == NULL || out->data == node->raw.data);
    return SOREX_OK;
}

static enum sorex_status source_read(struct reading *r, const struct json_node *node, struct event_origin *out)
{
    const struct json_node *fields[FIELDS_MAX];
    if (node == NULL || node->kind != JSON_OBJECT)
        return field_error(r, &event_layout, SOURCE, node == NULL ? "is missing" : "is no object");
    fields_find(r, &source_layout, node, fields);
    TRY(string_read(r, &source_layout, fields, 0, &out->name));
    TRY(string_read(r, &source_layout, fields, 1, &out->offset));
    return u64_read(r, &source_layout, fields, 2, &out->timestamp_ms);
}

static enum sorex_status snapshot_read(struct reading *r, const struct json_node *node, struct event *out)
{
    const struct json_node *fields[FIELDS_MAX];
    out->has_snapshot = !is_none(node);
    if (!out->has_snapshot)
        return SOREX_OK;
    if (node->kind != JSON_OBJECT)
        return field_error(r, &event_layout, SNAPSHOT, "is no object");
    fields_find(r, &snapshot_layout, node, fields);
    TRY(string_read(r, &snapshot_layout, fields, 0, &out->snapshot.id));
    TRY(u32_read(r, &snapshot_layout, fields, 1, &out->snapshot.chunk_index));
    return bool_read(r, &snapshot_layout, fields, 2, &out->snapshot.is_last_chunk);
}

static enum sorex_status transaction_read(struct reading *r, const struct json_node *node, struct event *out)
{
    const struct json_node *fields[FIELDS_MAX];
    out->has_transaction = !is_none(node);
    if (!out->has_transaction)
        return SOREX_OK;
    if (node->kind != JSON_OBJECT)
        return field_error(r, &event_layout, TRANSACTION, "is no object");
    fields_find(r, &transaction_layout, node, fields);
    TRY(u64_read(r, &transaction_layout, fields, 0, &out->transaction.id));
    out->transaction.has_total_events = !is_none(fields[1]);
    if (out->transaction.has_total_events)
        TRY(u32_read(r, &transaction_layout, fields, 1, &out->transaction.total_events));
    return u32_read(r, &transaction_layout, fields, 2, &out->transaction.event_index);
}

static enum sorex_status op_read(struct reading *r, const struct json_node **fields, enum event_op *out)
{
    struct bytes text = {0};
    TRY(string_read(r, &event_layout, fields, OP, &text));
    for (unsigned op = EVENT_INSERT; op <= EVENT_TRUNCATE; op++)
        if (bytes_is(text, op_names[op])) {
            *out = (enum event_op)op;
            return SOREX_OK;
        }
    return sorex_error_set(r->err, SOREX_INVALID,
                           "op is \"%.*s\", not insert, update, delete, read, schema_change or truncate",
                           (int)(text.len > 40 ? 40 : text.len), (const char *)text.data);
}

static enum sorex_status version_check(struct reading *r, const struct json_node **fields)
{
    uint64_t version;
    TRY(u64_read(r, &event_layout, fields, ENVELOPE_VERSION, &version));
    if (version == 1)
        return SOREX_OK;
    return sorex_error_set(r->err, SOREX_INVALID, "envelope_version is %llu, not 1", (unsigned long long)version);
}

static enum sorex_status optional_read(struct reading *r, const struct json_node **fields, struct event *out)
{
    if (!is_none(fields[SCHEMA]))
        TRY(string_read(r, &event_layout, fields, SCHEMA, &out->schema));
    if (!is_none(fields[PRIMARY_KEY]))
        TRY(columns_read(r, fields, PRIMARY_KEY, &out->primary_key));
    TRY(snapshot_read(r, fields[SNAPSHOT], out));
    TRY(transaction_read(r, fields[TRANSACTION], out));
    if (fields[BEFORE_IS_KEY_ONLY] != NULL)
        TRY(bool_read(r, &event_layout, fields, BEFORE_IS_KEY_ONLY, &out->before_is_key_only));
    if (fields[UNAVAILABLE] != NULL)
        TRY(columns_read(r, fields, UNAVAILABLE, &out->unavailable));
    if (fields[BEFORE_UNAVAILABLE] != NULL)
        TRY(columns_read(r, fields, BEFORE_UNAVAILABLE, &out->before_unavailable));
    /* An empty one of these two is not written. */
    r->canonical = r->canonical && (fields[UNAVAILABLE] != NULL) == (out->unavailable.count > 0) &&
                   (fields[BEFORE_UNAVAILABLE] != NULL) == (out->before_unavailable.count > 0);
    return SOREX_OK;
}

enum sorex_status event_optional_read(const struct json_doc *doc, const struct json_node *node, struct arena *arena,
                                      struct event *out, struct sorex_error *err)
{
    const struct json_node *fields[FIELDS_MAX];
    struct reading r = {.doc = doc, .arena = arena, .err = err};
    fields_find(&r, &event_layout, node, fields);
    return optional_read(&r, fields, out);
}

enum sorex_status event_parse(struct json_parser *parser, struct bytes text, struct arena *arena, struct event *out,
                              struct sorex_error *err)
{
    struct json_doc doc;
    const struct json_node *fields[FIELDS_MAX];
    *out = (struct event){0};
    TRY(json_parse(parser, text, &doc, err));
    const struct json_node *root = &doc.nodes[0];
    if (root->kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "an event is a JSON object");
    struct reading r = {.doc = &doc, .arena = arena, .canonical = doc.compact, .err = err};
    fields_find(&r, &event_layout, root, fields);
    TRY(version_check(&r, fields));
    TRY(op_read(&r, fields, &out->op));
    TRY(source_read(&r, fields[SOURCE], &out->source));
    TRY(u64_read(&r, &event_layout, fields, TS, &out->ts_ms));
    TRY(string_read(&r, &event_layout, fields, TABLE, &out->table));
    TRY(optional_read(&r, fields, out));
    TRY(image_read(&r, fields[BEFORE], &out->before));
    TRY(image_read(&r, fields[AFTER], &out->after));
    if (r.canonical)
        out->text = root->raw;
    return SOREX_OK;
}

/* -- what was made from another event */

#define BEFORE_TEXT "{\"before\":"
#define AFTER_TEXT ",\"after\":"

/* The part of text between a head of `from` of so many bytes and a tail of it; data NULL when text has another head or
 * tail. */
static struct bytes part_between(struct bytes from, struct bytes text, size_t head, size_t tail)
{
    if (text.len <= head + tail || memcmp(text.data, from.data, head) != 0 ||
        memcmp(text.data + text.len - tail, from.data + from.len - tail, tail) != 0)
        return bytes_of(NULL, 0);
    return bytes_of(text.data + head, text.len - head - tail);
}

/* Canonical text is {"before":B,"after":A and the rest: where those around one of the two are as they were, the other
 * one alone is a JSON value, or the whole is no event. False: read the whole. */
static bool image_changed_find(const struct event *from, struct bytes text, bool *out_before, struct bytes *out)
{
    size_t before = from->before.data != NULL ? from->before.len : 4,
           after = from->after.data != NULL ? from->after.len : 4;
    size_t after_at = sizeof BEFORE_TEXT - 1 + before + sizeof AFTER_TEXT - 1, rest = from->text.len - after_at - after;
    *out_before = false;
    *out = part_between(from->text, text, after_at, rest);
    if (out->data != NULL)
        return true;
    *out_before = true;
    *out = part_between(from->text, text, sizeof BEFORE_TEXT - 1, sizeof AFTER_TEXT - 1 + after + rest);
    return out->data != NULL;
}

enum sorex_status event_parse_changed(struct json_parser *parser, const struct event *from, struct bytes text,
                                      struct arena *arena, struct event *out, struct sorex_error *err)
{
    struct json_doc doc;
    struct bytes part, image;
    bool before;
    CHECK(from->text.data != NULL);
    if (!image_changed_find(from, text, &before, &part) || json_parse(parser, part, &doc, NULL) != SOREX_OK ||
        doc.depth >= SOREX_JSON_DEPTH_MAX)
        return event_parse(parser, text, arena, out, err); /* which also finds the words for what is wrong */
    TRY(event_image(&doc, &doc.nodes[0], arena, &image, err));
    bool canonical = image.data != NULL ? image.data == part.data && image.len == part.len : part.len == 4;
    *out = *from;
    out->text = canonical ? text : bytes_of(NULL, 0);
    *(before ? &out->before : &out->after) = image;
    return SOREX_OK;
}
