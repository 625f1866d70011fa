/* What the envelopes share. Included by envelope*.c only. */
#ifndef SOREX_CHANGE_ENVELOPE_PRIVATE_H
#define SOREX_CHANGE_ENVELOPE_PRIVATE_H

#include "change/envelope.h"
#include "change/event_optional.h"

extern const struct envelope envelope_debezium, envelope_debezium_schema, envelope_change, envelope_cloudevents;

/* A required member of the kind; path is its name in errors. */
enum sorex_status envelope_string(const struct json_doc *doc, const struct json_node *object, const char *name,
                                  const char *path, struct arena *arena, struct bytes *out, struct sorex_error *err);
enum sorex_status envelope_u64(const struct json_doc *doc, const struct json_node *object, const char *name,
                               const char *path, uint64_t *out, struct sorex_error *err);

/* -- envelope_position.c: offsets that hold a foreign position */

/* A foreign position's shape. */
struct position_shape {
    const char *const *reserved; /* members with fields of their own; ends with NULL */
    const char *extra;           /* a member of the offset that comes from elsewhere */
};

/* The offset of a foreign object: its string member `offset` when no other is left and alone is true, else the members
 * that are not reserved, and extra (may be NULL), as canonical JSON. */
enum sorex_status position_gather(const struct position_shape *shape, const struct json_doc *doc,
                                  const struct json_node *object, const struct json_node *extra, bool alone,
                                  struct arena *arena, struct bytes *out, struct sorex_error *err);

/* The other way: parses the offset. *out is its object when position_gather would make exactly this offset from what is
 * written with it, else NULL: then it is written as the string member `offset`. alone: as position_gather will be
 * called. */
enum sorex_status position_parse(const struct position_shape *shape, struct json_parser *parser, struct bytes offset,
                                 bool alone, struct arena *arena, struct json_doc *doc, const struct json_node **out,
                                 struct sorex_error *err);

/* Writes the members but for extra, or the member `offset` when position is NULL. */
void position_write(const struct position_shape *shape, struct json_writer *w, const struct json_doc *doc,
                    const struct json_node *position, struct bytes offset);

#endif
