/* When to look at a target again that fails: a circuit breaker. A pure state machine over a clock that it is given;
 * whoever delivers asks it after each attempt. Used by the runner of a chain's sink and by the loop of a stream.
 *
 *   closed      the target works; after each of the first failures in a row the wait grows: base, twice that, ... up to
 * its maximum open        `failures` in a row: the target is left alone for a while (cooling), which grows with each
 * opening, up to its maximum half open   that is over: one attempt, which closes it or opens it again
 *
 * Every wait is drawn between half of it and all of it, so that those who failed together do not come back together.
 * Thread: one at a time. */
#ifndef SOREX_SINK_BREAKER_H
#define SOREX_SINK_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct breaker_options {
    uint32_t retry_base_ms,
        retry_max_ms;  /* waits while it is closed: the first one, the longest one; 0 = 100 and 30,000 */
    uint32_t failures; /* in a row that open it; 0: it never opens */
    uint32_t open_ms;  /* the first wait while it is open; the longest one is retry_max_ms, or this if it is longer */
};

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
const char *breaker_state_name(enum breaker_state state); /* "closed", "open", "half-open" */

struct breaker {
    struct breaker_options options;
    uint32_t failures; /* in a row */
    uint32_t openings; /* since it was closed last */
    uint64_t until_ms; /* no attempt before; of the caller's clock */
    uint64_t seed;     /* of the jitter */
};

/* seed: any, not the same in two processes. */
void breaker_init(struct breaker *breaker, const struct breaker_options *options, uint64_t seed);
/* The target did what it was asked to. */
void breaker_succeeded(struct breaker *breaker);
/* It did not, and may another time. Returns the milliseconds until the next attempt. */
uint64_t breaker_failed(struct breaker *breaker, uint64_t now_ms);

/* For those who look on. */
enum breaker_state breaker_state_at(const struct breaker *breaker, uint64_t now_ms);
/* Until the next attempt; 0: it may be made. */
uint64_t breaker_wait_ms(const struct breaker *breaker, uint64_t now_ms);

#endif
