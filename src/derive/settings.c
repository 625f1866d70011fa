#include "derive/settings.h"

#include "base/check.h"
#include "derive/derivation.h"

static const char *const on_error_words[] = {"reject", "halt", NULL};

#define AT(field) offsetof(struct derive_settings, field)

const struct option derive_options[] = {
    {.name = "memory_max",
     .type = OPTION_BYTES,
     .offset = AT(memory_bytes_max),
     .fallback = "64 MiB",
     .min = 65536,
     .text = "of the reducer's memory; beyond it a message is rejected"},
    {.name = "fuel",
     .type = OPTION_U64,
     .offset = AT(fuel),
     .fallback = "0",
     .text = "of the reducer, for one message; 0: 1,000,000,000"},
    {.name = "sql_fuel",
     .type = OPTION_U64,
     .offset = AT(sql_fuel),
     .fallback = "0",
     .text = "of PostgreSQL, for one statement; 0: the reducers' default"},
    {.name = "on_error",
     .type = OPTION_ENUM,
     .offset = AT(on_error),
     .fallback = "reject",
     .choices = on_error_words,
     .text = "a message that fails: recorded as rejected, or the end"},
    {.name = "maintenance",
     .type = OPTION_U64,
     .offset = AT(maintenance),
     .fallback = "4096",
     .text = "VACUUM and CHECKPOINT after every so many messages; 0: never"},
    /* These change no result. */
    {.name = "checkpoint_messages",
     .type = OPTION_U64,
     .offset = AT(checkpoint_messages),
     .fallback = "10000",
     .min = 1,
     .text = "the state is written after so many messages at the latest"},
    {.name = "checkpoint",
     .type = OPTION_MS,
     .offset = AT(checkpoint_ms),
     .fallback = "1s",
     .text = "... or so much time"},
    {.name = "cache",
     .type = OPTION_BYTES,
     .offset = AT(cache_bytes),
     .fallback = "1 GiB",
     .text = "for snapshots, from which a changed log is derived on"},
    {.name = "snapshot_messages",
     .type = OPTION_U64,
     .offset = AT(snapshot_messages),
     .fallback = "0",
     .text = "a snapshot after every so many messages; 0: so that they take a tenth of the time"},
    {.name = NULL},
};

void derive_settings_write(const struct derive_settings *settings, struct json_writer *w)
{
    json_object_begin(w);
    json_name(w, "memory_max");
    json_uint(w, settings->memory_bytes_max);
    json_name(w, "fuel");
    json_uint(w, settings->fuel);
    json_name(w, "sql_fuel");
    json_uint(w, settings->sql_fuel);
    json_name(w, "on_error");
    json_string_z(w, on_error_words[settings->on_error]);
    json_name(w, "maintenance");
    json_uint(w, settings->maintenance);
    json_object_end(w);
}

enum sorex_status derive_settings_of(struct bytes identity, struct derive_settings *out, struct sorex_error *err)
{
    TRY(options_read(derive_options, NULL, "", ".", out, err));
    for (size_t at = 0, end; at < identity.len; at = end + 1) {
        const uint8_t *line = identity.data + at;
        for (end = at; end < identity.len && identity.data[end] != '\n';)
            end++;
        const uint8_t *equals = memchr(line, '=', end - at);
        for (const struct option *option = derive_options; equals != NULL && option->name != NULL; option++)
            if (bytes_is(bytes_of(line, (size_t)(equals - line)), option->name))
                TRY(option_set(option, bytes_of(equals + 1, (size_t)(identity.data + end - equals) - 1),
                               "the receipt's identity", NULL, out, err));
    }
    return SOREX_OK;
}

struct derivation_options derive_settings_derivation(const struct derive_settings *settings)
{
    return (struct derivation_options){.reducer = {.memory_bytes_max = settings->memory_bytes_max,
                                                   .fuel = settings->fuel,
                                                   .sql_fuel = settings->sql_fuel,
                                                   .halt = settings->on_error == 1},
                                       .maintenance = settings->maintenance};
}
