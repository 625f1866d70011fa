/* Between the files of pg/value: one function per type. */
#ifndef SOREX_PG_VALUE_PRIVATE_H
#define SOREX_PG_VALUE_PRIVATE_H

#include "pg/value.h"

/* Appends the text of `binary`; whatever was appended is taken back by the caller on failure.
 * Errors: SOREX_CORRUPT with any text: the caller names the type. */
typedef enum sorex_status value_text_fn(struct bytes binary, struct buf *out, struct sorex_error *err);

value_text_fn float4_text, float8_text, numeric_text;
value_text_fn date_text, time_text, timetz_text, timestamp_text, timestamptz_text, interval_text;
value_text_fn array_text;

/* The text function of a type that is no array; NULL: not known. */
value_text_fn *value_text_of(uint32_t type);

#endif
