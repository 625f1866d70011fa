/* A second opinion for tests: is this text one JSON value (RFC 8259) without halves of surrogate pairs? Written byte by
 * byte, slow, sharing nothing with src/json. Duplicate names are not its business; nesting up to 256. */
#ifndef SOREX_TESTS_JSON_REFERENCE_H
#define SOREX_TESTS_JSON_REFERENCE_H

#include "base/bytes.h"

bool reference_accepts(struct bytes text);

#endif
