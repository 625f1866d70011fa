/* A session with a database in this process.
 *
 * Errors are as over a connection, but: what there is no room for now (53) is SOREX_LIMIT, as waiting makes none; a
 * statement that ended the backend is what database.h says. A session that was closed, or whose backend is gone, goes
 * back to where `restore` takes it when it is opened again. */
#ifndef SOREX_SINK_POSTGRES_EMBEDDED_H
#define SOREX_SINK_POSTGRES_EMBEDDED_H

#include "pg/database.h"
#include "sink/postgres_session.h"

/* Takes the database back to its last commit, also when it is broken. */
typedef enum sorex_status postgres_restore_fn(void *user_data, struct sorex_error *err);

/* database: borrowed. Ownership: *out by postgres_session_free. */
enum sorex_status postgres_embedded_new(struct database *database, postgres_restore_fn *restore, void *user_data,
                                        struct postgres_session **out, struct sorex_error *err);

#endif
