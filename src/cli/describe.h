/* \d and its family: what psql prints of tables, views, sequences, indexes. Source: PostgreSQL,
 * src/bin/psql/describe.c. Thread: the session's. */
#ifndef SOREX_CLI_DESCRIBE_H
#define SOREX_CLI_DESCRIBE_H

#include "cli/session.h"

/* Lists relations of some kinds: letters of t (tables), v (views), m (materialized views), s (sequences), i (indexes).
 *
 * pattern    a name, with * and ? and a schema, as psql has them; data NULL: all but the system's.
 * Returns whether it succeeded; what did not is shown. */
bool describe_list(struct session *session, const char *kinds, struct bytes pattern);
/* Describes every relation that the pattern names. */
bool describe_relations(struct session *session, struct bytes pattern);
/* Schemas; functions that are not the system's. */
bool describe_schemas(struct session *session, struct bytes pattern);
bool describe_functions(struct session *session, struct bytes pattern);

#endif
