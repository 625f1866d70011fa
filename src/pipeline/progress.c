#include "pipeline/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

#define TERMINAL_MS 200u
#define PLAIN_MS 5000u
#define MEASURE_MS 500u /* `sorex status` wants the rate more often than the log */
#define BAR_WIDTH 30u

void progress_start(struct progress *progress)
{
    uint64_t now = clock_ms();
    *progress = (struct progress){.shown_ms = now, .mark_ms = now};
}

void progress_duration(uint64_t seconds, char out[PROGRESS_DURATION_SIZE])
{
    unsigned long long s = seconds;
    if (s >= 3600)
        (void)snprintf(out, PROGRESS_DURATION_SIZE, "%lluh%02llum", s / 3600, s / 60 % 60);
    else if (s >= 60)
        (void)snprintf(out, PROGRESS_DURATION_SIZE, "%llum%02llus", s / 60, s % 60);
    else
        (void)snprintf(out, PROGRESS_DURATION_SIZE, "%llus", s);
}

static void bar_text(uint32_t height, uint32_t goal, char *out)
{
    uint64_t filled = goal == 0 ? BAR_WIDTH : (uint64_t)height * BAR_WIDTH / goal;
    for (uint64_t i = 0; i < BAR_WIDTH; i++)
        out[i] = i < filled ? '#' : '.';
    out[BAR_WIDTH] = '\0';
}

static void progress_show(const struct progress *progress, uint32_t height, uint32_t goal, bool terminal)
{
    char text[256], eta[PROGRESS_DURATION_SIZE] = "unknown", bar[BAR_WIDTH + 1] = "";
    bool known = goal != SOREX_HEIGHT_NONE && goal >= height;
    if (known && progress->rate > 0)
        progress_duration((uint64_t)((double)(goal - height) / progress->rate), eta);
    if (!known)
        (void)snprintf(text, sizeof text, "height %u, %.0f blocks/s", height, progress->rate);
    else if (terminal) {
        bar_text(height, goal, bar);
        (void)snprintf(text, sizeof text, "[%s] %u/%u  %.0f blocks/s  ETA %s", bar, height, goal, progress->rate, eta);
    } else
        (void)snprintf(text, sizeof text, "height %u of %u, %.0f blocks/s, ETA %s", height, goal, progress->rate, eta);
    if (terminal)
        log_progress(text);
    else
        log_line(LOG_INFO, "progress", "%s", text);
}

void progress_update(struct progress *progress, uint64_t entries, uint32_t height, uint32_t goal)
{
    uint64_t now = clock_ms();
    if (now - progress->mark_ms >= MEASURE_MS) {
        double latest = (double)(entries - progress->mark_entries) * 1000.0 / (double)(now - progress->mark_ms);
        progress->rate = progress->rate == 0 ? latest : progress->rate * 0.7 + latest * 0.3;
        progress->mark_ms = now;
        progress->mark_entries = entries;
    }
    bool terminal = isatty(STDERR_FILENO) != 0;
    if (now - progress->shown_ms < (terminal ? TERMINAL_MS : PLAIN_MS))
        return;
    progress->shown_ms = now;
    if (progress->rate > 0 && height != SOREX_HEIGHT_NONE)
        progress_show(progress, height, goal, terminal);
}

void progress_end(void)
{
    log_progress(NULL);
}
