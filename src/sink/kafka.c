/* A batch is one transaction: messages, then the cursor as a message of the progress topic, then commit.
 *
 * A producer that failed is thrown away, whatever it was: the next one with the same transactional id has what was left
 * open aborted, or committed to the end where that had begun, before it is let in. Then the progress topic says how far
 * the target is. That covers a commit whose outcome is not known, a broker that restarted, and the process being
 * killed, in one way. */
#include "sink/kafka.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "sink/kafka_target.h"

/* Large enough for the fixed cost of a transaction (about 10 ms) to be small, small enough for readers to follow. */
#define BATCH_CHANGES_MAX 100000
#define BATCH_BYTES_MAX ((uint64_t)64 << 20)

static const char *const key_words[] = {"source", "row", "none", NULL};
static const char *const compression_words[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};

static const struct option kafka_options[] = {
    {.name = "brokers",
     .type = OPTION_STRING,
     .offset = offsetof(struct kafka_settings, brokers),
     .required = true,
     .text = "HOST:PORT of one or more brokers, separated by commas; the others are found through them"},
    {.name = "topic",
     .type = OPTION_STRING,
     .offset = offsetof(struct kafka_settings, topic),
     .fallback = "{table}",
     .text = "where changes go; {table} and {pipeline} are filled in"},
    {.name = "key",
     .type = OPTION_ENUM,
     .offset = offsetof(struct kafka_settings, key),
     .fallback = "source",
     .choices = key_words,
     .text =
         "of a message: that of the source's message, where there is none that of the row; row: the key of the row; or "
         "none. A row stays in its partition with row and none"},
    {.name = "headers",
     .type = OPTION_BOOL,
     .offset = offsetof(struct kafka_settings, headers),
     .fallback = "true",
     .text = "height, hash, sequence and, of an inverse, undo as headers of each message; of a stream those that it came with"},
    {.name = "tombstones",
     .type = OPTION_BOOL,
     .offset = offsetof(struct kafka_settings, tombstones),
     .fallback = "false",
     .text = "of a chain: behind each delete a message of its key without value, with which a compacted topic forgets "
             "the row"},
    {.name = "compression",
     .type = OPTION_ENUM,
     .offset = offsetof(struct kafka_settings, compression),
     .fallback = "none",
     .choices = compression_words,
     .text = "of message batches"},
    {.name = "create_topics",
     .type = OPTION_BOOL,
     .offset = offsetof(struct kafka_settings, create_topics),
     .fallback = "true",
     .text = "make topics that are missing; false: a missing one is an error"},
    {.name = "partitions",
     .type = OPTION_U32,
     .offset = offsetof(struct kafka_settings, partitions),
     .fallback = "1",
     .min = 1,
     .max = 10000,
     .text = "of topics that are made; order holds within a partition only"},
    {.name = "replication",
     .type = OPTION_U32,
     .offset = offsetof(struct kafka_settings, replication),
     .fallback = "0",
     .max = 100,
     .text = "of topics that are made; 0: as the brokers have it"},
    {.name = "transactional_id",
     .type = OPTION_STRING,
     .offset = offsetof(struct kafka_settings, transactional_id),
     .text = "of the producer; whoever uses it last stops the others. Default: sorex.PIPELINE.SINK"},
    {.name = "transaction_timeout",
     .type = OPTION_MS,
     .offset = offsetof(struct kafka_settings, transaction_timeout_ms),
     .fallback = "1m",
     .min = 1000,
     .max = 900000,
     .text = "after that the brokers abort a transaction; readers wait that long for a process that died and does not "
             "come back"},
    {.name = "progress_topic",
     .type = OPTION_STRING,
     .offset = offsetof(struct kafka_settings, progress_topic),
     .fallback = "sorex-progress",
     .text = "where the cursor goes; compacted, several sinks can share it"},
    {.name = "dead_letters",
     .type = OPTION_STRING,
     .offset = offsetof(struct kafka_settings, dead_letters),
     .text = "of a stream: the topic of events that fail and are left out; default: they are logged only"},
    {.name = "properties",
     .type = OPTION_NODE,
     .offset = offsetof(struct kafka_settings, properties),
     .text = "NAME: VALUE, properties of librdkafka as its documentation has them: TLS, SASL, sizes, times"},
    {0}};

/* ---- open, close ---- */

static void producer_replace(struct kafka_target *target, struct kafka_producer *producer)
{
    (void)pthread_mutex_lock(&target->lock);
    struct kafka_producer *before = target->producer;
    target->producer = producer;
    if (producer != NULL && target->interrupted)
        kafka_producer_interrupt(producer);
    (void)pthread_mutex_unlock(&target->lock);
    kafka_producer_free(before);
}

static void kafka_close(struct sink *sink)
{
    struct kafka_target *target = (struct kafka_target *)sink;
    producer_replace(target, NULL);
    (void)pthread_mutex_destroy(&target->lock);
    kafka_tables_free(target);
    json_parser_free(target->parser);
    buf_deinit(&target->value);
    buf_deinit(&target->route);
    free(target->properties);
    free(target->pipeline);
    free(target->name);
    free(target->topic);
    free(target->transactional_id);
    free(target->progress_topic);
    free(target->progress_key);
    free(target->dead_letters);
    free(target->brokers);
    free(target);
}

static enum sorex_status texts_copy(struct kafka_target *target, const struct kafka_settings *settings,
                                    const struct sink_context *context, struct sorex_error *err)
{
    target->pipeline = strdup(context->pipeline);
    target->name = strdup(context->name);
    target->topic = strdup(settings->topic);
    target->progress_topic = strdup(settings->progress_topic);
    target->brokers = strdup(settings->brokers);
    if (settings->dead_letters != NULL)
        target->dead_letters = strdup(settings->dead_letters);
    if (asprintf(&target->progress_key, "%s/%s", context->pipeline, context->name) < 0)
        target->progress_key = NULL;
    if (settings->transactional_id != NULL)
        target->transactional_id = strdup(settings->transactional_id);
    else if (asprintf(&target->transactional_id, "sorex.%s.%s", context->pipeline, context->name) < 0)
        target->transactional_id = NULL;
    (void)snprintf(target->client_name, sizeof target->client_name, "sink %s", context->name);
    if ((settings->dead_letters != NULL && target->dead_letters == NULL) || target->pipeline == NULL ||
        target->name == NULL || target->topic == NULL || target->progress_topic == NULL || target->brokers == NULL ||
        target->progress_key == NULL || target->transactional_id == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    return SOREX_OK;
}

static enum sorex_status properties_take(struct kafka_target *target, const struct config_node *node,
                                         struct sorex_error *err)
{
    size_t count = 0;
    if (node == NULL || config_is_null(node))
        return SOREX_OK;
    if (node->kind != CONFIG_MAPPING)
        return config_error(err, node, SOREX_INVALID, "properties: expected a mapping, got %s",
                            config_kind_name(node->kind));
    for (const struct config_node *item = node->first; item != NULL; item = item->next)
        count++;
    target->properties = calloc(count + 1, sizeof *target->properties);
    if (target->properties == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    for (const struct config_node *item = node->first; item != NULL; item = item->next) {
        if (item->kind != CONFIG_SCALAR)
            return config_error(err, item, SOREX_INVALID, "properties.%s: expected text, got %s", item->key,
                                config_kind_name(item->kind));
        struct kafka_property *property = &target->properties[target->property_count++];
        *property = (struct kafka_property){item->key, item->text};
        struct sorex_error reason;
        enum sorex_status status = kafka_property_check(property, &reason);
        if (status != SOREX_OK)
            return config_error(err, item, status, "%s", reason.text);
    }
    return SOREX_OK;
}

struct kafka_options kafka_target_options(const struct kafka_target *target)
{
    return (struct kafka_options){.name = target->client_name,
                                  .brokers = target->brokers,
                                  .properties = target->properties,
                                  .property_count = target->property_count};
}

static enum sorex_status target_init(struct kafka_target *target, const struct kafka_settings *settings,
                                     const struct sink_context *context, struct sorex_error *err)
{
    target->key = (enum kafka_key)settings->key;
    target->identity_given = settings->transactional_id != NULL;
    target->headers = settings->headers;
    target->tombstones = settings->tombstones && !context->stream; /* a stream has those of its source */
    if (settings->tombstones && target->key == KAFKA_KEY_NONE)
        return sorex_error_set(err, SOREX_INVALID, "tombstones: need a key, and key is none");
    target->create_topics = settings->create_topics;
    target->partitions = settings->partitions;
    target->replication = settings->replication;
    target->transaction_timeout_ms = settings->transaction_timeout_ms;
    target->compression = compression_words[settings->compression];
    TRY(texts_copy(target, settings, context, err));
    TRY(kafka_template_check(target->topic, err));
    TRY(properties_take(target, settings->properties, err));
    struct kafka_options options = kafka_target_options(target);
    TRY(kafka_options_check(&options, err));
    return json_parser_new(&target->parser, err);
}

static enum sorex_status kafka_open(const void *settings, const struct sink_context *context, struct sink **out,
                                    struct sorex_error *err)
{
    struct kafka_target *target = calloc(1, sizeof *target);
    if (target == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    target->sink.type = &sink_kafka;
    CHECK(pthread_mutex_init(&target->lock, NULL) == 0);
    enum sorex_status status = target_init(target, settings, context, err);
    if (status != SOREX_OK) {
        kafka_close(&target->sink);
        return status;
    }
    *out = &target->sink;
    return SOREX_OK;
}

static void kafka_interrupt(struct sink *sink)
{
    struct kafka_target *target = (struct kafka_target *)sink;
    (void)pthread_mutex_lock(&target->lock);
    target->interrupted = true;
    if (target->producer != NULL)
        kafka_producer_interrupt(target->producer);
    (void)pthread_mutex_unlock(&target->lock);
}

/* ---- connecting ---- */

static enum sorex_status producer_make(struct kafka_target *target, struct sorex_error *err)
{
    struct kafka_producer *producer;
    struct kafka_producer_options options = {.client = kafka_target_options(target),
                                             .transactional_id = target->transactional_id,
                                             .transaction_timeout_ms = target->transaction_timeout_ms,
                                             .compression = target->compression};
    TRY(kafka_producer_new(&options, &producer, err));
    producer_replace(target, producer);
    return kafka_producer_init(producer, err);
}

/* Fences an older process before it looks how far it came. */
static enum sorex_status target_connect(struct kafka_target *target, struct sorex_error *err)
{
    if (target->producer != NULL)
        return SOREX_OK;
    enum sorex_status status = producer_make(target, err);
    if (status == SOREX_OK && !target->grouped)
        status = kafka_progress_prepare(target, err);
    if (status != SOREX_OK)
        producer_replace(target, NULL);
    return status;
}

static enum sorex_status kafka_cursor(struct sink *sink, struct sink_cursor *out, struct sorex_error *err)
{
    struct kafka_target *target = (struct kafka_target *)sink;
    TRY(target_connect(target, err));
    enum sorex_status status = kafka_progress_read(target, out, err);
    if (status != SOREX_OK && status != SOREX_GONE)
        producer_replace(target, NULL);
    return status;
}

static enum sorex_status kafka_position(struct sink *sink, const char *partition, void *group, struct position *out,
                                        struct sorex_error *err)
{
    struct kafka_target *target = (struct kafka_target *)sink;
    TRY(kafka_stream_identify(target, group, err));
    TRY(target_connect(target, err));
    enum sorex_status status = kafka_stream_position(target, partition, group, out, err);
    if (status != SOREX_OK && status != SOREX_GONE)
        producer_replace(target, NULL);
    return status;
}

/* ---- batch ---- */

static enum sorex_status transaction(struct kafka_target *target, const struct sink_batch *batch,
                                     struct sorex_error *err)
{
    TRY(kafka_producer_begin(target->producer, err));
    TRY(kafka_changes_send(target, batch, err));
    if (batch->position_count > 0)
        TRY(kafka_stream_send(target, batch, err));
    else
        TRY(kafka_progress_send(target, &batch->cursor, err));
    return kafka_producer_commit(target->producer, err);
}

/* The message that made it fail, when one did. */
static enum sorex_status blame(const struct kafka_target *target, const struct sink_batch *batch,
                               enum sorex_status status, struct sorex_error *err)
{
    uint32_t tag = kafka_producer_failed(target->producer);
    if (status == SOREX_AGAIN || tag >= batch->count)
        return status;
    return kafka_row_name(&batch->changes[tag], err);
}

static enum sorex_status kafka_apply(struct sink *sink, const struct sink_batch *batch, struct sorex_error *err)
{
    struct kafka_target *target = (struct kafka_target *)sink;
    TRY(target_connect(target, err));
    enum sorex_status status = kafka_tables_prepare(target, batch, err);
    if (status == SOREX_OK)
        status = kafka_stream_prepare(target, batch, err);
    if (status == SOREX_OK) {
        status = transaction(target, batch, err);
        if (status != SOREX_OK)
            status = blame(target, batch, status, err);
    }
    if (status == SOREX_BUSY && target->identity_own) { /* nobody took over: a coordinator gave it up */
        status = SOREX_AGAIN;
        if (err != NULL)
            err->status = status;
    }
    if (status != SOREX_OK)
        producer_replace(target, NULL);
    return status;
}

const struct sink_type sink_kafka = {
    .name = "kafka",
    .summary = "changes to Kafka topics, exactly once; messages, undo and cursor in one transaction",
    .options = kafka_options,
    .settings_size = sizeof(struct kafka_settings),
    .uses_keys = true,
    .holds_cursor = true,
    .takes_group = true,
    .batch_changes_max = BATCH_CHANGES_MAX,
    .batch_bytes_max = BATCH_BYTES_MAX,
    .open = kafka_open,
    .close = kafka_close,
    .cursor = kafka_cursor,
    .apply = kafka_apply,
    .position = kafka_position,
    .interrupt = kafka_interrupt,
};
