/* A broker, an independent reader and a writer for tests in other languages.
 *
 *     kafka_tool broker                   starts one, prints "address HOST:PORT"; then for each line of standard input,
 *                                         "kill" or "start", "ok"; ends with its input. 77: there is no broker, with a
 *                                         line that says why
 *     kafka_tool read BROKERS TOPIC       the values that read_committed readers see, one a line, by partition and
 *                                         offset
 *     kafka_tool make BROKERS TOPIC N     a topic with N partitions
 *     kafka_tool write BROKERS TOPIC      each line of standard input, "MILLISECONDS VALUE", into partition 0
 *     kafka_tool trim BROKERS TOPIC N     deletes what lies before offset N of partition 0 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "integration/kafka.h"
#include "kafka/reader.h"

static void answer(const char *text)
{
    (void)puts(text);
    (void)fflush(stdout);
}

static int run_broker(void)
{
    struct kafka_broker *broker;
    struct sorex_error err;
    char line[64];
    enum sorex_status status = kafka_broker_new(NULL, &broker, &err);
    if (status != SOREX_OK) {
        answer(err.text);
        return status == SOREX_GONE ? 77 : 1;
    }
    (void)printf("address %s\n", kafka_broker_address(broker));
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strcmp(line, "kill\n") == 0)
            kafka_broker_kill(broker);
        else if (strcmp(line, "start\n") != 0 || kafka_broker_start(broker, &err) != SOREX_OK)
            break;
        answer("ok");
    }
    kafka_broker_free(broker);
    return 0;
}

static int run_read(const char *brokers, const char *topic)
{
    struct reader_log log;
    reader_read(brokers, topic, &log);
    for (size_t i = 0; i < log.count; i++)
        (void)puts(log.messages[i].value == NULL ? "" : log.messages[i].value);
    reader_free(&log);
    return 0;
}

static rd_kafka_t *writer_new(const char *brokers)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof text) != RD_KAFKA_CONF_OK)
        return NULL;
    return rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
}

static int run_write(const char *brokers, const char *topic)
{
    char line[65536];
    rd_kafka_t *rk = writer_new(brokers);
    rd_kafka_resp_err_t code = rk == NULL ? RD_KAFKA_RESP_ERR__FAIL : RD_KAFKA_RESP_ERR_NO_ERROR;
    while (code == RD_KAFKA_RESP_ERR_NO_ERROR && fgets(line, sizeof line, stdin) != NULL) {
        char *value;
        int64_t ms = strtoll(line, &value, 10);
        value += *value == ' ';
        code = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_TIMESTAMP(ms),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_VALUE(value, strcspn(value, "\n")), RD_KAFKA_V_END);
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = rd_kafka_flush(rk, 60000);
    if (rk != NULL)
        rd_kafka_destroy(rk);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)fprintf(stderr, "write to %s: %s\n", topic, rd_kafka_err2str(code));
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "broker") == 0)
        return run_broker();
    if (argc == 4 && strcmp(argv[1], "read") == 0)
        return run_read(argv[2], argv[3]);
    if (argc == 4 && strcmp(argv[1], "write") == 0)
        return run_write(argv[2], argv[3]);
    if (argc == 5 && strcmp(argv[1], "make") == 0) {
        reader_topic_make(argv[2], argv[3], (int)strtol(argv[4], NULL, 10), NULL);
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "trim") == 0) {
        reader_topic_trim(argv[2], argv[3], strtoll(argv[4], NULL, 10));
        return 0;
    }
    (void)fputs("usage: kafka_tool broker | (read | write) BROKERS TOPIC | (make | trim) BROKERS TOPIC N\n", stderr);
    return 2;
}
