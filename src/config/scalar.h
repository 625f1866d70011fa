/* The text of one value. Decimal whole numbers without sign, leading zero or separators; ASCII only, whatever the locale. */
#ifndef SOREX_CONFIG_SCALAR_H
#define SOREX_CONFIG_SCALAR_H

#include "base/bytes.h"

/* All of them: false when the text is something else or too large; *out is then unchanged. */

bool scalar_bool(struct bytes text, bool *out);     /* true, yes, on, 1; false, no, off, 0; in either case */
bool scalar_u64(struct bytes text, uint64_t *out);
bool scalar_size(struct bytes text, uint64_t *out); /* "64 MiB", "1GB", "512": B, kB/MB/GB/TB, KiB/MiB/GiB/TiB, in either case */
bool scalar_ms(struct bytes text, uint64_t *out);   /* "500ms", "2s", "1m", "1 h", "1d", "250" */
/* The place of the word in a NULL-terminated list. */
bool scalar_word(struct bytes text, const char *const *words, int *out);

/* The same number with the largest unit that divides it: "64 MiB", "1536 MiB", "2s". */
#define SCALAR_TEXT_SIZE 32
void scalar_size_text(uint64_t value, char out[SCALAR_TEXT_SIZE]);
void scalar_ms_text(uint64_t value, char out[SCALAR_TEXT_SIZE]);

#endif
