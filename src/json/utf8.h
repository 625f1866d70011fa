/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef SOREX_JSON_UTF8_H
#define SOREX_JSON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Length of the sequence at p (1 to 4), of which `left` > 0 bytes may be read; 0 when it is none. */
size_t utf8_sequence(const uint8_t *p, size_t left);
/* Whether all of it is. */
bool utf8_valid(struct bytes text);

#endif
