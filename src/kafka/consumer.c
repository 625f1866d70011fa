#include "kafka/consumer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "kafka/consumer_private.h"

#define LEAVE_MS 1000
#define LEAVE_SLICE_MS 10
/* How long nothing may come before brokers are asked whether they are there, and before no answer counts as trouble. */
#define ASK_AFTER_MS 2000
#define SILENT_AFTER_MS 3000

/* ---- life ---- */

/* Corrupt batches are found by their checksum: TCP's alone is weak. Who ends waits for a broker that hangs no longer
 * than that. */
static const struct kafka_property defaults[] = {{"check.crcs", "true"}, {"socket.timeout.ms", "10000"}, {NULL, NULL}};

static enum sorex_status topics_subscribe(struct kafka_consumer *consumer, const struct kafka_consumer_options *options,
                                          struct sorex_error *err)
{
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new((int)options->topic_count);
    for (size_t i = 0; i < options->topic_count; i++)
        (void)rd_kafka_topic_partition_list_add(topics, options->topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(consumer->client.rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (code == RD_KAFKA_RESP_ERR__INVALID_ARG)
        return sorex_error_set(err, SOREX_INVALID, "topics: a name is empty, given twice, or no regular expression");
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? SOREX_OK : kafka_error_set(err, code, NULL, "subscribe");
}

static enum sorex_status options_check(const struct kafka_consumer_options *options, struct sorex_error *err)
{
    if (options->topic_count == 0)
        return sorex_error_set(err, SOREX_INVALID, "no topics");
    if (options->group == NULL || *options->group == '\0' ||
        strlen(options->group) >= sizeof((struct kafka_consumer *)NULL)->group)
        return sorex_error_set(err, SOREX_INVALID, "a group has a name of up to 255 bytes");
    if (options->instance != NULL &&
        (*options->instance == '\0' || strlen(options->instance) >= sizeof((struct kafka_consumer *)NULL)->instance))
        return sorex_error_set(err, SOREX_INVALID, "an instance has a name of up to 255 bytes");
    for (size_t i = 0; i < options->client.property_count; i++) {
        const struct kafka_property *property = &options->client.properties[i];
        if (strcmp(property->name, "partition.assignment.strategy") == 0 && strstr(property->value, "cooperative"))
            return sorex_error_set(err, SOREX_INVALID,
                                   "property %s: every rebalance places all partitions anew: use range or roundrobin",
                                   property->name);
        if (strcmp(property->name, "auto.offset.reset") == 0 || strcmp(property->name, "group.instance.id") == 0)
            return sorex_error_set(err, SOREX_INVALID, "the property %s cannot be set here: the option %s sets it",
                                   property->name, property->name[0] == 'a' ? "from" : "instance");
    }
    return SOREX_OK;
}

/* A commit is seen by readers a moment after its producer was told of it. What was sent when the run begins belongs to
 * it, so its end is where readers of everything see it, and open transactions are waited for. */
static enum sorex_status looker_open(struct kafka_consumer *consumer, const struct kafka_consumer_options *options,
                                     struct sorex_error *err)
{
    static const struct kafka_property fixed[] = {{"isolation.level", "read_uncommitted"}, {NULL, NULL}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (conf == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a consumer");
    atomic_store(&consumer->looker.quiet, true);
    return kafka_client_open(&consumer->looker, RD_KAFKA_CONSUMER, &options->client, defaults, fixed, conf, err);
}

static enum sorex_status consumer_open(struct kafka_consumer *consumer, const struct kafka_consumer_options *options,
                                       struct sorex_error *err)
{
    TRY(options_check(options, err));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (conf == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a consumer");
    rd_kafka_conf_set_rebalance_cb(conf, consumer_rebalance);
    /* A position before what is retained must stop us: auto.offset.reset would skip what is missing. */
    const struct kafka_property fixed[] = {
        {"group.id", options->group},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "error"},
        {"isolation.level", "read_committed"},
        {options->instance == NULL ? NULL : "group.instance.id", options->instance},
        {NULL, NULL},
    };
    TRY(kafka_client_open(&consumer->client, RD_KAFKA_CONSUMER, &options->client, defaults, fixed, conf, err));
    (void)snprintf(consumer->group, sizeof consumer->group, "%s", options->group);
    if (options->instance != NULL)
        (void)snprintf(consumer->instance, sizeof consumer->instance, "%s", options->instance);
    consumer->until_end = options->until_end;
    if (options->until_end)
        TRY(looker_open(consumer, options, err));
    consumer->queue = rd_kafka_queue_get_consumer(consumer->client.rk);
    return topics_subscribe(consumer, options, err);
}

enum sorex_status kafka_consumer_new(const struct kafka_consumer_options *options, struct kafka_consumer **out,
                                     struct sorex_error *err)
{
    struct kafka_consumer *consumer = calloc(1, sizeof *consumer);
    if (consumer == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a consumer");
    CHECK(pthread_mutex_init(&consumer->lock, NULL) == 0);
    arena_init(&consumer->headers, 0);
    consumer->heard_ms = clock_ms();
    enum sorex_status status = consumer_open(consumer, options, err);
    if (status != SOREX_OK) {
        kafka_consumer_free(consumer);
        return status;
    }
    *out = consumer;
    return SOREX_OK;
}

/* librdkafka's own close waits for brokers that do not answer, for as long as they do not. */
static void group_leave(struct kafka_consumer *consumer)
{
    rd_kafka_t *rk = consumer->client.rk;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(rk, queue);
    uint64_t deadline_ms = clock_ms() + LEAVE_MS;
    while (error == NULL && rd_kafka_consumer_closed(rk) == 0 && clock_ms() < deadline_ms) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, LEAVE_SLICE_MS);
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE) /* the last one, which commits */
            consumer_rebalance(rk, rd_kafka_event_error(event), rd_kafka_event_topic_partition_list(event), consumer);
        rd_kafka_event_destroy(event);
    }
    if (error != NULL)
        rd_kafka_error_destroy(error);
    rd_kafka_queue_destroy(queue);
}

void kafka_consumer_free(struct kafka_consumer *consumer)
{
    if (consumer == NULL)
        return;
    consumer_messages_drop(consumer);
    if (consumer->queue != NULL) {
        group_leave(consumer);
        rd_kafka_queue_destroy(consumer->queue);
    }
    consumer_partitions_drop(consumer);
    consumer_committed_forget(consumer);
    kafka_client_close(&consumer->looker);
    kafka_client_close(&consumer->client);
    (void)pthread_mutex_destroy(&consumer->lock);
    free(consumer->messages);
    free(consumer->records);
    arena_deinit(&consumer->headers);
    free(consumer);
}

const char *kafka_consumer_instance(const struct kafka_consumer *consumer)
{
    return consumer->instance[0] != '\0' ? consumer->instance : NULL;
}

void kafka_consumer_interrupt(struct kafka_consumer *consumer)
{
    kafka_client_interrupt(&consumer->client);
    rd_kafka_queue_yield(consumer->queue);
}

/* ---- messages ---- */

/* Frees those that the last poll gave. */
static void messages_release(struct kafka_consumer *consumer)
{
    for (size_t i = 0; i < consumer->given; i++)
        rd_kafka_message_destroy(consumer->messages[i]);
    consumer->held -= consumer->given;
    if (consumer->held != 0)
        memmove(consumer->messages, consumer->messages + consumer->given, consumer->held * sizeof *consumer->messages);
    consumer->given = 0;
    arena_reset(&consumer->headers);
}

void consumer_messages_drop(struct kafka_consumer *consumer)
{
    consumer->given = consumer->held;
    messages_release(consumer);
}

static enum sorex_status messages_reserve(struct kafka_consumer *consumer, size_t records, struct sorex_error *err)
{
    size_t messages = records + 2 * CONSUMER_CHUNK; /* a chunk that was not given, and the next one */
    if (records > consumer->record_capacity) {
        void *more = realloc(consumer->records, records * sizeof *consumer->records);
        if (more == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for %zu messages", records);
        consumer->records = more;
        consumer->record_capacity = records;
    }
    if (messages > consumer->message_capacity) {
        void *more = realloc(consumer->messages, messages * sizeof *consumer->messages);
        if (more == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for %zu messages", records);
        consumer->messages = more;
        consumer->message_capacity = messages;
    }
    return SOREX_OK;
}

/* Waits for one message, or whatever happens, and takes what else is there. */
static void messages_fetch(struct kafka_consumer *consumer, uint32_t wait_ms)
{
    int wait = wait_ms > INT32_MAX ? INT32_MAX : (int)wait_ms;
    rd_kafka_message_t *first = rd_kafka_consumer_poll(consumer->client.rk, wait);
    if (first == NULL)
        return;
    consumer->messages[consumer->held++] = first;
    if (consumer->changed)
        return;
    ssize_t more =
        rd_kafka_consume_batch_queue(consumer->queue, 0, consumer->messages + consumer->held, CONSUMER_CHUNK - 1);
    if (more > 0)
        consumer->held += (size_t)more;
}

/* ---- one poll ---- */

struct batch {
    const struct kafka_poll_limits *limits;
    size_t count, bytes;
    bool full;
};

static ptrdiff_t index_of(struct kafka_consumer *consumer, const rd_kafka_message_t *message)
{
    if (message->rkt == NULL)
        return -1;
    const char *topic = rd_kafka_topic_name(message->rkt);
    size_t last = consumer->last;
    if (last < consumer->count && consumer->partitions[last].number == message->partition &&
        strcmp(consumer->partitions[last].topic, topic) == 0)
        return (ptrdiff_t)last;
    ptrdiff_t found = kafka_consumer_find(consumer, topic, message->partition);
    if (found >= 0)
        consumer->last = (size_t)found;
    return found;
}

static enum sorex_status headers_take(struct kafka_consumer *consumer, const rd_kafka_message_t *message,
                                      struct kafka_record *record, struct sorex_error *err)
{
    rd_kafka_headers_t *list;
    if (rd_kafka_message_headers(message, &list) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return SOREX_OK; /* none */
    size_t count = rd_kafka_header_cnt(list);
    struct header *headers = arena_alloc(&consumer->headers, count * sizeof *headers);
    if (headers == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for %zu headers", count);
    for (size_t i = 0; i < count; i++) {
        const void *value = NULL;
        size_t len = 0;
        CHECK(rd_kafka_header_get_all(list, i, &headers[i].name, &value, &len) == RD_KAFKA_RESP_ERR_NO_ERROR);
        headers[i].value = bytes_of(value, len);
    }
    record->headers = headers;
    record->header_count = count;
    return SOREX_OK;
}

static enum sorex_status message_give(struct kafka_consumer *consumer, const rd_kafka_message_t *message,
                                      struct batch *batch, struct sorex_error *err)
{
    ptrdiff_t index = index_of(consumer, message);
    if (index < 0)
        return SOREX_OK;
    struct consumer_place *place = &consumer->places[index];
    if (place->end != KAFKA_NO_OFFSET && message->offset + 1 >= place->end)
        place->done = true;
    /* Before `next`: left over in librdkafka from another place. */
    if (message->offset < place->next || (place->end != KAFKA_NO_OFFSET && message->offset >= place->end))
        return SOREX_OK;
    rd_kafka_timestamp_type_t type;
    int64_t time_ms = rd_kafka_message_timestamp(message, &type);
    place->next = message->offset + 1;
    place->at_end = false;
    struct kafka_record *record = &consumer->records[batch->count++];
    *record = (struct kafka_record){
        .value = bytes_of(message->payload, message->len),
        .key = bytes_of(message->key, message->key_len),
        .partition = (uint32_t)index,
        .offset = message->offset,
        .time_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || time_ms < 0 ? 0 : time_ms,
    };
    batch->bytes += message->len + message->key_len;
    return headers_take(consumer, message, record, err);
}

static void end_take(struct kafka_consumer *consumer, const rd_kafka_message_t *message)
{
    ptrdiff_t index = index_of(consumer, message);
    if (index < 0)
        return;
    struct consumer_place *place = &consumer->places[index];
    place->at_end = true;
    if (place->end != KAFKA_NO_OFFSET && message->offset >= place->end)
        place->done = true;
}

/* Not a message, but what happened to a partition, a topic, or to us. */
static enum sorex_status event_take(struct kafka_consumer *consumer, const rd_kafka_message_t *message,
                                    struct sorex_error *err)
{
    char text[512];
    ptrdiff_t index;
    const char *topic = message->rkt == NULL ? "" : rd_kafka_topic_name(message->rkt);
    switch ((int)message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        end_take(consumer, message);
        return SOREX_OK;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        index = index_of(consumer, message);
        return index < 0 ? SOREX_OK : consumer_out_of_range(consumer, (size_t)index, err);
    case RD_KAFKA_RESP_ERR__FATAL:
        return kafka_error_set(err, rd_kafka_fatal_error(consumer->client.rk, text, sizeof text), text, "group %s",
                               consumer->group);
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return sorex_error_set(err, consumer->until_end ? SOREX_GONE : SOREX_AGAIN, "there is no topic %s at %s", topic,
                               consumer->client.brokers);
    default:
        break;
    }
    enum sorex_status status = kafka_error_set(err, message->err, rd_kafka_message_errstr(message), "group %s%s%s",
                                               consumer->group, topic[0] == '\0' ? "" : ", topic ", topic);
    if (status != SOREX_AGAIN)
        return status;
    /* librdkafka goes on by itself. */
    log_line(LOG_WARN, consumer->client.component, "%s", rd_kafka_message_errstr(message));
    return SOREX_OK;
}

/* Gives of what is held as much as the limits allow. What comes behind a message is looked at once that is delivered.
 */
static enum sorex_status held_give(struct kafka_consumer *consumer, struct batch *batch, struct sorex_error *err)
{
    while (consumer->given < consumer->held) {
        const rd_kafka_message_t *message = consumer->messages[consumer->given];
        size_t bytes = message->len + message->key_len;
        bool event = message->err != RD_KAFKA_RESP_ERR_NO_ERROR;
        batch->full = batch->count != 0 &&
                      (event ? message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF
                             : batch->count >= batch->limits->records || batch->bytes + bytes > batch->limits->bytes);
        if (batch->full)
            return SOREX_OK;
        consumer->given++;
        TRY(event ? event_take(consumer, message, err) : message_give(consumer, message, batch, err));
    }
    return SOREX_OK;
}

static bool ended(const struct kafka_consumer *consumer)
{
    if (!consumer->until_end || !consumer->joined)
        return false;
    for (size_t i = 0; i < consumer->count; i++)
        if (!consumer->places[i].done)
            return false;
    return true;
}

static bool caught_up(const struct kafka_consumer *consumer)
{
    for (size_t i = 0; i < consumer->count; i++)
        if (!consumer->places[i].at_end)
            return false;
    return consumer->joined;
}

static enum sorex_status collect(struct kafka_consumer *consumer, struct batch *batch, struct sorex_error *err)
{
    uint64_t deadline_ms = clock_ms() + batch->limits->wait_ms;
    for (;;) {
        TRY(held_give(consumer, batch, err));
        bool room = consumer->held + CONSUMER_CHUNK <= consumer->message_capacity;
        if (batch->full || !room || ended(consumer) || kafka_client_interrupted(&consumer->client))
            return SOREX_OK;
        uint64_t now_ms = clock_ms();
        size_t before = consumer->held;
        messages_fetch(consumer, batch->count != 0 || now_ms >= deadline_ms ? 0 : (uint32_t)(deadline_ms - now_ms));
        if (consumer->changed)
            return SOREX_OK;
        if (consumer->held == before && (batch->count != 0 || clock_ms() >= deadline_ms))
            return SOREX_OK;
    }
}

/* Nothing came: is anybody there? librdkafka says when the last connection broke, but misses it when the coordinator's
 * address goes at the same time, and a network that swallows everything breaks nothing: silence is a reason to ask. */
static enum sorex_status brokers_reach(struct kafka_consumer *consumer, struct sorex_error *err)
{
    struct kafka_client *client = &consumer->client;
    const struct rd_kafka_metadata *metadata;
    bool down = atomic_load(&client->down);
    uint64_t silence_ms = clock_ms() - consumer->heard_ms;
    if ((!down && silence_ms < ASK_AFTER_MS) || kafka_client_interrupted(client))
        return SOREX_OK;
    if (rd_kafka_metadata(client->rk, 0, NULL, &metadata, KAFKA_SLICE_MS) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_metadata_destroy(metadata);
        atomic_store(&client->down, false);
        consumer->heard_ms = clock_ms();
        return SOREX_OK;
    }
    return down || silence_ms >= SILENT_AFTER_MS ? kafka_client_wait(client, 0, err, "group %s", consumer->group)
                                                 : SOREX_OK;
}

static void ends_look(struct kafka_consumer *consumer)
{
    for (size_t i = 0; i < consumer->count; i++) {
        struct kafka_partition *at = &consumer->partitions[i];
        int64_t low;
        int64_t high;
        if (consumer->places[i].at_end && consumer->places[i].next >= 0)
            at->end = consumer->places[i].next; /* what lies between are the ends of transactions */
        else if (rd_kafka_get_watermark_offsets(consumer->client.rk, at->topic, at->number, &low, &high) == 0 &&
                 high > 0)
            at->end = high;
    }
}

enum sorex_status kafka_consumer_poll(struct kafka_consumer *consumer, const struct kafka_poll_limits *limits,
                                      struct kafka_poll *out, struct sorex_error *err)
{
    CHECK(limits->records > 0);
    struct batch batch = {.limits = limits};
    *out = (struct kafka_poll){0};
    messages_release(consumer);
    consumer_committed_forget(consumer);
    TRY(messages_reserve(consumer, limits->records, err));
    if (!kafka_client_interrupted(&consumer->client)) {
        (void)rd_kafka_poll(consumer->client.rk, 0);
        TRY(kafka_client_wait(&consumer->client, UINT64_MAX, err, "group %s", consumer->group));
        TRY(consumer_start(consumer, err));
        TRY(collect(consumer, &batch, err));
    }
    if (consumer->out_of_memory)
        return sorex_error_set(err, SOREX_NOMEM, "group %s: out of memory for its partitions", consumer->group);
    if (consumer->changed) {
        consumer_messages_drop(consumer);
        batch.count = 0;
    }
    ends_look(consumer);
    out->changed = consumer->changed;
    consumer->changed = false;
    out->records = consumer->records;
    out->count = batch.count;
    out->partitions = consumer->partitions;
    out->partition_count = consumer->count;
    out->caught_up = !out->changed && caught_up(consumer);
    out->ended = !out->changed && !batch.full && ended(consumer);
    if (out->count == 0 && !out->changed && !out->ended)
        return brokers_reach(consumer, err);
    consumer->heard_ms = clock_ms();
    return SOREX_OK;
}
