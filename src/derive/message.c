#include "derive/message.h"

#include "base/check.h"
#include "base/codec.h"
#include "json/utf8.h"

static enum sorex_status message_check(const struct message *message, struct sorex_error *err)
{
    if (message->time_ms < 0 || message->time_ms > MESSAGE_TIME_MS_MAX)
        return sorex_error_set(err, SOREX_INVALID, "the time lies outside of the years 1970 to 2261");
    if (message->author.len > MESSAGE_AUTHOR_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "an author of %zu bytes; %zu are allowed", message->author.len,
                               MESSAGE_AUTHOR_BYTES_MAX);
    if (!utf8_valid(message->author) ||
        (message->author.len > 0 && memchr(message->author.data, 0, message->author.len) != NULL))
        return sorex_error_set(err, SOREX_INVALID, "the author is no UTF-8, or has a zero byte");
    if (message->payload.len > MESSAGE_PAYLOAD_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "a payload of %zu bytes; %zu are allowed", message->payload.len,
                               MESSAGE_PAYLOAD_BYTES_MAX);
    return SOREX_OK;
}

enum sorex_status message_encode(const struct message *message, struct buf *out, struct sorex_error *err)
{
    TRY(message_check(message, err));
    TRY(buf_reserve(out, 12 + message->author.len + message->payload.len, err));
    TRY(buf_append_u64le(out, (uint64_t)message->time_ms, err));
    TRY(buf_append_u32le(out, (uint32_t)message->author.len, err));
    TRY(buf_append(out, message->author, err));
    return buf_append(out, message->payload, err);
}

enum sorex_status message_decode(struct bytes canonical, struct message *out, struct sorex_error *err)
{
    struct reader reader = reader_of(canonical);
    uint64_t time = 0;
    uint32_t author = 0;
    struct message message;
    if (!reader_u64le(&reader, &time) || !reader_u32le(&reader, &author) ||
        !reader_take(&reader, author, &message.author))
        return sorex_error_set(err, SOREX_INVALID, "the message is cut short");
    message.time_ms = time > INT64_MAX ? -1 : (int64_t)time;
    message.payload = bytes_of(reader.at, reader_left(&reader));
    TRY(message_check(&message, err));
    *out = message;
    return SOREX_OK;
}

enum sorex_status message_hash(struct bytes canonical, uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    struct sha256 hash;
    TRY(sha256_init(&hash, err));
    sha256_update(&hash, bytes_str("sorex message 1\n"));
    sha256_update(&hash, canonical);
    sha256_finish(&hash, out);
    sha256_deinit(&hash);
    return SOREX_OK;
}
