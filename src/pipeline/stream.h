/* A stream of events through filters: lines in, lines out, in order, by any number of workers.
 *
 * What fails is decided by the policy: the stream halts before that line, or the line is left out (and kept with its error in the
 * dead-letter file), or it goes out unchanged. */
#ifndef SOREX_PIPELINE_STREAM_H
#define SOREX_PIPELINE_STREAM_H

#include <signal.h>

#include "pipeline/stages.h"

#define STREAM_INSTANCES_MAX 256

struct stream_options {
    struct stages *stages;
    size_t instances;            /* workers, up to STREAM_INSTANCES_MAX; 0 = one for each processor */
    int input, output;           /* file descriptors, borrowed */
    int dead;                    /* dead letters, JSON lines; -1 = none */
    const volatile sig_atomic_t *stop; /* set by a signal handler: what was read goes out, then the stream ends; may be NULL */
    const sigset_t *wait_mask;   /* signals blocked while input is waited for; NULL = as they are */
};

struct stream_summary {
    uint64_t in, out, filtered, failed; /* events; in is the sum of the others but for a line that halted the stream */
    uint64_t bytes_in, bytes_out;
    uint64_t work_ns; /* of all workers together */
};

/* Runs until the input ends. Blank lines are skipped. What can go out goes out before more input is waited for.
 *
 * Errors: SOREX_INVALID, SOREX_GUEST, SOREX_LIMIT  the policy is halt: "line N: ..."; everything before that line is out;
 *         SOREX_IO    input or output; SOREX_FATAL, SOREX_NOMEM. *out_summary is set in any case. */
enum sorex_status stream_run(const struct stream_options *options, struct stream_summary *out_summary, struct sorex_error *err);

#endif
