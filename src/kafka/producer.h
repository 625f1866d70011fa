/* A transactional producer: what is sent between begin and commit is seen by read_committed readers all at once or
 * never, and so are the offsets of a consumer group that are sent with it.
 *
 *     new -> init -> { begin -> send ... -> [offsets] -> commit } ... -> free
 *
 * After a failure of begin, send, offsets or commit the transaction is lost or, after commit, its outcome unknown. Free
 * the producer then, make and init a new one with the same id, and read from the cluster what had been committed: an
 * abort would leave librdkafka 2.0 with a gap in its sequence numbers, which fails the next transaction. Abort is for
 * what went well so far.
 *
 * Statuses: SOREX_AGAIN  passes (kafka/client.h); also when a transaction took longer than its timeout
 *           SOREX_BUSY   fenced: another producer with the same transactional id has taken over
 *           SOREX_GONE   a topic that is sent to does not exist
 *           SOREX_LIMIT  a message is larger than client, topic or broker take
 *           SOREX_INVALID, SOREX_IO  for good
 * Thread: one at a time; interrupt: any. */
#ifndef SOREX_KAFKA_PRODUCER_H
#define SOREX_KAFKA_PRODUCER_H

#include "base/header.h"
#include "kafka/offset.h"
#include "kafka/options.h"

struct kafka_producer;
struct kafka_consumer; /* kafka/consumer.h */

struct kafka_producer_options {
    struct kafka_options client;
    const char *transactional_id;
    uint32_t transaction_timeout_ms;
    const char *compression; /* "none", "gzip", "snappy", "lz4", "zstd" */
};

#define KAFKA_PARTITION_ANY (-1) /* the partition is decided by route or key */
#define KAFKA_TAG_NONE UINT32_MAX

struct kafka_message {
    const char *topic;
    int32_t partition;  /* or KAFKA_PARTITION_ANY */
    struct bytes key;   /* data NULL: no key */
    struct bytes route; /* without a key: what decides the partition; data NULL: any */
    struct bytes value; /* data NULL: a tombstone */
    const struct header *headers;
    size_t header_count;
    uint32_t tag; /* says which message failed; KAFKA_TAG_NONE: none of the caller's */
};

/* options: borrowed for the call. Does not connect. */
enum sorex_status kafka_producer_new(const struct kafka_producer_options *options, struct kafka_producer **out,
                                     struct sorex_error *err);
/* Takes NULL. A transaction that is open is aborted, if that takes no more than a moment. */
void kafka_producer_free(struct kafka_producer *producer);
void kafka_producer_interrupt(struct kafka_producer *producer);

/* Fences older producers of the same transactional id, and waits until what they left is committed or aborted. Once. */
enum sorex_status kafka_producer_init(struct kafka_producer *producer, struct sorex_error *err);

/* The id of the cluster that it writes to, borrowed. */
enum sorex_status kafka_producer_cluster(struct kafka_producer *producer, const char **out, struct sorex_error *err);

enum sorex_status kafka_producer_begin(struct kafka_producer *producer, struct sorex_error *err);
/* Queues a message; waits while the queue is full. Everything is copied. With KAFKA_PARTITION_ANY the key's murmur2
 * hash decides the partition, as in Java clients. */
enum sorex_status kafka_producer_send(struct kafka_producer *producer, const struct kafka_message *message,
                                      struct sorex_error *err);
/* Puts offsets of the consumer's group into the transaction. */
enum sorex_status kafka_producer_offsets(struct kafka_producer *producer, const struct kafka_offset *offsets,
                                         size_t count, struct kafka_consumer *consumer, struct sorex_error *err);
/* Waits until everything is stored and the transaction is committed. An error before that: not committed. SOREX_AGAIN:
 * unknown. */
enum sorex_status kafka_producer_commit(struct kafka_producer *producer, struct sorex_error *err);
/* Gives up what was sent. SOREX_OK: the next transaction may begin; else free the producer. */
enum sorex_status kafka_producer_abort(struct kafka_producer *producer, struct sorex_error *err);

/* The tag of the message that made send or commit fail, or KAFKA_TAG_NONE. */
uint32_t kafka_producer_failed(const struct kafka_producer *producer);

#endif
