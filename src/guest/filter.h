/* Contract 3: event transforms ("filters"), one event in, at most one event out. docs/abi/filter.md has the whole
 * contract.
 *
 * A filter is a module that is loaded once. Its instances keep memory and globals from event to event; one that
 * trapped, timed out or broke the contract is dropped, and a new one is made for the next event.
 *
 * Threads: a filter may be shared by any number of threads once filter_new returned. An instance belongs to one thread
 * at a time. */
#ifndef SOREX_GUEST_FILTER_H
#define SOREX_GUEST_FILTER_H

#include "change/event.h"

/* 0 in the options means these. */
#define FILTER_MEMORY_BYTES_DEFAULT ((uint64_t)16 << 20)
#define FILTER_TIMEOUT_MS_DEFAULT 50

/* Instances alive at one time, of all filters with equal limits. */
#define FILTER_INSTANCES_MAX 256

enum filter_memory {
    FILTER_MEMORY_KEPT, /* as the contract has it */
    FILTER_MEMORY_FRESH /* a fresh, initialised instance for every event */
};

struct filter_options {
    const char *name;          /* the program's, for errors and logs; copied */
    uint64_t memory_bytes_max; /* linear memory; the same again for tables; also the longest event. Up to 4 GiB */
    uint64_t timeout_ms;       /* for one event; for making an instance, for shutdown */
    enum filter_memory memory;
    bool metrics_write_only;   /* get_metric gives 0, so that nothing an event did shows in another one */
    struct bytes config;   /* JSON that init gets under "config"; data NULL = none. Borrowed for the call */
    const char *cache_dir; /* compiled code; NULL = no cache */
};

struct filter;
struct filter_instance;

/* Loads a module. In this order: it decodes; each import; the exports that its version requires, then their types; what
 * it takes from the start; it compiles; version 2: rustcdc_abi_version, on an instance that is thrown away, under the
 * limits.
 *
 * Errors: SOREX_INVALID  the module or an option, with the import's or export's name ("missing required export
 * dealloc"); SOREX_GUEST    the probe trapped, timed out or returned another version; SOREX_NOMEM, SOREX_IO,
 * SOREX_FATAL. Thread: any. */
enum sorex_status filter_new(struct bytes wasm, const struct filter_options *options, struct filter **out,
                             struct sorex_error *err);
/* No instance of it may be open. NULL is fine. */
void filter_free(struct filter *filter);

const char *filter_name(const struct filter *filter);
/* Of the contract: 1 or 2. */
unsigned filter_version(const struct filter *filter);
/* Whether the contract has this import. */
bool filter_has_import(struct bytes module, struct bytes name);

/* Opens an instance and calls its init.
 * Errors: SOREX_GUEST (start section or init trapped, timed out, returned other than 0), SOREX_FATAL, SOREX_NOMEM.
 * Thread: any; the instance is the caller's from then on. */
enum sorex_status filter_instance_open(struct filter *filter, struct filter_instance **out, struct sorex_error *err);
/* Calls its shutdown, whose failure is logged, and drops it. NULL is fine. */
void filter_instance_close(struct filter_instance *instance);

enum filter_outcome {
    FILTER_PASSED,  /* the output is the input, byte for byte */
    FILTER_CHANGED, /* another event */
    FILTER_FILTERED /* none */
};

/* Gives one event to the guest.
 *
 * event      its text is known (event_text_make); borrowed for the call.
 * out_event  FILTER_PASSED: event itself; FILTER_CHANGED: valid, its text known; until the instance's next call, and
 *            no longer than what event points to;
 *            FILTER_FILTERED: NULL.
 * Errors:    SOREX_GUEST  this event failed, by the guest's own word or by trap, timeout, too much memory, a result
 * that breaks the contract; err says which. The instance can take the next event. SOREX_NOMEM, SOREX_FATAL: the host's;
 * stop. */
enum sorex_status filter_instance_transform(struct filter_instance *instance, const struct event *event,
                                            enum filter_outcome *out_outcome, const struct event **out_event,
                                            struct sorex_error *err);

/* Whether the last failure of filter_instance_transform would be one on every machine: not so a timeout, and a stack that
 * overflowed. */
bool filter_instance_repeatable(const struct filter_instance *instance);

/* What a filter counts, over all of its instances. */
struct filter_counts {
    uint64_t instances_made;
    uint64_t instances_discarded;  /* after a trap, a timeout or a broken result */
    uint64_t imports_dropped;      /* calls of log and the metrics with a bad pointer, level or name */
    uint64_t log_lines_suppressed; /* by the rate limit */
};
/* Thread: any. */
void filter_counts_get(struct filter *filter, struct filter_counts *out);

/* Metrics that the guest recorded, sorted by name, which is valid UTF-8 without control characters. fn must not call
 * the filter. Thread: any. */
typedef void filter_metric_fn(struct bytes name, int64_t value, void *user_data);
void filter_metrics(struct filter *filter, filter_metric_fn *fn, void *user_data);

#endif
