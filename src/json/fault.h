/* Private to json/: where a text goes wrong that simdjson's first stage refuses, which says why but not where. */
#ifndef SOREX_JSON_FAULT_H
#define SOREX_JSON_FAULT_H

#include "base/bytes.h"

/* The reason, with *out_offset its first byte: no UTF-8, a raw control character in a string, a string without its end.
 * NULL (and offset 0) when it is none of these. Slow, for errors only. */
const char *json_fault_find(struct bytes text, size_t *out_offset);

#endif
