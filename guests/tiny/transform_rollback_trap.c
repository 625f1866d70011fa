/* Traps in rollback. */
#include "sorex/transform.h"

SOREX_EXPORT("process_block") int32_t process_block(void);
int32_t process_block(void) { return 0; }

SOREX_EXPORT("rollback") int32_t rollback(void);
int32_t rollback(void) { __builtin_trap(); }
