/* A place in one partition of a topic, and the name of a partition: "orders/3". */
#ifndef SOREX_KAFKA_OFFSET_H
#define SOREX_KAFKA_OFFSET_H

#include <stdbool.h>
#include <stdint.h>

#define KAFKA_TOPIC_MAX 249 /* bytes of a topic's name */
#define KAFKA_PARTITION_SIZE (KAFKA_TOPIC_MAX + 13)

struct kafka_offset {
    const char *topic;
    int32_t partition;
    int64_t offset; /* of the message that comes next */
};

struct kafka_partition_id {
    char topic[KAFKA_TOPIC_MAX + 1];
    int32_t number;
};

void kafka_partition_name(const char *topic, int32_t number, char out[KAFKA_PARTITION_SIZE]);
/* False: it is no such name. */
bool kafka_partition_parse(const char *name, struct kafka_partition_id *out);

#endif
