/* What a guest may touch, as function tables: the pipeline gives the store's overlay, `try` an in-memory map, views a snapshot. */
#ifndef SOREX_GUEST_HOST_H
#define SOREX_GUEST_HOST_H

#include "base/bytes.h"
#include "base/entry.h"

/* Reads keys of one program as of one height.
 * get: *out_found says whether the key is there; *out_value is borrowed until the next call on the same reader.
 *      A failure that is not "absent" stops the pipeline (it never becomes "absent"). Thread: the caller's. */
struct state_reader {
    enum sorex_status (*get)(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                             struct sorex_error *err);
    void *user_data;
};

/* Takes writes of one program. The bytes are borrowed for the call. */
struct state_writer {
    enum sorex_status (*put)(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err);
    enum sorex_status (*del)(void *user_data, struct bytes key, struct sorex_error *err);
    void *user_data;
};

/* Limits of one program; they are part of its identity. 0 means the default of base/limits.h, fuel 0 means not metered. */
struct guest_limits {
    uint64_t memory_bytes_max;
    uint64_t stack_bytes_max;
    uint64_t fuel;            /* per call; 0 = off */
    uint64_t resident_bytes;  /* memory kept resident between calls; not part of the identity */
    uint64_t watchdog_ms;     /* a call that runs longer is reported (warning, repeated); 0 = 30,000; not part of the identity */
    uint64_t view_result_bytes_max; /* 0 = 64 MiB */
};

/* What a call cost. */
struct guest_cost {
    uint64_t fuel;   /* 0 when not metered */
    uint64_t ns;     /* wall clock, for reports only */
    uint64_t reset_ns;
};

/* Asked by the watchdog while a guest runs: true = stop it now (the call ends with SOREX_STOPPED). May be NULL. */
typedef bool guest_stop_fn(void *user_data);

#endif
