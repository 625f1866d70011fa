#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "kafka/consumer_private.h"

/* A question is asked in slices, because librdkafka's own wait cannot be interrupted; each is longer than the one
 * before, for brokers that are far away. */
#define SLICE_MS_MAX 2000

struct question {
    uint64_t deadline_ms;
    int slice_ms;
};

static struct question question_new(void)
{
    return (struct question){clock_ms() + CONSUMER_QUESTION_MS, KAFKA_SLICE_MS};
}

/* Whether to ask again: SOREX_OK. */
static enum sorex_status question_again(struct kafka_consumer *consumer, struct question *question,
                                        rd_kafka_resp_err_t code, const char *what, struct sorex_error *err)
{
    if (kafka_status(code) != SOREX_AGAIN)
        return kafka_error_set(err, code, NULL, "group %s: %s", consumer->group, what);
    (void)rd_kafka_poll(consumer->client.rk, 0);
    TRY(kafka_client_wait(&consumer->client, question->deadline_ms, err, "group %s: %s", consumer->group, what));
    question->slice_ms = question->slice_ms * 2 > SLICE_MS_MAX ? SLICE_MS_MAX : question->slice_ms * 2;
    return SOREX_OK;
}

/* As the handle's isolation level has it. */
static enum sorex_status bounds_ask(struct kafka_consumer *consumer, rd_kafka_t *rk, size_t partition, int64_t *out_low,
                                    int64_t *out_high, struct sorex_error *err)
{
    const struct kafka_partition *at = &consumer->partitions[partition];
    struct question question = question_new();
    for (;;) {
        rd_kafka_resp_err_t code =
            rd_kafka_query_watermark_offsets(rk, at->topic, at->number, out_low, out_high, question.slice_ms);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            return SOREX_OK;
        TRY(question_again(consumer, &question, code, "asking for the ends of a partition", err));
    }
}

enum sorex_status kafka_consumer_bounds(struct kafka_consumer *consumer, size_t partition, int64_t *out_low,
                                        int64_t *out_high, struct sorex_error *err)
{
    return bounds_ask(consumer, consumer->client.rk, partition, out_low, out_high, err);
}

enum sorex_status consumer_end(struct kafka_consumer *consumer, size_t partition, int64_t *out, struct sorex_error *err)
{
    int64_t low;
    return bounds_ask(consumer, consumer->looker.rk, partition, &low, out, err);
}

enum sorex_status consumer_out_of_range(struct kafka_consumer *consumer, size_t partition, struct sorex_error *err)
{
    const struct kafka_partition *at = &consumer->partitions[partition];
    struct consumer_place *place = &consumer->places[partition];
    int64_t low;
    int64_t high;
    TRY(kafka_consumer_bounds(consumer, partition, &low, &high, err));
    if (place->next == KAFKA_BEGINNING || (place->next >= low && place->next <= high)) {
        /* It moved between two questions. */
        consumer->dirty = true;
        return sorex_error_set(err, SOREX_AGAIN, "%s/%d: the beginning moved", at->topic, (int)at->number);
    }
    if (place->next > high)
        return sorex_error_set(
            err, SOREX_MISMATCH,
            "%s/%d: the position is %lld, but the topic ends at %lld: it was made anew or cut. If that is "
            "meant, begin with another group, or set the position",
            at->topic, (int)at->number, (long long)place->next, (long long)high);
    return sorex_error_set(
        err, SOREX_GONE,
        "%s/%d: messages %lld to %lld are not delivered and not there any more: the topic's retention "
        "removed them. To go on without them set the position to %lld (docs/kafka.md says how)",
        at->topic, (int)at->number, (long long)place->next, (long long)low - 1, (long long)low);
}

/* ---- committed offsets ---- */

void consumer_committed_forget(struct kafka_consumer *consumer)
{
    if (consumer->committed != NULL)
        rd_kafka_topic_partition_list_destroy(consumer->committed);
    consumer->committed = NULL;
}

static rd_kafka_resp_err_t committed_error(rd_kafka_resp_err_t code, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++)
        code = list->elems[i].err;
    return code;
}

/* Asks for all partitions at once: whoever places one places all. */
static enum sorex_status committed_ask(struct kafka_consumer *consumer, struct sorex_error *err)
{
    struct question question = question_new();
    for (;;) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_copy(consumer->list);
        rd_kafka_resp_err_t code = rd_kafka_committed(consumer->client.rk, list, question.slice_ms);
        code = committed_error(code, list);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            consumer->committed = list;
            return SOREX_OK;
        }
        rd_kafka_topic_partition_list_destroy(list);
        if (clock_ms() >= question.deadline_ms && kafka_status(code) == SOREX_AGAIN)
            return sorex_error_set(
                err, SOREX_AGAIN,
                "group %s: committed offsets: none within %d s. Either %s does not answer, or a process "
                "that died left a transaction open: it ends within its transaction timeout",
                consumer->group, CONSUMER_QUESTION_MS / 1000, consumer->client.brokers);
        TRY(question_again(consumer, &question, code, "committed offsets", err));
    }
}

enum sorex_status kafka_consumer_committed(struct kafka_consumer *consumer, size_t partition, int64_t *out,
                                           struct sorex_error *err)
{
    CHECK(partition < consumer->count);
    if (consumer->committed == NULL)
        TRY(committed_ask(consumer, err));
    const rd_kafka_topic_partition_t *found = rd_kafka_topic_partition_list_find(
        consumer->committed, consumer->partitions[partition].topic, consumer->partitions[partition].number);
    *out = found == NULL || found->offset < 0 ? KAFKA_NO_OFFSET : found->offset;
    return SOREX_OK;
}

enum sorex_status kafka_consumer_commit(struct kafka_consumer *consumer, size_t partition, int64_t offset,
                                        struct sorex_error *err)
{
    const struct kafka_partition *at = &consumer->partitions[partition];
    rd_kafka_t *rk = consumer->client.rk;
    struct question question = question_new();
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_topic_partition_list_add(list, at->topic, at->number)->offset = offset;
    enum sorex_status status = SOREX_OK;
    rd_kafka_resp_err_t code = rd_kafka_commit_queue(rk, list, queue, NULL, NULL);
    rd_kafka_event_t *event = NULL;
    while (code == RD_KAFKA_RESP_ERR_NO_ERROR && event == NULL && status == SOREX_OK) {
        event = rd_kafka_queue_poll(queue, question.slice_ms);
        (void)rd_kafka_poll(rk, 0);
        if (event == NULL)
            status =
                kafka_client_wait(&consumer->client, question.deadline_ms, err, "group %s: commit", consumer->group);
    }
    if (event != NULL)
        code = rd_kafka_event_error(event);
    if (status == SOREX_OK && code != RD_KAFKA_RESP_ERR_NO_ERROR)
        status =
            kafka_error_set(err, code, NULL, "group %s: commit of %s/%d", consumer->group, at->topic, (int)at->number);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_partition_list_destroy(list);
    if (status == SOREX_OK)
        consumer->places[partition].committed = offset;
    consumer_committed_forget(consumer);
    return status;
}

enum sorex_status kafka_consumer_partitions(struct kafka_consumer *consumer, size_t partition, uint32_t *out,
                                            struct sorex_error *err)
{
    struct question question = question_new();
    rd_kafka_t *rk = consumer->client.rk;
    const char *name = consumer->partitions[partition].topic;
    enum sorex_status status = SOREX_OK;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    *out = 0;
    if (topic == NULL)
        return kafka_error_set(err, rd_kafka_last_error(), NULL, "topic %s", name);
    while (status == SOREX_OK && *out == 0) {
        const struct rd_kafka_metadata *metadata = NULL;
        rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, topic, &metadata, question.slice_ms);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            code = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            *out = (uint32_t)metadata->topics[0].partition_cnt;
        if (metadata != NULL)
            rd_kafka_metadata_destroy(metadata);
        if (*out == 0)
            status = question_again(consumer, &question,
                                    code != RD_KAFKA_RESP_ERR_NO_ERROR ? code : RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                                    "asking for the partitions of a topic", err);
    }
    rd_kafka_topic_destroy(topic);
    return status;
}

enum sorex_status kafka_consumer_cluster(struct kafka_consumer *consumer, const char **out, struct sorex_error *err)
{
    return kafka_client_cluster(&consumer->client, clock_ms() + CONSUMER_QUESTION_MS, out, err);
}
