/* The cursor, as a message of the progress topic. */
#include <inttypes.h>

#include "base/check.h"
#include "base/hex.h"
#include "base/log.h"
#include "json/writer.h"
#include "kafka/topic.h"
#include "sink/kafka_target.h"

#define FORMAT 1

/* A topic that forgets by age would forget the cursor of a sink that has nothing to do, and all would be delivered
 * again. Who may not look at settings is believed. */
static enum sorex_status policy_check(struct kafka_target *target, struct sorex_error *err)
{
    struct sorex_error reason;
    buf_reset(&target->value);
    enum sorex_status status =
        kafka_topic_setting(target->producer, target->progress_topic, "cleanup.policy", &target->value, &reason);
    if (status == SOREX_INVALID) {
        log_line(LOG_DEBUG, target->client_name, "%s", reason.text);
        return SOREX_OK;
    }
    if (status != SOREX_OK)
        return sorex_error_set(err, status, "%s", reason.text);
    if (bytes_is(buf_view(&target->value), "compact"))
        return SOREX_OK;
    return sorex_error_set(
        err, SOREX_INVALID,
        "the progress topic %s has cleanup.policy=%.*s, which forgets how far the sink is. Choices: set it to "
        "compact; or give the sink another progress_topic",
        target->progress_topic, BYTES_FMT(buf_view(&target->value)));
}

enum sorex_status kafka_progress_prepare(struct kafka_target *target, struct sorex_error *err)
{
    /* Small segments: what is compacted are closed ones. */
    static const struct kafka_property settings[] = {{"cleanup.policy", "compact"}, {"segment.bytes", "8388608"}, {0}};
    uint32_t partitions;
    TRY(kafka_topic_find(target->producer, target->progress_topic, &partitions, err));
    if (partitions > 0)
        return policy_check(target, err);
    if (!target->create_topics)
        return sorex_error_set(
            err, SOREX_GONE,
            "there is no progress topic %s. Choices: make it with one partition and cleanup.policy=compact; "
            "or set `create_topics: true`",
            target->progress_topic);
    struct kafka_topic_options options = {
        .name = target->progress_topic, .partitions = 1, .replication = target->replication, .settings = settings};
    TRY(kafka_topic_make(target->producer, &options, err));
    log_line(LOG_INFO, target->client_name, "topic %s made", target->progress_topic);
    return SOREX_OK;
}

/* ---- writing ---- */

/* The members that every record has. */
static void head_write(const struct kafka_target *target, struct json_writer *w)
{
    json_object_begin(w);
    json_name(w, "format");
    json_uint(w, FORMAT);
    json_name(w, "pipeline");
    json_string_z(w, target->pipeline);
    json_name(w, "sink");
    json_string_z(w, target->name);
}

static enum sorex_status cursor_encode(const struct kafka_target *target, const struct sink_cursor *cursor,
                                       struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    head_write(target, &w);
    json_name(&w, "store");
    json_hex(&w, bytes_of(cursor->store_id, SINK_STORE_ID_BYTES));
    json_name(&w, "sequence");
    json_uint(&w, cursor->sequence);
    json_name(&w, "entry");
    json_hash_display(&w, cursor->hash);
    json_object_end(&w);
    return json_writer_finish(&w);
}

enum sorex_status kafka_progress_send(struct kafka_target *target, const struct sink_cursor *cursor,
                                      struct sorex_error *err)
{
    buf_reset(&target->value);
    TRY(cursor_encode(target, cursor, &target->value, err));
    struct kafka_message message = {.topic = target->progress_topic,
                                    .partition = 0,
                                    .key = bytes_str(target->progress_key),
                                    .value = buf_view(&target->value),
                                    .tag = KAFKA_TAG_NONE};
    return kafka_producer_send(target->producer, &message, err);
}

/* ---- reading ---- */

static enum sorex_status damaged(const struct kafka_target *target, const char *key, struct sorex_error *err)
{
    return sorex_error_set(
        err, SOREX_CORRUPT,
        "the last message under key %s in topic %s is no progress. Choices: another progress_topic, and begin "
        "again from the start; or write the progress by hand",
        key, target->progress_topic);
}

static bool take_hex(const struct json_doc *doc, const char *name, uint8_t *out, size_t len)
{
    const struct json_node *node = json_member(doc, &doc->nodes[0], name);
    if (node == NULL || node->kind != JSON_STRING)
        return false;
    struct buf bytes = {.data = out, .cap = len, .max = len}; /* decodes in place: nothing to run out of */
    return hex_decode(node->text, &bytes, NULL) == SOREX_OK && bytes.len == len;
}

static bool take_text(const struct json_doc *doc, const char *name, struct bytes *out)
{
    const struct json_node *node = json_member(doc, &doc->nodes[0], name);
    if (node == NULL || node->kind != JSON_STRING)
        return false;
    *out = node->text;
    return true;
}

static bool take_number(const struct json_doc *doc, const char *name, uint64_t *out)
{
    const struct json_node *node = json_member(doc, &doc->nodes[0], name);
    return node != NULL && json_u64(node, out);
}

/* What every record has: a format, and an owner, which must be us. */
static enum sorex_status head_decode(struct kafka_target *target, struct bytes text, const char *key,
                                     struct json_doc *out, struct sorex_error *err)
{
    uint64_t format;
    struct bytes pipeline;
    struct bytes sink;
    enum sorex_status status = json_parse(target->parser, text, out, err);
    if (status == SOREX_NOMEM)
        return status;
    if (status != SOREX_OK || out->nodes[0].kind != JSON_OBJECT || !take_number(out, "format", &format))
        return damaged(target, key, err);
    if (format != FORMAT)
        return sorex_error_set(err, SOREX_MISMATCH,
                               "topic %s has format %" PRIu64 " under key %s, this program writes format %d",
                               target->progress_topic, format, key, FORMAT);
    if (!take_text(out, "pipeline", &pipeline) || !take_text(out, "sink", &sink))
        return damaged(target, key, err);
    if (!bytes_is(pipeline, target->pipeline) || !bytes_is(sink, target->name))
        return sorex_error_set(
            err, SOREX_MISMATCH,
            "topic %s has the progress of sink \"%.*s\" of pipeline \"%.*s\" under key %s. Give one of them "
            "another progress_topic",
            target->progress_topic, BYTES_FMT(sink), BYTES_FMT(pipeline), key);
    return SOREX_OK;
}

static enum sorex_status cursor_decode(struct kafka_target *target, struct bytes text, struct sink_cursor *out,
                                       struct sorex_error *err)
{
    struct json_doc doc;
    struct bytes entry;
    TRY(head_decode(target, text, target->progress_key, &doc, err));
    if (!take_text(&doc, "entry", &entry) || !take_number(&doc, "sequence", &out->sequence) ||
        !take_hex(&doc, "store", out->store_id, SINK_STORE_ID_BYTES) ||
        hash_parse_display(entry, out->hash, NULL) != SOREX_OK)
        return damaged(target, target->progress_key, err);
    return SOREX_OK;
}

enum sorex_status kafka_progress_read(struct kafka_target *target, struct sink_cursor *out, struct sorex_error *err)
{
    struct kafka_options options = kafka_target_options(target);
    buf_reset(&target->value);
    TRY(kafka_topic_last(target->producer, &options, target->progress_topic, bytes_str(target->progress_key),
                         &target->value, err));
    TRY(cursor_decode(target, buf_view(&target->value), out, err));
    return out->sequence > 0 ? SOREX_OK
                             : sorex_error_set(err, SOREX_GONE, "topic %s has no cursor yet", target->progress_topic);
}

/* ---- positions of a stream ---- */

static enum sorex_status position_key(const struct kafka_target *target, const char *partition, struct buf *out,
                                      struct sorex_error *err)
{
    buf_reset(out);
    return buf_printf(out, err, "%s/%s", target->progress_key, partition);
}

static void check_write(struct json_writer *w, uint64_t check)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(check >> (56 - 8 * i));
    json_hex(w, bytes_of(bytes, sizeof bytes));
}

static bool check_take(const struct json_doc *doc, uint64_t *out)
{
    uint8_t bytes[8];
    if (!take_hex(doc, "check", bytes, sizeof bytes))
        return false;
    *out = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        *out = *out << 8 | bytes[i];
    return true;
}

static enum sorex_status position_encode(const struct kafka_target *target, const struct sink_position *position,
                                         struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    head_write(target, &w);
    json_name(&w, "partition");
    json_string_z(&w, position->partition);
    json_name(&w, "offset");
    json_uint(&w, position->to.offset);
    json_name(&w, "number");
    json_uint(&w, position->to.number);
    json_name(&w, "check");
    check_write(&w, position->to.check);
    json_object_end(&w);
    return json_writer_finish(&w);
}

enum sorex_status kafka_position_send(struct kafka_target *target, const struct sink_position *position,
                                      struct sorex_error *err)
{
    buf_reset(&target->value);
    TRY(position_key(target, position->partition, &target->route, err));
    TRY(position_encode(target, position, &target->value, err));
    struct kafka_message message = {.topic = target->progress_topic,
                                    .partition = 0,
                                    .key = buf_view(&target->route),
                                    .value = buf_view(&target->value),
                                    .tag = KAFKA_TAG_NONE};
    return kafka_producer_send(target->producer, &message, err);
}

enum sorex_status kafka_position_read(struct kafka_target *target, const char *partition, struct position *out,
                                      struct sorex_error *err)
{
    struct kafka_options options = kafka_target_options(target);
    struct json_doc doc;
    struct bytes name;
    buf_reset(&target->value);
    TRY(position_key(target, partition, &target->route, err));
    TRY(kafka_topic_last(target->producer, &options, target->progress_topic, buf_view(&target->route), &target->value,
                         err));
    TRY(buf_append_u8(&target->route, 0, err)); /* the key as text, for messages */
    const char *key = (const char *)target->route.data;
    TRY(head_decode(target, buf_view(&target->value), key, &doc, err));
    if (!take_text(&doc, "partition", &name) || !bytes_is(name, partition) ||
        !take_number(&doc, "offset", &out->offset) || !take_number(&doc, "number", &out->number) ||
        !check_take(&doc, &out->check))
        return damaged(target, key, err);
    return SOREX_OK;
}
