/* Changes to Kafka topics, exactly once: messages and progress in one transaction. Bytes: docs/formats/sink-kafka.md.
 */
#ifndef SOREX_SINK_KAFKA_H
#define SOREX_SINK_KAFKA_H

#include "config/node.h"
#include "sink/sink.h"

enum kafka_key { KAFKA_KEY_SOURCE, KAFKA_KEY_ROW, KAFKA_KEY_NONE };

struct kafka_settings {
    char *brokers;
    char *topic;
    int key;         /* enum kafka_key */
    int compression; /* index in compression_words (kafka.c) */
    bool headers;
    bool tombstones;
    bool create_topics;
    uint32_t partitions;
    uint32_t replication;
    uint32_t transaction_timeout_ms;
    char *transactional_id;
    char *progress_topic;
    char *dead_letters; /* a topic, or NULL */
    const struct config_node *properties;
};

extern const struct sink_type sink_kafka;

#endif
