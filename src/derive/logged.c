#include "derive/logged.h"

#include "base/check.h"

void chain_begin(const char *label, uint8_t out[SHA256_BYTES]) { sha256_once(bytes_str(label), out); }

void chain_add(uint8_t chain[SHA256_BYTES], const uint8_t hash[SHA256_BYTES])
{
    uint8_t both[2 * SHA256_BYTES];
    memcpy(both, chain, SHA256_BYTES);
    memcpy(both + SHA256_BYTES, hash, SHA256_BYTES);
    sha256_once(bytes_of(both, sizeof both), chain);
}

void log_end_init(struct log_end *end)
{
    *end = (struct log_end){0};
    chain_begin(LOG_CHAIN, end->log);
}

/* out->message is there already. */
static enum sorex_status add(struct log_end *end, struct bytes canonical, struct logged *out, struct sorex_error *err)
{
    TRY(message_hash(canonical, out->hash, err));
    out->canonical = canonical;
    out->index = end->count++;
    end->time_ms = out->message.time_ms;
    chain_add(end->log, out->hash);
    memcpy(out->log, end->log, SHA256_BYTES);
    return SOREX_OK;
}

enum sorex_status log_end_add(struct log_end *end, struct bytes canonical, struct logged *out, struct sorex_error *err)
{
    TRY(message_decode(canonical, &out->message, err));
    if (out->message.time_ms < end->time_ms)
        return sorex_error_set(
            err, SOREX_INVALID,
            "its time, %lld, is before that of the message before it, %lld: logs are in the order of "
            "time",
            (long long)out->message.time_ms, (long long)end->time_ms);
    return add(end, canonical, out, err);
}

enum sorex_status log_end_add_entry(struct log_end *end, struct bytes canonical, struct logged *out,
                                    struct sorex_error *err)
{
    TRY(message_decode(canonical, &out->message, err));
    return add(end, canonical, out, err);
}
