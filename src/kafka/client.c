#include "kafka/client.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

/* A broker that restarts can end a handshake halfway; one that refuses does so again and again. */
#define REFUSED_MS 3000
#define CONTEXT_SIZE 256

/* ---- log ---- */

static enum log_level log_level_of(int syslog)
{
    static const enum log_level levels[] = {LOG_ERROR, LOG_ERROR, LOG_ERROR, LOG_ERROR,
                                            LOG_WARN,  LOG_INFO,  LOG_DEBUG, LOG_TRACE};
    return syslog >= 0 && syslog < 8 ? levels[syslog] : LOG_TRACE;
}

/* librdkafka puts the name of its thread in front. */
static const char *text_of(const char *line)
{
    const char *end = strncmp(line, "[thrd:", 6) == 0 ? strstr(line, "]: ") : NULL;
    return end == NULL ? line : end + 3;
}

static void trouble_set(struct kafka_client *client, const char *text)
{
    (void)pthread_mutex_lock(&client->lock);
    (void)snprintf(client->trouble, sizeof client->trouble, "%s", text);
    (void)pthread_mutex_unlock(&client->lock);
}

/* From librdkafka's threads. A broker that cannot be reached is complained of again and again, and whoever waits for it
 * reports that once: such lines are details. */
static void log_take(const rd_kafka_t *rk, int syslog, const char *facility, const char *line)
{
    struct kafka_client *client = rd_kafka_opaque(rk);
    const char *text = text_of(line);
    enum log_level level = log_level_of(syslog);
    if (strcmp(facility, "FAIL") == 0 || strcmp(facility, "ERROR") == 0) {
        trouble_set(client, text);
        level = LOG_DEBUG;
    }
    /* A coordinator that is still loading: librdkafka asks again by itself. */
    if (atomic_load(&client->quiet) || strcmp(facility, "GETPID") == 0)
        level = level > LOG_DEBUG ? LOG_DEBUG : level;
    if (log_enabled(level))
        log_line(level, client->component, "%s", text);
}

/* "All brokers are down" behind a refusal says that nobody else lets us in either. */
void kafka_client_error(struct kafka_client *client, rd_kafka_resp_err_t code, const char *reason)
{
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        atomic_store(&client->down, true);
        if (client->refusal && client->refused_ms == 0)
            client->refused_ms = clock_ms();
        return;
    }
    client->refusal = code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL;
    if (!client->refusal)
        client->refused_ms = 0;
    trouble_set(client, reason);
}

void kafka_client_answered(struct kafka_client *client) { client->refused_ms = 0; }

static void error_take(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    (void)rk;
    kafka_client_error(opaque, (rd_kafka_resp_err_t)code, reason);
}

/* ---- life ---- */

static enum sorex_status property_set(rd_kafka_conf_t *conf, const struct kafka_property *property,
                                      struct sorex_error *err)
{
    char text[512];
    if (rd_kafka_conf_set(conf, property->name, property->value, text, sizeof text) != RD_KAFKA_CONF_OK)
        return sorex_error_set(err, SOREX_INVALID, "%s: %s", property->name, text);
    return SOREX_OK;
}

static enum sorex_status list_set(rd_kafka_conf_t *conf, const struct kafka_property *list, struct sorex_error *err)
{
    for (; list != NULL && list->name != NULL; list++)
        TRY(property_set(conf, list, err));
    return SOREX_OK;
}

static enum sorex_status conf_fill(rd_kafka_conf_t *conf, const struct kafka_options *options,
                                   const struct kafka_property *defaults, const struct kafka_property *fixed,
                                   struct sorex_error *err)
{
    TRY(kafka_options_check(options, err));
    TRY(list_set(conf, defaults, err));
    for (size_t i = 0; i < options->property_count; i++)
        TRY(property_set(conf, &options->properties[i], err));
    TRY(list_set(conf, fixed, err));
    return property_set(conf, &(struct kafka_property){"bootstrap.servers", options->brokers}, err);
}

enum sorex_status kafka_client_open(struct kafka_client *client, rd_kafka_type_t type,
                                    const struct kafka_options *options, const struct kafka_property *defaults,
                                    const struct kafka_property *fixed, rd_kafka_conf_t *conf, struct sorex_error *err)
{
    char text[512] = "";
    CHECK(pthread_mutex_init(&client->lock, NULL) == 0);
    (void)snprintf(client->component, sizeof client->component, "kafka %s", options->name);
    (void)snprintf(client->brokers, sizeof client->brokers, "%s", options->brokers == NULL ? "" : options->brokers);
    enum sorex_status status = conf_fill(conf, options, defaults, fixed, err);
    if (status == SOREX_OK) {
        rd_kafka_conf_set_opaque(conf, client);
        rd_kafka_conf_set_log_cb(conf, log_take);
        rd_kafka_conf_set_error_cb(conf, error_take);
        client->rk = rd_kafka_new(type, conf, text, sizeof text);
        if (client->rk == NULL)
            status = sorex_error_set(err, SOREX_INVALID, "librdkafka: %s", text);
    }
    if (client->rk == NULL)
        rd_kafka_conf_destroy(conf);
    if (status != SOREX_OK)
        kafka_client_close(client);
    return status;
}

void kafka_client_close(struct kafka_client *client)
{
    if (client->component[0] == '\0')
        return;
    if (client->cluster != NULL)
        rd_kafka_mem_free(client->rk, client->cluster);
    if (client->rk != NULL)
        rd_kafka_destroy_flags(client->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE); /* a consumer has seen to that */
    (void)pthread_mutex_destroy(&client->lock);
    client->rk = NULL;
    client->cluster = NULL;
    client->component[0] = '\0';
}

/* ---- waiting ---- */

void kafka_client_interrupt(struct kafka_client *client) { atomic_store(&client->interrupted, true); }

bool kafka_client_interrupted(const struct kafka_client *client) { return atomic_load(&client->interrupted); }

static void trouble_get(struct kafka_client *client, char out[KAFKA_TROUBLE_SIZE])
{
    (void)pthread_mutex_lock(&client->lock);
    (void)memcpy(out, client->trouble, KAFKA_TROUBLE_SIZE);
    (void)pthread_mutex_unlock(&client->lock);
}

enum sorex_status kafka_client_wait(struct kafka_client *client, uint64_t deadline_ms, struct sorex_error *err,
                                    const char *format, ...)
{
    bool refused = client->refused_ms != 0 && clock_ms() - client->refused_ms >= REFUSED_MS;
    bool late = clock_ms() >= deadline_ms;
    if (!refused && !late && !kafka_client_interrupted(client))
        return SOREX_OK;
    char what[CONTEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (!refused && !late)
        return sorex_error_set(err, SOREX_AGAIN, "%s: interrupted", what);
    char trouble[KAFKA_TROUBLE_SIZE];
    trouble_get(client, trouble);
    if (refused)
        return sorex_error_set(err, SOREX_INVALID, "%s: %s refuses us: %s", what, client->brokers, trouble);
    return sorex_error_set(err, SOREX_AGAIN, "%s: no answer from %s%s%s", what, client->brokers,
                           trouble[0] == '\0' ? "" : ": ", trouble);
}

enum sorex_status kafka_client_cluster(struct kafka_client *client, uint64_t deadline_ms, const char **out,
                                       struct sorex_error *err)
{
    while (client->cluster == NULL) {
        client->cluster = rd_kafka_clusterid(client->rk, KAFKA_SLICE_MS);
        (void)rd_kafka_poll(client->rk, 0);
        if (client->cluster == NULL)
            TRY(kafka_client_wait(client, deadline_ms, err, "ask for the cluster's id"));
    }
    *out = client->cluster;
    return SOREX_OK;
}

/* ---- errors ---- */

enum sorex_status kafka_status(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return SOREX_OK;
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
        return SOREX_BUSY;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR__NO_OFFSET:
        return SOREX_GONE;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return SOREX_LIMIT;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_INVALID_GROUP_ID:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
        return SOREX_INVALID;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
    case RD_KAFKA_RESP_ERR__ISR_INSUFF:
    case RD_KAFKA_RESP_ERR__NODE_UPDATE:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__WAIT_CACHE:
    case RD_KAFKA_RESP_ERR__IN_PROGRESS:
    case RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR__CONFLICT:
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR__RETRY:
    case RD_KAFKA_RESP_ERR__INTR:
    case RD_KAFKA_RESP_ERR__OUTDATED:
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE:
    case RD_KAFKA_RESP_ERR__INCONSISTENT:
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
    case RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
    case RD_KAFKA_RESP_ERR_INVALID_MSG: /* the checksum: damaged on the way */
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_MEMBER_ID_REQUIRED:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT:
    case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
    case RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS:
    case RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_TXN_STATE:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING:
    case RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID:
    case RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
    case RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER:
        return SOREX_AGAIN;
    default:
        return SOREX_IO;
    }
}

enum sorex_status kafka_error_set(struct sorex_error *err, rd_kafka_resp_err_t code, const char *reason,
                                  const char *format, ...)
{
    char what[CONTEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    enum sorex_status status = kafka_status(code);
    (void)sorex_error_set(err, status, "%s: %s (%s)", what, reason == NULL ? rd_kafka_err2str(code) : reason,
                          rd_kafka_err2name(code));
    if (err != NULL)
        err->native = (int)code;
    return status;
}
