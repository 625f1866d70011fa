/* AssemblyScript's abort: strings are UTF-16LE with their byte length in front. The block's first byte says which
 * pointers are bad. */
#include "sorex/indexer.h"

SOREX_IMPORT("abort")
void host_abort(const void *message, const void *file, uint32_t line, uint32_t column);

static const struct {
    uint32_t len;
    uint16_t text[12];
} message = {24, {'n', 'o', ' ', 0xe9, ' ', 0x20ac, ' ', 0xd83d, 0xde00, ' ', 0xd83d, '!'}},
  file = {10, {'a', '/', 'b', '.', 't'}}, endless = {0xfffffff0, {'x'}};

SOREX_EXPORT("_start") void start(void);
void start(void)
{
    uint32_t height;
    struct sx_bytes block = sx_input(&height);
    if (block.len > 0 && block.data[0] == 'b')
        host_abort((const void *)0xffffffffu, endless.text, 1, 2);
    else if (block.len > 0 && block.data[0] == 'n')
        host_abort(NULL, NULL, 0, 0);
    else
        host_abort(message.text, file.text, 12, 34);
    __builtin_trap();
}
