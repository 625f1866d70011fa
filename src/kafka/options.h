/* What reaches a Kafka cluster: brokers, and properties of librdkafka as the user wrote them. */
#ifndef SOREX_KAFKA_OPTIONS_H
#define SOREX_KAFKA_OPTIONS_H

#include "base/bytes.h"

struct kafka_property {
    const char *name;  /* "sasl.username" */
    const char *value; /* as text, as librdkafka documents it */
};

struct kafka_options {
    const char *name;    /* of the client, in log lines and for the broker: "sink out" */
    const char *brokers; /* "host:port,host:port" */
    const struct kafka_property *properties;
    size_t property_count;
};

/* Whether librdkafka knows the property and takes the value, and whether it is the user's to set: brokers, identity and
 * what "exactly once" rests on are not. Errors: SOREX_INVALID; the text names the property, never the value of a
 * secret. */
enum sorex_status kafka_property_check(const struct kafka_property *property, struct sorex_error *err);

/* As above for all of them, and for the brokers. */
enum sorex_status kafka_options_check(const struct kafka_options *options, struct sorex_error *err);

#endif
