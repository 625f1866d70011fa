/* A stack of its own for code that recurses deeper than the caller's thread allows: a function runs on it and returns.
 * Not a coroutine: nothing is ever suspended.
 * Thread: any, one call at a time. */
#ifndef SOREX_WASM_FIBER_H
#define SOREX_WASM_FIBER_H

#include "base/bytes.h"

struct fiber;

/* bytes: rounded up to pages; a guard page lies below. Only what is touched takes memory. Errors: SOREX_NOMEM. */
enum sorex_status fiber_open(size_t bytes, struct fiber **out, struct sorex_error *err);
void fiber_close(struct fiber *fiber); /* NULL is fine; not from inside of it */

/* Calls fn(user_data) on the fiber's stack; inside of such a call, directly. */
typedef void fiber_fn(void *user_data);
void fiber_run(struct fiber *fiber, fiber_fn *fn, void *user_data);

#endif
