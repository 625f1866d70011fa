/* Envelopes: the forms in which change events travel, converted from and to struct event. What each of them can hold,
 * field by field, is in docs/formats/envelopes.md. */
#ifndef SOREX_CHANGE_ENVELOPE_H
#define SOREX_CHANGE_ENVELOPE_H

#include "change/event.h"

struct envelope {
    const char *name;    /* "debezium" */
    const char *summary; /* one line for --help */
    enum sorex_status (*read)(struct json_parser *parser, struct bytes text, struct arena *arena, struct event *out,
                              bool *out_tombstone, struct sorex_error *err);
    enum sorex_status (*write)(struct json_parser *parser, const struct event *event, struct arena *arena,
                               struct buf *out, struct sorex_error *err);
};

/* All of them, "event" first; ends with NULL. */
extern const struct envelope *const envelopes[];
/* Their names, in the same order; ends with NULL. */
extern const char *const envelope_names[];

/* NULL when there is none of that name. */
const struct envelope *envelope_find(const char *name);

/* Reads one event. It is not validated (event_validate).
 *
 * text           borrowed; what is in out are slices of it, or copies in arena. out->text is known if text is the
 * canonical event. out_tombstone  Debezium's mark behind a delete, no event: the text `null` or none at all. It is
 * passed on as it came, by filters and into any envelope. out is not set. Errors:        SOREX_INVALID with the field's
 * name or the place in the text; SOREX_LIMIT; SOREX_NOMEM. Thread:        the parser's. */
enum sorex_status envelope_read(const struct envelope *envelope, struct json_parser *parser, struct bytes text,
                                struct arena *arena, struct event *out, bool *out_tombstone, struct sorex_error *err);

/* Appends a valid event. parser and arena: for work; what the event points to has to outlive neither's reset.
 * Errors: SOREX_INVALID when the envelope cannot hold it ("a change holds no truncate"), out unchanged; SOREX_LIMIT,
 * SOREX_NOMEM. */
enum sorex_status envelope_write(const struct envelope *envelope, struct json_parser *parser, const struct event *event,
                                 struct arena *arena, struct buf *out, struct sorex_error *err);

/* -- a change as an event and back, for those who hold its key */

/* As the envelope `change` reads it. timestamp_ms: for a header without one, not 0. */
enum sorex_status change_event_read(struct json_parser *parser, struct bytes text, uint64_t timestamp_ms,
                                    struct arena *arena, struct event *out, struct sorex_error *err);
/* The key of the row as its primary_key makes it, appended to out. Errors: SOREX_INVALID: no primary_key, a column that
 * is not in the row, an empty key. */
enum sorex_status change_event_key(struct json_parser *parser, const struct event *event, struct buf *out,
                                   struct sorex_error *err);
/* As the envelope `change` writes it, under this key. Errors: as envelope_write. */
enum sorex_status change_event_write(struct json_parser *parser, const struct event *event, struct bytes key,
                                     struct arena *arena, struct buf *out, struct sorex_error *err);

#endif
