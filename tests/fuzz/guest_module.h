/* Indexers out of any bytes: always valid modules, made of calls of imports and what makes these calls interesting. */
#ifndef SOREX_TESTS_FUZZ_GUEST_MODULE_H
#define SOREX_TESTS_FUZZ_GUEST_MODULE_H

#include "base/bytes.h"

#define GUEST_MODULE_VIEW "v"

/* input: GUEST_MODULE_HEAD bytes, operations of six bytes each (guest_module.c has their table), the memory from
 * address 0 on.
 *
 *   byte 0     bit 0: has a start section; bits 1 and 2: pages at the start; the others mean nothing here
 *   byte 1     operations of _start, byte 2 of the view, byte 3 of the start section; each modulo its maximum
 *   byte 4, 5  the pointer that the view returns
 */
#define GUEST_MODULE_HEAD 6
void guest_module_make(struct bytes input, struct buf *out);

#endif
