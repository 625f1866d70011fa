/* Watches calls into guests: says when one runs long, and stops it when asked to and able to.
 *
 * One thread per process, started with the first watch. Without epochs (indexers by default) a guest that never
 * returns cannot be stopped: the watchdog reports it, and because nothing is committed before a guest returns, the
 * process may end at any moment. */
#ifndef SOREX_WASM_WATCHDOG_H
#define SOREX_WASM_WATCHDOG_H

#include "wasm/wasm.h"

/* Asked at least about ten times a second while a call runs; true = stop it. Must not block, nor take a lock that is held
 * around watchdog_begin or watchdog_end. Thread: the watchdog's. */
typedef bool watchdog_stop_fn(void *user_data);

/* A running call. The caller keeps it (on its stack) from watchdog_begin to watchdog_end; fields are the watchdog's
 * between. */
struct watchdog_call {
    /* set by the caller */
    struct wasm_sandbox *sandbox; /* stopped through wasm_sandbox_stop */
    const char *what;             /* "program balances at height 840243"; borrowed until watchdog_end */
    uint64_t warn_ms;             /* a warning after this long and again each time as much has passed; 0 = 30,000 */
    uint64_t stop_ms;             /* stopped after this long; 0 = never */
    watchdog_stop_fn *stop;       /* may be NULL */
    void *stop_user_data;
    /* the watchdog's */
    uint64_t started_ns;
    uint64_t warn_next_ns;
    bool stopped;   /* after watchdog_end: it was asked to stop */
    bool timed_out; /* after watchdog_end: stop_ms was the reason */
    struct watchdog_call *next;
    struct watchdog_call **link;
};

/* Begin just before the call into the guest and end just after it, on the same thread (a start section:
 * wasm_limits.start_watch). After watchdog_end returns, neither stop nor wasm_sandbox_stop is running for this call.
 * begin costs a mutex; failing to start the thread is logged once and the call runs unwatched. */
void watchdog_begin(struct watchdog_call *call);
void watchdog_end(struct watchdog_call *call);

#endif
