/* Calls an import with a bad pointer: the height says which, its last digit which pointer. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void)
{
    static const uint8_t good[] = {1, 0, 0, 0, 'k'};
    static const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 'k'};
    const uint8_t *const pointers[] = {endless, (const uint8_t *)0xfffffffcu, (const uint8_t *)0xffffffffu};
    uint32_t height = sx_host_height();
    const uint8_t *bad = pointers[height % 10];
    switch (height / 10) {
    case 0:
        return sx_host_view(bad, good);
    case 1:
        return sx_host_view(good, bad);
    case 2:
        return sx_host_get_state(bad);
    case 3:
        return sx_host_set_state(bad, good);
    case 4:
        return sx_host_set_state(good, bad);
    case 5:
        return sx_host_delete_state(bad);
    case 6:
        sx_host_stdout(bad);
        return 0;
    case 7:
        sx_host_stderr(bad);
        return 0;
    case 8:
        return sx_host_push(bad);
    default: /* 32 bytes are pending */
        (void)sx_host_block_hash();
        sx_host_load((uint8_t *)(height % 10 == 0 ? 0xffffffe1u : 0xfffffffcu));
        return 0;
    }
}
