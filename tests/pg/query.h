/* Random SQL whose result does not depend on the version of PostgreSQL, on plans or on the order of rows: expressions,
 * joins, groups, windows, subqueries, set operations, changes of data; by seed. Functions that were changed between 15
 * and 18 are left out, and what may fail stands only where every row is evaluated. */
#ifndef SOREX_TESTS_PG_QUERY_H
#define SOREX_TESTS_PG_QUERY_H

#include "base/bytes.h"

/* Replaces what is in out. Number 0 of a seed, and then each `QUERY_ROUND`th, makes the tables anew. NUL-terminated. */
#define QUERY_ROUND 100u
void query_make(uint64_t seed, uint64_t number, struct buf *out);

#endif
