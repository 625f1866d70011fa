/* What the files behind include/sorex/database.h share. A struct sorex_postgres is a struct database_program, a struct
 * sorex_snapshot a struct snapshot. */
#ifndef SOREX_PG_API_PRIVATE_H
#define SOREX_PG_API_PRIVATE_H

#include "pg/database.h"
#include "sorex/database.h"

struct sorex_database {
    struct database *inner;
    uint64_t statements; /* names that were given */
    char transaction;
    struct results failed; /* of the statement that failed last */
};

/* Results that were collected, as the caller sees them; takes them over, also on failure. out may be NULL.
 * Errors: SOREX_CORRUPT, SOREX_LIMIT, SOREX_NOMEM. */
enum sorex_status api_result_make(struct results *results, struct sorex_result **out, struct sorex_error *err);

#endif
