/* Databases for servers under test: a table that grows by a row at each height, and the states in between. */
#ifndef SOREX_TESTS_SERVE_STATES_H
#define SOREX_TESTS_SERVE_STATES_H

#include "pg/database.h"
#include "serve/postgres.h"

#define STATES_HEIGHTS 8u /* 0 to 7 */

struct states {
    struct database_program *program;
    struct database *database;
    struct snapshot *snapshots[STATES_HEIGHTS];
};

/* sql: run before the first height; may be NULL. The database has "heights (height int primary key, text text)".
 * Ends the process when it fails. */
void states_open(struct states *states, const char *dir, const char *cache_dir, const char *sql);
void states_close(struct states *states);
/* Names are "postgres" and "states". */
struct postgres_states states_provider(struct states *states);

#endif
