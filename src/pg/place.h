/* Where PostgreSQL's files are (pglite.wasm, cluster.image), and what of them this process has loaded.
 *
 * The folder is SOREX_POSTGRES_DIR where that is set, else found from the place of the program or the library that this
 * code is in: the build's, then the one that was installed with it.
 * Thread: any. */
#ifndef SOREX_PG_PLACE_H
#define SOREX_PG_PLACE_H

#include <limits.h>

#include "pg/database.h"

/* Errors: SOREX_GONE naming what was looked at. */
enum sorex_status place_find(char out[PATH_MAX], struct sorex_error *err);

/* The program from there, loaded once in a process however often it is taken.
 *
 * cache_dir  of compiled code, where there is none beside the files (FOLDER-cache, this user's, as in a build tree);
 *            NULL: then it is compiled (4 s).
 * metered    as in struct database_program_options; a program of its own.
 * Ownership: *out by place_program_give, once for each take.
 * Errors:    as place_find, database_program_open. */
enum sorex_status place_program_take(const char *cache_dir, bool metered, struct database_program **out,
                                     struct sorex_error *err);
/* Unloads it when nobody else has it; then no database or snapshot of the caller's may be left. NULL is fine. */
void place_program_give(struct database_program *program);

#endif
