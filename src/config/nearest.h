/* "Did you mean": the nearest of some names by edit distance. */
#ifndef SOREX_CONFIG_NEAREST_H
#define SOREX_CONFIG_NEAREST_H

#include "base/bytes.h"

/* The candidate nearest to word by edit distance, or NULL when none is near (distance above a third of its length + 1).
 * candidates: ends with NULL. The first of equally near ones wins. */
const char *nearest_name(struct bytes word, const char *const *candidates);

/* The same one candidate at a time: start with {.word = word}; name is the nearest so far, or NULL. */
struct nearest {
    struct bytes word;
    const char *name;
    unsigned distance;
};
/* True when this candidate is now the nearest. */
bool nearest_offer(struct nearest *nearest, const char *candidate);

#endif
