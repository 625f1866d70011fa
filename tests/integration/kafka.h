/* A real Kafka broker for tests: one JVM in KRaft mode, in a directory of its own, on free loopback ports. The jars
 * come from $SOREX_KAFKA_LIBS or $SOREX_SOURCE_DIR/build/deps/kafka/libs (scripts/install-deps.sh test puts them
 * there), java from PATH. Add
 * ../integration/kafka.c and ../integration/process.c to the SOURCES of a test; it needs no librdkafka.
 *
 *     struct kafka_broker *broker;
 *     if (kafka_broker_new(NULL, &broker, &err) == SOREX_GONE)
 *         skip();                                  // no jars or no java: say so
 *     ... kafka_broker_address(broker) ...         // "127.0.0.1:9092"
 *     kafka_broker_free(broker);                   // stops it, removes the directory
 *
 * A start takes about 4 seconds, a restart about 2. Topics are not made by themselves; timed-out transactions are ended
 * within half a second. The broker dies with the test's process. Thread: one at a time. */
#ifndef SOREX_TESTS_INTEGRATION_KAFKA_H
#define SOREX_TESTS_INTEGRATION_KAFKA_H

#include <stdbool.h>
#include <sys/types.h>

#include "sorex/status.h"

struct kafka_broker;

/* Makes a cluster of one broker and starts it.
 * settings   NULL, or "name=value" lines of server.properties, ending with NULL; they come last.
 * Errors:    SOREX_GONE: java or the jars are not there; SOREX_IO: with the end of the broker's log. */
enum sorex_status kafka_broker_new(const char *const *settings, struct kafka_broker **out, struct sorex_error *err);
void kafka_broker_free(struct kafka_broker *broker);

/* For bootstrap.servers; the same after every restart. Borrowed. */
const char *kafka_broker_address(const struct kafka_broker *broker);
/* The same broker over SASL PLAIN without TLS, for the user "sorex" with the password "sesame", who is no
 * administrator: access control lists hold for him, and where there is none he may do anything. Borrowed. */
const char *kafka_broker_sasl_address(const struct kafka_broker *broker);
/* The same over TLS, and the file with the certificate to trust. NULL: there is no openssl(1) to make one. Borrowed. */
const char *kafka_broker_tls_address(const struct kafka_broker *broker);
const char *kafka_broker_certificate(const struct kafka_broker *broker);
/* Its own directory, for files that go with it. Borrowed. */
const char *kafka_broker_directory(const struct kafka_broker *broker);
/* 0 while it is stopped. */
pid_t kafka_broker_pid(const struct kafka_broker *broker);

/* Waits until it takes connections. Same directory, same port. */
enum sorex_status kafka_broker_start(struct kafka_broker *broker, struct sorex_error *err);
/* SIGTERM, and waits for its end. */
void kafka_broker_stop(struct kafka_broker *broker);
/* SIGKILL, and waits for its end. */
void kafka_broker_kill(struct kafka_broker *broker);
/* SIGSTOP and SIGCONT: a network that hangs. */
void kafka_broker_pause(struct kafka_broker *broker);
void kafka_broker_resume(struct kafka_broker *broker);

#endif
