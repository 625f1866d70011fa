/* Where the events of a stream pipeline come from. A source has partitions, each an ordered log that only grows, with a position in
 * each. It is told by whom delivers where to begin (seek), so that positions are kept in the target, in the target's transaction. */
#ifndef SOREX_SOURCE_EVENTS_H
#define SOREX_SOURCE_EVENTS_H

#include "base/bytes.h"
#include "base/header.h"
#include "base/position.h"
#include "config/option.h"

#define EVENT_PARTITION_SIZE 320 /* of a partition's name, "orders/3", with its end */

struct event_record {
    struct bytes text;    /* one event in some envelope; for Kafka a message's value. Empty with data NULL: a tombstone */
    struct bytes key;     /* Kafka's; data NULL: none */
    uint32_t partition;   /* index in the batch's partitions */
    uint64_t number;      /* its place as people say it: line from 1, Kafka's offset */
    uint64_t time_ms;     /* when it was written; 0 = not known */
    const struct header *headers;
    size_t header_count;
    struct position next; /* behind it */
};

struct event_partition {
    const char *name; /* "orders/3", "-"; unique in the source, the same in every run */
    bool placed;      /* seek was called for it since it was assigned */
    uint64_t end;     /* offset behind what the source has, as far as it knows: for lag. 0 = not known */
};

struct event_batch {
    const struct event_record *records;
    size_t count;
    const struct event_partition *partitions; /* those that are this process's now */
    size_t partition_count;
    bool assigned; /* partitions came or went since the last poll: no records now; seek each one that is not placed (no record comes
                    * of it before that), and forget what was read of the others and not delivered */
    bool caught_up; /* nothing more was there when it looked */
    bool ended;     /* nothing more will come */
};

struct event_limits {
    size_t records, bytes; /* a batch ends before more than these, but for one record */
    uint32_t wait_ms;      /* for the first record; what is there then is given at once */
};

struct event_source; /* an opened source */

struct event_source_context {
    const char *pipeline;
    bool ordered;   /* records are to have one order: SOREX_INVALID of open or seek where they have none */
    bool until_end; /* the run ends at what is there when it starts: `ended` once that is read */
};

/* A kind of source. All calls from one thread, but for interrupt.
 * Outcome: SOREX_OK; SOREX_AGAIN: unreachable now, wait and ask again; SOREX_STOPPED: interrupted; SOREX_INVALID, SOREX_LIMIT, SOREX_CORRUPT,
 * SOREX_MISMATCH, SOREX_GONE, SOREX_IO: stop, with a text that says what to do. */
struct event_source_type {
    const char *name; /* "lines", "kafka" */
    const char *summary;
    const struct option *options; /* ends with a NULL name */
    size_t settings_size;
    bool timed; /* records have times */
    enum sorex_status (*open)(const void *settings, const struct event_source_context *context, struct event_source **out,
                              struct sorex_error *err);
    void (*close)(struct event_source *source);
    /* out and what it points to are borrowed until the next call of poll. Returns early with no records when interrupted. */
    enum sorex_status (*poll)(struct event_source *source, const struct event_limits *limits, struct event_batch *out,
                              struct sorex_error *err);
    /* Where to go on in a partition of the last batch. NULL: where the source itself says (Kafka: the group's committed offset; a
     * file: its beginning). Also after a batch that could not be delivered, to read it again.
     * Errors: SOREX_GONE: the position lies before what the source still has; SOREX_MISMATCH: it is of something else. */
    enum sorex_status (*seek)(struct event_source *source, const char *partition, const struct position *position,
                              struct sorex_error *err);
    /* What lies before this position is delivered, and the target holds it: for what the source shows to others (a group's lag). Not
     * called when the sink took the group. NULL: nobody looks. */
    void (*delivered)(struct event_source *source, const char *partition, const struct position *to);
    /* What a sink needs to commit positions in its own transaction (struct kafka_consumer), or NULL. NULL: never. */
    void *(*group)(struct event_source *source);
    /* Ends a poll that is under way soon, and every later one. Thread: any. */
    void (*interrupt)(struct event_source *source);
};

struct event_source {
    const struct event_source_type *type; /* first member of every source */
};

extern const struct event_source_type *const event_source_types[]; /* ends with NULL */
const struct event_source_type *event_source_type_find(const char *name);

#endif
