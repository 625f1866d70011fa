/* One thread per sink: outbox in, batches out. */
#ifndef SOREX_SINK_RUNNER_H
#define SOREX_SINK_RUNNER_H

#include "change/envelope.h"
#include "sink/breaker.h"
#include "sink/sink.h"
#include "store/store.h"

struct sink_runner;

struct sink_runner_options {
    const char *name;             /* sink name; copied */
    uint32_t batch_changes_max;   /* 0 = what the type says, else 10,000 */
    uint64_t batch_bytes_max;     /* 0 = what the type says, else 8 MiB */
    uint32_t finality;            /* deliver records of height <= source tip - finality only; 0 = at once */
    struct breaker_options breaker;
    const struct envelope *envelope; /* the form of the texts; NULL: changes as they are. Not with a type that reads images */
    uint64_t guest_inverse;       /* bit n: program n (store_program.id) makes its inverses itself */
};

enum sink_state { SINK_STARTING, SINK_RUNNING, SINK_IDLE, SINK_RETRYING, SINK_FAILED, SINK_STOPPED };
const char *sink_state_name(enum sink_state state);

struct sink_status {
    enum sink_state state;
    uint64_t sequence;            /* cursor */
    uint64_t head;                /* outbox head */
    uint32_t height;              /* height of the cursor's record, or SOREX_HEIGHT_NONE */
    uint64_t changes;             /* applied since start */
    uint64_t attempts;            /* of the batch in hand: failures in a row */
    uint64_t retry_in_ms;         /* SINK_RETRYING: until the next attempt; 0: under way */
    enum breaker_state breaker;
    char why[SOREX_ERROR_TEXT_MAX]; /* what it waits for or why it failed; "" when fine */
};

/* sink and store are borrowed. Starts the thread. With finality > 0, records are held back until sink_runner_tip says that they are
 * deep enough; an undo of a record that was never delivered cancels both (jumped over in one cursor step). */
enum sorex_status sink_runner_start(struct sink *sink, struct store *store, const struct sink_runner_options *options,
                                    struct sink_runner **out, struct sorex_error *err);
/* The newest height of the pipeline, for finality. Thread: any. */
void sink_runner_tip(struct sink_runner *runner, uint32_t height);
void sink_runner_status(struct sink_runner *runner, struct sink_status *out);
/* Blocks until everything durable (and final) now is applied, the sink failed, or timeout_ms passed; *out_drained says which. */
void sink_runner_drain(struct sink_runner *runner, uint32_t timeout_ms, bool *out_drained);
/* Stops after the batch in hand, joins the thread, frees. Does not close the sink. */
void sink_runner_stop(struct sink_runner *runner);

#endif
