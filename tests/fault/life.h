/* Lives of the engine's parts for the allocation walk: each makes what it needs, uses it as the program does, and takes
 * it away. */
#ifndef SOREX_TESTS_FAULT_LIFE_H
#define SOREX_TESTS_FAULT_LIFE_H

#include "base/sha256.h"

struct life {
    const char *name;
    /* Outside of the walk: NULL, or what is undone or made before each life. */
    void (*prepare)(void);
    /* out_result is the same for every undisturbed life. */
    enum sorex_status (*live)(uint8_t out_result[SHA256_BYTES], struct sorex_error *err);
    unsigned sample; /* allocations that fail in `make check`; 0: all */
};

extern const struct life lives[];
extern const size_t lives_count;

/* A directory to live in; false when a life's server or data cannot be had. */
void lives_start(void);
void lives_end(void);
/* False: this one cannot be lived here (no PostgreSQL); said on the terminal. */
bool life_possible(const struct life *life);

#endif
