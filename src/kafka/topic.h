/* Topics: made when they are missing, and what was written last under a key. Both over the cluster that a producer
 * writes to, which is also what interrupts them. Statuses and thread: kafka/producer.h. */
#ifndef SOREX_KAFKA_TOPIC_H
#define SOREX_KAFKA_TOPIC_H

#include "kafka/producer.h"

struct kafka_topic_options {
    const char *name;
    uint32_t partitions;
    uint32_t replication;                  /* 0: as the broker has it */
    const struct kafka_property *settings; /* "cleanup.policy"; ends with a NULL name. NULL: none */
};

/* Whether the topic is there; brokers do not make it because we ask. *out_partitions is 0 when it is not. */
enum sorex_status kafka_topic_find(struct kafka_producer *producer, const char *name, uint32_t *out_partitions,
                                   struct sorex_error *err);

/* Makes a topic and waits until it can be written to. One that is there already, or is made by somebody else meanwhile,
 * stays as it is. */
enum sorex_status kafka_topic_make(struct kafka_producer *producer, const struct kafka_topic_options *options,
                                   struct sorex_error *err);

/* What a topic's setting is ("cleanup.policy"), appended to out. Errors: SOREX_INVALID: also when the brokers do not
 * tell us. */
enum sorex_status kafka_topic_setting(struct kafka_producer *producer, const char *name, const char *setting,
                                      struct buf *out, struct sorex_error *err);

/* Reads what read_committed readers see last under a key in a topic of one partition, up to what read_uncommitted
 * readers see now: a transaction of somebody else that is open is waited for.
 *
 * options    of the reader: those of the producer.
 * out        appended to.
 * Errors:    SOREX_GONE: there is no such message, or it is a tombstone; SOREX_AGAIN: also when the end was not reached
 * in time. */
enum sorex_status kafka_topic_last(struct kafka_producer *producer, const struct kafka_options *options,
                                   const char *topic, struct bytes key, struct buf *out, struct sorex_error *err);

#endif
