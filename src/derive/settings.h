/* Settings of a derivation: those that the result is a function of, and those of how it gets there. */
#ifndef SOREX_DERIVE_SETTINGS_H
#define SOREX_DERIVE_SETTINGS_H

#include "config/option.h"
#include "json/writer.h"

struct derivation_options;

struct derive_settings {
    /* Part of the identity. */
    uint64_t memory_bytes_max, fuel, sql_fuel;
    int on_error; /* 0 reject, 1 halt */
    uint64_t maintenance;
    /* Not: they change no result. */
    uint64_t checkpoint_messages;
    uint32_t checkpoint_ms;
    uint64_t cache_bytes;
    uint64_t snapshot_messages; /* 0: by the time that they take */
};

extern const struct option derive_options[];

/* Those of the identity as an object, which options_read takes back. */
void derive_settings_write(const struct derive_settings *settings, struct json_writer *w);
/* Those that an identity has, the others by default. Errors: SOREX_INVALID. */
enum sorex_status derive_settings_of(struct bytes identity, struct derive_settings *out, struct sorex_error *err);
struct derivation_options derive_settings_derivation(const struct derive_settings *settings);

#endif
