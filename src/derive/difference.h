/* The rows that two databases do not have in common. */
#ifndef SOREX_DERIVE_DIFFERENCE_H
#define SOREX_DERIVE_DIFFERENCE_H

#include "pg/database.h"

/* Appends lines: "TABLE", then "  - ROW" of the first and "  + ROW" of the second one, at most rows_max a table and a
 * line with how many more there are. *out_rows (may be NULL): how many there are in all.
 * The databases are asked, so give forks. Errors: SOREX_INVALID a table cannot be read; of the databases. */
enum sorex_status difference_write(struct database *a, struct database *b, size_t rows_max, struct buf *out,
                                   uint64_t *out_rows, struct sorex_error *err);

#endif
