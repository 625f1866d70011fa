#include "change/envelope.h"

#include "base/check.h"
#include "change/envelope_private.h"

static enum sorex_status event_read(struct json_parser *parser, struct bytes text, struct arena *arena,
                                    struct event *out, bool *out_tombstone, struct sorex_error *err)
{
    *out_tombstone = false;
    return event_parse(parser, text, arena, out, err);
}

static enum sorex_status event_put(struct json_parser *parser, const struct event *event, struct arena *arena,
                                   struct buf *out, struct sorex_error *err)
{
    (void)parser;
    (void)arena;
    return event_write(event, out, err);
}

static const struct envelope envelope_event = {
    .name = "event",
    .summary = "change events as transforms see them (rustcdc's, envelope version 1)",
    .read = event_read,
    .write = event_put,
};

const struct envelope *const envelopes[] = {&envelope_event,  &envelope_debezium,    &envelope_debezium_schema,
                                            &envelope_change, &envelope_cloudevents, NULL};
const char *const envelope_names[] = {"event", "debezium", "debezium-schema", "change", "cloudevents", NULL};

const struct envelope *envelope_find(const char *name)
{
    for (const struct envelope *const *envelope = envelopes; *envelope != NULL; envelope++)
        if (strcmp((*envelope)->name, name) == 0)
            return *envelope;
    return NULL;
}

enum sorex_status envelope_read(const struct envelope *envelope, struct json_parser *parser, struct bytes text,
                                struct arena *arena, struct event *out, bool *out_tombstone, struct sorex_error *err)
{
    *out_tombstone = false;
    return envelope->read(parser, text, arena, out, out_tombstone, err);
}

enum sorex_status envelope_write(const struct envelope *envelope, struct json_parser *parser, const struct event *event,
                                 struct arena *arena, struct buf *out, struct sorex_error *err)
{
    size_t begin = out->len;
    enum sorex_status status = envelope->write(parser, event, arena, out, err);
    if (status != SOREX_OK)
        out->len = begin;
    return status;
}

enum sorex_status envelope_string(const struct json_doc *doc, const struct json_node *object, const char *name,
                                  const char *path, struct arena *arena, struct bytes *out, struct sorex_error *err)
{
    const struct json_node *node = json_member(doc, object, name);
    if (node == NULL || node->kind != JSON_STRING)
        return sorex_error_set(err, SOREX_INVALID, "%s %s", path, node == NULL ? "is missing" : "is no string");
    return event_string_keep(doc, node, arena, out, err);
}

enum sorex_status envelope_u64(const struct json_doc *doc, const struct json_node *object, const char *name,
                               const char *path, uint64_t *out, struct sorex_error *err)
{
    const struct json_node *node = json_member(doc, object, name);
    if (node == NULL || !json_u64(node, out))
        return sorex_error_set(err, SOREX_INVALID, "%s %s", path,
                               node == NULL ? "is missing" : "is no whole number of 64 bits");
    return SOREX_OK;
}
