/* Where changes go. A sink type applies batches in one transaction with its cursor; the runner (sink/runner.h) reads the outbox,
 * turns undo records into inverse changes, batches, retries. No sink needs reorg code. */
#ifndef SOREX_SINK_SINK_H
#define SOREX_SINK_SINK_H

#include "base/bytes.h"
#include "base/entry.h"
#include "base/header.h"
#include "base/position.h"
#include "change/change.h"
#include "config/option.h"

#define SINK_STORE_ID_BYTES 16

/* A sink's place in the outbox; everything up to and including `sequence` is applied. */
struct sink_cursor {
    uint8_t store_id[SINK_STORE_ID_BYTES];
    uint64_t sequence;          /* 0 = nothing yet */
    uint8_t hash[HASH_BYTES];   /* entry hash of that record; zero when sequence is 0 */
};

struct sink_change {
    struct change change;       /* parsed; raw is the text to deliver. In another envelope than `change`: raw, operation, table and
                                 * key (which may be empty) only */
    struct json_doc before, after; /* the images' members, parsed, when the type reads them; nodes NULL: parse the text */
    uint64_t sequence;          /* of the outbox record it belongs to */
    uint32_t height;            /* of the applied or undone entry */
    bool undo;                  /* an inverse, made by the runner */
    uint32_t ordinal;           /* place among the changes that its record delivers, from 0 */
    uint64_t time_ms;           /* of the applied or undone entry */
    const uint8_t *hash;        /* HASH_BYTES, of the applied or undone entry; borrowed as long as the batch */
    const char *program;        /* that emitted it; borrowed as long as the batch */
    struct bytes source_key;    /* of a stream: the key that the event came under; data NULL: none */
    const struct header *source_headers; /* of a stream: those that it came with */
    size_t source_header_count;
};

/* -- of a stream pipeline (pipeline/flow.h) */

/* How far one partition of the source is applied by a batch. */
struct sink_position {
    const char *partition;
    bool first;                 /* the target has none of this partition yet: `from` says nothing */
    struct position from, to;   /* from: where the target stands; another one there means that somebody else delivers too */
};

/* An event that failed and is left out, or passed on unchanged. */
struct sink_dead {
    const char *partition;
    uint64_t number;            /* line, or Kafka's offset */
    struct bytes event;         /* as it came */
    struct bytes key;           /* data NULL: none */
    const char *error;
};

struct sink_batch {
    const struct sink_change *changes;
    size_t count;
    struct sink_cursor cursor;  /* where the target stands after this batch; not of a stream */
    /* Of a stream; position_count 0: a batch of the outbox. */
    const struct sink_position *positions;
    size_t position_count;
    const struct sink_dead *dead;
    size_t dead_count;
    void *group;                /* of the source (event_source_type.group), for a sink that takes it; or NULL */
};

struct store;

struct sink_context {
    const char *name;           /* the sink's name in the pipeline file; texts and settings are borrowed as long as the sink */
    const char *pipeline;       /* the pipeline's name */
    const char *base_dir;       /* relative paths are relative to this (the pipeline file's folder) */
    bool stream;                /* of a stream pipeline: batches have positions, not cursors */
    struct store *store;        /* of a chain pipeline; borrowed. NULL: none, or the sink is opened to be checked only */
    const char *cache_dir;      /* of compiled code; NULL: none */
    uint64_t guest_inverse;     /* bit n: program n makes its inverses itself (inverse: guest) */
};

struct sink; /* an opened sink */

/* Outcome of apply and cursor: SOREX_OK; SOREX_AGAIN: transient, the runner retries with back-off (apply must then have done all of
 * the batch or nothing, or leave that to be found out by reading the cursor again: the runner always does after SOREX_AGAIN);
 * anything else: permanent, this sink stops with the text, the others go on.
 * Thread: all calls of one sink come from its runner's thread. */
struct sink_type {
    const char *name;           /* "console", "file", "postgres", "memory" */
    const char *summary;
    const struct option *options; /* see config/option.h; ends with a NULL name */
    size_t settings_size;       /* of the struct that options fill in: what the caller allocates, zeroed */
    bool reads_images;          /* looks into images: takes changes, no other envelope */
    bool uses_keys;             /* looks at change.table and change.key: of a stream they are made for it in any envelope */
    bool holds_cursor;          /* false: the store keeps it, delivery is at least once */
    bool takes_group;           /* of a stream: its transactions commit the offsets of a source's group */
    uint32_t batch_changes_max; /* while it is far behind; 0: as the runner has it */
    uint64_t batch_bytes_max;   /* the same */
    enum sorex_status (*open)(const void *settings, const struct sink_context *context, struct sink **out,
                              struct sorex_error *err);
    void (*close)(struct sink *sink);
    /* Connects when needed and reads the cursor in the target. SOREX_GONE: the target has none yet (start at the beginning).
     * NULL when holds_cursor is false. */
    enum sorex_status (*cursor)(struct sink *sink, struct sink_cursor *out, struct sorex_error *err);
    /* Applies the batch and moves the cursor, atomically. An empty batch moves the cursor only. */
    enum sorex_status (*apply)(struct sink *sink, const struct sink_batch *batch, struct sorex_error *err);
    /* Connects when needed and reads how far a partition of a stream is applied. group: as in the batch. SOREX_GONE: the target holds
     * none. From then on a batch of that partition has `from` as it was read here: the target refuses it (SOREX_AGAIN) when somebody
     * else moved it meanwhile. NULL: the target holds no positions, delivery is at least once. */
    enum sorex_status (*position)(struct sink *sink, const char *partition, void *group, struct position *out,
                                  struct sorex_error *err);
    /* Makes a call of cursor or apply that blocks, and every later one, end soon with SOREX_AGAIN. NULL when none can block for
     * long. Thread: any. */
    void (*interrupt)(struct sink *sink);
};

struct sink {
    const struct sink_type *type; /* first member of every sink */
};

extern const struct sink_type *const sink_types[]; /* ends with NULL */
const struct sink_type *sink_type_find(const char *name);

#endif
