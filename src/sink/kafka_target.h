/* What the files of the Kafka sink share. */
#ifndef SOREX_SINK_KAFKA_TARGET_H
#define SOREX_SINK_KAFKA_TARGET_H

#include <pthread.h>

#include "kafka/producer.h"
#include "sink/kafka.h"

/* Where the changes of a table go. */
struct kafka_table {
    struct bytes table; /* its own memory; a name may have any bytes */
    char topic[KAFKA_TOPIC_MAX + 1];
    bool ready; /* is known to exist */
};

struct kafka_target {
    struct sink sink; /* first member */
    char *pipeline, *name;
    char *topic; /* template */
    char *transactional_id, *progress_topic, *progress_key;
    char *dead_letters; /* topic of a stream's, or NULL */
    char *brokers;
    char client_name[128];
    struct kafka_property *properties; /* texts borrowed from the pipeline file's nodes */
    size_t property_count;
    const char *compression;
    enum kafka_key key;
    bool headers, tombstones, create_topics;
    bool identity_given; /* transactional_id is the user's */
    bool identity_own;   /* nobody else can have it: made up for this process */
    bool grouped;        /* of a stream: positions are a consumer group's offsets, not progress */
    bool dead_ready;     /* dead_letters is known to exist */
    uint32_t partitions, replication, transaction_timeout_ms;

    struct kafka_table **tables; /* sorted by table */
    size_t table_count, table_cap;
    struct kafka_table *last_table;
    struct json_parser *parser;
    struct buf value, route;

    pthread_mutex_t lock; /* the two below, against interrupt */
    bool interrupted;
    struct kafka_producer *producer; /* NULL: not connected; set and freed by the sink's thread only */
};

/* -- kafka_table.c */

/* Makes a topic of that name unless it is there. */
enum sorex_status kafka_topic_prepare(struct kafka_target *target, const char *topic, struct sorex_error *err);
/* False: a stream's tombstone, which names no table, where the topic is made of it. It is left out. */
bool kafka_change_has_topic(const struct kafka_target *target, const struct sink_change *item);
/* Makes ready the topics of all tables in the batch, one by one, outside of the transaction. */
enum sorex_status kafka_tables_prepare(struct kafka_target *target, const struct sink_batch *batch,
                                       struct sorex_error *err);
/* NULL: not prepared. */
struct kafka_table *kafka_table_find(struct kafka_target *target, struct bytes table);
void kafka_tables_free(struct kafka_target *target);
/* Whether a template can give topics at all: known placeholders, permitted characters. */
enum sorex_status kafka_template_check(const char *template, struct sorex_error *err);

/* -- kafka_message.c */

/* Sends the changes of the batch. */
enum sorex_status kafka_changes_send(struct kafka_target *target, const struct sink_batch *batch,
                                     struct sorex_error *err);
/* Puts the row's names in front of an error's text. */
enum sorex_status kafka_row_name(const struct sink_change *item, struct sorex_error *err);

/* -- kafka_progress.c */

/* Makes the progress topic unless it is there. */
enum sorex_status kafka_progress_prepare(struct kafka_target *target, struct sorex_error *err);
enum sorex_status kafka_progress_read(struct kafka_target *target, struct sink_cursor *out, struct sorex_error *err);
/* Sends the cursor, as part of the transaction. */
enum sorex_status kafka_progress_send(struct kafka_target *target, const struct sink_cursor *cursor,
                                      struct sorex_error *err);

/* The same of a stream's partition, whose source is not Kafka. */
enum sorex_status kafka_position_read(struct kafka_target *target, const char *partition, struct position *out,
                                      struct sorex_error *err);
enum sorex_status kafka_position_send(struct kafka_target *target, const struct sink_position *position,
                                      struct sorex_error *err);

/* -- kafka_stream.c */

/* Before the first connection: who the producer is, when its transactions have a group's offsets. */
enum sorex_status kafka_stream_identify(struct kafka_target *target, void *group, struct sorex_error *err);
/* What has to be there before the transaction. */
enum sorex_status kafka_stream_prepare(struct kafka_target *target, const struct sink_batch *batch,
                                       struct sorex_error *err);
/* Sends dead letters and positions, as part of the transaction. */
enum sorex_status kafka_stream_send(struct kafka_target *target, const struct sink_batch *batch,
                                    struct sorex_error *err);
/* sink_type.position, of a target that is connected. */
enum sorex_status kafka_stream_position(struct kafka_target *target, const char *partition, void *group,
                                        struct position *out, struct sorex_error *err);

struct kafka_options kafka_target_options(const struct kafka_target *target);

#endif
