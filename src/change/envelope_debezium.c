/* Debezium's change events. */
#include "base/check.h"
#include "change/envelope_private.h"

static const char *const reserved[] = {"name", "ts_ms", "schema", "table", NULL};
static const struct position_shape shape = {reserved, "transaction"};

/* By enum event_op. */
static const char *const codes[] = {"c", "u", "d", "r", NULL, "t"};

static bool is_none(const struct json_node *node) { return node == NULL || node->kind == JSON_NULL; }

static enum sorex_status op_read(const struct json_doc *doc, const struct json_node *payload, enum event_op *out,
                                 struct sorex_error *err)
{
    const struct json_node *node = json_member(doc, payload, "op");
    if (node == NULL || node->kind != JSON_STRING)
        return sorex_error_set(err, SOREX_INVALID, "op %s", node == NULL ? "is missing" : "is no string");
    for (unsigned op = 0; op < sizeof codes / sizeof codes[0]; op++)
        if (codes[op] != NULL && bytes_is(node->text, codes[op])) {
            *out = (enum event_op)op;
            return SOREX_OK;
        }
    return sorex_error_set(err, SOREX_INVALID, "op is \"%.*s\", not c, u, d, r or t",
                           (int)(node->text.len > 40 ? 40 : node->text.len), (const char *)node->text.data);
}

static enum sorex_status source_read(const struct json_doc *doc, const struct json_node *payload, struct arena *arena,
                                     struct event *out, struct sorex_error *err)
{
    const struct json_node *source = json_member(doc, payload, "source"),
                           *transaction = json_member(doc, payload, "transaction");
    if (source == NULL || source->kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "source %s", source == NULL ? "is missing" : "is no object");
    TRY(envelope_string(doc, source, "name", "source.name", arena, &out->source.name, err));
    TRY(envelope_u64(doc, source, "ts_ms", "source.ts_ms", &out->source.timestamp_ms, err));
    TRY(envelope_string(doc, source, "table", "source.table", arena, &out->table, err));
    if (is_none(transaction))
        transaction = NULL;
    TRY(position_gather(&shape, doc, source, transaction, transaction == NULL, arena, &out->source.offset, err));
    const struct json_node *kept = json_member(doc, source, "event");
    if (kept != NULL && kept->kind == JSON_OBJECT)
        TRY(event_optional_read(doc, kept, arena, out, err));
    out->schema = bytes_of(NULL, 0);
    if (is_none(json_member(doc, source, "schema")))
        return SOREX_OK;
    return envelope_string(doc, source, "schema", "source.schema", arena, &out->schema, err);
}

static enum sorex_status debezium_read(struct json_parser *parser, struct bytes text, struct arena *arena,
                                       struct event *out, bool *out_tombstone, struct sorex_error *err)
{
    struct json_doc doc;
    if (text.len == 0) {
        *out_tombstone = true;
        return SOREX_OK;
    }
    TRY(json_parse(parser, text, &doc, err));
    const struct json_node *payload = &doc.nodes[0], *inner = json_member(&doc, payload, "payload");
    if (inner != NULL)
        payload = inner;
    *out_tombstone = payload->kind == JSON_NULL;
    if (*out_tombstone)
        return SOREX_OK;
    if (payload->kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "a Debezium event is a JSON object");
    *out = (struct event){0};
    TRY(op_read(&doc, payload, &out->op, err));
    TRY(source_read(&doc, payload, arena, out, err));
    out->ts_ms = out->source.timestamp_ms;
    if (!is_none(json_member(&doc, payload, "ts_ms")))
        TRY(envelope_u64(&doc, payload, "ts_ms", "ts_ms", &out->ts_ms, err));
    TRY(event_image(&doc, json_member(&doc, payload, "before"), arena, &out->before, err));
    return event_image(&doc, json_member(&doc, payload, "after"), arena, &out->after, err);
}

static void source_write(struct json_writer *w, const struct event *event, const struct json_doc *doc,
                         const struct json_node *position)
{
    json_name(w, "source");
    json_object_begin(w);
    json_name(w, "name");
    json_string(w, event->source.name);
    json_name(w, "ts_ms");
    json_uint(w, event->source.timestamp_ms);
    if (event->schema.data != NULL) {
        json_name(w, "schema");
        json_string(w, event->schema);
    }
    json_name(w, "table");
    json_string(w, event->table);
    position_write(&shape, w, doc, position, event->source.offset);
    event_optional_write(w, event, false);
    json_object_end(w);
}

/* The value, as the member of w or alone. */
static enum sorex_status value_write(struct json_writer *w, struct json_parser *parser, const struct event *event,
                                     struct arena *arena, struct sorex_error *err)
{
    struct json_doc doc = {0};
    const struct json_node *position;
    TRY(position_parse(&shape, parser, event->source.offset, true, arena, &doc, &position, err));
    const struct json_node *transaction = json_member(&doc, position, "transaction");
    if (transaction != NULL && transaction->kind == JSON_NULL)
        position = transaction = NULL; /* it would not come back */
    json_object_begin(w);
    json_name(w, "before");
    json_raw(w, event->before.data != NULL ? event->before : bytes_str("null"));
    json_name(w, "after");
    json_raw(w, event->after.data != NULL ? event->after : bytes_str("null"));
    source_write(w, event, &doc, position);
    json_name(w, "op");
    json_string_z(w, codes[event->op]);
    json_name(w, "ts_ms");
    json_uint(w, event->ts_ms);
    json_name(w, "transaction");
    json_raw(w, transaction != NULL ? transaction->raw : bytes_str("null"));
    json_object_end(w);
    return SOREX_OK;
}

static enum sorex_status op_check(const struct event *event, struct sorex_error *err)
{
    if (codes[event->op] != NULL)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_INVALID, "a Debezium event holds no %s", event_op_name(event->op));
}

static enum sorex_status debezium_write(struct json_parser *parser, const struct event *event, struct arena *arena,
                                        struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    TRY(op_check(event, err));
    json_writer_init(&w, out, false, err);
    TRY(value_write(&w, parser, event, arena, err));
    return json_writer_finish(&w);
}

const struct envelope envelope_debezium = {
    .name = "debezium",
    .summary = "Debezium's change events, read with and without a schema block, written without",
    .read = debezium_read,
    .write = debezium_write,
};

/* -- the schema block of Kafka Connect's JSON converter */

static void field_write(struct json_writer *w, const char *type, bool optional, struct bytes field)
{
    json_object_begin(w);
    json_name(w, "type");
    json_string_z(w, type);
    json_name(w, "optional");
    json_bool(w, optional);
    json_name(w, "field");
    json_string(w, field);
    json_object_end(w);
}

static const char *scalar_type(const struct json_node *value)
{
    int64_t number;
    switch (value->kind) {
    case JSON_NULL:
    case JSON_STRING:
        return "string";
    case JSON_BOOL:
        return "boolean";
    case JSON_NUMBER:
        return json_i64(value, &number) ? "int64" : "double";
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    return NULL;
}

static void struct_begin(struct json_writer *w)
{
    json_object_begin(w);
    json_name(w, "type");
    json_string_z(w, "struct");
    json_name(w, "fields");
    json_array_begin(w);
}

static void struct_end(struct json_writer *w, bool optional, const char *field)
{
    json_array_end(w);
    json_name(w, "optional");
    json_bool(w, optional);
    if (field != NULL) {
        json_name(w, "field");
        json_string_z(w, field);
    }
    json_object_end(w);
}

/* One struct from the members of an object; what is nested is left out where `nested` says so, else it is an error. */
static enum sorex_status members_write(struct json_writer *w, const struct json_doc *doc,
                                       const struct json_node *object, bool nested, struct sorex_error *err)
{
    for (const struct json_node *member = json_first(doc, object); member != NULL; member = json_next(doc, member)) {
        const char *type = scalar_type(member);
        if (type == NULL && !nested)
            return sorex_error_set(err, SOREX_INVALID,
                                   "column %.*s is %s: a schema block describes strings, numbers and booleans",
                                   BYTES_FMT(member->key), member->kind == JSON_ARRAY ? "an array" : "an object");
        if (type != NULL)
            field_write(w, type, true, member->key);
    }
    return SOREX_OK;
}

static enum sorex_status row_schema_write(struct json_writer *w, struct json_parser *parser, struct bytes row,
                                          const char *field, struct sorex_error *err)
{
    struct json_doc doc;
    struct_begin(w);
    if (row.data != NULL) {
        TRY(json_parse(parser, row, &doc, err));
        if (doc.nodes[0].kind != JSON_OBJECT)
            return sorex_error_set(err, SOREX_INVALID, "%s is no object: a schema block describes rows", field);
        TRY(members_write(w, &doc, &doc.nodes[0], false, err));
    }
    struct_end(w, true, field);
    return SOREX_OK;
}

static enum sorex_status schema_write(struct json_writer *w, struct json_parser *parser, struct bytes value,
                                      const struct event *event, struct sorex_error *err)
{
    struct json_doc doc;
    struct bytes shown =
        event->after.data != NULL ? event->after : event->before; /* a side that is null has the other one's columns */
    json_name(w, "schema");
    struct_begin(w);
    TRY(row_schema_write(w, parser, event->before.data != NULL ? event->before : shown, "before", err));
    TRY(row_schema_write(w, parser, shown, "after", err));
    TRY(json_parse(parser, value, &doc, err));
    struct_begin(w);
    TRY(members_write(w, &doc, json_member(&doc, &doc.nodes[0], "source"), true, err));
    struct_end(w, false, "source");
    field_write(w, "string", false, bytes_str("op"));
    field_write(w, "int64", true, bytes_str("ts_ms"));
    struct_end(w, false, NULL);
    return SOREX_OK;
}

static enum sorex_status debezium_schema_write(struct json_parser *parser, const struct event *event,
                                               struct arena *arena, struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    struct buf value = {0};
    enum sorex_status status = debezium_write(parser, event, arena, &value, err);
    if (status != SOREX_OK)
        goto out;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    status = schema_write(&w, parser, buf_view(&value), event, err);
    if (status != SOREX_OK)
        goto out;
    json_name(&w, "payload");
    json_raw(&w, buf_view(&value));
    json_object_end(&w);
    status = json_writer_finish(&w);
out:
    buf_deinit(&value);
    return status;
}

const struct envelope envelope_debezium_schema = {
    .name = "debezium-schema",
    .summary = "the same, written with a schema block",
    .read = debezium_read,
    .write = debezium_schema_write,
};
