/* Embedding sorex: open a pipeline file, run it, ask it, stop it. The program `sorex run` is this and a socket.
 *
 *     struct sorex_pipeline *pipeline;
 *     struct sorex_error err;
 *     if (sorex_pipeline_open("pipeline.yaml", &pipeline, &err) != SOREX_OK)
 *         fail(err.text);
 *     sorex_pipeline_run(pipeline, SOREX_UNTIL_STOPPED, &err);
 *     sorex_pipeline_close(pipeline);
 *
 * The settings of the file: docs/reference.md. One process may hold several pipelines, each with a data directory of its own. */
#ifndef SOREX_PIPELINE_H
#define SOREX_PIPELINE_H

#include <stddef.h>
#include <stdint.h>

#include "sorex/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sorex_pipeline;

/* Ends of a run. Any other value is a height: up to and including it. */
#define SOREX_UNTIL_STOPPED UINT32_MAX       /* follow the source until sorex_pipeline_stop */
#define SOREX_UNTIL_TIP (UINT32_MAX - 1)     /* until the source has no more */
#define SOREX_HEIGHT_LATEST UINT32_MAX       /* of a view: the newest durable height */

/* Reads the pipeline file (environment variables SOREX_... included), compiles the guests, opens the store for writing.
 *
 * path       of the YAML or JSON file, borrowed for the call.
 * Ownership: *out_pipeline is the caller's, to be given to sorex_pipeline_close; unchanged on failure.
 * Errors:    SOREX_INVALID   the file, with line and nearest name, or a module that does not fit its contract;
 *            SOREX_MISMATCH  the data belongs to another module, network or format; the text spells out the choices;
 *            SOREX_BUSY      another process writes there; SOREX_IO; SOREX_NOMEM. */
SOREX_API enum sorex_status sorex_pipeline_open(const char *path, struct sorex_pipeline **out_pipeline, struct sorex_error *err);

/* Ends what runs, writes what is pending, frees. NULL is ignored. Not while sorex_pipeline_run is on another thread: stop it and let
 * it return first. */
SOREX_API void sorex_pipeline_close(struct sorex_pipeline *pipeline);

/* Indexes, transforms and delivers on the calling thread (sinks and fetching have threads of their own).
 *
 * until      a height, SOREX_UNTIL_TIP or SOREX_UNTIL_STOPPED.
 * Errors:    SOREX_GUEST, SOREX_LIMIT  a guest failed: text names height, program and cause; nothing of that entry is visible;
 *            SOREX_GONE     a fork below the horizon; SOREX_STOPPED before `until`; SOREX_IO, SOREX_CORRUPT, SOREX_FATAL.
 *            Whatever it is, what was committed stays and the next run continues. */
SOREX_API enum sorex_status sorex_pipeline_run(struct sorex_pipeline *pipeline, uint32_t until, struct sorex_error *err);

/* Asks a run to end after the entry in hand. The pipeline stays stopped: open it again to go on. Thread: any. */
SOREX_API void sorex_pipeline_stop(struct sorex_pipeline *pipeline);

/* Calls a view of the indexer in a fresh instance on durable state.
 *
 * height     or SOREX_HEIGHT_LATEST.
 * Ownership: *out_data (out_len bytes) is the caller's, to be given to free(); NULL when it is empty.
 * Errors:    SOREX_GONE no such view, no indexer, height below the horizon; SOREX_GUEST, SOREX_LIMIT.
 * Thread:    any, several at once. */
SOREX_API enum sorex_status sorex_pipeline_view(struct sorex_pipeline *pipeline, const char *name, uint32_t height,
                                                const void *input, size_t input_len, void **out_data, size_t *out_len,
                                                struct sorex_error *err);

/* The report of `sorex status --json`: one JSON object, NUL-terminated, to be given to free(). Thread: any. */
SOREX_API enum sorex_status sorex_pipeline_status(struct sorex_pipeline *pipeline, char **out_json, struct sorex_error *err);

#ifdef __cplusplus
}
#endif
#endif
