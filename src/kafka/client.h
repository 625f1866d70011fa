/* What every librdkafka handle of this room has in common: configuration, log, errors, interruption. Private to the
 * room; the other rooms see kafka/options.h, kafka/producer.h, kafka/consumer.h and kafka/topic.h, which know nothing
 * of librdkafka. */
#ifndef SOREX_KAFKA_CLIENT_H
#define SOREX_KAFKA_CLIENT_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "kafka/options.h"

#define KAFKA_NAME_SIZE 160
#define KAFKA_BROKERS_SIZE 512
#define KAFKA_TROUBLE_SIZE 512
/* Blocking calls of librdkafka cannot be interrupted: they are made in slices of this. */
#define KAFKA_SLICE_MS 200

/* First member of every producer and consumer. */
struct kafka_client {
    rd_kafka_t *rk;
    char component[KAFKA_NAME_SIZE]; /* "kafka sink out", for log lines */
    char brokers[KAFKA_BROKERS_SIZE];
    atomic_bool quiet; /* no log lines of its own: beside another client of the same configuration, or thrown away */
    atomic_bool interrupted;
    atomic_bool down;    /* every connection broke, and nobody found one that works since */
    bool refusal;        /* the last error was one: credentials or certificates; of the thread that serves the handle */
    uint64_t refused_ms; /* since when all brokers refuse us; 0: they do not. The same thread */
    char *cluster;       /* the cluster's id; NULL: not asked yet */
    pthread_mutex_t lock;             /* the one below */
    char trouble[KAFKA_TROUBLE_SIZE]; /* what librdkafka complained of last; "" = nothing */
};

/* One way to make a handle: defaults, then the user's properties, then what must be so. Lists end with a NULL name.
 *
 * conf       with the callbacks that the caller needs set; the log and error callbacks and the opaque (the client) are
 * set here. It is consumed in any case. Ownership: pair with kafka_client_close, also after a failure. Errors:
 * SOREX_INVALID: a property; SOREX_NOMEM; SOREX_IO. Does not connect. */
enum sorex_status kafka_client_open(struct kafka_client *client, rd_kafka_type_t type,
                                    const struct kafka_options *options, const struct kafka_property *defaults,
                                    const struct kafka_property *fixed, rd_kafka_conf_t *conf, struct sorex_error *err);
/* Takes a zeroed client, too. */
void kafka_client_close(struct kafka_client *client);

/* Every call that waits ends soon with SOREX_AGAIN, and so does every later one. Thread: any. */
void kafka_client_interrupt(struct kafka_client *client);
bool kafka_client_interrupted(const struct kafka_client *client);

/* Call between slices, after the handle's queue was served (rd_kafka_poll or what takes its place), which is where
 * errors come to light. Errors, with the prefix "WHAT: ": SOREX_AGAIN: interrupted, or deadline_ms (clock_ms()) is
 * over, with what librdkafka complained of last; SOREX_INVALID: the brokers keep refusing the credentials or the
 * certificate; SOREX_OK: go on waiting. */
enum sorex_status kafka_client_wait(struct kafka_client *client, uint64_t deadline_ms, struct sorex_error *err,
                                    const char *format, ...) SOREX_PRINTF(4, 5);

/* The cluster's id, borrowed. Waits for an answer, up to deadline_ms; serves the handle's queue. */
enum sorex_status kafka_client_cluster(struct kafka_client *client, uint64_t deadline_ms, const char **out,
                                       struct sorex_error *err);

/* Takes note of an error that is no answer to a call: for handles that are served by events. Others have a callback for
 * it. */
void kafka_client_error(struct kafka_client *client, rd_kafka_resp_err_t code, const char *reason);

/* A broker has answered: none of it is true any more that they refuse us. */
void kafka_client_answered(struct kafka_client *client);

/* What a code asks of the caller:
 * SOREX_AGAIN    passes: the network, an election, a coordinator, a transaction that was aborted
 * SOREX_BUSY     fenced: another client with the same identity took over
 * SOREX_GONE     no such topic, partition or offset
 * SOREX_LIMIT    a message is too large
 * SOREX_INVALID  refused: rights, credentials, names, settings
 * SOREX_IO       anything else, for good */
enum sorex_status kafka_status(rd_kafka_resp_err_t code);

/* Sets err to "WHAT: REASON (NAME)", native to the code; returns kafka_status(code). reason: NULL: librdkafka's text of
 * the code. */
enum sorex_status kafka_error_set(struct sorex_error *err, rd_kafka_resp_err_t code, const char *reason,
                                  const char *format, ...) SOREX_PRINTF(4, 5);

#endif
