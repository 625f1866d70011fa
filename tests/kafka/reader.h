/* An independent reader of topics, over librdkafka and none of our code: everything that read_committed readers see. */
#ifndef SOREX_TESTS_KAFKA_READER_H
#define SOREX_TESTS_KAFKA_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader_message {
    char *key;     /* NUL-terminated; NULL: none */
    char *value;   /* NUL-terminated; NULL: a tombstone */
    char *headers; /* "name=value;" each; "" = none */
    int32_t partition;
    int64_t offset;
};

struct reader_log {
    struct reader_message *messages; /* by partition, then offset */
    size_t count;
    int32_t partitions;
};

/* Reads all partitions from their beginning to their end, which is where read_uncommitted readers see it: waits for
 * transactions that are open. Aborts the process with a text when brokers or topic cannot be had within a minute. */
void reader_read(const char *brokers, const char *topic, struct reader_log *out);
void reader_free(struct reader_log *log);

/* The offset behind the last message of a partition, committed or not. */
int64_t reader_end(const char *brokers, const char *topic, int32_t partition);

/* Makes a topic and waits until it is there. settings: "name=value" strings, ending with NULL, or NULL. */
void reader_topic_make(const char *brokers, const char *topic, int partitions, const char *const *settings);

/* Deletes the messages of partition 0 before an offset. */
void reader_topic_trim(const char *brokers, const char *topic, int64_t before);

/* Takes the right to do anything with a topic from a user ("User:name"). */
void reader_deny(const char *brokers, const char *user, const char *topic);

#endif
