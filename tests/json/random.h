/* Random JSON for tests, from a seed. */
#ifndef SOREX_TESTS_JSON_RANDOM_H
#define SOREX_TESTS_JSON_RANDOM_H

#include "base/bytes.h"
#include "json/writer.h"

/* The next number below limit. *seed is the state. */
static inline uint32_t random_below(uint64_t *seed, uint32_t limit)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*seed >> 33) % limit);
}

/* Writes one value nested at most `depth` deep, one container in a dozen with many members. */
void random_value(struct json_writer *w, uint64_t *seed, unsigned depth);

/* Changes one to three bytes of text: replaced, put in, taken out. */
void random_damage(struct buf *text, uint64_t *seed);

#endif
