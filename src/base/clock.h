/* Time for adapters: progress, back-off, watchdogs. Nothing that reaches a guest, a commitment or the store reads it. */
#ifndef SOREX_BASE_CLOCK_H
#define SOREX_BASE_CLOCK_H

#include <stdint.h>

/* Monotonic, nanoseconds and milliseconds since some start. */
uint64_t clock_ns(void);
uint64_t clock_ms(void);

/* Virtual time, for simulation: the clock stands at this many milliseconds and moves by clock_pass only. 0: real time again.
 * Process-wide; nothing else may read the clock meanwhile. */
void clock_virtual(uint64_t now_ms);
/* Moves virtual time up to then; does nothing in real time. */
void clock_pass(uint64_t until_ms);

/* Milliseconds to wait before attempt n (0-based): base * 2^n up to max, then between half of it and all of it.
 * seed is the caller's state, any start value; jitter comes from it. */
uint64_t backoff_ms(uint32_t attempt, uint64_t base_ms, uint64_t max_ms, uint64_t *seed);

#endif
