/* A place in one partition of a topic. */
#ifndef SOREX_KAFKA_OFFSET_H
#define SOREX_KAFKA_OFFSET_H

#include <stdint.h>

struct kafka_offset {
    const char *topic;
    int32_t partition;
    int64_t offset; /* of the message that comes next */
};

#endif
