#include "cli/derive_report.h"

#include <signal.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

#define RECEIPT_BYTES_MAX ((size_t)16 << 20)
#define LINE_MS 250

enum sorex_status receipt_load(const char *path, struct receipt_file *out, struct sorex_error *err)
{
    struct buf text = {0};
    enum sorex_status status = file_read(path, RECEIPT_BYTES_MAX, &text, err);
    if (status == SOREX_OK) {
        status = receipt_file_read(buf_view(&text), out, err);
        if (status != SOREX_OK)
            status = sorex_error_prefix(err, "%s", path);
    }
    buf_deinit(&text);
    return status;
}

enum sorex_status reducer_read(const char *path, struct buf *out, struct sorex_error *err)
{
    return file_read(path, SOREX_MODULE_BYTES_MAX, out, err);
}

enum sorex_status count_parse(const char *flag, const char *text, uint64_t otherwise, uint64_t *out,
                              struct sorex_error *err)
{
    uint64_t value = 0;
    *out = otherwise;
    if (text == NULL)
        return SOREX_OK;
    for (const char *at = text; *at != '\0' || at == text; at++) {
        if (*at < '0' || *at > '9' || value > UINT64_MAX / 10 - 1)
            return sorex_error_set(err, SOREX_INVALID, "--%s wants the number of a message, not \"%s\"", flag, text);
        value = value * 10 + (uint64_t)(*at - '0');
    }
    *out = value;
    return SOREX_OK;
}

void derive_line(const char *what, uint64_t count, uint64_t total, uint64_t applied, bool waiting)
{
    static uint64_t began_ms, shown_ms;
    char text[160];
    uint64_t now = clock_ms();
    if (began_ms == 0)
        began_ms = now;
    if (now - shown_ms < LINE_MS)
        return;
    shown_ms = now;
    uint64_t ms = now - began_ms + 1;
    (void)snprintf(text, sizeof text, "%s: %llu of %llu messages, %llu a second%s", what, (unsigned long long)count,
                   (unsigned long long)total, (unsigned long long)(applied * 1000 / ms),
                   waiting ? ", waiting for more" : "");
    log_progress(text);
}

/* ---- signals ---- */

static volatile sig_atomic_t stopped;
static struct messages *interrupted;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
    if (interrupted != NULL)
        messages_interrupt(interrupted);
}

void derive_signals(struct messages *log)
{
    struct sigaction action = {.sa_handler = on_signal};
    interrupted = log;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool derive_stopped(void) { return stopped != 0; }
