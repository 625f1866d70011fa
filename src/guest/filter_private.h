/* What the files of contract 3 share. Included by nothing but filter*.c. */
#ifndef SOREX_GUEST_FILTER_PRIVATE_H
#define SOREX_GUEST_FILTER_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "guest/filter.h"
#include "wasm/inspect.h"
#include "wasm/wasm.h"
#include "wasm/watchdog.h"

/* A name and its NUL are read within so many bytes. */
#define FILTER_METRIC_NAME_MAX 128
/* Distinct names of one program: what a page of metrics can carry. */
#define FILTER_METRICS_MAX 256
#define FILTER_LOG_LINES_PER_SECOND 100

struct filter_metric {
    struct bytes name; /* owned */
    int64_t value;
};

/* What the guest reaches, shared by the instances of a filter. */
struct filter_host {
    pthread_mutex_t mutex;                            /* of everything below but the counters */
    struct filter_metric metrics[FILTER_METRICS_MAX]; /* sorted by name */
    size_t metrics_count;
    uint64_t log_second_ns; /* when the second that is being counted began */
    uint64_t log_lines;     /* in it */
    uint64_t log_dropped;   /* in it */
    _Atomic uint64_t imports_dropped;
    _Atomic uint64_t log_suppressed;
};

struct filter {
    char *name;
    char *what; /* "program NAME", for the watchdog */
    struct wasm_program *program;
    unsigned version;
    uint64_t memory_bytes_max, table_elements_max;
    uint64_t timeout_ms;
    enum filter_memory memory;
    bool metrics_write_only;
    struct buf init_input; /* JSON */
    const struct wasm_export *alloc, *transform;
    const struct wasm_export *output_len;      /* version 1 */
    const struct wasm_export *dealloc;         /* version 2 */
    const struct wasm_export *init, *shutdown; /* may be NULL */
    struct filter_host host;
    _Atomic uint64_t instances_made, instances_discarded;
};

struct filter_instance {
    struct filter *filter;
    struct wasm_sandbox *sandbox; /* NULL: made for the next event */
    bool used;                    /* it had an event */
    bool broken;                  /* goes after this event */
    bool by_machine;              /* what failed depends on the machine: time, stack */
    struct watchdog_call watch;   /* of the call in hand */
    const char *where;            /* the function in hand, for errors */
    struct json_parser *parser;
    struct buf output;  /* of the last event that changed */
    struct arena arena; /* of event */
    struct event event;
};

/* -- filter_load.c */

/* Everything that can be said about a module without running it; sets version and table_elements_max. */
enum sorex_status filter_module_check(struct filter *filter, struct bytes wasm, struct sorex_error *err);
/* Finds the exports, which filter_module_check has seen. */
enum sorex_status filter_exports_find(struct filter *filter, struct sorex_error *err);

/* -- filter_host.c */

/* The three imports; user_data is the struct filter_instance. */
extern const struct wasm_import filter_imports[3];

enum sorex_status filter_host_init(struct filter_host *host, struct sorex_error *err);
void filter_host_deinit(struct filter_host *host);

#endif
