/* Bare librdkafka on the same broker, as somebody would write it for speed: one topic handle, messages from an array,
 * nothing in between. */
#ifndef BENCH_KAFKA_RIVAL_H
#define BENCH_KAFKA_RIVAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct rival_message {
    struct bytes key, value;
};

/* Sends all of them to one partition of the topic and waits until they are stored.
 * transaction: 0: idempotent, without transactions; else so many messages in each. Connecting counts. Dies on trouble.
 */
void rival_send(const char *brokers, const char *topic, const struct rival_message *messages, size_t count,
                size_t transaction);

/* Topics of one partition. Making waits until it is there. */
void rival_topic_make(const char *brokers, const char *topic);
void rival_topic_delete(const char *brokers, const char *topic);

/* A read_committed reader that stands at the end of a topic's partition 0. */
struct rival_reader;
struct rival_reader *rival_reader_new(const char *brokers, const char *topic);
/* Waits for the next message. */
void rival_reader_next(struct rival_reader *reader);
void rival_reader_free(struct rival_reader *reader);

#endif
