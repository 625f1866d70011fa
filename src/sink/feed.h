/* The outbox as batches: apply records as they are, undo records as inverse changes in reverse order.
 *
 * A batch ends at a clean place only: every record up to its cursor is either delivered or undone by a record that is
 * also up to the cursor. With finality N a record of height h is held back until a record of height h + N or more
 * follows on its branch, or the whole outbox has been looked at and the tip is at least h + N. An undo of a held record
 * takes it away again, and the cursor steps over both at once. An undo of a delivered record is always delivered.
 *
 * One thread at a time. */
#ifndef SOREX_SINK_FEED_H
#define SOREX_SINK_FEED_H

#include "change/envelope.h"
#include "sink/sink.h"
#include "store/store.h"

struct feed;

struct feed_options {
    uint32_t changes_max; /* a batch ends after the record that reaches this */
    uint64_t bytes_max;   /* ... or this much JSON text */
    uint32_t finality;
    bool images; /* changes come with their images parsed */
    const struct envelope
        *envelope;          /* the form of their texts, inverses included; NULL: as they are. Not with images */
    uint64_t guest_inverse; /* bit n: program n makes its inverses itself (inverse: guest) */
};

/* store: borrowed. */
enum sorex_status feed_new(struct store *store, const struct feed_options *options, struct feed **out,
                           struct sorex_error *err);
void feed_free(struct feed *feed);

/* Continues after this sequence; forgets what was held back. */
void feed_seek(struct feed *feed, uint64_t sequence);

/* What the feed has next. */
struct feed_answer {
    enum sorex_status status;
    struct sorex_error err;  /* when status is not SOREX_OK */
    bool moved;              /* false: nothing to do up to the head, with the tip as it is; then there is no batch */
    struct sink_batch batch; /* without changes: it moves the cursor only */
    uint32_t height;         /* of the cursor's record */
    uint64_t scanned;        /* the last record that was looked at */
};

/* The next batch.
 *
 * head       the durable head; read it after the tip was.
 * tip        of the pipeline, or SOREX_HEIGHT_NONE when unknown; only finality asks for it.
 * Ownership: out->batch borrows from the feed until the next call but one, so that one can be made while the other is
 * used. Errors:    SOREX_GONE: a record is not retained any more; SOREX_CORRUPT; SOREX_IO, SOREX_NOMEM. Seek after a
 * failure. */
void feed_next(struct feed *feed, uint64_t head, uint32_t tip, struct feed_answer *out);

/* The way back to the state at a height, on the branch that the record sought last is on. Between an undo record and
 * what it undid, nothing is left of it: that is stepped over.
 *
 * Batches of inverse changes, with the cursor where the target stands after them; *out_done: there is nothing further.
 * From feed_seek on, with one height. With no finality and no envelope.
 * Errors:    SOREX_GONE naming the lowest height that the outbox still leads to; as feed_next. */
enum sorex_status feed_back(struct feed *feed, uint32_t height, struct sink_batch *out, bool *out_done,
                            struct sorex_error *err);

#endif
