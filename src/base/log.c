#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"

static _Atomic int log_threshold = LOG_INFO;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the three below and the order of lines */
static log_sink_fn *log_sink;
static void *log_sink_user;
static char log_bottom[512];

static const char *const level_names[] = {"trace", "debug", "info", "warn", "error", "off"};

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

bool log_level_parse(const char *text, enum log_level *out)
{
    for (int i = 0; i <= LOG_OFF; i++)
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    return false;
}

void log_level_set(enum log_level level)
{
    atomic_store(&log_threshold, (int)level);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_threshold, memory_order_relaxed);
}

static void write_all(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, text, len);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static void write_line(enum log_level level, const char *component, const char *text)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct tm utc;
    (void)gmtime_r(&now.tv_sec, &utc);
    char stamp[32];
    (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    char line[SOREX_LOG_LINE_MAX + 1024];
    int n = snprintf(line, sizeof line, "%s%s.%03dZ %-5s %s: %s\n%s", log_bottom[0] ? "\r\033[K" : "", stamp,
                     (int)(now.tv_nsec / 1000000), log_level_name(level), component, text, log_bottom);
    if (n > 0)
        write_all(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

void log_line(enum log_level level, const char *component, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    char text[SOREX_LOG_LINE_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c != '\0'; c++) /* one line stays one line, and a guest cannot drive the terminal */
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    pthread_mutex_lock(&log_lock);
    if (log_sink != NULL)
        log_sink(level, component, text, log_sink_user);
    else
        write_line(level, component, text);
    pthread_mutex_unlock(&log_lock);
}

void log_sink_set(log_sink_fn *sink, void *user_data)
{
    pthread_mutex_lock(&log_lock);
    log_sink = sink;
    log_sink_user = user_data;
    pthread_mutex_unlock(&log_lock);
}

void log_progress(const char *text)
{
    if (!isatty(STDERR_FILENO))
        return;
    pthread_mutex_lock(&log_lock);
    (void)snprintf(log_bottom, sizeof log_bottom, "%s", text != NULL ? text : "");
    write_all("\r\033[K", 4);
    write_all(log_bottom, strlen(log_bottom));
    pthread_mutex_unlock(&log_lock);
}
