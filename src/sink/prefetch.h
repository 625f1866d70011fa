/* A thread that takes the next batch off a feed while the last one is being applied. Made for one caller, the runner's
 * thread; between ask and take the feed belongs to the prefetch, otherwise to the caller. */
#ifndef SOREX_SINK_PREFETCH_H
#define SOREX_SINK_PREFETCH_H

#include "sink/feed.h"

struct prefetch;

enum sorex_status prefetch_new(struct feed *feed, struct prefetch **out, struct sorex_error *err);
/* Waits for a call that was asked for. */
void prefetch_free(struct prefetch *prefetch);
/* Starts feed_next(head, tip) on the thread. One at a time: pair with prefetch_take. */
void prefetch_ask(struct prefetch *prefetch, uint64_t head, uint32_t tip);
/* Whether one was asked for and not taken. */
bool prefetch_asked(const struct prefetch *prefetch);
/* Waits for it. Ownership: as feed_next. */
void prefetch_take(struct prefetch *prefetch, struct feed_answer *out);

#endif
