/* Log lines to standard error: "2026-11-21T04:00:00.123Z info  pipeline: text". On a terminal the progress line is kept
 * below them. Levels as the field has them. */
#ifndef SOREX_BASE_LOG_H
#define SOREX_BASE_LOG_H

#include "base/bytes.h"

enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

const char *log_level_name(enum log_level level);
/* "trace" .. "error", "off". False when it is none of them. */
bool log_level_parse(const char *text, enum log_level *out);

/* Thread: any. */
void log_level_set(enum log_level level);
bool log_enabled(enum log_level level);

/* component: a short noun ("pipeline", "sink postgres"). Thread: any; one line is written with one write(2). */
void log_line(enum log_level level, const char *component, const char *format, ...) SOREX_PRINTF(3, 4);

/* Sends lines somewhere else (tests, a host program); NULL restores standard error.
 * Thread: call before other threads log. */
typedef void log_sink_fn(enum log_level level, const char *component, const char *text, void *user_data);
void log_sink_set(log_sink_fn *sink, void *user_data);

/* A line that stays at the bottom of a terminal and is rewritten in place; NULL or "" clears it. Without a terminal on
 * standard error it does nothing. */
void log_progress(const char *text);

#endif
