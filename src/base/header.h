/* A named value that travels beside an event, outside of it: Kafka's record headers. A name may come more than once. */
#ifndef SOREX_BASE_HEADER_H
#define SOREX_BASE_HEADER_H

#include "base/bytes.h"

struct header {
    const char *name;
    struct bytes value; /* data NULL: null */
};

#endif
