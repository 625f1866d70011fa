#include "sink/breaker.h"

#include "base/clock.h"

static const char *const state_names[] = {"closed", "open", "half-open"};

const char *breaker_state_name(enum breaker_state state) { return state_names[state]; }

void breaker_init(struct breaker *breaker, const struct breaker_options *options, uint64_t seed)
{
    *breaker = (struct breaker){.options = *options, .seed = seed};
    if (breaker->options.retry_base_ms == 0)
        breaker->options.retry_base_ms = 100;
    if (breaker->options.retry_max_ms == 0)
        breaker->options.retry_max_ms = 30000;
}

void breaker_succeeded(struct breaker *breaker)
{
    breaker->failures = breaker->openings = 0;
    breaker->until_ms = 0;
}

uint64_t breaker_failed(struct breaker *breaker, uint64_t now_ms)
{
    const struct breaker_options *options = &breaker->options;
    uint64_t wait_ms;
    if (breaker->failures < UINT32_MAX)
        breaker->failures++;
    if (options->failures > 0 && breaker->failures >= options->failures) {
        uint64_t max_ms = options->retry_max_ms > options->open_ms ? options->retry_max_ms : options->open_ms;
        wait_ms = backoff_ms(breaker->openings, options->open_ms, max_ms, &breaker->seed);
        if (breaker->openings < UINT32_MAX)
            breaker->openings++;
    } else {
        wait_ms = backoff_ms(breaker->failures - 1, options->retry_base_ms, options->retry_max_ms, &breaker->seed);
    }
    breaker->until_ms = now_ms + wait_ms;
    return wait_ms;
}

enum breaker_state breaker_state_at(const struct breaker *breaker, uint64_t now_ms)
{
    if (breaker->openings == 0)
        return BREAKER_CLOSED;
    return now_ms < breaker->until_ms ? BREAKER_OPEN : BREAKER_HALF_OPEN;
}

uint64_t breaker_wait_ms(const struct breaker *breaker, uint64_t now_ms)
{
    return now_ms < breaker->until_ms ? breaker->until_ms - now_ms : 0;
}
