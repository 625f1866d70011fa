/* A broker and an independent reader for tests in other languages.
 *
 *     kafka_tool broker            starts one, prints "address HOST:PORT"; then for each line of standard input, "kill"
 * or "start", "ok"; ends with its input. 77: there is no broker, with a line that says why kafka_tool read BROKERS
 * TOPIC   the values that read_committed readers see, one a line, by partition and offset */
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

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "broker") == 0)
        return run_broker();
    if (argc == 4 && strcmp(argv[1], "read") == 0)
        return run_read(argv[2], argv[3]);
    (void)fputs("usage: kafka_tool broker | kafka_tool read BROKERS TOPIC\n", stderr);
    return 2;
}
