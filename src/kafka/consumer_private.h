/* What consumer.c (life, poll), consumer_group.c (rebalances, placing) and consumer_offsets.c (questions to the
 * brokers) share. */
#ifndef SOREX_KAFKA_CONSUMER_PRIVATE_H
#define SOREX_KAFKA_CONSUMER_PRIVATE_H

#include "base/arena.h"
#include "kafka/client.h"
#include "kafka/consumer.h"

/* Messages are taken out of librdkafka's queue so many at a time. */
#define CONSUMER_CHUNK ((size_t)1024)
/* A question that takes longer is given up with SOREX_AGAIN. */
#define CONSUMER_QUESTION_MS 10000

/* Of a partition that is ours, beside what kafka_partition shows. */
struct consumer_place {
    int64_t next;      /* of the message that will be given; or KAFKA_BEGINNING */
    int64_t end;       /* until_end: given are messages before this; KAFKA_NO_OFFSET: not asked yet */
    int64_t delivered; /* KAFKA_NO_OFFSET: nothing of it */
    int64_t committed; /* what was last sent as committed, outside of a transaction */
    bool at_end;       /* nothing more was there when the broker was last asked */
    bool done;         /* until_end: everything before end is given */
};

struct kafka_consumer {
    struct kafka_client client;
    char group[256], instance[256];
    rd_kafka_queue_t *queue;
    bool until_end;
    struct kafka_client looker; /* until_end: sees what is sent and not committed, too */

    pthread_mutex_t lock; /* of what kafka_consumer_membership reads: held by the consumer's thread for writing */
    rd_kafka_topic_partition_list_t *list; /* sorted; owns the topics' names */
    struct kafka_partition *partitions;    /* count each, in the list's order */
    struct consumer_place *places;
    size_t count, last; /* last: of the previous message: the next one is probably there too */
    rd_kafka_consumer_group_metadata_t *membership;
    bool joined;        /* a rebalance gave us our share, if only of nothing */
    bool changed;       /* since the last poll */
    bool dirty;         /* placed since it was last said to librdkafka */
    bool out_of_memory; /* in a rebalance */
    uint64_t commit_due_ms;
    uint64_t heard_ms; /* when a broker last gave something or answered, on the clock of clock_ms() */
    rd_kafka_topic_partition_list_t *committed; /* an answer, for as long as nothing was polled; or NULL */

    rd_kafka_message_t **messages; /* [0, given) are borrowed by the last poll, [given, held) are yet to be given */
    size_t given, held, message_capacity;
    struct kafka_record *records;
    size_t record_capacity;
    struct arena headers; /* of the records */
};

/* -- consumer_group.c */

/* rd_kafka_conf_set_rebalance_cb. */
void consumer_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *opaque);
void consumer_partitions_drop(struct kafka_consumer *consumer);
/* Tells librdkafka where partitions were placed since the last call. */
enum sorex_status consumer_start(struct kafka_consumer *consumer, struct sorex_error *err);
/* Sends what is delivered and not committed, without waiting. */
void consumer_commit_send(struct kafka_consumer *consumer);

/* -- consumer.c */

void consumer_messages_drop(struct kafka_consumer *consumer);

/* -- consumer_offsets.c */

void consumer_committed_forget(struct kafka_consumer *consumer);
/* The end of a partition as the looker sees it. */
enum sorex_status consumer_end(struct kafka_consumer *consumer, size_t partition, int64_t *out,
                               struct sorex_error *err);
/* Why a fetch was out of range. Errors: SOREX_GONE, SOREX_MISMATCH, or those of kafka_consumer_bounds; never SOREX_OK.
 */
enum sorex_status consumer_out_of_range(struct kafka_consumer *consumer, size_t partition, struct sorex_error *err);

#endif
