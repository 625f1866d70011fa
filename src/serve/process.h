/* What the kernel knows about this process, as the field's dashboards expect it from every program. */
#ifndef SOREX_SERVE_PROCESS_H
#define SOREX_SERVE_PROCESS_H

#include <stdint.h>

#include "sorex/status.h"

struct process_figures {
    uint64_t cpu_ms;   /* user and system */
    uint64_t start_ms; /* since 1970 */
    uint64_t resident_bytes, virtual_bytes;
    uint64_t threads;
    uint64_t open_fds, max_fds;
};

/* Errors: SOREX_IO: there is no /proc. Thread: any. */
enum sorex_status process_figures_get(struct process_figures *out, struct sorex_error *err);

#endif
