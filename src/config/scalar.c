#include "config/scalar.h"

#include <inttypes.h>
#include <stdio.h>

struct unit {
    const char *name; /* lower case */
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"b", 1},
    {"kb", 1000},
    {"kib", (uint64_t)1 << 10},
    {"mb", 1000 * 1000},
    {"mib", (uint64_t)1 << 20},
    {"gb", 1000 * 1000 * 1000},
    {"gib", (uint64_t)1 << 30},
    {"tb", (uint64_t)1000 * 1000 * 1000 * 1000},
    {"tib", (uint64_t)1 << 40},
    {NULL, 0},
};

static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"min", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000},
    {NULL, 0},
};

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c; }

/* word is lower case. */
static bool same_word(struct bytes text, const char *word)
{
    size_t i = 0;
    while (i < text.len && word[i] != '\0' && lower(text.data[i]) == (uint8_t)word[i])
        i++;
    return i == text.len && word[i] == '\0';
}

/* Reads the digits at the front; *out_used = how many. */
static bool digits_read(struct bytes text, uint64_t *out, size_t *out_used)
{
    uint64_t value = 0;
    size_t used = 0;
    while (used < text.len && text.data[used] >= '0' && text.data[used] <= '9') {
        uint64_t digit = (uint64_t)(text.data[used] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
        used++;
    }
    if (used == 0 || (used > 1 && text.data[0] == '0'))
        return false;
    *out = value;
    *out_used = used;
    return true;
}

static bool quantity_read(struct bytes text, const struct unit *units, uint64_t *out)
{
    uint64_t value = 0;
    size_t used = 0;
    if (!digits_read(text, &value, &used))
        return false;
    if (used == text.len) {
        *out = value;
        return true;
    }
    if (text.data[used] == ' ')
        used++;
    struct bytes rest = bytes_of(text.data + used, text.len - used);
    for (size_t i = 0; units[i].name != NULL; i++) {
        if (!same_word(rest, units[i].name))
            continue;
        if (value > UINT64_MAX / units[i].factor)
            return false;
        *out = value * units[i].factor;
        return true;
    }
    return false;
}

bool scalar_bool(struct bytes text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (!same_word(text, yes[i]) && !same_word(text, no[i]))
            continue;
        *out = same_word(text, yes[i]);
        return true;
    }
    return false;
}

bool scalar_u64(struct bytes text, uint64_t *out)
{
    uint64_t value = 0;
    size_t used = 0;
    if (!digits_read(text, &value, &used) || used != text.len)
        return false;
    *out = value;
    return true;
}

bool scalar_size(struct bytes text, uint64_t *out) { return quantity_read(text, size_units, out); }

bool scalar_ms(struct bytes text, uint64_t *out) { return quantity_read(text, time_units, out); }

bool scalar_word(struct bytes text, const char *const *words, int *out)
{
    for (int i = 0; words[i] != NULL; i++) {
        if (bytes_is(text, words[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

void scalar_size_text(uint64_t value, char out[SCALAR_TEXT_SIZE])
{
    static const char *const names[] = {"", " KiB", " MiB", " GiB", " TiB"};
    size_t power = 0;
    while (value != 0 && value % 1024 == 0 && power + 1 < sizeof names / sizeof names[0]) {
        value /= 1024;
        power++;
    }
    (void)snprintf(out, SCALAR_TEXT_SIZE, "%" PRIu64 "%s", value, names[power]);
}

void scalar_ms_text(uint64_t value, char out[SCALAR_TEXT_SIZE])
{
    static const struct unit shown[] = {
        {"d", 24 * 3600 * 1000}, {"h", 3600 * 1000}, {"m", 60 * 1000}, {"s", 1000}, {"ms", 1}};
    size_t i = 0;
    while (shown[i].factor != 1 && (value == 0 || value % shown[i].factor != 0))
        i++;
    (void)snprintf(out, SCALAR_TEXT_SIZE, "%" PRIu64 "%s", value / shown[i].factor, shown[i].name);
}
