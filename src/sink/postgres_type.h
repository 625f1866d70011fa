/* Column types and what JSON values need of them.
 *
 *   NONE < BOOL, TEXT < JSONB
 *   NONE < BIGINT, DOUBLE < NUMERIC < JSONB
 *
 * A column that sorex made has the join of what all its values need, so its type does not depend on the order in which
 * they came; and no step of a join loses anything, so neither do the values: a fraction is a double only when it has at
 * most 15 digits, which a double gives back exactly; longer ones need numeric. */
#ifndef SOREX_SINK_POSTGRES_TYPE_H
#define SOREX_SINK_POSTGRES_TYPE_H

#include "json/json.h"

enum postgres_type {
    POSTGRES_NONE, /* only nulls so far */
    POSTGRES_BOOL,
    POSTGRES_TEXT,
    POSTGRES_BIGINT,
    POSTGRES_DOUBLE,
    POSTGRES_NUMERIC,
    POSTGRES_JSONB,
    POSTGRES_OTHER, /* a type of the user's: its input function reads strings as they are and other values as JSON text
                     */
};

/* "bigint"; not for NONE and OTHER. */
const char *postgres_type_name(enum postgres_type type);
/* From the name that format_type() gives, in either case; OTHER when it is none of ours. json counts as JSONB. */
enum postgres_type postgres_type_of(const char *name);
/* The narrowest type that holds the value. */
enum postgres_type postgres_type_needed(const struct json_node *node);
enum postgres_type postgres_type_join(enum postgres_type a, enum postgres_type b);

/* Appends the value as a field of COPY's text format for a column of this type; node NULL or JSON null: \N.
 * Errors: SOREX_INVALID: a string with U+0000 in it. */
enum sorex_status postgres_field(const struct json_node *node, enum postgres_type type, struct buf *out,
                                 struct sorex_error *err);
/* Appends text as a field of COPY's text format. Errors as above. */
enum sorex_status postgres_field_text(struct bytes text, struct buf *out, struct sorex_error *err);

#endif
