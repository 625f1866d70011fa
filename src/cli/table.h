/* Results as text, as psql prints them: aligned or expanded (its `\x`), CSV (RFC 4180), and one JSON object a line.
 *
 * Everything is UTF-8. What cannot be shown in a table is escaped as psql does it; how wide a character is comes from a
 * table of the East Asian wide and the combining characters, not from the locale.
 * Thread: any. */
#ifndef SOREX_CLI_TABLE_H
#define SOREX_CLI_TABLE_H

#include "pg/result.h"

enum table_format { TABLE_ALIGNED, TABLE_EXPANDED, TABLE_CSV, TABLE_JSON };

struct table_options {
    enum table_format format;
    struct bytes null;   /* what stands for NULL, but in JSON */
    bool rows_only;      /* no headers, no "(2 rows)" */
    struct bytes title;  /* over a table; data NULL: none. As the footer it is for people: CSV and JSON have neither */
    size_t columns_max;  /* an aligned table that is wider is printed expanded; 0: never */
    struct bytes footer; /* lines in the place of "(2 rows)", which may be none; data NULL: that */
};

/* Appends the rows of a result that has columns; values may be in text or binary format.
 * Errors: SOREX_GONE a binary format that is not known; SOREX_CORRUPT; SOREX_LIMIT. */
enum sorex_status table_print(const struct result *result, const struct table_options *options, struct buf *out,
                              struct sorex_error *err);

/* Columns that a terminal needs for a character; -1 for a control character. */
int table_width(uint32_t character);

#endif
