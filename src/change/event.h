/* An event: one change of one row in flight, as event transforms take and give it. Format: docs/formats/event.md
 * (rustcdc's event, envelope version 1). */
#ifndef SOREX_CHANGE_EVENT_H
#define SOREX_CHANGE_EVENT_H

#include "base/arena.h"
#include "base/bytes.h"
#include "json/json.h"

enum event_op { EVENT_INSERT, EVENT_UPDATE, EVENT_DELETE, EVENT_READ, EVENT_SCHEMA_CHANGE, EVENT_TRUNCATE };

const char *event_op_name(enum event_op op); /* "insert", "schema_change" */

/* Names of columns. names is NULL when there is no list, which `primary_key` tells from an empty one. */
struct event_columns {
    const struct bytes *names;
    uint32_t count;
};

/* Where the event was made. The host's: no transform may change it. */
struct event_origin {
    struct bytes name;
    struct bytes offset;
    uint64_t timestamp_ms;
};

struct event_snapshot {
    struct bytes id;
    uint32_t chunk_index;
    bool is_last_chunk;
};

struct event_transaction {
    uint64_t id;
    uint32_t event_index;
    uint32_t total_events;
    bool has_total_events;
};

/* Strings are decoded UTF-8. An absent image, schema or text has data NULL. */
struct event {
    struct bytes text;          /* the whole event in canonical form, where it is known */
    struct bytes before, after; /* JSON values in canonical form, never "null" */
    enum event_op op;
    struct event_origin source;
    uint64_t ts_ms;
    struct bytes schema;
    struct bytes table;
    struct event_columns primary_key;
    bool has_snapshot, has_transaction;
    struct event_snapshot snapshot;
    struct event_transaction transaction;
    bool before_is_key_only;
    struct event_columns unavailable, before_unavailable;
};

/* Reads one event. out->text is the text itself (without white space around it) when it already is canonical, else
 * absent.
 *
 * text       borrowed; what is in out are slices of it, or copies in arena: both have to live as long as out.
 * Errors:    SOREX_INVALID with the field's name ("source.offset is missing") or the place in the text; SOREX_LIMIT too
 * deep; SOREX_NOMEM. Thread:    the parser's. */
enum sorex_status event_parse(struct json_parser *parser, struct bytes text, struct arena *arena, struct event *out,
                              struct sorex_error *err);

/* As event_parse, for a text that was made from another event's: where only an image changed, only that is read.
 *
 * from       its text is known; what is in out may be slices of what it points to as well. */
enum sorex_status event_parse_changed(struct json_parser *parser, const struct event *from, struct bytes text, struct arena *arena,
                                      struct event *out, struct sorex_error *err);

/* Whether the fields make sense together (docs/formats/event.md, Validation). Errors: SOREX_INVALID with the field's
 * name. */
enum sorex_status event_validate(const struct event *event, struct sorex_error *err);

/* Appends the canonical form; a copy where event->text is known. Errors: SOREX_LIMIT, SOREX_NOMEM. */
enum sorex_status event_write(const struct event *event, struct buf *out, struct sorex_error *err);

/* Makes event->text known: writes it to the arena unless it is. After any change of another field set text to none
 * first. */
enum sorex_status event_text_make(struct event *event, struct arena *arena, struct sorex_error *err);

/* A JSON value as an image: its canonical form, a slice where it is that already, else a copy in arena; absent for
 * null. doc is the parser's own, not a copy. */
enum sorex_status event_image(const struct json_doc *doc, const struct json_node *node, struct arena *arena,
                              struct bytes *out, struct sorex_error *err);

/* The first of the fields that only the host may set in which the two differ ("source.offset"), or NULL. */
const char *event_host_field_changed(const struct event *before, const struct event *after);

#endif
