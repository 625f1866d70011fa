/* Shared by feed.c, which goes forward, and feed_back.c. */
#ifndef SOREX_SINK_FEED_PRIVATE_H
#define SOREX_SINK_FEED_PRIVATE_H

#include "base/arena.h"
#include "sink/feed.h"

/* A record that finality holds back. */
struct held {
    uint64_t sequence;
    uint32_t height;
    uint8_t hash[HASH_BYTES];
};

struct program_name {
    uint16_t id;
    char name[64];
};

/* Memory of a batch. */
struct making {
    struct arena arena;
    struct sink_change *changes;
    size_t cap;
};

struct feed {
    struct store *store;
    struct feed_options options;
    struct json_parser *parser;
    uint64_t scanned; /* last record looked at */

    struct held *held; /* oldest first; held_first is the oldest that is still there */
    size_t held_first, held_count, held_cap;

    struct program_name *programs;
    size_t program_count;
    bool programs_short; /* there was no memory for one of them */

    struct buf converted; /* to the envelope */
    struct buf record;    /* as read; copied to the arena, where changes point into it */
    struct buf inverse;

    struct making makings[2];
    struct making *making; /* the batch in the making; the other one may be in use */
    size_t count;
    uint64_t bytes;
    uint64_t end; /* the clean place that the cursor moves to */
    uint8_t end_hash[HASH_BYTES];
    uint32_t end_height;
};

/* What the changes of one record have in common. */
struct origin {
    uint64_t sequence;
    uint32_t height;
    uint64_t time_ms;
    const uint8_t *hash;
    bool undo;
    uint32_t ordinal;
    uint16_t program;
    const char *name;
};

/* Begins a batch. */
void feed_begin(struct feed *feed);
void feed_batch(const struct feed *feed, struct sink_batch *out);
/* Copies that live as long as the batch. */
enum sorex_status feed_hash_keep(struct feed *feed, const uint8_t hash[HASH_BYTES], const uint8_t **out,
                                 struct sorex_error *err);
enum sorex_status feed_record_keep(struct feed *feed, struct outbox_record *record, struct sorex_error *err);
/* Adds what takes the record's changes back, last first. */
enum sorex_status feed_inverses_add(struct feed *feed, const struct outbox_record *original, struct origin *origin,
                                    struct sorex_error *err);

#endif
