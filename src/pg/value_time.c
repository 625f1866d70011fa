/* Dates and times. Days and microseconds are counted from 2000-01-01 00:00 UTC; the calendar is Gregorian throughout,
 * with years before 1 written as BC. */
#include "pg/value_private.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"

#define DAY_US INT64_C(86400000000)
#define HOUR_US INT64_C(3600000000)
#define MINUTE_US INT64_C(60000000)
#define SECOND_US INT64_C(1000000)
#define DAYS_TO_2000 10957 /* from 1970-01-01 */

static enum sorex_status odd(struct bytes binary, struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_CORRUPT, "%zu bytes", binary.len);
}

struct civil {
    int64_t year;
    unsigned month, day;
};

/* Source: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days. */
static struct civil civil_of(int64_t days)
{
    int64_t z = days + DAYS_TO_2000 + 719468; /* from 0000-03-01 */
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned day_of_era = (unsigned)(z - era * 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned march_month = (5 * day_of_year + 2) / 153;
    struct civil civil = {
        .year = (int64_t)year_of_era + era * 400,
        .month = march_month < 10 ? march_month + 3 : march_month - 9,
        .day = day_of_year - (153 * march_month + 2) / 5 + 1,
    };
    civil.year += civil.month <= 2;
    return civil;
}

static enum sorex_status civil_append(struct civil civil, struct buf *out, struct sorex_error *err)
{
    return buf_printf(out, err, "%04" PRId64 "-%02u-%02u", civil.year > 0 ? civil.year : 1 - civil.year, civil.month,
                      civil.day);
}

static enum sorex_status era_append(struct civil civil, struct buf *out, struct sorex_error *err)
{
    return civil.year > 0 ? SOREX_OK : buf_append_str(out, " BC", err);
}

/* Hours, minutes, seconds and what is left of them without trailing zeros; us >= 0. */
static enum sorex_status clock_append(uint64_t us, struct buf *out, struct sorex_error *err)
{
    uint64_t fraction = us % SECOND_US;
    int digits = 6;
    TRY(buf_printf(out, err, "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64, us / HOUR_US, us / MINUTE_US % 60,
                   us / SECOND_US % 60));
    if (fraction == 0)
        return SOREX_OK;
    for (; fraction % 10 == 0; digits--)
        fraction /= 10;
    return buf_printf(out, err, ".%0*" PRIu64, digits, fraction);
}

enum sorex_status date_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    if (binary.len != 4)
        return odd(binary, err);
    int32_t days = (int32_t)u32be_get(binary.data);
    if (days == INT32_MAX)
        return buf_append_str(out, "infinity", err);
    if (days == INT32_MIN)
        return buf_append_str(out, "-infinity", err);
    struct civil civil = civil_of(days);
    TRY(civil_append(civil, out, err));
    return era_append(civil, out, err);
}

/* 24:00:00 is a time, too. */
static enum sorex_status time_append(const uint8_t *binary, struct buf *out, struct sorex_error *err)
{
    uint64_t us = u64be_get(binary);
    if (us > DAY_US)
        return sorex_error_set(err, SOREX_CORRUPT, "%" PRId64 " microseconds", (int64_t)us);
    return clock_append(us, out, err);
}

enum sorex_status time_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    return binary.len == 8 ? time_append(binary.data, out, err) : odd(binary, err);
}

enum sorex_status timetz_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    if (binary.len != 12)
        return odd(binary, err);
    int32_t west = (int32_t)u32be_get(binary.data + 8); /* seconds */
    if (west <= -16 * 3600 || west >= 16 * 3600)
        return sorex_error_set(err, SOREX_CORRUPT, "a zone of %" PRId32 " seconds", west);
    unsigned seconds = (unsigned)abs(west);
    TRY(time_append(binary.data, out, err));
    TRY(buf_printf(out, err, "%c%02u", west <= 0 ? '+' : '-', seconds / 3600));
    if (seconds % 3600 != 0)
        TRY(buf_printf(out, err, ":%02u", seconds / 60 % 60));
    return seconds % 60 == 0 ? SOREX_OK : buf_printf(out, err, ":%02u", seconds % 60);
}

static enum sorex_status moment_text(struct bytes binary, const char *zone, struct buf *out, struct sorex_error *err)
{
    if (binary.len != 8)
        return odd(binary, err);
    int64_t us = (int64_t)u64be_get(binary.data);
    if (us == INT64_MAX)
        return buf_append_str(out, "infinity", err);
    if (us == INT64_MIN)
        return buf_append_str(out, "-infinity", err);
    int64_t days = us / DAY_US;
    int64_t rest = us % DAY_US;
    if (rest < 0) {
        days--;
        rest += DAY_US;
    }
    struct civil civil = civil_of(days);
    TRY(civil_append(civil, out, err));
    TRY(buf_append_str(out, " ", err));
    TRY(clock_append((uint64_t)rest, out, err));
    TRY(buf_append_str(out, zone, err));
    return era_append(civil, out, err);
}

enum sorex_status timestamp_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    return moment_text(binary, "", out, err);
}

enum sorex_status timestamptz_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    return moment_text(binary, "+00", out, err);
}

/* ---- intervals ---- */

/* " 3 days", with a sign where the part before was negative and this one is not. */
struct parts {
    struct buf *out;
    struct sorex_error *err;
    bool any, after_negative;
};

static enum sorex_status part_append(struct parts *parts, int32_t value, const char *unit)
{
    if (value == 0)
        return SOREX_OK;
    TRY(buf_printf(parts->out, parts->err, "%s%s%" PRId32 " %s%s", parts->any ? " " : "",
                   parts->after_negative && value > 0 ? "+" : "", value, unit, value == 1 ? "" : "s"));
    parts->any = true;
    parts->after_negative = value < 0;
    return SOREX_OK;
}

enum sorex_status interval_text(struct bytes binary, struct buf *out, struct sorex_error *err)
{
    if (binary.len != 16)
        return odd(binary, err);
    int64_t us = (int64_t)u64be_get(binary.data);
    int32_t days = (int32_t)u32be_get(binary.data + 8);
    int32_t months = (int32_t)u32be_get(binary.data + 12);
    struct parts parts = {.out = out, .err = err};
    if (us == INT64_MAX && days == INT32_MAX && months == INT32_MAX)
        return buf_append_str(out, "infinity", err);
    if (us == INT64_MIN && days == INT32_MIN && months == INT32_MIN)
        return buf_append_str(out, "-infinity", err);
    TRY(part_append(&parts, months / 12, "year"));
    TRY(part_append(&parts, months % 12, "mon"));
    TRY(part_append(&parts, days, "day"));
    if (us == 0 && parts.any)
        return SOREX_OK;
    TRY(buf_printf(out, err, "%s%s", parts.any ? " " : "", us < 0 ? "-" : parts.after_negative ? "+" : ""));
    return clock_append(us < 0 ? 0 - (uint64_t)us : (uint64_t)us, out, err);
}
