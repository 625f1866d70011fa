/* The optional fields of an event as members of another object: what an envelope of another kind keeps aside. Included
 * by event*.c and envelope*.c only. */
#ifndef SOREX_CHANGE_EVENT_OPTIONAL_H
#define SOREX_CHANGE_EVENT_OPTIONAL_H

#include "change/event.h"
#include "json/writer.h"

/* Reads those of schema, primary_key, snapshot, transaction, before_is_key_only and the unavailable columns that are
 * members of node. Errors: as event_parse. */
enum sorex_status event_optional_read(const struct json_doc *doc, const struct json_node *node, struct arena *arena,
                                      struct event *out, struct sorex_error *err);

/* Writes the member `event` with those that are not empty; nothing when all are. */
void event_optional_write(struct json_writer *w, const struct event *event, bool with_schema);

/* A string of doc, which outlives the parser's next text. Errors: SOREX_NOMEM. */
enum sorex_status event_string_keep(const struct json_doc *doc, const struct json_node *node, struct arena *arena,
                                    struct bytes *out, struct sorex_error *err);

#endif
