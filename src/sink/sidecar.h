/* The small file beside a file sink's target that says how much of it belongs to which place: of the outbox, or of a
 * stream's source. Bytes: docs/formats/sink-file.md. Thread: one at a time. */
#ifndef SOREX_SINK_SIDECAR_H
#define SOREX_SINK_SIDECAR_H

#include "json/json.h"
#include "sink/sink.h"

struct sidecar_position {
    char *partition;
    struct position at;
};

struct sidecar {
    /* Set by the owner; borrowed. */
    const char *path;
    const char *pipeline;
    bool stream; /* format 2 */
    bool fsync;

    struct sink_cursor cursor; /* format 1 */
    struct sidecar_position *positions;
    size_t position_count, position_cap;
    uint64_t offset;
    char *dead_file; /* NULL: none */
    uint64_t dead_offset;
};

void sidecar_deinit(struct sidecar *sidecar);

/* Replaces what is known by what the file says; *out_found is false when there is no file, and nothing is known then.
 * Errors: SOREX_MISMATCH: of another pipeline, kind of pipeline or format; SOREX_CORRUPT; SOREX_IO, SOREX_NOMEM. */
enum sorex_status sidecar_read(struct sidecar *sidecar, struct json_parser *parser, bool *out_found,
                               struct sorex_error *err);
/* Replaces the file, atomically. Errors: SOREX_AGAIN: no room; SOREX_IO, SOREX_NOMEM. */
enum sorex_status sidecar_write(const struct sidecar *sidecar, struct sorex_error *err);

/* NULL when nothing of the partition is known. Borrowed until the next sidecar_position_add or sidecar_read. */
struct sidecar_position *sidecar_position_find(const struct sidecar *sidecar, const char *partition);
enum sorex_status sidecar_position_add(struct sidecar *sidecar, struct bytes partition, const struct position *at,
                                       struct sorex_error *err);

#endif
