/* Failed deliveries come as events, successful ones not at all: so a flush ends with the last acknowledgement, and
 * nothing is done per message that went well. A message carries its tag, and the hash of its route, in librdkafka's
 * opaque pointer. */
#include "kafka/producer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "kafka/client.h"
#include "kafka/consumer.h"

#define INIT_MS 15000
#define FREE_MS 500
#define DROP_MS 10000
/* What is queued at most: several transactions' worth of small messages, and what we are ready to hold in memory. */
#define QUEUE_MESSAGES "500000"
#define QUEUE_KBYTES "262144"
/* Only while a transaction is being filled: its commit sends what is there at once. */
#define LINGER_MS "5"
/* Few enough to be sent in a moment, more than there are at the tip. */
#define QUEUE_FLUSHED 5000
#define ROUTED ((uint64_t)1 << 63)
#define REASON_SIZE 512

_Static_assert(sizeof(void *) == sizeof(uint64_t), "tag and hash travel in a pointer");

struct topic {
    char *name;
    rd_kafka_topic_t *handle;
};

struct kafka_producer {
    struct kafka_client client; /* first member, see kafka/client.h */
    rd_kafka_queue_t *queue;    /* the handle's own: events */
    struct topic *topics;       /* sorted by name */
    size_t topic_count, topic_cap;
    size_t last_topic;
    uint32_t timeout_ms;
    uint64_t begun_ms;
    bool open; /* a transaction is under way */
    struct {
        rd_kafka_resp_err_t code; /* NO_ERROR: none */
        uint32_t tag;
        size_t bytes;
        char where[256];
    } failure; /* of the messages of this transaction */
};

/* ---- partitions ---- */

/* Also for messages without key: librdkafka would put those of a moment into one partition ("sticky"), if that were not
 * off. */
static int32_t partition_choose(const rd_kafka_topic_t *topic, const void *key, size_t key_len, int32_t partition_count,
                                void *topic_opaque, void *message_opaque)
{
    uint64_t opaque = (uint64_t)(uintptr_t)message_opaque;
    if (key != NULL)
        return rd_kafka_msg_partitioner_murmur2(topic, key, key_len, partition_count, topic_opaque, message_opaque);
    if ((opaque & ROUTED) != 0)
        return (int32_t)((opaque & ~ROUTED) >> 32) % partition_count;
    return rd_kafka_msg_partitioner_random(topic, key, key_len, partition_count, topic_opaque, message_opaque);
}

static void *opaque_of(const struct kafka_message *message)
{
    uint64_t opaque = message->tag;
    if (message->key.data == NULL && message->route.data != NULL) {
        int32_t hash =
            rd_kafka_msg_partitioner_murmur2(NULL, message->route.data, message->route.len, INT32_MAX, NULL, NULL);
        opaque |= ROUTED | (uint64_t)(uint32_t)hash << 32;
    }
    return (void *)(uintptr_t)opaque;
}

/* ---- deliveries ---- */

/* The first failure counts; of messages that were too large together, the largest one. What is purged by an abort did
 * not fail. */
static void failure_take(struct kafka_producer *producer, const rd_kafka_message_t *message)
{
    rd_kafka_resp_err_t code = message->err;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
        code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
        return;
    bool larger = code == producer->failure.code && code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE &&
                  message->len > producer->failure.bytes;
    if (producer->failure.code != RD_KAFKA_RESP_ERR_NO_ERROR && !larger)
        return;
    producer->failure.code = code;
    producer->failure.tag = (uint32_t)(uintptr_t)message->_private;
    producer->failure.bytes = message->len;
    (void)snprintf(producer->failure.where, sizeof producer->failure.where, "a message of %zu bytes to topic %.200s",
                   message->len, rd_kafka_topic_name(message->rkt));
}

/* Serves callbacks and failed deliveries; waits for the first one. */
static void serve(struct kafka_producer *producer, int timeout_ms)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(producer->queue, timeout_ms)) != NULL) {
        const rd_kafka_message_t *message;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
            while ((message = rd_kafka_event_message_next(event)) != NULL)
                failure_take(producer, message);
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
            kafka_client_error(&producer->client, rd_kafka_event_error(event), rd_kafka_event_error_string(event));
        rd_kafka_event_destroy(event);
        timeout_ms = 0;
    }
}

uint32_t kafka_producer_failed(const struct kafka_producer *producer)
{
    return producer->failure.code == RD_KAFKA_RESP_ERR_NO_ERROR ? KAFKA_TAG_NONE : producer->failure.tag;
}

/* ---- errors ---- */

/* The coordinator ends a transaction that takes too long by raising the epoch, which looks like being fenced. A
 * producer that was fenced before its time was up was fenced by another one. */
static bool overdue(const struct kafka_producer *producer)
{
    return producer->open && clock_ms() - producer->begun_ms >= producer->timeout_ms;
}

static enum sorex_status code_error(struct kafka_producer *producer, rd_kafka_resp_err_t code, const char *reason,
                                    const char *what, struct sorex_error *err)
{
    if (producer->failure.code != RD_KAFKA_RESP_ERR_NO_ERROR && kafka_status(code) != SOREX_BUSY)
        return kafka_error_set(err, producer->failure.code, NULL, "%s", producer->failure.where);
    if (kafka_status(code) != SOREX_BUSY)
        return kafka_error_set(err, code, reason, "%s", what);
    if (overdue(producer))
        return sorex_error_set(err, SOREX_AGAIN, "%s: the transaction took longer than its timeout of %u ms", what,
                               producer->timeout_ms);
    return kafka_error_set(err, code, "another producer with the same transactional id has taken over", "%s", what);
}

/* Takes the error. */
static enum sorex_status error_take(struct kafka_producer *producer, rd_kafka_error_t *error, const char *what,
                                    struct sorex_error *err)
{
    char reason[REASON_SIZE];
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    (void)snprintf(reason, sizeof reason, "%s", rd_kafka_error_string(error));
    bool fatal = rd_kafka_error_is_fatal(error) != 0;
    rd_kafka_error_destroy(error);
    if (fatal) /* the error may only say that there was one */
        code = rd_kafka_fatal_error(producer->client.rk, reason, sizeof reason);
    serve(producer, 0);
    return code_error(producer, code, reason, what, err);
}

/* ---- life ---- */

enum sorex_status kafka_producer_new(const struct kafka_producer_options *options, struct kafka_producer **out,
                                     struct sorex_error *err)
{
    char timeout[16];
    (void)snprintf(timeout, sizeof timeout, "%u", options->transaction_timeout_ms);
    const struct kafka_property defaults[] = {{"linger.ms", LINGER_MS},
                                              {"queue.buffering.max.messages", QUEUE_MESSAGES},
                                              {"queue.buffering.max.kbytes", QUEUE_KBYTES},
                                              {0}};
    const struct kafka_property fixed[] = {{"enable.idempotence", "true"},
                                           {"transactional.id", options->transactional_id},
                                           {"transaction.timeout.ms", timeout},
                                           {"compression.type", options->compression},
                                           {"allow.auto.create.topics", "false"}, /* see kafka/topic.h */
                                           {"delivery.report.only.error", "true"},
                                           {"sticky.partitioning.linger.ms", "0"}, /* see partition_choose */
                                           {0}};
    struct kafka_producer *producer = calloc(1, sizeof *producer);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_topic_conf_t *topics = rd_kafka_topic_conf_new();
    if (producer == NULL || conf == NULL || topics == NULL) {
        free(producer);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    rd_kafka_topic_conf_set_partitioner_cb(topics, partition_choose);
    rd_kafka_conf_set_default_topic_conf(conf, topics);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR);
    producer->timeout_ms = options->transaction_timeout_ms;
    producer->failure.tag = KAFKA_TAG_NONE;
    enum sorex_status status =
        kafka_client_open(&producer->client, RD_KAFKA_PRODUCER, &options->client, defaults, fixed, conf, err);
    if (status != SOREX_OK) {
        free(producer);
        return status;
    }
    producer->queue = rd_kafka_queue_get_main(producer->client.rk);
    *out = producer;
    return SOREX_OK;
}

/* So that readers need not wait for the timeout. */
static void transaction_drop(struct kafka_producer *producer)
{
    if (!producer->open || rd_kafka_fatal_error(producer->client.rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    rd_kafka_error_t *error = rd_kafka_abort_transaction(producer->client.rk, FREE_MS);
    if (error != NULL)
        rd_kafka_error_destroy(error);
}

/* Gives up what is queued or not answered yet, so that no answer comes while librdkafka tears the handle down. That
 * first frees the text of a fatal error (rd_kafka_txns_term) and only then ends the threads of the brokers; one that
 * takes the answer "fenced" in between frees the text again and corrupts the heap. Seen in 2.0.2. A purge waits for
 * each broker's thread; what another one put back into a queue meanwhile is purged in the next round. */
static void messages_drop(struct kafka_producer *producer)
{
    uint64_t deadline = clock_ms() + DROP_MS;
    serve(producer, 0);
    if (rd_kafka_outq_len(producer->client.rk) == 0)
        return;
    atomic_store(&producer->client.quiet, true); /* of a transaction that fails because of this */
    do {
        (void)rd_kafka_purge(producer->client.rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        serve(producer, 1);
    } while (rd_kafka_outq_len(producer->client.rk) != 0 && clock_ms() < deadline);
}

void kafka_producer_free(struct kafka_producer *producer)
{
    if (producer == NULL)
        return;
    transaction_drop(producer);
    messages_drop(producer);
    for (size_t i = 0; i < producer->topic_count; i++) {
        rd_kafka_topic_destroy(producer->topics[i].handle);
        free(producer->topics[i].name);
    }
    free(producer->topics);
    rd_kafka_queue_destroy(producer->queue);
    kafka_client_close(&producer->client);
    free(producer);
}

void kafka_producer_interrupt(struct kafka_producer *producer) { kafka_client_interrupt(&producer->client); }

/* ---- transactions ---- */

/* A call of librdkafka that takes up where it was when it is made again. */
typedef rd_kafka_error_t *step_fn(struct kafka_producer *producer, const void *argument);

static enum sorex_status step_repeat(struct kafka_producer *producer, step_fn *step, const void *argument,
                                     const char *what, uint64_t deadline_ms, struct sorex_error *err)
{
    for (;;) {
        rd_kafka_error_t *error = step(producer, argument);
        if (error == NULL) {
            kafka_client_answered(&producer->client);
            return SOREX_OK;
        }
        if (rd_kafka_error_is_retriable(error) == 0 || rd_kafka_error_txn_requires_abort(error) != 0)
            return error_take(producer, error, what, err);
        rd_kafka_resp_err_t code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        /* Other errors than a slice that is over come at once. */
        serve(producer, code == RD_KAFKA_RESP_ERR__TIMED_OUT ? 0 : KAFKA_SLICE_MS);
        TRY(kafka_client_wait(&producer->client, deadline_ms, err, "%s", what));
    }
}

static rd_kafka_error_t *step_init(struct kafka_producer *producer, const void *argument)
{
    (void)argument;
    return rd_kafka_init_transactions(producer->client.rk, KAFKA_SLICE_MS);
}

enum sorex_status kafka_producer_init(struct kafka_producer *producer, struct sorex_error *err)
{
    return step_repeat(producer, step_init, NULL, "begin to write in transactions", clock_ms() + INIT_MS, err);
}

enum sorex_status kafka_producer_cluster(struct kafka_producer *producer, const char **out, struct sorex_error *err)
{
    return kafka_client_cluster(&producer->client, clock_ms() + INIT_MS, out, err);
}

enum sorex_status kafka_producer_begin(struct kafka_producer *producer, struct sorex_error *err)
{
    producer->failure.code = RD_KAFKA_RESP_ERR_NO_ERROR;
    producer->begun_ms = clock_ms();
    rd_kafka_error_t *error = rd_kafka_begin_transaction(producer->client.rk);
    if (error != NULL)
        return error_take(producer, error, "begin a transaction", err);
    producer->open = true;
    return SOREX_OK;
}

static uint64_t deadline_of(const struct kafka_producer *producer) { return producer->begun_ms + producer->timeout_ms; }

static rd_kafka_error_t *step_commit(struct kafka_producer *producer, const void *argument)
{
    (void)argument;
    return rd_kafka_commit_transaction(producer->client.rk, KAFKA_SLICE_MS);
}

/* While a flush is under way librdkafka's thread does not sleep, not even when it may send nothing before an answer
 * comes. So most of what is queued is waited for outside of it. */
static enum sorex_status queue_wait(struct kafka_producer *producer, struct sorex_error *err)
{
    while (rd_kafka_outq_len(producer->client.rk) > QUEUE_FLUSHED &&
           producer->failure.code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        serve(producer, 1);
        TRY(kafka_client_wait(&producer->client, deadline_of(producer), err, "commit a transaction"));
    }
    return SOREX_OK;
}

enum sorex_status kafka_producer_commit(struct kafka_producer *producer, struct sorex_error *err)
{
    TRY(queue_wait(producer, err));
    TRY(step_repeat(producer, step_commit, NULL, "commit a transaction", deadline_of(producer), err));
    producer->open = false;
    return SOREX_OK;
}

static rd_kafka_error_t *step_abort(struct kafka_producer *producer, const void *argument)
{
    (void)argument;
    return rd_kafka_abort_transaction(producer->client.rk, KAFKA_SLICE_MS);
}

enum sorex_status kafka_producer_abort(struct kafka_producer *producer, struct sorex_error *err)
{
    if (!producer->open)
        return SOREX_OK;
    producer->failure.code = RD_KAFKA_RESP_ERR_NO_ERROR;
    TRY(step_repeat(producer, step_abort, NULL, "abort a transaction", clock_ms() + INIT_MS, err));
    serve(producer, 0);
    producer->open = false;
    return SOREX_OK;
}

/* ---- offsets ---- */

struct offsets {
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_consumer_group_metadata_t *group;
};

static rd_kafka_error_t *step_offsets(struct kafka_producer *producer, const void *argument)
{
    const struct offsets *offsets = argument;
    return rd_kafka_send_offsets_to_transaction(producer->client.rk, offsets->list, offsets->group, KAFKA_SLICE_MS);
}

enum sorex_status kafka_producer_offsets(struct kafka_producer *producer, const struct kafka_offset *offsets,
                                         size_t count, struct kafka_consumer *consumer, struct sorex_error *err)
{
    struct offsets sent = {rd_kafka_topic_partition_list_new((int)count), NULL};
    enum sorex_status status = kafka_consumer_membership(consumer, offsets, count, &sent.group, err);
    for (size_t i = 0; status == SOREX_OK && i < count; i++)
        rd_kafka_topic_partition_list_add(sent.list, offsets[i].topic, offsets[i].partition)->offset =
            offsets[i].offset;
    if (status == SOREX_OK)
        status = step_repeat(producer, step_offsets, &sent, "put the group's offsets into a transaction",
                             deadline_of(producer), err);
    if (sent.group != NULL)
        rd_kafka_consumer_group_metadata_destroy(sent.group);
    rd_kafka_topic_partition_list_destroy(sent.list);
    return status;
}

/* ---- messages ---- */

/* The place of the topic, or where it belongs. */
static size_t topic_place(const struct kafka_producer *producer, const char *name, bool *out_found)
{
    size_t low = 0;
    size_t high = producer->topic_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(producer->topics[middle].name, name);
        *out_found = order == 0;
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *out_found = false;
    return low;
}

static enum sorex_status topic_add(struct kafka_producer *producer, size_t at, const char *name,
                                   struct sorex_error *err)
{
    if (producer->topic_count == producer->topic_cap) {
        size_t cap = producer->topic_cap == 0 ? 8 : 2 * producer->topic_cap;
        struct topic *topics = realloc(producer->topics, cap * sizeof *topics);
        if (topics == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory");
        producer->topics = topics;
        producer->topic_cap = cap;
    }
    char *copy = strdup(name);
    if (copy == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    rd_kafka_topic_t *handle = rd_kafka_topic_new(producer->client.rk, name, NULL);
    if (handle == NULL) {
        free(copy);
        return kafka_error_set(err, rd_kafka_last_error(), NULL, "topic %s", name);
    }
    (void)memmove(producer->topics + at + 1, producer->topics + at,
                  (producer->topic_count - at) * sizeof *producer->topics);
    producer->topics[at] = (struct topic){copy, handle};
    producer->topic_count++;
    return SOREX_OK;
}

static enum sorex_status topic_find(struct kafka_producer *producer, const char *name, rd_kafka_topic_t **out,
                                    struct sorex_error *err)
{
    size_t at = producer->last_topic;
    bool found = at < producer->topic_count && strcmp(producer->topics[at].name, name) == 0;
    if (!found)
        at = topic_place(producer, name, &found);
    if (!found)
        TRY(topic_add(producer, at, name, err));
    producer->last_topic = at;
    *out = producer->topics[at].handle;
    return SOREX_OK;
}

static rd_kafka_headers_t *headers_of(const struct kafka_message *message)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(message->header_count);
    if (headers == NULL)
        return NULL;
    for (size_t i = 0; i < message->header_count; i++) {
        const struct header *header = &message->headers[i];
        (void)rd_kafka_header_add(headers, header->name, -1, header->value.data, (ssize_t)header->value.len);
    }
    return headers;
}

static rd_kafka_resp_err_t produce(const struct kafka_producer *producer, rd_kafka_topic_t *topic,
                                   const struct kafka_message *message)
{
    void *opaque = opaque_of(message);
    /* librdkafka only reads them. */
    void *value = (void *)(uintptr_t)message->value.data;
    if (message->header_count == 0)
        return rd_kafka_produce(topic, message->partition, RD_KAFKA_MSG_F_COPY, value, message->value.len,
                                message->key.data, message->key.len, opaque) == 0
                   ? RD_KAFKA_RESP_ERR_NO_ERROR
                   : rd_kafka_last_error();
    rd_kafka_headers_t *headers = headers_of(message);
    if (headers == NULL)
        return RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
    rd_kafka_resp_err_t code =
        rd_kafka_producev(producer->client.rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(message->partition),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE(value, message->value.len),
                          RD_KAFKA_V_KEY(message->key.data, message->key.len), RD_KAFKA_V_OPAQUE(opaque),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers);
    return code;
}

/* Nothing more is taken since the transaction failed. Why is said by the commit, which cannot succeed any more. */
static enum sorex_status refused(struct kafka_producer *producer, rd_kafka_resp_err_t code, const char *what,
                                 struct sorex_error *err)
{
    rd_kafka_error_t *error = step_commit(producer, NULL);
    if (error != NULL)
        return error_take(producer, error, what, err);
    return code_error(producer, code, NULL, what, err);
}

enum sorex_status kafka_producer_send(struct kafka_producer *producer, const struct kafka_message *message,
                                      struct sorex_error *err)
{
    static const char what[] = "send a message";
    rd_kafka_topic_t *topic = NULL;
    TRY(topic_find(producer, message->topic, &topic, err));
    for (;;) {
        rd_kafka_resp_err_t code = produce(producer, topic, message);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            return SOREX_OK;
        serve(producer, code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? 1 : 0);
        if (code == RD_KAFKA_RESP_ERR__STATE || code == RD_KAFKA_RESP_ERR__FATAL)
            return refused(producer, code, what, err);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            failure_take(producer, &(rd_kafka_message_t){.err = code,
                                                         .rkt = topic,
                                                         .len = message->value.len + message->key.len,
                                                         ._private = opaque_of(message)});
            return code_error(producer, code, NULL, what, err);
        }
        TRY(kafka_client_wait(&producer->client, deadline_of(producer), err, "%s", what));
    }
}
