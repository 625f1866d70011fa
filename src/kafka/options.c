#include "kafka/options.h"

#include "base/check.h"
#include "kafka/client.h"

/* What is not for the user to set, and what to do instead. */
static const struct {
    const char *name, *instead;
} reserved[] = {
    {"bootstrap.servers", "the option brokers sets it"},
    {"metadata.broker.list", "the option brokers sets it"},
    {"transactional.id", "the option transactional_id sets it"},
    {"transaction.timeout.ms", "the option transaction_timeout sets it"},
    {"compression.codec", "the option compression sets it"},
    {"compression.type", "the option compression sets it"},
    {"group.id", "the option group sets it"},
    {"enable.idempotence", "exactly once needs it on"},
    {"acks", "exactly once needs all"},
    {"request.required.acks", "exactly once needs all"},
    {"allow.auto.create.topics", "brokers make no topic because somebody asks for it"},
    {"isolation.level", "what was aborted must not be read"},
    {"enable.auto.commit", "offsets are committed with what was made of the messages"},
    {"auto.commit.enable", "offsets are committed with what was made of the messages"},
    {"enable.auto.offset.store", "offsets are committed with what was made of the messages"},
    {"enable.partition.eof", "the end of a partition is looked for"},
    {"partitioner", "the key decides the partition as in Java clients"},
    {"sticky.partitioning.linger.ms", "the key decides the partition as in Java clients"},
    {"delivery.report.only.error", "only failures are looked at"},
    {"log_level", "the log level of the program holds"},
};

static bool contains(const char *text, const char *part) { return strstr(text, part) != NULL; }

/* Values that must not appear in a message. */
static bool is_secret(const char *name)
{
    return contains(name, "password") || contains(name, "secret") || contains(name, ".pem") ||
           contains(name, "oauthbearer") || contains(name, "jaas");
}

enum sorex_status kafka_property_check(const struct kafka_property *property, struct sorex_error *err)
{
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (strcmp(property->name, reserved[i].name) == 0)
            return sorex_error_set(err, SOREX_INVALID, "the property %s cannot be set here: %s", property->name,
                                   reserved[i].instead);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (conf == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    char text[512];
    rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, property->name, property->value, text, sizeof text);
    rd_kafka_conf_destroy(conf);
    if (result == RD_KAFKA_CONF_OK)
        return SOREX_OK;
    if (result == RD_KAFKA_CONF_UNKNOWN)
        return sorex_error_set(err, SOREX_INVALID, "librdkafka has no property %s", property->name);
    if (is_secret(property->name))
        return sorex_error_set(err, SOREX_INVALID, "librdkafka does not take the value of %s", property->name);
    return sorex_error_set(err, SOREX_INVALID, "property %s: %s", property->name, text);
}

enum sorex_status kafka_options_check(const struct kafka_options *options, struct sorex_error *err)
{
    const char *at = options->brokers;
    if (at == NULL || *at == '\0')
        return sorex_error_set(err, SOREX_INVALID, "no brokers");
    if (strlen(at) >= KAFKA_BROKERS_SIZE)
        return sorex_error_set(err, SOREX_INVALID, "the list of brokers is longer than %d bytes",
                               KAFKA_BROKERS_SIZE - 1);
    for (size_t i = 0; i < options->property_count; i++)
        TRY(kafka_property_check(&options->properties[i], err));
    return SOREX_OK;
}
