/* Private to json/: escapes in strings. */
#ifndef SOREX_JSON_ESCAPE_H
#define SOREX_JSON_ESCAPE_H

#include "base/arena.h"

/* What stands between the quotes, escapes resolved: a slice of inside when it has none, else a copy in arena.
 *
 * offset     of inside in the text, for errors.
 * Errors:    SOREX_INVALID with the place; SOREX_NOMEM. */
enum sorex_status escape_decode(struct arena *arena, struct bytes inside, size_t offset, struct bytes *out,
                                struct sorex_error *err);

/* True when the text between the quotes of a well-formed string has no escape but those that it needs, in the form that
 * the writer gives them: \" \\ \b \f \n \r \t, else \u00xx in lower case. */
bool escape_minimal(struct bytes inside);

/* Writes text, which is UTF-8, as it stands between quotes: at most six times as long. Returns its length. */
size_t escape_encode(struct bytes text, uint8_t *out);

#endif
