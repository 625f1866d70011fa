#include "kafka/reader.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_MS 60000

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "reader: %s: %s\n", what, why);
    abort();
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK)
        die(name, text);
}

static rd_kafka_t *client_new(const char *brokers, const char *isolation)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", brokers);
    set(conf, "group.id", "reader");
    set(conf, "isolation.level", isolation);
    set(conf, "enable.auto.commit", "false");
    set(conf, "enable.partition.eof", "true");
    set(conf, "auto.offset.reset", "earliest");
    set(conf, "log_level", "0");
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (rk == NULL)
        die("rd_kafka_new", text);
    return rk;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int32_t partitions_of(rd_kafka_t *rk, const char *topic)
{
    uint64_t deadline = now_ms() + WAIT_MS;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    int32_t count = 0;
    while (count == 0 && now_ms() < deadline) {
        const struct rd_kafka_metadata *metadata;
        if (rd_kafka_metadata(rk, 0, handle, &metadata, 1000) != RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        if (metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
            count = metadata->topics[0].partition_cnt;
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_topic_destroy(handle);
    if (count == 0)
        die(topic, "no such topic, or no broker");
    return count;
}

static int64_t end_of(rd_kafka_t *rk, const char *topic, int32_t partition)
{
    int64_t low;
    int64_t high = 0;
    uint64_t deadline = now_ms() + WAIT_MS;
    while (rd_kafka_query_watermark_offsets(rk, topic, partition, &low, &high, 5000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        if (now_ms() > deadline)
            die(topic, "no watermarks");
    return high;
}

int64_t reader_end(const char *brokers, const char *topic, int32_t partition)
{
    rd_kafka_t *rk = client_new(brokers, "read_uncommitted");
    int64_t end = end_of(rk, topic, partition);
    rd_kafka_destroy(rk);
    return end;
}

static char *text_copy(const void *data, size_t len)
{
    if (data == NULL)
        return NULL;
    char *text = malloc(len + 1);
    if (text == NULL)
        die("malloc", "out of memory");
    (void)memcpy(text, data, len);
    text[len] = '\0';
    return text;
}

static char *headers_copy(const rd_kafka_message_t *message)
{
    char text[4096] = "";
    size_t len = 0;
    rd_kafka_headers_t *headers;
    const char *name;
    const void *value;
    size_t size;
    if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
        for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s=%.*s;", name, (int)size, (const char *)value);
    return text_copy(text, strlen(text));
}

static void message_add(struct reader_log *log, size_t *cap, const rd_kafka_message_t *message)
{
    if (log->count == *cap) {
        *cap = *cap == 0 ? 256 : 2 * *cap;
        log->messages = realloc(log->messages, *cap * sizeof *log->messages);
        if (log->messages == NULL)
            die("realloc", "out of memory");
    }
    log->messages[log->count++] = (struct reader_message){.key = text_copy(message->key, message->key_len),
                                                          .value = text_copy(message->payload, message->len),
                                                          .headers = headers_copy(message),
                                                          .partition = message->partition,
                                                          .offset = message->offset};
}

static int order(const void *a, const void *b)
{
    const struct reader_message *left = a;
    const struct reader_message *right = b;
    if (left->partition != right->partition)
        return left->partition < right->partition ? -1 : 1;
    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static void messages_read(rd_kafka_t *rk, const int64_t *ends, struct reader_log *out)
{
    uint64_t deadline = now_ms() + WAIT_MS;
    size_t cap = 0;
    int32_t left = 0;
    bool *done = calloc((size_t)out->partitions, sizeof *done);
    for (int32_t i = 0; i < out->partitions; i++)
        left += ends[i] > 0;
    while (left > 0) {
        if (now_ms() > deadline)
            die("read", "the end is not reached");
        rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 100);
        if (message == NULL)
            continue;
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            message_add(out, &cap, message);
        } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && message->offset >= ends[message->partition] &&
                   !done[message->partition]) {
            done[message->partition] = true;
            left -= ends[message->partition] > 0;
        }
        rd_kafka_message_destroy(message);
    }
    free(done);
}

void reader_read(const char *brokers, const char *topic, struct reader_log *out)
{
    *out = (struct reader_log){0};
    rd_kafka_t *dirty = client_new(brokers, "read_uncommitted");
    out->partitions = partitions_of(dirty, topic);
    int64_t *ends = calloc((size_t)out->partitions, sizeof *ends);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(out->partitions);
    for (int32_t i = 0; i < out->partitions; i++) {
        ends[i] = end_of(dirty, topic, i);
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    rd_kafka_destroy(dirty);
    rd_kafka_t *clean = client_new(brokers, "read_committed");
    (void)rd_kafka_assign(clean, list);
    messages_read(clean, ends, out);
    (void)rd_kafka_consumer_close(clean);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(clean);
    free(ends);
    if (out->count > 1)
        qsort(out->messages, out->count, sizeof *out->messages, order);
}

void reader_free(struct reader_log *log)
{
    for (size_t i = 0; i < log->count; i++) {
        free(log->messages[i].key);
        free(log->messages[i].value);
        free(log->messages[i].headers);
    }
    free(log->messages);
    *log = (struct reader_log){0};
}

void reader_topic_make(const char *brokers, const char *topic, int partitions, const char *const *settings)
{
    char text[256];
    rd_kafka_t *rk = client_new(brokers, "read_committed");
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(topic, partitions, 1, text, sizeof text);
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(settings[i], "="), settings[i]);
        (void)rd_kafka_NewTopic_set_config(wanted, name, strchr(settings[i], '=') + 1);
    }
    rd_kafka_CreateTopics(rk, &wanted, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(topic, event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    size_t count;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    if (rd_kafka_topic_result_error(results[0]) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(topic, rd_kafka_topic_result_error_string(results[0]));
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(wanted);
    rd_kafka_queue_destroy(queue);
    (void)partitions_of(rk, topic);
    rd_kafka_destroy(rk);
}

void reader_deny(const char *brokers, const char *user, const char *topic)
{
    char text[256];
    rd_kafka_t *rk = client_new(brokers, "read_committed");
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_AclBinding_t *wanted =
        rd_kafka_AclBinding_new(RD_KAFKA_RESOURCE_TOPIC, topic, RD_KAFKA_RESOURCE_PATTERN_LITERAL, user, "*",
                                RD_KAFKA_ACL_OPERATION_ALL, RD_KAFKA_ACL_PERMISSION_TYPE_DENY, text, sizeof text);
    if (wanted == NULL)
        die(topic, text);
    rd_kafka_CreateAcls(rk, &wanted, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(topic, event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    size_t count;
    const rd_kafka_acl_result_t **results =
        rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(event), &count);
    if (count != 1 || rd_kafka_acl_result_error(results[0]) != NULL)
        die(topic, "the access control list was not made");
    rd_kafka_event_destroy(event);
    rd_kafka_AclBinding_destroy(wanted);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
}

void reader_topic_trim(const char *brokers, const char *topic, int64_t before)
{
    rd_kafka_t *rk = client_new(brokers, "read_committed");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = before;
    rd_kafka_DeleteRecords_t *request = rd_kafka_DeleteRecords_new(list);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteRecords(rk, &request, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(topic, event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteRecords_destroy(request);
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
}
