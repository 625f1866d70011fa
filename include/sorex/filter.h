/* Event transforms ("filters", docs/abi/filter.md) in your own program: one event in, at most one event out, in a
 * sandbox.
 *
 *     struct sorex_filter *filter;
 *     struct sorex_filter_instance *instance;
 *     struct sorex_filter_options options = {.name = "mask", .config_json = "{\"columns\":[\"email\"]}"};
 *     if (sorex_filter_load(wasm, wasm_len, &options, &filter, &err) != SOREX_OK ||
 *         sorex_filter_open(filter, &instance, &err) != SOREX_OK)
 *         fail(err.text);
 *     while (next_event(&event, &event_len))
 *         if (sorex_filter_transform(instance, event, event_len, &outcome, &out, &out_len, &err) != SOREX_OK)
 *             dead_letter(event, event_len, err.text);
 *         else if (outcome != SOREX_FILTER_FILTERED)
 *             deliver(out, out_len);
 *     sorex_filter_close(instance);
 *     sorex_filter_free(filter);
 *
 * Threads: a filter may be shared by any number of threads. An instance belongs to one thread at a time; it may be
 * handed to another one between calls. To use several cores open an instance for each thread: they share the compiled
 * code. */
#ifndef SOREX_FILTER_H
#define SOREX_FILTER_H

#include <stddef.h>
#include <stdint.h>

#include "sorex/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sorex_filter;          /* a module, loaded once */
struct sorex_filter_instance; /* its memory and globals, which it keeps from event to event */

/* Zero everywhere is the default. All is borrowed for the call. */
struct sorex_filter_options {
    const char *name;          /* for errors and logs; NULL: "filter" */
    uint64_t memory_bytes_max; /* linear memory, and the longest event; 0: 16 MiB; up to 4 GiB */
    uint64_t timeout_ms;       /* for one event, for init, for shutdown; 0: 50 */
    int fresh;                 /* not 0: a fresh instance, with init behind it, for every event */
    const char *config_json;   /* JSON that the module's init gets as "config"; NULL: none */
    const char *cache_dir;     /* where compiled code is kept for the next process; NULL: nowhere */
};

enum sorex_filter_outcome {
    SOREX_FILTER_PASSED,  /* the event as it came, in canonical form */
    SOREX_FILTER_CHANGED, /* another event */
    SOREX_FILTER_FILTERED /* none */
};

/* Checks and compiles a module.
 *
 * wasm       wasm_len bytes of the binary format. options: NULL for the defaults.
 * Ownership: *out_filter is the caller's, to be given to sorex_filter_free; unchanged on failure.
 * Errors:    SOREX_INVALID  the module or an option; the text names the import ("import env.abort is forbidden") or
 *            export ("missing required export dealloc"); SOREX_GUEST  rustcdc_abi_version trapped, timed out or gave
 *            another version; SOREX_NOMEM, SOREX_IO, SOREX_FATAL.
 * Thread:    any. */
SOREX_API enum sorex_status sorex_filter_load(const void *wasm, size_t wasm_len,
                                              const struct sorex_filter_options *options,
                                              struct sorex_filter **out_filter, struct sorex_error *err);

/* NULL is ignored. Every instance of it must be closed before. Thread: any. */
SOREX_API void sorex_filter_free(struct sorex_filter *filter);

/* Of the contract that the module was written for: 1 or 2. Thread: any. */
SOREX_API unsigned sorex_filter_version(const struct sorex_filter *filter);

/* Makes an instance and calls its init.
 *
 * Ownership: *out_instance is the caller's, to be given to sorex_filter_close; unchanged on failure.
 * Errors:    SOREX_GUEST  init, or the start section, trapped, timed out or returned other than 0; SOREX_NOMEM;
 *            SOREX_FATAL.
 * Thread:    any. */
SOREX_API enum sorex_status sorex_filter_open(struct sorex_filter *filter, struct sorex_filter_instance **out_instance,
                                              struct sorex_error *err);

/* Calls the instance's shutdown, whose failure is logged, and frees it. NULL is ignored. */
SOREX_API void sorex_filter_close(struct sorex_filter_instance *instance);

/* Gives one event to the guest.
 *
 * event      event_len bytes of JSON: one event (docs/formats/event.md). Borrowed for the call.
 * out_event  out_event_len bytes of JSON, canonical, not NUL-terminated; NULL and 0 when it was filtered. The
 *            instance's: valid until its next call.
 * Errors:    SOREX_INVALID  what came in is no event: the text has field or place; SOREX_GUEST  this event failed, by
 *            the guest's own word, or a trap, the timeout, too much memory, an output that breaks the contract: the
 *            text says which, and the instance was made anew where need be. After these two the instance takes the next
 *            event. SOREX_LIMIT  nested too deep. SOREX_NOMEM, SOREX_FATAL: the host's; stop. The outputs are set only
 *            on success. */
SOREX_API enum sorex_status sorex_filter_transform(struct sorex_filter_instance *instance, const void *event,
                                                   size_t event_len, enum sorex_filter_outcome *out_outcome,
                                                   const char **out_event, size_t *out_event_len,
                                                   struct sorex_error *err);

/* Calls back for every metric that the guest recorded (env.record_metric), sorted by name, which is UTF-8 and not
 * NUL-terminated. fn must not call the filter. Thread: any. */
typedef void sorex_filter_metric_fn(const char *name, size_t name_len, int64_t value, void *user_data);
SOREX_API void sorex_filter_metrics(struct sorex_filter *filter, sorex_filter_metric_fn *fn, void *user_data);

#ifdef __cplusplus
}
#endif
#endif
