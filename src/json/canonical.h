/* The canonical text of a value: no white space, members sorted by the bytes of their names at every depth, escapes
 * only where a string needs them, numbers as they were written. Equal values with equal number texts have equal
 * canonical texts. */
#ifndef SOREX_JSON_CANONICAL_H
#define SOREX_JSON_CANONICAL_H

#include "json/json.h"

/* True when the value's own text is canonical, white space apart: doc->compact has to be true as well. */
bool json_is_canonical(const struct json_doc *doc, const struct json_node *node);

/* True when the text of a string, or the name of a member, has no escape but those it needs. */
bool json_string_is_canonical(const struct json_doc *doc, const struct json_node *string);
bool json_name_is_canonical(const struct json_doc *doc, const struct json_node *member);

/* The members of an object, sorted by the bytes of their names; out has room for node->children. */
void json_members_sorted(const struct json_doc *doc, const struct json_node *node, const struct json_node **out);

/* Writes the canonical text to out, which has room for node->raw.len bytes: it is never longer. Returns its length. */
size_t json_canonical_write(const struct json_doc *doc, const struct json_node *node, uint8_t *out);

#endif
