/* What a guest of contract 3 may call: a log and metrics. None of it ever fails for the guest: a call that makes no
 * sense is dropped and counted. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "guest/buffers.h"
#include "guest/call.h"
#include "guest/filter_private.h"
#include "json/utf8.h"

#define SECOND_NS ((uint64_t)1000 * 1000 * 1000)

static enum sorex_status dropped(struct filter_instance *instance)
{
    atomic_fetch_add_explicit(&instance->filter->host.imports_dropped, 1, memory_order_relaxed);
    return SOREX_OK;
}

/* -- log */

/* True when this line may still be written. The time is that of the call in hand: a guest has no clock, and needs none
 * here. */
static bool log_admit(struct filter_host *host, uint64_t now_ns, uint64_t *out_dropped)
{
    (void)pthread_mutex_lock(&host->mutex);
    *out_dropped = 0;
    if (now_ns - host->log_second_ns >= SECOND_NS) {
        *out_dropped = host->log_dropped;
        host->log_second_ns = now_ns;
        host->log_lines = host->log_dropped = 0;
    }
    bool admitted = host->log_lines < FILTER_LOG_LINES_PER_SECOND;
    if (admitted)
        host->log_lines++;
    else
        host->log_dropped++;
    (void)pthread_mutex_unlock(&host->mutex);
    if (!admitted)
        atomic_fetch_add_explicit(&host->log_suppressed, 1, memory_order_relaxed);
    return admitted;
}

static enum sorex_status import_log(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                    struct sorex_error *err)
{
    static const enum log_level levels[] = {LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR};
    struct filter_instance *instance = user_data;
    struct bytes text;
    (void)err;
    if (values[0].u32 > 4 || values[2].i32 < 0 ||
        !buffer_at(guest_memory_of(sandbox), values[1].u32, values[2].u32, &text))
        return dropped(instance);
    enum log_level level = levels[values[0].u32];
    uint64_t suppressed;
    if (!log_enabled(level) || !log_admit(&instance->filter->host, instance->watch.started_ns, &suppressed))
        return SOREX_OK;
    char line[SOREX_LOG_LINE_MAX];
    size_t len = guest_text_clean(text, line, sizeof line);
    if (suppressed > 0)
        log_line(LOG_WARN, instance->filter->what, "%llu log lines were dropped: more than %d in a second",
                 (unsigned long long)suppressed, FILTER_LOG_LINES_PER_SECOND);
    log_line(level, instance->filter->what, "%.*s", (int)len, line);
    return SOREX_OK;
}

/* -- metrics */

/* The name at a pointer: NUL-terminated, not empty, UTF-8 without control characters. */
static bool name_read(struct wasm_sandbox *sandbox, uint32_t pointer, struct bytes *out)
{
    struct guest_memory memory = guest_memory_of(sandbox);
    if (pointer >= memory.len)
        return false;
    size_t left = memory.len - pointer < FILTER_METRIC_NAME_MAX + 1 ? memory.len - pointer : FILTER_METRIC_NAME_MAX + 1;
    const uint8_t *text = memory.data + pointer, *end = memchr(text, 0, left);
    if (end == NULL || end == text)
        return false;
    *out = bytes_of(text, (size_t)(end - text));
    for (size_t i = 0; i < out->len;) {
        size_t sequence = utf8_sequence(text + i, out->len - i);
        if (sequence == 0 || text[i] < 0x20 || text[i] == 0x7f)
            return false;
        i += sequence;
    }
    return true;
}

/* Where the name is, or belongs. Under the mutex. */
static size_t metric_place(const struct filter_host *host, struct bytes name, bool *out_found)
{
    size_t low = 0, high = host->metrics_count;
    *out_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int sign = bytes_compare(host->metrics[middle].name, name);
        if (sign == 0) {
            *out_found = true;
            return middle;
        }
        if (sign < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* False when there is no room for one more. Under the mutex. */
static bool metric_set(struct filter_host *host, struct bytes name, int64_t value)
{
    bool found;
    size_t at = metric_place(host, name, &found);
    if (!found) {
        uint8_t *copy = host->metrics_count < FILTER_METRICS_MAX ? malloc(name.len) : NULL;
        if (copy == NULL)
            return false;
        memcpy(copy, name.data, name.len);
        memmove(&host->metrics[at + 1], &host->metrics[at], (host->metrics_count - at) * sizeof host->metrics[0]);
        host->metrics[at].name = bytes_of(copy, name.len);
        host->metrics_count++;
    }
    host->metrics[at].value = value;
    return true;
}

static enum sorex_status import_get_metric(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                           struct sorex_error *err)
{
    struct filter_instance *instance = user_data;
    struct filter_host *host = &instance->filter->host;
    struct bytes name;
    bool found;
    (void)err;
    bool good = name_read(sandbox, values[0].u32, &name);
    values[0].i64 = 0;
    if (!good)
        return dropped(instance);
    (void)pthread_mutex_lock(&host->mutex);
    size_t at = metric_place(host, name, &found);
    if (found && !instance->filter->metrics_write_only)
        values[0].i64 = host->metrics[at].value;
    (void)pthread_mutex_unlock(&host->mutex);
    return SOREX_OK;
}

static enum sorex_status import_record_metric(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                              struct sorex_error *err)
{
    struct filter_instance *instance = user_data;
    struct filter_host *host = &instance->filter->host;
    struct bytes name;
    (void)err;
    if (!name_read(sandbox, values[0].u32, &name))
        return dropped(instance);
    (void)pthread_mutex_lock(&host->mutex);
    bool taken = metric_set(host, name, values[1].i64);
    (void)pthread_mutex_unlock(&host->mutex);
    return taken ? SOREX_OK : dropped(instance);
}

const struct wasm_import filter_imports[3] = {
    {"env", "log", "(i32, i32, i32) ->", import_log},
    {"env", "get_metric", "(i32) -> i64", import_get_metric},
    {"env", "record_metric", "(i32, i64) ->", import_record_metric},
};

void filter_metrics(struct filter *filter, filter_metric_fn *fn, void *user_data)
{
    struct filter_host *host = &filter->host;
    (void)pthread_mutex_lock(&host->mutex);
    for (size_t i = 0; i < host->metrics_count; i++)
        fn(host->metrics[i].name, host->metrics[i].value, user_data);
    (void)pthread_mutex_unlock(&host->mutex);
}

/* -- life */

enum sorex_status filter_host_init(struct filter_host *host, struct sorex_error *err)
{
    int code = pthread_mutex_init(&host->mutex, NULL);
    return code == 0 ? SOREX_OK : sorex_error_set_errno(err, SOREX_NOMEM, code, "a mutex");
}

void filter_host_deinit(struct filter_host *host)
{
    for (size_t i = 0; i < host->metrics_count; i++)
        free((void *)(uintptr_t)host->metrics[i].name.data);
    (void)pthread_mutex_destroy(&host->mutex);
}
