/* Flushes a pair, then traps in a function with a name. */
#include "sorex/indexer.h"

__attribute__((noinline)) static void explode(void)
{
    static const uint8_t line[] = {4, 0, 0, 0, 'b', 'o', 'o', 'm'};
    sx_host_log(line + 4);
    __builtin_trap();
}

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    struct sx_key key;
    sx_key_start(&key, 'k');
    sx_put(&key, sx_str("lost"));
    sx_flush();
    explode();
}
