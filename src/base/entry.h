/* One element of a log. */
#ifndef SOREX_BASE_ENTRY_H
#define SOREX_BASE_ENTRY_H

#include "base/bytes.h"
#include "base/hex.h"

struct entry {
    uint32_t height;
    uint8_t hash[HASH_BYTES];   /* internal byte order (as SHA-256 gives it); nodes print it reversed */
    uint8_t parent[HASH_BYTES]; /* internal byte order */
    uint64_t time_ms;           /* the entry's own time since 1970, milliseconds */
    struct bytes payload;       /* the raw block; empty where only the header matters */
};

#endif
