/* What the sinks that write lines put into them. Format: docs/formats/sink-file.md. */
#ifndef SOREX_SINK_LINE_H
#define SOREX_SINK_LINE_H

#include "sink/sink.h"

/* Append one line, or leave out as it was. Errors: SOREX_LIMIT, SOREX_NOMEM. */

/* The change's text: white space between tokens that would break the line becomes a space; no text is a tombstone,
 * `null`. */
enum sorex_status line_change(const struct change *change, struct buf *out, struct sorex_error *err);
enum sorex_status line_dead(const struct sink_dead *dead, struct buf *out, struct sorex_error *err);

#endif
