#include "kafka/topic.h"

#include <poll.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "kafka/client.h"

#define WAIT_MS 15000
/* Between two looks at a topic that is being made. */
#define LOOK_MS 10
#define READ_MS 30000
/* How far before the end the last message of a key is looked for first; then so many times further. */
#define WINDOW 256
#define WINDOW_GROWTH 32

static struct kafka_client *client_of(struct kafka_producer *producer) { return (struct kafka_client *)producer; }

/* ---- finding ---- */

/* One look. *out_partitions stays 0 when there is no topic; SOREX_AGAIN: no answer, or the topic is in the making. */
static enum sorex_status metadata_look(struct kafka_client *client, rd_kafka_topic_t *topic, uint32_t *out_partitions,
                                       struct sorex_error *err)
{
    const struct rd_kafka_metadata *metadata;
    const char *name = rd_kafka_topic_name(topic);
    rd_kafka_resp_err_t code = rd_kafka_metadata(client->rk, 0, topic, &metadata, KAFKA_SLICE_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_error_set(err, code, NULL, "look at topic %s", name);
    code = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    int count = code == RD_KAFKA_RESP_ERR_NO_ERROR ? metadata->topics[0].partition_cnt : 0;
    for (int i = 0; i < count && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        if (metadata->topics[0].partitions[i].leader < 0)
            code = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    rd_kafka_metadata_destroy(metadata);
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        return SOREX_OK;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_error_set(err, code, NULL, "look at topic %s", name);
    *out_partitions = (uint32_t)count;
    return SOREX_OK;
}

/* Looks until there is an answer; with `wanted` until there is a topic. */
static enum sorex_status find(struct kafka_client *client, const char *name, bool wanted, uint32_t *out_partitions,
                              struct sorex_error *err)
{
    uint64_t deadline = clock_ms() + WAIT_MS;
    *out_partitions = 0;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client->rk, name, NULL);
    if (topic == NULL)
        return kafka_error_set(err, rd_kafka_last_error(), NULL, "topic %s", name);
    enum sorex_status status;
    for (;;) {
        status = metadata_look(client, topic, out_partitions, err);
        if (status != SOREX_AGAIN && (status != SOREX_OK || *out_partitions > 0 || !wanted))
            break;
        if (status == SOREX_OK)
            (void)poll(NULL, 0, LOOK_MS);
        status = kafka_client_wait(client, deadline, err, "look at topic %s", name);
        if (status != SOREX_OK)
            break;
    }
    rd_kafka_topic_destroy(topic);
    return status;
}

enum sorex_status kafka_topic_find(struct kafka_producer *producer, const char *name, uint32_t *out_partitions,
                                   struct sorex_error *err)
{
    return find(client_of(producer), name, false, out_partitions, err);
}

/* ---- making ---- */

/* What an answer of the admin interface says. */
typedef enum sorex_status answer_fn(rd_kafka_event_t *event, const char *name, void *user_data,
                                    struct sorex_error *err);

static enum sorex_status made(rd_kafka_event_t *event, const char *name, void *user_data, struct sorex_error *err)
{
    (void)user_data;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && result != NULL) {
        size_t count;
        const rd_kafka_topic_result_t **topics = rd_kafka_CreateTopics_result_topics(result, &count);
        code = rd_kafka_topic_result_error(topics[0]);
        text = rd_kafka_topic_result_error_string(topics[0]);
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        return SOREX_OK;
    return kafka_error_set(err, code, text, "make topic %s", name);
}

static enum sorex_status answer_wait(struct kafka_client *client, rd_kafka_queue_t *queue, const char *name,
                                     answer_fn *take, void *user_data, struct sorex_error *err)
{
    uint64_t deadline = clock_ms() + WAIT_MS;
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(queue, KAFKA_SLICE_MS)) == NULL)
        TRY(kafka_client_wait(client, deadline, err, "ask about topic %s", name));
    enum sorex_status status = take(event, name, user_data, err);
    rd_kafka_event_destroy(event);
    return status;
}

static enum sorex_status request_fill(rd_kafka_NewTopic_t *topic, const struct kafka_topic_options *options,
                                      struct sorex_error *err)
{
    for (const struct kafka_property *setting = options->settings; setting != NULL && setting->name != NULL;
         setting++) {
        rd_kafka_resp_err_t code = rd_kafka_NewTopic_set_config(topic, setting->name, setting->value);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return kafka_error_set(err, code, NULL, "make topic %s: %s", options->name, setting->name);
    }
    return SOREX_OK;
}

enum sorex_status kafka_topic_make(struct kafka_producer *producer, const struct kafka_topic_options *options,
                                   struct sorex_error *err)
{
    struct kafka_client *client = client_of(producer);
    char text[256];
    uint32_t partitions;
    int replication = options->replication == 0 ? -1 : (int)options->replication;
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(options->name, (int)options->partitions, replication, text, sizeof text);
    if (topic == NULL)
        return sorex_error_set(err, SOREX_INVALID, "make topic %s: %s", options->name, text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
    enum sorex_status status = request_fill(topic, options, err);
    if (status == SOREX_OK) {
        rd_kafka_CreateTopics(client->rk, &topic, 1, NULL, queue);
        status = answer_wait(client, queue, options->name, made, NULL, err);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(topic);
    return status == SOREX_OK ? find(client, options->name, true, &partitions, err) : status;
}

/* ---- settings ---- */

struct asked {
    const char *setting;
    struct buf *out;
};

static enum sorex_status described(rd_kafka_event_t *event, const char *name, void *user_data, struct sorex_error *err)
{
    const struct asked *asked = user_data;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    const rd_kafka_DescribeConfigs_result_t *result = rd_kafka_event_DescribeConfigs_result(event);
    const rd_kafka_ConfigEntry_t **entries = NULL;
    size_t count = 0;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && result != NULL) {
        const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(result, &count);
        code = rd_kafka_ConfigResource_error(resources[0]);
        text = rd_kafka_ConfigResource_error_string(resources[0]);
        entries = rd_kafka_ConfigResource_configs(resources[0], &count);
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_error_set(err, code, text, "look at the settings of topic %s", name);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), asked->setting) == 0 &&
            rd_kafka_ConfigEntry_value(entries[i]) != NULL)
            return buf_append_str(asked->out, rd_kafka_ConfigEntry_value(entries[i]), err);
    return sorex_error_set(err, SOREX_INVALID, "the brokers do not tell %s of topic %s", asked->setting, name);
}

enum sorex_status kafka_topic_setting(struct kafka_producer *producer, const char *name, const char *setting,
                                      struct buf *out, struct sorex_error *err)
{
    struct kafka_client *client = client_of(producer);
    struct asked asked = {setting, out};
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    if (resource == NULL)
        return sorex_error_set(err, SOREX_INVALID, "\"%s\" is no name of a topic", name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
    rd_kafka_DescribeConfigs(client->rk, &resource, 1, NULL, queue);
    enum sorex_status status = answer_wait(client, queue, name, described, &asked, err);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
    return status;
}

/* ---- reading ---- */

struct reading {
    struct kafka_client client;
    struct kafka_client *producer; /* interrupted with it */
    rd_kafka_topic_t *topic;
    const char *name;
    uint64_t deadline_ms;
};

static enum sorex_status reading_open(struct reading *reading, const struct kafka_options *options,
                                      const char *isolation, struct sorex_error *err)
{
    const struct kafka_property fixed[] = {{"isolation.level", isolation},        {"enable.auto.commit", "false"},
                                           {"enable.partition.eof", "true"},      {"auto.offset.reset", "error"},
                                           {"allow.auto.create.topics", "false"}, {0}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (conf == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    atomic_store(&reading->client.quiet, true);
    TRY(kafka_client_open(&reading->client, RD_KAFKA_CONSUMER, options, NULL, fixed, conf, err));
    reading->topic = rd_kafka_topic_new(reading->client.rk, reading->name, NULL);
    if (reading->topic != NULL)
        return SOREX_OK;
    enum sorex_status status = kafka_error_set(err, rd_kafka_last_error(), NULL, "topic %s", reading->name);
    kafka_client_close(&reading->client);
    return status;
}

static void reading_close(struct reading *reading)
{
    rd_kafka_topic_destroy(reading->topic);
    kafka_client_close(&reading->client);
}

static enum sorex_status reading_wait(struct reading *reading, struct sorex_error *err)
{
    if (kafka_client_interrupted(reading->producer))
        kafka_client_interrupt(&reading->client);
    (void)rd_kafka_poll(reading->client.rk, 0);
    return kafka_client_wait(&reading->client, reading->deadline_ms, err,
                             "read topic %s to its end (a transaction that somebody left open is waited for)",
                             reading->name);
}

static enum sorex_status bounds_read(struct reading *reading, int64_t *out_low, int64_t *out_high,
                                     struct sorex_error *err)
{
    for (;;) {
        rd_kafka_resp_err_t code =
            rd_kafka_query_watermark_offsets(reading->client.rk, reading->name, 0, out_low, out_high, KAFKA_SLICE_MS);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            return SOREX_OK;
        if (kafka_status(code) != SOREX_AGAIN)
            return kafka_error_set(err, code, NULL, "read topic %s", reading->name);
        TRY(reading_wait(reading, err));
    }
}

struct last {
    bool found;
    struct buf value;
    bool tombstone;
};

static enum sorex_status last_take(struct last *last, const rd_kafka_message_t *message, struct bytes key,
                                   struct sorex_error *err)
{
    if (!bytes_equal(bytes_of(message->key, message->key_len), key))
        return SOREX_OK;
    last->found = true;
    last->tombstone = message->payload == NULL;
    buf_reset(&last->value);
    return buf_append(&last->value, bytes_of(message->payload, message->len), err);
}

/* Everything from one offset to another. */
static enum sorex_status range_scan(struct reading *reading, int64_t to, struct bytes key, struct last *last,
                                    struct sorex_error *err)
{
    for (;;) {
        rd_kafka_message_t *message = rd_kafka_consume(reading->topic, 0, KAFKA_SLICE_MS);
        if (message == NULL) {
            TRY(reading_wait(reading, err));
            continue;
        }
        rd_kafka_resp_err_t code = message->err;
        int64_t offset = message->offset;
        enum sorex_status status = SOREX_OK;
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            status = last_take(last, message, key, err);
        else if (code != RD_KAFKA_RESP_ERR__PARTITION_EOF && kafka_status(code) != SOREX_AGAIN)
            status = kafka_error_set(err, code, rd_kafka_message_errstr(message), "read topic %s", reading->name);
        rd_kafka_message_destroy(message);
        TRY(status);
        bool end = code == RD_KAFKA_RESP_ERR__PARTITION_EOF ? offset >= to
                                                            : code == RD_KAFKA_RESP_ERR_NO_ERROR && offset + 1 >= to;
        if (end)
            return SOREX_OK;
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            TRY(reading_wait(reading, err));
    }
}

static enum sorex_status last_search(struct reading *reading, int64_t low, int64_t high, struct bytes key,
                                     struct last *last, struct sorex_error *err)
{
    int64_t window = WINDOW;
    int64_t to = high;
    while (to > low && !last->found) {
        int64_t from = to - low > window ? to - window : low;
        if (rd_kafka_consume_start(reading->topic, 0, from) != 0)
            return kafka_error_set(err, rd_kafka_last_error(), NULL, "read topic %s", reading->name);
        enum sorex_status status = range_scan(reading, to, key, last, err);
        (void)rd_kafka_consume_stop(reading->topic, 0);
        TRY(status);
        to = from;
        window *= WINDOW_GROWTH;
    }
    return SOREX_OK;
}

/* "No such topic" or "no such offset" while reading is no answer to the question whether there is a message: the topic
 * was just made, or is being cleaned. */
static enum sorex_status undecided(enum sorex_status status, struct sorex_error *err)
{
    if (status != SOREX_GONE)
        return status;
    if (err != NULL)
        err->status = SOREX_AGAIN;
    return SOREX_AGAIN;
}

enum sorex_status kafka_topic_last(struct kafka_producer *producer, const struct kafka_options *options,
                                   const char *topic, struct bytes key, struct buf *out, struct sorex_error *err)
{
    struct reading reading = {.producer = client_of(producer), .name = topic, .deadline_ms = clock_ms() + READ_MS};
    int64_t low = 0;
    int64_t high = 0;
    TRY(reading_open(&reading, options, "read_uncommitted", err));
    enum sorex_status status = bounds_read(&reading, &low, &high, err);
    reading_close(&reading);
    TRY(undecided(status, err));
    struct last last = {0};
    reading.client = (struct kafka_client){0};
    TRY(reading_open(&reading, options, "read_committed", err));
    status = undecided(last_search(&reading, low, high, key, &last, err), err);
    reading_close(&reading);
    if (status == SOREX_OK && (!last.found || last.tombstone))
        status = sorex_error_set(err, SOREX_GONE, "topic %s has nothing under this key", topic);
    if (status == SOREX_OK)
        status = buf_append(out, buf_view(&last.value), err);
    buf_deinit(&last.value);
    return status;
}
