#include "bench/kafka/rival.h"

#include <librdkafka/rdkafka.h>
#include <stdlib.h>

#include "bench/harness.h"

#define WAIT_MS 60000

struct rival_reader {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
};

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK)
        bench_die("%s: %s", name, text);
}

static rd_kafka_conf_t *conf_new(const char *brokers)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", brokers);
    set(conf, "log_level", "0");
    return conf;
}

static rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char text[256];
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);
    if (rk == NULL)
        bench_die("rd_kafka_new: %s", text);
    return rk;
}

static void must(rd_kafka_error_t *error)
{
    if (error != NULL)
        bench_die("rival: %s", rd_kafka_error_string(error));
}

static void one_send(rd_kafka_t *rk, rd_kafka_topic_t *topic, const struct rival_message *message)
{
    while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, (void *)(uintptr_t)message->value.data,
                            message->value.len, message->key.data, message->key.len, NULL) != 0) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            bench_die("rival: %s", rd_kafka_err2str(rd_kafka_last_error()));
        (void)rd_kafka_poll(rk, 1);
    }
}

static void failed(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    (void)opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("rival: %s", rd_kafka_message_errstr(message));
}

void rival_send(const char *brokers, const char *topic, const struct rival_message *messages, size_t count,
                size_t transaction)
{
    rd_kafka_conf_t *conf = conf_new(brokers);
    set(conf, "enable.idempotence", "true");
    set(conf, "linger.ms", "5");
    set(conf, "queue.buffering.max.messages", "1000000");
    set(conf, "queue.buffering.max.kbytes", "1048576");
    if (transaction > 0)
        set(conf, "transactional.id", "rival");
    rd_kafka_conf_set_dr_msg_cb(conf, failed);
    rd_kafka_t *rk = client_new(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    if (transaction > 0)
        must(rd_kafka_init_transactions(rk, WAIT_MS));
    for (size_t i = 0; i < count; i++) {
        if (transaction > 0 && i % transaction == 0)
            must(rd_kafka_begin_transaction(rk));
        one_send(rk, handle, &messages[i]);
        if (i % 1024 == 0)
            (void)rd_kafka_poll(rk, 0);
        if (transaction > 0 && (i + 1 == count || (i + 1) % transaction == 0))
            must(rd_kafka_commit_transaction(rk, WAIT_MS));
    }
    if (rd_kafka_flush(rk, WAIT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("rival: not flushed");
    rd_kafka_topic_destroy(handle);
    rd_kafka_destroy(rk);
}

/* ---- topics ---- */

static void topic_wait(rd_kafka_t *rk, const char *topic)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    for (bool there = false; !there;) {
        const struct rd_kafka_metadata *metadata;
        if (rd_kafka_metadata(rk, 0, handle, &metadata, WAIT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
            bench_die("rival: no metadata of %s", topic);
        there = metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR;
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_topic_destroy(handle);
}

void rival_topic_make(const char *brokers, const char *topic)
{
    char text[256];
    rd_kafka_t *rk = client_new(RD_KAFKA_CONSUMER, conf_new(brokers));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(topic, 1, 1, text, sizeof text);
    rd_kafka_CreateTopics(rk, &wanted, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("topic %s cannot be made", topic);
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(wanted);
    rd_kafka_queue_destroy(queue);
    topic_wait(rk, topic);
    rd_kafka_destroy(rk);
}

void rival_topic_delete(const char *brokers, const char *topic)
{
    rd_kafka_t *rk = client_new(RD_KAFKA_CONSUMER, conf_new(brokers));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopic_t *unwanted = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_DeleteTopics(rk, &unwanted, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_DeleteTopic_destroy(unwanted);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
}

/* ---- reading ---- */

struct rival_reader *rival_reader_new(const char *brokers, const char *topic)
{
    struct rival_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        bench_die("out of memory");
    rd_kafka_conf_t *conf = conf_new(brokers);
    set(conf, "isolation.level", "read_committed");
    set(conf, "fetch.wait.max.ms", "500");
    reader->rk = client_new(RD_KAFKA_CONSUMER, conf);
    reader->topic = rd_kafka_topic_new(reader->rk, topic, NULL);
    if (rd_kafka_consume_start(reader->topic, 0, RD_KAFKA_OFFSET_BEGINNING) != 0)
        bench_die("reader: %s", rd_kafka_err2str(rd_kafka_last_error()));
    return reader;
}

void rival_reader_next(struct rival_reader *reader)
{
    rd_kafka_message_t *message = rd_kafka_consume(reader->topic, 0, WAIT_MS);
    if (message == NULL || message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("reader: %s", message == NULL ? "nothing came" : rd_kafka_message_errstr(message));
    rd_kafka_message_destroy(message);
}

void rival_reader_free(struct rival_reader *reader)
{
    (void)rd_kafka_consume_stop(reader->topic, 0);
    rd_kafka_topic_destroy(reader->topic);
    rd_kafka_destroy(reader->rk);
    free(reader);
}
