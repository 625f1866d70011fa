#include "base/clock.h"

#include <time.h>

uint64_t clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_ms(void)
{
    return clock_ns() / 1000000u;
}

uint64_t backoff_ms(uint32_t attempt, uint64_t base_ms, uint64_t max_ms, uint64_t *seed)
{
    uint64_t delay = attempt >= 32 ? max_ms : base_ms << attempt;
    if (delay > max_ms || delay < base_ms)
        delay = max_ms;
    uint64_t x = *seed += 0x9e3779b97f4a7c15u; /* splitmix64 */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return delay / 2 + (delay / 2 == 0 ? 0 : x % (delay - delay / 2 + 1));
}
