/* Workers beside each other, results in order: jobs go in one after the other, any worker takes the next one, and they come out
 * in the order in which they went in, whichever was ready first. So what comes out does not depend on the number of workers.
 *
 * One thread, the owner, submits and takes; workers are threads of the pool's own. With one worker there is no thread: the job is
 * done by pool_take on the owner's thread, which costs nothing between them. */
#ifndef SOREX_PIPELINE_POOL_H
#define SOREX_PIPELINE_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "sorex/status.h"

#define POOL_WORKERS_MAX 256

struct pool;

/* Does one job with one worker's things. What went wrong is a matter of the job's own.
 * Thread: the worker's; never two calls with the same worker at one time. */
typedef void pool_work_fn(void *worker, void *job);

/* workers    count pointers, one given to every call that the worker makes; borrowed as long as the pool.
 * Errors:    SOREX_NOMEM; SOREX_FATAL a thread cannot be started. */
enum sorex_status pool_new(pool_work_fn *work, void *const *workers, size_t count, struct pool **out, struct sorex_error *err);
/* Waits for the jobs that are being worked on; those that nobody began are dropped. NULL is fine. */
void pool_free(struct pool *pool);

/* How many jobs may be submitted and not yet taken: enough that no worker waits while the owner reads and writes. */
size_t pool_depth(const struct pool *pool);
/* Jobs submitted and not yet taken. */
size_t pool_waiting(const struct pool *pool);

/* Hands a job over; pool_waiting must be below pool_depth. The job is the pool's until pool_take gives it back. */
void pool_submit(struct pool *pool, void *job);
/* The oldest job, once it is done; pool_waiting must not be 0. Blocks as long as it is worked on. */
void *pool_take(struct pool *pool);

#endif
