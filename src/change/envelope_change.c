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

static enum sorex_status header_read(const struct json_doc *doc, const struct json_node *header,
                                     const struct json_node *key, struct arena *arena, struct event *out,
                                     struct sorex_error *err)
{
    const struct json_node *source = json_member(doc, header, "source"), *kept = json_member(doc, header, "event");
    out->source.name = bytes_str("");
    if (source != NULL && source->kind != JSON_NULL)
        TRY(envelope_string(doc, header, "source", "header.source", arena, &out->source.name, err));
    TRY(envelope_u64(doc, header, "timestamp", "header.timestamp", &out->ts_ms, err));
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

static enum sorex_status change_read(struct json_parser *parser, struct bytes text, struct arena *arena,
                                     struct event *out, bool *out_tombstone, struct sorex_error *err)
{
    struct json_doc doc;
    const struct json_node *header, *payload;
    struct bytes key;
    *out_tombstone = false;
    *out = (struct event){0};
    TRY(json_parse(parser, text, &doc, err));
    if (doc.nodes[0].kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "a change is a JSON object");
    TRY(object_find(&doc, "header", &header, err));
    TRY(object_find(&doc, "payload", &payload, err));
    TRY(operation_read(&doc, payload, arena, &out->op, err));
    TRY(envelope_string(&doc, payload, "table", "payload.table", arena, &out->table, err));
    TRY(envelope_string(&doc, payload, "key", "payload.key", arena, &key, err));
    TRY(header_read(&doc, header, json_member(&doc, payload, "key"), arena, out, err));
    TRY(event_image(&doc, json_member(&doc, payload, "before"), arena, &out->before, err));
    return event_image(&doc, json_member(&doc, payload, "after"), arena, &out->after, err);
}

/* The key of an event that brought none, as a JSON string, appended to out. */
static enum sorex_status key_make(struct json_parser *parser, const struct event *event, struct buf *out,
                                  struct sorex_error *err)
{
    struct json_doc doc;
    struct json_writer w;
    struct buf list = {0};
    const struct event_columns *columns = &event->primary_key;
    struct bytes row = event->after.data != NULL ? event->after : event->before;
    if (columns->count == 0)
        return sorex_error_set(err, SOREX_INVALID, "an event without primary_key has no key for a change");
    TRY(json_parse(parser, row, &doc, err));
    for (uint32_t i = 0; i < columns->count; i++)
        if (json_member_bytes(&doc, &doc.nodes[0], columns->names[i]) == NULL)
            return sorex_error_set(err, SOREX_INVALID, "primary_key column %.*s is not in the row",
                                   BYTES_FMT(columns->names[i]));
    json_writer_init(&w, columns->count == 1 ? out : &list, false, err);
    if (columns->count == 1) {
        const struct json_node *value = json_member_bytes(&doc, &doc.nodes[0], columns->names[0]);
        json_string(&w, value->kind == JSON_STRING ? value->text : value->raw);
        return json_writer_finish(&w);
    }
    json_array_begin(&w);
    for (uint32_t i = 0; i < columns->count; i++)
        json_raw(&w, json_member_bytes(&doc, &doc.nodes[0], columns->names[i])->raw);
    json_array_end(&w);
    enum sorex_status status = json_writer_finish(&w);
    if (status == SOREX_OK) {
        json_writer_init(&w, out, false, err);
        json_string(&w, buf_view(&list));
        status = json_writer_finish(&w);
    }
    buf_deinit(&list);
    return status;
}

static enum sorex_status header_write(struct json_writer *w, struct json_parser *parser, const struct event *event,
                                      struct arena *arena, struct buf *key, struct sorex_error *err)
{
    struct json_doc doc = {0};
    const struct json_node *position;
    TRY(position_parse(&shape, parser, event->source.offset, event->primary_key.count > 0, arena, &doc, &position,
                       err));
    const struct json_node *kept = json_member(&doc, position, "key");
    if (kept == NULL || kept->kind != JSON_STRING || kept->text.len == 0)
        position = NULL; /* a key would be added */
    json_object_begin(w);
    json_name(w, "source");
    json_string(w, event->source.name);
    json_name(w, "timestamp");
    json_uint(w, event->ts_ms);
    if (event->source.timestamp_ms != event->ts_ms) {
        json_name(w, "source_timestamp");
        json_uint(w, event->source.timestamp_ms);
    }
    position_write(&shape, w, &doc, position, event->source.offset);
    event_optional_write(w, event, true);
    json_object_end(w);
    return position != NULL ? buf_append(key, kept->raw, err) : key_make(parser, event, key, err);
}

static enum sorex_status payload_write(struct json_writer *w, const struct event *event,
                                       enum change_operation operation, const struct buf *key)
{
    json_object_begin(w);
    json_name(w, "operation");
    json_string_z(w, change_operation_name(operation));
    json_name(w, "table");
    json_string(w, event->table);
    json_name(w, "key");
    json_raw(w, buf_view(key));
    if (event->before.data != NULL) {
        json_name(w, "before");
        json_raw(w, event->before);
    }
    if (event->after.data != NULL) {
        json_name(w, "after");
        json_raw(w, event->after);
    }
    json_object_end(w);
    return SOREX_OK;
}

static enum sorex_status change_write(struct json_parser *parser, const struct event *event, struct arena *arena,
                                      struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    struct buf key = {0};
    unsigned operation = CHANGE_CREATE;
    while (operation <= CHANGE_DELETE && ops[operation] != event->op)
        operation++;
    if (operation > CHANGE_DELETE)
        return sorex_error_set(err, SOREX_INVALID, "a change holds no %s", event_op_name(event->op));
    if (event->table.len == 0)
        return sorex_error_set(err, SOREX_INVALID, "table is empty: a change has a table");
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "header");
    enum sorex_status status = header_write(&w, parser, event, arena, &key, err);
    if (status == SOREX_OK && key.len <= 2)
        status = sorex_error_set(err, SOREX_INVALID, "the key of the row is empty");
    if (status == SOREX_OK) {
        json_name(&w, "payload");
        status = payload_write(&w, event, (enum change_operation)operation, &key);
    }
    if (status == SOREX_OK) {
        json_object_end(&w);
        status = json_writer_finish(&w);
    }
    buf_deinit(&key);
    return status;
}

const struct envelope envelope_change = {
    .name = "change",
    .summary = "row changes as chain pipelines make them (debshrew's)",
    .read = change_read,
    .write = change_write,
};
