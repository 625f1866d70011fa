/* Events: what makes sense, the canonical form. */
#include "change/event.h"

#include "base/check.h"
#include "change/event_optional.h"

static enum sorex_status invalid(struct sorex_error *err, const struct event *event, const char *what)
{
    return sorex_error_set(err, SOREX_INVALID, "%s (op is %s)", what, event_op_name(event->op));
}

static enum sorex_status images_validate(const struct event *event, struct sorex_error *err)
{
    /* none, maybe, required */
    static const struct {
        signed char before, after;
    } wanted[] = {[EVENT_INSERT] = {-1, 1}, [EVENT_UPDATE] = {0, 1},        [EVENT_DELETE] = {1, -1},
                  [EVENT_READ] = {0, 1},    [EVENT_SCHEMA_CHANGE] = {0, 1}, [EVENT_TRUNCATE] = {-1, -1}};
    bool before = event->before.data != NULL, after = event->after.data != NULL;
    if (wanted[event->op].before > 0 && !before)
        return invalid(err, event, "before is missing");
    if (wanted[event->op].before < 0 && before)
        return invalid(err, event, "before does not belong there");
    if (wanted[event->op].after > 0 && !after)
        return invalid(err, event, "after is missing");
    if (wanted[event->op].after < 0 && after)
        return invalid(err, event, "after does not belong there");
    if (event->before_is_key_only && (!before || (event->op != EVENT_UPDATE && event->op != EVENT_DELETE)))
        return invalid(err, event, "before_is_key_only is for updates and deletes with a before");
    return SOREX_OK;
}

enum sorex_status event_validate(const struct event *event, struct sorex_error *err)
{
    const struct event_transaction *transaction = &event->transaction;
    TRY(images_validate(event, err));
    if (event->ts_ms == 0)
        return sorex_error_set(err, SOREX_INVALID, "ts is 0");
    if (event->has_transaction && transaction->has_total_events &&
        transaction->total_events <= transaction->event_index)
        return sorex_error_set(err, SOREX_INVALID, "transaction.event_index is %u of transaction.total_events %u",
                               transaction->event_index, transaction->total_events);
    return SOREX_OK;
}

const char *event_host_field_changed(const struct event *before, const struct event *after)
{
    const struct event_snapshot *a = &before->snapshot, *b = &after->snapshot;
    const struct event_transaction *x = &before->transaction, *y = &after->transaction;
    if (!bytes_equal(before->source.name, after->source.name))
        return "source.source_name";
    if (!bytes_equal(before->source.offset, after->source.offset))
        return "source.offset";
    if (before->source.timestamp_ms != after->source.timestamp_ms)
        return "source.timestamp";
    if (before->has_transaction != after->has_transaction)
        return "transaction";
    if (before->has_transaction && x->id != y->id)
        return "transaction.tx_id";
    if (before->has_transaction && (x->has_total_events != y->has_total_events || x->total_events != y->total_events))
        return "transaction.total_events";
    if (before->has_transaction && x->event_index != y->event_index)
        return "transaction.event_index";
    if (before->has_snapshot != after->has_snapshot)
        return "snapshot";
    if (before->has_snapshot && !bytes_equal(a->id, b->id))
        return "snapshot.snapshot_id";
    if (before->has_snapshot && a->chunk_index != b->chunk_index)
        return "snapshot.chunk_index";
    if (before->has_snapshot && a->is_last_chunk != b->is_last_chunk)
        return "snapshot.is_last_chunk";
    return NULL;
}

static void image_put(struct json_writer *w, const char *name, struct bytes image)
{
    json_name(w, name);
    json_raw(w, image.data != NULL ? image : bytes_str("null"));
}

static void columns_put(struct json_writer *w, const char *name, const struct event_columns *columns)
{
    json_name(w, name);
    json_array_begin(w);
    for (uint32_t i = 0; i < columns->count; i++)
        json_string(w, columns->names[i]);
    json_array_end(w);
}

static void source_put(struct json_writer *w, const struct event_origin *source)
{
    json_name(w, "source");
    json_object_begin(w);
    json_name(w, "source_name");
    json_string(w, source->name);
    json_name(w, "offset");
    json_string(w, source->offset);
    json_name(w, "timestamp");
    json_uint(w, source->timestamp_ms);
    json_object_end(w);
}

static void snapshot_put(struct json_writer *w, const struct event *event)
{
    json_name(w, "snapshot");
    if (!event->has_snapshot) {
        json_null(w);
        return;
    }
    json_object_begin(w);
    json_name(w, "snapshot_id");
    json_string(w, event->snapshot.id);
    json_name(w, "chunk_index");
    json_uint(w, event->snapshot.chunk_index);
    json_name(w, "is_last_chunk");
    json_bool(w, event->snapshot.is_last_chunk);
    json_object_end(w);
}

static void transaction_put(struct json_writer *w, const struct event *event)
{
    json_name(w, "transaction");
    if (!event->has_transaction) {
        json_null(w);
        return;
    }
    json_object_begin(w);
    json_name(w, "tx_id");
    json_uint(w, event->transaction.id);
    json_name(w, "total_events");
    if (event->transaction.has_total_events)
        json_uint(w, event->transaction.total_events);
    else
        json_null(w);
    json_name(w, "event_index");
    json_uint(w, event->transaction.event_index);
    json_object_end(w);
}

void event_optional_write(struct json_writer *w, const struct event *event, bool with_schema)
{
    bool schema = with_schema && event->schema.data != NULL;
    if (!schema && event->primary_key.names == NULL && !event->has_snapshot && !event->has_transaction &&
        !event->before_is_key_only && event->unavailable.count == 0 && event->before_unavailable.count == 0)
        return;
    json_name(w, "event");
    json_object_begin(w);
    if (schema) {
        json_name(w, "schema");
        json_string(w, event->schema);
    }
    if (event->primary_key.names != NULL)
        columns_put(w, "primary_key", &event->primary_key);
    if (event->has_snapshot)
        snapshot_put(w, event);
    if (event->has_transaction)
        transaction_put(w, event);
    if (event->before_is_key_only) {
        json_name(w, "before_is_key_only");
        json_bool(w, true);
    }
    if (event->unavailable.count > 0)
        columns_put(w, "unavailable_columns", &event->unavailable);
    if (event->before_unavailable.count > 0)
        columns_put(w, "before_unavailable_columns", &event->before_unavailable);
    json_object_end(w);
}

enum sorex_status event_write(const struct event *event, struct buf *out, struct sorex_error *err)
{
    struct json_writer writer, *w = &writer;
    if (event->text.data != NULL)
        return buf_append(out, event->text, err);
    json_writer_init(w, out, false, err);
    json_object_begin(w);
    image_put(w, "before", event->before);
    image_put(w, "after", event->after);
    json_name(w, "op");
    json_string_z(w, event_op_name(event->op));
    source_put(w, &event->source);
    json_name(w, "ts");
    json_uint(w, event->ts_ms);
    json_name(w, "schema");
    if (event->schema.data != NULL)
        json_string(w, event->schema);
    else
        json_null(w);
    json_name(w, "table");
    json_string(w, event->table);
    if (event->primary_key.names != NULL) {
        columns_put(w, "primary_key", &event->primary_key);
    } else {
        json_name(w, "primary_key");
        json_null(w);
    }
    snapshot_put(w, event);
    transaction_put(w, event);
    json_name(w, "envelope_version");
    json_uint(w, 1);
    json_name(w, "before_is_key_only");
    json_bool(w, event->before_is_key_only);
    if (event->unavailable.count > 0)
        columns_put(w, "unavailable_columns", &event->unavailable);
    if (event->before_unavailable.count > 0)
        columns_put(w, "before_unavailable_columns", &event->before_unavailable);
    json_object_end(w);
    return json_writer_finish(w);
}

enum sorex_status event_text_make(struct event *event, struct arena *arena, struct sorex_error *err)
{
    struct buf text = {0};
    if (event->text.data != NULL)
        return SOREX_OK;
    enum sorex_status status = event_write(event, &text, err);
    if (status == SOREX_OK) {
        event->text = arena_copy(arena, buf_view(&text));
        if (event->text.data == NULL)
            status = sorex_error_set(err, SOREX_NOMEM, "out of memory for an event");
    }
    buf_deinit(&text);
    return status;
}
