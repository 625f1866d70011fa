#include "sink/cursor.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"

static enum sorex_status misfit(struct sorex_error *err, const char *what)
{
    char text[SOREX_ERROR_TEXT_MAX / 2];
    (void)snprintf(text, sizeof text, "%s", what);
    return sorex_error_set(
        err, SOREX_MISMATCH,
        "%s. Choices: run with the data directory that this target was written from; give the sink an "
        "empty target (another file, schema or sink name); or remove the target's rows and its cursor "
        "and index again from the start",
        text);
}

/* The hash of the record at the cursor; SOREX_GONE when that record is trimmed and nothing remembers it. */
static enum sorex_status hash_at(struct store *store, const char *sink, uint64_t sequence, uint8_t out[HASH_BYTES],
                                 struct sorex_error *err)
{
    struct buf bytes = {0};
    struct outbox_record record;
    enum sorex_status status = store_outbox_read(store, sequence, &bytes, &record, err);
    if (status == SOREX_OK)
        (void)memcpy(out, record.hash, HASH_BYTES);
    buf_deinit(&bytes);
    if (status != SOREX_GONE)
        return status;
    uint64_t known;
    status = store_cursor_get(store, sink, &known, out, err);
    if (status == SOREX_OK && known != sequence)
        return sorex_error_set(err, SOREX_GONE, "trimmed");
    return status;
}

enum sorex_status cursor_check(struct store *store, const char *sink, const struct sink_cursor *cursor,
                               struct sorex_error *err)
{
    char text[256];
    uint64_t first;
    uint64_t head;
    store_outbox_range(store, &first, &head);
    if (cursor->sequence > 0 && memcmp(cursor->store_id, store_id(store), SINK_STORE_ID_BYTES) != 0)
        return misfit(err, "the target was written from another store");
    if (cursor->sequence > head) {
        (void)snprintf(text, sizeof text,
                       "the target is at sequence %" PRIu64 ", but the outbox ends at %" PRIu64
                       ": this data directory is older than the target",
                       cursor->sequence, head);
        return misfit(err, text);
    }
    if (head > 0 && cursor->sequence + 1 < first) {
        (void)snprintf(text, sizeof text,
                       "the target is at sequence %" PRIu64 ", but the outbox holds %" PRIu64 " to %" PRIu64 " only",
                       cursor->sequence, first, head);
        return misfit(err, text);
    }
    if (cursor->sequence == 0)
        return SOREX_OK;
    uint8_t hash[HASH_BYTES];
    enum sorex_status status = hash_at(store, sink, cursor->sequence, hash, err);
    if (status == SOREX_GONE)
        return SOREX_OK;
    if (status == SOREX_OK && memcmp(hash, cursor->hash, HASH_BYTES) != 0) {
        (void)snprintf(text, sizeof text, "at sequence %" PRIu64 " the target saw another entry than this outbox holds",
                       cursor->sequence);
        return misfit(err, text);
    }
    return status;
}
