/* A message in its place in a log, and the hashes that chains of them have: docs/formats/derivation.md. */
#ifndef SOREX_DERIVE_LOGGED_H
#define SOREX_DERIVE_LOGGED_H

#include "derive/message.h"

struct logged {
    uint64_t index;         /* from 0 */
    struct message message; /* slices of canonical */
    struct bytes canonical; /* borrowed from whoever gave the message */
    uint8_t hash[SHA256_BYTES];
    uint8_t log[SHA256_BYTES]; /* of the log up to and including it */
};

/* Chains: the hash of a label, then one thing after the other. */
void chain_begin(const char *label, uint8_t out[SHA256_BYTES]);
void chain_add(uint8_t chain[SHA256_BYTES], const uint8_t hash[SHA256_BYTES]);

#define LOG_CHAIN "sorex log 1\n"

/* The end of a log, behind which the next message comes. */
struct log_end {
    uint64_t count;
    int64_t time_ms; /* of the last message; 0 */
    uint8_t log[SHA256_BYTES];
};
void log_end_init(struct log_end *end);
/* The message of these bytes, behind the end, which it becomes.
 * Errors: SOREX_INVALID it is earlier than the one before; as message_decode. The end is as before then. */
enum sorex_status log_end_add(struct log_end *end, struct bytes canonical, struct logged *out, struct sorex_error *err);

/* The same of a chain, whose entries have times that may go back. */
enum sorex_status log_end_add_entry(struct log_end *end, struct bytes canonical, struct logged *out,
                                    struct sorex_error *err);
typedef enum sorex_status log_end_add_fn(struct log_end *end, struct bytes canonical, struct logged *out,
                                         struct sorex_error *err);

#endif
