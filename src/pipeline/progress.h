/* What a long run tells: a line in place on a terminal, a plain line every few seconds otherwise. */
#ifndef SOREX_PIPELINE_PROGRESS_H
#define SOREX_PIPELINE_PROGRESS_H

#include "base/bytes.h"

struct progress {
    uint64_t shown_ms;
    uint64_t mark_ms, mark_entries; /* where the rate was last measured */
    double rate; /* entries a second, smoothed */
};

void progress_start(struct progress *progress);
/* entries: applied since start; goal: height of the end, or SOREX_HEIGHT_NONE. Cheap: looks at the clock and returns mostly. */
void progress_update(struct progress *progress, uint64_t entries, uint32_t height, uint32_t goal);
void progress_end(void);

/* "1h02m", "3m07s", "12s". */
#define PROGRESS_DURATION_SIZE 32
void progress_duration(uint64_t seconds, char out[PROGRESS_DURATION_SIZE]);

#endif
