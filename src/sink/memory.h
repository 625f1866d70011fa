/* A sink in memory, for tests: keeps what it was given and fails when told to. */
#ifndef SOREX_SINK_MEMORY_H
#define SOREX_SINK_MEMORY_H

#include "sink/sink.h"

struct memory_settings {
    uint32_t fail_next; /* how many calls of apply fail with SOREX_AGAIN, doing nothing */
};

extern const struct sink_type sink_memory;

/* One delivered change. */
struct memory_change {
    char *raw; /* NUL-terminated */
    size_t len;
    uint64_t sequence;
    uint32_t height;
    bool undo;
};

/* All of these: thread: any. sink: one that sink_memory opened. */

/* The next `count` calls of apply return `status` without doing anything. */
void memory_sink_fail_next(struct sink *sink, uint32_t count, enum sorex_status status);
/* The next `count` calls of apply do all of the batch, then return SOREX_AGAIN, like a connection lost in COMMIT. */
void memory_sink_fail_after_applied(struct sink *sink, uint32_t count);
/* What a target that was written before would hold; SOREX_GONE is its answer until one is set or a batch is applied. */
void memory_sink_set_cursor(struct sink *sink, const struct sink_cursor *cursor);
void memory_sink_cursor(struct sink *sink, struct sink_cursor *out);

/* Of a stream: moves a partition's position, as another process would. */
void memory_sink_set_position(struct sink *sink, const char *partition, const struct position *position);
/* How many dead letters it was given. */
size_t memory_sink_dead(struct sink *sink);

size_t memory_sink_count(struct sink *sink);
/* Borrowed until the sink is closed. */
const struct memory_change *memory_sink_at(struct sink *sink, size_t index);
/* Calls of apply, and of those the ones that moved the cursor only. */
void memory_sink_calls(struct sink *sink, uint64_t *out_apply, uint64_t *out_empty);

#endif
