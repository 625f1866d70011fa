#include "base/check.h"
#include "sink/feed_private.h"

static enum sorex_status inverse_take(struct feed *feed, struct outbox_record *record, struct sorex_error *err)
{
    struct origin origin = {
        .sequence = record->sequence, .height = record->height, .time_ms = record->time_ms, .undo = true};
    TRY(feed_hash_keep(feed, record->hash, &origin.hash, err));
    TRY(feed_record_keep(feed, record, err));
    TRY(feed_inverses_add(feed, record, &origin, err));
    feed->end_height = record->height - 1; /* the state before an entry is that at the height below it */
    return SOREX_OK;
}

/* The record at feed->scanned is not kept any more. */
static enum sorex_status trimmed(const struct feed *feed, uint32_t height, struct sorex_error *err)
{
    if (feed->end_height == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_GONE, "height %u: the outbox holds nothing of what came before", height);
    if (height >= feed->end_height)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_GONE, "height %u: the outbox leads back to height %u only", height,
                           feed->end_height);
}

/* One record back. */
static enum sorex_status step_back(struct feed *feed, uint32_t height, bool *out_done, struct sorex_error *err)
{
    uint64_t first, head;
    struct outbox_record record;
    store_outbox_range(feed->store, &first, &head);
    (void)memset(feed->end_hash, 0, HASH_BYTES);
    *out_done = feed->scanned == 0 || feed->scanned < first;
    if (*out_done)
        return feed->scanned == 0 ? SOREX_OK : trimmed(feed, height, err);
    TRY(store_outbox_read(feed->store, feed->scanned, &feed->record, &record, err));
    if (record.kind == OUTBOX_UNDO) {
        feed->scanned = record.undone - 1;
        return SOREX_OK;
    }
    *out_done = record.height <= height;
    if (*out_done) {
        (void)memcpy(feed->end_hash, record.hash, HASH_BYTES);
        return SOREX_OK;
    }
    TRY(inverse_take(feed, &record, err));
    feed->scanned--;
    return SOREX_OK;
}

enum sorex_status feed_back(struct feed *feed, uint32_t height, struct sink_batch *out, bool *out_done,
                            struct sorex_error *err)
{
    feed_begin(feed);
    *out_done = false;
    while (!*out_done && feed->count < feed->options.changes_max && feed->bytes < feed->options.bytes_max)
        TRY(step_back(feed, height, out_done, err));
    feed->end = feed->scanned;
    feed_batch(feed, out);
    return SOREX_OK;
}
