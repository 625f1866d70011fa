/* Event source "kafka": the partitions that a consumer group gives to this process, over kafka/consumer.h. A message's
 * value is one event; a tombstone is an empty one. Headers are not looked at.
 *
 * A position is an offset, and tells the cluster by a hash of its id: the offsets of another cluster mean nothing here,
 * not even those of a mirror. */
#include <stdlib.h>

#include "base/check.h"
#include "base/sha256.h"
#include "config/node.h"
#include "kafka/consumer.h"
#include "source/types.h"

enum from { FROM_EARLIEST, FROM_LATEST };
static const char *const from_choices[] = {"earliest", "latest", NULL};

struct kafka_settings {
    char *brokers, *group, *instance;
    int from;
    const struct config_node *topics, *properties;
};

#define AT(field) .offset = offsetof(struct kafka_settings, field)
static const struct option kafka_options[] = {
    {.name = "brokers",
     .type = OPTION_STRING,
     AT(brokers),
     .required = true,
     .text = "some of the cluster's brokers: HOST:PORT,HOST:PORT"},
    {.name = "topics",
     .type = OPTION_NODE,
     AT(topics),
     .required = true,
     .text = "a list of names; one that begins with ^ is a regular expression"},
    {.name = "group",
     .type = OPTION_STRING,
     AT(group),
     .text = "consumer group; processes of one group share the partitions; default: the pipeline's name"},
    {.name = "from",
     .type = OPTION_ENUM,
     AT(from),
     .fallback = "earliest",
     .choices = from_choices,
     .text = "where a partition begins of which neither the target nor the group has a position"},
    {.name = "instance",
     .type = OPTION_STRING,
     AT(instance),
     .text = "name of this process within the group: restarted within the session timeout it keeps its partitions"},
    {.name = "properties",
     .type = OPTION_NODE,
     AT(properties),
     .text = "librdkafka's properties of a consumer, as it documents them: TLS, SASL, session.timeout.ms, ..."},
    {.name = NULL},
};
#undef AT

struct partition_name {
    char text[KAFKA_PARTITION_SIZE];
};

struct kafka_source {
    struct event_source source;
    struct kafka_consumer *consumer;
    enum from from;
    bool ordered;
    struct partition_name *names; /* of the partitions, in the consumer's order, as of the last poll */
    struct event_partition *partitions;
    size_t count;
    struct event_record *records;
    size_t record_capacity;
    uint64_t cluster; /* position.check; 0: not asked yet */
};

static struct kafka_source *of(struct event_source *source) { return (struct kafka_source *)source; }

/* ---- life ---- */

static size_t children(const struct config_node *node)
{
    size_t count = 0;
    for (const struct config_node *at = node == NULL ? NULL : node->first; at != NULL; at = at->next)
        count++;
    return count;
}

/* *out is the caller's; the texts in it are the node's. */
static enum sorex_status topics_read(const struct config_node *node, const char ***out, size_t *out_count,
                                     struct sorex_error *err)
{
    size_t count = children(node);
    if (node->kind != CONFIG_LIST || count == 0)
        return config_error(err, node, SOREX_INVALID, "topics: a list of names belongs here");
    const char **topics = calloc(count, sizeof *topics);
    if (topics == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a source");
    const struct config_node *at = node->first;
    for (size_t i = 0; i < count; i++, at = at->next) {
        topics[i] = at->text;
        if (at->kind != CONFIG_SCALAR || *at->text == '\0') {
            free(topics);
            return config_error(err, at, SOREX_INVALID, "topics: a topic's name belongs here");
        }
    }
    *out = topics;
    *out_count = count;
    return SOREX_OK;
}

/* As above. */
static enum sorex_status properties_read(const struct config_node *node, struct kafka_property **out, size_t *out_count,
                                         struct sorex_error *err)
{
    if (node != NULL && node->kind != CONFIG_MAPPING)
        return config_error(err, node, SOREX_INVALID, "properties: a mapping of names to values belongs here");
    size_t count = children(node);
    struct kafka_property *properties = calloc(count + 1, sizeof *properties);
    if (properties == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a source");
    const struct config_node *at = node == NULL ? NULL : node->first;
    for (size_t i = 0; i < count; i++, at = at->next) {
        properties[i] = (struct kafka_property){at->key, at->text};
        struct sorex_error reason = {0};
        enum sorex_status status = at->kind == CONFIG_SCALAR
                                       ? kafka_property_check(&properties[i], &reason)
                                       : sorex_error_set(&reason, SOREX_INVALID, "%s: one value belongs here", at->key);
        if (status != SOREX_OK) {
            free(properties);
            return config_error(err, at, status, "properties: %s", reason.text);
        }
    }
    *out = properties;
    *out_count = count;
    return SOREX_OK;
}

static void kafka_close(struct event_source *source)
{
    struct kafka_source *self = of(source);
    kafka_consumer_free(self->consumer);
    free(self->names);
    free(self->partitions);
    free(self->records);
    free(self);
}

static enum sorex_status kafka_open(const void *settings, const struct event_source_context *context,
                                    struct event_source **out, struct sorex_error *err)
{
    const struct kafka_settings *given = settings;
    const char **topics = NULL;
    struct kafka_property *properties = NULL;
    struct kafka_consumer_options options = {
        .client = {.name = "source", .brokers = given->brokers},
        .group = given->group != NULL ? given->group : context->pipeline,
        .instance = given->instance,
        .until_end = context->until_end,
    };
    struct kafka_source *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a source");
    self->source.type = &event_source_kafka;
    self->from = (enum from)given->from;
    self->ordered = context->ordered;
    enum sorex_status status = topics_read(given->topics, &topics, &options.topic_count, err);
    if (status == SOREX_OK && context->ordered && (options.topic_count != 1 || topics[0][0] == '^'))
        status =
            config_error(err, given->topics, SOREX_INVALID,
                         "topics: a reducer's messages have one order: give it one topic, which has one partition");
    if (status == SOREX_OK)
        status = properties_read(given->properties, &properties, &options.client.property_count, err);
    options.topics = topics;
    options.client.properties = properties;
    if (status == SOREX_OK)
        status = kafka_consumer_new(&options, &self->consumer, err);
    free(topics);
    free(properties);
    if (status != SOREX_OK) {
        kafka_close(&self->source);
        return status;
    }
    *out = &self->source;
    return SOREX_OK;
}

/* ---- polling ---- */

static enum sorex_status partitions_take(struct kafka_source *self, const struct kafka_poll *poll,
                                         struct sorex_error *err)
{
    size_t count = poll->partition_count;
    struct partition_name *names = realloc(self->names, (count + 1) * sizeof *names);
    if (names != NULL)
        self->names = names;
    struct event_partition *partitions = realloc(self->partitions, (count + 1) * sizeof *partitions);
    if (partitions != NULL)
        self->partitions = partitions;
    if (names == NULL || partitions == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu partitions", count);
    self->count = count;
    for (size_t i = 0; i < count; i++) {
        kafka_partition_name(poll->partitions[i].topic, poll->partitions[i].number, names[i].text);
        partitions[i].name = names[i].text;
    }
    return SOREX_OK;
}

static enum sorex_status records_take(struct kafka_source *self, const struct kafka_poll *poll, struct sorex_error *err)
{
    if (poll->count > self->record_capacity) {
        struct event_record *records = realloc(self->records, poll->count * sizeof *records);
        if (records == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu messages", poll->count);
        self->records = records;
        self->record_capacity = poll->count;
    }
    for (size_t i = 0; i < poll->count; i++) {
        const struct kafka_record *from = &poll->records[i];
        self->records[i] = (struct event_record){
            .text = from->value,
            .key = from->key,
            .partition = from->partition,
            .number = (uint64_t)from->offset,
            .time_ms = (uint64_t)from->time_ms,
            .headers = from->headers,
            .header_count = from->header_count,
            .next = {.offset = (uint64_t)from->offset + 1, .check = self->cluster},
        };
    }
    return SOREX_OK;
}

static enum sorex_status kafka_poll_events(struct event_source *source, const struct event_limits *limits,
                                           struct event_batch *out, struct sorex_error *err)
{
    struct kafka_source *self = of(source);
    struct kafka_poll poll;
    *out = (struct event_batch){0};
    enum sorex_status status = kafka_consumer_poll(
        self->consumer, &(struct kafka_poll_limits){limits->records, limits->bytes, limits->wait_ms}, &poll, err);
    if (status == SOREX_BUSY) { /* waiting would not help */
        (void)sorex_error_prefix(err, "another process has the same instance");
        status = SOREX_INVALID;
        if (err != NULL)
            err->status = status;
    }
    TRY(status);
    if (poll.changed)
        TRY(partitions_take(self, &poll, err));
    TRY(records_take(self, &poll, err));
    for (size_t i = 0; i < self->count; i++) {
        self->partitions[i].placed = poll.partitions[i].placed;
        self->partitions[i].end = (uint64_t)poll.partitions[i].end;
    }
    *out = (struct event_batch){.records = self->records,
                                .count = poll.count,
                                .partitions = self->partitions,
                                .partition_count = self->count,
                                .assigned = poll.changed,
                                .caught_up = poll.caught_up,
                                .ended = poll.ended};
    return SOREX_OK;
}

/* ---- positions ---- */

/* Index of "topic/3" among those that are ours now, or -1. */
static ptrdiff_t index_of(const struct kafka_source *self, const char *partition)
{
    struct kafka_partition_id id;
    return kafka_partition_parse(partition, &id) ? kafka_consumer_find(self->consumer, id.topic, id.number) : -1;
}

static enum sorex_status cluster_ask(struct kafka_source *self, struct sorex_error *err)
{
    const char *id;
    uint8_t hash[SHA256_BYTES];
    if (self->cluster != 0)
        return SOREX_OK;
    TRY(kafka_consumer_cluster(self->consumer, &id, err));
    sha256_once(bytes_str(id), hash);
    memcpy(&self->cluster, hash, sizeof self->cluster);
    self->cluster |= 1; /* 0 means that none is known */
    return SOREX_OK;
}

/* "The end" is a place from the moment on when it was first looked for, not each time that somebody starts: so the
 * group is told. */
static enum sorex_status place_latest(struct kafka_source *self, size_t index, struct sorex_error *err)
{
    int64_t low;
    int64_t high;
    TRY(kafka_consumer_bounds(self->consumer, index, &low, &high, err));
    TRY(kafka_consumer_commit(self->consumer, index, high, err));
    kafka_consumer_place(self->consumer, index, high);
    return SOREX_OK;
}

static enum sorex_status place_group(struct kafka_source *self, size_t index, struct sorex_error *err)
{
    int64_t committed;
    TRY(kafka_consumer_committed(self->consumer, index, &committed, err));
    if (committed == KAFKA_NO_OFFSET && self->from == FROM_LATEST)
        return place_latest(self, index, err);
    kafka_consumer_place(self->consumer, index, committed == KAFKA_NO_OFFSET ? KAFKA_BEGINNING : committed);
    return SOREX_OK;
}

/* Another process of the group may have the other partitions. */
static enum sorex_status order_check(struct kafka_source *self, const char *partition, size_t index,
                                     struct sorex_error *err)
{
    uint32_t count;
    TRY(kafka_consumer_partitions(self->consumer, index, &count, err));
    if (count > 1)
        return sorex_error_set(err, SOREX_INVALID,
                               "%s: its topic has %u partitions, whose messages have no order among each other: a "
                               "reducer needs a topic with one partition: write or copy its messages to such a one",
                               partition, count);
    return SOREX_OK;
}

static enum sorex_status kafka_seek(struct event_source *source, const char *partition, const struct position *position,
                                    struct sorex_error *err)
{
    struct kafka_source *self = of(source);
    ptrdiff_t index = index_of(self, partition);
    CHECK(index >= 0); /* a partition of the last batch */
    if (self->ordered)
        TRY(order_check(self, partition, (size_t)index, err));
    TRY(cluster_ask(self, err));
    if (position == NULL)
        return place_group(self, (size_t)index, err);
    if (position->check != 0 && position->check != self->cluster)
        return sorex_error_set(err, SOREX_MISMATCH,
                               "%s: the target's position is of another Kafka cluster, whose offsets mean nothing here",
                               partition);
    if (position->offset > INT64_MAX)
        return sorex_error_set(err, SOREX_CORRUPT, "%s: the target's position is no offset", partition);
    kafka_consumer_place(self->consumer, (size_t)index, (int64_t)position->offset);
    return SOREX_OK;
}

static void kafka_delivered(struct event_source *source, const char *partition, const struct position *to)
{
    struct kafka_source *self = of(source);
    ptrdiff_t index = index_of(self, partition);
    if (index >= 0) /* else it went to somebody else, who reads the target */
        kafka_consumer_delivered(self->consumer, (size_t)index, (int64_t)to->offset);
}

static void *kafka_group(struct event_source *source) { return of(source)->consumer; }

static void kafka_interrupt(struct event_source *source) { kafka_consumer_interrupt(of(source)->consumer); }

const struct event_source_type event_source_kafka = {
    .name = "kafka",
    .summary = "messages of Kafka topics, shared among the processes of a consumer group",
    .options = kafka_options,
    .settings_size = sizeof(struct kafka_settings),
    .timed = true,
    .open = kafka_open,
    .close = kafka_close,
    .poll = kafka_poll_events,
    .seek = kafka_seek,
    .delivered = kafka_delivered,
    .group = kafka_group,
    .interrupt = kafka_interrupt,
};
