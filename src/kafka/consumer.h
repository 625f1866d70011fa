/* A member of a consumer group. Partitions come and go with the group's rebalances; where each one is read from is said
 * by the caller, who knows how far its target is: nothing is read of a partition before it was placed.
 *
 *     new -> { poll -> [came or went: committed, place each partition] ... [delivered] } -> free
 *
 * Rebalances are eager: every one takes all partitions and gives others. A transaction spans all partitions of a
 * process, and what was read of any of them and is not committed is lost with the generation: a cooperative rebalance
 * would keep nothing. librdkafka's own road back to committed offsets is not used: partitions are assigned to it when
 * they are placed, with the offset, so that no message of another place can be in its queues.
 *
 * Statuses: SOREX_AGAIN    passes (kafka/client.h); also interrupted
 *           SOREX_GONE     no such topic, or the offset lies before what the broker still has
 *           SOREX_MISMATCH the offset lies behind the end: another topic of the same name
 *           SOREX_INVALID, SOREX_CORRUPT, SOREX_IO, SOREX_NOMEM  for good
 * Thread: one at a time; interrupt and membership: any. */
#ifndef SOREX_KAFKA_CONSUMER_H
#define SOREX_KAFKA_CONSUMER_H

#include "base/header.h"
#include "kafka/offset.h"
#include "kafka/options.h"

struct kafka_consumer;

struct kafka_consumer_options {
    struct kafka_options client;
    const char *const *topics; /* topic_count names; "^..." is a regular expression */
    size_t topic_count;
    const char *group;
    const char *instance; /* static membership: who restarts under this name within the session timeout keeps its
                           * partitions; NULL: none */
    bool until_end;       /* messages behind the end that a partition has when it is first placed are not given;
                           * transactions that are open before it are waited for */
};

struct kafka_record {
    struct bytes value; /* data NULL: a tombstone */
    struct bytes key;   /* data NULL: none */
    uint32_t partition; /* index */
    int64_t offset;
    int64_t time_ms; /* 0: not known */
    const struct header *headers;
    size_t header_count;
};

struct kafka_partition {
    const char *topic;
    int32_t number;
    bool placed;
    int64_t end; /* behind the last message, as of the last fetch; 0: not known */
};

struct kafka_poll {
    const struct kafka_record *records; /* in the order of each partition */
    size_t count;
    const struct kafka_partition *partitions; /* by topic and number */
    size_t partition_count;
    bool changed;   /* partitions came or went: none is placed, no records */
    bool caught_up; /* every partition was read to its end */
    bool ended;     /* until_end: and nothing more will be given */
};

/* How much one poll gives; of one record at least, whatever its size. */
struct kafka_poll_limits {
    size_t records, bytes;
    uint32_t wait_ms; /* for the first record */
};

#define KAFKA_BEGINNING (-2) /* in place of an offset: the earliest message that the broker has */
#define KAFKA_NO_OFFSET (-1001)

/* options: borrowed for the call. Subscribes; does not wait for brokers. */
enum sorex_status kafka_consumer_new(const struct kafka_consumer_options *options, struct kafka_consumer **out,
                                     struct sorex_error *err);
/* Commits what is delivered and leaves the group, if brokers answer within a second. librdkafka waits for answers that
 * are due even so, for as long as socket.timeout.ms says. Takes NULL. */
void kafka_consumer_free(struct kafka_consumer *consumer);
/* Ends a call that waits, and every later one, soon; poll then gives nothing, the others SOREX_AGAIN. */
void kafka_consumer_interrupt(struct kafka_consumer *consumer);

/* Ownership: what *out points to is borrowed until the next call of poll: bytes are not copied. */
enum sorex_status kafka_consumer_poll(struct kafka_consumer *consumer, const struct kafka_poll_limits *limits,
                                      struct kafka_poll *out, struct sorex_error *err);

/* The index of a partition, or -1: not this member's now. */
ptrdiff_t kafka_consumer_find(const struct kafka_consumer *consumer, const char *topic, int32_t number);
/* Says where reading goes on: an offset, or KAFKA_BEGINNING. What was read and not yet given is forgotten. */
void kafka_consumer_place(struct kafka_consumer *consumer, size_t partition, int64_t offset);

/* The group's committed offset, or KAFKA_NO_OFFSET. Waits for transactions that may still commit one; when that takes
 * too long, SOREX_AGAIN: a producer that died leaves its transaction open until its transaction timeout is over. */
enum sorex_status kafka_consumer_committed(struct kafka_consumer *consumer, size_t partition, int64_t *out,
                                           struct sorex_error *err);
/* The earliest offset that is there, and the one behind the last message that read_committed readers see. */
enum sorex_status kafka_consumer_bounds(struct kafka_consumer *consumer, size_t partition, int64_t *out_low,
                                        int64_t *out_high, struct sorex_error *err);
/* Commits an offset for the group, outside of any transaction, and waits for it. */
enum sorex_status kafka_consumer_commit(struct kafka_consumer *consumer, size_t partition, int64_t offset,
                                        struct sorex_error *err);
/* What lies before the offset is delivered: that is committed for the group soon, and when partitions are taken away.
 * Not for a consumer whose offsets go with a producer's transactions. */
void kafka_consumer_delivered(struct kafka_consumer *consumer, size_t partition, int64_t offset);

/* The option, borrowed; NULL: none. */
const char *kafka_consumer_instance(const struct kafka_consumer *consumer);
/* How many partitions that one's topic has, whoever has them now. */
enum sorex_status kafka_consumer_partitions(struct kafka_consumer *consumer, size_t partition, uint32_t *out,
                                            struct sorex_error *err);
/* The cluster's id, borrowed. */
enum sorex_status kafka_consumer_cluster(struct kafka_consumer *consumer, const char **out, struct sorex_error *err);

/* For kafka_producer_offsets: the membership under which these partitions were given and placed, for
 * rd_kafka_send_offsets_to_transaction. It is the one of that moment, not of now: a member that was thrown out has
 * none, and brokers let that pass unfenced; and what was read under an older one must not pass under a newer one.
 *
 * Ownership: *out is the caller's, for rd_kafka_consumer_group_metadata_destroy.
 * Errors:    SOREX_AGAIN: a partition was taken away, or not placed since it was given.
 * Thread:    any. */
struct rd_kafka_consumer_group_metadata_s;
enum sorex_status kafka_consumer_membership(struct kafka_consumer *consumer, const struct kafka_offset *offsets,
                                            size_t count, struct rd_kafka_consumer_group_metadata_s **out,
                                            struct sorex_error *err);

#endif
