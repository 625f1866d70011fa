/* A place in one partition of a stream: what was read lies before it. Opaque to all but the source that made it. */
#ifndef SOREX_BASE_POSITION_H
#define SOREX_BASE_POSITION_H

#include <stdbool.h>
#include <stdint.h>

struct position {
    uint64_t offset; /* of what comes next: bytes of a file, Kafka's offset */
    uint64_t number; /* lines of a file that were read; 0 where there are none */
    uint64_t check;  /* hash of what stands before, to know the partition again; 0 = not known */
};

static inline bool position_equal(const struct position *a, const struct position *b)
{
    return a->offset == b->offset && a->number == b->number && a->check == b->check;
}

#endif
