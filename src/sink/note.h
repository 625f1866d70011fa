/* What is kept beside an embedded database, in the same write: which entry it is the state after, and how the sink
 * wrote it, so that its state at an earlier height can be made without the pipeline file.
 * docs/formats/sink-database.md. */
#ifndef SOREX_SINK_NOTE_H
#define SOREX_SINK_NOTE_H

#include "config/node.h"
#include "sink/postgres.h"

struct note {
    uint64_t sequence;      /* the cursor's; 0: nothing was applied */
    uint32_t height;        /* of the entry after whose record it is; SOREX_HEIGHT_NONE: none */
    uint64_t guest_inverse; /* as in struct feed_options */
    const char *pipeline, *sink;
    struct postgres_settings settings; /* schema, mode, log_table, tables; the texts are borrowed */
};

/* Errors: SOREX_LIMIT the `tables` mapping is too large; SOREX_NOMEM. */
enum sorex_status note_write(const struct note *note, struct buf *out, struct sorex_error *err);
/* *out borrows from *out_root, which is the caller's to free with config_free. Errors: SOREX_CORRUPT. */
enum sorex_status note_read(struct bytes text, struct note *out, struct config_node **out_root,
                            struct sorex_error *err);

#endif
