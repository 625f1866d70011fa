/* Changes as messages. */
#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "base/hex.h"
#include "base/limits.h"
#include "sink/kafka_target.h"

#define KEY_SHOWN_MAX 256

enum { HEADER_HEIGHT, HEADER_HASH, HEADER_SEQUENCE, HEADER_UNDO, HEADER_COUNT };

/* Those of an outbox record: the same for all its changes. */
struct record_headers {
    bool set, undo;
    uint64_t sequence;
    char height_text[16], hash_text[HASH_HEX_SIZE], sequence_text[24];
    struct header list[HEADER_COUNT];
    size_t count;
};

enum sorex_status kafka_row_name(const struct sink_change *item, struct sorex_error *err)
{
    const struct change *change = &item->change;
    if (item->height == SOREX_HEIGHT_NONE)
        return sorex_error_prefix(err, "record %" PRIu64 ", table \"%.*s\"", item->sequence, BYTES_FMT(change->table));
    return sorex_error_prefix(err, "program %s, table \"%.*s\", key \"%.*s\", height %u (%ssequence %" PRIu64 ")",
                              item->program == NULL ? "-" : item->program, BYTES_FMT(change->table),
                              (int)(change->key.len > KEY_SHOWN_MAX ? KEY_SHOWN_MAX : change->key.len),
                              (const char *)change->key.data, item->height, item->undo ? "undo, " : "", item->sequence);
}

static void headers_set(struct record_headers *headers, const struct sink_change *item)
{
    if (headers->set && headers->sequence == item->sequence && headers->undo == item->undo)
        return;
    headers->set = true;
    headers->undo = item->undo;
    headers->sequence = item->sequence;
    (void)snprintf(headers->height_text, sizeof headers->height_text, "%" PRIu32, item->height);
    (void)snprintf(headers->sequence_text, sizeof headers->sequence_text, "%" PRIu64, item->sequence);
    hash_display(item->hash, headers->hash_text);
    headers->list[HEADER_HEIGHT] = (struct header){"height", bytes_str(headers->height_text)};
    headers->list[HEADER_HASH] = (struct header){"hash", bytes_str(headers->hash_text)};
    headers->list[HEADER_SEQUENCE] = (struct header){"sequence", bytes_str(headers->sequence_text)};
    headers->list[HEADER_UNDO] = (struct header){"undo", bytes_str("true")};
    headers->count = item->undo ? HEADER_COUNT : HEADER_UNDO;
}

/* What decides the partition of a message without key. */
static enum sorex_status route_make(struct kafka_target *target, const struct change *change, struct bytes *out,
                                    struct sorex_error *err)
{
    buf_reset(&target->route);
    TRY(buf_append(&target->route, change->table, err));
    TRY(buf_append_u8(&target->route, 0, err));
    TRY(buf_append(&target->route, change->key, err));
    *out = buf_view(&target->route);
    return SOREX_OK;
}

static enum sorex_status change_send(struct kafka_target *target, const struct sink_change *item, uint32_t tag,
                                     struct record_headers *headers, struct sorex_error *err)
{
    const struct kafka_table *table = kafka_table_find(target, item->change.table);
    CHECK(table != NULL);
    struct kafka_message message = {.topic = table->topic, .partition = KAFKA_PARTITION_ANY, .tag = tag};
    if (item->change.raw.len > 0) /* else of a stream: a tombstone that came in */
        message.value = item->change.raw;
    if (target->key == KAFKA_KEY_SOURCE && item->source_key.data != NULL)
        message.key = item->source_key;
    else if (target->key != KAFKA_KEY_NONE && item->change.key.len > 0)
        message.key = item->change.key;
    else
        TRY(route_make(target, &item->change, &message.route, err));
    if (target->headers && item->hash != NULL) {
        headers_set(headers, item);
        message.headers = headers->list;
        message.header_count = headers->count;
    } else if (target->headers) { /* of a stream */
        message.headers = item->source_headers;
        message.header_count = item->source_header_count;
    }
    TRY(kafka_producer_send(target->producer, &message, err));
    if (!target->tombstones || item->change.operation != CHANGE_DELETE)
        return SOREX_OK;
    message.value = (struct bytes){0};
    return kafka_producer_send(target->producer, &message, err);
}

enum sorex_status kafka_changes_send(struct kafka_target *target, const struct sink_batch *batch,
                                     struct sorex_error *err)
{
    struct record_headers headers = {0};
    CHECK(batch->count < KAFKA_TAG_NONE);
    for (size_t i = 0; i < batch->count; i++)
        if (kafka_change_has_topic(target, &batch->changes[i]))
            TRY(change_send(target, &batch->changes[i], (uint32_t)i, &headers, err));
    return SOREX_OK;
}
