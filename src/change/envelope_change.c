/* debshrew's row change: docs/formats/change.md. */
#include "base/check.h"
#include "change/change.h"
#include "change/envelope_private.h"

static const char *const reserved[] = {"source", "timestamp", "source_timestamp", NULL};
static const struct position_shape shape = {reserved, "key"};

/* By enum change_operation. */
static const enum event_op ops[] = {
    [CHANGE_CREATE] = EVENT_INSERT, [CHANGE_UPDATE] = EVENT_UPDATE, [CHANGE_DELETE] = EVENT_DELETE};

static enum sorex_status object_find(const struct json_doc *doc, const char *name, const struct json_node **out,
                                     struct sorex_error *err)
{
    *out = json_member(doc, &doc->nodes[0], name);
    if (*out == NULL || (*out)->kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "%s %s", name, *out == NULL ? "is missing" : "is no object");
    return SOREX_OK;
}

/* timestamp_ms: of a header without one; 0: there must be one. */
static enum sorex_status header_read(const struct json_doc *doc, const struct json_node *header,
                                     const struct json_node *key, uint64_t timestamp_ms, struct arena *arena,
                                     struct event *out, struct sorex_error *err)
{
    const struct json_node *source = json_member(doc, header, "source"), *kept = json_member(doc, header, "event");
    const struct json_node *timestamp = json_member(doc, header, "timestamp");
    out->source.name = bytes_str("");
    if (source != NULL && source->kind != JSON_NULL)
        TRY(envelope_string(doc, header, "source", "header.source", arena, &out->source.name, err));
    if (timestamp_ms == 0 || (timestamp != NULL && timestamp->kind != JSON_NULL))
        TRY(envelope_u64(doc, header, "timestamp", "header.timestamp", &out->ts_ms, err));
    if (out->ts_ms == 0)
        out->ts_ms = timestamp_ms;
    out->source.timestamp_ms = out->ts_ms;
    if (json_member(doc, header, "source_timestamp") != NULL)
        TRY(envelope_u64(doc, header, "source_timestamp", "header.source_timestamp", &out->source.timestamp_ms, err));
    if (kept != NULL && kept->kind == JSON_OBJECT)
        TRY(event_optional_read(doc, kept, arena, out, err));
    /* With a primary key, the key beside a sole `offset` was made from the row, and will be again. */
    return position_gather(&shape, doc, header, key, out->primary_key.count > 0, arena, &out->source.offset, err);
}

static enum sorex_status operation_read(const struct json_doc *doc, const struct json_node *payload,
                                        struct arena *arena, enum event_op *out, struct sorex_error *err)
{
    struct bytes text;
    TRY(envelope_string(doc, payload, "operation", "payload.operation", arena, &text, err));
    for (unsigned i = CHANGE_CREATE; i <= CHANGE_DELETE; i++)
        if (bytes_is(text, change_operation_name((enum change_operation)i))) {
            *out = ops[i];
            return SOREX_OK;
        }
    return sorex_error_set(err, SOREX_INVALID, "payload.operation is \"%.*s\", not create, update or delete",
                           (int)(text.len > 40 ? 40 : text.len), (const char *)text.data);
}

enum sorex_status change_event_read(struct json_parser *parser, struct bytes text, uint64_t timestamp_ms,
                                    struct arena *arena, struct event *out, struct sorex_error *err)
{
    struct json_doc doc;
    const struct json_node *header, *payload;
    struct bytes key;
    *out = (struct event){0};
    TRY(json_parse(parser, text, &doc, err));
    if (doc.nodes[0].kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "a change is a JSON object");
    TRY(object_find(&doc, "header", &header, err));
    TRY(object_find(&doc, "payload", &payload, err));
    TRY(operation_read(&doc, payload, arena, &out->op, err));
    TRY(envelope_string(&doc, payload, "table", "payload.table", arena, &out->table, err));
    TRY(envelope_string(&doc, payload, "key", "payload.key", arena, &key, err));
    TRY(header_read(&doc, header, json_member(&doc, payload, "key"), timestamp_ms, arena, out, err));
    TRY(event_image(&doc, json_member(&doc, payload, "before"), arena, &out->before, err));
    return event_image(&doc, json_member(&doc, payload, "after"), arena, &out->after, err);
}

static enum sorex_status change_read(struct json_parser *parser, struct bytes text, struct arena *arena,
                                     struct event *out, bool *out_tombstone, struct sorex_error *err)
{
    *out_tombstone = false;
    return change_event_read(parser, text, 0, arena, out, err);
}

enum sorex_status change_event_key(struct json_parser *parser, const struct event *event, struct buf *out,
                                   struct sorex_error *err)
{
    struct json_doc doc;
    struct json_writer w;
    const struct event_columns *columns = &event->primary_key;
    struct bytes row = event->after.data != NULL ? event->after : event->before;
    if (columns->count == 0)
        return sorex_error_set(err, SOREX_INVALID, "an event without primary_key has no key for a change");
    TRY(json_parse(parser, row, &doc, err));
    for (uint32_t i = 0; i < columns->count; i++)
        if (json_member_bytes(&doc, &doc.nodes[0], columns->names[i]) == NULL)
            return sorex_error_set(err, SOREX_INVALID, "primary_key column %.*s is not in the row",
                                   BYTES_FMT(columns->names[i]));
    if (columns->count == 1) {
        const struct json_node *value = json_member_bytes(&doc, &doc.nodes[0], columns->names[0]);
        struct bytes key = value->kind == JSON_STRING ? value->text : value->raw;
        return key.len != 0 ? buf_append(out, key, err)
                            : sorex_error_set(err, SOREX_INVALID, "the key of the row is empty");
    }
    json_writer_init(&w, out, false, err);
    json_array_begin(&w);
    for (uint32_t i = 0; i < columns->count; i++)
        json_raw(&w, json_member_bytes(&doc, &doc.nodes[0], columns->names[i])->raw);
    json_array_end(&w);
    return json_writer_finish(&w);
}

/* position: of the offset, or NULL. */
static void header_write(struct json_writer *w, const struct event *event, const struct json_doc *doc,
                         const struct json_node *position)
{
    json_object_begin(w);
    json_name(w, "source");
    json_string(w, event->source.name);
    json_name(w, "timestamp");
    json_uint(w, event->ts_ms);
    if (event->source.timestamp_ms != event->ts_ms) {
        json_name(w, "source_timestamp");
        json_uint(w, event->source.timestamp_ms);
    }
    position_write(&shape, w, doc, position, event->source.offset);
    event_optional_write(w, event, true);
    json_object_end(w);
}

static void payload_write(struct json_writer *w, const struct event *event, enum change_operation operation,
                          struct bytes key)
{
    json_object_begin(w);
    json_name(w, "operation");
    json_string_z(w, change_operation_name(operation));
    json_name(w, "table");
    json_string(w, event->table);
    json_name(w, "key");
    json_string(w, key);
    if (event->before.data != NULL) {
        json_name(w, "before");
        json_raw(w, event->before);
    }
    if (event->after.data != NULL) {
        json_name(w, "after");
        json_raw(w, event->after);
    }
    json_object_end(w);
}

static enum sorex_status operation_of(const struct event *event, enum change_operation *out, struct sorex_error *err)
{
    unsigned operation = CHANGE_CREATE;
    while (operation <= CHANGE_DELETE && ops[operation] != event->op)
        operation++;
    if (operation > CHANGE_DELETE)
        return sorex_error_set(err, SOREX_INVALID, "a change holds no %s", event_op_name(event->op));
    if (event->table.len == 0)
        return sorex_error_set(err, SOREX_INVALID, "table is empty: a change has a table");
    *out = (enum change_operation)operation;
    return SOREX_OK;
}

static enum sorex_status whole_write(const struct event *event, struct bytes key, const struct json_doc *doc,
                                     const struct json_node *position, struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    enum change_operation operation;
    TRY(operation_of(event, &operation, err));
    if (key.len == 0)
        return sorex_error_set(err, SOREX_INVALID, "the key of the row is empty");
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "header");
    header_write(&w, event, doc, position);
    json_name(&w, "payload");
    payload_write(&w, event, operation, key);
    json_object_end(&w);
    return json_writer_finish(&w);
}

enum sorex_status change_event_write(struct json_parser *parser, const struct event *event, struct bytes key,
                                     struct arena *arena, struct buf *out, struct sorex_error *err)
{
    struct json_doc doc = {0};
    const struct json_node *position;
    TRY(position_parse(&shape, parser, event->source.offset, false, arena, &doc, &position, err));
    return whole_write(event, key, &doc, position, out, err);
}

static enum sorex_status change_write(struct json_parser *parser, const struct event *event, struct arena *arena,
                                      struct buf *out, struct sorex_error *err)
{
    struct json_doc doc = {0};
    struct buf made = {0};
    const struct json_node *position;
    enum change_operation operation;
    TRY(operation_of(event, &operation, err));
    TRY(position_parse(&shape, parser, event->source.offset, event->primary_key.count > 0, arena, &doc, &position,
                       err));
    const struct json_node *kept = json_member(&doc, position, "key");
    if (kept != NULL && kept->kind == JSON_STRING && kept->text.len != 0)
        return whole_write(event, kept->text, &doc, position, out, err);
    /* The offset was not made from a change: it stays one string, so that no key is added to it when it is read again. */
    enum sorex_status status = change_event_key(parser, event, &made, err);
    if (status == SOREX_OK)
        status = whole_write(event, buf_view(&made), &doc, NULL, out, err);
    buf_deinit(&made);
    return status;
}

const struct envelope envelope_change = {
    .name = "change",
    .summary = "row changes as chain pipelines make them (debshrew's)",
    .read = change_read,
    .write = change_write,
};
