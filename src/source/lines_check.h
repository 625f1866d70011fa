/* What stands before a place in a file, hashed while reading, to know the place again: docs/formats/lines-position.md.
 */
#ifndef SOREX_SOURCE_LINES_CHECK_H
#define SOREX_SOURCE_LINES_CHECK_H

#include "base/bytes.h"

#define LINES_CHECK_BLOCK 4096u

struct lines_check {
    uint64_t offset; /* bytes before it, from the beginning of the file */
    uint64_t before; /* hash of the block before the one that offset lies in */
    uint64_t state;  /* of the whole words of this one */
    uint8_t rest[16];
};

/* Where hashing must start for the check at this offset: at most two blocks before it. */
uint64_t lines_check_from(uint64_t offset);

/* offset: from lines_check_from. */
void lines_check_start(struct lines_check *check, uint64_t offset);
void lines_check_update(struct lines_check *check, struct bytes bytes);
/* From 1 to INT64_MAX. */
uint64_t lines_check_value(const struct lines_check *check);

#endif
