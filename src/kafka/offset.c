#include "kafka/offset.h"

#include <stdio.h>
#include <string.h>

void kafka_partition_name(const char *topic, int32_t number, char out[KAFKA_PARTITION_SIZE])
{
    (void)snprintf(out, KAFKA_PARTITION_SIZE, "%.*s/%d", KAFKA_TOPIC_MAX, topic, (int)number);
}

bool kafka_partition_parse(const char *name, struct kafka_partition_id *out)
{
    const char *slash = strrchr(name, '/');
    if (slash == NULL || slash == name || slash[1] == '\0' || slash - name > KAFKA_TOPIC_MAX)
        return false;
    int64_t number = 0;
    for (const char *at = slash + 1; *at != '\0'; at++) {
        if (*at < '0' || *at > '9')
            return false;
        number = number * 10 + (*at - '0');
        if (number > INT32_MAX)
            return false;
    }
    memcpy(out->topic, name, (size_t)(slash - name));
    out->topic[slash - name] = '\0';
    out->number = (int32_t)number;
    return true;
}
