/* Random events for tests, from a seed. */
#ifndef SOREX_TESTS_CHANGE_RANDOM_EVENT_H
#define SOREX_TESTS_CHANGE_RANDOM_EVENT_H

#include "change/event.h"
#include "json/random.h"

/* A valid event whose parts live in arena; images are canonical. objects: images are objects of scalars, as rows are.
 */
struct event random_event(struct json_parser *parser, struct arena *arena, uint64_t *seed, bool objects);

/* The same event as text that is not canonical: members in another order, white space, unknown members, defaults left
 * out. Appended. */
void random_event_text(const struct event *event, uint64_t *seed, struct buf *out);

/* Fails unless every field is the same. */
void assert_event_equal(const struct event *a, const struct event *b);

#endif
