/* Figures as Prometheus reads them: text format 0.0.4, made from a status object (pipeline_status, flow_status) and
 * from what the kernel knows about the process. What the object does not have is left out. docs/metrics.md lists the
 * names. */
#ifndef SOREX_SERVE_EXPOSITION_H
#define SOREX_SERVE_EXPOSITION_H

#include "base/bytes.h"

#define EXPOSITION_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends the text. status: a JSON object. Errors: SOREX_INVALID: it is none; SOREX_IO, SOREX_NOMEM. Thread: any. */
enum sorex_status exposition_write(struct bytes status, struct buf *out, struct sorex_error *err);

#endif
