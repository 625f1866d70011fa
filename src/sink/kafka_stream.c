/* The stream form of the Kafka sink: one transaction of changes, dead letters and positions.
 *
 * Where the source is Kafka the positions are its consumer group's offsets, sent with the transaction. What keeps two
 * processes from delivering one message twice is then the group's generation: offsets of a member whose partitions went
 * to others are refused, and with them the transaction. So each process has a transactional id of its own, and any
 * number of them share the work.
 *
 * Where it is not, positions are messages of the progress topic, and the one transactional id of the pipeline lets only
 * one process in.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/hex.h"
#include "kafka/consumer.h"
#include "sink/kafka_target.h"

#define IDENTITY_BYTES 8

/* ---- identity ---- */

/* A name of the process's own. One that comes back under its instance's name takes over what it left open, instead of
 * waiting for the transaction's timeout. */
static enum sorex_status identity_make(const struct kafka_target *target, const struct kafka_consumer *group,
                                       char **out, struct sorex_error *err)
{
    const char *instance = kafka_consumer_instance(group);
    uint8_t random[IDENTITY_BYTES];
    struct buf own = {0};
    enum sorex_status status = SOREX_OK;
    if (instance != NULL)
        status = buf_append_str(&own, instance, err);
    else if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        status = sorex_error_set(err, SOREX_IO, "no random bytes for a transactional id");
    else
        status = buf_append_hex(&own, bytes_of(random, sizeof random), err);
    if (status == SOREX_OK &&
        asprintf(out, "sorex.%s.%s.%.*s", target->pipeline, target->name, BYTES_FMT(buf_view(&own))) < 0)
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory");
    buf_deinit(&own);
    return status;
}

enum sorex_status kafka_stream_identify(struct kafka_target *target, void *group, struct sorex_error *err)
{
    if (group == NULL || target->grouped)
        return SOREX_OK;
    CHECK(target->producer == NULL);
    target->grouped = true;
    if (target->identity_given)
        return SOREX_OK;
    char *identity;
    TRY(identity_make(target, group, &identity, err));
    free(target->transactional_id);
    target->transactional_id = identity;
    target->identity_own = kafka_consumer_instance(group) == NULL;
    return SOREX_OK;
}

/* ---- positions ---- */

/* A group's offsets live in the cluster that it reads from: a transaction of another one cannot hold them. */
static enum sorex_status clusters_compare(struct kafka_target *target, struct kafka_consumer *group,
                                          struct sorex_error *err)
{
    const char *here;
    const char *there;
    TRY(kafka_producer_cluster(target->producer, &here, err));
    TRY(kafka_consumer_cluster(group, &there, err));
    if (strcmp(here, there) == 0)
        return SOREX_OK;
    return sorex_error_set(
        err, SOREX_INVALID,
        "the source's Kafka cluster (%s) is not the sink's (%s): one transaction cannot span both. Write to a "
        "topic of the source's cluster, and mirror that",
        there, here);
}

static enum sorex_status group_position(struct kafka_target *target, const char *partition,
                                        struct kafka_consumer *group, struct position *out, struct sorex_error *err)
{
    struct kafka_partition_id id;
    int64_t offset;
    TRY(clusters_compare(target, group, err));
    ptrdiff_t index = kafka_partition_parse(partition, &id) ? kafka_consumer_find(group, id.topic, id.number) : -1;
    CHECK(index >= 0); /* a partition that the source has just shown */
    TRY(kafka_consumer_committed(group, (size_t)index, &offset, err));
    if (offset == KAFKA_NO_OFFSET)
        return sorex_error_set(err, SOREX_GONE, "%s: the group has committed nothing yet", partition);
    *out = (struct position){.offset = (uint64_t)offset};
    return SOREX_OK;
}

enum sorex_status kafka_stream_position(struct kafka_target *target, const char *partition, void *group,
                                        struct position *out, struct sorex_error *err)
{
    return group != NULL ? group_position(target, partition, group, out, err)
                         : kafka_position_read(target, partition, out, err);
}

static enum sorex_status group_send(struct kafka_target *target, const struct sink_batch *batch,
                                    struct sorex_error *err)
{
    size_t count = batch->position_count;
    struct kafka_offset *offsets = calloc(count, sizeof *offsets);
    struct kafka_partition_id *ids = calloc(count, sizeof *ids);
    enum sorex_status status =
        offsets != NULL && ids != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory");
    for (size_t i = 0; i < count && status == SOREX_OK; i++) {
        CHECK(kafka_partition_parse(batch->positions[i].partition, &ids[i]));
        offsets[i] = (struct kafka_offset){ids[i].topic, ids[i].number, (int64_t)batch->positions[i].to.offset};
    }
    if (status == SOREX_OK)
        status = kafka_producer_offsets(target->producer, offsets, count, batch->group, err);
    free(offsets);
    free(ids);
    return status;
}

/* ---- dead letters ---- */

static enum sorex_status dead_send(struct kafka_target *target, const struct sink_dead *dead, struct sorex_error *err)
{
    char number[24];
    (void)snprintf(number, sizeof number, "%" PRIu64, dead->number);
    const struct header headers[] = {
        {"error", bytes_str(dead->error)}, {"partition", bytes_str(dead->partition)}, {"number", bytes_str(number)}};
    struct kafka_message message = {.topic = target->dead_letters,
                                    .partition = KAFKA_PARTITION_ANY,
                                    .key = dead->key,
                                    .route = bytes_str(dead->partition),
                                    .value = dead->event,
                                    .headers = headers,
                                    .header_count = sizeof headers / sizeof headers[0],
                                    .tag = KAFKA_TAG_NONE};
    enum sorex_status status = kafka_producer_send(target->producer, &message, err);
    if (status == SOREX_OK)
        return SOREX_OK;
    return sorex_error_prefix(err, "dead letter of %s, record %s", dead->partition, number);
}

/* ---- a batch ---- */

enum sorex_status kafka_stream_prepare(struct kafka_target *target, const struct sink_batch *batch,
                                       struct sorex_error *err)
{
    if (batch->dead_count == 0 || target->dead_letters == NULL || target->dead_ready)
        return SOREX_OK;
    TRY(kafka_topic_prepare(target, target->dead_letters, err));
    target->dead_ready = true;
    return SOREX_OK;
}

enum sorex_status kafka_stream_send(struct kafka_target *target, const struct sink_batch *batch,
                                    struct sorex_error *err)
{
    for (size_t i = 0; target->dead_letters != NULL && i < batch->dead_count; i++)
        TRY(dead_send(target, &batch->dead[i], err));
    if (batch->group != NULL)
        return group_send(target, batch, err);
    for (size_t i = 0; i < batch->position_count; i++)
        TRY(kafka_position_send(target, &batch->positions[i], err));
    return SOREX_OK;
}
