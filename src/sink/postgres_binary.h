/* Values in PostgreSQL's binary format, for the types whose binary form is simple and has been the same in every
 * version. What the server makes of a value must not depend on the format it came in; a value of which that is not sure
 * is not taken, and goes as text to the type's input function. Source: the *_recv functions of PostgreSQL. */
#ifndef SOREX_SINK_POSTGRES_BINARY_H
#define SOREX_SINK_POSTGRES_BINARY_H

#include "json/json.h"

/* Object ids of built-in types never change. */
enum postgres_oid {
    POSTGRES_OID_BOOL = 16,
    POSTGRES_OID_BIGINT = 20,
    POSTGRES_OID_INTEGER = 23,
    POSTGRES_OID_TEXT = 25,
    POSTGRES_OID_JSON = 114,
    POSTGRES_OID_DOUBLE = 701,
    POSTGRES_OID_VARCHAR = 1043,
    POSTGRES_OID_TIMESTAMPTZ = 1184,
    POSTGRES_OID_NUMERIC = 1700,
    POSTGRES_OID_JSONB = 3802,
};

/* Whether it is one of those. */
bool postgres_binary_knows(uint32_t oid);

/* Appends length and bytes, as in COPY and in arrays; NULL when node is NULL or JSON null. *out_taken is false, and
 * nothing is appended, when only the type's input function can say what the value means, or whether it is one.
 * Errors: SOREX_INVALID: a string with U+0000 in it. */
enum sorex_status postgres_binary_field(const struct json_node *node, uint32_t oid, struct buf *out, bool *out_taken,
                                        struct sorex_error *err);
/* The same for text that is the value of a column of type text. */
enum sorex_status postgres_binary_text(struct bytes text, struct buf *out, struct sorex_error *err);

#endif
