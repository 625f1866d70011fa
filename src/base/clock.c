#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t virtual_ns; /* 0: real time */

uint64_t clock_ns(void)
{
    struct timespec now;
    uint64_t virtual_now = atomic_load_explicit(&virtual_ns, memory_order_relaxed);
    if (virtual_now != 0)
        return virtual_now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_ms(void)
{
    return clock_ns() / 1000000u;
}

void clock_virtual(uint64_t now_ms)
{
    atomic_store(&virtual_ns, now_ms * 1000000u);
}

void clock_pass(uint64_t until_ms)
{
    uint64_t now = atomic_load(&virtual_ns);
    if (now != 0 && until_ms * 1000000u > now)
        atomic_store(&virtual_ns, until_ms * 1000000u);
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
