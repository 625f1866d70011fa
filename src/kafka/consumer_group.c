#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "kafka/consumer_private.h"

/* Whoever looks at the group's lag sees delivery this late. */
#define COMMIT_INTERVAL_MS 1000

/* ---- partitions ---- */

ptrdiff_t kafka_consumer_find(const struct kafka_consumer *consumer, const char *topic, int32_t number)
{
    size_t from = 0;
    size_t to = consumer->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        const struct kafka_partition *at = &consumer->partitions[middle];
        int order = strcmp(at->topic, topic);
        if (order == 0)
            order = (at->number > number) - (at->number < number);
        if (order == 0)
            return (ptrdiff_t)middle;
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return -1;
}

void consumer_partitions_drop(struct kafka_consumer *consumer)
{
    if (consumer->list != NULL)
        rd_kafka_topic_partition_list_destroy(consumer->list);
    if (consumer->membership != NULL)
        rd_kafka_consumer_group_metadata_destroy(consumer->membership);
    free(consumer->partitions);
    free(consumer->places);
    consumer->list = NULL;
    consumer->membership = NULL;
    consumer->partitions = NULL;
    consumer->places = NULL;
    consumer->count = 0;
    consumer->last = 0;
    consumer->joined = false;
    consumer->dirty = false;
}

static int list_order(const void *a, const void *b, void *opaque)
{
    (void)opaque;
    const rd_kafka_topic_partition_t *left = a;
    const rd_kafka_topic_partition_t *right = b;
    int order = strcmp(left->topic, right->topic);
    return order != 0 ? order : (left->partition > right->partition) - (left->partition < right->partition);
}

static bool partitions_take(struct kafka_consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    size_t count = (size_t)list->cnt;
    consumer->partitions = calloc(count + 1, sizeof *consumer->partitions);
    consumer->places = calloc(count + 1, sizeof *consumer->places);
    consumer->list = rd_kafka_topic_partition_list_copy(list);
    if (consumer->partitions == NULL || consumer->places == NULL || consumer->list == NULL)
        return false;
    rd_kafka_topic_partition_list_sort(consumer->list, list_order, NULL);
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_topic_partition_t *at = &consumer->list->elems[i];
        consumer->partitions[i] = (struct kafka_partition){.topic = at->topic, .number = at->partition};
        consumer->places[i] = (struct consumer_place){.next = KAFKA_BEGINNING,
                                                      .end = KAFKA_NO_OFFSET,
                                                      .delivered = KAFKA_NO_OFFSET,
                                                      .committed = KAFKA_NO_OFFSET};
    }
    consumer->count = count;
    return true;
}

/* The membership of this very assignment. A member that was thrown out meanwhile has no id any more, and has none until
 * the revocation behind this assignment is served: then nothing can be committed, and nothing needs to be. */
static void membership_take(struct kafka_consumer *consumer)
{
    rd_kafka_t *rk = consumer->client.rk;
    rd_kafka_consumer_group_metadata_t *membership = rd_kafka_consumer_group_metadata(rk);
    char *member = rd_kafka_memberid(rk);
    if (membership != NULL && (member == NULL || *member == '\0' || rd_kafka_assignment_lost(rk))) {
        rd_kafka_consumer_group_metadata_destroy(membership);
        membership = NULL;
    }
    if (member != NULL)
        rd_kafka_mem_free(rk, member);
    consumer->membership = membership;
}

/* What this member holds from now on; NULL: nothing. */
static void share_change(struct kafka_consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    (void)pthread_mutex_lock(&consumer->lock);
    consumer_partitions_drop(consumer);
    if (list != NULL) {
        membership_take(consumer);
        consumer->out_of_memory = !partitions_take(consumer, list);
        consumer->joined = true;
    }
    (void)pthread_mutex_unlock(&consumer->lock);
    consumer->changed = true;
}

void consumer_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct kafka_consumer *consumer = opaque;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        share_change(consumer, list);
        /* Nothing is fetched until somebody says from where. */
        rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);
        (void)rd_kafka_assign(rk, none);
        rd_kafka_topic_partition_list_destroy(none);
    } else {
        if (!rd_kafka_assignment_lost(rk))
            consumer_commit_send(consumer);
        share_change(consumer, NULL);
        (void)rd_kafka_assign(rk, NULL);
    }
    rd_kafka_yield(rk); /* out of the call that serves this */
}

static rd_kafka_consumer_group_metadata_t *membership_copy(const struct kafka_consumer *consumer)
{
    void *bytes = NULL;
    size_t size = 0;
    rd_kafka_consumer_group_metadata_t *copy = NULL;
    rd_kafka_error_t *error = rd_kafka_consumer_group_metadata_write(consumer->membership, &bytes, &size);
    if (error == NULL)
        error = rd_kafka_consumer_group_metadata_read(&copy, bytes, size);
    CHECK(error == NULL); /* what librdkafka wrote it reads */
    rd_kafka_mem_free(consumer->client.rk, bytes);
    return copy;
}

enum sorex_status kafka_consumer_membership(struct kafka_consumer *consumer, const struct kafka_offset *offsets,
                                            size_t count, struct rd_kafka_consumer_group_metadata_s **out,
                                            struct sorex_error *err)
{
    (void)pthread_mutex_lock(&consumer->lock);
    bool ours = consumer->membership != NULL;
    for (size_t i = 0; ours && i < count; i++) {
        ptrdiff_t index = kafka_consumer_find(consumer, offsets[i].topic, offsets[i].partition);
        ours = index >= 0 && consumer->partitions[index].placed;
    }
    *out = ours ? membership_copy(consumer) : NULL;
    (void)pthread_mutex_unlock(&consumer->lock);
    if (!ours)
        return sorex_error_set(err, SOREX_AGAIN, "group %s: partitions were given to others meanwhile",
                               consumer->group);
    return SOREX_OK;
}

/* ---- placing ---- */

void kafka_consumer_place(struct kafka_consumer *consumer, size_t partition, int64_t offset)
{
    CHECK(partition < consumer->count && (offset >= 0 || offset == KAFKA_BEGINNING));
    struct consumer_place *place = &consumer->places[partition];
    place->next = offset;
    place->delivered = KAFKA_NO_OFFSET;
    place->done = false;
    (void)pthread_mutex_lock(&consumer->lock);
    consumer->partitions[partition].placed = true;
    (void)pthread_mutex_unlock(&consumer->lock);
    consumer->dirty = true;
}

static enum sorex_status end_find(struct kafka_consumer *consumer, size_t partition, struct sorex_error *err)
{
    struct consumer_place *place = &consumer->places[partition];
    if (place->end == KAFKA_NO_OFFSET)
        TRY(consumer_end(consumer, partition, &place->end, err));
    /* Of a partition without messages, and of one that is read already, nothing will tell. */
    place->done = place->end == 0 || place->next >= place->end;
    return SOREX_OK;
}

enum sorex_status consumer_start(struct kafka_consumer *consumer, struct sorex_error *err)
{
    if (!consumer->dirty)
        return SOREX_OK;
    for (size_t i = 0; consumer->until_end && i < consumer->count; i++)
        if (consumer->partitions[i].placed)
            TRY(end_find(consumer, i, err));
    consumer_messages_drop(consumer);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)consumer->count);
    for (size_t i = 0; i < consumer->count; i++) {
        consumer->places[i].at_end = false;
        if (consumer->partitions[i].placed)
            rd_kafka_topic_partition_list_add(list, consumer->partitions[i].topic, consumer->partitions[i].number)
                ->offset = consumer->places[i].next;
    }
    rd_kafka_resp_err_t code = rd_kafka_assign(consumer->client.rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_error_set(err, code, NULL, "group %s: placing its partitions", consumer->group);
    consumer->dirty = false;
    return SOREX_OK;
}

/* ---- what is delivered ---- */

void consumer_commit_send(struct kafka_consumer *consumer)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    for (size_t i = 0; i < consumer->count; i++) {
        struct consumer_place *place = &consumer->places[i];
        if (place->delivered < 0 || place->delivered == place->committed)
            continue;
        if (list == NULL)
            list = rd_kafka_topic_partition_list_new((int)consumer->count);
        rd_kafka_topic_partition_list_add(list, consumer->partitions[i].topic, consumer->partitions[i].number)->offset =
            place->delivered;
        place->committed = place->delivered;
    }
    if (list == NULL)
        return;
    /* When it fails the next one makes up for it. */
    (void)rd_kafka_commit(consumer->client.rk, list, 1);
    rd_kafka_topic_partition_list_destroy(list);
}

void kafka_consumer_delivered(struct kafka_consumer *consumer, size_t partition, int64_t offset)
{
    CHECK(partition < consumer->count);
    consumer->places[partition].delivered = offset;
    if (clock_ms() < consumer->commit_due_ms)
        return;
    consumer_commit_send(consumer);
    consumer->commit_due_ms = clock_ms() + COMMIT_INTERVAL_MS;
}
