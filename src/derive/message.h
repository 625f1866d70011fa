/* One message of a log: who said what, when. Canonical bytes, hashes and JSON lines: docs/formats/derivation.md.
 *
 * Thread: any. */
#ifndef SOREX_DERIVE_MESSAGE_H
#define SOREX_DERIVE_MESSAGE_H

#include "base/sha256.h"
#include "json/json.h"
#include "json/writer.h"

/* A payload is a move or a document, not a file; SOREX_CHANGE_BYTES_MAX is what a line may have. */
#define MESSAGE_PAYLOAD_BYTES_MAX ((size_t)16 << 20)
#define MESSAGE_AUTHOR_BYTES_MAX ((size_t)4096)    /* REDUCER_AUTHOR_BYTES_MAX */
#define MESSAGE_TIME_MS_MAX INT64_C(9214646399999) /* REDUCER_TIME_MS_MAX */
#define MESSAGE_BYTES_MAX (12 + MESSAGE_AUTHOR_BYTES_MAX + MESSAGE_PAYLOAD_BYTES_MAX)

struct message {
    int64_t time_ms; /* since 1970 */
    struct bytes author, payload;
};

/* Appends the canonical bytes. Errors: SOREX_INVALID the time or the author is none; SOREX_LIMIT; SOREX_NOMEM. */
enum sorex_status message_encode(const struct message *message, struct buf *out, struct sorex_error *err);
/* The message of canonical bytes; its views are slices of them. Errors: as message_encode. */
enum sorex_status message_decode(struct bytes canonical, struct message *out, struct sorex_error *err);

/* Of canonical bytes. */
enum sorex_status message_hash(struct bytes canonical, uint8_t out[SHA256_BYTES], struct sorex_error *err);

/* Appends the canonical bytes of the message that a line of JSON has. Errors: SOREX_INVALID, SOREX_LIMIT with what is
 * wrong; SOREX_NOMEM. */
enum sorex_status message_parse(struct json_parser *parser, struct bytes line, struct buf *out,
                                struct sorex_error *err);
/* Writes the object. Returns the writer's status. */
enum sorex_status message_write(struct json_parser *parser, const struct message *message, struct json_writer *w);

#endif
